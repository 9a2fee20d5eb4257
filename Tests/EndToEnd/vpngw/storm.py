"""Random packets by the million: scapy builds templates once, everything after that happens on octets.

A chunk is one run of the gateway. For it thousands of templates are mutated with thought (`_mutated`: fields, lengths,
cuts, growth, checksums mended or not), laid out as capture records, and written several times over, each time with
other octets changed here and there and with later times. Everything follows from one seed.

Sealed templates of an SA have rising numbers and come in that order, so that many are accepted, and what is behind the
ICV is reached. scapy seals them for every SA; for one, more are sealed as they are wanted, by `cryptography` alone.
"""

from __future__ import annotations

import itertools
import random as chance
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import fuzz

from .capture import SECOND, START
from .esp import Association as OwnAssociation
from .judge import Association, header, parsed
from .packets import HOST_MAC, PORT_MAC
from .scenario import Case
from .vocabulary import esp_trailer, mended, pieces, resized, text

FRAMES_A_BLOCK = 4000
REPEATS = 10
"""How often a block of thoughtful mutations is written, each time with others on top."""
_RECORD = struct.Struct("<IIII")
_INTERESTING = bytes([0, 1, 2, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 64, 127, 128, 135, 253, 254, 255])
_SIZES = (0, 1, 7, 8, 20, 64, 100, 500, 1280, 1380, 1420, 1452, 1472)


