"""Keys that follow each other, by the capture's clock and by what they have carried. RFC 4301 section 4.4.2.1."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from replay.judges import Scapy, tally, tshark
from vpngw import packets
from vpngw.capture import MICROSECOND, MILLISECOND, SECOND, START, Record
from vpngw.rig import Pair, Replayed, make_pair
from vpngw.site import Child

SECONDS = START // SECOND


def make(directory: Path, rng: Random, not_before: list[int | None], **lifetime: int) -> Pair:
    """Two gateways whose tunnel has these further children at both ends; the lifetimes are a's alone."""
    pair = make_pair(directory, rng)
    pair.tunnel.children = [
        Child(*rng.sample(range(0x1000, 1 << 32), 2), start, rng.randbytes(20), rng.randbytes(20))
        for start in not_before]
    pair.b.site.tunnels = [pair.tunnel.reversed("site-a")]
    pair.tunnel.lifetime = lifetime
    return pair


def numbered(count: int, rng: Random, pair: Pair, spacing: int) -> list[tuple[int, bytes]]:
    """Frames of all kinds of packets, so far apart."""
    inner = packets.mixed(count, rng, pair.host_a, pair.host_b)
    return [(START + index * spacing, packets.frame(packet)) for index, packet in enumerate(inner)]


def spis(records: list[Record]) -> list[int]:
    """Under what each ESP packet left."""
    return [int.from_bytes(record.packet[20:24], "big") for record in records]


def runs(pair: Pair, records: list[Record]) -> list[tuple[int, int]]:
    """Which child was sent under, and for how many packets, in the order of the packets."""
    order = [tunnel.outbound_spi for tunnel in pair.tunnel.pairs()]
    found: list[tuple[int, int]] = []
    for spi in spis(records):
        child = order.index(spi)
        if found and found[-1][0] == child:
            found[-1] = (child, found[-1][1] + 1)
        else:
            found.append((child, 1))
    return found


def assert_opened(pair: Pair, frames: list[tuple[int, bytes]], sent: Replayed) -> None:
    """b opens all that a sent, in its order and with nothing lost; the numbers of each SA are 1, 2, 3, …"""
    opened = pair.b.replay(wan=sent.out["wan"])
    assert opened.drops == {}
    dropped = Counter(record.octets for record in sent.dropped)
    expected = []
    for _, frame in frames:
        if dropped[frame]:
            dropped[frame] -= 1
        else:
            expected.append(packets.forwarded(frame[14:], hops=2))
    assert opened.packets("lan") == expected
    numbers: dict[int, int] = {}
    for record in sent.out["wan"]:
        spi, number = (int.from_bytes(record.packet[at:at + 4], "big") for at in (20, 24))
        numbers[spi] = numbers.get(spi, 0) + 1
        assert number == numbers[spi]


