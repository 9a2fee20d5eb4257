"""ESP and AH in the hands of others: scapy's SecurityAssociation, and `cryptography` where scapy has no transform.

scapy knows AES-GCM with a whole ICV, AES-GMAC as ESP, ChaCha20-Poly1305 and HMAC-SHA-256-128. Two transforms are put
into its tables here: AES-GCM with a truncated ICV, by scapy's own code for modes with a tag, and AH with AES-GMAC,
rebuilt from RFC 4543 on `cryptography`: nobody else on an ordinary machine speaks that one, so it is judged by nothing
but our own second reading of the RFC.

scapy's decrypt() changes its argument, so it gets a packet of its own each time; it takes a sequence number or a high
half of zero for "not given", which is right only because an association's own are never used here.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from cryptography.hazmat.primitives.ciphers import algorithms, modes  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
from scapy.layers import ipsec  # noqa: E402
from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.ipsec import AH, ESP, AuthAlgo, CryptAlgo, SecurityAssociation  # noqa: E402
from scapy.packet import Packet, Raw, raw  # noqa: E402

IPV4, IPV6 = 4, 41
"""What a trailer calls the two families in tunnel mode."""
NO_NEXT_HEADER = 59


class _MessageGMAC(AuthAlgo):
    """AH with AES-GMAC, RFC 4543 section 4: the ICV field is an IV and a tag, both zero while the tag is computed."""

    def __init__(self) -> None:
        super().__init__("AES-GMAC", mac=None, digestmod=None, icv_size=24)

    @staticmethod
    def _tag(packet: Packet, key: bytes, iv: bytes, sending: bool, high: bytes) -> bytes:
        covered = raw(ipsec.zero_mutable_fields(packet.copy(), sending=sending))
        return AESGCM(key[:-4]).encrypt(key[-4:] + iv, b"", covered + high)

    def sign(self, packet: Packet, key: bytes, esn_en: bool = False, esn: int = 0) -> Packet:
        iv = struct.pack("!Q", packet[AH].seq | 0xA5 << 56)
        high = struct.pack("!L", esn) if esn_en else b""
        packet[AH].icv = iv + self._tag(packet, key, iv, True, high)
        return packet

    def verify(self, packet: Packet, key: bytes, esn_en: bool = False, esn: int = 0) -> None:
        found = packet[AH].icv
        packet[AH].icv, packet[AH].padding = found[:24], found[24:]
        high = struct.pack("!L", esn) if esn_en else b""
        if found[8:24] != self._tag(packet, key, found[:8], False, high):
            raise ipsec.IPSecIntegrityError("AH with AES-GMAC")


def _teach_scapy() -> None:
    whole = ipsec.CRYPT_ALGOS["AES-GCM"]
    for octets in (8, 12):
        ipsec.CRYPT_ALGOS[f"AES-GCM-{octets}"] = CryptAlgo(
            f"AES-GCM-{octets}", cipher=algorithms.AES, mode=modes.GCM, key_size=(16, 32), salt_size=4, block_size=1,
            iv_size=8, icv_size=octets, format_mode_iv=whole._format_mode_iv)
    ipsec.AUTH_ALGOS["AES-GMAC"] = _MessageGMAC()


_teach_scapy()


@dataclass(frozen=True)
class Transform:
    """An algorithm by the name that site files use."""

    scapy_name: str
    key_octets: int
    icv_octets: int
    is_ah: bool = False


TRANSFORMS = {
    "aes-128-gcm-16": Transform("AES-GCM", 20, 16),
    "aes-128-gcm-12": Transform("AES-GCM-12", 20, 12),
    "aes-128-gcm-8": Transform("AES-GCM-8", 20, 8),
    "aes-256-gcm-16": Transform("AES-GCM", 36, 16),
    "aes-256-gcm-12": Transform("AES-GCM-12", 36, 12),
    "aes-256-gcm-8": Transform("AES-GCM-8", 36, 8),
    "chacha20-poly1305": Transform("CHACHA20-POLY1305", 36, 16),
    "aes-128-gmac": Transform("AES-NULL-GMAC", 20, 16),
    "aes-256-gmac": Transform("AES-NULL-GMAC", 36, 16),
    "ah-hmac-sha2-256-128": Transform("SHA2-256-128", 32, 16, is_ah=True),
    "ah-aes-128-gmac": Transform("AES-GMAC", 20, 24, is_ah=True),
}


@dataclass(frozen=True)
class Opened:
    """What was in a protected packet whose ICV held."""

    outer: IP | IPv6
    """The packet as it was, parsed."""
    inner: bytes
    """The inner packet, or in transport mode the packet as it was before protection."""
    number: int
    """The sequence number as sent: 32 bits."""
    iv: bytes
    text: bytes
    """What was in front of the padding, TFC padding included; of ESP only."""
    padding: bytes
    next_header: int


def parsed(packet: bytes | Packet) -> IP | IPv6:
    """An IP packet of either family, parsed from its octets."""
    octets = bytes(packet)
    return IPv6(octets) if octets[0] >> 4 == 6 else IP(octets)


def header(source: str, destination: str, **fields) -> IP | IPv6:
    """An IP header by its addresses' family. `tos`, `ttl` and `flow` are understood for both."""
    if ":" not in source:
        return IP(src=source, dst=destination, **fields)
    names = {"tos": "tc", "ttl": "hlim", "flow": "fl"}
    return IPv6(src=source, dst=destination, **{names.get(name, name): value for name, value in fields.items()})


