"""Capture files, read and written directly: a list of records in, a list of records out."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ETHERNET, RAW_IP = 1, 101
START = 1_700_000_000_000_000_000
"""Where tests' clocks start, in nanoseconds since 1970."""
MICROSECOND, MILLISECOND, SECOND = 1_000, 1_000_000, 1_000_000_000


@dataclass(frozen=True)
class Record:
    """A packet of a capture file; the time is in nanoseconds since 1970."""

    time: int
    octets: bytes
    original_octets: int

    @property
    def ethertype(self) -> int:
        return int.from_bytes(self.octets[12:14], "big")

    @property
    def packet(self) -> bytes:
        """What is behind the Ethernet header."""
        return self.octets[14:]


def write(
    path: Path,
    frames: Iterable[bytes | tuple[int, bytes] | Record],
    *,
    link_type: int = ETHERNET,
    nanoseconds: bool = True,
    order: str = "<",
    spacing: int = MICROSECOND,
    start: int = START,
) -> Path:
    """Writes a pcap file. Frames that bring no time of their own follow the one before by `spacing`.

    A `Record` whose original length is larger is written as a capture with a short snap length would hold it.
    """
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    header, time = struct.Struct(order + "IIII"), start - spacing
    with path.open("wb") as file:
        file.write(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type))
        for item in frames:
            if isinstance(item, Record):
                time, octets, original = item.time, item.octets, item.original_octets
            elif isinstance(item, tuple):
                time, octets = item
                original = len(octets)
            else:
                time, octets, original = time + spacing, item, len(item)
            seconds, rest = divmod(time, SECOND)
            file.write(header.pack(seconds, rest // unit, len(octets), original) + octets)
    return path


def read(path: Path) -> list[Record]:
    """The records of a pcap file with nanosecond timestamps, as vpn-gw writes it; fails on anything else."""
    data = path.read_bytes()
    magic, major, minor, _, _, _, link_type = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link_type) == (0xA1B23C4D, 2, 4, ETHERNET), path
    records, offset = [], 24
    while offset < len(data):
        seconds, nanoseconds, captured, original = struct.unpack_from("<IIII", data, offset)
        assert nanoseconds < SECOND and offset + 16 + captured <= len(data), f"{path}: broken record at {offset}"
        records.append(Record(seconds * SECOND + nanoseconds, data[offset + 16 : offset + 16 + captured], original))
        offset += 16 + captured
    return records
