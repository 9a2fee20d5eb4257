"""The gateway's own words: echo, ARP, ICMP errors, judged by scapy. RFC 1122 3.2.2, RFC 1812 4.3, RFC 826."""

from __future__ import annotations

from random import Random

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

from replay.judges import Scapy
from vpngw import packets
from vpngw.capture import MILLISECOND, SECOND, START
from vpngw.esp import Association
from vpngw.packets import BROADCAST_MAC, DF, HOST_MAC, MF, PORT_MAC, arp, frame, ipv4, sized
from vpngw.rig import Pair, same_packets
from vpngw.site import Port

ROUTER_MAC = bytes.fromhex("0200000000fe")
OUTSIDE = "192.0.2.77"
"""A stranger on the wide side's link."""


def question(source: str, destination: str, data: bytes = b"question", **fields) -> bytes:
    """An echo request."""
    return ipv4(source, destination, packets.ICMP, packets.echo(7, 9, data), **fields)


def is_valid(packet: bytes) -> bool:
    """scapy's opinion: length and both checksums hold."""
    parsed = IP(packet)
    copy = IP(packet)
    del copy.chksum, copy.len
    if ICMP in copy:
        del copy[ICMP].chksum
    return bytes(copy) == packet and parsed.len == len(packet)


def is_answer(packet: bytes, asked: bytes) -> bool:
    """The same question turned round, by scapy's own matching of answers to questions."""
    reply, request = IP(packet), IP(asked)
    return (
        is_valid(packet)
        and reply.answers(request)
        and reply[ICMP].type == 0
        and (bytes(reply[ICMP].payload) == bytes(request[ICMP].payload) and reply.ttl == 64)
    )


def is_error(packet: bytes, cause: bytes, source: str, kind: int, code: int, mtu: int = 0, hops: int = 0) -> bool:
    """An ICMP error about `cause`, which is quoted as it was when the error was found, up to 576 octets in all."""
    parsed = IP(packet)
    message = parsed[ICMP]
    quoted = packets.forwarded(cause, hops) if hops else cause
    return (
        is_valid(packet)
        and (parsed.src, parsed.dst) == (source, IP(cause).src)
        and parsed.proto == 1
        and (message.type, message.code) == (kind, code)
        and parsed.ttl == 64
        and parsed.tos >> 5 == 6
        and packet[24:28] == mtu.to_bytes(4, "big")
        and packet[28:] == quoted[: 576 - 28]
        and len(packet) <= 576
    )


# ---- echo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["10.0.1.1", "192.0.2.1"])
def test_echo_from_inside(pair: Pair, rng: Random, own: str) -> None:
    """Both ports' addresses answer a host of the protected side, at every size; options come back."""
    asked = [question(pair.host_a, own, rng.randbytes(octets)) for octets in (0, 1, 56, 57, 1471, 1472)]
    asked += [question(pair.host_a, own, options=options) for options in packets.OPTIONS.values()]
    asked += [
        question(pair.host_a, own, ttl=1),
        question(pair.host_a, own, tos=0xB8),
        question(pair.host_a, own, fragment=DF),
    ]
    replayed = pair.a.replay(lan=map(frame, asked))
    assert replayed.drops == {}
    answers = replayed.packets("lan")
    assert len(answers) == len(asked)
    assert all(is_answer(*both) for both in zip(answers, asked))
    assert (replayed.report["consumed_packets"], replayed.report["originated_packets"]) == (len(asked), len(asked))


def test_echo_through_the_tunnel(pair: Pair) -> None:
    """The question is decrypted, the answer encrypted; the wide side's address is outside of the selectors."""
    tunnel = pair.b.site.tunnels[0]
    association, scapy = Association.inbound(tunnel), Scapy.outbound(tunnel)
    asked = [question(pair.host_a, "10.0.2.1", bytes(octets)) for octets in range(1, 40)]
    frames = [association.frame(number, packet) for number, packet in enumerate(asked, start=1)]
    replayed = pair.b.replay(wan=[*frames, association.frame(1000, question(pair.host_a, "198.51.100.1"))])
    assert replayed.drops == {"selector_mismatch": 1}
    answers = [scapy.decrypt(packet) for packet in replayed.packets("wan")]
    assert len(answers) == len(asked) and all(is_answer(*both) for both in zip(answers, asked))


