"""Gateways whose ports are modelled NICs, and what both say of the traffic."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from vpngw import nic
from vpngw.live import LiveGateway, Sites
from vpngw.network import Network
from vpngw.site import Site

WAN = 1


def on_model(network: Network, site: Site, serial: int, *options) -> Modelled:
    """A gateway whose ports are the model's; the model's are the kernel's lan and wan. Not waited for."""
    site.huge_pages = True
    site.ports = [replace(port, device=f"0000:81:00.{number}") for number, port in enumerate(site.ports)]
    report, control = network.directory / f"{site.name}-model.json", network.directory / f"{site.name}-model.sock"
    wrapper = [nic.MODEL, "run", "--serial", serial, "--wire", "0=packet:lan", "--wire", "1=packet:wan", "--protect",
               WAN, "--report", report, "--control", control, *options, "--"]
    return Modelled(LiveGateway(network, site.name, site.write(), wrapper=list(map(str, wrapper))), report, control)


@dataclass
class Modelled:
    """A gateway on the model."""

    gateway: LiveGateway
    report: Path
    socket: Path

    def wait_running(self) -> Modelled:
        self.gateway.wait_for(" runs: workers on core(s)", 60)
        return self

    def tell(self, *words) -> str:
        """One line to the model."""
        done = subprocess.run([nic.MODEL, "tell", "--control", self.socket, *map(str, words)], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def wan(self) -> dict:
        """What the model says of the port that the judge looks at."""
        return json.loads(self.tell("stats"))["ports"][WAN]

    def paths(self) -> dict[tuple[str, str], dict]:
        """Rows of `show offload`, by SPI and direction."""
        return {(row["spi"], row["direction"]): row for row in self.gateway.control.get("offload")["offload"]}

    def path(self, spi: int, direction: str) -> str:
        return self.paths()[f"{spi:#010x}", direction]["path"]

    def stop(self, findings: bool = True) -> tuple[dict, dict]:
        """Both reports; no frame left the wan port that should not have, and no packet is unaccounted for."""
        said = self.gateway.stop(seconds=30)
        judged = json.loads(self.report.read_text())
        assert judged["violations"] == 0, judged
        if findings:
            assert not any(judged["ports"][WAN]["findings"].values()), judged["ports"][WAN]["findings"]
        return said, judged["ports"][WAN]


@dataclass
class ModelledSites:
    """host-a -- lan [gw-a] wan == wan [gw-b] lan -- host-b, both gateways on models."""

    sites: Sites
    a: Modelled
    b: Modelled

    @property
    def network(self) -> Network:
        return self.sites.network


def start_both(sites: Sites, *options) -> ModelledSites:
    both = ModelledSites(
        sites, on_model(sites.network, sites.site_a, 1, *options), on_model(sites.network, sites.site_b, 2, *options))
    both.a.wait_running()
    both.b.wait_running()
    return both
