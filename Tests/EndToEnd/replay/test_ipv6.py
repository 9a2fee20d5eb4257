"""IPv6, neighbour discovery and VLAN tags, judged by scapy. RFC 8200, RFC 4443, RFC 4861, IEEE 802.1Q."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path
from random import Random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from replay.judges import Scapy
from vpngw.capture import MILLISECOND, START
from vpngw.rig import Gateway
from vpngw.site import Port, Site, Tunnel

LAN_MAC, WAN_MAC, HOST_MAC = "02:00:00:00:01:00", "02:00:00:00:01:01", "02:00:00:00:00:aa"
LAN, LINK, WAN = "fd00:1::1", "fe80::ff:fe00:100", "2001:db8::1"
"""The gateway's own: on the lan, there by its MAC address, and outside."""
HOST, FAR = "fd00:1::5", "fd00:2::5"


def make_gateway(directory: Path, rng: Random, *, outer: str = "v6", vlan: int | None = None) -> Gateway:
    """Both families inside, over one of them."""
    ends = ("2001:db8::1", "2001:db8:ffff::1") if outer == "v6" else ("192.0.2.1", "198.51.100.1")
    tunnel = Tunnel(
        "site-b",
        *ends,
        ["10.0.1.0/24", "fd00:1::/64"],
        ["10.0.2.0/24", "fd00:2::/64"],
        *rng.sample(range(0x1000, 1 << 32), 2),
        rng.randbytes(20),
        rng.randbytes(20),
    )
    extra = f"vlan = {vlan}" if vlan else ""
    site = Site(
        "six",
        directory,
        [
            Port("lan", "protected", ["10.0.1.1/24", f"{LAN}/64"], extra=extra),
            Port("wan", "unprotected", ["192.0.2.1/24", f"{WAN}/64"], extra=extra),
            Port("dmz", "protected", ["fd00:3::1/64"]),
        ],
        [tunnel],
        [("::/0", "2001:db8::fe"), ("0.0.0.0/0", "192.0.2.254")],
    )
    return Gateway(site)


@pytest.fixture
def gateway(tmp_path: Path, rng: Random) -> Gateway:
    return make_gateway(tmp_path, rng)


def ether(packet, mac: str = LAN_MAC, vlan: int | None = None) -> bytes:
    tag = Dot1Q(vlan=vlan) if vlan else None
    header = Ether(src=HOST_MAC, dst=mac)
    return bytes(header / tag / packet if tag else header / packet)


def sent(replayed, port: str) -> list:
    """The IPv6 packets that left by a port, as scapy reads them."""
    return [Ether(record.octets)[IPv6] for record in replayed.out[port] if record.ethertype == 0x86DD]


def is_valid(packet) -> bool:
    """scapy makes the same length and the same checksum of an ICMPv6 message."""
    copy = IPv6(bytes(packet))
    del copy.plen, copy.payload.cksum
    return bytes(copy) == bytes(packet)


def udp(source: str = HOST, destination: str = "fd00:3::7", octets: int = 20, **fields):
    return IPv6(src=source, dst=destination, **fields) / UDP(sport=9, dport=10) / Raw(bytes(octets))


# ---- forwarding ----------------------------------------------------------------------------------------------------


def test_forwarding(gateway: Gateway) -> None:
    """One hop less and nothing else, whatever extension headers there are."""
    head = IPv6(src=HOST, dst="fd00:3::7", tc=0xB8, fl=0x12345, hlim=9)
    tail = UDP(sport=9, dport=10) / Raw(b"data")
    packets = [
        head / tail,
        head / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / tail,
        head / IPv6ExtHdrDestOpt() / tail,
        head / IPv6ExtHdrRouting(type=4, segleft=0) / tail,
        head / IPv6ExtHdrFragment(offset=0, m=1, id=7) / Raw(bytes(UDP(sport=9, dport=10)) + bytes(16)),
        head / IPv6ExtHdrFragment(offset=100, m=0, id=7) / Raw(bytes(17)),
        head / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(offset=0, m=0, id=7) / tail,
        IPv6(src=HOST, dst="fd00:3::7", nh=59, hlim=9),
    ]
    replayed = gateway.replay(lan=map(ether, packets))
    assert replayed.drops == {}
    for packet, out in zip(packets, sent(replayed, "dmz"), strict=True):
        expected = bytearray(bytes(packet))
        expected[7] -= 1
        assert bytes(out) == bytes(expected)


