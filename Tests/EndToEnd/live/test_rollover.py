"""Keys, policies and peers change ten times a second while packets flow: none is lost, none overtakes another."""

from __future__ import annotations

import re
import secrets
import sys
import time
from pathlib import Path

import pytest

from vpngw.live import TRAFFIC, LiveGateway, Sites, echo
from vpngw.network import Network, wait_until

RATE = 2000


class Stream:
    """Numbered datagrams from one host to another."""

    def __init__(self, network: Network, sender: str, receiver: str, address: str, port: int):
        self._counted = network.directory / f"counted-{receiver}.log"
        self._numbered = network.directory / f"numbered-{sender}.log"
        self._counter = network.start(receiver, sys.executable, TRAFFIC, "count", port, log=self._counted)
        wait_until(lambda: "listening" in self._counted.read_text(), lambda: self._counted.read_text())
        self._sender = network.start(
            sender, sys.executable, TRAFFIC, "number", address, port, RATE, log=self._numbered)

    def stop(self) -> tuple[int, tuple[int, int, int, int]]:
        """How many were sent; how many came, and of those that should have come how many were lost, reordered, doubled."""
        self._sender.terminate()
        self._sender.wait(10)
        sent = int(re.search(r"numbered (\d+)", self._numbered.read_text())[1])
        time.sleep(0.5)  # what is on its way arrives; if it does not, the count is short and the test fails
        self._counter.terminate()
        self._counter.wait(10)
        found = re.search(r"counted (\d+), (\d+) lost, (\d+) reordered, (\d+) doubled", self._counted.read_text())
        return sent, tuple(map(int, found.groups()))


def pair(number: int) -> dict:
    """An SA pair as gw-a sees it."""
    return {"tunnel": "b", "outbound": {"spi": f"{0x10000 + number:#x}", "key": "0x" + secrets.token_hex(20)},
            "inbound": {"spi": f"{0x20000 + number:#x}", "key": "0x" + secrets.token_hex(20)}}


def mirrored(request: dict) -> dict:
    return {"tunnel": "a", "outbound": request["inbound"], "inbound": request["outbound"]}


def rekey(sites: Sites, number: int, before: str | None) -> str:
    """Make before break: both ends can receive under the next keys, then each sends under them, then the last go."""
    request = pair(number)
    sites.a.control.post("sa/add", request)
    sites.b.control.post("sa/add", mirrored(request))
    sites.a.control.post("sa/activate", {"tunnel": "b", "spi": request["outbound"]["spi"]})
    sites.b.control.post("sa/activate", {"tunnel": "a", "spi": request["inbound"]["spi"]})
    if before:
        # What was sent under them a tenth of a second ago has arrived.
        for gateway, tunnel in ((sites.a, "b"), (sites.b, "a")):
            code, messages = gateway.control.try_post("sa/remove", {"tunnel": tunnel, "spi": before})
            # Two generations back it is gone by itself.
            assert code == 0 or "has no SA" in messages[0], messages
    return request["outbound"]["spi"]


def assert_nothing_lost(gateway: LiveGateway, report: dict) -> None:
    lost = {name: count for name, count in report["drops"].items()}
    assert not lost, f"{gateway.site.stem}: {lost}\n{gateway.log.read_text()[-2000:]}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_rekey_and_reload_ten_times_a_second_lose_nothing(sites: Sites, seconds: int):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)  # neighbours are known
    there = Stream(sites.network, "host-a", "host-b", "10.0.2.10", 7001)
    back = Stream(sites.network, "host-b", "host-a", "10.0.1.10", 7002)
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
