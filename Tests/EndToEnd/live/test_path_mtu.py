"""A link on the way that takes less than both gateways' own: a kernel routes there, and says so by ICMP.

    host -- lan [gw] wan == [router] == wan [far] lan -- far-host

The link on the right has the smaller MTU. RFC 4301 section 8.2, RFC 1191, RFC 8201.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from vpngw.live import LiveGateway, One, cores, echo, ports, transfer
from vpngw.network import wait_until
from vpngw.site import Site, Tunnel

NARROW = 1400
OCTETS = 1 << 20  # of each TCP transfer


@dataclass(frozen=True)
class Way:
    """A tunnel's outer addresses, the router's, and what is left for inner packets."""

    family: int
    near: str
    near_router: str
    far_router: str
    far: str
    far_block: str
    keys: tuple[tuple[str, object], ...] = ()
    before: int = 0
    after: int = 0
    """The inner MTU before and after it is learnt: outer, IP, UDP if any, ESP, IV, trailer, ICV, whole words."""

    @property
    def bits(self) -> int:
        return 24 if self.family == 4 else 64


IPV4 = ("192.0.2.1", "192.0.2.2", "198.51.100.2", "198.51.100.1", "198.51.100.0/24")
IPV6 = ("fd00:a::1", "fd00:a::2", "fd00:b::2", "fd00:b::1", "fd00:b::/64")
NAT = (("nat_traversal", True),)
WAYS = [
    pytest.param(Way(4, *IPV4, before=1446, after=1346), id="ESP over IPv4"),
    pytest.param(Way(4, *IPV4, NAT, before=1438, after=1338), id="ESP in UDP over IPv4"),
    pytest.param(Way(6, *IPV6, before=1426, after=1326), id="ESP over IPv6"),
    pytest.param(Way(6, *IPV6, NAT, before=1418, after=1318), id="ESP in UDP over IPv6"),
]


def start(one: One, way: Way) -> tuple[LiveGateway, LiveGateway]:
    """Both gateways, and both families on the inside."""
    network = one.network
    network.add("far", "far-host")
    network.veth(("peer", "eth1"), ("far", "wan"))
    network.veth(("far", "lan"), ("far-host", "eth0"))
    network.host("far-host", "10.0.2.10/24", "10.0.2.1")
    network.host6("host", "fd00:1::10/64", "fd00:1::1")
    network.host6("far-host", "fd00:2::10/64", "fd00:2::1")
    give = network.host if way.family == 4 else network.host6
    give("peer", f"{way.near_router}/{way.bits}")
    give("peer", f"{way.far_router}/{way.bits}", interface="eth1")
    network.run(
        "peer", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
        "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    network.ip("peer", "link", "set", "eth1", "mtu", str(NARROW))
    tunnel = Tunnel(
        "far", way.near, way.far, ["10.0.1.0/24", "fd00:1::/64"], ["10.0.2.0/24", "fd00:2::/64"], 0x1001, 0x2001,
        keys=dict(way.keys))
    near_block = way.far_block.replace("198.51.100", "192.0.2").replace("fd00:b", "fd00:a")
    one.site.tunnels = [tunnel]
    one.site.ports[0].addresses = ["10.0.1.1/24", "fd00:1::1/64"]
    one.site.ports[1].addresses = [f"{way.near}/{way.bits}"]
    one.site.routes = [(way.far_block, way.near_router)]
    far_ports = ports(2)
    far_ports[0].addresses.append("fd00:2::1/64")
    far_ports[1].addresses = [f"{way.far}/{way.bits}"]
    far_ports[1].mtu_octets = NARROW
    far = Site(
        "far", network.directory, far_ports, [tunnel.reversed("near")], [(near_block, way.far_router)],
        worker_cores=cores()[:1], extra='metrics_address = "127.0.0.1:9465"')
    gateway = one.run().wait_running()
    return gateway, LiveGateway(network, "far", far.write()).wait_running()


def inner_mtu(gateway: LiveGateway) -> int:
    found, = (sa["inner_mtu_octets"] for sa in gateway.show("sa")["sas"] if sa["direction"] == "outbound")
    return found


def ping(one: One, family: int, size: int, expected: str) -> str:
    """One question whose packet is `size` octets and must not be cut, and what came of it."""
    address, headers = ("10.0.2.10", 28) if family == 4 else ("fd00:2::10", 48)
    said = one.network.run(
        "host", "ping", f"-{family}", "-c", "1", "-W", "3", "-M", "do", "-s", size - headers, address, check=False)
    assert re.search(expected, said), said
    return said


@pytest.mark.parametrize("way", WAYS)
def test_what_a_router_says_reaches_the_sender(one: One, way: Way):
    gateway, far = start(one, way)
    network = one.network
    echo(network, "host", "10.0.2.10", 0, 9)
    assert inner_mtu(gateway) == way.before
    # It fits by all that the gateway knows, and does not come back: the router has no room for it.
    ping(one, 4, way.before, "100% packet loss")
    wait_until(lambda: inner_mtu(gateway) == way.after, lambda: f"{gateway.show('report')}")
    gateway.wait_for(f"the way to the peer takes packets of {NARROW} octets")
    # From now on the sender hears of it, in its own terms.
    ping(one, 4, way.before, rf"From 10\.0\.1\.1 icmp_seq=1 Frag needed and DF set \(mtu = {way.after}\)")
    ping(one, 6, way.before, rf"From fd00:1::1 icmp_seq=1 Packet too big: mtu={way.after}")
    for family in (4, 6):
        ping(one, family, way.after, " 0% packet loss")
    # What may be cut is cut, for the peer to join.
    said = network.run("host", "ping", "-c", "3", "-i", "0.2", "-W", "3", "-M", "dont", "-s", "1472", "10.0.2.10")
    assert " 0% packet loss" in said
    gateway.stop()
    report = far.stop()
    assert report["drops"].keys() <= {"not_for_us", "no_policy", "packet_too_big"}, report["drops"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("inner", [4, 6], ids=["IPv4 inside", "IPv6 inside"])
def test_tcp_finds_what_fits(one: One, way: Way, inner: int):
    """Nobody is told of anything: the first full segment is lost, and what comes of it gets the transfer through."""
    gateway, far = start(one, way)
    here, there = ("10.0.1.10", "10.0.2.10") if inner == 4 else ("fd00:1::10", "fd00:2::10")
    transfer(one.network, "host", "far-host", there, OCTETS)
    assert inner_mtu(gateway) == way.after
    transfer(one.network, "far-host", "host", here, OCTETS, port=5002)
    gateway.stop()
    far.stop()


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]])
def test_a_site_may_refuse_to_learn(one: One, way: Way):
    """`learn_path_mtu = false`: a router's word changes nothing, and operators set what fits."""
    refusing = Way(**{**way.__dict__, "keys": (("learn_path_mtu", False),)})
    gateway, far = start(one, refusing)
    echo(one.network, "host", "10.0.2.10", 0, 9)
    for _ in range(3):
        ping(one, 4, way.before, "100% packet loss")
    assert inner_mtu(gateway) == way.before
    assert "the way to the peer takes packets" not in gateway.log.read_text()
    gateway.stop()
    far.stop()
