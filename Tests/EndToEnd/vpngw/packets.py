"""IPv4 packets and Ethernet frames made of bytes.

Written for captures of a hundred thousand packets and more, where a packet library's objects would take minutes; and
with struct alone, so that a test's idea of a packet owes nothing to the library that judges it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from socket import AF_INET6, inet_aton, inet_pton

ICMP, TCP, UDP, ESP, IPV6, NO_NEXT_HEADER, EXPERIMENT = 1, 6, 17, 50, 41, 59, 253
ICMPV6 = 58
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_VLAN, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
DF, MF = 0x4000, 0x2000
HOST_MAC = bytes.fromhex("0200000000aa")
PORT_MAC = bytes.fromhex("0200000000bb")
BROADCAST_MAC = b"\xff" * 6
"""Every option that a forwarding router may meet, each alone legal: see `options_of`."""
OPTIONS = {
    "no-operation": b"\x01\x01\x01\x01",
    "record route": bytes([7, 11, 4]) + bytes(8) + b"\x00",
    "timestamp": bytes([68, 12, 5, 0]) + bytes(8),
    "router alert": bytes([148, 4, 0, 0]),
    "security": bytes([130, 11]) + bytes(9) + b"\x01",
    "end, then anything": b"\x00\xff\xff\xff",
    "all forty octets": bytes([7, 39, 4]) + bytes(36) + b"\x00",
}


@lru_cache(maxsize=4096)
def address(text: str) -> bytes:
    """An address as it is sent: four octets or sixteen."""
    return inet_pton(AF_INET6, text) if ":" in text else inet_aton(text)


def checksum(data: bytes) -> int:
    """RFC 1071. A ones' complement sum of 16-bit words is the whole number modulo 65535."""
    if len(data) & 1:
        data += b"\0"
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes = b"",
    *,
    tos: int = 0,
    identification: int = 0,
    fragment: int = 0,
    ttl: int = 64,
    options: bytes = b"",
    total_length: int | None = None,
) -> bytes:
    """A packet; `fragment` holds the flags and the offset as the header does. Options come in whole words."""
    length = 20 + len(options) + len(payload)
    header = (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x45 + len(options) // 4,
            tos,
            length if total_length is None else total_length,
            identification,
            fragment,
            ttl,
            protocol,
            0,
            address(source),
            address(destination),
        )
        + options
    )
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def mended(packet: bytes) -> bytes:
    """The packet with a header checksum that holds, whatever else is wrong with it."""
    length = max(20, (packet[0] & 15) * 4)
    header = packet[:10] + b"\0\0" + packet[12:length]
    return packet[:10] + checksum(header).to_bytes(2, "big") + packet[12:]


def changed(packet: bytes, offset: int, octets: bytes) -> bytes:
    """The packet with `octets` put over what was at `offset`, and its header checksum made anew."""
    return mended(packet[:offset] + octets + packet[offset + len(octets) :])


def forwarded(packet: bytes, hops: int = 1) -> bytes:
    """What a router makes of a packet, or several: a hop less. The checksum is computed anew, not updated."""
    return changed(packet, 8, bytes([packet[8] - hops]))


def _pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    return address(source) + address(destination) + struct.pack("!BBH", 0, protocol, length)


def udp(source: str, destination: str, source_port: int, destination_port: int, data: bytes = b"") -> bytes:
    """A datagram, without its IP header."""
    length = 8 + len(data)
    datagram = struct.pack("!HHHH", source_port, destination_port, length, 0) + data
    total = checksum(_pseudo_header(source, destination, UDP, length) + datagram)
    return datagram[:6] + (total or 0xFFFF).to_bytes(2, "big") + data


def tcp(source: str, destination: str, source_port: int, destination_port: int, data: bytes = b"") -> bytes:
    """A segment, without its IP header."""
    segment = struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, 0x18, 8192, 0, 0) + data
    total = checksum(_pseudo_header(source, destination, TCP, len(segment)) + segment)
    return segment[:16] + total.to_bytes(2, "big") + segment[18:]


def echo(identifier: int, sequence: int, data: bytes = b"", *, kind: int = 8) -> bytes:
    """An ICMP echo request (8) or reply (0), without its IP header."""
    message = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + data
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


HEADERS = {"udp": 8, "tcp": 20, "icmp": 8, "unknown": 0}
"""Octets that each kind of packet needs behind its IPv4 header."""


def sized(kind: str, octets: int, rng: Random, source: str, destination: str, **fields) -> bytes:
    """A packet of `kind` that is `octets` long in all, with random data and checksums that hold."""
    data = rng.randbytes(octets - 20 - len(fields.get("options", b"")) - HEADERS[kind])
    ports = rng.randrange(1, 65536), rng.randrange(1, 65536)
    if kind == "udp":
        protocol, payload = UDP, udp(source, destination, *ports, data)
    elif kind == "tcp":
        protocol, payload = TCP, tcp(source, destination, *ports, data)
    elif kind == "icmp":
        protocol, payload = ICMP, echo(*ports, data)
    else:
        protocol, payload = EXPERIMENT, data
    return ipv4(source, destination, protocol, payload, **fields)


def random_fields(rng: Random) -> dict[str, int]:
    """Header fields that a gateway copies or carries, at random; hops enough for two gateways."""
    return {
        "tos": rng.randrange(256),
        "identification": rng.randrange(65536),
        "ttl": rng.randrange(3, 256),
        "fragment": rng.choice((0, DF)),
    }


def mixed(count: int, rng: Random, source: str, destination: str, largest: int = 1446) -> Iterator[bytes]:
    """Packets as a link may see them: every protocol and size, fragments of every position, options."""
    options = list(OPTIONS.values())
    for number in range(count):
        kind = rng.choice(("udp", "tcp", "icmp", "unknown"))
        fields = random_fields(rng)
        form = number % 8
        if form == 0:
            fields["options"] = rng.choice(options)
        smallest = 20 + HEADERS[kind] + len(fields.get("options", b""))
        octets = smallest + number % (largest + 1 - smallest)
        if form == 1:
            octets -= (octets - 20) % 8  # every fragment but the last ends on eight octets
            octets = max(octets, 28)
            fields["fragment"] = rng.choice((MF, MF | rng.randrange(1, 8000), rng.randrange(1, 8000)))
            kind = "unknown"
        yield sized(kind, octets, rng, source, destination, **fields)


def frame(
    packet: bytes, *, ethertype: int = ETHERTYPE_IPV4, source: bytes = HOST_MAC, destination: bytes = PORT_MAC
) -> bytes:
    """The packet behind an Ethernet header."""
    return destination + source + ethertype.to_bytes(2, "big") + packet


def arp(
    operation: int,
    sender_mac: bytes,
    sender: str,
    target_mac: bytes,
    target: str,
    *,
    destination: bytes = BROADCAST_MAC,
) -> bytes:
    """An ARP frame: a request (1) or a reply (2)."""
    body = struct.pack("!HHBBH", 1, ETHERTYPE_IPV4, 6, 4, operation)
    body += sender_mac + address(sender) + target_mac + address(target)
    return frame(body, ethertype=ETHERTYPE_ARP, source=sender_mac, destination=destination)
