"""The words of scenario expressions: scapy's layers, and helpers that make a scenario short to read.

All of them are pure: they return new packets and leave their arguments alone.
"""

from __future__ import annotations

import struct

from scapy.layers import inet, inet6, ipsec, l2
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet, Raw, fuzz

from .judge import Association, header, parsed

_PLAIN = {
    "range": range, "len": len, "bytes": bytes, "list": list, "sum": sum, "min": min, "max": max, "zip": zip,
    "int": int,
    "enumerate": enumerate, "sorted": sorted, "reversed": reversed, "True": True, "False": False, "None": None,
}
_SCAPY = {
    name: value
    for module in (inet, inet6, l2, ipsec)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Packet) and not name.startswith("_")
} | {"Raw": Raw, "fuzz": fuzz} | {
    name: value for name, value in vars(inet).items() if name.startswith("IPOption")
} | {name: getattr(inet6, name) for name in ("PadN", "Pad1", "RouterAlert", "HBHOptUnknown")}
QUOTE = {4: 576, 6: 1280}
"""Octets of the longest ICMP error: RFC 1812 section 4.3.2.3, RFC 4443 section 3.1."""
GATEWAY_TOS = 0xC0
"""Precedence 6, internetwork control: RFC 1812 section 4.3.2.5."""


def octets_of(packet: Packet | bytes) -> bytes:
    return bytes(packet)


def text(count: int) -> bytes:
    """`count` octets of which no two neighbours are equal."""
    return bytes((7 * index + 1) & 0xFF for index in range(count))


def mended(packet: bytes) -> bytes:
    """An IPv4 packet with a header checksum that holds; IPv6 has none."""
    if packet[0] >> 4 != 4:
        return packet
    length = (packet[0] & 15) * 4
    words = packet[:10] + b"\0\0" + packet[12:length]
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:10] + struct.pack("!H", total ^ 0xFFFF) + packet[12:]


def hop(packet, count: int = 1):
    """What a router makes of a packet: a hop less, and nothing else. Of a list, all of them."""
    if isinstance(packet, list):
        return [hop(one, count) for one in packet]
    octets = bytearray(bytes(packet))
    octets[8 if octets[0] >> 4 == 4 else 7] -= count
    return parsed(mended(bytes(octets)))


def patch(packet, offset: int, octets: bytes, mend: bool = True):
    """The packet with `octets` over what was at `offset`, negative from the end; IPv4's checksum mended unless not."""
    old = bytes(packet)
    offset %= len(old)
    new = old[:offset] + octets + old[offset + len(octets) :]
    return mended(new) if mend and len(new) >= 20 else new


def flip(packet, octet: int, bit: int = 0):
    """One bit changed, with IPv4's header checksum as it was unless the octet is behind that header."""
    old = bytes(packet)
    return patch(old, octet, bytes([old[octet] ^ 1 << bit]), mend=octet >= 20 or octet < 0)


def cut(packet, octets: int, adjust: bool = True):
    """The first `octets` of a packet; its own length says so unless not `adjust`."""
    short = bytes(packet)[:octets]
    return resized(short) if adjust and octets >= (20 if short[:1] < b"\x60" else 40) else short


def grow(packet, octets: bytes, adjust: bool = True):
    """The packet with octets behind it, inside of it when `adjust`."""
    return resized(bytes(packet) + octets) if adjust else bytes(packet) + octets


def resized(packet: bytes) -> bytes:
    """An IP packet whose length field is what it has."""
    if packet[0] >> 4 == 4:
        return mended(packet[:2] + struct.pack("!H", len(packet)) + packet[4:])
    return packet[:4] + struct.pack("!H", len(packet) - 40) + packet[6:]


def pieces(packet, *ends: int, order: list[int] | None = None):
    """An IP packet in fragments that end at these octets of its payload (multiples of 8), IPv4 or IPv6."""
    whole = parsed(packet)
    payload = bytes(whole)[_header_octets(whole) :]
    bounds = list(zip([0, *ends], [*ends, len(payload)]))
    made = [piece(packet, start, end, end < len(payload)) for start, end in bounds]
    return [made[index] for index in order] if order else made


def _header_octets(packet) -> int:
    return packet.ihl * 4 if packet.version == 4 else 40


