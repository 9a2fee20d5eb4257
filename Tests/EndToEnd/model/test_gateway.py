"""The gateway, as it is, on the model's ports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpngw import network as networks
from vpngw import nic
from vpngw.live import LiveGateway, echo, make_sites
from vpngw.network import Network
from vpngw.site import Port

pytestmark = pytest.mark.timeout(110)


def on_model(network: Network, name: str, site: Path, serial: int, report: Path) -> LiveGateway:
    """A gateway whose ports are the model's; the model's are the kernel's lan and wan."""
    wrapper = [nic.MODEL, "run", "--serial", serial, "--wire", "0=packet:lan", "--wire", "1=packet:wan", "--protect", 1,
               "--report", report, "--"]
    return LiveGateway(network, name, site, wrapper=wrapper)


@pytest.mark.skipif(nic.missing() is not None, reason=str(nic.missing()))
@pytest.mark.skipif(networks.missing() is not None, reason=str(networks.missing()))
def test_echo_through_two_gateways_on_the_model(tmp_path: Path):
    network = Network(tmp_path)
    try:
        sites = make_sites(network)
        gateways = []
        for serial, site in enumerate((sites.site_a, sites.site_b), 1):
            site.huge_pages = True
            site.ports = [Port(port.name, port.role, port.addresses, f"0000:81:00.{number}")
                          for number, port in enumerate(site.ports)]
            report = tmp_path / f"{site.name}-model.json"
            gateways.append((on_model(network, site.name, site.write(), serial, report), report))
        for gateway, _ in gateways:
            gateway.wait_for(" runs: workers on core(s)", 60)
        echo(network, "host-a", "10.0.2.10", 0, 200)
        echo(network, "host-b", "10.0.1.10", 1300, 1400)
        for gateway, judgement in gateways:
            assert gateway.stop(seconds=30)["drops"] == {}
            judged = json.loads(judgement.read_text())
            wan = judged["ports"][1]
            assert judged["violations"] == 0 and not any(wan["findings"].values())
            assert wan["tx_frames"] >= 302 and wan["rx_frames"] >= 302
    finally:
        network.close()
