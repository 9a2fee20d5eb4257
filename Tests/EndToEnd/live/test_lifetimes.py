"""An SA's limits, told of and held, and the next one in its place: by a limit, by the clock."""

from __future__ import annotations

import sys
import time

import pytest

from vpngw.live import TRAFFIC, Sites, echo
from vpngw.network import wait_until
from vpngw.site import Child

HOOK = """#!/bin/sh
echo "$VPNGW_EVENT $VPNGW_TUNNEL $VPNGW_SPI $VPNGW_DIRECTION" >> {log}
"""


def sas(gateway) -> dict[str, dict]:
    return {row["spi"]: row for row in gateway.control.get("sa")["sas"]}


def set_up(sites: Sites, limits: dict[str, int], *children: Child) -> None:
    """Limits at a alone: b follows."""
    for child in children:
        sites.site_a.tunnels[0].children.append(child)
        sites.site_b.tunnels[0].children.append(child.reversed())
    sites.site_a.tunnels[0].lifetime = limits


def test_soft_is_told_by_log_metric_and_hook_and_a_younger_sa_takes_over(sites: Sites):
    hook, log = sites.site_a.directory / "hook", sites.site_a.directory / "hook.log"
    hook.write_text(HOOK.format(log=log))
    hook.chmod(0o755)
    sites.site_a.extra = f'hook_command = ["{hook}"]'
    set_up(sites, {"soft_lifetime_packets": 50, "hard_lifetime_packets": 1000}, Child(0x1002, 0x2002))
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 39)
    assert {spi: row["state"] for spi, row in sas(sites.a).items()} == {
        "0x00001001": "current", "0x00002001": "current", "0x00001002": "standby", "0x00002002": "standby"}
    assert not log.exists()
    echo(sites.network, "host-a", "10.0.2.10", 40, 50)  # the 50th reaches the limit, and the next finds it so
    wait_until(lambda: sas(sites.a)["0x00001002"]["state"] == "current", "the younger takes over")
    # Whatever comes now goes under the younger one.
    echo(sites.network, "host-a", "10.0.2.10", 0, 39)
    assert sas(sites.a)["0x00001002"]["packets"] == 40
    wait_until(lambda: log.exists() and log.read_text().count("\n") >= 3, lambda: log.read_text())
    told = log.read_text().splitlines()
    assert "lifetime_soft b 0x00001001 outbound" in told and "lifetime_soft b 0x00002001 inbound" in told
    assert "sa_activated b 0x00001002 " in told
    metrics = sites.network.run("gw-a", "curl", "-s", "http://127.0.0.1:9464/metrics")
    soft, = (line for line in metrics.splitlines() if line.startswith('vpngw_lifetime_events_total{kind="soft"}'))
    assert int(float(soft.split()[-1])) >= 2
    assert sites.network.run("gw-a", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                             "http://127.0.0.1:9464/healthz") == "200"
    assert "outbound SA 0x00001001 has reached its soft lifetime" in sites.a.log.read_text()
    for report in sites.stop():
        assert report["drops"] == {}


@pytest.mark.parametrize("limit", ["packets", "octets", "seconds"])
def test_hard_is_the_end_when_there_is_no_younger(sites: Sites, limit: str):
    value = {"packets": 30, "octets": 30 * 60, "seconds": 3}[limit]
    set_up(sites, {f"hard_lifetime_{limit}": value})
    sites.start()
    if limit == "seconds":
        echo(sites.network, "host-a", "10.0.2.10", 0, 9)
        wait_until(lambda: sas(sites.a)["0x00001001"]["state"] == "expired", "three seconds are over")
    else:
        echo(sites.network, "host-a", "10.0.2.10", 0, 29 if limit == "packets" else 14)
    sites.network.run("host-a", "ping", "-c", "20", "-i", "0.01", "-W", "1", "-s", "100", "10.0.2.10", check=False)
    wait_until(lambda: sas(sites.a)["0x00001001"]["state"] == "expired", "the limit is told")
    report, _ = sites.stop()
    sent, = (row for row in report["sas"] if row["spi"] == "0x00001001")
    if limit == "packets":
        assert sent["packets"] == 30
        assert report["drops"] == {"lifetime_expired": 20}
    elif limit == "octets":
        # The packet that reaches the limit is the last.
        assert value <= sent["octets"] < value + 128
        assert set(report["drops"]) == {"lifetime_expired"}
    else:
        assert sent["packets"] == 10
        assert report["drops"] == {"lifetime_expired": 20}
    # What was used counts after a restart too.
    sites.start()
    wait_until(lambda: sas(sites.a)["0x00001001"]["state"] == "expired", "a restart gives no new life")
    sites.stop()


def test_two_sites_roll_over_by_the_clock_and_lose_nothing(sites: Sites):
    start = int(time.time()) + 4
    set_up(sites, {}, *(Child(0x1002 + step, 0x2002 + step, start + 2 * step) for step in range(3)))
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    log = sites.network.directory / "numbered.log"
    counted = sites.network.directory / "counted.log"
    counter = sites.network.start("host-b", sys.executable, TRAFFIC, "count", 7001, log=counted)
    wait_until(lambda: "listening" in counted.read_text(), lambda: counted.read_text())
    sender = sites.network.start("host-a", sys.executable, TRAFFIC, "number", "10.0.2.10", 7001, 500, log=log)
    for gateway, spi in ((sites.a, "0x00001004"), (sites.b, "0x00002004")):
        wait_until(lambda: sas(gateway)[spi]["state"] == "current", "the last child's time has come", 30)
    # Old, current, and no more: what was before that is over.
    assert {spi: row["state"] for spi, row in sas(sites.a).items() if row["direction"] == "outbound"} == {
        "0x00001003": "old", "0x00001004": "current"}
    sender.terminate()
    sender.wait(10)
    sent = int(log.read_text().split()[1])
    wait_until(lambda: sas(sites.b)["0x00001004"]["packets"] == sas(sites.a)["0x00001004"]["packets"], "all arrive")
    counter.terminate()
    counter.wait(10)
    assert counted.read_text().split("\n")[1] == f"counted {sent}, 0 lost, 0 reordered, 0 doubled"
    for report in sites.stop():
        assert report["drops"] == {}