def test_what_is_not_forwarded(gateway: Gateway) -> None:
    tail = UDP(sport=9, dport=10) / Raw(b"data")
    cases = {
        "malformed": [
            IPv6(src=HOST, dst="fd00:3::7") / IPv6ExtHdrRouting(type=0, addresses=["fd00:3::9"]) / tail,
            IPv6(src=HOST, dst="fd00:3::7") / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / tail,
            IPv6(src=HOST, dst="fd00:3::7", plen=500) / tail,
            IPv6(src=HOST, dst="fd00:3::7", nh=60) / Raw(b"\x11\x09\0\0\0\0\0\0"),
        ],
        "martian": [
            udp("::"), udp("::1"), udp("ff02::1"), udp("::ffff:10.0.0.1"), udp(LAN), udp("fe80::5"),
            udp(destination="ff02::1"), udp(destination="ff0e::1"), udp(destination="::1"), udp(destination="fe80::9"),
        ],
        "no_policy": [udp(destination="2001:db8:77::1"), udp(destination=LAN)],
    }  # fmt: skip
    replayed = gateway.replay(lan=[ether(packet) for packets in cases.values() for packet in packets])
    assert replayed.drops == {reason: len(packets) for reason, packets in cases.items()}
    assert all(records == [] for records in replayed.out.values())


def test_time_exceeded(gateway: Gateway) -> None:
    causes = [udp(hlim=hops, octets=octets) for hops in (0, 1) for octets in (0, 100, 1183, 1184, 1400)]
    replayed = gateway.replay(lan=map(ether, causes))
    assert replayed.drops == {"ttl_expired": len(causes)}
    for cause, error in zip(causes, sent(replayed, "lan"), strict=True):
        assert is_valid(error) and (error.src, error.dst, error.hlim) == (LAN, HOST, 64)
        assert (error[ICMPv6TimeExceeded].code, len(error) <= 1280) == (0, True)
        assert bytes(error)[48:] == bytes(cause)[:1232]


@pytest.mark.parametrize("mtu", [1280, 1400, 9000])
def test_packet_too_big(gateway: Gateway, mtu: int) -> None:
    gateway.site.ports[0].mtu_octets = 9216
    gateway.site.ports[2].mtu_octets = mtu
    fits, large = udp(octets=mtu - 48), udp(octets=mtu - 47)
    replayed = gateway.replay(lan=map(ether, [fits, large]))
    assert replayed.drops == {"packet_too_big": 1} and len(sent(replayed, "dmz")) == 1
    (error,) = sent(replayed, "lan")
    assert is_valid(error) and error[ICMPv6PacketTooBig].mtu == mtu and len(error) == 1280


def test_no_error_about_errors(gateway: Gateway) -> None:
    """RFC 4443 section 2.4 e; and about an echo request, yes."""
    head = IPv6(src=HOST, dst="fd00:3::7", hlim=1)
    causes = [
        head / ICMPv6DestUnreach() / Raw(bytes(40)),
        head / ICMPv6TimeExceeded() / Raw(bytes(40)),
        IPv6(src=HOST, dst="fd00:3::7", hlim=1, nh=44) / IPv6ExtHdrFragment(offset=9, nh=58) / Raw(bytes(40)),
        head / ICMPv6EchoRequest(),
    ]
    replayed = gateway.replay(lan=map(ether, causes))
    assert replayed.drops == {"ttl_expired": 4}
    assert len(sent(replayed, "lan")) == 1


