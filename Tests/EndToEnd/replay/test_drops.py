"""Every drop reason that a replay can reach: the exact reason, the exact count, and the exact packets.

The order of reasons is the contract's; RFC sections stand where a MUST of theirs is held.
"""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

from replay.judges import Scapy
from vpngw import capture, packets
from vpngw.capture import MILLISECOND, START, Record
from vpngw.esp import Association, trailer
from vpngw.packets import changed, frame, ipv4, mended, sized
from vpngw.rig import Pair, Replayed, same_packets
from vpngw.site import Port


def judge(replayed: Replayed, drops: dict[str, int], dropped: list[bytes] | None = None) -> None:
    """These reasons, and with `dropped` these frames, as they came."""
    assert replayed.drops == drops
    if dropped is not None:
        assert same_packets((record.octets for record in replayed.dropped), dropped)


@pytest.fixture
def inner(pair: Pair, rng: Random) -> bytes:
    """From a's host to b's, 28 octets: its ESP packet has 64."""
    return sized("udp", 28, rng, pair.host_a, pair.host_b)


@pytest.fixture
def sender(pair: Pair) -> Association:
    """What gateway b receives under."""
    return Association.inbound(pair.b.site.tunnels[0])


# ---- malformed, unsupported_ethertype, martian, no_buffers ---------------------------------------------------------


@pytest.mark.parametrize("port", ["lan", "wan"])
def test_frames_cut_short(pair: Pair, inner: bytes, port: str) -> None:
    """Every length from nothing to one octet less than the packet."""
    whole = frame(inner)
    cut = [whole[:octets] for octets in range(len(whole))]
    judge(pair.a.replay(**{port: cut}), {"malformed": len(cut)}, cut)


@pytest.mark.parametrize("port", ["lan", "wan"])
def test_headers_that_no_sender_may_send(pair: Pair, inner: bytes, port: str) -> None:
    """RFC 1812 section 5.2.2, RFC 791 section 3.1."""
    bad = [
        inner[:offset] + bytes([inner[offset] ^ 1 << bit]) + inner[offset + 1 :]
        for offset in range(20)
        for bit in range(8)
        if (offset, bit) != (0, 0)
    ]  # any flipped bit: the checksum
    bad += [changed(inner, 0, bytes([version << 4 | 5])) for version in range(16) if version != 4]
    bad += [changed(inner, 0, bytes([0x40 | length])) for length in range(5)]
    bad += [changed(inner, 0, bytes([0x40 | length])) for length in range(8, 16)]  # beyond the packet's 28 octets
    bad += [changed(inner, 2, struct.pack("!H", length)) for length in (0, 1, 19, 29, 1500, 65535)]
    judge(pair.a.replay(**{port: map(frame, bad)}), {"malformed": len(bad)}, [frame(packet) for packet in bad])


def test_lengths_of_options(pair: Pair) -> None:
    """RFC 791 section 3.1: an option is two octets at least and ends inside the header."""

    def packet(*octets: int) -> bytes:
        options = bytes(octets) + bytes(-len(octets) % 4)
        return frame(ipv4(pair.host_a, pair.host_b, packets.EXPERIMENT, options=options))

    good = [
        packet(7, 4, 4, 0),
        packet(1, 1, 68, 4, 5, 0, 0, 0),
        packet(0, 7, 0, 255),
        packet(1, 1, 1, 0),
        packet(7, 8, 4, 0, 0, 0, 0, 0),
    ]
    bad = [packet(7, length, 0, 0) for length in (0, 1, 5, 255)]
    bad += [packet(1, 1, 1, 7), packet(1, 1, 7, 3), packet(7, 3, 4, 148), packet(148, 4, 0, 0, 7, 5, 0, 0)]
    replayed = pair.a.replay(lan=[*good, *bad])
    judge(replayed, {"malformed": len(bad)}, bad)
    assert len(replayed.out["wan"]) == len(good)


def test_what_a_snap_length_cut(pair: Pair, inner: bytes) -> None:
    """A record that is shorter than its packet was can't be carried; it is dropped like any other."""
    whole, cut = frame(inner), Record(START + 1, frame(inner)[:40], 42)
    replayed = pair.a.replay(lan=[(START, whole), cut, (START + 2, whole)])
    judge(replayed, {"malformed": 1})
    assert replayed.dropped == [cut]
    assert len(replayed.out["wan"]) == 2


