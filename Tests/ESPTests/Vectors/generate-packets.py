#!/usr/bin/env python3
"""Makes packets.txt beside this file: whole packets that scapy protected, and AH-GMAC ones by cryptography's AES-GCM.

A line is: name, algorithm, mode, outer family, "esn" or "-", the peer's UDP port or 0, octets of traffic flow
confidentiality, DSCP or "copy", DF ("copy", "set", "clear"), KEYMAT, SPI, sequence number, IV, local address, remote
address, packet before, packet after. Numbers are decimal, KEYMAT and packets hexadecimal.
"""
import pathlib
import random

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR, IPOption_Router_Alert
from scapy.layers.inet6 import (HBHOptUnknown, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN,
                                RouterAlert)
from scapy.layers.ipsec import AH, ESP, SecurityAssociation, zero_mutable_fields
from scapy.packet import Raw
from scapy.compat import raw

rng = random.Random(4303)
LOCAL = {4: "192.0.2.1", 6: "2001:db8::1"}
REMOTE = {4: "198.51.100.1", 6: "2001:db8:ffff::2"}

# name: scapy's name, octets of KEYMAT, ICV
ALGORITHMS = {
    "aes-128-gcm-16": ("AES-GCM", 20, None), "aes-128-gcm-12": ("AES-GCM", 20, 12), "aes-128-gcm-8": ("AES-GCM", 20, 8),
    "aes-256-gcm-16": ("AES-GCM", 36, None), "aes-256-gcm-12": ("AES-GCM", 36, 12), "aes-256-gcm-8": ("AES-GCM", 36, 8),
    "chacha20-poly1305": ("CHACHA20-POLY1305", 36, None),
    "aes-128-gmac": ("AES-NULL-GMAC", 20, None), "aes-256-gmac": ("AES-NULL-GMAC", 36, None),
    "ah-hmac-sha2-256-128": ("SHA2-256-128", 32, None), "ah-aes-128-gmac": (None, 20, None),
}


def inner(family, source, destination, extended=False, tos=None, df=None):
    payload = UDP(sport=rng.randrange(65536), dport=rng.randrange(65536)) / Raw(rng.randbytes(rng.randrange(60)))
    tos = rng.randrange(256) if tos is None else tos
    if family == 4:
        options = [IPOption_NOP(), IPOption_RR(pointer=4, routers=["0.0.0.0"]), IPOption_Router_Alert()] if extended else []
        flags = "DF" if (rng.randrange(2) if df is None else df) else 0
        return IP(raw(IP(src=source, dst=destination, ttl=rng.randrange(2, 255), tos=tos, id=rng.randrange(65536),
                         flags=flags, options=options) / payload))
    header = IPv6(src=source, dst=destination, hlim=rng.randrange(2, 255), tc=tos, fl=rng.randrange(1 << 20))
    if extended == "routing":
        header = header / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt(
            options=[PadN(optdata=b"\0" * 4)]) / IPv6ExtHdrRouting(addresses=[], segleft=0)
    elif extended:
        header = header / IPv6ExtHdrHopByHop(options=[RouterAlert(), HBHOptUnknown(otype=0x3e, optdata=rng.randbytes(8))])
    return IPv6(raw(header / payload))


def protect(name, algorithm, mode, outer, before, esn=False, port=0, tfc=0, dscp="copy", df="copy"):
    scapy_name, octets, icv = ALGORITHMS[algorithm]
    keymat, spi = rng.randbytes(octets), rng.randrange(256, 1 << 32)
    number = rng.choice([1 << 32, (5 << 32) - 1, rng.randrange(1 << 62)]) if esn else rng.randrange(1, 1 << 32)
    vector = rng.randrange(1 << 40, 1 << 63)
    low, high = number & 0xffffffff, number >> 32
    is_v4 = before.version == 4
    tunnel = None
    if mode == "tunnel":
        tos = before.tos if is_v4 else before.tc
        if dscp != "copy":
            tos = dscp << 2 | tos & 3
        if outer == 4:
            is_df = {"set": True, "clear": False, "copy": not is_v4 or "DF" in before.flags}[df]
            tunnel = IP(src=LOCAL[4], dst=REMOTE[4], ttl=64, tos=tos, id=0, flags="DF" if is_df else 0)
        else:
            label = (spi * 0x9e3779b1 & 0xffffffff) >> 12 | 1
            tunnel = IPv6(src=LOCAL[6], dst=REMOTE[6], hlim=64, tc=tos, fl=label)
    payload = before.copy()
    if tfc and len(raw(before)) < tfc:
        payload = before.copy() / Raw(b"")
        payload = type(before)(raw(before) + b"\0" * (tfc - len(raw(before))))
    if algorithm.startswith("ah-"):
        sa = SecurityAssociation(AH, spi=spi, auth_algo="SHA2-256-128", auth_key=keymat[:32], tunnel_header=tunnel,
                                 esn_en=esn, esn=high)
        if scapy_name is None:
            after = gmac(sa, payload, low, high, esn, keymat, vector)
        else:
            sa.seq_num = low
            after = raw(sa.encrypt(payload))
    else:
        header = UDP(sport=4500, dport=port) if port else None
        sa = SecurityAssociation(ESP, spi=spi, crypt_algo=scapy_name, crypt_key=keymat, tunnel_header=tunnel,
                                 nat_t_header=header, esn_en=esn, esn=high)
        sa.seq_num = low
        after = sa.encrypt(payload, seq_num=None, iv=vector.to_bytes(8, "big"))
        if icv:
            # This scapy sends the whole ICV, whatever it is told: RFC 4106 section 6 cuts it.
            after = shorten(raw(after), 16 - icv, port)
        if port and after.version == 6:
            after = IPv6(raw(after))
            del after[UDP].chksum
        after = raw(after)
    family = outer if mode == "tunnel" else before.version
    fields = [name, algorithm, mode, family, "esn" if esn else "-", port, tfc, dscp, df, keymat.hex(), spi, number, vector,
              LOCAL[family], REMOTE[family], raw(before).hex(), after.hex()]
    return " ".join(map(str, fields))


