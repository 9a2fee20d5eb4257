"""The power cut itself first: what it must keep, and that it catches programs that are wrong. Then the store."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from vpngw.gateway import ROOT
from vpngw.powerloss import PowerLoss

HAMMER = Path(os.environ.get("RESERVATION_HAMMER", ROOT / ".build" / "debug" / "reservation-hammer"))
SEED = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))


@pytest.fixture
def power(tmp_path: Path) -> PowerLoss:
    directory = tmp_path / "disk"
    directory.mkdir()
    return PowerLoss(directory, tmp_path / "log")


def run(power: PowerLoss, program: str, *arguments: object) -> str:
    """A Python program, followed, in the directory."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=power.directory, capture_output=True, text=True,
        env=os.environ | power.environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def outcomes(tmp_path: Path, program: str, cuts: int = 60) -> list[dict[str, bytes]]:
    """What `cuts` cuts after the program leave, each of a run of its own, by fixed seeds."""
    found = []
    for number in range(cuts):
        directory = tmp_path / f"disk{number}"
        directory.mkdir()
        power = PowerLoss(directory, tmp_path / f"log{number}")
        run(power, program)
        power.cut(Random(number))  # the same each time: these are about what can be
        found.append(files(directory))
    return found


EVERYTHING = """
import os, threading
os.mkdir("a", 0o700)
with open("a/one", "wb", buffering=0) as file:
    file.write(b"x" * 3000)
    os.pwrite(file.fileno(), b"y" * 100, 1000)
    os.writev(file.fileno(), [b"1" * 10, b"", b"2" * 2000])
    os.ftruncate(file.fileno(), 4500)
    os.pwritev(file.fileno(), [b"3" * 700, b"4" * 20], 6000)
    copy = os.dup(file.fileno())
os.write(copy, b"end")
os.fsync(copy)
with open("a/one", "ab", buffering=0) as file:
    file.write(b"appended")
os.rename("a/one", "a/two")
directory = os.open("a", os.O_RDONLY)
for name in ("three", "four"):
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory))
os.unlink("three", dir_fd=directory)
os.replace("four", "../five", src_dir_fd=directory, dst_dir_fd=directory)
os.fsync(directory)
open("a/two", "r+b").close()
open("gone", "wb").close()
os.unlink("gone")
os.mkdir("b")
os.rmdir("b")
def write(number):
    file = os.open(f"thread{number}", os.O_RDWR | os.O_CREAT)
    for place in range(200):
        os.pwrite(file, bytes([number]) * 37, place * 37)
threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with open("thread3", "wb", buffering=0) as file:
    file.write(b"from the beginning")
"""


def test_the_log_tells_all_that_was_done(power: PowerLoss) -> None:
    (power.directory / "before").write_bytes(b"was there")
    power.start_over()
    run(power, EVERYTHING)
    assert power.everything() == files(power.directory)
    assert len(files(power.directory)) == 11
    # And from there on again.
    power.cut(Random(SEED))
    assert power.everything() == files(power.directory)
    run(power, "open('more', 'wb', buffering=0).write(b'more')")
    assert power.everything() == files(power.directory)


@pytest.mark.parametrize("program", ["os.link('a', 'b')", "os.symlink('a', 'b')", "os.truncate('a', 3)",
                                     "os.posix_fallocate(1 and os.open('a', os.O_RDWR), 0, 99)",
                                     "os.rename('a', '/tmp/powerloss-elsewhere')"])
def test_what_is_not_followed_is_refused(power: PowerLoss, program: str) -> None:
    (power.directory / "a").write_bytes(b"a")
    power.start_over()
    run(power, "import os\n" + program)
    Path("/tmp/powerloss-elsewhere").unlink(missing_ok=True)
    with pytest.raises(RuntimeError, match="not followed"):
        power.cut(Random(SEED))


def test_what_was_synced_is_kept(tmp_path: Path) -> None:
    program = """
import os
os.mkdir("d")
file = os.open("d/kept", os.O_WRONLY | os.O_CREAT)
os.write(file, b"k" * 5000)
os.fsync(file)
os.fsync(os.open("d", os.O_RDONLY))
os.fsync(os.open(".", os.O_RDONLY))
os.write(file, b"u" * 5000)
os.rename("d/kept", "d/renamed")
"""
    found = outcomes(tmp_path, program)
    for content in found:
        assert len(content) == 1  # a rename happens or does not
        assert next(iter(content.values()))[:5000] == b"k" * 5000
    assert {next(iter(content)) for content in found} == {"d/kept", "d/renamed"}
    assert len({len(next(iter(content.values()))) for content in found}) > 5
    assert any(0 < next(iter(content.values()))[5000:].count(0) < 5000 for content in found)


def test_a_file_whose_directory_was_not_synced_may_be_gone(tmp_path: Path) -> None:
    """The mistake that is easy to make: fsync of the file alone."""
    program = """
import os
file = os.open("new", os.O_WRONLY | os.O_CREAT)
os.write(file, b"important")
os.fsync(file)
"""
    found = outcomes(tmp_path, program)
    assert {} in found and {"new": b"important"} in found
    assert len({tuple(content.items()) for content in found}) == 2