def test_ethertypes(pair: Pair, inner: bytes) -> None:
    types = [0x88CC, 0x88A8, 0x8863, 0, 46, 0x05DC, 0xFFFF]
    frames = [frame(inner, ethertype=ethertype) for ethertype in types]
    judge(pair.a.replay(lan=frames), {"unsupported_ethertype": len(types)}, frames)
    judge(pair.a.replay(wan=frames), {"unsupported_ethertype": len(types)}, frames)


def test_frames_beyond_every_buffer(pair: Pair, rng: Random) -> None:
    """A frame that finds no room is counted, not cut."""
    frames = [frame(sized("unknown", octets, rng, pair.host_a, pair.host_b)) for octets in (9500, 20000, 65535)]
    judge(pair.a.replay(lan=frames), {"no_buffers": 3}, frames)


def test_records_of_any_size(pair: Pair, rng: Random, tmp_path: Path) -> None:
    """Up to the most that a capture file can hold, of both link types; the drops are whole as far as they can be."""
    large = sized("unknown", 65535, rng, pair.host_a, pair.host_b) + bytes(262_144 - 65535)
    ethernet = capture.write(tmp_path / "ethernet.pcap", [large])
    raw = capture.write(tmp_path / "raw.pcap", [large, large[:9500], large[:20]], link_type=capture.RAW_IP)
    assert pair.a.replay_files([("lan", ethernet)]).dropped == [Record(START, large, 262_144)]
    replayed = pair.a.replay_files([("lan", raw)])
    judge(replayed, {"no_buffers": 2, "malformed": 1})
    assert [record.packet for record in replayed.dropped] == [large[:-14], large[:9500], large[:20]]
    assert [record.original_octets for record in replayed.dropped] == [262_158, 9514, 34]


def test_dropped_packets_of_our_own(pair: Pair, rng: Random) -> None:
    """An error that finds no way is dropped too, and the file of drops shows it, not what its buffer held before."""
    gossip = packets.arp(2, packets.HOST_MAC, pair.host_a, packets.PORT_MAC, "10.0.1.1")
    # A source that is a broadcast address: the error about it has nobody to go to.
    cause = sized("udp", 100, rng, "10.0.1.255", pair.host_b, ttl=1)
    replayed = pair.a.replay(lan=[gossip, frame(cause), gossip])
    judge(replayed, {"ttl_expired": 1, "martian": 1})
    own = [record.packet for record in replayed.dropped if record.octets != frame(cause)]
    assert len(own) == 1
    assert own[0][20:22] == b"\x0b\0" and own[0].endswith(cause)


MARTIANS = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("port", ["lan", "wan"])
def test_martians(pair: Pair, rng: Random, port: str) -> None:
    """RFC 1812 section 5.3.7, and the gateway's own addresses as a source."""
    bad = [sized("udp", 60, rng, source, pair.host_b) for source in (*MARTIANS, "10.0.1.1", "192.0.2.1")]
    bad += [sized("udp", 60, rng, pair.host_a, destination) for destination in MARTIANS]
    judge(pair.a.replay(**{port: map(frame, bad)}), {"martian": len(bad)}, [frame(packet) for packet in bad])


def test_directed_broadcasts(pair: Pair, rng: Random) -> None:
    """RFC 2644: not forwarded, from either side, nor through a tunnel."""
    from_lan = [frame(sized("udp", 60, rng, pair.host_a, there)) for there in ("10.0.1.255", "192.0.2.255")]
    judge(pair.a.replay(lan=from_lan), {"martian": 2}, from_lan)
    from_wan = [frame(sized("udp", 60, rng, "192.0.2.9", "192.0.2.255"))]
    judge(pair.a.replay(wan=from_wan), {"martian": 1}, from_wan)
    association = Association.inbound(pair.b.site.tunnels[0])
    through = [association.frame(1, sized("udp", 60, rng, pair.host_a, "10.0.2.255"))]
    judge(pair.b.replay(wan=through), {"martian": 1}, through)


# ---- no_policy, no_route, packet_too_big, ttl_expired --------------------------------------------------------------


