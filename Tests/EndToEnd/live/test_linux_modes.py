"""Every kind of SA against a Linux kernel (User-Mode Linux), all in one run: a tunnel each, with inner addresses of its own.

    … wan -- bridge -- guest 192.0.2.2, fd00:ff::2, and 10.2.N.10, fd00:2:N::10 of mode N
"""

from __future__ import annotations

import ipaddress
import secrets
import sys
from dataclasses import dataclass, field

import pytest

from vpngw.guest import GUEST, HOST, INTERFACE, LOCAL, SUBNET, Guest, make_guest_site, skip_without_guests
from vpngw.live import TRAFFIC, echo
from vpngw.network import Network
from vpngw.site import Tunnel
from vpngw.wiretap import Wiretap

GCM = "aead rfc4106(gcm(aes)) {key} {bits}"
GMAC = "aead rfc4543(gcm(aes)) {key} {bits}"
CHACHA = "aead rfc7539esp(chacha20,poly1305) {key} {bits}"
SHA256 = "auth-trunc hmac(sha256) {key} {bits}"
OCTETS = 200_000  # of each TCP transfer


@dataclass
class Mode:
    """A kind of SA: the gateway's words for it, and the kernel's."""

    name: str
    algorithm: str = "aes-128-gcm-16"
    key_octets: int = 20
    kernel: str = GCM
    icv_bits: int = 128
    outer: int = 4
    families: tuple[int, ...] = (4, 6)
    keys: dict[str, object] = field(default_factory=dict)
    state: str = ""
    """Further words of both of the kernel's SAs."""
    outbound_state: str = ""
    """Further words of the SA that the kernel sends under."""

    @property
    def protocol(self) -> str:
        return "ah" if self.algorithm.startswith("ah-") else "esp"

    @property
    def is_transport(self) -> bool:
        return self.keys.get("mode") == "transport"


ESN = {"extended_sequence_numbers": True}
NAT = {"nat_traversal": True}
MODES = [
    Mode("aes-128-gcm-16"),
    Mode("aes-256-gcm-16", "aes-256-gcm-16", 36),
    Mode("icv-12", "aes-128-gcm-12", icv_bits=96),
    Mode("icv-8", "aes-128-gcm-16", icv_bits=64, keys={"icv_octets": 8}),
    Mode("chacha20-poly1305", "chacha20-poly1305", 36, CHACHA),
    Mode("aes-128-gmac", "aes-128-gmac", 20, GMAC),
    Mode("esn", keys=ESN),
    Mode("esn-wrap", "aes-256-gcm-16", 36, keys=ESN, outbound_state="replay-oseq 0xfffffffa"),
    Mode("esn-gmac", "aes-128-gmac", 20, GMAC, keys=ESN),
    Mode("ipv6-outer", outer=6),
    Mode("ipv6-outer-esn-chacha", "chacha20-poly1305", 36, CHACHA, outer=6, keys=ESN),
    Mode("nat", keys=NAT, state="encap espinudp 4500 4500 0.0.0.0"),
    Mode("nat-esn", keys=NAT | ESN, state="encap espinudp 4500 4500 0.0.0.0"),
    Mode("nat-ipv6", outer=6, keys=NAT, state="encap espinudp 4500 4500 ::"),
    Mode("ah", "ah-hmac-sha2-256-128", 32, SHA256),
    Mode("ah-esn", "ah-hmac-sha2-256-128", 32, SHA256, keys=ESN),
    Mode("ah-ipv6", "ah-hmac-sha2-256-128", 32, SHA256, outer=6),
    Mode("dscp-df", keys={"df": "clear", "dscp": 46, "clamp_mss": True}),
    Mode("tfc", keys={"tfc_padding_octets": 600}),
    Mode("transport", keys={"mode": "transport"}, families=(4,)),
    Mode("transport-ipv6", outer=6, keys={"mode": "transport"}, families=(6,)),
]


def inner(number: int, family: int) -> str:
    return f"10.2.{number}.10" if family == 4 else f"fd00:2:{number:x}::10"


def block(number: int, family: int) -> str:
    return f"10.2.{number}.0/24" if family == 4 else f"fd00:2:{number:x}::/64"


def tunnel(number: int, mode: Mode) -> Tunnel:
    families = () if mode.is_transport else mode.families
    local = HOST[mode.outer] if mode.is_transport else LOCAL[mode.outer]
    return Tunnel(
        mode.name, local, GUEST[mode.outer], [SUBNET[family] for family in families],
        [block(number, family) for family in families], 0x1000 + number, 0x2000 + number,
        secrets.token_bytes(mode.key_octets), secrets.token_bytes(mode.key_octets),
        keys={"algorithm": mode.algorithm} | mode.keys)