def piece(packet, start: int, end: int, more: bool, payload: bytes | None = None):
    """One fragment: octets `start` to `end` of the payload, or these octets in their place."""
    whole = parsed(packet)
    size = _header_octets(whole)
    head, data = bytes(whole)[:size], bytes(whole)[size:][start:end] if payload is None else payload
    if whole.version == 4:
        field = (0x2000 if more else 0) | start // 8
        return parsed(resized(head[:6] + struct.pack("!H", field) + head[8:] + data))
    extension = struct.pack("!BBHI", head[6], 0, start | more, whole.fl ^ 0x12345)
    return parsed(resized(head[:6] + b"\x2c" + head[7:] + extension + data))


def fragments(packet, size: int):
    """scapy's idea of an IPv4 packet in fragments of at most `size` octets each."""
    return [parsed(one) for one in fragment(parsed(packet), (size - 20) // 8 * 8)]


def echo(packet):
    """The echo reply of a host that was asked by `packet`."""
    asked = parsed(packet)
    if asked.version == 4:
        return IP(src=asked.dst, dst=asked.src) / ICMP(type=0, id=asked[ICMP].id, seq=asked[ICMP].seq) / bytes(
            asked[ICMP].payload)
    request = asked[ICMPv6EchoRequest]
    return IPv6(src=asked.dst, dst=asked.src, hlim=64) / inet6.ICMPv6EchoReply(
        id=request.id, seq=request.seq, data=request.data)


def _error(cause, source: str, v4: tuple[int, int, int], v6: Packet):
    about = parsed(cause)
    room = QUOTE[about.version]
    if about.version == 4:
        kind, code, mtu = v4
        outer = IP(src=source, dst=about.src, tos=GATEWAY_TOS, ttl=64)
        return outer / ICMP(type=kind, code=code, nexthopmtu=mtu) / Raw(bytes(about)[: room - 28])
    return IPv6(src=source, dst=about.src, tc=GATEWAY_TOS, hlim=64) / v6 / Raw(bytes(about)[: room - 48])


def too_big(cause, mtu: int, source: str):
    """The ICMP error that tells the sender of `cause` which size fits: RFC 1191, RFC 8201."""
    return _error(cause, source, (3, 4, mtu), ICMPv6PacketTooBig(mtu=mtu))


def expired(cause, source: str):
    """The ICMP error about a packet that ran out of hops."""
    return _error(cause, source, (11, 0, 0), ICMPv6TimeExceeded())


def esp_trailer(payload, next_header: int = 4, padding: bytes | None = None, length: int | None = None) -> bytes:
    """What is encrypted: payload, padding (1 2 3 … to four octets unless given), pad length, next header."""
    data = bytes(payload)
    if padding is None:
        padding = bytes(range(1, 1 + -(len(data) + 2) % 4))
    return data + padding + bytes([len(padding) if length is None else length, next_header])


class Vocabulary:
    """The words for one site: those that need its addresses and SAs, and those that do not."""

    def __init__(self, parameters: dict, associations: dict[tuple[str, str, int], Association]) -> None:
        self._parameters = parameters
        self._associations = associations

    def names(self) -> dict:
        own = (
            self.ip, self.up, self.down, self.esp, self.ah, self.natt, self.keepalive, self.quote, self.sent, self.key)
        free = (hop, patch, flip, cut, grow, resized, pieces, piece, fragments, echo, too_big, expired, text, mended)
        return {
            **_PLAIN, **_SCAPY, **{function.__name__: function for function in own + free},
            "trailer": esp_trailer,
            **self._parameters,
        }

    # ---- packets in clear

    @staticmethod
    def ip(source: str, destination: str, **fields):
        """An IP header of the addresses' family; `tos`, `ttl` and `flow` for both families."""
        return header(source, destination, **fields)

    def _between(self, source: str, destination: str, octets: int, kind: str, fields: dict):
        ports = {name: fields.pop(name) for name in ("sport", "dport") if name in fields}
        outer = header(source, destination, **fields)
        layer = {
            "udp": lambda: UDP(**{"sport": 4321, "dport": 9, **ports}),
            "tcp": lambda: TCP(**{"sport": 4321, "dport": 9, "flags": "A", **ports}),
            "echo": lambda: ICMP(id=7, seq=9) if outer.version == 4 else ICMPv6EchoRequest(id=7, seq=9),
            "unknown": lambda: None,
        }[kind]()
        if layer is None:
            outer = outer.__class__(bytes(outer))
            setattr(outer, "proto" if outer.version == 4 else "nh", 253)
            missing = octets - len(outer)
            whole = outer / Raw(text(missing)) if missing else outer
            return parsed(resized(bytes(whole)))
        missing = octets - len(outer / layer)
        if missing < 0:
            raise ValueError(f"a packet of {octets} octets has no room for its headers")
        if isinstance(layer, ICMPv6EchoRequest):
            layer.data = text(missing)
            return parsed(outer / layer)
        return parsed(outer / layer / Raw(text(missing)) if missing else outer / layer)

    def up(self, octets: int = 100, kind: str = "udp", **fields):
        """A packet of so many octets in all from host A to host B: udp, tcp, echo or unknown (protocol 253)."""
        names = {"src": self._parameters["A"], "dst": self._parameters["B"], **fields}
        return self._between(names.pop("src"), names.pop("dst"), octets, kind, names)

    def down(self, octets: int = 100, kind: str = "udp", **fields):
        """The same from host B to host A."""
        return self.up(octets, kind, **{"src": self._parameters["B"], "dst": self._parameters["A"], **fields})

    # ---- protected packets

    def key(self, tunnel: str, direction: str, child: int = 0) -> Association:
        """An SA of the site."""
        return self._associations[tunnel, direction, child]

    def esp(self, tunnel: str, inner, seq: int, child: int = 0, key_of: str | None = None, flip_key: int | None = None,
            **details):
        """What the peer of a tunnel sends, with this sequence number; see `Association.seal` for the details.

        `key_of` takes the key of another tunnel, `flip_key` one whose octet of that number is another.
        """
        association = self.key(tunnel, "inbound", child)
        key = association.key if key_of is None else self.key(key_of, "inbound").key
        if flip_key is not None:
            key = key[:flip_key] + bytes([key[flip_key] ^ 1]) + key[flip_key + 1 :]
        changed = Association(**{**vars(association), "key": key})
        assert not changed.transform.is_ah, f"{tunnel} is AH"
        return changed.seal(inner, seq, **details)

    def ah(self, tunnel: str, inner, seq: int, child: int = 0, **details):
        """The same for a tunnel whose SAs are AH."""
        association = self.key(tunnel, "inbound", child)
        assert association.transform.is_ah, f"{tunnel} is ESP"
        return association.seal(inner, seq, **details)

    def natt(self, tunnel: str, inner, seq: int, checksum="zero", **details):
        """The same in UDP, with a checksum of zero, computed or wrong."""
        packet = self.esp(tunnel, inner, seq, **details)
        if checksum == "zero":
            return packet
        whole = packet.__class__(bytes(packet))
        del whole[UDP].chksum
        whole = whole.__class__(bytes(whole))
        if checksum == "wrong":
            whole[UDP].chksum ^= 0x5555
        return parsed(bytes(whole))

    def keepalive(self, tunnel: str, octets: bytes = b"\xff"):
        """RFC 3948 section 2.3, or other octets in its place."""
        association = self.key(tunnel, "inbound")
        udp = UDP(sport=4500, dport=4500) / Raw(octets)
        return parsed(header(association.source, association.destination) / udp)

    def sent(self, tunnel: str, seq: int, octets: int, **changes):
        """The head of an ESP packet that we have sent, as an ICMP error quotes it: outer header and eight octets."""
        association = self.key(tunnel, "outbound")
        names = {"src": association.source, "dst": association.destination, "spi": association.spi, **changes}
        outer = header(names["src"], names["dst"], ttl=60)
        upper = struct.pack("!II", names["spi"], seq)
        if association.nat_traversal:
            upper = struct.pack("!HHHH", 4500, 4500, octets - len(outer), 0) + upper
        protocol = 17 if association.nat_traversal else 50
        if outer.version == 4:
            outer.proto, outer.len = protocol, octets
        else:
            outer.nh, outer.plen = protocol, octets - 40
        return Raw(bytes(outer) + upper)

    @staticmethod
    def quote(source: str, destination: str, mtu: int, about):
        """A router's ICMP error that a packet of ours was too big, with what it quotes of it."""
        if ":" in source:
            return parsed(IPv6(src=source, dst=destination) / ICMPv6PacketTooBig(mtu=mtu) / about)
        return parsed(IP(src=source, dst=destination) / ICMP(type=3, code=4, nexthopmtu=mtu) / about)