# ---- echo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "own", "asker"),
    [
        ("lan", LAN, HOST),
        ("lan", WAN, HOST),
        ("lan", LINK, "fe80::5"),
        ("wan", WAN, "2001:db8::77"),
        ("wan", "fe80::ff:fe00:101", "fe80::5"),
    ],
)
def test_echo(gateway: Gateway, rng: Random, port: str, own: str, asker: str) -> None:
    plain = IPv6(src=asker, dst=own, hlim=1)
    asked = [
        head / ICMPv6EchoRequest(id=7, seq=9, data=rng.randbytes(octets))
        for octets in (0, 1, 56, 1400)
        for head in (plain, plain / IPv6ExtHdrDestOpt(), plain / IPv6ExtHdrHopByHop())
    ]
    asked = [IPv6(bytes(packet)) for packet in asked]
    replayed = gateway.replay(**{port: [ether(packet, LAN_MAC if port == "lan" else WAN_MAC) for packet in asked]})
    assert replayed.drops == {}
    for question, answer in zip(asked, sent(replayed, port), strict=True):
        assert is_valid(answer) and (answer.src, answer.dst, answer.hlim, answer.nh) == (own, asker, 64, 58)
        reply, request = answer[ICMPv6EchoReply], question[ICMPv6EchoRequest]
        assert (reply.id, reply.seq, bytes(reply.data)) == (7, 9, bytes(request.data))


def test_what_is_not_answered(gateway: Gateway) -> None:
    """Damaged, in pieces, from inside by its source, and not for the port's own address."""
    good = IPv6(src="2001:db8::77", dst=WAN) / ICMPv6EchoRequest(id=1, data=b"abc")
    damaged = bytes(good)[:-1] + b"x"
    forged = IPv6(src=HOST, dst=WAN) / ICMPv6EchoRequest()
    beyond = IPv6(src="2001:db8::77", dst=LAN) / ICMPv6EchoRequest()
    wan = [ether(IPv6(damaged), WAN_MAC), ether(forged, WAN_MAC), ether(beyond, WAN_MAC)]
    replayed = gateway.replay(wan=wan)
    assert replayed.drops == {"no_policy": 3} and replayed.out["lan"] == replayed.out["wan"] == []


# ---- neighbour discovery -------------------------------------------------------------------------------------------


def solicitation(target: str, source: str = HOST, hlim: int = 255):
    tail = Raw(b"") if source == "::" else ICMPv6NDOptSrcLLAddr(lladdr=HOST_MAC)
    number = int(IPv6Address(target))
    group = str(IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | number & 0xFFFFFF))
    mac = "33:33:ff:" + ":".join(f"{byte:02x}" for byte in (number & 0xFFFFFF).to_bytes(3, "big"))
    return ether(IPv6(src=source, dst=group, hlim=hlim) / ICMPv6ND_NS(tgt=target) / tail, mac)


@pytest.mark.parametrize("target", [LAN, LINK, "fd00:1::"])
def test_solicitations_are_answered(gateway: Gateway, target: str) -> None:
    replayed = gateway.replay(lan=[solicitation(target), solicitation(target, "::")])
    assert replayed.drops == {} and replayed.report["consumed_packets"] == 2
    answer, alarm = (Ether(record.octets) for record in replayed.out["lan"])
    for frame, to, mac, solicited in ((answer, HOST, HOST_MAC, 1), (alarm, "ff02::1", "33:33:00:00:00:01", 0)):
        assert is_valid(frame[IPv6]) and (frame.dst, frame.src) == (mac, LAN_MAC)
        assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (target, to, 255)
        told = frame[ICMPv6ND_NA]
        assert (told.tgt, told.R, told.S, told.O) == (target, 1, solicited, 1)
        assert told[ICMPv6NDOptDstLLAddr].lladdr == LAN_MAC


def test_solicitations_that_are_not(gateway: Gateway) -> None:
    """For others, from beyond the link, damaged, and on a port without local services."""
    damaged = bytearray(solicitation(LAN))
    damaged[-1] ^= 1
    lan = [solicitation("fd00:1::9"), solicitation(LAN, hlim=254), bytes(damaged)]
    replayed = gateway.replay(lan=lan)
    assert replayed.drops == {"malformed": 2} and replayed.report["consumed_packets"] == 1
    gateway.site.ports[0].extra = "local_services = false"
    replayed = gateway.replay(lan=[solicitation(LAN)])
    assert replayed.drops == {} and replayed.out["lan"] == []


