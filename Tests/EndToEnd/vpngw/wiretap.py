"""What crossed a wire: tcpdump writes it, a parser of our own reads it."""

from __future__ import annotations

import re
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vpngw.network import Network, wait_until

ARP = 0x0806
IPV4 = 0x0800
ESP = 50
# IEEE 802's ethertype for experiments: the last frame of a capture.
MARKER = 0x88B5
_LENGTH = struct.Struct("=I")


@dataclass(frozen=True)
class ESPPacket:
    """What an ESP packet with AES-GCM shows to everybody."""

    source: str
    destination: str
    spi: int
    sequence_number: int
    initialization_vector: int


class Wiretap:
    """A capture on an interface, from construction to `stop`."""

    def __init__(self, network: Network, name: str, interface: str, *, octets: int = 0, roll_mb: int | None = None):
        """`octets` of each frame; 0 for all of it. With `roll_mb` it goes on in another file after so many megabytes,
        and whoever reads `fresh` frames leaves three files behind."""
        self._network, self._name, self._interface = network, name, interface
        self.path = network.directory / f"{name}-{interface}.pcap"
        self._log = self.path.with_suffix(".log")
        self._rolls, self._number, self._file = roll_mb is not None, 0, None
        roll = ["-C", roll_mb] if self._rolls else []
        self._process = network.start(
            name, "tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-B", "65536", "-s", octets, "-Z", "root",
            *roll, "-w", self.path, log=self._log)
        wait_until(lambda: "listening on" in self._log.read_text(), lambda: self._log.read_text())

    def fresh(self) -> Iterator[bytes]:
        """Frames that came since it was asked last. Take them all."""
        while True:
            # Looked at first: a file with a successor has its last frame.
            has_ended = self._rolls and self._part(self._number + 1).exists()
            if self._file is None:
                self._file = _CaptureFile(self._part(self._number))
            yield from self._file.fresh()
            if not has_ended:
                return
            self._file.close()
            self._file = None
            self._number += 1
            if self._number >= 3:
                self._part(self._number - 3).unlink()

    def _part(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}{number or ''}")

    def stop(self) -> list[bytes]:
        """Ends the capture when everything of before is in it, and returns its frames that `fresh` has not given. No
        gateway may listen any more, or it counts one frame more."""
        marker = b"\xff" * 6 + b"\x02" + b"\0" * 5 + struct.pack("!H", MARKER) + b"\0" * 46
        self._network.socket(self._name, socket.AF_PACKET, socket.SOCK_RAW).sendto(marker, (self._interface, 0))
        frames: list[bytes] = []

        def is_marked() -> bool:
            frames.extend(self.fresh())
            return any(ethertype(frame) == MARKER for frame in frames[-100:])

        wait_until(is_marked, "the marker is in the capture")
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(20) == 0, self._log.read_text()
        lost = re.search(r"(\d+) packets dropped by kernel", self._log.read_text())
        assert lost and lost[1] == "0", self._log.read_text()
        return [frame for frame in frames if ethertype(frame) != MARKER]


class _CaptureFile:
    """A pcap file of this machine that somebody writes."""

    def __init__(self, path: Path):
        self._path, self._file, self._rest, self._has_begun = path, path.open("rb"), b"", False

    def fresh(self) -> Iterator[bytes]:
        while octets := self._file.read(1 << 20):
            octets = self._rest + octets
            position = 0
            if not self._has_begun and len(octets) >= 24:
                magic, = struct.unpack_from("=I", octets)
                assert magic in (0xA1B2C3D4, 0xA1B23C4D), f"{self._path}: no pcap file of this machine"
                position, self._has_begun = 24, True
            while self._has_begun and position + 16 <= len(octets):
                length, = _LENGTH.unpack_from(octets, position + 8)
                if position + 16 + length > len(octets):
                    break
                yield octets[position + 16:position + 16 + length]
                position += 16 + length
            self._rest = octets[position:]

    def close(self) -> None:
        assert not self._rest, f"{self._path} ends within a frame"
        self._file.close()


def ethertype(frame: bytes) -> int:
    return struct.unpack_from("!H", frame, 12)[0]


def is_esp(frame: bytes) -> bool:
    return ethertype(frame) == IPV4 and frame[14 + 9] == ESP


def esp(frame: bytes) -> ESPPacket:
    """The clear fields of an ESP frame: RFC 4303 section 2, and the IV of RFC 4106 section 3.1."""
    assert is_esp(frame), frame[:64].hex()
    header = 14 + (frame[14] & 15) * 4
    spi, number, vector = struct.unpack_from("!IIQ", frame, header)
    return ESPPacket(_dotted(frame[26:30]), _dotted(frame[30:34]), spi, number, vector)


def _dotted(octets: bytes) -> str:
    return ".".join(map(str, octets))


def assert_only_esp_and_arp(frames: list[bytes]) -> None:
    others = [frame for frame in frames if ethertype(frame) != ARP and not is_esp(frame)]
    assert not others, f"{len(others)} frames are neither ESP nor ARP, the first: {others[0][:64].hex()}"
