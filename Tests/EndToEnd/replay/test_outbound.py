"""What vpn-gw encrypts, opened by scapy and octet by octet by hand. RFC 4303 sections 2 and 3.3, RFC 4106, RFC 6040."""

from __future__ import annotations

import struct
from random import Random

import pytest

from replay.judges import Scapy
from vpngw import packets
from vpngw.esp import Association
from vpngw.rig import Pair, Replayed

LARGEST_INNER = 1446
"""RFC 4106: 1500 less 20 outer, 8 ESP, 8 IV, 2 trailer, 16 ICV, on a multiple of four with the trailer."""


def judge(pair: Pair, inner: list[bytes], replayed: Replayed) -> None:
    """All of `inner` came out encrypted, in order, every field as it must be."""
    assert replayed.drops == {}
    outer = replayed.packets("wan")
    assert len(outer) == len(inner)
    association, scapy = Association.outbound(pair.tunnel), Scapy.outbound(pair.tunnel)
    vectors = set()
    for number, (packet, original) in enumerate(zip(outer, inner), start=1):
        expected = packets.forwarded(original)
        judge_outer_header(packet, original, pair)
        opened = association.open(packet)
        assert (opened.spi, opened.sequence) == (pair.tunnel.outbound_spi, number)
        assert int.from_bytes(opened.iv, "big") == number
        vectors.add(opened.iv)
        # RFC 4303 2.4: as little padding as ends text and trailer on four octets, counting 1 2 3.
        assert opened.padding == bytes(range(1, 1 + -(len(original) + 2) % 4))
        assert opened.next_header == 4
        assert opened.payload == expected
        assert scapy.decrypt(packet) == expected
    assert len(vectors) == len(inner)
    sa = next(sa for sa in replayed.report["sas"] if sa["direction"] == "outbound")
    assert (sa["packets"], sa["octets"]) == (len(inner), sum(map(len, inner)))
    assert sa["sequence_number"] == len(inner)


def judge_outer_header(packet: bytes, original: bytes, pair: Pair) -> None:
    """RFC 4301 section 5.1.2.1, RFC 6040 section 3.2 (normal mode)."""
    version, tos, length, _, fragment, ttl, protocol, _, source, destination = struct.unpack(
        "!BBHHHBBH4s4s", packet[:20]
    )
    assert version == 0x45
    assert tos == original[1]
    padded = len(original) + 2 + -(len(original) + 2) % 4
    assert length == len(packet) == 20 + 8 + 8 + padded + 16
    assert fragment == struct.unpack_from("!H", original, 6)[0] & packets.DF
    assert (ttl, protocol) == (64, packets.ESP)
    assert packets.checksum(packet[:20]) == 0
    assert source == packets.address(pair.tunnel.local_address)
    assert destination == packets.address(pair.tunnel.remote_address)


@pytest.mark.parametrize("kind", sorted(packets.HEADERS))
def test_every_length(pair: Pair, rng: Random, kind: str) -> None:
    lengths = range(20 + packets.HEADERS[kind], LARGEST_INNER + 1)
    inner = [
        packets.sized(kind, octets, rng, pair.host_a, pair.host_b, **packets.random_fields(rng)) for octets in lengths
    ]
    judge(pair, inner, pair.a.replay(lan=map(packets.frame, inner)))


def test_inner_fragments(pair: Pair, rng: Random) -> None:
    """First, middle and last fragments are packets like any other to a tunnel without port selectors."""
    inner = []
    for octets in (28, 36, 532, 1004, 1444):
        for fragment in (packets.MF, packets.MF | 1, packets.MF | 0x1000, 0x1FFF, 185, packets.DF | packets.MF):
            for kind in ("udp", "icmp", "unknown"):
                inner.append(
                    packets.sized(
                        kind,
                        octets,
                        rng,
                        pair.host_a,
                        pair.host_b,
                        identification=rng.randrange(65536),
                        fragment=fragment,
                    )
                )
    judge(pair, inner, pair.a.replay(lan=map(packets.frame, inner)))


@pytest.mark.parametrize("name", packets.OPTIONS)
def test_inner_options(pair: Pair, rng: Random, name: str) -> None:
    options = packets.OPTIONS[name]
    inner = [
        packets.sized(kind, octets, rng, pair.host_a, pair.host_b, options=options, **packets.random_fields(rng))
        for kind in packets.HEADERS
        for octets in (80, 81, 82, 83, 700, 1445, 1446)
    ]
    judge(pair, inner, pair.a.replay(lan=map(packets.frame, inner)))


def test_every_service_and_both_df(pair: Pair, rng: Random) -> None:
    """DSCP, ECN and DF are copied, in all combinations."""
    inner = [
        packets.sized("udp", 100, rng, pair.host_a, pair.host_b, tos=tos, fragment=fragment)
        for tos in range(256)
        for fragment in (0, packets.DF)
    ]
    judge(pair, inner, pair.a.replay(lan=map(packets.frame, inner)))


def test_ethernet_padding_is_no_part_of_the_packet(pair: Pair, rng: Random) -> None:
    inner = [packets.sized("unknown", octets, rng, pair.host_a, pair.host_b) for octets in range(20, 46)]
    padded = [packets.frame(packet + rng.randbytes(46 - len(packet))) for packet in inner]
    judge(pair, inner, pair.a.replay(lan=padded))


def test_the_next_hop(pair: Pair, rng: Random) -> None:
    """A static neighbour's address; without one the placeholder; and always the port's own as the source."""
    inner = packets.frame(packets.sized("udp", 100, rng, pair.host_a, pair.host_b))
    placeholder = pair.a.replay(lan=[inner]).out["wan"][0].octets
    assert placeholder[:6] == bytes.fromhex("020000000001")
    pair.a.site.neighbors = [("wan", "192.0.2.254", "02:00:00:00:00:fe")]
    static = pair.a.replay(lan=[inner]).out["wan"][0].octets
    assert static[:6] == bytes.fromhex("0200000000fe")
    assert static[6:] == placeholder[6:]
    assert static[6] & 1 == 0 and static[6:12] != bytes(6), "no port has the source address 00:00:00:00:00:00"