def test_echo_in_clear_on_the_unprotected_port(pair: Pair, rng: Random) -> None:
    """The port's own address answers its link and whoever is behind the router; no other address does."""
    asked = [question(source, "192.0.2.1", rng.randbytes(20)) for source in (OUTSIDE, "192.0.2.254", "203.0.113.9")]
    refused = [
        question(OUTSIDE, "10.0.1.1"),
        question(OUTSIDE, pair.host_a),
        sized("udp", 80, rng, OUTSIDE, "192.0.2.1"),
        sized("tcp", 80, rng, OUTSIDE, "192.0.2.1"),
        question(OUTSIDE, "192.0.2.1", fragment=MF),
        ipv4(OUTSIDE, "192.0.2.1", packets.ICMP, packets.echo(1, 1, kind=0)),
    ]
    replayed = pair.a.replay(wan=map(frame, [*asked, *refused]))
    assert replayed.drops == {"no_policy": len(refused)}
    answers = replayed.packets("wan")
    assert len(answers) == len(asked) and all(is_answer(*both) for both in zip(answers, asked))


def test_a_forged_question_reaches_nobody_inside(pair: Pair) -> None:
    """RFC 4301 section 5.2: clear text from outside needs a policy to come in, and an echo's data is clear text.

    With a source on the protected side the answer would carry a stranger's data there, past every policy.
    """
    forged = [question("10.0.1.5", "192.0.2.1"), question("10.0.1.6", "192.0.2.1", b"anything at all")]
    replayed = pair.a.replay(wan=map(frame, forged))
    assert replayed.out["lan"] == []
    assert replayed.drops == {"no_policy": 2}


def test_a_forged_question_reaches_nobody_behind_a_tunnel(pair: Pair) -> None:
    """The same with a source behind the tunnel: the answer is not ours to encrypt."""
    replayed = pair.a.replay(wan=[frame(question(pair.host_b, "192.0.2.1"))])
    assert all(packet[9] != packets.ESP for packet in replayed.packets("wan"))


def test_local_services_off(pair: Pair) -> None:
    """Neither echo nor ARP; the port still carries packets."""
    for port in pair.a.site.ports:
        port.extra = "local_services = false"
    lan = [
        frame(question(pair.host_a, "10.0.1.1")),
        frame(question(pair.host_a, "192.0.2.1")),
        arp(1, HOST_MAC, pair.host_a, bytes(6), "10.0.1.1"),
        frame(question(pair.host_a, pair.host_b)),
    ]
    wan = [frame(question(OUTSIDE, "192.0.2.1")), arp(1, HOST_MAC, OUTSIDE, bytes(6), "192.0.2.1")]
    replayed = pair.a.replay(lan=lan, wan=wan)
    assert replayed.drops == {"no_policy": 3}
    assert replayed.report["consumed_packets"] == 2
    assert (len(replayed.out["lan"]), len(replayed.out["wan"])) == (0, 1)


@pytest.mark.parametrize("start", [START, 0], ids=["now", "a capture that starts at time zero"])
def test_echo_is_limited(pair: Pair, start: int) -> None:
    """A hundred at once, then a thousand a second; by the capture's clock."""
    asked = [(start + index, frame(question(OUTSIDE, "192.0.2.1"))) for index in range(150)]
    asked += [(start + SECOND + index * 2 * MILLISECOND, frame(question(OUTSIDE, "192.0.2.1"))) for index in range(200)]
    replayed = pair.a.replay(wan=asked)
    assert replayed.drops == {"rate_limited": 50}
    assert len(replayed.out["wan"]) == 300


# ---- ICMP errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [0, 1])
def test_time_exceeded(pair: Pair, rng: Random, ttl: int) -> None:
    """To the sender, from the address of the port that the cause came in by, about what would have been encrypted."""
    causes = [
        sized(kind, octets, rng, pair.host_a, pair.host_b, ttl=ttl, tos=rng.randrange(256))
        for kind in packets.HEADERS
        for octets in (40, 500, 548, 549, 1446)
    ]
    causes += [
        sized("udp", 100, rng, pair.host_a, pair.host_b, ttl=ttl, options=options)
        for options in packets.OPTIONS.values()
    ]
    replayed = pair.a.replay(lan=map(frame, causes))
    assert replayed.drops == {"ttl_expired": len(causes)}
    errors = replayed.packets("lan")
    assert len(errors) == len(causes) and replayed.out["wan"] == []
    assert all(is_error(error, cause, "10.0.1.1", 11, 0) for error, cause in zip(errors, causes))


