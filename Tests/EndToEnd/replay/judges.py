"""Implementations that are not ours, as the tests call them."""

from __future__ import annotations

import logging
import subprocess
from collections import Counter
from pathlib import Path

from vpngw.site import Tunnel

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers.inet import IP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.ipsec import ESP, SecurityAssociation  # noqa: E402


class Scapy:
    """One SA of a tunnel in scapy's hands. Knows nothing of replay; that is for other judges."""

    def __init__(self, spi: int, key: bytes, source: str, destination: str) -> None:
        outer = IPv6 if ":" in source else IP
        self._association = SecurityAssociation(
            ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key, tunnel_header=outer(src=source, dst=destination)
        )

    @classmethod
    def outbound(cls, tunnel: Tunnel) -> Scapy:
        """What this end of the tunnel sends under."""
        return cls(tunnel.outbound_spi, tunnel.outbound_key, tunnel.local_address, tunnel.remote_address)

    @classmethod
    def inbound(cls, tunnel: Tunnel) -> Scapy:
        """What this end of the tunnel receives under."""
        return cls(tunnel.inbound_spi, tunnel.inbound_key, tunnel.remote_address, tunnel.local_address)

    def decrypt(self, outer: bytes) -> bytes:
        """The inner packet; raises when the ICV does not hold."""
        return bytes(self._association.decrypt(_parse(outer)))

    def encrypt(self, inner: bytes, sequence: int) -> bytes:
        """The outer packet. The inner one goes in as it is: scapy must not repair what a test broke."""
        packet = _parse(inner)
        assert bytes(packet) == inner
        return bytes(self._association.encrypt(packet, seq_num=sequence))


def _parse(packet: bytes) -> IP | IPv6:
    return IPv6(packet) if packet[0] >> 4 == 6 else IP(packet)


def tshark(path: Path, tunnels: list[Tunnel], fields: list[str], *, display_filter: str = "") -> list[list[str]]:
    """The fields of every frame, with ESP of both directions of the tunnels decrypted and its ICV checked."""
    command = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-o",
        "esp.enable_encryption_decode:TRUE",
        "-o",
        "esp.enable_authentication_check:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        # Random data looks like RTCP, GRE or STT now and then, whose dissectors then give up on the whole frame.
        "--disable-protocol",
        "udp",
        "--disable-protocol",
        "tcp",
        "--disable-protocol",
        "icmp",
        "--disable-protocol",
        "stt",
        "-E",
        "occurrence=a",
    ]
    for tunnel in tunnels:
        for source, destination, spi, key in (
            (tunnel.local_address, tunnel.remote_address, tunnel.outbound_spi, tunnel.outbound_key),
            (tunnel.remote_address, tunnel.local_address, tunnel.inbound_spi, tunnel.inbound_key),
        ):
            command += [
                "-o",
                f'uat:esp_sa:"IPv4","{source}","{destination}","{spi:#010x}",'
                f'"AES-GCM with 16 octet ICV [RFC4106]","0x{key.hex()}","NULL",""',
            ]
    if display_filter:
        command += ["-Y", display_filter]
    for name in fields:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
    return [line.split("\t") for line in done.stdout.splitlines()]


def tally(rows: list[list[str]]) -> Counter[tuple[str, ...]]:
    """How often each combination of fields occurs."""
    return Counter(map(tuple, rows))