def test_no_policy_means_discard(pair: Pair, rng: Random) -> None:
    """RFC 4301 section 4.4.1: in both directions."""
    out = [
        frame(sized(kind, 80, rng, source, destination))
        for kind in packets.HEADERS
        for source, destination in (
            (pair.host_a, "203.0.113.9"),
            (pair.host_a, "192.0.2.77"),
            ("10.0.9.5", pair.host_b),
            (pair.host_a, "10.0.3.1"),
        )
    ]
    judge(pair.a.replay(lan=out), {"no_policy": len(out)}, out)
    into = [
        frame(sized(kind, 80, rng, source, destination))
        for kind in packets.HEADERS
        for source, destination in (
            ("203.0.113.9", pair.host_a),
            ("192.0.2.77", pair.host_a),
            (pair.host_b, "10.0.3.1"),
            ("10.0.2.5", "192.0.2.77"),
        )
    ]
    judge(pair.a.replay(wan=into), {"no_policy": len(into)}, into)


def test_what_the_gateway_does_not_answer(pair: Pair, rng: Random) -> None:
    """For its own addresses and no echo request: nobody is there."""
    host, own = pair.host_a, "10.0.1.1"
    request = packets.echo(1, 1, b"data")
    for_us = [
        sized("udp", 80, rng, host, own),
        sized("tcp", 80, rng, host, own),
        sized("unknown", 80, rng, host, own),
        ipv4(host, own, packets.ICMP, packets.echo(1, 1, kind=0)),
        ipv4(host, own, packets.ICMP, packets.echo(1, 1, kind=13)),
        ipv4(host, own, packets.ICMP, request[:1] + b"\1" + request[2:]),  # code 1, and with it a wrong checksum
        ipv4(host, own, packets.ICMP, request[:-1] + b"!"),  # wrong checksum
        ipv4(host, own, packets.ICMP, request, fragment=packets.MF),
        ipv4(host, own, packets.ICMP, request, fragment=1),
        ipv4(host, own, packets.ICMP, request[:7]),
        ipv4(host, own, packets.ICMP),
        ipv4(host, own, packets.ESP, bytes(64)),
    ]
    frames = [frame(packet) for packet in for_us]
    judge(pair.a.replay(lan=frames), {"no_policy": len(frames)}, frames)


def test_no_route(pair: Pair, rng: Random) -> None:
    """A policy lets it out in clear, but no port leads there."""
    pair.a.site.routes = [("198.51.100.1/32", "192.0.2.254")]
    pair.a.site.policies = [{"action": "bypass", "direction": "outbound", "destination": "203.0.113.0/24"}]
    frames = [frame(sized("udp", 80, rng, pair.host_a, "203.0.113.9", ttl=ttl)) for ttl in (2, 64)]
    judge(pair.a.replay(lan=frames), {"no_route": 2}, frames)


# ---- reassembly_failed, unprotected, unknown_spi, tunnel_address_mismatch ------------------------------------------


def test_esp_in_fragments(pair: Pair, sender: Association, inner: bytes) -> None:
    whole = sender.packet(1, inner)
    fragments = [changed(whole, 6, struct.pack("!H", field)) for field in (packets.MF, packets.MF | 3, 3, 0x1FFF)]
    frames = [frame(packet) for packet in fragments]
    replayed = pair.b.replay(wan=[*frames, frame(whole)])
    judge(replayed, {"reassembly_failed": 4}, frames)
    assert replayed.packets("lan") == [packets.forwarded(inner)]


def test_clear_text_that_a_tunnel_covers(pair: Pair, rng: Random) -> None:
    """RFC 4301 section 5.2, step 3: it had to come under the SA."""
    frames = [
        frame(sized(kind, octets, rng, pair.host_a, destination))
        for kind in packets.HEADERS
        for octets in (40, 1500)
        for destination in (pair.host_b, "10.0.2.1")
    ]
    judge(pair.b.replay(wan=frames), {"unprotected": len(frames)}, frames)