@dataclass(frozen=True)
class Association:
    """One SA as both of its ends know it."""

    algorithm: str
    spi: int
    key: bytes
    source: str
    destination: str
    transport: bool = False
    esn: bool = False
    nat_traversal: bool = False

    @property
    def transform(self) -> Transform:
        return TRANSFORMS[self.algorithm]

    def _scapy(self, outer: IP | IPv6 | None, udp: UDP | None) -> SecurityAssociation:
        if self.transform.is_ah:
            return SecurityAssociation(
                AH, spi=self.spi, auth_algo=self.transform.scapy_name, auth_key=self.key, tunnel_header=outer,
                esn_en=self.esn)
        return SecurityAssociation(
            ESP, spi=self.spi, crypt_algo=self.transform.scapy_name, crypt_key=self.key, tunnel_header=outer,
            nat_t_header=udp, esn_en=self.esn)

    def seal(
        self, inner: Packet | bytes, number: int, *, iv: bytes | None = None, text: bytes | None = None,
        spi: int | None = None, src: str | None = None, dst: str | None = None, source_port: int = 4500,
        destination_port: int = 4500, **fields,
    ) -> IP | IPv6:
        """The protected packet. An honest peer's is scapy's own work.

        `text` is everything that is encrypted, trailer included, for what no honest peer sends; then `inner` counts
        only in transport mode, for its header. `fields` are the outer header's. The IV is the number unless given.
        """
        outer = None
        if not self.transport:
            outer = header(src or self.source, dst or self.destination, **fields)
        udp = UDP(sport=source_port, dport=destination_port) if self.nat_traversal else None
        association = self._scapy(outer, udp)
        iv = struct.pack("!Q", number) if iv is None else iv
        low, high = number & 0xFFFFFFFF, number >> 32
        if spi is not None:
            association.spi = spi
        if isinstance(inner, bytes) and self.transform.is_ah:
            inner = parsed(inner)
        if text is None and not isinstance(inner, bytes) and low:
            taken = {} if self.transform.is_ah else {"iv": iv}
            return association.encrypt(parsed(inner), seq_num=low, esn=high, **taken)
        assert not self.transform.is_ah, "AH has no trailer and its numbers start at 1"
        return self._seal_by_hand(association, outer, udp, inner, low, high, iv, text)

    def _seal_by_hand(self, association, outer, udp, inner, low, high, iv, text) -> IP | IPv6:
        if self.transport:
            outer, protocol, payload = ipsec.split_for_transport(parsed(inner), 50)
        else:
            protocol, payload = (IPV6 if bytes(inner)[:1] >= b"\x60" else IPV4), bytes(inner)
        plain = ipsec._ESPPlain(spi=association.spi, seq=low, iv=iv, data=Raw(raw(payload)), nh=protocol)
        algorithm = association.crypt_algo
        if text is None:
            plain = algorithm.pad(plain)
        else:
            assert len(text) >= 2, "a text ends with a pad length and a next header"
            plain.data, plain.padlen, plain.nh = Raw(text[:-2]), text[-2], text[-1]
        esp = algorithm.encrypt(association, plain, association.crypt_key, None, esn_en=self.esn, esn=high)
        if udp is not None:
            udp.chksum = 0
            esp = udp / esp
        if outer.version == 4:
            outer.proto = 50 if udp is None else 17
        else:
            outer.nh = 50 if udp is None else 17
        return parsed(outer / esp)

    def open(self, octets: bytes, high: int = 0) -> Opened:
        """Opens a protected packet; `high` is the half of the sequence number that is not sent. Raises
        IPSecIntegrityError when the ICV does not hold, and AssertionError for a packet that is not this SA's."""
        packet = parsed(octets)
        protocol = AH if self.transform.is_ah else ESP
        assert protocol in packet, f"neither ESP nor AH of this SA: {packet.summary()}"
        assert packet[protocol].spi == self.spi, f"SPI {packet[protocol].spi:#x}, not {self.spi:#x}"
        assert (packet.src, packet.dst) == (self.source, self.destination), f"outer addresses: {packet.summary()}"
        assert protocol is AH or (UDP in packet) == self.nat_traversal, f"UDP or not: {packet.summary()}"
        association = self._scapy(None if self.transport else packet.__class__(), UDP() if self.nat_traversal else None)
        number = packet[protocol].seq
        if self.transform.is_ah:
            icv = packet[AH].icv
            next_header = packet[AH].nh
            restored = association.decrypt(parsed(octets), esn=high)
            iv = icv[:8] if self.algorithm == "ah-aes-128-gmac" else b""
            return Opened(packet, bytes(restored), number, iv, b"", b"", next_header)
        plain = association.crypt_algo.decrypt(
            association, parsed(octets)[ESP], association.crypt_key, None, esn_en=self.esn, esn=high)
        text = raw(plain.data)
        inner = bytes(association.decrypt(parsed(octets), esn=high)) if self.transport else text
        return Opened(packet, inner, number, plain.iv, text, plain.padding, plain.nh)
