"""Gateways for replay tests: frames in, frames out, and what must hold whatever the test is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from . import capture, packets
from .capture import Record
from .gateway import replay
from .site import Port, Site, Tunnel

Frames = Iterable[bytes | tuple[int, bytes] | Record]


@dataclass
class Replayed:
    """What came of a replay."""

    report: dict
    out: dict[str, list[Record]]
    dropped: list[Record]
    stderr: str

    @property
    def drops(self) -> dict[str, int]:
        return self.report["drops"]

    def packets(self, port: str) -> list[bytes]:
        """The IP packets that left by a port, in order."""
        return [record.packet for record in self.out[port] if record.ethertype == packets.ETHERTYPE_IPV4]


@dataclass(repr=False)
class Gateway:
    """A site with a directory for its captures."""

    site: Site
    runs: int = field(default=0, init=False)

    def replay(self, *extra: str, clear: bool = False, **inputs: Frames) -> Replayed:
        """Feeds frames to the ports named, takes what leaves by all ports, and checks what always holds.

        `clear` says that a bypass policy lets clear text out; otherwise none may leave by an unprotected port.
        """
        self.runs += 1
        stem = self.site.directory / f"{self.site.name}-{self.runs}"
        files = [(port, capture.write(Path(f"{stem}-in-{port}.pcap"), frames)) for port, frames in inputs.items()]
        return self.replay_files(files, *extra, clear=clear, stem=stem)

    def replay_files(
        self, inputs: list[tuple[str, Path]], *extra: str, clear: bool = False, stem: Path | None = None
    ) -> Replayed:
        """The same with capture files that exist."""
        if stem is None:
            self.runs += 1
            stem = self.site.directory / f"{self.site.name}-{self.runs}"
        outputs = [(port.name, Path(f"{stem}-out-{port.name}.pcap")) for port in self.site.ports]
        drops = Path(f"{stem}-drops.pcap")
        result = replay(
            self.site.write(), inputs, outputs, "--drops", drops, *extra, report=Path(f"{stem}-report.json")
        )
        assert result.report is not None
        replayed = Replayed(
            result.report, {port: capture.read(path) for port, path in outputs}, capture.read(drops), result.stderr
        )
        self._check(replayed)
        if not clear:
            self._check_boundary(replayed)
        return replayed

    def _check(self, replayed: Replayed) -> None:
        """Files and report tell the same story."""
        assert len(replayed.dropped) == replayed.report["dropped_packets"]
        for port, records in replayed.out.items():
            counts = replayed.report["ports"][port]
            assert counts["tx_packets"] == len(records)
            assert counts["tx_octets"] == sum(len(record.octets) for record in records)

    def _check_boundary(self, replayed: Replayed) -> None:
        """RFC 4301: nothing crosses in clear. ESP of ours, ARP, neighbour discovery, and answers of the port's own
        address may leave."""
        tunnels = {
            (packets.address(tunnel.local_address), packets.address(tunnel.remote_address))
            for tunnel in self.site.tunnels
        }
        for port in self.site.ports:
            if port.role != "unprotected":
                continue
            own = {packets.address(text.split("/")[0]) for text in port.addresses}
            for record in replayed.out[port.name]:
                ethertype, packet = untagged(record)
                if ethertype == packets.ETHERTYPE_ARP:
                    continue
                if ethertype == packets.ETHERTYPE_IPV6:
                    assert may_leave_ipv6(packet, tunnels, own), f"clear text left by {port.name}: {packet.hex()}"
                    continue
                assert ethertype == packets.ETHERTYPE_IPV4, record
                if packet[9] == packets.ESP:
                    assert (packet[12:16], packet[16:20]) in tunnels, f"not our ESP: {packet.hex()}"
                else:
                    assert packet[9] == packets.ICMP and packet[20] == 0 and packet[12:16] in own, (
                        f"clear text left by {port.name}: {packet.hex()}"
                    )


@dataclass(repr=False)
class Pair:
    """Two gateways with a tunnel between them, and a host behind each.

    10.0.1.5 -- lan 10.0.1.1 [a] wan 192.0.2.1 -- … -- wan 198.51.100.1 [b] lan 10.0.2.1 -- 10.0.2.5
    """

    a: Gateway
    b: Gateway
    host_a: str = "10.0.1.5"
    host_b: str = "10.0.2.5"

    @property
    def tunnel(self) -> Tunnel:
        """The tunnel as `a` sees it."""
        return self.a.site.tunnels[0]


def make_pair(directory: Path, rng: Random, replay_window_packets: int = 1024) -> Pair:
    """Two gateways with keys and SPIs of their own."""
    spis = rng.sample(range(0x1000, 1 << 32), 2)
    tunnel = Tunnel(
        "site-b",
        "192.0.2.1",
        "198.51.100.1",
        ["10.0.1.0/24"],
        ["10.0.2.0/24"],
        *spis,
        rng.randbytes(20),
        rng.randbytes(20),
        replay_window_packets,
    )
    a = Site(
        "a",
        directory,
        [Port("lan", "protected", ["10.0.1.1/24"]), Port("wan", "unprotected", ["192.0.2.1/24"])],
        [tunnel],
        [("0.0.0.0/0", "192.0.2.254")],
    )
    b = Site(
        "b",
        directory,
        [Port("lan", "protected", ["10.0.2.1/24"]), Port("wan", "unprotected", ["198.51.100.1/24"])],
        [tunnel.reversed("site-a")],
        [("0.0.0.0/0", "198.51.100.254")],
    )
    return Pair(Gateway(a), Gateway(b))


def untagged(record: Record) -> tuple[int, bytes]:
    """What a frame carries, behind its VLAN tag if it has one."""
    if record.ethertype == packets.ETHERTYPE_VLAN:
        return int.from_bytes(record.octets[16:18], "big"), record.octets[18:]
    return record.ethertype, record.packet


def may_leave_ipv6(packet: bytes, tunnels: set[tuple[bytes, bytes]], own: set[bytes]) -> bool:
    """Whether an IPv6 packet may leave by an unprotected port that no bypass policy is for."""
    source, destination, kind = packet[8:24], packet[24:40], packet[40]
    if packet[6] == packets.ESP:
        return (source, destination) in tunnels
    is_own = source in own or source[:8] == bytes.fromhex("fe80000000000000")
    return packet[6] == packets.ICMPV6 and is_own and (kind == 129 or kind in (135, 136) and packet[7] == 255)


def same_packets(left: Iterable[bytes], right: Iterable[bytes]) -> bool:
    """Whether two lists hold the same packets, in whatever order."""
    return Counter(left) == Counter(right)