def test_a_replaced_file_that_was_not_synced_may_be_empty_or_the_old_one(tmp_path: Path) -> None:
    program = """
import os
def save(text, sync):
    with open("new", "wb", buffering=0) as file:
        file.write(text)
        if sync: os.fsync(file)
    os.rename("new", "file")
save(b"old", True)
os.fsync(os.open(".", os.O_RDONLY))
save(b"n" * 2000, False)
"""
    found = [content["file"] for content in outcomes(tmp_path, program)]
    assert b"old" in found and b"" in found and b"n" * 2000 in found


def test_a_file_that_was_unlinked_may_be_back(tmp_path: Path) -> None:
    program = """
import os
file = os.open("file", os.O_WRONLY | os.O_CREAT)
os.fsync(file), os.fsync(os.open(".", os.O_RDONLY))
os.unlink("file")
"""
    found = outcomes(tmp_path, program, 20)
    assert {} in found and {"file": b""} in found


COUNTER = """
import sqlite3, sys
db = sqlite3.connect("count.sqlite", isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute(f"PRAGMA synchronous = {sys.argv[1]}")
db.execute("CREATE TABLE IF NOT EXISTS count (value)")
first = db.execute("SELECT coalesce(max(value), 0) FROM count").fetchone()[0] + 1
for value in range(first, first + 200):
    db.execute("INSERT INTO count VALUES (?)", [value])
    print(value, flush=True)
"""


def losses(power: PowerLoss, synchronous: str, rounds: int, random: Random) -> int:
    """How often a counter in SQLite forgot a commit, or is no database any more, after a kill and a cut."""
    lost = 0
    for _ in range(rounds):
        for path in power.directory.iterdir():
            path.unlink()
        power.start_over()
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTER, synchronous], cwd=power.directory, stdout=subprocess.PIPE,
            env=os.environ | power.environment())
        seen = [int(process.stdout.readline()) for _ in range(random.randrange(1, 100))]
        process.kill()
        # A line that the kill cut short was not read by anybody.
        seen += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
        process.wait()
        power.cut(random)
        try:
            database = sqlite3.connect(power.directory / "count.sqlite")
            lost += database.execute("SELECT coalesce(max(value), 0) FROM count").fetchone()[0] < seen[-1]
        except sqlite3.Error:
            lost += 1
        finally:
            database.close()
    return lost


def test_sqlite_without_syncs_is_caught(power: PowerLoss) -> None:
    assert losses(power, "OFF", 12, Random(SEED)) > 0, SEED


def test_sqlite_with_full_syncs_loses_nothing(power: PowerLoss) -> None:
    assert losses(power, "FULL", 12, Random(SEED)) == 0, SEED


class Hammer:
    """Runs the hammer, kills it anywhere, and knows what it was granted."""

    def __init__(self, power: PowerLoss, random: Random):
        self.power, self.random = power, random
        self.highest: dict[str, int] = {}

    def run(self) -> None:
        process = subprocess.Popen(
            [HAMMER, self.power.directory / "state"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # A backtrace of what was killed in the middle of one would wait for ever.
            env=os.environ | self.power.environment() | {"SWIFT_BACKTRACE": "enable=no"})
        output = b""
        if self.random.random() < 0.4:
            # Somewhere in its start.
            time.sleep(self.random.random() * 0.05)
        else:
            for _ in range(self.random.randrange(1, 200)):
                line = process.stdout.readline()
                output += line
                if not line:
                    break
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, errors.decode()
        # A line that the kill cut short has no end, and nobody was told.
        for line in (output + rest).split(b"\n")[:-1]:
            name, first, last = line.decode().split()
            assert int(first) > self.highest.get(name, 0), f"{name}: {first} was granted before"
            self.highest[name] = int(last)

    def check_keys(self) -> None:
        """Each key that had a number is in keys-seen, which is what a reset goes by."""
        file = self.power.directory / "state" / "keys-seen"
        seen = set(file.read_text().split("\n")[:-1] if file.exists() else [])
        missing = [name for name in self.highest if name.startswith("key") and f"{int(name[3:]):064x}" not in seen]
        assert not missing, f"not in keys-seen: {missing}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.long)])
def test_no_number_is_granted_twice_whatever_a_power_cut_leaves(power: PowerLoss, rounds: int) -> None:
    if not HAMMER.exists():
        pytest.skip(f"{HAMMER} is missing: swift build --build-tests")
    random = Random(SEED)
    hammer = Hammer(power, random)
    granted = 0
    for number in range(rounds):
        try:
            # Often from nothing: what is made at the first start is as much at risk as what is changed later.
            if random.random() < 0.4:
                shutil.rmtree(power.directory / "state", ignore_errors=True)
                power.start_over()
                hammer = Hammer(power, random)
            hammer.run()
            power.cut(random)
            hammer.check_keys()
        except AssertionError as error:
            raise AssertionError(f"VPN_GW_SEED={SEED}, round {number}: {error}") from error
        granted += len(hammer.highest)
    assert granted > rounds
