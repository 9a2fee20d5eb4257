"""Runs a scenario's case through `vpn-gw pcap`, twice, and holds what came out against what the scenario says.

Whatever a scenario is about, this always holds: the report accounts for every packet; the second run writes the same
octets; captures, report and drops file tell the same story; and of every protected packet that the scenario opens:
outer addresses and SPI are the SA's, lengths and checksums hold, hops are 64, sequence numbers count from 1, no IV
comes twice, padding is 1 2 3 and no more than needed, the next header is the inner packet's.
"""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

from scapy.layers.inet import UDP, defragment
from scapy.layers.inet6 import IPv6ExtHdrFragment, defragment6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum as internet_checksum

from . import capture
from .capture import MICROSECOND, MILLISECOND, START, Record
from .gateway import BINARY, assert_conserved
from .judge import NO_NEXT_HEADER, Association, Opened, parsed
from .packets import HOST_MAC, PORT_MAC
from .scenario import Case, ScenarioError

IN_KEYS = {"port", "packets", "at_ms", "spacing_us"}
OUT_KEYS = {"port", "packets", "tunnel", "child", "outer", "numbers", "high", "vlan", "any", "frames", "joined",
            "largest", "text_octets", "count", "peer", "peer_port", "same", "cut"}
GAP = 2 * MILLISECOND
"""Between two entries of a scenario: they are never in one burst."""


class Failed(AssertionError):
    """A case whose gateway did something else than its scenario says."""


@dataclass
class _Run:
    """What one run left behind."""

    directory: Path
    report: dict | None
    out: dict[str, list[Record]]
    dropped: list[Record]
    stderr: str


@dataclass
class _Seen:
    """What the packets of an SA had so far."""

    numbers: list[int] = field(default_factory=list)
    vectors: set[bytes] = field(default_factory=set)