def test_addresses_and_spis_of_others(pair: Pair, sender: Association, inner: bytes, rng: Random) -> None:
    """RFC 4301 section 4.1: the SA is found by SPI and destination, and the source must be the peer's."""
    pair.b.site.ports[1].addresses.append("198.51.101.1/24")
    esp = sender.packet(7, inner)[20:]
    own_spi = pair.tunnel.inbound_spi
    strange = [struct.pack("!I", spi) + esp[4:] for spi in (0, 1, 255, own_spi, 0xFFFFFFFF, sender.spi ^ 1)]
    cases: dict[str, list[bytes]] = {
        "unknown_spi": [ipv4(sender.source, sender.destination, packets.ESP, other) for other in strange]
        + [ipv4(sender.source, own, packets.ESP, esp) for own in ("10.0.2.1", "198.51.101.1")],
        "tunnel_address_mismatch": [
            ipv4(source, sender.destination, packets.ESP, esp)
            for source in ("192.0.2.2", "203.0.113.9", pair.host_a, "198.51.100.254")
        ],
        # ESP that is for somebody else is clear text to us (RFC 4301 section 5.2, step 3).
        "no_policy": [
            ipv4(sender.source, there, packets.ESP, esp) for there in ("198.51.100.77", "203.0.113.9", "10.0.3.1")
        ],
        "unprotected": [ipv4(pair.host_a, pair.host_b, packets.ESP, esp)],
    }
    frames = [frame(packet) for case in cases.values() for packet in case]
    rng.shuffle(frames)
    replayed = pair.b.replay(wan=[*frames, frame(ipv4(sender.source, sender.destination, packets.ESP, esp))])
    judge(replayed, {reason: len(case) for reason, case in cases.items()}, frames)
    assert replayed.packets("lan") == [packets.forwarded(inner)]


# ---- damaged, truncated, replayed, late ----------------------------------------------------------------------------


def test_every_octet_damaged(pair: Pair, sender: Association, inner: bytes, rng: Random) -> None:
    """RFC 4303 section 3.4.4: one flipped bit anywhere, and nothing of the state changes before the ICV held."""
    whole = sender.packet(0x01010101, inner)
    esp, damaged = whole[20:], []
    for offset in range(len(esp)):
        bit = 1 << rng.randrange(8)
        damaged.append(whole[: 20 + offset] + bytes([esp[offset] ^ bit]) + esp[offset + 1 :])
    frames = [frame(packet) for packet in damaged]
    replayed = pair.b.replay(wan=[*frames, frame(whole)])
    judge(replayed, {"unknown_spi": 4, "integrity_failed": len(esp) - 4}, frames)
    assert replayed.packets("lan") == [packets.forwarded(inner)]


@pytest.mark.parametrize("wrong", ["key", "salt"])
def test_the_wrong_key(pair: Pair, inner: bytes, rng: Random, wrong: str) -> None:
    tunnel = pair.b.site.tunnels[0]
    key = bytearray(tunnel.inbound_key)
    key[rng.randrange(16) if wrong == "key" else rng.randrange(16, 20)] ^= 1 << rng.randrange(8)
    stranger = Association(tunnel.inbound_spi, bytes(key), tunnel.remote_address, tunnel.local_address)
    frames = [stranger.frame(number, inner) for number in range(1, 101)]
    judge(pair.b.replay(wan=frames), {"integrity_failed": 100}, frames)


def test_truncated_and_the_length_adjusted(pair: Pair, sender: Association, inner: bytes) -> None:
    """An ESP packet of 64 octets cut to every length, with a header that says so."""
    outer = sender.packet(1, inner)
    assert len(outer) == 20 + 64
    cut = [mended(outer[:2] + struct.pack("!H", 20 + octets) + outer[4 : 20 + octets]) for octets in range(65)]
    # Header, IV, trailer and ICV take 36 octets, and what is encrypted ends on four.
    readable = [octets for octets in range(64) if octets >= 36 and octets % 4 == 0]
    replayed = pair.b.replay(wan=map(frame, cut))
    judge(replayed, {"malformed": 64 - len(readable), "integrity_failed": len(readable)}, list(map(frame, cut[:64])))
    assert replayed.packets("lan") == [packets.forwarded(inner)]


def test_truncated_and_the_length_not_adjusted(pair: Pair, sender: Association, inner: bytes) -> None:
    outer = sender.packet(1, inner)
    frames = [frame(outer[: 20 + octets]) for octets in range(65)]
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {"malformed": 64}, frames[:64])
    assert replayed.packets("lan") == [packets.forwarded(inner)]


def test_lengthened(pair: Pair, sender: Association, inner: bytes, rng: Random) -> None:
    """What follows the ICV inside the IP packet is part of what must be authentic; outside of it, Ethernet padding."""
    outer = sender.packet(1, inner)
    longer = [
        mended(outer[:2] + struct.pack("!H", len(outer) + more) + outer[4:] + rng.randbytes(more))
        for more in range(1, 9)
    ]
    replayed = pair.b.replay(wan=[*map(frame, longer), frame(outer + rng.randbytes(9))])
    judge(replayed, {"malformed": 6, "integrity_failed": 2}, list(map(frame, longer)))
    assert replayed.packets("lan") == [packets.forwarded(inner)]


