"""Anti-replay against a plain set, over random sequences. RFC 4303 section 3.4.3."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from vpngw import packets
from vpngw.capture import MILLISECOND, START
from vpngw.esp import Association
from vpngw.packets import ipv4, udp
from vpngw.rig import make_pair

COUNT = 30_000


class Model:
    """A window of W accepts exactly the last W numbers, each once, and anything above."""

    def __init__(self, size: int) -> None:
        self.size, self.highest, self.seen = size, 0, set()

    def verdict(self, number: int) -> str | None:
        if number == 0:
            return "malformed"
        if number <= self.highest - self.size:
            return "late"
        if number in self.seen:
            return "replayed"
        return None

    def accept(self, number: int) -> None:
        self.seen.add(number)
        self.highest = max(self.highest, number)


def numbers(rng: Random, size: int) -> list[int]:
    """A walk that an honest, reordering, duplicating and lying network could make, near every edge there is."""
    highest, walk = 0, []
    for _ in range(COUNT):
        kind = rng.random()
        if kind < 0.40:
            number = highest + 1
        elif kind < 0.50:
            number = highest + rng.randrange(1, 65)
        elif kind < 0.80:
            number = highest - rng.randrange(0, 2 * size)
        elif kind < 0.90:
            number = highest - size + rng.randrange(-2, 3)
        elif kind < 0.99 or highest > 0xFFFF0000:
            number = rng.choice(walk[-3 * size :] or [1])
        elif kind < 0.997:
            number = highest + rng.choice((size - 1, size, size + 1, 2 * size, 63, 64, 65, 2 * size + 64))
        else:
            number = highest + rng.randrange(1, 1 << 22)
        number = min(max(number, 0), 0xFFFFFFFF)
        highest = max(highest, number)
        walk.append(number)
    return walk


@pytest.mark.parametrize("gap", [1, 2 * MILLISECOND], ids=["bursts", "one by one"])
@pytest.mark.parametrize("size", [64, 128, 1024, 8192])
def test_random_sequences(tmp_path: Path, rng: Random, size: int, gap: int) -> None:
    """Every verdict, one by one: the output holds exactly the packets that the model took, and the counts are its own.

    Some are forged: their numbers must leave no trace.
    """
    pair = make_pair(tmp_path, rng, replay_window_packets=size)
    association, model = Association.inbound(pair.b.site.tunnels[0]), Model(size)
    frames, accepted, drops = [], [], {}
    for index, number in enumerate(numbers(rng, size)):
        inner = ipv4(
            pair.host_a, pair.host_b, packets.UDP, udp(pair.host_a, pair.host_b, 1, 2, index.to_bytes(4, "big"))
        )
        octets = association.frame(number, inner)
        verdict = model.verdict(number)
        if verdict is None and rng.random() < 0.05:
            octets, verdict = octets[:-1] + bytes([octets[-1] ^ 1]), "integrity_failed"
        frames.append((START + index * gap, octets))
        if verdict is None:
            model.accept(number)
            accepted.append(index)
        else:
            drops[verdict] = drops.get(verdict, 0) + 1
    replayed = pair.b.replay(wan=frames)
    assert [int.from_bytes(packet[28:32], "big") for packet in replayed.packets("lan")] == accepted
    assert sorted({*range(COUNT)} - {*accepted}) == sorted((record.time - START) // gap for record in replayed.dropped)
    if gap == 1:
        # The first look is at the window before the burst: what leaves it only within the burst is replayed.
        for counts in (drops, replayed.drops):
            counts["late or replayed"] = counts.pop("late", 0) + counts.pop("replayed", 0)
    assert replayed.drops == drops
    sa = next(sa for sa in replayed.report["sas"] if sa["direction"] == "inbound")
    assert (sa["packets"], sa["sequence_number"]) == (len(accepted), model.highest)