def test_time_exceeded_between_protected_ports(pair: Pair, rng: Random) -> None:
    """Two protected ports: each speaks with its own address."""
    pair.a.site.ports.append(Port("dmz", "protected", ["10.0.7.1/24", "10.0.8.1/24"]))
    cause = sized("udp", 100, rng, "10.0.7.9", pair.host_a, ttl=1)
    replayed = pair.a.replay(dmz=[frame(cause)])
    assert [is_error(error, cause, "10.0.7.1", 11, 0) for error in replayed.packets("dmz")] == [True]


def test_time_exceeded_for_what_was_decrypted(pair: Pair, rng: Random) -> None:
    """The error goes back through the tunnel, from an address of ours that the tunnel covers."""
    tunnel = pair.b.site.tunnels[0]
    cause = sized("udp", 100, rng, pair.host_a, pair.host_b, ttl=1)
    replayed = pair.b.replay(wan=[Association.inbound(tunnel).frame(1, cause)])
    assert replayed.drops == {"ttl_expired": 1}
    errors = [Scapy.outbound(tunnel).decrypt(packet) for packet in replayed.packets("wan")]
    assert [is_error(error, cause, "10.0.2.1", 11, 0) for error in errors] == [True]
    assert replayed.out["lan"] == []


def test_too_big(pair: Pair, rng: Random) -> None:
    """RFC 1191: swept across the boundary. 1446 fits; beyond it, DF asks for an answer with the MTU."""
    pair.a.site.ports[0].mtu_octets = 9000
    lengths = [*range(1400, 1447), *range(1447, 1470), 1500, 1501, 4000, 9000]
    inner = [sized("udp", octets, rng, pair.host_a, pair.host_b, fragment=DF) for octets in lengths]
    big = [packet for packet in inner if len(packet) > 1446]
    replayed = pair.a.replay(lan=map(frame, inner))
    assert replayed.drops == {"packet_too_big": len(big)}
    assert same_packets((record.packet for record in replayed.dropped), big)
    sent = [Association.outbound(pair.tunnel).open(packet).payload for packet in replayed.packets("wan")]
    assert sent == [packets.forwarded(packet) for packet in inner if len(packet) <= 1446]
    errors = replayed.packets("lan")
    assert len(errors) == len(big)
    assert all(is_error(error, cause, "10.0.1.1", 3, 4, 1446, hops=1) for error, cause in zip(errors, big))


@pytest.mark.parametrize("mtu", [576, 1280, 1492, 1499, 1501, 1502, 1503, 9000, 9216])
def test_the_inner_mtu(pair: Pair, rng: Random, mtu: int) -> None:
    """Whatever the port's MTU: the largest inner packet fits it, one octet more would not, and the answer says so."""
    pair.a.site.ports[0].mtu_octets = 9216
    pair.a.site.ports[1].mtu_octets = mtu
    largest = max(octets for octets in range(mtu) if 20 + 16 + octets + 2 + -(octets + 2) % 4 + 16 <= mtu)
    inner = [sized("unknown", octets, rng, pair.host_a, pair.host_b, fragment=DF) for octets in (largest, largest + 1)]
    replayed = pair.a.replay(lan=map(frame, inner))
    assert replayed.drops == {"packet_too_big": 1}
    assert [len(packet) <= mtu for packet in replayed.packets("wan")] == [True]
    assert [is_error(error, inner[1], "10.0.1.1", 3, 4, largest, hops=1) for error in replayed.packets("lan")] == [True]


def test_too_big_for_the_way_inside(pair: Pair, rng: Random) -> None:
    """Decrypted and larger than the lan takes: the sender hears of it through the tunnel, if it asked for that."""
    pair.b.site.ports[0].mtu_octets = 1280
    tunnel = pair.b.site.tunnels[0]
    association = Association.inbound(tunnel)
    inner = [
        sized("udp", octets, rng, pair.host_a, pair.host_b, fragment=DF) for octets in (1280, 1281, 1446)
    ]
    replayed = pair.b.replay(wan=[association.frame(number, packet) for number, packet in enumerate(inner, start=1)])
    assert replayed.drops == {"packet_too_big": 2}
    assert replayed.packets("lan") == [packets.forwarded(inner[0])]
    errors = [Scapy.outbound(tunnel).decrypt(packet) for packet in replayed.packets("wan")]
    assert [
        is_error(error, cause, "10.0.2.1", 3, 4, 1280, hops=1) for error, cause in zip(errors, inner[1:])
    ] == [True, True]
    assert len(errors) == 2


