"""The judge judged: what it seals it opens, of every transform, and two of its ways to do the same agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import IPSecIntegrityError

from vpngw.esp import Association as OwnAssociation
from vpngw.judge import TRANSFORMS, Association, parsed
from vpngw.vocabulary import esp_trailer

ENDS = {"IPv4": ("192.0.2.1", "198.51.100.1"), "IPv6": ("2001:db8:a::1", "2001:db8:b::1")}


def association(algorithm: str, family: str, **details) -> Association:
    octets = TRANSFORMS[algorithm].key_octets
    return Association(algorithm, 0x1001, bytes(range(1, octets + 1)), *ENDS[family], **details)


def inner(family: str, octets: int = 33):
    if family == "IPv4":
        return parsed(IP(src="10.0.1.5", dst="10.0.2.5") / UDP() / bytes(octets))
    return parsed(IPv6(src="fd00:1::5", dst="fd00:2::5") / UDP() / bytes(octets))


@pytest.mark.parametrize("esn", [False, True], ids=["", "ESN"])
@pytest.mark.parametrize("outside", ENDS)
@pytest.mark.parametrize("inside", ENDS)
@pytest.mark.parametrize("algorithm", TRANSFORMS)
def test_tunnel(algorithm: str, inside: str, outside: str, esn: bool) -> None:
    """Sealed and opened; with another high half, another key or a flipped bit, not."""
    one, packet = association(algorithm, outside, esn=esn), inner(inside)
    number = 0x1_0000_0007 if esn else 7
    sealed = bytes(one.seal(packet, number))
    opened = one.open(sealed, number >> 32)
    assert (opened.inner, opened.number, opened.next_header) == (bytes(packet), 7, 41 if inside == "IPv6" else 4)
    strangers = [(one, sealed[:-1] + bytes([sealed[-1] ^ 1]), number >> 32),
                 (replace(one, key=one.key[:-1] + b"\0"), sealed, number >> 32)]
    if esn:
        strangers.append((one, sealed, 2))
    if algorithm.startswith("ah") and outside == "IPv6":
        strangers[0] = (one, sealed[:60] + bytes([sealed[60] ^ 1]) + sealed[61:], number >> 32)
    for who, octets, high in strangers:
        with pytest.raises(IPSecIntegrityError):
            who.open(octets, high)


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize(
    "algorithm, nat_traversal",
    [(name, udp) for name, transform in TRANSFORMS.items() for udp in (False, True) if not (udp and transform.is_ah)])
def test_transport(algorithm: str, nat_traversal: bool, family: str) -> None:
    """The packet is restored as it was."""
    packet = inner(family)
    one = replace(association(algorithm, family, transport=True, nat_traversal=nat_traversal),
                  source=packet.src, destination=packet.dst)
    opened = one.open(bytes(one.seal(packet, 7)))
    assert opened.inner == bytes(packet)
    assert (opened.next_header, UDP in opened.outer) == (17, nat_traversal)


@pytest.mark.parametrize("octets", range(20, 28))
def test_two_ways_agree(octets: int) -> None:
    """scapy's whole packet, its crypto with a trailer by hand, and AES-GCM by hand on `cryptography`."""
    one, packet = association("aes-128-gcm-16", "IPv4"), bytes(inner("IPv4", octets))
    whole = bytes(one.seal(parsed(packet), 9))
    assert bytes(one.seal(b"", 9, text=esp_trailer(packet))) == whole
    own = OwnAssociation(one.spi, one.key, one.source, one.destination)
    assert own.seal(9, esp_trailer(packet)) == whole[20:]
    assert own.open(whole).payload == packet == one.open(whole).inner
