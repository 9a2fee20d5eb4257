"""The way to the kernel: IKE beside the gateway, as a daemon has it, and nothing else by that way.

    host 10.0.1.10, fd00:1::10 -- lan [gw] wan -- peer 192.0.2.2, fd00:ff::2
                                       |
                                     punt -- "kernel" in a namespace with the gateway's own addresses

The kernel's end of the punt port is moved away from the gateway's ports: these are the kernel's as well here, and what
has the own addresses on the same kernel would take packets from their wires itself. RFC 4301 section 4.4.1, RFC 3948
section 2.2.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

import pytest

from vpngw import packets
from vpngw.live import LiveGateway, One
from vpngw.network import Network, wait_until
from vpngw.wiretap import Wiretap

MARKER = bytes(4)
"""What IKE begins with on the port that it shares with ESP."""


@dataclass(frozen=True)
class Family:
    """A family's addresses in the picture."""

    number: int
    kind: socket.AddressFamily
    outside: str
    inside: str
    peer: str
    host: str
    foreign: str
    """None of the gateway's own, and one that the kernel has."""


IPV4 = Family(4, socket.AF_INET, "192.0.2.1", "10.0.1.1", "192.0.2.2", "10.0.1.10", "10.0.1.77")
IPV6 = Family(6, socket.AF_INET6, "fd00:ff::1", "fd00:1::1", "fd00:ff::2", "fd00:1::10", "fd00:1::77")
FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])


