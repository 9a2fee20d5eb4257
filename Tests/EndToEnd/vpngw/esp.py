"""ESP with AES-128-GCM by hand, on `cryptography` alone: for packets that no honest peer would send, and for speed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import packets
from .site import Tunnel

ICV_OCTETS = 16


@dataclass(frozen=True)
class Opened:
    """What was found in an ESP packet whose ICV held."""

    spi: int
    sequence: int
    iv: bytes
    payload: bytes
    padding: bytes
    next_header: int


def trailer(payload: bytes, next_header: int = 4) -> bytes:
    """RFC 4303 section 2.4: padding 1 2 3 … to four octets, its length, the next header."""
    count = -(len(payload) + 2) % 4
    return bytes(range(1, count + 1)) + bytes([count, next_header])


class Association:
    """One SA as both of its ends know it."""

    def __init__(self, spi: int, key: bytes, source: str, destination: str) -> None:
        self.spi, self.source, self.destination = spi, source, destination
        self.salt = key[16:]
        self._cipher = AESGCM(key[:16])

    @classmethod
    def outbound(cls, tunnel: Tunnel) -> Association:
        """What this end of the tunnel sends under."""
        return cls(tunnel.outbound_spi, tunnel.outbound_key, tunnel.local_address, tunnel.remote_address)

    @classmethod
    def inbound(cls, tunnel: Tunnel) -> Association:
        """What this end of the tunnel receives under."""
        return cls(tunnel.inbound_spi, tunnel.inbound_key, tunnel.remote_address, tunnel.local_address)

    def seal(self, sequence: int, text: bytes, *, iv: bytes | None = None) -> bytes:
        """From the SPI to the ICV. `text` is everything that is encrypted, the trailer included."""
        header = struct.pack("!II", self.spi, sequence)
        iv = sequence.to_bytes(8, "big") if iv is None else iv
        return header + iv + self._cipher.encrypt(self.salt + iv, text, header)

    def packet(self, sequence: int, inner: bytes, *, text: bytes | None = None, **fields) -> bytes:
        """The outer packet around `inner`, or around `text` when its trailer is the test's own."""
        esp = self.seal(sequence, inner + trailer(inner) if text is None else text)
        return packets.ipv4(self.source, self.destination, packets.ESP, esp, **fields)

    def frame(self, sequence: int, inner: bytes, *, text: bytes | None = None, **fields) -> bytes:
        """The same behind an Ethernet header."""
        return packets.frame(self.packet(sequence, inner, text=text, **fields))

    def open(self, outer: bytes) -> Opened:
        """Decrypts an outer packet; raises `InvalidTag` when its ICV does not hold."""
        esp = outer[(outer[0] & 15) * 4 :]
        spi, sequence = struct.unpack_from("!II", esp)
        iv = esp[8:16]
        text = self._cipher.decrypt(self.salt + iv, esp[16:], esp[:8])
        pad, next_header = text[-2:]
        end = len(text) - 2 - pad
        assert end >= 0, "pad length beyond the packet"
        return Opened(spi, sequence, iv, text[:end], text[end:-2], next_header)