def test_no_error_about_these(pair: Pair, rng: Random) -> None:
    """RFC 1122 section 3.2.2: not about an ICMP error, a later fragment; and about an echo request, yes."""
    silent = [
        ipv4(pair.host_a, pair.host_b, packets.ICMP, packets.echo(0, 0, bytes(28), kind=kind), ttl=1)
        for kind in (3, 4, 5, 11, 12)
    ]
    silent += [
        sized(kind, 100, rng, pair.host_a, pair.host_b, ttl=1, fragment=field)
        for kind in packets.HEADERS
        for field in (1, 0x1FFF, MF | 5)
    ]
    # A source that is a broadcast address: the error has nobody to go to.
    nobody = [sized("udp", 100, rng, "10.0.1.255", pair.host_b, ttl=1)]
    heard = [ipv4(pair.host_a, pair.host_b, packets.ICMP, packets.echo(0, 0, kind=kind), ttl=1) for kind in (0, 8, 13)]
    heard += [sized("udp", 100, rng, pair.host_a, pair.host_b, ttl=1, fragment=MF)]
    replayed = pair.a.replay(lan=map(frame, [*silent, *nobody, *heard]))
    assert replayed.drops["ttl_expired"] == len(silent) + len(nobody) + len(heard)
    assert [is_error(error, cause, "10.0.1.1", 11, 0) for error, cause in zip(replayed.packets("lan"), heard)] == [
        True
    ] * 4
    assert len(replayed.out["lan"]) == 4


def test_errors_are_limited(pair: Pair, rng: Random) -> None:
    """RFC 1812 section 4.3.2.8: fifty at once, then a hundred a second; each cause is dropped for its own reason."""
    causes = [frame(sized("udp", 100, rng, pair.host_a, pair.host_b, ttl=1)) for _ in range(500)]
    timed = [(START + index, cause) for index, cause in enumerate(causes)]
    timed += [(START + SECOND * 10 + index * 20 * MILLISECOND, cause) for index, cause in enumerate(causes[:100])]
    replayed = pair.a.replay(lan=timed)
    assert replayed.drops == {"ttl_expired": 600}
    assert len(replayed.out["lan"]) == 50 + 100
    assert replayed.report["originated_packets"] == 150


# ---- ARP -----------------------------------------------------------------------------------------------------------


def is_reply(octets: bytes, asker: str, asker_mac: bytes, asked: str) -> bool:
    """An ARP reply to the asker alone, from the port's own address."""
    parsed = Ether(octets)
    reply = parsed[ARP]
    mac = asker_mac.hex(":")
    return (
        parsed.dst == mac
        and parsed.src == reply.hwsrc
        and (reply.op, reply.psrc, reply.pdst) == (2, asked, asker)
        and reply.hwdst == mac
        and (reply.hwtype, reply.ptype, reply.hwlen, reply.plen) == (1, 0x0800, 6, 4)
        and len(octets) == 42
        and reply.hwsrc not in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
    )


def test_arp_is_answered(pair: Pair) -> None:
    """Requests and probes (RFC 5227) for the port's own address; nothing else is, and nothing is dropped for it."""
    lan = [
        arp(1, HOST_MAC, pair.host_a, bytes(6), "10.0.1.1"),
        arp(1, HOST_MAC, "0.0.0.0", bytes(6), "10.0.1.1"),
        arp(1, HOST_MAC, pair.host_a, bytes(6), "10.0.1.1", destination=PORT_MAC) + bytes(18),
    ]
    silent = [
        arp(1, HOST_MAC, pair.host_a, bytes(6), "10.0.1.9"),
        arp(1, HOST_MAC, pair.host_a, bytes(6), "192.0.2.1"),
        arp(2, HOST_MAC, pair.host_a, PORT_MAC, "10.0.1.1"),
        arp(1, HOST_MAC, pair.host_a, bytes(6), pair.host_a),
        arp(9, HOST_MAC, pair.host_a, bytes(6), "10.0.1.1"),
    ]
    replayed = pair.a.replay(lan=[*lan, *silent])
    assert replayed.drops == {}
    answers = [record.octets for record in replayed.out["lan"]]
    assert [is_reply(octets, Ether(asked)[ARP].psrc, HOST_MAC, "10.0.1.1") for octets, asked in zip(answers, lan)] == [
        True
    ] * 3
    assert len(answers) == 3
    assert replayed.report["consumed_packets"] == len(lan) + len(silent)