def test_sequence_number_zero(pair: Pair, sender: Association, inner: bytes) -> None:
    """RFC 4303 section 2.2: the first is 1, and without ESN none comes back to 0."""
    frames = [sender.frame(0, inner), sender.frame(1, inner), sender.frame(0, inner)]
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {"malformed": 2}, [frames[0], frames[2]])
    assert len(replayed.out["lan"]) == 1


def test_unaligned_ciphertext(pair: Pair, sender: Association, inner: bytes) -> None:
    """RFC 4303 section 2.4: authentic, but of a length that no sender may make."""
    texts = [inner + bytes(range(1, 1 + pad)) + bytes([pad, 4]) for pad in range(8)]
    frames = [sender.frame(number, b"", text=text) for number, text in enumerate(texts, start=1)]
    replayed = pair.b.replay(wan=frames)
    bad = [frame for frame, text in zip(frames, texts) if len(text) % 4]
    judge(replayed, {"malformed": 6}, bad)
    assert replayed.packets("lan") == [packets.forwarded(inner)] * 2


def test_replayed_in_a_burst_and_across_bursts(pair: Pair, sender: Association, inner: bytes) -> None:
    """Of two copies in one burst both pass the first look at the window, and only one the second."""
    numbers = [1, 1, 2, 1, 2, 2, 3]
    burst = [sender.frame(number, inner) for number in numbers]
    later = [(START + 50 * MILLISECOND + index, octets) for index, octets in enumerate(burst)]
    replayed = pair.b.replay(wan=[*((START + index, octets) for index, octets in enumerate(burst)), *later])
    judge(replayed, {"replayed": 4 + 7})
    assert len(replayed.out["lan"]) == 3


@pytest.mark.parametrize("gap", [1, 2 * MILLISECOND], ids=["one burst", "bursts of one"])
def test_the_edges_of_the_window(pair: Pair, sender: Association, inner: bytes, gap: int) -> None:
    """A window of 1024 holds the last 1024 numbers: T - 1023 is in, T - 1024 is out."""
    numbers = [5000, 5000 - 1023, 5000 - 1024, 1, 5001, 5001 - 1024, 5001 - 1023, 5000, 4999]
    reasons = [None, None, "late", "late", None, "late", None, "replayed", None]
    frames = [(START + index * gap, sender.frame(number, inner)) for index, number in enumerate(numbers)]
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {"late": 3, "replayed": 1}, [octets for (_, octets), reason in zip(frames, reasons) if reason])
    assert len(replayed.out["lan"]) == reasons.count(None)


def test_a_bad_icv_never_moves_the_window(pair: Pair, sender: Association, inner: bytes) -> None:
    """RFC 4303 section 3.4.3: the window moves only for what is authentic."""
    forged = sender.frame(0xFFFFFFFF, inner)
    forged = forged[:-1] + bytes([forged[-1] ^ 1])
    frames = [
        (START + index * 2 * MILLISECOND, octets)
        for index, octets in enumerate([forged, sender.frame(1, inner), forged, sender.frame(2, inner)])
    ]
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {"integrity_failed": 2}, [forged, forged])
    assert len(replayed.out["lan"]) == 2


def test_the_last_sequence_number(pair: Pair, sender: Association, inner: bytes) -> None:
    """Far jumps, to the end of the number space; without ESN nothing comes behind it."""
    numbers = [1, 2, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1, 2, 0xFFFFFFFF]
    replayed = pair.b.replay(wan=[sender.frame(number, inner) for number in numbers])
    judge(replayed, {"late": 2, "replayed": 1})


# ---- bad_trailer, dummy, what is inside, selector_mismatch ---------------------------------------------------------


