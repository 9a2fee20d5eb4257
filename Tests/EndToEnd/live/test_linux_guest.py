"""A Linux kernel's ESP, in User-Mode Linux, as the other end of a tunnel: the judge that nobody here wrote.

    … wan -- bridge -- guest 192.0.2.2, and 10.0.2.10 behind the tunnel
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from random import Random

import pytest

from vpngw import packets
from vpngw.guest import INTERFACE, Guest, make_guest_site, make_wire, skip_without_guests
from vpngw.ledger import NonceLedger
from vpngw.live import TRAFFIC, LiveGateway, cores, echo, ports
from vpngw.network import Network, wait_until
from vpngw.site import Site, Tunnel
from vpngw.wiretap import Wiretap, assert_only_esp_and_arp, esp, is_esp

OCTETS = 4 << 20  # of each TCP transfer


@pytest.mark.timeout(240)
def test_linux_kernel_as_peer(network: Network):
    skip_without_guests()
    tunnel = Tunnel("guest", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    gateway = make_guest_site(network, [tunnel]).start()
    wire = Wiretap(network, "gw", INTERFACE)
    guest = Guest.with_keys_of(network, "gw", tunnel, OCTETS=OCTETS)

    host_log = network.directory / "receive-host.log"
    receiver = network.start("host", sys.executable, TRAFFIC, "receive", 5002, log=host_log)

    def send(port: int, octets: int) -> list[str]:
        return network.run(
            "host", sys.executable, TRAFFIC, "send", "10.0.2.10", port, octets, timeout=100).split()

    assert guest.wait_for("echo") == "echoed 1401"
    guest.wait_for("listening")
    echo(network, "host", "10.0.2.10", 0, 1400, "nudge")
    sent = send(5001, OCTETS)
    assert guest.wait_for("received").split() == ["received", *sent[1:]]
    sent = guest.wait_for("sent").split()
    assert receiver.wait(30) == 0, host_log.read_text()
    assert host_log.read_text().split()[1:] == ["received", *sent[1:]]
    assert sent[1] == str(OCTETS)
    guest.wait_for("listening", times=2)
    send(5003, 1)
    guest.wait_for("guest: end")

    guest.assert_nothing_refused()
    guest.assert_no_errors(2)

    report = gateway.stop()
    assert report["drops"].keys() <= {"packet_too_big"}, report["drops"]
    frames = wire.stop()
    guest.stop()
    assert_only_esp_and_arp(frames)
    packets = [esp(frame) for frame in frames if is_esp(frame)]
    for spi, name in ((0x1001, "outbound"), (0x2001, "inbound")):
        association, = (sa for sa in report["sas"] if sa["direction"] == name)
        assert association["packets"] == sum(packet.spi == spi for packet in packets) > 2 * 1401


class Questions:
    """A host that asks without end, 100 times a second, and when it had an answer."""

    def __init__(self, network: Network, name: str, address: str):
        self._socket = network.socket(name, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.settimeout(0.01)
        self._address, self._stop = address, threading.Event()
        self.answered_at = 0.0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        number, due = 0, time.monotonic()
        while not self._stop.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + 0.01
                number = number + 1 & 0xFFFF
                try:
                    self._socket.sendto(packets.echo(0x7777, number, bytes(16)), (self._address, 0))
                except OSError:  # its own ARP found nobody
                    pass
            try:
                message = self._socket.recv(2048)[20:]
            except TimeoutError:
                continue
            if message[0] == 0 and message[4:6] == b"\x77\x77":
                self.answered_at = time.monotonic()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("restarts", [
    pytest.param(5, marks=pytest.mark.timeout(240)),
    pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_linux_kernel_accepts_again_after_each_kill(network: Network, restarts: int):
    """Measured from the line that says that workers run. Asked for is a second; the test fails at five, since on a
    machine whose processors others use as well the guest, a process among them, may wait for one that long."""
    skip_without_guests()
    seed = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))
    random = Random(seed)
    network.add("host", "gw", "peer")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.veth(("gw", "wan"), ("peer", "gateway"))
    network.host("host", "10.0.1.10/24", "10.0.1.1")
    make_wire(network, "peer")
    network.ip("peer", "link", "set", "gateway", "master", "wire", "up")
    tunnel = Tunnel("guest", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    site = Site("gw", network.directory, ports(1), [tunnel], worker_cores=cores()[-1:])
    wire = Wiretap(network, "peer", INTERFACE, octets=64)
    guest = Guest.with_keys_of(network, "peer", tunnel, IDLE=1)
    guest.wait_for("guest: idle")
    guest.assert_nothing_refused()
    gateway = LiveGateway(network, "gw", site.write()).wait_running()
    questions = Questions(network, "host", "10.0.2.10")
    took = []
    try:
        wait_until(lambda: questions.answered_at > 0, lambda: f"{gateway.show('report')}")
        for number in range(restarts):
            time.sleep(random.uniform(0, 0.5))
            gateway.kill()
            killed = time.monotonic()
            gateway = LiveGateway(network, "gw", site.write())
            while " runs: workers on core(s)" not in gateway.log.read_text() and gateway.process.poll() is None:
                time.sleep(0.002)
            runs = time.monotonic()
            wait_until(
                lambda: questions.answered_at > killed, lambda: f"{number}, seed {seed}: {gateway.show('report')}")
            took.append(max(0.0, questions.answered_at - runs))
    finally:
        questions.stop()
    median = sorted(took)[len(took) // 2]
    print(f"seed {seed}: answered again after {max(took):.3f} s at most, {median:.3f} s in the middle")
    assert max(took) < 5
    gateway.stop()
    ledger = NonceLedger({0x1001: tunnel.outbound_key, 0x2001: tunnel.inbound_key})
    ledger.take(wire.stop(), f"seed {seed}")
    guest.stop()
    assert ledger.count > 100
