"""ESP in tunnel mode as a driver takes it (clear, with room for the ICV) and as a wire carries it, for both families."""

from __future__ import annotations

import ipaddress
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vpngw import nic
from vpngw.esp import trailer

PEER = bytes.fromhex("020000000009")
FOUR, SIX = ("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")
"""Source and destination of each family."""


def checksum(octets: bytes) -> int:
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(addresses: tuple[str, str], protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    source, destination = (ipaddress.ip_address(address).packed for address in addresses)
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source + destination + payload
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0, length + len(payload), 0, fragment, 64, protocol, 0)
    header += source + destination + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ethernet(packet: bytes, destination: bytes, source: bytes = PEER) -> bytes:
    return destination + source + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet


class SA:
    """One SA: `keymat` is the key and four octets of salt."""

    def __init__(self, spi: int, keymat: bytes, addresses: tuple[str, str] = FOUR):
        self.spi, self.keymat, self.addresses = spi, keymat, addresses
        self._cipher = AESGCM(keymat[:16])

    @property
    def header(self) -> int:
        """Octets of the outer IP header."""
        return 40 if ":" in self.addresses[0] else 20

    def clear(self, sequence: int, inner: bytes, *, port: int = 0) -> bytes:
        """What the driver is given: everything but the encryption, the ICV and IPv4's checksum."""
        esp = struct.pack("!IIQ", self.spi, sequence, sequence) + inner + trailer(inner) + bytes(16)
        packet = ip(self.addresses, 50, esp)
        packet = packet if self.header == 40 else packet[:10] + b"\0\0" + packet[12:]
        return ethernet(packet, PEER, nic.mac(port))

    def sealed(self, sequence: int, inner: bytes, *, port: int = 0, surplus: bytes = b"", **fields) -> bytes:
        """What arrives at a port."""
        first = struct.pack("!II", self.spi, sequence)
        iv = sequence.to_bytes(8, "big")
        esp = first + iv + self._cipher.encrypt(self.keymat[16:] + iv, inner + trailer(inner), first) + surplus
        return ethernet(ip(self.addresses, 50, esp, **fields), nic.mac(port))

    def open(self, frame: bytes) -> tuple[int, bytes]:
        """Sequence number and inner packet; raises `InvalidTag` when the ICV does not hold."""
        assert self.header == 40 or checksum(frame[14:34]) == 0, "IPv4 header checksum"
        length = struct.unpack_from("!H", frame, 18)[0] + 40 if self.header == 40 else struct.unpack_from("!H", frame, 16)[0]
        esp = frame[14 + self.header : 14 + length]
        spi, sequence = struct.unpack_from("!II", esp)
        assert spi == self.spi
        text = self._cipher.decrypt(self.keymat[16:] + esp[8:16], esp[16:], esp[:8])
        inner = text[: -2 - text[-2]]
        assert text[len(inner) :] == trailer(inner)
        return sequence, inner

    def inner(self, received: bytes, octets: int) -> bytes:
        """The inner packet in a frame that the driver says was decrypted."""
        start = 14 + self.header + 16
        return received[start : start + octets]
