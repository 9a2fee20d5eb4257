"""What a user types: options, exit codes, and the forms that scripts read."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from vpngw.gateway import BINARY, ROOT, command

ROW_KEYS = {
    "path", "direction", "inner_octets", "associations", "workers", "cycles_per_packet_median",
    "cycles_per_packet_min", "io_floor_cycles", "cycles_per_octet", "packets_per_second", "inner_bits_per_second",
    "joules_per_gigabyte"}


@pytest.mark.parametrize("arguments", [
    ["--config"], ["frobnicate"], ["pcap", "--config", "x.toml"], ["pcap", "--config", "x.toml", "--in", "lan"],
    ["bench", "--sizes", "7"], ["bench", "--direction", "up"], ["bench", "--path", "sideways"],
    ["keygen", "--near", "a"], ["keygen", "--algorithm", "des"],
    ["state", "log"], ["state", "show", "--directory", "x", "--config", "y"],
    ["state", "log", "--directory", "x", "--last", "0"]])
def test_a_wrong_command_line_is_64(arguments: list[str]) -> None:
    result = command(*arguments)
    assert result.code == 64
    assert result.stderr


def test_an_absent_site_is_66(tmp_path: Path) -> None:
    for verb in (["check"], ["run"], []):
        result = command(*verb, "--config", tmp_path / "absent.toml")
        assert result.code == 66
        assert "absent.toml" in result.stderr + result.stdout


@pytest.mark.parametrize("site", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_check_resolves_every_example(site: Path) -> None:
    text = command("check", "--config", site)
    assert text.code == 0, text.stdout
    assert "inner MTU" in text.stdout
    report = json.loads(command("check", "--config", site, "--json").stdout)
    assert report


def test_check_tells_all_problems_at_once(tmp_path: Path) -> None:
    site = tmp_path / "bad.toml"
    site.write_text('[gateway]\nname = "x"\ncolour = "red"\n\n[[port]]\nname = "lan"\nrole = "inside"\nmtu_octets = 9\n')
    result = command("check", "--config", site)
    assert result.code == 78
    for word in ("colour", "role", "mtu_octets"):
        assert word in result.stdout
    assert "bad.toml:3" in result.stdout


def test_bench_prints_the_rows_of_the_contract() -> None:
    rows = json.loads(command("bench", "--sizes", "64", "--format", "json").stdout)
    assert [row["direction"] for row in rows] == ["encap", "decap", "both"]
    for row in rows:
        assert set(row) == ROW_KEYS
        assert row["joules_per_gigabyte"] is None
        assert row["cycles_per_packet_min"] <= row["cycles_per_packet_median"]
    table = list(csv.DictReader(io.StringIO(command("bench", "--sizes", "imix", "--format", "csv").stdout)))
    assert [row["direction"] for row in table] == ["encap", "decap", "both"]
    assert set(table[0]) == ROW_KEYS


def test_keygen_writes_both_ends_and_never_overwrites(tmp_path: Path) -> None:
    arguments = ["keygen", "--near", "here", "--far", "there", "--directory", tmp_path / "keys"]
    assert command(*arguments).code == 0
    files = sorted((tmp_path / "keys").rglob("*.key"))
    assert [str(path.relative_to(tmp_path / "keys")) for path in files] == [
        "here/there-in.key", "here/there-out.key", "there/here-in.key", "there/here-out.key"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert files[0].read_text() == files[3].read_text() != files[1].read_text() == files[2].read_text()
    again = command(*arguments)
    assert again.code == 73
    assert "overwritten" in again.stderr


@pytest.mark.parametrize(("algorithm", "digits"), [
    ("aes-128-gcm-16", 40), ("aes-128-gcm-12", 40), ("aes-128-gcm-8", 40), ("aes-256-gcm-16", 72),
    ("aes-256-gcm-12", 72), ("aes-256-gcm-8", 72), ("chacha20-poly1305", 72), ("aes-128-gmac", 40),
    ("aes-256-gmac", 72), ("ah-hmac-sha2-256-128", 64), ("ah-aes-128-gmac", 40)])
def test_keygen_makes_keys_for_every_algorithm(algorithm: str, digits: int, tmp_path: Path) -> None:
    keys = [command("keygen", "--algorithm", algorithm).stdout for _ in range(2)]
    assert keys[0] != keys[1]
    for key in keys:
        assert re.fullmatch(r"0x[0-9a-f]+\n", key)
        assert len(key) == len("0x\n") + digits
    arguments = ["keygen", "--algorithm", algorithm, "--near", "a", "--far", "b", "--directory", tmp_path / "keys"]
    assert command(*arguments).code == 0
    files = sorted((tmp_path / "keys").rglob("*.key"))
    assert [len(file.read_text()) for file in files] == 4 * [len("0x\n") + digits]


def test_keygen_makes_a_key_of_the_usual_algorithm_unasked() -> None:
    assert re.fullmatch(r"0x[0-9a-f]{40}\n", command("keygen").stdout)


def test_keygen_knows_what_a_misspelled_algorithm_was_meant_to_be() -> None:
    result = command("keygen", "--algorithm", "aes-256-gcm16")
    assert result.code == 64
    assert "did you mean aes-256-gcm-16?" in result.stderr
    assert "ah-hmac-sha2-256-128" in command("keygen", "--algorithm", "des").stderr


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL, signal.SIGABRT], ids=lambda number: number.name)
def test_a_crash_prints_no_memory(number: signal.Signals) -> None:
    """The Swift runtime's crash report shows registers and what they point at, which may be a key."""
    process = subprocess.Popen([BINARY, "bench"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Its own handlers are in place once the program has begun; a process that has DPDK's threads has.
    tasks = Path(f"/proc/{process.pid}/task")
    while len(list(tasks.iterdir())) < 2:
        assert process.poll() is None
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == -number
    assert stdout == stderr == ""


def test_state_verbs_without_a_store(tmp_path: Path) -> None:
    """Looking is no error and makes nothing; the ways out need something to get out of."""
    directory = tmp_path / "state"
    assert command("state", "log", "--directory", directory).code == 0
    assert json.loads(command("state", "show", "--json", "--directory", directory).stdout) == []
    for verb in ("adopt", "reset"):
        result = command("state", verb, "--directory", directory)
        assert result.code == 66
        assert "no vpn-gw has kept its state here" in result.stderr
    assert not directory.exists()


def test_a_lost_store_is_reset_and_refuses_what_it_had(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "lock").write_text("a mark")
    (directory / "keys-seen").write_text("0123456789abcdef" * 4 + "\n" + "torn")
    (directory / "sa-store.sqlite").write_bytes(b"no database at all")
    result = command("state", "show", "--directory", directory)
    assert result.code == 74
    assert "vpn-gw state reset" in result.stderr
    reset = command("state", "reset", "--directory", directory)
    assert reset.code == 0, reset.stderr
    assert "1 key(s) were used here" in reset.stdout
    assert [path.read_bytes() for path in directory.glob("sa-store.sqlite.damaged-*")] == [b"no database at all"]
    log = json.loads(command("state", "log", "--json", "--directory", directory).stdout)
    assert len(log) == 1
    assert log[0]["what"].startswith("reset the store")
