"""A state directory that fails: an SA stops or the gateway does not start, says why, and never counts from below.

Every ESP packet on the wire of all runs of a test is in a ledger: whatever happened in between, the next good start
goes on above.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from vpngw.clock import standing_still, wrong_by
from vpngw.gateway import command
from vpngw.ledger import NonceLedger
from vpngw.live import TRAFFIC, LiveGateway, One, blast
from vpngw.network import wait_until
from vpngw.site import Tunnel
from vpngw.wiretap import Wiretap

DAY = 86_400


class Ward:
    """A gateway with two tunnels, whose wire is watched. Its clock stands still unless a test says otherwise."""

    def __init__(self, one: One):
        self.one, self.network, self.site = one, one.network, one.site
        self.network.host("peer", "192.0.2.2/24")
        self.site.tunnels.append(
            Tunnel("other", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.3.0/24"], 0x1002, 0x2002))
        self.state = self.site.directory / "gw-state"
        self.clock = standing_still(int(time.time()))
        self.wire = Wiretap(self.network, "peer", "eth0", octets=64)
        self.ledger = NonceLedger({tunnel.outbound_spi: tunnel.outbound_key for tunnel in self.site.tunnels})

    def start(self, clock: dict[str, str] | None = None) -> LiveGateway:
        return self.one.run(**(self.clock if clock is None else clock)).wait_running()

    def refused(self, *texts: str, clock: dict[str, str] | None = None, leaves: bool = True) -> None:
        """A start that ends with 74, its reason and the way out. It `leaves` the disk as it was, unless the store
        itself was good: SQLite then takes over what a kill left in its -wal."""
        before = self.files()
        run = self.one.run(**(self.clock if clock is None else clock)).ended()
        assert run.code == 74, run.stderr
        for text in texts:
            assert text in run.stderr, run.stderr
        if leaves:
            assert self.files() == before

    def files(self) -> dict[str, bytes]:
        """What is in the state directory; without the index of the -wal, which whoever opens it makes anew, and without
        a -wal that has nothing."""
        files = {path.name: path.read_bytes() for path in self.state.iterdir() if not path.name.endswith("-shm")}
        return {name: octets for name, octets in files.items() if octets or not name.endswith("-wal")}

    def sends(self, gateway: LiveGateway, spi: int = 0x1001, count: int = 12) -> None:
        """So many packets more under an SA (a neighbor that is asked for may let 16 wait), and no nonce twice."""
        before = outbound(gateway, spi)["packets"]
        address = "10.0.2.10" if spi == 0x1001 else "10.0.3.10"
        blast(self.network, "host", address, count)
        wait_until(lambda: outbound(gateway, spi)["packets"] >= before + count, lambda: f"{gateway.show('report')}")
        self.look()

    def look(self) -> None:
        self.ledger.take(self.wire.fresh(), self.site.directory)

    def end(self, least: int) -> None:
        """After the last run: everything that was on the wire."""
        self.ledger.take(self.wire.stop(), self.site.directory)
        assert self.ledger.count >= least


@pytest.fixture
def ward(one: One) -> Ward:
    return Ward(one)


@pytest.fixture
def disk(ward: Ward) -> Iterator[Path]:
    """The state directory is a small disk of its own."""
    ward.state.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", ward.state], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield ward.state
    finally:
        subprocess.run(["umount", "-l", ward.state], check=True)


def outbound(gateway: LiveGateway, spi: int) -> dict:
    association, = (sa for sa in gateway.show("sa")["sas"] if sa["spi"] == f"0x{spi:08x}")
    return association


def test_full_disk_stops_what_has_no_numbers_left(ward: Ward, disk: Path):
    gateway = ward.start()
    ward.sends(gateway, 0x1001)
    ward.sends(gateway, 0x1002)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))

    flood = ward.network.start(
        "host", sys.executable, TRAFFIC, "number", "10.0.2.10", 9, 200_000, log=ward.site.directory / "flood.log")
    def exhausted() -> int:
        ward.look()
        return gateway.show("drops")["drops"].get("sequence_exhausted", 0)
    wait_until(exhausted, lambda: f"{gateway.show('report')}", 90)
    stopped = outbound(gateway, 0x1001)
    assert stopped["sequence_number"] == stopped["sequence_numbers_granted"] == 1 << 18
    # The other SA has numbers left.
    ward.sends(gateway, 0x1002)
    assert outbound(gateway, 0x1001)["packets"] == stopped["packets"]
    said = [line for line in gateway.log.read_text().splitlines() if "sa-store.sqlite" in line]
    assert said and all("disk is full" in line and "see that the disk has room" in line for line in said), said
    assert len(said) < 20, "the log fills another disk"

    filler.unlink()
    # By itself.
    wait_until(lambda: outbound(gateway, 0x1001)["packets"] > stopped["packets"], lambda: f"{gateway.show('report')}")
    flood.kill()
    ward.sends(gateway, 0x1002)
    gateway.stop()
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    ward.end(1 << 18)


def test_no_start_on_a_full_disk(ward: Ward, disk: Path):
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    ward.refused("see that the disk has room")
    filler.unlink()
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    ward.end(24)


def test_read_only_directory(ward: Ward, disk: Path):
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    ward.refused("Read-only file system", "The state directory must be one that vpn-gw may write")
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    ward.end(24)


DAMAGE = {
    "octets changed": lambda path, random: path.write_bytes(changed(path.read_bytes(), random)),
    "cut short": lambda path, random: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path, random: os.truncate(path, 0),
    "gone": lambda path, random: path.unlink(),
    "no database": lambda path, random: path.write_bytes(random.randbytes(path.stat().st_size)),
}


def changed(octets: bytes, random: Random) -> bytes:
    """With every page's first octets, which say what it is, something else; for single octets the store has tests."""
    pages = bytearray(octets)
    for start in range(4096, len(pages), 4096):
        pages[start:start + 16] = random.randbytes(16)
    return bytes(pages)