def test_resolving(gateway: Gateway) -> None:
    """A question to the group, then what waited, to who answered."""
    asks = gateway.replay("--resolve", lan=[ether(udp())])
    assert asks.drops == {"neighbor_unresolved": 1}
    question = Ether(asks.out["dmz"][0].octets)
    assert is_valid(question[IPv6]) and (question.dst, question.src) == ("33:33:ff:00:00:07", "02:00:00:00:01:02")
    assert (question[IPv6].src, question[IPv6].dst, question[IPv6].hlim) == ("fe80::ff:fe00:102", "ff02::1:ff00:7", 255)
    assert question[ICMPv6ND_NS].tgt == "fd00:3::7"
    assert question[ICMPv6NDOptSrcLLAddr].lladdr == "02:00:00:00:01:02"

    mac = "02:00:00:00:00:77"
    told = IPv6(src="fd00:3::7", dst="fe80::ff:fe00:102", hlim=255) / ICMPv6ND_NA(tgt="fd00:3::7", S=1, O=1, R=0)
    answer = bytes(Ether(src=mac, dst="02:00:00:00:01:02") / told / ICMPv6NDOptDstLLAddr(lladdr=mac))
    lan = [ether(udp(octets=octets)) for octets in range(5)]
    replayed = gateway.replay("--resolve", lan=lan, dmz=[(START + 45 * MILLISECOND, answer)])
    assert replayed.drops == {}
    _, *frames = (Ether(record.octets) for record in replayed.out["dmz"])
    assert [(frame.dst, len(frame[UDP].payload)) for frame in frames] == [(mac, octets) for octets in range(5)]


def test_nothing_is_asked_without_resolve(gateway: Gateway) -> None:
    replayed = gateway.replay(lan=[ether(udp())])
    (record,) = replayed.out["dmz"]
    assert Ether(record.octets).dst == "02:00:00:00:00:01"


# ---- tunnels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["v4", "v6"])
def test_tunnels_of_both_families(tmp_path: Path, rng: Random, outer: str) -> None:
    """4-in-6, 6-in-4, 6-in-6, mixed in one SA, out and in."""
    gateway = make_gateway(tmp_path, rng, outer=outer)
    tunnel = gateway.site.tunnels[0]
    out = []
    for index in range(60):
        tail = UDP(sport=9, dport=10) / Raw(rng.randbytes(rng.randrange(1300)))
        tos = rng.randrange(256)
        out.append(
            IPv6(src=HOST, dst=FAR, tc=tos, fl=rng.randrange(1 << 20)) / tail
            if index % 3
            else IP(src="10.0.1.5", dst="10.0.2.5", tos=tos, id=index) / tail
        )
    replayed = gateway.replay(lan=map(ether, out))
    assert replayed.drops == {}
    judge = Scapy.outbound(tunnel)
    for packet, record in zip(out, replayed.out["wan"], strict=True):
        header = Ether(record.octets).payload
        assert (header.version, header.src, header.dst) == (
            int(outer[1]),
            tunnel.local_address,
            tunnel.remote_address,
        )
        assert (header.tc if outer == "v6" else header.tos) == (packet.tc if packet.version == 6 else packet.tos)
        opened = judge.decrypt(bytes(header))
        expected = packet.copy()
        if packet.version == 6:
            expected.hlim -= 1
        else:
            expected.ttl -= 1
        assert opened == bytes(expected)

    judge, back = Scapy.inbound(tunnel), []
    for index, packet in enumerate(out, start=1):
        inner = packet.copy()
        inner.src, inner.dst = packet.dst, packet.src
        del inner[UDP].chksum
        if inner.version == 4:
            del inner.chksum
            inner.tos &= 0xFC
        else:
            inner.tc &= 0xFC
        inner = bytes(inner)
        back.append((inner, judge.encrypt(inner, index)))
    kind = IPv6 if outer == "v6" else IP
    replayed = gateway.replay(wan=[ether(kind(packet), WAN_MAC) for _, packet in back])
    assert replayed.drops == {} and len(replayed.out["lan"]) == len(back)
    for (inner, _), record in zip(back, replayed.out["lan"]):
        assert record.packet[20 if inner[0] >> 4 == 4 else 8 :] == inner[20 if inner[0] >> 4 == 4 else 8 :]


