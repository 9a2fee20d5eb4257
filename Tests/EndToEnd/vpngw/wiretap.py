"""What crossed a wire: tcpdump writes it, a parser of our own reads it."""

from __future__ import annotations

import re
import signal
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

    def __init__(self, network: Network, name: str, interface: str, *, octets: int = 0):
        """`octets` of each frame; 0 for all of it."""
        self._network, self._name, self._interface = network, name, interface
        self.path = network.directory / f"{name}-{interface}.pcap"
        self._log = self.path.with_suffix(".log")
        self._process = network.start(
            name, "tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-B", "65536", "-s", octets, "-Z", "root",
            "-w", self.path, log=self._log)
        wait_until(lambda: "listening on" in self._log.read_text(), lambda: self._log.read_text())

    def stop(self) -> list[bytes]:
        """Ends the capture when everything of before is in it, and returns its frames. No gateway may listen any more."""
        marker = b"\xff" * 6 + b"\x02" + b"\0" * 5 + struct.pack("!H", MARKER) + b"\0" * 46
        send = (
            "import socket, sys\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
            "s.bind((sys.argv[1], 0))\ns.send(bytes.fromhex(sys.argv[2]))")
        self._network.run(self._name, "/usr/bin/python3", "-c", send, self._interface, marker.hex())
        wait_until(lambda: self.path.read_bytes()[-len(marker):][12:14] == marker[12:14], "the marker is in the capture")
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(20) == 0, self._log.read_text()
        lost = re.search(r"(\d+) packets dropped by kernel", self._log.read_text())
        assert lost and lost[1] == "0", self._log.read_text()
        return [frame for frame in read_capture(self.path) if ethertype(frame) != MARKER]


def read_capture(path: Path) -> Iterator[bytes]:
    """The frames of a pcap file of this machine's byte order."""
    octets = path.read_bytes()
    magic, = struct.unpack_from("=I", octets)
    assert magic in (0xA1B2C3D4, 0xA1B23C4D), f"{path}: no pcap file of this machine"
    position = 24
    while position < len(octets):
        length, = struct.unpack_from("=I", octets, position + 8)
        yield octets[position + 16:position + 16 + length]
        position += 16 + length


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