class CaseRun:
    """One case in a directory of its own, where everything stays that a failure needs."""

    def __init__(self, case: Case, directory: Path) -> None:
        self.case = case
        self.directory = directory
        # The port to the kernel stands behind the others.
        self.ports = [port["name"] for port in case.site["port"]] + ["punt"] * ("punt" in case.site)
        self.problems: list[str] = []
        self._seen: dict[tuple[str, int], _Seen] = {}

    def run(self) -> None:
        """Raises `Failed` with everything that is wrong."""
        self.directory.mkdir(parents=True)
        inputs = self.write_inputs()
        refused = self.case.get("refused")
        first, second = self._start("first", inputs), self._start("second", inputs)
        runs = [self._finish(*first), self._finish(*second)]
        code = runs[0][0]
        if refused is not None:
            if code != 78 or refused not in runs[0][1]:
                raise Failed(self._message([f"exit code {code}, expected 78 and {refused!r}", runs[0][1]]))
            return
        for code, stderr in runs:
            if code != 0:
                raise Failed(self._message([f"exit code {code}", stderr]))
        self._judge(self._read("first", runs[0][1]))
        self._compare_runs()
        if self.problems:
            raise Failed(self._message(self.problems))

    # ---- in

    def write_inputs(self) -> list[tuple[str, Path]]:
        """One capture for each port that something comes in by, in the order of the site's ports."""
        time, frames = START, {}
        vlans = {port["name"]: port.get("vlan") for port in self.case.site["port"]} | {"punt": None}
        for entry in self.case.get("in", []):
            self._known(entry, IN_KEYS, "in")
            if "at_ms" in entry:
                time = START + int(entry["at_ms"] * MILLISECOND)
            spacing = int(entry.get("spacing_us", 1) * MICROSECOND)
            for packet in self.case.evaluate_list(entry["packets"]):
                frames.setdefault(entry["port"], []).append((time, _frame(packet, vlans[entry["port"]])))
                time += spacing
            time += GAP
        if strange := set(frames) - set(self.ports):
            raise ScenarioError(f"{self.case.title}: no port {strange}")
        return [
            (port, capture.write(self.directory / f"in-{port}.pcap", sorted(frames[port], key=lambda frame: frame[0])))
            for port in self.ports if port in frames]

    def _start(self, name: str, inputs: list[tuple[str, Path]]) -> tuple[subprocess.Popen, Path]:
        place = self.directory / name
        place.mkdir()
        site = place / "site.toml"
        site.touch(mode=0o600)
        site.write_text(self.case.site_text(place))
        arguments = ["pcap", "--config", site, "--report", place / "report.json", "--drops", place / "drops.pcap"]
        for port, path in inputs:
            arguments += ["--in", f"{port}={path}"]
        if not inputs:  # a site that is to be refused still needs something to read
            empty = capture.write(self.directory / "in-nothing.pcap", [])
            arguments += ["--in", f"{self.ports[0]}={empty}"]
        for port in self.ports:
            arguments += ["--out", f"{port}={place / f'out-{port}.pcap'}"]
        arguments += self.case.get("arguments", [])
        process = subprocess.Popen(
            [str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(place / "stderr.txt").open("w"))
        return process, place

    def _finish(self, process: subprocess.Popen, place: Path) -> tuple[int, str]:
        try:
            code = process.wait(timeout=100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(self._message(["it did not come to its end"])) from None
        return code, (place / "stderr.txt").read_text()

    # ---- out

    def _read(self, name: str, stderr: str) -> _Run:
        place = self.directory / name
        return _Run(
            place, json.loads((place / "report.json").read_text()),
            {port: capture.read(place / f"out-{port}.pcap") for port in self.ports}, capture.read(place / "drops.pcap"),
            stderr)

    def _judge(self, run: _Run) -> None:
        self._judge_report(run)
        self.judge_ports(run.out)

    def judge_ports(self, out: dict[str, list[Record]]) -> None:
        """Holds what left each port against what the scenario says; what is wrong is in `problems`."""
        for port in self.ports:
            entries = [entry for entry in self.case.get("out", []) if entry["port"] == port]
            self._judge_port(port, out[port], entries)
        if strange := {entry["port"] for entry in self.case.get("out", [])} - set(self.ports):
            raise ScenarioError(f"{self.case.title}: no port {strange}")

    def _judge_report(self, run: _Run) -> None:
        report = run.report
        try:
            assert_conserved(report)
        except AssertionError as error:
            self.problems.append(f"packets are not accounted for: {error}")
        drops = {reason: self.case.evaluate(count) for reason, count in self.case.get("drops", {}).items()}
        drops = {reason: count for reason, count in drops.items() if count}
        if report["drops"] != drops:
            self.problems.append(f"drops {report['drops']}, expected {drops}")
        if len(run.dropped) != report["dropped_packets"]:
            self.problems.append(
                f"{len(run.dropped)} packets in the drops file, {report['dropped_packets']} in the report")
        for port, records in run.out.items():
            if report["ports"][port]["tx_packets"] != len(records):
                self.problems.append(f"port {port}: {len(records)} packets written, the report says otherwise")
        self._contains(report, self.case.get("report", {}), "report")
        for expected in self.case.get("sa", []):
            wanted = {key: expected[key] for key in ("tunnel", "direction", "spi") if key in expected}
            found = [entry for entry in report["sas"] if all(entry[key] == value for key, value in wanted.items())]
            if len(found) != 1:
                self.problems.append(f"{len(found)} SAs in the report that are {wanted}")
            else:
                self._contains(found[0], expected, f"SA {wanted}")

    def _contains(self, found: dict, expected: dict, where: str) -> None:
        for key, value in expected.items():
            if isinstance(value, dict):
                self._contains(found.get(key, {}), value, f"{where}.{key}")
                continue
            value = value if key in ("tunnel", "direction", "spi") else self.case.evaluate(value)
            if found.get(key, 0) != value:
                self.problems.append(f"{where}: {key} is {found.get(key)}, expected {value}")

    def _judge_port(self, port: str, records: list[Record], entries: list[dict]) -> None:
        records = list(records)
        for index, entry in enumerate(entries):
            self._known(entry, OUT_KEYS, "out")
            where = f"port {port}, entry {index + 1}"
            expected = self.case.evaluate_list(entry["packets"])
            count = self.case.evaluate(entry["count"]) if "count" in entry else len(expected)
            taken, records = records[:count], records[count:]
            if len(taken) < count:
                self.problems.append(f"{where}: {len(taken)} packets, expected {count}")
            if "tunnel" in entry:
                self._judge_protected(where, taken, expected, entry)
            else:
                self._judge_clear(where, taken, expected, entry)
        for record in records:
            self.problems.append(f"port {port}: nobody expected {_said(record.octets)}")

    def _packet(self, where: str, record: Record, entry: dict) -> bytes:
        """What is behind the Ethernet header, which is looked at here."""
        ether = Ether(record.octets)
        ethertype, packet = record.ethertype, record.packet
        vlan = entry.get("vlan", next(
            (port.get("vlan") for port in self.case.site["port"] if port["name"] == entry["port"]), None))
        if vlan:
            if Dot1Q not in ether or ether[Dot1Q].vlan != self.case.evaluate(vlan):
                self.problems.append(f"{where}: not in VLAN {vlan}: {ether.summary()}")
                return packet
            ethertype, packet = ether[Dot1Q].type, record.octets[18:]
        if ethertype != (0x86DD if packet[:1] >= b"\x60" else 0x0800):
            self.problems.append(f"{where}: ethertype {ethertype:#06x}: {ether.summary()}")
        return packet

    def _judge_clear(self, where: str, records: list[Record], expected: list, entry: dict) -> None:
        for index, (record, packet) in enumerate(zip(records, expected), start=1):
            if entry.get("frames"):
                wanted, found = bytes(packet), record.octets
            else:
                wanted, found = bytes(packet), self._packet(where, record, entry)
            wanted, found = self._without(wanted, found, entry)
            if wanted != found:
                self.problems.append(f"{where}, packet {index}: {_difference(found, wanted)}")

    @staticmethod
    def _without(wanted: bytes, found: bytes, entry: dict) -> tuple[bytes, bytes]:
        """Both with the fields of `any` taken from what was found, because the scenario does not care."""
        if "any" not in entry or wanted[:1] == b"" or wanted[0] >> 4 != found[0] >> 4:
            return wanted, found
        packet, other = parsed(wanted), parsed(found)
        for name in entry["any"]:
            setattr(packet, name, getattr(other, name))
        if packet.version == 4:
            del packet.chksum
        return bytes(packet), found

    # ---- protected packets

    def _judge_protected(self, where: str, records: list[Record], expected: list, entry: dict) -> None:
        child = entry.get("child", 0)
        association = self.case.associations()[entry["tunnel"], "outbound", child]
        if "peer" in entry:  # it has moved
            association = replace(association, destination=entry["peer"])
        seen = self._seen.setdefault((entry["tunnel"], child), _Seen())
        packets = [self._packet(where, record, entry) for record in records]
        if "cut" in entry:
            packets = self._join_outer(where, packets, self.case.evaluate(entry["cut"]))
        highs = self._each(entry.get("high", 0), len(packets))
        opened = []
        for index, (octets, high) in enumerate(zip(packets, highs), start=1):
            try:
                opened.append(association.open(octets, high))
            except Exception as error:
                self.problems.append(
                    f"{where}, packet {index}: {type(error).__name__}: {error}\n  {octets.hex()}")
                opened.append(None)
                continue
            self._judge_envelope(f"{where}, packet {index}", octets, opened[-1], association, seen, entry)
        numbers = [one.number for one in opened if one]
        first = len(seen.numbers) - len(numbers) + 1
        wanted = list(range(first, first + len(numbers)))
        if "numbers" in entry:
            wanted = self.case.evaluate(entry["numbers"])
        if numbers != wanted:
            self.problems.append(f"{where}: sequence numbers {numbers[:20]}, expected {wanted[:20]}")
        self._judge_inner(where, opened, expected, entry)
        self._judge_outer(where, opened, entry)

    def _judge_inner(self, where: str, opened: list[Opened | None], expected: list, entry: dict) -> None:
        inner = [one.inner for one in opened if one]
        if "joined" in entry:
            inner = self._join(where, inner)
        if "largest" in entry:
            largest = self.case.evaluate(entry["largest"])
            sizes = [len(one.inner) for one in opened if one]
            if not sizes or max(sizes) > largest:
                self.problems.append(f"{where}: inner packets of {sizes} octets, none should be above {largest}")
        for index, (found, packet) in enumerate(zip(inner, expected), start=1):
            wanted = bytes(packet)
            if "text_octets" in entry:
                found = found[: len(wanted)]
            wanted, found = self._without(wanted, found, entry)
            if found != wanted:
                self.problems.append(f"{where}, inner packet {index}: {_difference(found, wanted)}")
        if len(inner) != len(expected) and ("joined" in entry or "cut" in entry):
            self.problems.append(f"{where}: {len(inner)} inner packets when put together, expected {len(expected)}")
        if "text_octets" in entry:
            sizes = self._each(self.case.evaluate(entry["text_octets"]), len(opened))
            if [len(one.text) for one in opened if one] != sizes:
                self.problems.append(f"{where}: {[len(one.text) for one in opened if one]} octets before the padding, "
                                     f"expected {sizes}")

    def _each(self, value, count: int) -> list:
        """A value for each of so many packets: a list as it is, one value for all of them."""
        value = self.case.evaluate(value)
        return value if isinstance(value, list) else [value] * count

    def _join_outer(self, where: str, packets: list[bytes], largest: int) -> list[bytes]:
        """Outer packets, those in fragments put together by scapy. Each packet's fragments follow each other, are no
        larger than `largest`, have an identification of their own and may be cut further."""
        whole, waiting, seen = [], [], set()
        for packet in map(parsed, packets):
            fail = lambda text: self.problems.append(f"{where}: {packet.summary()}: {text}")  # noqa: E731, B023
            if len(bytes(packet)) > largest:
                fail(f"{len(bytes(packet))} octets, none should be above {largest}")
            if packet.version == 4:
                more, offset, name = "MF" in packet.flags, packet.frag * 8, packet.id
                if internet_checksum(bytes(packet)[: packet.ihl * 4]) != 0:
                    fail("the header checksum does not hold")
            else:
                part = packet.getlayer(IPv6ExtHdrFragment)
                more, offset, name = (part.m, part.offset * 8, part.id) if part else (0, 0, None)
            if not more and not offset:
                whole.append(bytes(packet))
                continue
            if packet.version == 4 and "DF" in packet.flags:
                fail("a fragment with DF")
            if not waiting and name in seen:
                fail(f"identification {name} for the second time")
            if waiting and name != waiting[0][0]:
                fail("a fragment of another packet")
            seen.add(name)
            waiting.append((name, packet))
            if more:
                continue
            parts, waiting = [one for _, one in waiting], []
            joined = defragment(parts)[0] if packet.version == 4 else defragment6(parts)
            whole.append(bytes(joined))
        if waiting:
            self.problems.append(f"{where}: fragments without a last one")
        return whole

    def _join(self, where: str, packets: list[bytes]) -> list[bytes]:
        """IPv4 fragments put together; a gap, an overlap or a wrong flag is a problem."""
        whole, waiting = [], {}
        for packet in packets:
            field_ = struct.unpack_from("!H", packet, 6)[0]
            if field_ & 0x3FFF == 0:
                whole.append(packet)
                continue
            size = (packet[0] & 15) * 4
            head, parts = waiting.setdefault(packet[4:6] + packet[12:20], (packet[:size], []))
            offset = (field_ & 0x1FFF) * 8
            if offset != sum(map(len, parts)):
                self.problems.append(f"{where}: a fragment at {offset} after {sum(map(len, parts))} octets")
            if parts and packet[20:size].rstrip(b"\0\1") != _copied(head[20:]).rstrip(b"\0\1"):
                self.problems.append(f"{where}: a fragment at {offset} with options {packet[20:size].hex()}")
            parts.append(packet[size:])
            if not field_ & 0x2000:
                head, parts = waiting.pop(packet[4:6] + packet[12:20])
                joined = parsed(head + b"".join(parts))
                joined.flags, joined.len = int(joined.flags) & ~1, len(head) + sum(map(len, parts))
                del joined.chksum
                whole.append(bytes(joined))
        if waiting:
            self.problems.append(f"{where}: fragments without a last one")
        return whole

    def _judge_envelope(self, where: str, octets: bytes, one: Opened, association: Association, seen: _Seen,
                        entry: dict) -> None:
        """What holds for every protected packet."""
        outer, fail = one.outer, lambda text: self.problems.append(f"{where}: {text}")
        seen.numbers.append(one.number)
        if association.algorithm != "ah-hmac-sha2-256-128":
            if one.iv in seen.vectors:
                fail(f"IV {one.iv.hex()} for the second time")
            seen.vectors.add(one.iv)
        length = outer.len if outer.version == 4 else outer.plen + 40
        if length != len(octets):
            fail(f"the outer length says {length}, there are {len(octets)} octets")
        if outer.version == 4 and internet_checksum(octets[: outer.ihl * 4]) != 0:
            fail("the outer header checksum does not hold")
        if not association.transport and (outer.ttl if outer.version == 4 else outer.hlim) != 64:
            fail("the outer hops are not 64")
        ports = (4500, entry.get("peer_port", 4500))
        if association.nat_traversal and (outer[UDP].sport, outer[UDP].dport) != ports:
            fail(f"UDP ports {outer[UDP].sport} and {outer[UDP].dport}")
        if not association.transport and one.inner:
            family = 41 if one.inner[0] >> 4 == 6 else 4
            if one.next_header != family:
                fail(f"next header {one.next_header}, expected {family}")
        if association.transform.is_ah:
            return
        if one.padding != bytes(range(1, 1 + len(one.padding))):
            fail(f"padding {one.padding.hex()}")
        if (len(one.text) + len(one.padding) + 2) % 4:
            fail("the trailer does not end on four octets")
        if len(one.padding) > 3:
            fail(f"{len(one.padding)} octets of padding")
        if one.next_header == NO_NEXT_HEADER:
            fail("a dummy packet")

    def _judge_outer(self, where: str, opened: list[Opened | None], entry: dict) -> None:
        for name, value in entry.get("outer", {}).items():
            wanted = self._each(value, len(opened))
            found = [_FIELDS[name](one.outer) for one in opened if one]
            if found != wanted[: len(found)]:
                self.problems.append(f"{where}: outer {name} {found[:40]}, expected {wanted[:40]}")
        for name in entry.get("same", []):
            found = [_FIELDS[name](one.outer) for one in opened if one]
            if len(set(found)) > 1:
                self.problems.append(f"{where}: outer {name} differs: {found[:40]}")

    # ---- the rest

    def _compare_runs(self) -> None:
        for path in sorted((self.directory / "first").glob("*.pcap")) + [self.directory / "first" / "report.json"]:
            if path.read_bytes() != (self.directory / "second" / path.name).read_bytes():
                self.problems.append(f"the second run wrote another {path.name}")

    def _known(self, entry: dict, keys: set[str], what: str) -> None:
        if unknown := set(entry) - keys:
            raise ScenarioError(f"{self.case.title}: unknown keys of [[{what}]]: {sorted(unknown)}")

    def _message(self, problems: list[str]) -> str:
        shown = problems[:12] + ([f"… and {len(problems) - 12} more"] if len(problems) > 12 else [])
        return "\n".join([
            self.case.title, f"  {self.case.scenario.shows}", f"  captures, site and report: {self.directory}",
            *(f"  * {problem}" for problem in shown)])


def _copied(options: bytes) -> bytes:
    """The options that stand in every fragment: those whose first bit is set (RFC 791 section 3.1)."""
    copied, at = b"", 0
    while at < len(options) and options[at] != 0:
        length = 1 if options[at] == 1 else options[at + 1]
        if options[at] & 0x80:
            copied += options[at : at + length]
        at += length
    return copied


def _udp_checksum(packet) -> str:
    """Whether the UDP checksum is zero, right or wrong."""
    if packet[UDP].chksum == 0:
        return "zero"
    copy = packet.__class__(bytes(packet))
    del copy[UDP].chksum
    return "computed" if parsed(bytes(copy))[UDP].chksum == packet[UDP].chksum else "wrong"


def _tos(packet) -> int:
    return packet.tos if packet.version == 4 else packet.tc


_FIELDS = {
    "tos": _tos,
    "dscp": lambda packet: _tos(packet) >> 2,
    "ecn": lambda packet: _tos(packet) & 3,
    "df": lambda packet: bool(int(packet.flags) & 2),
    "fragment": lambda packet: (int(packet.flags) & 1, packet.frag),
    "ttl": lambda packet: packet.ttl if packet.version == 4 else packet.hlim,
    "id": lambda packet: packet.id,
    "flow": lambda packet: packet.fl,
    "octets": lambda packet: len(bytes(packet)),
    "version": lambda packet: packet.version,
    "header_octets": lambda packet: packet.ihl * 4 if packet.version == 4 else 40,
    "protocol": lambda packet: packet.proto if packet.version == 4 else packet.nh,
    "udp_checksum": _udp_checksum,
}
"""Fields of an outer header that a scenario may speak of, for both families by one name."""


def _frame(packet, vlan: int | None) -> bytes:
    """A frame as it comes in: Ethernet put in front of IP packets, with the port's VLAN."""
    if isinstance(packet, Packet) and packet.haslayer(Ether):
        return bytes(packet)
    if isinstance(packet, ARP):
        raise ScenarioError("write ARP with its Ether() header")
    octets = bytes(packet)
    ethertype = 0x86DD if octets[:1] and octets[0] >> 4 == 6 else 0x0800
    tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
    return PORT_MAC + HOST_MAC + tag + ethertype.to_bytes(2, "big") + octets


def _said(octets: bytes) -> str:
    return f"{Ether(octets).summary()}\n    {octets.hex()}"


def _difference(found: bytes, wanted: bytes) -> str:
    at = next((index for index, (one, other) in enumerate(zip(found, wanted)) if one != other),
              min(len(found), len(wanted)))
    return (f"{len(found)} octets, expected {len(wanted)}; different from octet {at} on\n"
            f"    found    {_summary(found)}\n      {found[:96].hex()}\n"
            f"    expected {_summary(wanted)}\n      {wanted[:96].hex()}")


def _summary(octets: bytes) -> str:
    try:
        return parsed(octets).summary() if octets and octets[0] >> 4 in (4, 6) else Ether(octets).summary()
    except Exception:  # scapy gives up on some of what a broken gateway may send
        return Raw(octets).summary()