def guest_commands(number: int, mode: Mode, tunnel: Tunnel) -> list[str]:
    """What `ip` is told in the guest."""
    here, there = GUEST[mode.outer], tunnel.local_address
    protocol, kind = mode.protocol, "transport" if mode.is_transport else "tunnel"
    # af-unspec lets either family travel in the tunnel.
    flags = ["flag esn"] * ("extended_sequence_numbers" in mode.keys) + ["flag af-unspec"] * (not mode.is_transport)
    # Without align4 the kernel wants AH over IPv4 in units of 8 octets, not of 4 as RFC 4302 section 2.2 has it.
    flags += ["flag align4"] * (mode.protocol == "ah" and mode.outer == 4)
    words = " ".join([*flags, mode.state])

    def sa(source: str, destination: str, spi: int, key: bytes, further: str) -> str:
        transform = mode.kernel.format(key=f"0x{key.hex()}", bits=mode.icv_bits)
        return (f"xfrm state add src {source} dst {destination} proto {protocol} spi {spi:#x} reqid {number} mode {kind} "
                f"replay-window 64 {further} {transform} {words}")

    lines = [
        sa(here, there, tunnel.inbound_spi, tunnel.inbound_key, mode.outbound_state),
        sa(there, here, tunnel.outbound_spi, tunnel.outbound_key, ""),
    ]
    for family in mode.families:
        ours = GUEST[family] if mode.is_transport else block(number, family)
        theirs = HOST[family] if mode.is_transport else SUBNET[family]
        if not mode.is_transport:
            lines.append(f"address add {inner(number, family)}/{32 if family == 4 else 128} dev lo"
                         + (" nodad" if family == 6 else ""))
        template = f"proto {protocol} reqid {number} mode {kind}"
        outer = "" if mode.is_transport else "src {} dst {} "
        lines.append(f"xfrm policy add src {ours} dst {theirs} dir out tmpl {outer.format(here, there)}{template}")
        lines.append(f"xfrm policy add src {theirs} dst {ours} dir in tmpl {outer.format(there, here)}{template}")
    return lines


def outer(frame: bytes) -> tuple[str, str]:
    """Source and protocol of a frame, by its outermost IP header."""
    names = {50: "esp", 51: "ah", 17: "udp", 58: "icmpv6"}
    match frame[12:14]:
        case b"\x08\x00":
            return str(ipaddress.ip_address(frame[26:30])), names.get(frame[23], str(frame[23]))
        case b"\x86\xdd":
            return str(ipaddress.ip_address(frame[22:38])), names.get(frame[20], str(frame[20]))
    return "", "arp"


@pytest.mark.timeout(300)
def test_linux_kernel_takes_every_kind_of_sa(network: Network):
    skip_without_guests()
    tunnels = [tunnel(number, mode) for number, mode in enumerate(MODES, 1)]
    guest_site = make_guest_site(network, tunnels, (4, 6))
    gateway = guest_site.start()
    wire = Wiretap(network, "gw", INTERFACE)
    commands = [f"address add {GUEST[4]}/24 dev eth0", f"-6 address add {GUEST[6]}/64 dev eth0 nodad",
                f"route add {SUBNET[4]} via {LOCAL[4]}", f"-6 route add {SUBNET[6]} via {LOCAL[6]}"]
    for number, mode in enumerate(MODES, 1):
        commands += guest_commands(number, mode, tunnels[number - 1])
    guest = Guest.set_up_by(network, "gw", commands, 6000 + sum(len(mode.families) for mode in MODES))

    port, failures = 6000, []
    for number, mode in enumerate(MODES, 1):
        for family in mode.families:
            port += 1
            address = GUEST[family] if mode.is_transport else inner(number, family)
            try:
                echo(network, "host", address, 0, 40, "nudge")
                echo(network, "host", address, 1300, 1360, "nudge")
                said = network.run(
                    "host", sys.executable, TRAFFIC, "send", address, port, OCTETS, timeout=60).split()
                assert guest.wait_for(said[2]).split()[:2] == ["received", str(OCTETS)]
            except AssertionError as error:
                failures.append(f"{mode.name}, inner IPv{family}: {error}")
    if failures:
        pytest.fail("\n".join(failures) + f"\n{gateway.show('report')}")
    network.run("host", sys.executable, TRAFFIC, "send", inner(1, 4), 6000, 1, timeout=60)
    guest.wait_for("guest: end")

    guest.assert_no_errors(2 * len(MODES))
    report = gateway.stop()
    guest.stop()
    # The guest's kernel talks to multicast groups unasked.
    assert report["drops"].keys() <= {"packet_too_big", "not_for_us", "no_policy", "martian"}, report["drops"]
    for sa in report["sas"]:
        assert sa["packets"] > 100, sa
    frames = wire.stop()
    ours = {LOCAL[4], LOCAL[6], *HOST.values()}
    protocols = {protocol for source, protocol in map(outer, frames) if source in ours}
    assert protocols <= {"esp", "ah", "udp", "arp", "icmpv6"}, protocols
