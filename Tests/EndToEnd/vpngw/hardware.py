"""Two gateways that speak over two NICs: real ones (their PCI addresses), or the model's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from . import nic
from .gateway import command
from .live import AF_PACKET, LiveGateway, cores
from .network import Network, wait_until
from .site import Port, Site, Tunnel

HOSTS = {4: ("10.0.1.10", "10.0.2.10"), 6: ("fd00:1::10", "fd00:2::10")}
MODELLED = "0000:81:00.0"


@dataclass
class End:
    """One gateway and its NIC."""

    site: Site
    wrapper: list
    environment: dict[str, str]
    report: Path | None
    gateway: LiveGateway | None = None

    def start(self, network: Network) -> None:
        self.gateway = LiveGateway(network, self.site.name, self.site.write(), self.environment, self.wrapper)

    def rows(self) -> dict[str, dict]:
        """What `show offload` says, by direction; of the SAs that are sent under."""
        rows = self.gateway.control.get("offload")["offload"]
        return {row["direction"]: row for row in rows}

    def stop(self) -> dict:
        """The report, in which every packet is accounted for; and of a model what its judge says."""
        said = self.gateway.stop(seconds=30)
        if self.report:
            judged = json.loads(self.report.read_text())
            assert judged["violations"] == 0, judged
            assert not any(judged["ports"][0]["findings"].values()), judged
        return said


@dataclass
class Pair:
    network: Network
    a: End
    b: End

    def start(self) -> Pair:
        """Both gateways, until they run and the link is up."""
        for end in (self.a, self.b):
            end.start(self.network)
        for end in (self.a, self.b):
            end.gateway.wait_for(" runs: workers on core(s)", 60)
        for end in (self.a, self.b):
            wait_until(lambda: end.gateway.show("ports")["ports"]["wan"]["link"] == "up", "the link is up", 30)
        return self

    def stop(self) -> tuple[dict, dict]:
        return self.a.stop(), self.b.stop()

    def ask(self, end: End, *words):
        """One of the gateway's commands for it."""
        return command(*words, "--socket", end.gateway.site.with_suffix(".sock"))


def make_pair(network: Network, devices: list[str], *, family: int = 4, outer: int = 4, transport: bool = False,
              offload_a: object = "required", offload_b: object = "required") -> Pair:
    """Cabled, not started. Between the NICs there are addresses of both families."""
    network.add("host-a", "gw-a", "gw-b", "host-b")
    network.veth(("host-a", "eth0"), ("gw-a", "lan"))
    network.veth(("gw-b", "lan"), ("host-b", "eth0"))
    if not devices:
        network.veth(("gw-a", "wan"), ("gw-b", "wan"))
    ends = []
    for number, name in enumerate("ab", start=1):
        if family == 4:
            network.host(f"host-{name}", f"10.0.{number}.10/24", f"10.0.{number}.1")
        else:
            network.host6(f"host-{name}", f"fd00:{number}::10/64", f"fd00:{number}::1")
        lan = Port("lan", "protected", [f"10.0.{number}.1/24", f"fd00:{number}::1/64"],
                   f"net_af_packet0,iface=lan,{AF_PACKET}")
        wan = Port("wan", "unprotected", [f"192.0.2.{number}/24", f"2001:db8:ff::{number}/64"],
                   devices[number - 1] if devices else MODELLED)
        other = 3 - number
        routes = [(f"10.0.{other}.0/24", f"192.0.2.{other}"), (f"fd00:{other}::/64", f"2001:db8:ff::{other}")]
        ends.append((Site(f"gw-{name}", network.directory, [lan, wan], routes=routes,
                          worker_cores=[cores()[-2:][number - 1 if len(cores()) > 1 else 0]], huge_pages=True), name))
    tunnel = _tunnel(family, outer, transport)
    ends[0][0].tunnels, ends[1][0].tunnels = [tunnel], [tunnel.reversed("a")]
    tunnel.keys = tunnel.keys | {"offload": offload_a}
    ends[1][0].tunnels[0].keys = tunnel.keys | {"offload": offload_b}
    return Pair(network, *(_end(network, site, number, bool(devices)) for number, (site, _) in enumerate(ends, start=1)))


def _tunnel(family: int, outer: int, transport: bool) -> Tunnel:
    if transport:
        return Tunnel("b", *HOSTS[family], [], [], 0x1001, 0x2001, keys={"mode": "transport"})
    ends = ("192.0.2.1", "192.0.2.2") if outer == 4 else ("2001:db8:ff::1", "2001:db8:ff::2")
    subnets = (["10.0.1.0/24"], ["10.0.2.0/24"]) if family == 4 else (["fd00:1::/64"], ["fd00:2::/64"])
    return Tunnel("b", *ends, *subnets, 0x1001, 0x2001)


def _end(network: Network, site: Site, number: int, is_real: bool) -> End:
    if is_real:
        return End(site, [], {}, None)
    report = network.directory / f"{site.name}-model.json"
    wrapper = [nic.MODEL, "run", "--ports", 1, "--serial", number, "--wire", "0=packet:wan", "--protect", 0, "--report",
               report, "--"]
    return End(site, list(map(str, wrapper)), {}, report)