def test_trailers(pair: Pair, sender: Association, inner: bytes) -> None:
    """RFC 4303 sections 2.4 to 2.6. `inner` and its trailer take 32 octets, with two of padding."""

    def padded(padding: bytes, count: int | None = None, next_header: int = 4) -> bytes:
        return inner + padding + bytes([len(padding) if count is None else count, next_header])

    bad = (
        [
            padded(b"\1\2", count)
            for count in (31, 32, 64, 128, 254, 255)  # longer than what there is
        ]
        + [
            padded(padding)
            for padding in (b"\0\0", b"\2\1", b"\1\1", b"\1\3", b"\0\1", b"\1\2\3\4\5\7", bytes(range(2, 256)))
        ]
        + [padded(b"\1\2", next_header=header) for header in (0, 1, 6, 17, 41, 47, 50, 58, 60, 255)]
    )
    good = [
        padded(bytes(range(1, 1 + count)))
        for count in range(2, 256, 4)  # RFC 4303 2.4: up to 255 octets
    ]
    dummies = [
        padded(b"\1\2", next_header=59),
        bytes(range(1, 255)) + bytes([254, 59]),
        bytes(1446) + bytes([0, 59]),
        bytes([1, 2, 2, 59]),
    ]
    texts = [*bad, *good, *dummies]
    frames = [sender.frame(number, b"", text=text) for number, text in enumerate(texts, start=1)]
    replayed = pair.b.replay(wan=frames)
    rejected = frames[: len(bad)] + frames[-len(dummies) :]
    judge(replayed, {"bad_trailer": len(bad), "dummy": len(dummies)}, rejected)
    assert replayed.packets("lan") == [packets.forwarded(inner)] * len(good)
    again = pair.b.replay(wan=[octets for octets in frames for _ in range(2)])
    assert again.drops["replayed"] == len(frames), "what was authentic counts as seen, whatever was inside"


def test_padding_for_traffic_flow_confidentiality(pair: Pair, sender: Association, rng: Random) -> None:
    """RFC 4303 section 2.7: what lies between the inner packet and the padding is anything, and ignored."""
    inner, frames = [], []
    for number in range(1, 401):
        packet = sized("udp", rng.randrange(28, 700), rng, pair.host_a, pair.host_b)
        padded = packet + rng.randbytes(rng.randrange(1, 700))
        inner.append(packet)
        frames.append(sender.frame(number, padded))
    replayed = pair.b.replay(wan=frames)
    assert replayed.drops == {}
    assert replayed.packets("lan") == [packets.forwarded(packet) for packet in inner]


def test_what_is_inside_is_looked_at_too(pair: Pair, sender: Association, inner: bytes, rng: Random) -> None:
    """A peer that holds the key is still not trusted with the inner header."""
    # The trailer says IPv4.
    others = [b"", bytes(20), b"\x15" + rng.randbytes(20), changed(inner, 0, b"\x65")]
    broken = [
        inner[:19],
        inner[:27],
        changed(inner, 0, b"\x4f"),
        changed(inner, 2, b"\0\x13"),
        inner[:10] + bytes([inner[10] ^ 1]) + inner[11:],
        ipv4(pair.host_a, pair.host_b, packets.EXPERIMENT, options=bytes([7, 1, 0, 0])),
    ]
    martians = [sized("udp", 60, rng, source, pair.host_b) for source in (*MARTIANS, "10.0.2.1", "198.51.100.1")]
    martians += [sized("udp", 60, rng, pair.host_a, destination) for destination in MARTIANS]
    frames = [sender.frame(number, packet) for number, packet in enumerate([*others, *broken, *martians], start=1)]
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {"bad_trailer": len(others), "malformed": len(broken), "martian": len(martians)}, frames)
    assert replayed.out == {"lan": [], "wan": []}


def test_outside_of_the_selectors(pair: Pair, inner: bytes, rng: Random) -> None:
    """RFC 4301 section 5.2, step 4: authentic, of the peer, and not what its SA is for."""
    scapy = Scapy.inbound(pair.b.site.tunnels[0])
    wrong = [
        sized(kind, 80, rng, source, destination)
        for kind in packets.HEADERS
        for source, destination in (
            ("10.0.3.5", pair.host_b),
            (pair.host_a, "10.0.3.5"),
            ("10.0.0.255", pair.host_b),
            ("10.0.2.77", pair.host_b),
            ("203.0.113.9", pair.host_b),
            (pair.host_a, "203.0.113.9"),
            (pair.host_b, pair.host_a),
            (pair.host_a, "10.0.1.77"),
            (pair.host_a, "198.51.100.1"),
        )
    ]
    frames = [frame(scapy.encrypt(packet, number)) for number, packet in enumerate([*wrong, inner], start=1)]
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {"selector_mismatch": len(wrong)}, frames[:-1])
    assert replayed.packets("lan") == [packets.forwarded(inner)]


