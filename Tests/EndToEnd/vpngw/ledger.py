"""What was seen of numbers that must never be seen twice: however many there are, as ranges."""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

_ESP = struct.Struct("!IIQ")


class Numbers:
    """A set of numbers that mostly come one after the other. Takes memory for its gaps only."""

    def __init__(self) -> None:
        # Range i is starts[i] ... ends[i], both in it; ranges neither touch nor overlap.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.count = 0

    def add(self, number: int) -> bool:
        """False when it was there already."""
        starts, ends = self._starts, self._ends
        if ends and number == ends[-1] + 1:
            ends[-1] = number
            self.count += 1
            return True
        index = bisect_right(starts, number) - 1
        if index >= 0 and number <= ends[index]:
            return False
        follows = index >= 0 and ends[index] + 1 == number
        precedes = index + 1 < len(starts) and starts[index + 1] == number + 1
        if follows and precedes:
            ends[index] = ends.pop(index + 1)
            starts.pop(index + 1)
        elif follows:
            ends[index] = number
        elif precedes:
            starts[index + 1] = number
        else:
            starts.insert(index + 1, number)
            ends.insert(index + 1, number)
        self.count += 1
        return True

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number <= self._ends[index]

    @property
    def highest(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def ranges(self) -> int:
        return len(self._starts)


@dataclass
class NonceLedger:
    """Every IV of a key, and every sequence number of a key under an SPI, that was on a wire.

    `keys` says which key (KEYMAT: key, then salt) an SPI's packets are under at present.
    """

    keys: dict[int, bytes]
    vectors: defaultdict[str, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    sequence_numbers: defaultdict[tuple[str, int], Numbers] = field(default_factory=lambda: defaultdict(Numbers))

    def __post_init__(self) -> None:
        self._names = {spi: hashlib.sha256(key[:-4]).hexdigest()[:16] for spi, key in self.keys.items()}

    def take(self, frames: Iterable[bytes], where: object) -> None:
        """Enters the ESP packets among Ethernet frames; fails on a repeated pair, and says where it was seen."""
        for frame in frames:
            if frame[12:14] != b"\x08\x00" or frame[23] != 50:
                continue
            assert frame[14] == 0x45, f"outer IP options, {where}: {frame[:64].hex()}"
            spi, number, vector = _ESP.unpack_from(frame, 34)
            key = self._names[spi]
            if not self.vectors[key].add(vector):
                raise AssertionError(
                    f"IV {vector:#x} was used twice under key {key}, now by SPI {spi:#x} as number {number}, {where}")
            if not self.sequence_numbers[key, spi].add(number):
                raise AssertionError(
                    f"sequence number {number} was sent twice under key {key}, SPI {spi:#x}, IV {vector:#x}, {where}")

    @property
    def count(self) -> int:
        return sum(numbers.count for numbers in self.vectors.values())
