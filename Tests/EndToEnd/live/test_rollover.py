"""Keys, policies and peers change ten times a second while packets flow: none is lost, none overtakes another."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vpngw.live import LiveGateway, Sites, Stream, echo
from vpngw.rekey import rekey

RATE = 2000


def assert_nothing_lost(gateway: LiveGateway, report: dict) -> None:
    lost = {name: count for name, count in report["drops"].items()}
    assert not lost, f"{gateway.site.stem}: {lost}\n{gateway.log.read_text()[-2000:]}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_rekey_and_reload_ten_times_a_second_lose_nothing(sites: Sites, seconds: int):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)  # neighbours are known
    there = Stream(sites.network, "host-a", "host-b", "10.0.2.10", 7001, RATE)
    back = Stream(sites.network, "host-b", "host-a", "10.0.1.10", 7002, RATE)
    # A subnet, a policy and a route that come and go; and a tunnel to somebody else.
    spare = Path(sites.site_a.write()).read_text()
    variants = [spare, spare + """
[[policy]]
action = "bypass"
direction = "outbound"
source = "10.0.1.0/24"
destination = "203.0.113.0/24"
protocol = "udp"
[[route]]
destination = "203.0.113.0/24"
via = "192.0.2.77"
"""]
    changes, spis, start = 0, [], time.monotonic()
    while time.monotonic() < start + seconds:
        spis.append(rekey(sites, changes, spis[-2] if len(spis) > 1 else None))
        sites.site_a.directory.joinpath("gw-a.toml").write_text(variants[changes % 2])
        sites.a.control.post("reload")
        changes += 1
        time.sleep(max(0, start + changes * 0.1 - time.monotonic()))
    states = {row["state"] for row in sites.a.control.get("sa")["sas"]}
    assert "current" in states
    workers = [gateway.control.get("workers")["workers"][0] for gateway in (sites.a, sites.b)]
    results = [stream.stop() for stream in (there, back)]
    reports = sites.stop()
    blocked = [worker["blocked_nanoseconds_max"] / 1000 for worker in workers]
    print(f"{changes} rekeys and reloads in {seconds} s, {workers[0]['tables_generation']} tables; workers stood still "
          f"for at most {blocked[0]:.0f} and {blocked[1]:.0f} us; datagrams {results}")
    for gateway, report in zip((sites.a, sites.b), reports):
        assert_nothing_lost(gateway, report)
    for sent, (counted, lost, reordered, doubled) in results:
        assert (counted, lost, reordered, doubled) == (sent, 0, 0, 0)
    assert changes >= seconds * 3
    assert sum(row["packets"] for row in reports[0]["sas"]) > 0