@dataclass
class Punt:
    """A gateway that runs, with the kernel's end in the namespace `ike`."""

    network: Network
    family: Family
    gateway: LiveGateway

    def udp(self, name: str, address: str, port: int) -> socket.socket:
        opened = self.network.socket(name, self.family.kind, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        opened.settimeout(20)
        return opened

    def raw(self, name: str, address: str) -> socket.socket:
        """Sends TCP segments of its own making, and its kernel knows of no connection."""
        opened = self.network.socket(name, self.family.kind, socket.SOCK_RAW, socket.IPPROTO_TCP)
        opened.bind((address, 0))
        return opened

    def drops(self, reason: str) -> int:
        return self.gateway.show("drops")["drops"].get(reason, 0)

    def wait_for_drops(self, reason: str, count: int) -> None:
        wait_until(lambda: self.drops(reason) >= count, lambda: f"{count} {reason}: {self.gateway.show('report')}")


def start(one: One, family: Family, **punt: object) -> Punt:
    network = one.network
    network.add("ike")
    for name, address in (("host", family.host), ("peer", family.peer)):
        if family is IPV6:
            network.host6(name, f"{address}/64", family.inside if name == "host" else None)
        elif name == "peer":
            network.host(name, f"{address}/24")
    if family is IPV6:
        for port, address in zip(one.site.ports, (family.inside, family.outside)):
            port.addresses.append(f"{address}/64")
    one.site.punt = {"device": "net_tap9,iface=kernel"} | punt
    gateway = one.run().wait_running()
    network.ip("gw", "link", "set", "kernel", "netns", network.full("ike"))
    # Of itself the kernel says nothing on it.
    network.ip("ike", "link", "set", "kernel", "addrgenmode", "none")
    network.ip("ike", "link", "set", "kernel", "up")
    for address in (family.outside, family.inside, family.foreign):
        if family is IPV6:
            network.host6("ike", f"{address}/128", interface="kernel")
        else:
            network.host("ike", f"{address}/32", interface="kernel")
    network.ip("ike", f"-{family.number}", "route", "add", "default", "dev", "kernel")
    return Punt(network, family, gateway)


def syn(source: str, destination: str) -> bytes:
    """The first segment of a connection to port 22."""
    segment = struct.pack("!HHIIBBHHH", 40000, 22, 1, 0, 0x50, 2, 8192, 0, 0)
    addresses = packets.address(source) + packets.address(destination)
    total = packets.checksum(addresses + struct.pack("!II", len(segment), packets.TCP) + segment)
    return segment[:16] + total.to_bytes(2, "big") + segment[18:]


def upper(frame: bytes) -> tuple[int, bytes]:
    """The upper protocol of a frame, and what follows the IP header; -1 when it carries no IP."""
    match frame[12:14]:
        case b"\x08\x00":
            return frame[23], frame[14 + (frame[14] & 15) * 4 : 14 + int.from_bytes(frame[16:18])]
        case b"\x86\xdd":
            return frame[20], frame[54 : 54 + int.from_bytes(frame[18:20])]
    return -1, b""


@FAMILIES
def test_ike_goes_to_the_kernel_and_its_answer_leaves(one: One, family: Family):
    punt = start(one, family)
    for port, marker in ((500, b""), (4500, MARKER)):
        for name, source, own in (("peer", family.peer, family.outside), ("host", family.host, family.inside)):
            asker, daemon = punt.udp(name, source, port), punt.udp("ike", own, port)
            for size in (1, 100, 1400):
                question, answer = (marker + letter * size for letter in (b"?", b"!"))
                asker.sendto(question, (own, port))
                asked, where = daemon.recvfrom(2048)
                assert (asked, where[:2]) == (question, (source, port))
                daemon.sendto(answer, where)
                answered, whence = asker.recvfrom(2048)
                assert (answered, whence[:2]) == (answer, (own, port))
    report = punt.gateway.stop()
    assert report["ports"]["punt"]["tx_packets"] >= 12
    if family is IPV4:
        assert report["drops"] == {}


@FAMILIES
def test_what_is_let_in_and_not_answered_goes_to_the_kernel(one: One, family: Family):
    """From the protected side; clear text from the other side is no_policy, whatever it is for. Echo stays here."""
    punt = start(one, family)
    kernel = Wiretap(punt.network, "ike", "kernel")
    count = 20
    for name, source, own in (("host", family.host, family.inside), ("peer", family.peer, family.outside)):
        opened = punt.raw(name, source)
        for _ in range(count):
            opened.sendto(syn(source, own), (own, 0))
    # Each of the host's is answered by the kernel, where nobody listens, and that answer goes no further; the peer's
    # do not come so far.
    punt.wait_for_drops("no_policy", 2 * count)
    said = punt.network.run("host", "ping", f"-{family.number}", "-c", "3", "-i", "0.1", family.inside)
    assert " 0% packet loss" in said
    seen: list[tuple[int, bytes]] = []

    def segments() -> list[bytes]:
        seen.extend(map(upper, kernel.fresh()))
        return [segment for protocol, segment in seen if protocol == packets.TCP]

    # The interface goes with the gateway, so the capture is read before.
    wait_until(lambda: len(segments()) >= 2 * count, "the segments and their answers are in the capture")
    report = punt.gateway.stop()
    asked = syn(family.host, family.inside)
    assert [segment for segment in segments() if segment[2:4] == b"\0\x16"] == [asked] * count
    assert len(segments()) == 2 * count, "the kernel answered each"
    assert packets.ICMP not in [protocol for protocol, _ in seen]
    if family is IPV4:
        assert report["drops"] == {"no_policy": 2 * count}


@FAMILIES
def test_nothing_but_ike_comes_from_the_kernel(one: One, family: Family):
    """RFC 4301 section 4.4.1: it is no way around the SPD."""
    punt = start(one, family)
    wires = [Wiretap(punt.network, name, "eth0") for name in ("peer", "host")]
    ports = [(500, b"IKE"), (4500, MARKER + b"IKE"), (4500, b"\xff")]
    forbidden = [(family.outside, 501, b"IKE"), (family.outside, 4500, b"like ESP"), (family.outside, 4500, b"IKE"),
                 (family.outside, 4500, b""), (family.foreign, 500, b"IKE"), (family.foreign, 4500, MARKER)]
    receivers = {name: punt.udp(name, address, 7) for name, address in (("peer", family.peer), ("host", family.host))}
    for address in (family.peer, family.host):
        for source, port, load in forbidden:
            punt.udp("ike", source, port).sendto(load, (address, 7))
        punt.raw("ike", family.outside).sendto(syn(family.outside, address), (address, 0))
        ping = ("ping", f"-{family.number}", "-c", "2", "-i", "0.1", "-W", "1", "-I", family.outside, address)
        assert "0 received" in punt.network.run("ike", *ping, check=False)
    punt.wait_for_drops("no_policy", 2 * (len(forbidden) + 3))
    # It still takes what it should, after all that.
    for name, address in (("peer", family.peer), ("host", family.host)):
        for port, load in ports:
            punt.udp("ike", family.outside, port).sendto(load, (address, 7))
            octets, where = receivers[name].recvfrom(2048)
            assert (octets, where[:2]) == (load, (family.outside, port))
    report = punt.gateway.stop()
    for wire in wires:
        sent = [payload for protocol, payload in map(upper, wire.stop()) if protocol in (packets.UDP, packets.TCP)]
        assert [(int.from_bytes(payload[:2]), payload[8:]) for payload in sent] == ports
    if family is IPV4:
        assert report["drops"] == {"no_policy": 2 * (len(forbidden) + 3)}


@FAMILIES
def test_a_flood_does_not_reach_the_kernel(one: One, family: Family):
    """`rate_packets_per_second`, with a quarter of a second's packets at once."""
    rate, count = 40, 2000
    punt = start(one, family, rate_packets_per_second=rate)
    asker = punt.udp("peer", family.peer, 500)
    # One goes ahead, so that neighbours know each other.
    daemon = punt.udp("ike", family.outside, 500)
    asker.sendto(b"IKE", (family.outside, 500))
    assert daemon.recvfrom(2048)[0] == b"IKE"
    began = time.monotonic()
    for number in range(count):
        asker.sendto(number.to_bytes(4), (family.outside, 500))
        if number % 100 == 0:
            time.sleep(0.001)

    def passed() -> int:
        return punt.gateway.show("report")["ports"]["punt"]["tx_packets"]

    wait_until(lambda: passed() + punt.drops("rate_limited") >= count, lambda: f"{punt.gateway.show('report')}")
    seconds = time.monotonic() - began
    report = punt.gateway.stop()
    limited, through = report["drops"].pop("rate_limited"), report["ports"]["punt"]["tx_packets"]
    assert limited > 0 and through < rate / 4 + rate * seconds + 20, (limited, through, seconds)
    if family is IPV4:
        # One of ours went ahead, and ARP was asked and answered.
        assert count + 1 <= limited + through <= count + 10
        assert report["drops"] == {}