def test_children_take_over_at_their_time(tmp_path: Path, rng: Random) -> None:
    """The SPI on the wire changes in the second that both sites name; tshark holds every ICV; nothing is lost."""
    pair = make(tmp_path, rng, [SECONDS + 2, SECONDS + 4])
    frames = numbered(3000, rng, pair, 2 * MILLISECOND)
    sent = pair.a.replay(lan=frames)
    assert sent.drops == {}
    order = [tunnel.outbound_spi for tunnel in pair.tunnel.pairs()]
    for record, spi in zip(sent.out["wan"], spis(sent.out["wan"]), strict=True):
        assert spi == order[(record.time - START) // (2 * SECOND)], record.time - START
    assert runs(pair, sent.out["wan"]) == [(0, 1000), (1, 1000), (2, 1000)]
    assert_opened(pair, frames, sent)
    rows = tshark(tmp_path / "a-1-out-wan.pcap", pair.tunnel.pairs(), ["esp.icv_good", "esp.icv_bad", "esp.spi"])
    assert tally(rows) == {("1", "0", f"{spi:#010x}"): 1000 for spi in order}
    judges = {tunnel.outbound_spi: Scapy.outbound(tunnel) for tunnel in pair.tunnel.pairs()}
    for index in range(0, 3000, 250):
        record = sent.out["wan"][index]
        inner = judges[spis([record])[0]].decrypt(record.packet)
        assert inner == packets.forwarded(frames[index][1][14:], hops=1)


@pytest.mark.parametrize("skew", [-1500, 1500])
def test_clocks_differ(tmp_path: Path, rng: Random, skew: int) -> None:
    """A second and a half between the sites' clocks costs nothing."""
    pair = make(tmp_path, rng, [SECONDS + 2, SECONDS + 4])
    frames = numbered(1200, rng, pair, 5 * MILLISECOND)
    sent = pair.a.replay(lan=frames)
    shifted = [(record.time + skew * MILLISECOND, record.octets) for record in sent.out["wan"]]
    opened = pair.b.replay(wan=shifted)
    assert opened.drops == {}
    assert opened.packets("lan") == [packets.forwarded(frame[14:], hops=2) for _, frame in frames]


def test_two_generations_later_it_is_over(tmp_path: Path, rng: Random) -> None:
    """What was sent under the first keys is opened while the second are current, and not when the third are."""
    pair = make(tmp_path, rng, [SECONDS + 2, SECONDS + 4])
    frames = numbered(30, rng, pair, MILLISECOND)
    esp = [record.octets for record in pair.a.replay(lan=frames).out["wan"]]
    late = [(START + 3 * SECOND + index, octets) for index, octets in enumerate(esp[:10])]
    later = [(START + 4 * SECOND + index, octets) for index, octets in enumerate(esp[10:])]
    opened = pair.b.replay(wan=late + later)
    assert opened.drops == {"unknown_spi": 20}
    assert opened.packets("lan") == [packets.forwarded(frame[14:], hops=2) for _, frame in frames[:10]]


@pytest.mark.parametrize("spacing", [2 * MILLISECOND, MICROSECOND], ids=["one by one", "bursts"])
def test_soft_limit_in_packets(tmp_path: Path, rng: Random, spacing: int) -> None:
    """Behind its soft limit an SA hands over to the next that waits, the last of them goes on; nothing is lost."""
    pair = make(tmp_path, rng, [None, None], soft_lifetime_packets=100)
    frames = numbered(1000, rng, pair, spacing)
    sent = pair.a.replay(lan=frames)
    assert sent.drops == {}
    found = runs(pair, sent.out["wan"])
    assert [child for child, _ in found] == [0, 1, 2] and sum(count for _, count in found) == 1000
    # The packet after the hundredth tells of it; the burst that it is in goes to its end.
    burst = 1 if spacing > MILLISECOND else 32
    assert all(100 < count <= 100 + burst for _, count in found[:2]), found
    assert_opened(pair, frames, sent)


@pytest.mark.parametrize("spacing", [2 * MILLISECOND, MICROSECOND], ids=["one by one", "bursts"])
def test_hard_limit_in_packets(tmp_path: Path, rng: Random, spacing: int) -> None:
    """Exactly so many go out under each SA; what finds none is dropped for that."""
    pair = make(tmp_path, rng, [None], hard_lifetime_packets=150)
    frames = numbered(1000, rng, pair, spacing)
    sent = pair.a.replay(lan=frames)
    assert runs(pair, sent.out["wan"]) == [(0, 150), (1, 150)]
    assert sent.drops == {"lifetime_expired": 700}
    assert_opened(pair, frames, sent)
    counts = {sa["spi"]: sa["packets"] for sa in sent.report["sas"] if sa["direction"] == "outbound"}
    assert counts == {f"{tunnel.outbound_spi:#010x}": 150 for tunnel in pair.tunnel.pairs()}


def test_soft_before_hard_loses_nothing(tmp_path: Path, rng: Random) -> None:
    """With a burst's room between the two limits nobody notices."""
    pair = make(tmp_path, rng, [None, None, None], soft_lifetime_packets=250, hard_lifetime_packets=290)
    frames = numbered(1000, rng, pair, MICROSECOND)
    sent = pair.a.replay(lan=frames)
    assert sent.drops == {}
    assert [child for child, _ in runs(pair, sent.out["wan"])] == [0, 1, 2, 3]
    assert_opened(pair, frames, sent)


def within(sizes: list[int], limit: int) -> int:
    """How many packets go before the first that finds so many octets used."""
    used = 0
    for index, size in enumerate(sizes):
        if used >= limit:
            return index
        used += size
    return len(sizes)


@pytest.mark.parametrize("spacing", [2 * MILLISECOND, MICROSECOND], ids=["one by one", "bursts"])
def test_hard_limit_in_octets(tmp_path: Path, rng: Random, spacing: int) -> None:
    """Inner octets; the packet that reaches the limit goes, the next does not. Without a next SA the rest is dropped."""
    limit = rng.randrange(20_000, 200_000)
    pair = make(tmp_path, rng, [], hard_lifetime_octets=limit)
    frames = numbered(1000, rng, pair, spacing)
    expected = within([len(frame) - 14 for _, frame in frames], limit)
    sent = pair.a.replay(lan=frames)
    assert 0 < expected < 1000
    assert runs(pair, sent.out["wan"]) == [(0, expected)]
    assert sent.drops == {"lifetime_expired": 1000 - expected}
    assert_opened(pair, frames, sent)


@pytest.mark.parametrize("spacing", [2 * MILLISECOND, MICROSECOND], ids=["one by one", "bursts"])
@pytest.mark.parametrize("unit", ["packets", "octets"])
def test_inbound_hard_limit(tmp_path: Path, rng: Random, unit: str, spacing: int) -> None:
    """The receiver's own limit is as exact, replayed and forged packets do not count, and the rest is dropped for it."""
    pair = make(tmp_path, rng, [])
    frames = numbered(600, rng, pair, spacing)
    esp = [(record.time, record.octets) for record in pair.a.replay(lan=frames).out["wan"]]
    limit = rng.randrange(100, 500) if unit == "packets" else rng.randrange(20_000, 100_000)
    expected = limit if unit == "packets" else within([len(frame) - 14 for _, frame in frames], limit)
    assert 0 < expected < 600
    pair.b.site.tunnels[0].lifetime = {f"hard_lifetime_{unit}": limit}
    forged = [(time, octets[:-1] + bytes([octets[-1] ^ 1])) for time, octets in esp[:50]]
    mixed = [item for pair_of in zip(forged, esp[:50], esp[:50]) for item in pair_of] + esp[50:]
    opened = pair.b.replay(wan=mixed)
    assert opened.packets("lan") == [packets.forwarded(frame[14:], hops=2) for _, frame in frames[:expected]]
    assert opened.drops == {"integrity_failed": 50, "replayed": 50, "lifetime_expired": 600 - expected}


def test_seconds(tmp_path: Path, rng: Random) -> None:
    """From the hard limit on nothing is sent and nothing accepted; it counts from the first packet of the capture."""
    pair = make(tmp_path, rng, [], hard_lifetime_seconds=3)
    frames = numbered(1000, rng, pair, 5 * MILLISECOND)
    sent = pair.a.replay(lan=frames)
    assert sent.drops == {"lifetime_expired": 400}
    assert_opened(pair, frames, sent)
    pair.tunnel.lifetime = {}
    esp = [(record.time, record.octets) for record in pair.a.replay(lan=frames).out["wan"]]
    pair.b.site.tunnels[0].lifetime = {"hard_lifetime_seconds": 3}
    opened = pair.b.replay(wan=esp)
    assert opened.drops == {"lifetime_expired": 400}
    assert opened.packets("lan") == [packets.forwarded(frame[14:], hops=2) for _, frame in frames[:600]]


def test_the_same_twice(tmp_path: Path, rng: Random) -> None:
    """Rollover and limits depend on the capture alone: the same input gives the same output, octet by octet."""
    pair = make(tmp_path, rng, [SECONDS + 1, None, SECONDS + 2], soft_lifetime_packets=200, hard_lifetime_octets=90_000)
    frames = numbered(1000, rng, pair, 3 * MILLISECOND)
    first, second = (pair.a.replay(lan=frames) for _ in range(2))
    assert first.out == second.out and first.report == second.report
