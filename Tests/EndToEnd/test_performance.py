"""docs/PERFORMANCE.md is made of figures: what the script makes of known ones."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from vpngw.gateway import ROOT

SCRIPT = ROOT / "scripts" / "performance.py"
SIZES, WAYS = (64, 512, 1420), ("encap", "decap")
MACHINE = {"processor": "Abacus 9000", "processors": 2, "kernel": "6.1", "libdpdk": "22.11", "libipsec-mb": "1.3"}


def peers(slowness: float, gcm: float = 100) -> dict:
    """A run in which the worker takes so many times as long as AES-GCM."""
    cycles = {"libipsec-mb": gcm, "librte_ipsec": 2 * gcm, "esp": 1.5 * gcm, "worker": slowness * gcm, "floor": gcm / 2}
    rows = [{"what": what, "direction": way, "inner_octets": size, "associations": 1, "cycles_per_packet_median": cycles[what],
             "times_gcm": cycles[what] / gcm}
            for what in cycles for way in WAYS for size in SIZES]
    rows += [row | {"associations": 10000, "cycles_per_packet_median": 7 * row["cycles_per_packet_median"], "times_gcm": None}
             for row in rows if row["what"] in ("librte_ipsec", "esp", "worker")]
    return {"machine": MACHINE, "date": "2026-11-21", "rounds": 1, "rows": rows}


def bench(**changes) -> dict:
    row = {"path": "software", "direction": "encap", "inner_octets": 64, "associations": 1, "workers": 1,
           "cycles_per_packet_median": 200.0, "cycles_per_packet_min": 190.0, "io_floor_cycles": 30.0, "cycles_per_octet": 3.1,
           "packets_per_second": 13e6, "inner_bits_per_second": 6.6e9, "joules_per_gigabyte": None}
    return row | changes


LATENCY = {"path": "software", "direction": "encap", "inner_octets": 64, "associations": 1, "workers": 1, "load_percent": 90,
           "no_loss_packets_per_second": 13e6, "offered_packets_per_second": 11.7e6, "packets": 200000, "p50_nanoseconds": 500,
           "p90_nanoseconds": 900, "p99_nanoseconds": 1250, "p999_nanoseconds": 30000, "max_nanoseconds": 63000}


@pytest.fixture
def make(tmp_path: Path):
    def run(runs: list[dict], workers: list[dict] | None = None, code: int = 0, without: str = "") -> str:
        files = {"peers": runs, "paths": [[bench(), bench(inner_octets=340.333)]],
                 "associations": [[bench(associations=count) for count in (1, 64)]], "latency": [[LATENCY]],
                 "workers": [workers] if workers else []}
        files.pop(without, None)
        arguments = []
        for kind, contents in files.items():
            paths = [tmp_path / f"{kind}-{number}.json" for number in range(len(contents))]
            for path, content in zip(paths, contents):
                path.write_text(json.dumps(content))
            arguments += [f"--{kind}", *paths] if paths else []
        output = tmp_path / "PERFORMANCE.md"
        done = subprocess.run([SCRIPT, *arguments, "--output", output], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return output.read_text() if code == 0 else done.stderr
    return run


def row(text: str, *cells: str) -> list[str]:
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    match, = [line for line in found if tuple(line[:len(cells)]) == cells]
    return match


def test_goals_are_judged_by_ratios_of_one_run(make) -> None:
    # Minutes in which the machine was three times as slow change no ratio; of three the median counts.
    text = make([peers(3.0), peers(1.0, gcm=300), peers(2.25)])
    assert row(text, "outbound", "64", "2.00") == ["outbound", "64", "2.00", "2.25", "**missed by 12 %**", "1.75", "0.75", "better"]
    assert row(text, "inbound", "64", "2.50")[4] == "met"
    assert "medians of 3 runs" in text
    assert "Abacus 9000" in text and "2026-11-21" in text
    assert row(text, "inbound, librte_ipsec", "1400 (7.0×)")


def test_one_run_says_that_it_is_one(make) -> None:
    text = make([peers(2.0)])
    assert "**one short run" in text
    assert row(text, "outbound", "64", "2.00")[4] == "met"
    assert "Not measured: this machine has one core." in text
    assert row(text, "software", "outbound", "IMIX (340)")
    assert row(text, "outbound", "64", "90 %")[4:] == ["0.50", "0.90", "1.25", "30.00", "63.00"]


def test_workers_are_set_beside_one(make) -> None:
    rows = [bench(), bench(workers=2, cycles_per_packet_median=212, cycles_per_packet_min=191.9, packets_per_second=24.7e6)]
    assert row(make([peers(2.0)], rows), "outbound", "64", "2") == [
        "outbound", "64", "2", "212", "1.060", "**missed**", "1.010", "1.90"]


def test_missing_files_are_named(make) -> None:
    assert "--latency" in make([peers(2.0)], code=2, without="latency")


def test_the_document_is_of_the_text_that_is_here() -> None:
    """Figures change with each run; what stands around them comes from the template."""
    document = (ROOT / "docs" / "PERFORMANCE.md").read_text()
    for part in re.split(r"\$\w+", (ROOT / "scripts" / "performance.md").read_text()):
        assert part.strip() in document, "run make performance"
    assert (ROOT / "docs" / "performance.svg").read_text().startswith("<svg")
