"""Ten thousand tunnels with a hundred thousand SAs in one gateway: it starts, sends under each, and starts again."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
from pathlib import Path
from random import Random

import pytest

from vpngw.gateway import BINARY
from vpngw.live import One
from vpngw.network import wait_until
from vpngw.site import Child, Tunnel
from vpngw.wiretap import Wiretap, esp, is_esp

TUNNELS, PAIRS = 10_000, 5
MOST_MAPPINGS = 5_000
"""Of memory: a mapping for each key would be more than the kernel allows, 65 530."""


def block(number: int) -> str:
    return f"11.{number >> 8}.{number & 255}.0/24"


def spi(tunnel: int, pair: int) -> int:
    return 0x10000 + 2 * (tunnel * PAIRS + pair)


def tunnels(rng: Random) -> list[Tunnel]:
    made = []
    for number in range(TUNNELS):
        children = [
            Child(spi(number, pair), spi(number, pair) + 1, None, rng.randbytes(20), rng.randbytes(20))
            for pair in range(1, PAIRS)]
        made.append(Tunnel(
            f"t{number}", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], [block(number)], spi(number, 0),
            spi(number, 0) + 1, rng.randbytes(20), rng.randbytes(20), children=children))
    return made


def reserved(directory: Path) -> tuple[int, int, int]:
    """Of the state on disk: SAs with sequence numbers, SAs with a ceiling, and keys with IVs."""
    store = sqlite3.connect(directory / "sa-store.sqlite")
    try:
        return tuple(store.execute(f"SELECT count(*) FROM {what}").fetchone()[0] for what in (
            "security_associations WHERE sequence_reserved > 0", "security_associations WHERE replay_ceiling > 0",
            "initialization_vectors"))
    finally:
        store.close()


def reload(one: One, tunnels: list[Tunnel]) -> str:
    """What the gateway says it did with its SAs."""
    one.site.tunnels = tunnels
    said = subprocess.run(
        [BINARY, "reload", "--config", one.site.write()], capture_output=True, text=True, timeout=150, check=True)
    return next(line for line in said.stdout.splitlines() if line.startswith("SA pairs: ")).removeprefix("SA pairs: ")


@pytest.mark.timeout(300)
def test_a_hundred_thousand_sas(one: One):
    one.network.host("peer", "192.0.2.2/24")
    one.site.tunnels = everything = tunnels(Random(1))
    chosen = [0, 1, TUNNELS // 2, TUNNELS - 1]
    wire = Wiretap(one.network, "peer", "eth0", octets=96)
    numbers: dict[int, int] = {}
    for _ in range(2):
        gateway = one.run()
        gateway.wait_for(" runs: workers on core(s)", 60)
        assert reserved(one.site.directory / "gw-state") == (TUNNELS * PAIRS,) * 3
        mappings = len(Path(f"/proc/{gateway.process.pid}/maps").read_text().splitlines())
        assert mappings < MOST_MAPPINGS, mappings
        sender = one.network.socket("host", socket.AF_INET, socket.SOCK_DGRAM)
        for number in chosen:
            sender.sendto(b"?", (f"11.{number >> 8}.{number & 255}.7", 9))
        sent: dict[int, int] = {}

        def take() -> bool:
            for packet in (esp(frame) for frame in wire.fresh() if is_esp(frame)):
                sent[packet.spi] = packet.sequence_number
            return sent.keys() >= {spi(number, 0) for number in chosen}

        wait_until(take, lambda: f"{sent}\n{gateway.show('drops')}")
        assert sent.keys() == {spi(number, 0) for number in chosen}
        # A run does not repeat a number of the one before.
        assert all(sent[each] > numbers.get(each, 0) for each in sent), (numbers, sent)
        numbers = sent
        # The file says where the gateway is, however large it is; the answer takes as long as it takes.
        few, all_but_few = PAIRS, (TUNNELS - 1) * PAIRS
        assert reload(one, everything) == f"{few + all_but_few} unchanged, 0 installed, 0 removed"
        assert reload(one, everything[:1]) == f"{few} unchanged, 0 installed, {all_but_few} removed"
        assert reload(one, everything) == f"{few} unchanged, {all_but_few} installed, 0 removed"
        gateway.stop(seconds=60)