# ---- ecn_violation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", range(4))
@pytest.mark.parametrize("inside", range(4))
def test_congestion_marks(pair: Pair, sender: Association, rng: Random, inside: int, outer: int) -> None:
    """RFC 6040 section 4.2, figure 4: all sixteen; the DSCP of neither side is touched."""
    not_ect, ect1, ect0, ce = range(4)
    figure = {
        (not_ect, not_ect): not_ect,
        (not_ect, ect0): not_ect,
        (not_ect, ect1): not_ect,
        (not_ect, ce): None,
        (ect0, not_ect): ect0,
        (ect0, ect0): ect0,
        (ect0, ect1): ect1,
        (ect0, ce): ce,
        (ect1, not_ect): ect1,
        (ect1, ect0): ect1,
        (ect1, ect1): ect1,
        (ect1, ce): ce,
        (ce, not_ect): ce,
        (ce, ect0): ce,
        (ce, ect1): ce,
        (ce, ce): ce,
    }
    expected, frames, inner = figure[inside, outer], [], []
    for dscp in range(64):
        inner.append(sized("udp", rng.randrange(28, 200), rng, pair.host_a, pair.host_b, tos=dscp << 2 | inside))
        frames.append(sender.frame(dscp + 1, inner[-1], tos=(63 - dscp) << 2 | outer))
    replayed = pair.b.replay(wan=frames)
    if expected is None:
        judge(replayed, {"ecn_violation": 64}, frames)
    else:
        judge(replayed, {})
        assert replayed.packets("lan") == [
            packets.forwarded(changed(packet, 1, bytes([packet[1] & 0xFC | expected]))) for packet in inner
        ]


# ---- all of it at once ---------------------------------------------------------------------------------------------


def test_good_and_bad_in_one_burst(pair: Pair, sender: Association, rng: Random) -> None:
    """Runs of packets that must drop, between others that must not: nobody takes another's verdict."""
    frames: list[bytes] = []
    expected: list[bytes] = []
    dropped: dict[str, list[bytes]] = {}
    for number in range(1, 4001):
        inner = sized("udp", rng.randrange(28, 1447), rng, pair.host_a, pair.host_b)
        good = sender.frame(number, inner)
        bad = {
            "integrity_failed": good[:-1] + bytes([good[-1] ^ 0x80]),
            "unknown_spi": good[:34] + bytes([good[34] ^ 0x80]) + good[35:],
            "unprotected": frame(inner),
            "selector_mismatch": sender.frame(number, sized("udp", 60, rng, pair.host_b, pair.host_a)),
            "bad_trailer": sender.frame(number, b"", text=inner + trailer(inner, packets.IPV6)),
            "malformed": good[: 14 + rng.randrange(20, 60)],
            "tunnel_address_mismatch": frame(changed(good[14:], 12, packets.address("192.0.2.9"))),
        }
        reason = rng.choice([*bad, None, None, None])
        if reason in (None, "integrity_failed", "unknown_spi", "unprotected", "malformed", "tunnel_address_mismatch"):
            run = [(reason, bad[reason])] * rng.randrange(1, 6) if reason else []
            frames += [octets for _, octets in run] + [good]
            expected.append(packets.forwarded(inner))
            if rng.random() < 0.3:
                run.append(("replayed", good))
                frames.append(good)
        else:  # authentic, and so it takes the number: what follows with the same one is replayed
            run = [(reason, bad[reason]), ("replayed", good)]
            frames += [octets for _, octets in run]
        for name, octets in run:
            dropped.setdefault(name, []).append(octets)
    replayed = pair.b.replay(wan=frames)
    judge(replayed, {reason: len(some) for reason, some in dropped.items()}, sum(dropped.values(), []))
    assert replayed.packets("lan") == expected


def test_two_protected_ports(pair: Pair, rng: Random) -> None:
    """What stays inside needs no policy: it does not cross the boundary."""
    pair.a.site.ports.append(Port("dmz", "protected", ["10.0.7.1/24"]))
    inner = [sized(kind, 100, rng, pair.host_a, "10.0.7.9") for kind in packets.HEADERS]
    replayed = pair.a.replay(lan=map(frame, inner))
    judge(replayed, {})
    assert replayed.packets("dmz") == [packets.forwarded(packet) for packet in inner]