def test_arp_that_is_none(pair: Pair) -> None:
    whole = arp(1, HOST_MAC, pair.host_a, bytes(6), "10.0.1.1")
    bad = [whole[:octets] for octets in range(14, 42)]
    bad += [whole[:offset] + bytes([whole[offset] ^ 2]) + whole[offset + 1 :] for offset in (14, 15, 16, 17, 18, 19)]
    replayed = pair.a.replay(lan=bad)
    assert replayed.drops == {"malformed": len(bad)}
    assert replayed.out["lan"] == []


def test_arp_answers_are_limited(pair: Pair) -> None:
    replayed = pair.a.replay(lan=[arp(1, HOST_MAC, pair.host_a, bytes(6), "10.0.1.1")] * 150)
    assert replayed.drops == {"rate_limited": 50}
    assert len(replayed.out["lan"]) == 100


# ---- --resolve -----------------------------------------------------------------------------------------------------


def test_nothing_is_asked_unasked(pair: Pair, rng: Random) -> None:
    """Without --resolve there is no ARP of ours, and a next hop without an entry has the placeholder address."""
    there = [frame(sized("udp", 80, rng, pair.host_a, pair.host_b))] * 3
    replayed = pair.a.replay(lan=there)
    assert [record.octets[:6].hex() for record in replayed.out["wan"]] == ["020000000001"] * 3


def test_more_hosts_than_neighbours_are_kept_for(pair: Pair, rng: Random) -> None:
    """A large network behind a port: each host gets its packet, however many there are."""
    pair.b.site.ports[0].addresses = ["10.2.0.1/16"]
    for gateway, key in ((pair.a, "remote_subnets"), (pair.b, "local_subnets")):
        setattr(gateway.site.tunnels[0], key, ["10.2.0.0/16"])
    association = Association.inbound(pair.b.site.tunnels[0])
    inner = [sized("udp", 40, rng, pair.host_a, f"10.2.{index >> 8}.{index & 255}") for index in range(2, 12_000)]
    inner += inner[:100]
    replayed = pair.b.replay(wan=[association.frame(number, packet) for number, packet in enumerate(inner, start=1)])
    assert replayed.drops == {}
    assert replayed.packets("lan") == [packets.forwarded(packet) for packet in inner]
    assert {record.octets[:6].hex() for record in replayed.out["lan"]} == {"020000000001"}


def test_resolve_asks_and_holds(pair: Pair, rng: Random) -> None:
    """The request goes out, packets wait for the answer, and leave in order when it comes; then nobody asks again."""
    inner = [sized("udp", 100 + index, rng, pair.host_a, pair.host_b) for index in range(8)]
    lan = [(START + index * 10 * MILLISECOND, frame(packet)) for index, packet in enumerate(inner)]
    asks = pair.a.replay("--resolve", lan=lan[:1])
    assert asks.drops == {"neighbor_unresolved": 1}
    request = Ether(asks.out["wan"][0].octets)
    assert len(asks.out["wan"]) == 1
    assert (request.dst, request[ARP].op, request[ARP].psrc, request[ARP].pdst, request[ARP].hwdst) == (
        "ff:ff:ff:ff:ff:ff",
        1,
        "192.0.2.1",
        "192.0.2.254",
        "00:00:00:00:00:00",
    )
    assert request.src == request[ARP].hwsrc != "00:00:00:00:00:00"

    mac = bytes.fromhex(request.src.replace(":", ""))
    reply = arp(2, ROUTER_MAC, "192.0.2.254", mac, "192.0.2.1", destination=mac)
    replayed = pair.a.replay("--resolve", lan=lan, wan=[(START + 45 * MILLISECOND, reply)])
    assert replayed.drops == {}
    asked, *sent = replayed.out["wan"]
    assert asked.ethertype == packets.ETHERTYPE_ARP
    assert [record.octets[:6] for record in sent] == [ROUTER_MAC] * 8
    opened = [Association.outbound(pair.tunnel).open(record.packet) for record in sent]
    assert [one.payload for one in opened] == [packets.forwarded(packet) for packet in inner]
    assert [one.sequence for one in opened] == list(range(1, 9))
    assert (replayed.report["originated_packets"], replayed.report["consumed_packets"]) == (1, 1)


