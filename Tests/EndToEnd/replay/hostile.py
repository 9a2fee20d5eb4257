"""Captures that nobody in his right mind would send: shared by the tests of robustness and of memory."""

from __future__ import annotations

from random import Random

from vpngw import packets
from vpngw.capture import MILLISECOND, SECOND, START, Record
from vpngw.esp import Association
from vpngw.packets import arp, frame, ipv4, mended, sized
from vpngw.rig import Pair


class _Traffic:
    """Frames of every kind that a path of the data plane is written for."""

    def __init__(self, pair: Pair, rng: Random) -> None:
        self.pair, self.rng, self.sender, self.sequence = pair, rng, Association.inbound(pair.tunnel), 0

    def _number(self) -> int:
        """Mostly the next; some in the window again, some far behind, a few far ahead."""
        ahead = self.rng.choice((1, 1, 1, 1, 1, 3, 100 if self.rng.random() < 0.1 else 1))
        self.sequence += ahead
        if self.rng.random() < 0.2:
            return max(1, self.sequence - self.rng.choice((ahead, 5, 1000, 3000)))
        return self.sequence

    def next(self) -> bytes:
        pair, rng = self.pair, self.rng
        octets = rng.choice((28, 29, 60, 100, 576, 1400, 1446))
        inner = sized("udp", octets, rng, pair.host_b, pair.host_a, **packets.random_fields(rng))
        own = rng.choice(("10.0.1.1", "192.0.2.1"))
        return rng.choice(
            (
                lambda: frame(sized("udp", octets, rng, pair.host_a, pair.host_b, **packets.random_fields(rng))),
                lambda: frame(sized("tcp", max(44, octets), rng, pair.host_a, pair.host_b, options=b"\x07\x04\x04\0")),
                lambda: frame(sized("udp", 100, rng, pair.host_a, pair.host_b, ttl=1)),
                lambda: frame(sized("udp", 1500, rng, pair.host_a, pair.host_b, fragment=packets.DF)),
                lambda: frame(inner),
                lambda: self.sender.frame(self._number(), inner),
                lambda: self.sender.frame(self._number(), inner, options=b"\x01" * 8),
                lambda: self.sender.frame(
                    self._number(), sized("udp", 60, rng, pair.host_b, own, ttl=rng.choice((1, 9)))
                ),
                lambda: self.sender.frame(
                    self._number(), ipv4(pair.host_b, own, packets.ICMP, packets.echo(1, 1, b"data"))
                ),
                lambda: self.sender.frame(
                    self._number(), b"", text=_mutated(inner, rng, 0)[: 1400 // 4 * 4] + b"\1\2\2\4"
                ),
                lambda: self.sender.frame(self._number(), b"", text=rng.randbytes(rng.randrange(1, 400) * 4)),
                lambda: frame(ipv4(pair.host_a, own, packets.ICMP, packets.echo(1, 1, rng.randbytes(40)))),
                lambda: frame(ipv4("192.0.2.77", own, packets.ICMP, packets.echo(1, 1, rng.randbytes(40)))),
                lambda: arp(
                    rng.choice((1, 2)), packets.HOST_MAC, rng.choice((pair.host_a, "192.0.2.254")), bytes(6), own
                ),
                lambda: frame(
                    rng.randbytes(rng.randrange(0, 200)), ethertype=rng.choice((0x0800, 0x0806, 0x86DD, 0x8100))
                ),
            )
        )()


def _mutated(octets: bytes, rng: Random, ip_offset: int = 14) -> bytes:
    """A few octets changed, cut or added; often the header checksum holds, so that what is behind it is reached."""
    data = bytearray(octets)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        kind = rng.random()
        if data and kind < 0.7:
            at = rng.randrange(len(data)) if rng.random() < 0.4 else rng.randrange(min(60, len(data)))
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256), data[at] ^ 1 << rng.randrange(8)))
        elif kind < 0.85:
            del data[rng.randrange(len(data) + 1) :]
        else:
            data += rng.randbytes(rng.randrange(1, 64))
    if len(data) >= ip_offset + 20 and rng.random() < 0.7:
        return bytes(data[:ip_offset]) + mended(bytes(data[ip_offset:]))
    return bytes(data)


def capture_of(pair: Pair, rng: Random, count: int) -> list[Record]:
    """For either of a's ports: bursts and gaps, whole and broken packets, and some that a snap length cut."""
    traffic, time, records = _Traffic(pair, rng), START, []
    for _ in range(count):
        time += rng.choice((0, 1, 1, 1, 1000, MILLISECOND // 2, 2 * MILLISECOND, SECOND if rng.random() < 0.02 else 1))
        octets = _mutated(traffic.next(), rng)
        records.append(Record(time, octets, len(octets) + (rng.random() < 0.01)))
    return records
