"""Gateways that run in namespaces, and the two networks that most tests want."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from vpngw.control import Control
from vpngw.gateway import BINARY, Result, assert_conserved
from vpngw.network import Network, wait_until
from vpngw.site import Port, Site, Tunnel

TRAFFIC = Path(__file__).with_name("traffic.py")
# Rings that take what a TCP sender bursts; and frames go through the interface's queue, where a capture sees them.
AF_PACKET = "framecnt=4096,qdisc_bypass=0"


def cores() -> list[int]:
    """Processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


def ports(number: int) -> list[Port]:
    """The ports of gateway `number`, over the kernel interfaces lan and wan."""
    return [
        Port("lan", "protected", [f"10.0.{number}.1/24"], f"net_af_packet0,iface=lan,{AF_PACKET}"),
        Port("wan", "unprotected", [f"192.0.2.{number}/24"], f"net_af_packet1,iface=wan,{AF_PACKET}"),
    ]


@dataclass
class LiveGateway:
    """One run of vpn-gw in a namespace. `environment` is added to the test's own; `wrapper` goes in front of it."""

    network: Network
    name: str
    site: Path
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: list = field(default_factory=list)
    log: Path = field(init=False)
    report: Path = field(init=False)

    def __post_init__(self):
        number = 1
        while (log := self.network.directory / f"{self.site.stem}-{number}.log").exists():
            number += 1
        self.log, self.report = log, log.with_suffix(".json")
        self.process = self.network.start(
            self.name, *self.wrapper, BINARY, "--config", self.site, "--report", self.report, log=self.log,
            env=os.environ | self.environment)

    def wait_for(self, text: str, seconds: float = 20) -> None:
        """Until `text` is in its log."""
        wait_until(
            lambda: text in self.log.read_text() or self.process.poll() is not None, lambda: self._story(text), seconds)
        assert text in self.log.read_text(), self._story(text)

    def wait_running(self) -> LiveGateway:
        self.wait_for(" runs: workers on core(s)")
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 10) -> dict:
        """Ends it in time, with exit code 0; its final report, in which every packet is accounted for."""
        self.process.send_signal(how)
        code = self.process.wait(seconds)
        assert code == 0, self._story(f"exit code {code}")
        report = json.loads(self.report.read_text())
        assert_conserved(report)
        return report

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def show(self, subject: str) -> dict:
        """What `vpn-gw show` says of it now."""
        return self.control.get(subject)

    def ended(self, seconds: float = 20) -> Result:
        """Waits for a run that ends by itself."""
        return Result(self.process.wait(seconds), "", self.log.read_text(), None)

    @property
    def control(self) -> Control:
        return Control(self.site.with_suffix(".sock"))

    def _story(self, what: str) -> str:
        return f"{self.site.stem}: {what}\n{self.log.read_text()}"


@dataclass
class Sites:
    """host-a -- lan [gw-a] wan == wan [gw-b] lan -- host-b, with one tunnel between the gateways."""

    network: Network
    site_a: Site
    site_b: Site
    a: LiveGateway | None = None
    b: LiveGateway | None = None

    def start(self) -> None:
        """Both gateways, until they run."""
        self.a = LiveGateway(self.network, "gw-a", self.site_a.write())
        self.b = LiveGateway(self.network, "gw-b", self.site_b.write())
        self.a.wait_running()
        self.b.wait_running()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[dict, dict]:
        return self.a.stop(how), self.b.stop(how)


def make_sites(network: Network) -> Sites:
    network.add("host-a", "gw-a", "gw-b", "host-b")
    network.veth(("host-a", "eth0"), ("gw-a", "lan"))
    network.veth(("gw-a", "wan"), ("gw-b", "wan"))
    network.veth(("gw-b", "lan"), ("host-b", "eth0"))
    network.host("host-a", "10.0.1.10/24", "10.0.1.1")
    network.host("host-b", "10.0.2.10/24", "10.0.2.1")
    tunnel = Tunnel("b", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    last = cores()[-2:]
    return Sites(
        network, Site("gw-a", network.directory, ports(1), [tunnel], worker_cores=[last[0]]),
        Site("gw-b", network.directory, ports(2), [tunnel.reversed("a")], worker_cores=[last[-1]]))


@dataclass
class One:
    """host -- lan [gw] wan -- peer, where the peer is 192.0.2.2 and, as far as the gateway knows, the end of a tunnel."""

    network: Network
    site: Site

    def run(self, text: str | None = None, **environment: str) -> LiveGateway:
        """A run of the site, or of a site file with other text."""
        path = self.site.write()
        if text is not None:
            path.write_text(text)
        return LiveGateway(self.network, "gw", path, environment)


def make_one(network: Network) -> One:
    network.add("host", "gw", "peer")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.veth(("gw", "wan"), ("peer", "eth0"))
    network.host("host", "10.0.1.10/24", "10.0.1.1")
    tunnel = Tunnel("peer", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    return One(network, Site("gw", network.directory, ports(1), [tunnel], worker_cores=cores()[-1:]))


class Stream:
    """Numbered datagrams from one host to another; with `largest`, of all sizes up to that, else of 64 octets."""

    def __init__(self, network: Network, sender: str, receiver: str, address: str, port: int, rate: int,
                 largest: int = 64):
        self._counted = network.directory / f"counted-{receiver}-{port}.log"
        self._numbered = network.directory / f"numbered-{sender}-{port}.log"
        self._counter = network.start(receiver, sys.executable, TRAFFIC, "count", port, log=self._counted)
        wait_until(lambda: "listening" in self._counted.read_text(), lambda: self._counted.read_text())
        self._sender = network.start(
            sender, sys.executable, TRAFFIC, "number", address, port, rate, largest, log=self._numbered)

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


def echo(network: Network, name: str, address: str, first: int, last: int, *nudge: str) -> None:
    """An ICMP echo of every payload size, whose content must come back. With "nudge" something else is asked besides when
    an answer is late: a guest at times leaves a frame in its network card until the next one comes."""
    said = network.run(name, sys.executable, TRAFFIC, "echo", address, first, last, *nudge, timeout=100)
    assert said == f"echoed {last - first + 1}\n"


def transfer(network: Network, sender: str, receiver: str, address: str, octets: int, port: int = 5001) -> None:
    """Random octets by TCP; the receiver must have the same."""
    log = network.directory / f"receive-{receiver}-{port}.log"
    process = network.start(receiver, sys.executable, TRAFFIC, "receive", port, log=log)
    wait_until(lambda: "listening" in log.read_text(), lambda: log.read_text())
    said = network.run(sender, sys.executable, TRAFFIC, "send", address, port, octets, timeout=100).split()
    assert process.wait(30) == 0, log.read_text()
    assert log.read_text().split()[1:] == ["received", *said[1:]]
    assert said[1] == str(octets)


def blast(network: Network, name: str, address: str, count: int) -> None:
    """UDP datagrams that nobody answers, as fast as they go."""
    network.run(name, sys.executable, TRAFFIC, "blast", address, count)
