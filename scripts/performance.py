#!/usr/bin/env python3
"""Makes docs/PERFORMANCE.md of measurements, and measures.

    performance.py --peers FILE... --paths FILE... --associations FILE... --latency FILE... [--workers FILE...]
    performance.py --measure RUNS [--quick]

The files are what `bench-peers.py --json` and `vpn-gw bench --format json` printed, one of each for each run; figures are medians over
runs. With --measure they are made first, in .build/performance, and docs/performance.svg is drawn. The text is scripts/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from string import Template

ROOT = Path(__file__).resolve().parents[1]
GATEWAY = Path(os.environ.get("VPN_GW", ROOT / ".build" / "release" / "vpn-gw"))
KINDS = ("peers", "paths", "associations", "workers", "latency")
SIZES = (64, 512, 1420)
# The whole worker as a multiple of AES-128-GCM alone.
GOALS = {"encap": {64: 2.0, 512: 1.98, 1420: 1.59}, "decap": {64: 2.5, 512: 2.15, 1420: 1.72}}
WAYS = {"encap": "outbound", "decap": "inbound", "both": "both ways"}
NAMES = {"libipsec-mb": "AES-128-GCM alone", "librte_ipsec": "librte_ipsec", "esp": "ESP alone, here", "worker": "whole worker, here",
         "floor": "of which the feed"}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def medians(runs: list[list[dict]], key: Callable[[dict], tuple], figures: tuple[str, ...]) -> dict[tuple, dict[str, float]]:
    """Of each row's figures, over runs; in the order of the first run."""
    taken: dict[tuple, list[dict]] = {}
    for rows in runs:
        for row in rows:
            taken.setdefault(key(row), []).append(row)
    return {at: {name: median(row[name] for row in rows) for name in figures} for at, rows in taken.items()}


def size_name(octets: float) -> str:
    return f"{octets:.0f}" if octets == int(octets) else f"IMIX ({octets:.0f})"


def peer_rows(runs: list[dict]) -> dict[tuple, float]:
    """Cycles by what, direction, octets, SAs."""
    found = medians([run["rows"] for run in runs], lambda row: (row["what"], row["direction"], row["inner_octets"],
                    row["associations"]), ("cycles_per_packet_median",))
    return {key: row["cycles_per_packet_median"] for key, row in found.items()}


def times(runs: list[dict], what: str, direction: str, octets: int) -> float:
    """How many times AES-GCM alone: medians over rounds, in each of which both met the same machine, and then over runs."""
    return median(row["times_gcm"] for run in runs for row in run["rows"]
                  if (row["what"], row["direction"], row["inner_octets"], row["associations"]) == (what, direction, octets, 1))


def goals(runs: list[dict]) -> str:
    rows = []
    for direction, wanted in GOALS.items():
        for octets, goal in wanted.items():
            found = times(runs, "worker", direction, octets)
            fed = found - times(runs, "floor", direction, octets)
            verdict = "met" if found <= goal else f"**missed by {100 * (found / goal - 1):.0f} %**"
            esp = times(runs, "esp", direction, octets) / times(runs, "librte_ipsec", direction, octets)
            rows.append([WAYS[direction], str(octets), f"{goal:.2f}", f"{found:.2f}", verdict, f"{fed:.2f}", f"{esp:.2f}",
                         "better" if esp < 1 else "**worse**"])
    return table(["", "octets", "goal", "found", "", "without the feed", "ESP alone ÷ librte_ipsec", ""], rows)


def peers(runs: list[dict]) -> str:
    cycles, rows = peer_rows(runs), []
    for direction in GOALS:
        for what, name in NAMES.items():
            rows.append([f"{WAYS[direction]}, {name}"] + [f"{cycles[what, direction, size, 1]:.0f}" for size in SIZES])
    return table(["cycles a packet"] + [f"{size} octets" for size in SIZES], rows)


def many(runs: list[dict]) -> str:
    cycles = peer_rows(runs)
    counts = sorted({key[3] for key in cycles if key[3] > 1})
    if not counts:
        return ""
    most, rows = counts[-1], []
    for direction in GOALS:
        for what in ("librte_ipsec", "esp", "worker"):
            row = [f"{WAYS[direction]}, {NAMES[what]}"]
            for size in SIZES:
                found = cycles[what, direction, size, most]
                row.append(f"{found:.0f} ({found / cycles[what, direction, size, 1]:.1f}×)")
            rows.append(row)
    return (f"Beside librte_ipsec in the same run, {most} SAs (and times what one takes):\n\n"
            + table(["cycles a packet"] + [f"{size} octets" for size in SIZES], rows))


def paths(runs: list[list[dict]]) -> str:
    found = medians(runs, lambda row: (row["path"], row["direction"], row["inner_octets"]),
                    ("cycles_per_packet_median", "io_floor_cycles", "cycles_per_octet", "packets_per_second", "inner_bits_per_second"))
    rows = [[path, WAYS[direction], size_name(octets), f"{row['cycles_per_packet_median']:.0f}", f"{row['io_floor_cycles']:.0f}",
             f"{row['cycles_per_octet']:.3f}", f"{row['packets_per_second'] / 1e6:.2f}", f"{row['inner_bits_per_second'] / 1e9:.1f}"]
            for (path, direction, octets), row in found.items()]
    return table(["path", "direction", "octets", "cycles a packet", "I/O floor", "cycles an octet", "Mpps", "inner Gbit/s"], rows)