def test_resolve_without_an_answer(pair: Pair, rng: Random) -> None:
    """Three requests a second apart, then the packets that waited are dropped; a later one starts over."""
    packet = frame(sized("udp", 100, rng, pair.host_a, pair.host_b))
    tick = frame(b"", ethertype=0x88CC)  # something that lets the clock move on
    lan = [
        (START, packet),
        (START, packet),
        *((START + index * SECOND // 4, tick) for index in range(1, 20)),
        (START + 20 * SECOND, packet),
    ]
    replayed = pair.a.replay("--resolve", lan=lan)
    assert replayed.drops == {"neighbor_unresolved": 3, "unsupported_ethertype": 19}
    requests = [record.time - START for record in replayed.out["wan"]]
    assert all(record.ethertype == packets.ETHERTYPE_ARP for record in replayed.out["wan"])
    assert len(requests) == 4
    gaps = [later - earlier for earlier, later in zip(requests, requests[1:])]
    assert all(gap >= SECOND for gap in gaps)


def test_resolve_keeps_no_more_than_it_can(pair: Pair, rng: Random) -> None:
    """Sixteen wait for one neighbour; more are dropped at once, and those that wait leave when it answers."""
    inner = [sized("udp", 100, rng, pair.host_a, pair.host_b) for _ in range(100)]
    reply = arp(2, ROUTER_MAC, "192.0.2.254", PORT_MAC, "192.0.2.1", destination=PORT_MAC)
    replayed = pair.a.replay("--resolve", lan=map(frame, inner), wan=[(START + 100 * MILLISECOND, reply)])
    assert replayed.drops == {"neighbor_unresolved": 84}
    sent = [Association.outbound(pair.tunnel).open(packet).payload for packet in replayed.packets("wan")]
    assert sent == [packets.forwarded(packet) for packet in inner[:16]]


def test_resolve_on_the_lan(pair: Pair, rng: Random) -> None:
    """Many hosts at once, each with its own answer; one of them never answers."""
    association = Association.inbound(pair.b.site.tunnels[0])
    hosts = [f"10.0.2.{number}" for number in range(10, 20)]
    inner = [sized("udp", 60 + index, rng, pair.host_a, hosts[index % 10]) for index in range(30)]
    wan = [(START + index, association.frame(index + 1, packet)) for index, packet in enumerate(inner)]
    lan = [
        (START + 10 * MILLISECOND + index, arp(2, bytes([2, 0, 0, 0, 1, index]), host, PORT_MAC, "10.0.2.1"))
        for index, host in enumerate(hosts[:9])
    ]
    replayed = pair.b.replay("--resolve", wan=wan, lan=lan)
    assert replayed.drops == {"neighbor_unresolved": 3}
    assert sum(record.ethertype == packets.ETHERTYPE_ARP for record in replayed.out["lan"]) == 10
    for index in range(9):
        mine = [record for record in replayed.out["lan"] if record.octets[:6] == bytes([2, 0, 0, 0, 1, index])]
        assert [record.packet for record in mine] == [packets.forwarded(packet) for packet in inner[index::10]]


def test_resolve_learns_from_whoever_asks(pair: Pair, rng: Random) -> None:
    """RFC 826: who asks for us is known from then on. Who speaks for an address off the link, or for ours, is not."""
    lan_frame = frame(sized("udp", 100, rng, pair.host_a, pair.host_b))
    wan = [(START, arp(1, ROUTER_MAC, "192.0.2.254", bytes(6), "192.0.2.1"))]
    replayed = pair.a.replay("--resolve", wan=wan, lan=[(START + MILLISECOND * 5, lan_frame)])
    assert replayed.drops == {}
    assert [record.ethertype for record in replayed.out["wan"]] == [packets.ETHERTYPE_ARP, packets.ETHERTYPE_IPV4]
    assert replayed.out["wan"][1].octets[:6] == ROUTER_MAC
    forged = [
        arp(2, HOST_MAC, sender, BROADCAST_MAC, "192.0.2.1")
        for sender in ("198.51.100.1", "192.0.2.1", "10.0.1.1", "0.0.0.0", "192.0.2.253")
    ]
    forged += [
        arp(2, b"\xff" * 6, "192.0.2.254", BROADCAST_MAC, "192.0.2.1"),
        arp(2, bytes(6), "192.0.2.254", PORT_MAC, "192.0.2.1"),
    ]
    replayed = pair.a.replay(
        "--resolve",
        wan=[(START + index, octets) for index, octets in enumerate(forged)],
        lan=[(START + MILLISECOND * 5, lan_frame)],
    )
    assert replayed.drops == {"neighbor_unresolved": 1}
