"""What scapy encrypts, opened by vpn-gw. RFC 4303 section 3.4, RFC 4301 section 5.2."""

from __future__ import annotations

from random import Random

import pytest

from replay.judges import Scapy
from vpngw import packets
from vpngw.esp import Association
from vpngw.rig import Pair, Replayed


def opened(pair: Pair, inner: list[bytes]) -> Replayed:
    """Gateway b opens what scapy made of `inner`; asserts that it is the same but for the hop."""
    scapy = Scapy.inbound(pair.b.site.tunnels[0])
    outer = [packets.frame(scapy.encrypt(packet, number)) for number, packet in enumerate(inner, start=1)]
    replayed = pair.b.replay(wan=outer)
    assert replayed.drops == {}
    assert replayed.packets("lan") == [packets.forwarded(packet) for packet in inner]
    sa = next(sa for sa in replayed.report["sas"] if sa["direction"] == "inbound")
    assert (sa["packets"], sa["octets"], sa["sequence_number"]) == (len(inner), sum(map(len, inner)), len(inner))
    return replayed


@pytest.mark.parametrize("kind", sorted(packets.HEADERS))
def test_every_length(pair: Pair, rng: Random, kind: str) -> None:
    lengths = range(20 + packets.HEADERS[kind], 1447)
    opened(
        pair,
        [
            packets.sized(kind, octets, rng, pair.host_a, pair.host_b, **packets.random_fields(rng))
            for octets in lengths
        ],
    )


def test_inner_fragments(pair: Pair, rng: Random) -> None:
    opened(
        pair,
        [
            packets.sized("unknown", octets, rng, pair.host_a, pair.host_b, fragment=fragment)
            for octets in (28, 532, 1444)
            for fragment in (packets.MF, packets.MF | 0x1000, 0x1FFF, 185)
        ],
    )


def test_inner_options(pair: Pair, rng: Random) -> None:
    opened(
        pair,
        [
            packets.sized(kind, octets, rng, pair.host_a, pair.host_b, options=options)
            for options in packets.OPTIONS.values()
            for kind in packets.HEADERS
            for octets in (80, 81, 82, 83, 1446)
        ],
    )


def test_a_jumbo_outer_packet(pair: Pair, rng: Random) -> None:
    """The way in has no limit of its own: what fits the way out of the lan is carried."""
    pair.b.site.ports[0].mtu_octets = 9000
    opened(
        pair, [packets.sized("udp", octets, rng, pair.host_a, pair.host_b) for octets in (1447, 1500, 1501, 8999, 9000)]
    )


def test_outer_options_and_service(pair: Pair, rng: Random) -> None:
    """RFC 4301 5.1.2.1: of the outer header nothing but the congestion mark reaches the inner one."""
    association = Association.inbound(pair.b.site.tunnels[0])
    inner = packets.sized("udp", 100, rng, pair.host_a, pair.host_b, tos=0x28)
    fields = [{"options": options} for options in packets.OPTIONS.values()]
    fields += [
        {"tos": dscp << 2, "ttl": ttl, "fragment": df} for dscp in range(64) for ttl, df in ((1, 0), (255, packets.DF))
    ]
    frames = [association.frame(number, inner, **field) for number, field in enumerate(fields, start=1)]
    replayed = pair.b.replay(wan=frames)
    assert replayed.packets("lan") == [packets.forwarded(inner)] * len(fields)


def test_the_iv_is_the_senders_own(pair: Pair, rng: Random) -> None:
    """RFC 4106 3.1: a receiver takes any IV, however the sender makes them."""
    association = Association.inbound(pair.b.site.tunnels[0])
    frames, inner = [], []
    for number in range(1, 201):
        packet = packets.sized("udp", rng.randrange(28, 1447), rng, pair.host_a, pair.host_b)
        text = packet + b"".join((bytes(range(1, 1 + -(len(packet) + 2) % 4)), bytes([-(len(packet) + 2) % 4, 4])))
        esp = association.seal(number, text, iv=rng.randbytes(8))
        frames.append(packets.frame(packets.ipv4(association.source, association.destination, packets.ESP, esp)))
        inner.append(packet)
    replayed = pair.b.replay(wan=frames)
    assert replayed.packets("lan") == [packets.forwarded(packet) for packet in inner]


def test_there_and_back(pair: Pair, rng: Random) -> None:
    """Two gateways of ours understand each other too, both ways at once."""
    there = list(packets.mixed(3000, rng, pair.host_a, pair.host_b))
    back = list(packets.mixed(3000, rng, pair.host_b, pair.host_a))
    from_a = pair.a.replay(lan=map(packets.frame, there)).out["wan"]
    at_b = pair.b.replay(lan=map(packets.frame, back), wan=from_a)
    at_a = pair.a.replay(wan=at_b.out["wan"])
    assert at_b.packets("lan") == [packets.forwarded(packet, hops=2) for packet in there]
    assert at_a.packets("lan") == [packets.forwarded(packet, hops=2) for packet in back]