def associations(runs: list[list[dict]]) -> str:
    found = medians(runs, lambda row: (row["direction"], row["inner_octets"], row["associations"]), ("cycles_per_packet_median",))
    counts = sorted({key[2] for key in found})
    rows = [[WAYS[direction], size_name(octets)] + [f"{found[direction, octets, count]['cycles_per_packet_median']:.0f}"
                                                    for count in counts]
            for direction in WAYS for octets in SIZES if (direction, octets, counts[0]) in found]
    return table(["cycles a packet, whole worker", "octets"] + [f"{count} SA{'s' * (count > 1)}" for count in counts], rows)


def workers(runs: list[list[dict]]) -> str:
    if not runs:
        return "Not measured: this machine has one core."
    names = ("cycles_per_packet_median", "cycles_per_packet_min", "packets_per_second")
    found = medians(runs, lambda row: (row["direction"], row["inner_octets"], row["workers"]), names)
    counts, rows = sorted({key[2] for key in found}), []
    for (direction, octets, count), row in found.items():
        if count == counts[0]:
            continue
        one = found[direction, octets, counts[0]]
        ratio = row["cycles_per_packet_median"] / one["cycles_per_packet_median"]
        rows.append([WAYS[direction], size_name(octets), str(count), f"{row['cycles_per_packet_median']:.0f}", f"{ratio:.3f}",
                     "met" if ratio <= 1.05 else "**missed**", f"{row['cycles_per_packet_min'] / one['cycles_per_packet_min']:.3f}",
                     f"{row['packets_per_second'] / one['packets_per_second']:.2f}"])
    return table(["", "octets", "workers", "cycles a packet", f"÷ {counts[0]} worker", "goal 1.05", "least ÷ least", "throughput"],
                 rows)


def latency(runs: list[list[dict]]) -> str:
    names = ("offered_packets_per_second", "p50_nanoseconds", "p90_nanoseconds", "p99_nanoseconds", "p999_nanoseconds",
             "max_nanoseconds")
    found = medians(runs, lambda row: (row["direction"], row["inner_octets"], row["load_percent"]), names)
    rows = [[WAYS[direction], size_name(octets), f"{load} %", f"{row['offered_packets_per_second'] / 1e6:.2f}"]
            + [f"{row[name] / 1000:.2f}" for name in names[1:]] for (direction, octets, load), row in found.items()]
    return table(["", "octets", "load", "Mpps", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs"], rows)


def document(files: dict[str, list[list[dict] | dict]]) -> str:
    """The whole text."""
    runs = files["peers"]
    last, count = runs[-1], len(runs)
    basis = (f"These are medians of {count} runs." if count > 1 else
             "These are of **one short run on a machine that others used at the time**, until `make performance` has made them of three.")
    about = last["machine"]
    machine = (f"{about['processor']}, {about['processors']} processors, Linux {about['kernel']}, DPDK {about['libdpdk']}, "
               f"libipsec-mb {about['libipsec-mb']}; {last['date']}.")
    # Substitution fails for a place without text.
    return Template((ROOT / "scripts" / "performance.md").read_text()).substitute(
        basis=basis, machine=machine, runs=f", and then over {count} runs" if count > 1 else "", goals=goals(runs), peers=peers(runs),
        many=many(runs), paths=paths(files["paths"]), associations=associations(files["associations"]),
        workers=workers(files["workers"]), latency=latency(files["latency"]))


def measure(count: int, quick: bool) -> dict[str, list[Path]]:
    """Takes all measurements so many times; returns where they are."""
    place = ROOT / ".build" / "performance"
    place.mkdir(parents=True, exist_ok=True)
    sizes = ",".join(map(str, SIZES))
    ours: dict[str, list[str]] = {
        "paths": ["--path", "software,inline,lookaside,null", "--direction", "encap,decap", "--plot", str(ROOT / "docs/performance.svg")],
        "associations": ["--associations", "1,64,10000", "--sizes", sizes, "--direction", "encap,decap"],
        "latency": ["--latency", "--sizes", sizes, "--direction", "encap,decap"]}
    if len(os.sched_getaffinity(0)) > 1:
        ours["workers"] = ["--workers", "1,2", "--sizes", sizes]
    made: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for run in range(1, count + 1):
        print(f"run {run} of {count}", file=sys.stderr)
        file = place / f"peers-{run}.json"
        rounds = ["--rounds", "1"] if quick else []
        subprocess.run([ROOT / "scripts" / "bench-peers.py", "--json", file, *rounds], check=True, stdout=subprocess.DEVNULL)
        made["peers"].append(file)
        for kind, arguments in ours.items():
            file = place / f"{kind}-{run}.json"
            file.write_text(subprocess.run([GATEWAY, "bench", *arguments, "--format", "json"], check=True, stdout=subprocess.PIPE,
                                           text=True).stdout)
            made[kind].append(file)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, nargs="+", default=[])
    parser.add_argument("--measure", type=int, metavar="RUNS")
    parser.add_argument("--quick", action="store_true", help="one round beside others' code instead of many")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "PERFORMANCE.md")
    options = parser.parse_args()
    given = measure(options.measure, options.quick) if options.measure else {kind: getattr(options, kind) for kind in KINDS}
    missing = [f"--{kind}" for kind in KINDS if kind != "workers" and not given[kind]]
    if missing:
        parser.error(f"no files for {', '.join(missing)}, and no --measure")
    options.output.write_text(document({kind: [json.loads(file.read_text()) for file in files] for kind, files in given.items()}))


if __name__ == "__main__":
    main()
