"""What the NICs encrypt and decrypt, judged by who did not write the model: scapy, and a Linux kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vpngw import nic
from vpngw.capture import Record
from vpngw.guest import HOST, LOCAL, Guest, make_wire, skip_without_guests
from vpngw.inline import InlineRun
from vpngw.live import TRAFFIC, cores, echo, ports
from vpngw.network import Network
from vpngw.offload import on_model
from vpngw.scenario import Case, load_all
from vpngw.scenario_run import CaseRun
from vpngw.site import Site, Tunnel

pytestmark = pytest.mark.timeout(240)

OCTETS = 2 << 20
CASES = [case for scenario in load_all()
         if scenario.identifier in ("algorithms/ESP that encrypts", "transport/both ways")
         for case in scenario.cases() if case.variant.get("algorithm") == "aes-128-gcm-16"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_scapy_opens_what_a_nic_sealed_and_a_nic_what_scapy_sealed(case: Case, tmp_path: Path):
    if reason := nic.missing():
        pytest.skip(reason)
    run = InlineRun(case, tmp_path / "run", "required")
    outcome = run.finish()
    judge = CaseRun(case, tmp_path / "judge")
    judge.judge_ports({port: [Record(0, octets, len(octets)) for octets in frames] for port, frames in outcome.out.items()})
    assert not judge.problems, judge.problems
    assert outcome.report["drops"] == {} and outcome.model["violations"] == 0
    for row in outcome.report["sas"]:
        assert row["offloaded_packets"] == row["packets"] > 10 and row["fallback_packets"] == {}


def test_a_linux_kernel_and_a_nic(network: Network):
    """Echoes of every size and TCP both ways, with ESP of a kernel's at one end and of a NIC's at the other."""
    skip_without_guests()
    tunnel = Tunnel("guest", LOCAL[4], "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001,
                    keys={"offload": "required"})
    network.add("host", "gw", "wire")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.veth(("gw", "wan"), ("wire", "port"))
    network.host("host", f"{HOST[4]}/24", "10.0.1.1")
    make_wire(network, "wire")
    network.ip("wire", "link", "set", "port", "master", "wire")
    gateway = on_model(network, Site("gw", network.directory, ports(1), [tunnel], worker_cores=cores()[-1:]), 1)
    gateway.wait_running()
    guest = Guest.with_keys_of(network, "wire", tunnel, OCTETS=OCTETS)
    log = network.directory / "receive-host.log"
    receiver = network.start("host", sys.executable, TRAFFIC, "receive", 5002, log=log)

    def send(port: int, octets: int) -> list[str]:
        return network.run("host", sys.executable, TRAFFIC, "send", "10.0.2.10", port, octets, timeout=100).split()

    assert guest.wait_for("echo") == "echoed 1401"
    guest.wait_for("listening")
    echo(network, "host", "10.0.2.10", 0, 1400, "nudge")
    sent = send(5001, OCTETS)
    assert guest.wait_for("received").split() == ["received", *sent[1:]]
    sent = guest.wait_for("sent").split()
    assert receiver.wait(30) == 0, log.read_text()
    assert log.read_text().split()[1:] == ["received", *sent[1:]]
    guest.wait_for("listening", times=2)
    send(5003, 1)
    guest.wait_for("guest: end")
    guest.assert_nothing_refused()
    guest.assert_no_errors(2)
    report, wan = gateway.stop()
    guest.stop()
    assert report["drops"].keys() <= {"packet_too_big"}, report["drops"]
    for row in report["sas"]:
        software = sum(row["fallback_packets"].values())
        assert row["offloaded_packets"] + software == row["packets"] > 2 * 1401
        assert set(row["fallback_packets"]) <= {"neighbor_unresolved"} and software < 20, row