def test_too_big_for_the_tunnel(tmp_path: Path, rng: Random) -> None:
    """1426 octets fit into 1500 over IPv6; the sender hears so."""
    gateway = make_gateway(tmp_path, rng)
    packets = [udp(destination=FAR, octets=octets - 48) for octets in (1426, 1427)]
    replayed = gateway.replay(lan=map(ether, packets))
    assert replayed.drops == {"packet_too_big": 1}
    assert [len(record.packet) <= 1500 for record in replayed.out["wan"]] == [True]
    (error,) = sent(replayed, "lan")
    assert is_valid(error) and error[ICMPv6PacketTooBig].mtu == 1426


def test_clear_text_from_outside(gateway: Gateway) -> None:
    """What a tunnel's selectors cover must come through it."""
    wan = [ether(udp(FAR, HOST), WAN_MAC), ether(udp("2001:db8:77::1", HOST), WAN_MAC)]
    replayed = gateway.replay(wan=wan)
    assert replayed.drops == {"unprotected": 1, "no_policy": 1}


def test_icmp_selectors(gateway: Gateway) -> None:
    """A policy for one type of message covers no other."""
    gateway.site.policies = [
        {
            "action": "bypass",
            "direction": "outbound",
            "source": "fd00:1::/64",
            "destination": "2001:db8:9::/48",
            "protocol": "icmpv6",
            "icmp_types": 128,
            "priority": 1,
        }
    ]
    head = IPv6(src=HOST, dst="2001:db8:9::1")
    replayed = gateway.replay(lan=map(ether, [head / ICMPv6EchoRequest(), head / ICMPv6EchoReply()]), clear=True)
    assert replayed.drops == {"no_policy": 1} and len(sent(replayed, "wan")) == 1


# ---- VLAN ----------------------------------------------------------------------------------------------------------


def test_vlan(tmp_path: Path, rng: Random) -> None:
    gateway = make_gateway(tmp_path, rng, vlan=7)
    inner = [udp(destination=FAR), IP(src="10.0.1.5", dst="10.0.2.5") / UDP() / Raw(b"x")]
    question = ARP(op=1, hwsrc=HOST_MAC, psrc="10.0.1.5", pdst="10.0.1.1")
    lan = [ether(packet, vlan=7) for packet in inner]
    lan += [bytes(Ether(src=HOST_MAC, dst=LAN_MAC) / Dot1Q(vlan=7, prio=5, id=1) / packet) for packet in inner]
    lan += [ether(packet, vlan=8) for packet in inner] + [ether(packet) for packet in inner]
    lan += [ether(question, "ff:ff:ff:ff:ff:ff", vlan=7)]
    replayed = gateway.replay(lan=lan)
    assert replayed.drops == {"not_for_us": 4}
    frames = [Ether(record.octets) for record in replayed.out["wan"]]
    judge = Scapy.outbound(gateway.site.tunnels[0])
    assert [(frame[Dot1Q].vlan, frame[Dot1Q].prio, frame[Dot1Q].type) for frame in frames] == [(7, 0, 0x86DD)] * 4
    assert [judge.decrypt(bytes(frame[IPv6]))[0] >> 4 for frame in frames] == [6, 4, 6, 4]
    (answer,) = (Ether(record.octets) for record in replayed.out["lan"])
    assert (answer[Dot1Q].vlan, answer[ARP].op, answer[ARP].hwsrc) == (7, 2, LAN_MAC)


def test_no_vlan(gateway: Gateway) -> None:
    replayed = gateway.replay(lan=[ether(udp(), vlan=7), ether(udp())])
    assert replayed.drops == {"not_for_us": 1}
