"""Site files for tests: a Site is written down as a user would write it, with only what a test wants to be different."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass
class Port:
    name: str
    role: str
    addresses: list[str]
    device: str = "net_null0"
    mtu_octets: int = 1500
    extra: str = ""


@dataclass
class Child:
    """A further pair of SAs of a tunnel. `not_before` is in seconds since 1970."""

    outbound_spi: int
    inbound_spi: int
    not_before: int | None = None
    outbound_key: bytes = field(default_factory=lambda: secrets.token_bytes(20))
    inbound_key: bytes = field(default_factory=lambda: secrets.token_bytes(20))

    def reversed(self) -> Child:
        return Child(self.inbound_spi, self.outbound_spi, self.not_before, self.inbound_key, self.outbound_key)

    def text(self) -> list[str]:
        lines = ["[[tunnel.child]]"]
        if self.not_before is not None:
            lines.append(f"not_before = {datetime.fromtimestamp(self.not_before, UTC):%Y-%m-%dT%H:%M:%SZ}")
        return lines + [
            f'outbound = {{ spi = {self.outbound_spi:#x}, key = "0x{self.outbound_key.hex()}" }}',
            f'inbound = {{ spi = {self.inbound_spi:#x}, key = "0x{self.inbound_key.hex()}" }}']


@dataclass
class Tunnel:
    """One tunnel as this end sees it. Keys are 20 octets: AES key, then salt."""

    name: str
    local_address: str
    remote_address: str
    local_subnets: list[str]
    remote_subnets: list[str]
    outbound_spi: int
    inbound_spi: int
    outbound_key: bytes = field(default_factory=lambda: secrets.token_bytes(20))
    inbound_key: bytes = field(default_factory=lambda: secrets.token_bytes(20))
    replay_window_packets: int = 1024
    children: list[Child] = field(default_factory=list)
    lifetime: dict[str, int] = field(default_factory=dict)
    """`soft_lifetime_packets` and the like: this end's."""
    keys: dict[str, object] = field(default_factory=dict)
    """Further keys of the tunnel's table, the same at both ends: `mode`, `algorithm`, …"""

    def pairs(self) -> list[Tunnel]:
        """A tunnel for each pair of SAs, its own first, with nothing but that pair."""
        pairs = [(self.outbound_spi, self.inbound_spi, self.outbound_key, self.inbound_key)]
        pairs += [(child.outbound_spi, child.inbound_spi, child.outbound_key, child.inbound_key)
                  for child in self.children]
        return [
            Tunnel(self.name, self.local_address, self.remote_address, self.local_subnets, self.remote_subnets, *pair)
            for pair in pairs]

    def reversed(self, name: str | None = None) -> Tunnel:
        """The same tunnel as the other end sees it."""
        return Tunnel(
            name or self.name, self.remote_address, self.local_address, self.remote_subnets, self.local_subnets,
            self.inbound_spi, self.outbound_spi, self.inbound_key, self.outbound_key, self.replay_window_packets,
            [child.reversed() for child in self.children], keys=self.keys)


@dataclass
class Site:
    name: str
    directory: Path
    ports: list[Port]
    tunnels: list[Tunnel] = field(default_factory=list)
    routes: list[tuple[str, str]] = field(default_factory=list)
    neighbors: list[tuple[str, str, str]] = field(default_factory=list)
    policies: list[dict] = field(default_factory=list)
    worker_cores: list[int] = field(default_factory=lambda: [0])
    huge_pages: bool = False
    # Lines of [gateway], and of [dpdk].
    extra: str = ""
    dpdk: str = ""
    punt: dict[str, object] = field(default_factory=dict)

    def text(self) -> str:
        lines = [
            "[gateway]", f'name = "{self.name}"', f'state_directory = "{self.directory / (self.name + "-state")}"',
            f'control_socket = "{self.directory / (self.name + ".sock")}"', self.extra, "", "[dpdk]",
            f"worker_cores = {self.worker_cores}", f"huge_pages = {str(self.huge_pages).lower()}", self.dpdk]
        for port in self.ports:
            lines += [
                "", "[[port]]", f'name = "{port.name}"', f'role = "{port.role}"', f'device = "{port.device}"',
                f"addresses = {_list(port.addresses)}", f"mtu_octets = {port.mtu_octets}", port.extra]
        if self.punt:
            lines += ["", "[punt]", *(f"{key} = {_value(value)}" for key, value in self.punt.items())]
        for destination, via in self.routes:
            lines += ["", "[[route]]", f'destination = "{destination}"', f'via = "{via}"']
        for port, address, mac in self.neighbors:
            lines += ["", "[[neighbor]]", f'port = "{port}"', f'address = "{address}"', f'mac = "{mac}"']
        for tunnel in self.tunnels:
            lines += [
                "", "[[tunnel]]", f'name = "{tunnel.name}"', f'local_address = "{tunnel.local_address}"',
                f'remote_address = "{tunnel.remote_address}"',
                *([f"local_subnets = {_list(tunnel.local_subnets)}"] if tunnel.local_subnets else []),
                *([f"remote_subnets = {_list(tunnel.remote_subnets)}"] if tunnel.remote_subnets else []),
                *(f"{key} = {_value(value)}" for key, value in (tunnel.lifetime | tunnel.keys).items()),
                "[tunnel.outbound]",
                f"spi = {tunnel.outbound_spi:#x}", f'key = "0x{tunnel.outbound_key.hex()}"', "[tunnel.inbound]",
                f"spi = {tunnel.inbound_spi:#x}", f'key = "0x{tunnel.inbound_key.hex()}"',
                f"replay_window_packets = {tunnel.replay_window_packets}"]
            for child in tunnel.children:
                lines += child.text()
        for policy in self.policies:
            lines += ["", "[[policy]]"]
            lines += [f"{key} = {_value(value)}" for key, value in policy.items()]
        return "\n".join(lines) + "\n"

    def write(self) -> Path:
        """Writes the site file, readable by its owner alone, and returns its path."""
        path = self.directory / f"{self.name}.toml"
        path.touch(mode=0o600)
        path.write_text(self.text())
        return path


def _list(values: list[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _value(value) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