class Storm:
    """Templates of a site's ports, and captures made of them."""

    def __init__(self, case: Case, seed: str, sealed_each: int = 200) -> None:
        self._random = Random(seed)
        # scapy's fuzz() draws from Python's own source of chance.
        chance.seed(seed)
        conf.verb = 0
        self._case = case
        clear = self._clear("10.0.1.", "fd00:1::", _SIZES + (1500, 4000, 8900))
        tagged = self._clear("10.0.7.", "fd00:7::", (8, 1380)) + self._local("10.0.7.1", "fd00:7::1")
        self.templates = {
            "lan": clear + self._local("10.0.1.1", "fd00:1::1"),
            "vlan": [self._tagged(frame) for frame in tagged],
            "wan": self._outside() + self._local("192.0.2.1", "2001:db8:a::1") + clear[::10],
        }
        self._sealed = self._sealed_packets(sealed_each)
        plain = case.associations()["plain", "inbound", 0]
        self._sealer = OwnAssociation(plain.spi, plain.key, plain.source, plain.destination)
        self._number = 1 << 20
        self._inner = [
            bytes(IP(src="10.0.2.5", dst=there, ttl=ttl, tos=tos) / layer / text(size))
            for there in ("10.0.1.5", "10.0.7.5", "10.0.1.1", "10.0.3.5") for ttl, tos in ((64, 0), (1, 2), (9, 3))
            for layer in (UDP(), TCP(flags="S", options=[("MSS", 1460)]), ICMP()) for size in (0, 40, 1300)]

    # ---- templates

    def _clear(self, net: str, net6: str, sizes: tuple[int, ...]) -> list[bytes]:
        """What hosts send: every tunnel, every policy, every protocol, options, extension headers, fragments, sizes."""
        made, random = [], self._random
        there = [f"10.0.{n}.5" for n in (2, 3, 5, 8, 4)] + ["10.0.2.53", "203.0.113.9", "203.0.114.9", "198.51.100.10"]
        there6 = [f"fd00:{n}::5" for n in (2, 4, 6, 9, 3)] + ["2001:db8:b::a", "2001:db8:f::1"]
        for destination in there + there6:
            six = ":" in destination
            here = (net6 + "9" if destination.endswith("::a") else net6 + "5") if six else (
                net + "9" if destination.endswith(".10") else net + "5")
            for size in sizes:
                fields = {"tos": random.randrange(256), "ttl": random.choice((0, 1, 2, 64, 255))}
                outer = header(here, destination, **fields)
                if not six:
                    outer.flags, outer.id = random.choice(("DF", 0)), random.randrange(65536)
                data = text(size)
                layer = random.choice((
                    UDP(sport=500, dport=505), TCP(flags="S", options=[("MSS", 1460)]), TCP(flags="A"),
                    ICMPv6EchoRequest() if six else ICMP(), UDP(sport=4500, dport=4500)))
                made.append(bytes(outer / layer / data))
        made += self._shapes(net + "5", net6 + "5")
        made += [bytes(fuzz(IP(src=net + "5", dst=random.choice(there)) / layer()) / text(40))
                 for layer in (UDP, TCP, ICMP) for _ in range(20)]
        made += [bytes(fuzz(IPv6(src=net6 + "5", dst=random.choice(there6)) / layer()) / text(40))
                 for layer in (UDP, TCP, ICMPv6EchoRequest) for _ in range(20)]
        return [self._framed(packet) for packet in made]

    def _shapes(self, here: str, here6: str) -> list[bytes]:
        """Fragments, options and chains of extension headers."""
        made, random = [], self._random
        for options in ([IPOption_Router_Alert()], [IPOption_RR(length=11, pointer=4, routers=["0.0.0.0"] * 2)]):
            made.append(bytes(IP(src=here, dst="10.0.2.5", options=options) / UDP() / text(80)))
            made.append(bytes(IP(src=here, dst="10.0.3.5", options=options) / UDP() / text(1480)))
        for size in (600, 3000, 8000):
            made += map(bytes, pieces(IP(src=here, dst="10.0.2.5", id=size) / UDP() / text(size), 8, 504))
            made += map(bytes, pieces(IPv6(src=here6, dst="fd00:2::5") / UDP() / text(size), 8, 504))
        links = [
            lambda: IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(random.randrange(20)))]),
            lambda: IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)]),
            lambda: IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(random.randrange(250)))]),
            lambda: IPv6ExtHdrRouting(
                type=random.choice((0, 2, 4)), segleft=random.randrange(3), addresses=["fd00:2::9"]),
            lambda: IPv6ExtHdrFragment(offset=random.randrange(3), m=random.randrange(2), id=random.randrange(4)),
        ]
        for _ in range(60):
            packet = IPv6(src=here6, dst=random.choice(("fd00:2::5", "fd00:4::5", "2001:db8:b::a", "fd00:1::1")))
            for _ in range(random.choice((1, 1, 2, 3, 12))):
                packet /= random.choice(links)()
            made.append(bytes(packet / UDP(sport=1, dport=2) / text(random.randrange(200))))
        return made

    def _local(self, own: str, own6: str) -> list[bytes]:
        """What is for the gateway itself: ARP, neighbour discovery, echo, services that are not there."""
        near, near6 = own.rsplit(".", 1)[0] + ".77", own6[:-1] + "77"
        source = HOST_MAC.hex(":")
        made = [
            Ether(src=source, dst="ff:ff:ff:ff:ff:ff") / ARP(op=op, hwsrc=source, psrc=near, pdst=own)
            for op in (1, 2)]
        made += [
            Ether(src=source, dst="33:33:ff:00:00:01") / IPv6(src=near6, dst=destination, hlim=hops) / message
            / ICMPv6NDOptSrcLLAddr(lladdr=source)
            for destination in ("ff02::1:ff00:1", own6, "ff02::1") for hops in (255, 64)
            for message in (ICMPv6ND_NS(tgt=own6), ICMPv6ND_NA(tgt=near6, R=0), ICMPv6ND_RA())]
        report = IPv6(src="fe80::1", dst="ff02::16", hlim=1) / ICMPv6MLReport2()
        made.append(Ether(src=source, dst="33:33:00:00:00:16") / report)
        packets = [IP(src=near, dst=own) / ICMP() / text(56), IP(src=near, dst=own) / UDP(dport=161) / text(9),
                   IP(src=near, dst=own) / TCP(dport=22), IPv6(src=near6, dst=own6) / ICMPv6EchoRequest(data=text(56)),
                   IPv6(src=near6, dst=own6) / TCP(dport=22), IP(src=near, dst="224.0.0.5") / UDP()]
        frames = [bytes(frame) for frame in made] + [self._framed(bytes(packet)) for packet in packets]
        return frames + [bytes(Ether(src=source, dst=source) / fuzz(ARP())) for _ in range(20)]

    def _outside(self) -> list[bytes]:
        """What strangers send: clear text, ICMP errors about ESP of ours, keepalives, IKE, ESP of nobody."""
        made = []
        for association in self._of("outbound"):
            about = header(association.source, association.destination)
            esp = struct.pack("!II", association.spi, self._random.choice((1, 2, 50))) + text(40)
            if about.version == 4:
                about.proto = 50
                quoted = mended(bytes(about)[:2] + struct.pack("!H", 1400) + bytes(about)[4:]) + esp
                for mtu in (0, 68, 576, 1280, 1300, 1500, 65535):
                    made.append(IP(src="192.0.2.254", dst=association.source) / ICMP(type=3, code=4, nexthopmtu=mtu)
                                / quoted)
            else:
                about.nh = 50
                for mtu in (0, 576, 1280, 1300, 1500, 1 << 31):
                    made.append(IPv6(src="2001:db8:a::fe", dst=association.source) / ICMPv6PacketTooBig(mtu=mtu)
                                / (bytes(about) + esp))
        for here, there in (("198.51.100.5", "192.0.2.1"), ("2001:db8:b::6", "2001:db8:a::1")):
            for data in (b"\xff", b"", bytes(4), bytes(4) + text(28), b"\xff" * 3, struct.pack("!II", 0x2005, 1)):
                made.append(header(here, there) / UDP(sport=4500, dport=4500) / data)
        made += [IP(src="203.0.113.9", dst="10.0.1.5") / ICMP(type=kind) / text(40) for kind in (0, 3, 8)]
        made += [fuzz(IP(src="198.51.100.1", dst="192.0.2.1", proto=50)) / text(64) for _ in range(20)]
        return [self._framed(bytes(packet)) for packet in made]

    def _of(self, direction: str) -> list[Association]:
        return [one for (_, its, _), one in self._case.associations().items() if its == direction]

    def _sealed_packets(self, each: int) -> list[bytes]:
        """For every tunnel packets of its peer with rising numbers, in turns; some of them what no peer should send."""
        sources = {tunnel["name"]: tunnel for tunnel in self._case.site["tunnel"]}
        streams = []
        for (name, direction, _), association in self._case.associations().items():
            if direction == "inbound":
                streams.append([self._framed(packet) for packet in self._stream(association, sources[name], each)])
        return [frame for group in zip(*streams) for frame in group]

    def _stream(self, association: Association, tunnel: dict, count: int) -> list[bytes]:
        random, packets = self._random, []
        if association.transport:
            there, here = association.source, association.destination
        else:
            there = tunnel["remote_subnets"][0].split("/")[0] + "5" if ":" in tunnel["remote_subnets"][0] else (
                tunnel["remote_subnets"][0].replace(".0/24", ".5"))
            here = "fd00:1::5" if ":" in there else "10.0.1.5"
        number = 1
        for _ in range(count):
            # Sometimes for somebody whom the SA is not for.
            stray = not association.transport and random.random() < 0.2
            nobody = "10.0.9.9" if "." in there else "fd00:99::9"
            outer = header(
                there, nobody if stray else here, ttl=random.choice((1, 2, 64)), tos=random.randrange(256))
            layer = random.choice((UDP(), TCP(flags="S", options=[("MSS", 1460)])))
            inner = parsed(outer / layer / text(random.choice(_SIZES[:9])))
            details = {}
            if not association.transform.is_ah and random.random() < 0.15:
                details["text"] = random.choice((
                    esp_trailer(inner, 59), esp_trailer(bytes(inner) + text(99), 41 if inner.version == 6 else 4),
                    esp_trailer(inner, random.randrange(256)), esp_trailer(inner, padding=text(random.randrange(20))),
                    esp_trailer(text(random.randrange(1, 200))),
                    esp_trailer(bytes(inner)[: random.randrange(len(inner))])))
            if not association.transport:
                details["tos"] = random.randrange(4)
            packet = bytes(association.seal(inner, number, **details))
            parts = pieces(packet, 48, order=random.choice(([0, 1], [1, 0]))) if random.random() < 0.05 else [packet]
            packets += [bytes(part) for part in parts]
            number += random.choice((0, 1, 1, 1, 1, 2, 90))
        return packets[:count]

    @staticmethod
    def _framed(packet: bytes) -> bytes:
        return PORT_MAC + HOST_MAC + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet

    @staticmethod
    def _tagged(frame: bytes) -> bytes:
        return frame[:12] + b"\x81\x00\x00\x07" + frame[12:]

    # ---- mutations

    def _mutated(self, frame: bytes) -> bytes:
        """Nothing, or a few changes; an IPv4 checksum and the length are often mended, so that more is reached."""
        random = self._random
        if random.random() < 0.3:
            return frame
        start = 18 if frame[12:14] == b"\x81\x00" else 14
        data = bytearray(frame)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            kind, near = random.random(), min(len(data), start + 70)
            if kind < 0.35 and near:
                data[random.randrange(near)] = random.choice(_INTERESTING)
            elif kind < 0.55 and near:
                data[random.randrange(near)] ^= 1 << random.randrange(8)
            elif kind < 0.7 and len(data) > start + 8:  # a length or an offset, two octets of it
                at = random.choice((start + 2, start + 4, start + 6, start + 24, start + 44))
                data[at : at + 2] = struct.pack("!H", random.choice((0, 1, 7, 8, 20, 40, 1280, 0x2000, 0x1FFF, 0xFFFF)))
            elif kind < 0.85:
                del data[random.randrange(len(data) + 1) :]
            elif kind < 0.95:
                data += random.randbytes(random.choice((1, 2, 8, 60, 1400)))
            else:  # a piece of it once more: extension headers, options, whole packets
                at = random.randrange(len(data) + 1)
                data[at:at] = data[at : at + random.choice((4, 8, 24, 40))]
        packet = bytes(data)[start:]
        if len(packet) >= 40 and random.random() < 0.8:
            if random.random() < 0.6 and packet[0] >> 4 in (4, 6) and len(packet) < 65536:
                packet = resized(packet) if packet[0] >> 4 == 6 or (packet[0] & 15) * 4 <= len(packet) else packet
            elif packet[0] >> 4 == 4 and 20 <= (packet[0] & 15) * 4 <= len(packet):
                packet = mended(packet)
        return bytes(data)[:start] + packet if len(data) >= start else bytes(data)

    def _block(self, port: str, sealed: Iterator[bytes]) -> tuple[bytearray, list[int], list[int]]:
        """Records without times, where each begins, and octets that may change without breaking the capture.

        Most of the next of `sealed`, as long as there are any, stand among them in their order.
        """
        random, templates = self._random, self.templates[port]
        records, starts, loose, offset = [], [], [], 0
        for _ in range(FRAMES_A_BLOCK):
            kind = random.random() if port == "wan" else 1
            if kind < 0.4:
                frame = self._mutated(next(sealed))
            elif kind < 0.7:
                frame = self._sealed_now()
            else:
                frame = self._mutated(random.choice(templates))
            records.append(_RECORD.pack(0, 0, len(frame), len(frame)) + frame)
            starts.append(offset)
            # IPv4 headers have a checksum that a loose change would break: mostly what is behind them.
            loose += [offset + 16 + at for at in range(34, min(len(frame), 100), 3)]
            offset += 16 + len(frame)
        return bytearray(b"".join(records)), starts, loose

    def _sealed_now(self) -> bytes:
        """ESP that is authentic, around a packet that may be anything; its number is the next, mostly."""
        random = self._random
        self._number += random.choice((0, 1, 1, 1, 1, 1, 3, 40))
        inner = self._mutated(self._framed(random.choice(self._inner)))[14:]
        ending = esp_trailer(inner, random.choice((4, 4, 4, 4, 4, 41, 59, 0)))
        return self._sealer.frame(self._number, b"", text=ending, tos=random.randrange(4))

    def write(self, directory: Path, count: int) -> Iterator[tuple[str, Path]]:
        """One capture for each port, of `count` packets in all: as many from outside as from inside."""
        shares = {"lan": count * 4 // 10, "vlan": count // 10, "wan": count // 2}
        for port, share in shares.items():
            path = directory / f"storm-{port}.pcap"
            sealed = itertools.cycle(self._sealed) if port == "wan" else iter(())
            self._number = 1 << 20  # each run begins with SAs that have seen nothing
            with path.open("wb") as file:
                file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
                time, left, step = START, share, 12 * SECOND // share
                while left:
                    block, starts, loose = self._block(port, sealed)
                    for _ in range(REPEATS):
                        if not left:
                            break
                        time = self._write_block(file, bytearray(block), starts[:left], loose, time, step)
                        left -= min(left, len(starts))
            yield port, path

    def _write_block(self, file, block: bytearray, starts: list[int], loose: list[int], time: int, step: int) -> int:
        """The block with its times, and with octets changed in about one packet of three."""
        random = self._random
        changes = len(starts) // 3
        for at, value in zip(random.choices(loose, k=changes), random.randbytes(changes)):
            block[at] = value
        pack = _RECORD.pack_into
        for start in starts:
            octets = int.from_bytes(block[start + 8 : start + 12], "little")
            pack(block, start, time // SECOND, time % SECOND, octets, octets)
            time += step
        end = starts[-1] + 16 + int.from_bytes(block[starts[-1] + 8 : starts[-1] + 12], "little")
        file.write(memoryview(block)[:end])
        return time