def shorten(octets, less, port):
    after = IP(octets[:-less]) if octets[0] >> 4 == 4 else IPv6(octets[:-less])
    if after.version == 4:
        after.len -= less
        del after.chksum
    else:
        after.plen -= less
    if port:
        after[UDP].len -= less
    return after


def gmac(sa, packet, low, high, esn, keymat, vector):
    """RFC 4543 section 4: the ICV field is IV and tag, all of it zero in what is authenticated."""
    sa.auth_algo.icv_size, kept = 24, sa.auth_algo.icv_size
    sign, sa.auth_algo.sign = sa.auth_algo.sign, lambda signed, *arguments, **named: signed
    try:
        sa.seq_num = low
        signed = sa.encrypt(packet)
        signed = type(signed)(raw(signed))
        data = raw(zero_mutable_fields(signed.copy(), sending=True)) + (high.to_bytes(4, "big") if esn else b"")
        iv = vector.to_bytes(8, "big")
        tag = AESGCM(keymat[:16]).encrypt(keymat[16:] + iv, b"", data)
        octets = raw(signed)
        at = octets.index(sa.spi.to_bytes(4, "big") + low.to_bytes(4, "big")) + 8
        return octets[:at] + iv + tag + octets[at + 24:]
    finally:
        sa.auth_algo.icv_size, sa.auth_algo.sign = kept, sign


def packets():
    inside = {4: ("10.0.1.1", "10.0.2.2"), 6: ("fd00:1::1", "fd00:2::2")}
    for algorithm in ALGORITHMS:
        is_ah = algorithm.startswith("ah-")
        for esn in (False, True):
            for outer in (4, 6):
                for port in (0,) if is_ah else (0, 4500, 61234):
                    for family in (4, 6):
                        name = f"{algorithm}-{'esn-' if esn else ''}{family}in{outer}-{port}"
                        yield protect(name, algorithm, "tunnel", outer, inner(family, *inside[family]), esn, port)
                    whole = LOCAL[outer], REMOTE[outer]
                    name = f"{algorithm}-{'esn-' if esn else ''}transport{outer}-{port}"
                    yield protect(name, algorithm, "transport", outer, inner(outer, *whole), esn, port)
                    if not (port and outer == 6):
                        yield protect(name + "-extended", algorithm, "transport", outer, inner(outer, *whole, True), esn, port)
        if not is_ah:
            yield protect(f"{algorithm}-transport6-routing", algorithm, "transport", 6,
                          inner(6, LOCAL[6], REMOTE[6], "routing"))
    for tfc in (100, 101, 300):
        for outer in (4, 6):
            yield protect(f"tfc-{tfc}-{outer}", "aes-128-gcm-16", "tunnel", outer, inner(4, *inside[4]), tfc=tfc)
    for number, (df, dscp) in enumerate([("set", "copy"), ("clear", "copy"), ("set", 46), ("clear", 0), ("copy", 8)]):
        for family in (4, 6):
            for flag in (False, True):
                yield protect(f"marks-{number}-{family}-{flag}", "aes-128-gcm-16", "tunnel", 4,
                              inner(family, *inside[family], df=flag), df=df, dscp=dscp)


if __name__ == "__main__":
    path = pathlib.Path(__file__).resolve().parent / "packets.txt"
    path.write_text("".join(line + "\n" for line in packets()))
