"""A Linux kernel's ESP, in User-Mode Linux, as the other end of a tunnel: the judge that nobody here wrote.

    host 10.0.1.10 -- lan [vpn-gw] wan -- bridge -- guest 192.0.2.2, 10.0.2.10
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from random import Random

import pytest

from vpngw import packets
from vpngw.ledger import NonceLedger
from vpngw.live import AF_PACKET, TRAFFIC, LiveGateway, cores, echo, ports
from vpngw.network import Network, wait_until
from vpngw.site import Port, Site, Tunnel
from vpngw.wiretap import Wiretap, assert_only_esp_and_arp, esp, is_esp

MEMORY_MIB = 256
OCTETS = 4 << 20  # of each TCP transfer


def missing() -> str | None:
    """Why there can be no guest here; None where there can."""
    if shutil.which("linux.uml") is None:
        return "User-Mode Linux is not installed (user-mode-linux)"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun for the guest's network card"
    return None


class Guest:
    """A running guest. Its memory is a file: in /dev/shm where there is room."""

    def __init__(self, network: Network, name: str, interface: str, init: str = "guest-init.sh", **words: object):
        if reason := missing():
            pytest.skip(reason)
        room = os.statvfs("/dev/shm")
        memory = "/dev/shm" if room.f_bavail * room.f_frsize > MEMORY_MIB << 20 else str(network.directory)
        self.log = network.directory / "guest.log"
        arguments = [f"{key}={value}" for key, value in words.items()]
        self._process = network.start(
            name, "linux.uml", f"mem={MEMORY_MIB}M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={Path(__file__).with_name(init)}", "con=null",
            "con0=null,fd:1", f"uml_dir={network.directory}", "umid=guest", "quiet", f"eth0=tuntap,{interface}",
            *arguments, log=self.log, env={**os.environ, "TMPDIR": memory})

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").replace("\r", "").splitlines()

    def wait_for(self, text: str, seconds: float = 60, times: int = 1) -> str:
        """The line in which `text` comes for the nth time; what the guest said as the failure."""
        def found() -> list[str]:
            return [line for line in self.lines() if text in line]
        wait_until(
            lambda: len(found()) >= times or self._process.poll() is not None, lambda: "\n".join(self.lines()), seconds)
        assert len(found()) >= times, "\n".join(self.lines())
        return found()[times - 1]

    def stop(self) -> None:
        """Turns it off: its kernel takes SIGTERM for that."""
        self._process.terminate()
        self._process.wait(10)


@pytest.mark.timeout(240)
def test_linux_kernel_as_peer(network: Network):
    if reason := missing():
        pytest.skip(reason)
    network.add("host", "gw")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.host("host", "10.0.1.10/24", "10.0.1.1")
    tunnel = Tunnel("guest", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    site = Site(
        "gw", network.directory,
        [Port("lan", "protected", ["10.0.1.1/24"], f"net_af_packet0,iface=lan,{AF_PACKET}"),
         Port("wan", "unprotected", ["192.0.2.1/24"], "net_tap0,iface=wan")], [tunnel], worker_cores=cores()[-1:])

    # The guest has a tap, DPDK makes its own, a bridge joins them.
    network.ip("gw", "link", "add", "wire", "type", "bridge", "mcast_snooping", "0")
    network.ip("gw", "link", "set", "wire", "up")
    network.ip("gw", "tuntap", "add", "dev", "guest", "mode", "tap")
    network.ip("gw", "link", "set", "guest", "master", "wire", "up")
    gateway = LiveGateway(network, "gw", site.write()).wait_running()
    # The kernel's end of a DPDK tap has the port's own MAC address, and a bridge keeps what is for its own interfaces.
    network.ip("gw", "link", "set", "wan", "address", "02:00:00:00:00:01")
    network.ip("gw", "link", "set", "wan", "master", "wire", "up")
    wire = Wiretap(network, "gw", "guest")
    guest = Guest(
        network, "gw", "guest", KEY_OUT=f"0x{tunnel.inbound_key.hex()}", KEY_IN=f"0x{tunnel.outbound_key.hex()}",
        TRAFFIC=TRAFFIC, OCTETS=OCTETS)

    host_log = network.directory / "receive-host.log"
    receiver = network.start("host", sys.executable, TRAFFIC, "receive", 5002, log=host_log)

    def send(port: int, octets: int) -> list[str]:
        return network.run(
            "host", sys.executable, TRAFFIC, "send", "10.0.2.10", port, octets, timeout=100).split()

    assert guest.wait_for("echo") == "echoed 1401"
    guest.wait_for("listening")
    echo(network, "host", "10.0.2.10", 0, 1400)
    sent = send(5001, OCTETS)
    assert guest.wait_for("received").split() == ["received", *sent[1:]]
    sent = guest.wait_for("sent").split()
    assert receiver.wait(30) == 0, host_log.read_text()
    assert host_log.read_text().split()[1:] == ["received", *sent[1:]]
    assert sent[1] == str(OCTETS)
    guest.wait_for("listening", times=2)
    send(5003, 1)
    guest.wait_for("guest: end")

    said = guest.lines()
    states = said[said.index("guest: SAs"):said.index("guest: errors")]
    failures = re.findall(r"replay-window (\d+) replay (\d+) failed (\d+)", " ".join(states))
    assert failures == [("0", "0", "0")] * 2, states
    assert said[said.index("guest: errors") + 1:said.index("guest: end")] == []

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
    if reason := missing():
        pytest.skip(reason)
    seed = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))
    random = Random(seed)
    network.add("host", "gw", "peer")
    network.veth(("host", "eth0"), ("gw", "lan"))
    network.veth(("gw", "wan"), ("peer", "gateway"))
    network.host("host", "10.0.1.10/24", "10.0.1.1")
    network.ip("peer", "link", "add", "wire", "type", "bridge", "mcast_snooping", "0")
    network.ip("peer", "tuntap", "add", "dev", "guest", "mode", "tap")
    for interface in ("guest", "gateway"):
        network.ip("peer", "link", "set", interface, "master", "wire", "up")
    network.ip("peer", "link", "set", "wire", "up")
    tunnel = Tunnel("guest", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    site = Site("gw", network.directory, ports(1), [tunnel], worker_cores=cores()[-1:])
    wire = Wiretap(network, "peer", "guest", octets=64)
    guest = Guest(
        network, "peer", "guest", IDLE=1, KEY_OUT=f"0x{tunnel.inbound_key.hex()}",
        KEY_IN=f"0x{tunnel.outbound_key.hex()}")
    guest.wait_for("guest: idle")
    assert not any("refused" in line for line in guest.lines()), guest.lines()
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
