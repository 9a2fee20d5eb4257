"""What a user types: options, exit codes, and the forms that scripts read."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import stat
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vpngw.gateway import BINARY, ROOT, command

ROW_KEYS = {
    "path", "direction", "inner_octets", "associations", "workers", "cycles_per_packet_median",
    "cycles_per_packet_min", "io_floor_cycles", "cycles_per_octet", "packets_per_second", "inner_bits_per_second",
    "joules_per_gigabyte"}


@pytest.mark.parametrize("arguments", [
    ["--config"], ["frobnicate"], ["pcap", "--config", "x.toml"], ["pcap", "--config", "x.toml", "--in", "lan"],
    ["bench", "--sizes", "7"], ["bench", "--direction", "up"], ["bench", "--path", "sideways"],
    ["bench", "--samples", "0"], ["bench", "--workers", "0"], ["bench", "--workers", "1,1"], ["bench", "--workers", "9"],
    ["bench", "--workers", "2", "--reservations"], ["bench", "--associations", "40000", "--workers", "2"],
    ["bench", "--latency", "--direction", "both"], ["bench", "--latency", "--plot", "x.svg"],
    ["bench", "--plot", "x.svg", "--sizes", "64,imix"],
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
        assert row["joules_per_gigabyte"] is None or row["direction"] == "encap" and Path("/sys/class/powercap").exists()
        assert row["cycles_per_packet_min"] <= row["cycles_per_packet_median"]
    table = list(csv.DictReader(io.StringIO(command("bench", "--sizes", "imix", "--format", "csv").stdout)))
    assert [row["direction"] for row in table] == ["encap", "decap", "both"]
    assert set(table[0]) == ROW_KEYS


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers take two cores")
def test_bench_measures_several_workers_and_associations_in_one_run() -> None:
    arguments = ["--sizes", "64", "--workers", "1,2", "--associations", "1,40", "--path", "software,null", "--direction", "encap",
                 "--samples", "5"]
    rows = json.loads(command("bench", *arguments, "--format", "json").stdout)
    assert all(set(row) == ROW_KEYS for row in rows)
    assert [(row["associations"], row["path"], row["workers"]) for row in rows] == [
        (associations, path, workers) for associations in (1, 40) for path in ("software", "null") for workers in (1, 2)]


def test_bench_without_a_core_for_each_worker_is_69() -> None:
    result = command("bench", "--workers", "2", wrapper=["taskset", "-c", str(min(os.sched_getaffinity(0)))])
    assert result.code == 69
    assert "lscpu" in result.stderr


def test_bench_times_packets_at_three_loads() -> None:
    arguments = ["--latency", "--sizes", "64,1420", "--path", "software,lookaside", "--samples", "20"]
    rows = json.loads(command("bench", *arguments, "--format", "json").stdout)
    assert [(row["inner_octets"], row["path"], row["direction"], row["load_percent"]) for row in rows] == [
        (octets, path, direction, load) for octets in (64, 1420) for path in ("software", "lookaside")
        for direction in ("encap", "decap") for load in (10, 50, 90)]
    for row in rows:
        assert row["packets"] >= 1000
        percentiles = [row[f"{name}_nanoseconds"] for name in ("p50", "p90", "p99", "p999", "max")]
        assert 0 < percentiles[0] and percentiles == sorted(percentiles)
        offered = row["no_loss_packets_per_second"] * row["load_percent"] / 100
        assert abs(row["offered_packets_per_second"] - offered) <= 1
    table = list(csv.DictReader(io.StringIO(
        command("bench", "--latency", "--sizes", "imix", "--direction", "encap", "--format", "csv").stdout)))
    assert [set(row) for row in table] == 3 * [set(rows[0])]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put a meter where the kernel's would be")
def test_bench_reads_the_kernels_energy_meter(tmp_path: Path) -> None:
    counter = tmp_path / "powercap" / "intel-rapl:0"
    counter.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "1000000")):
        (counter / name).write_text(f"{text}\n")
    wrapper = ["unshare", "-m", "sh", "-c", f'mount --bind {tmp_path} /sys/class && exec "$@"', "sh"]
    arguments = ["bench", "--sizes", "64", "--samples", "5", "--format", "json"]
    rows = {row["direction"]: row for row in json.loads(command(*arguments, wrapper=wrapper).stdout)}
    # This meter stands still.
    assert rows["encap"]["joules_per_gigabyte"] == 0
    assert rows["decap"]["joules_per_gigabyte"] is rows["both"]["joules_per_gigabyte"] is None


def test_bench_draws_a_figure(tmp_path: Path) -> None:
    file = tmp_path / "figure.svg"
    assert command("bench", "--sizes", "64,imix,1420", "--path", "software,null", "--plot", file, "--samples", "5").code == 0
    root = ElementTree.parse(file).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{*}polyline")) == 2 * 2 * 3  # paths, panels, directions
    assert "TSC" in root.find("{*}desc").text
    result = command("bench", "--sizes", "64,128", "--samples", "5", "--plot", tmp_path / "absent" / "figure.svg")
    assert result.code == 73 and "figure.svg" in result.stderr
    assert "cycles/packet" in result.stdout  # what was measured is not lost


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