def test_damaged_store(ward: Ward, tmp_path: Path):
    seed = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))
    print(f"seed {seed}")
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    good = tmp_path / "good"
    shutil.copytree(ward.state, good)
    for damage in DAMAGE.values():
        damage(ward.state / "sa-store.sqlite", Random(seed))
        ward.refused("sa-store.sqlite", "vpn-gw state reset", "vpn-gw keygen")
        shutil.rmtree(ward.state)
        shutil.copytree(good, ward.state)
    gateway = ward.start()
    ward.sends(gateway)
    gateway.kill()
    # The way out: these keys are refused from now on, whatever is in the store.
    (ward.state / "sa-store.sqlite").unlink()
    ward.refused("vpn-gw state reset")
    reset = command("state", "reset", "--config", ward.site.write())
    assert reset.code == 0 and "4 key(s) were used here and are refused" in reset.stdout, reset
    ward.refused("make new keys for both ends with `vpn-gw keygen`", leaves=False)
    ward.end(24)


def test_clock_that_goes_back(ward: Ward):
    gateway = ward.start({})
    ward.sends(gateway)
    gateway.kill()
    ward.refused("last written at", "Set the clock (timedatectl)", "vpn-gw state adopt", clock=wrong_by(-DAY),
                 leaves=False)
    # As clocks do that are kept right.
    gateway = ward.start(wrong_by(-30))
    ward.sends(gateway)
    gateway.kill()
    # It was wrong before, not now: that can't be told, and there is a way out.
    gateway = ward.start(wrong_by(DAY))
    ward.sends(gateway)
    gateway.kill()
    ward.refused("vpn-gw state adopt", clock={}, leaves=False)
    adopt = command("state", "adopt", "--config", ward.site.write())
    assert adopt.code == 0, adopt.stderr
    gateway = ward.start({})
    ward.sends(gateway)
    gateway.stop()
    ward.end(48)


def test_second_gateway_on_a_state_directory(ward: Ward):
    first = ward.start()
    ward.sends(first)
    second = ward.one.run(**ward.clock).ended()
    assert second.code == 74, second.stderr
    assert "another vpn-gw uses this state directory" in second.stderr
    assert "Stop it, or give this one a state_directory of its own" in second.stderr
    ward.sends(first)  # which does not bother it
    first.kill()
    gateway = ward.start()
    ward.sends(gateway)
    gateway.stop()
    ward.end(36)
