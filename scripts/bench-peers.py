#!/usr/bin/env python3
"""ESP here beside libipsec-mb alone and DPDK's librte_ipsec, in turn on the same core, and what the ratios are.

Each round runs Benchmarks/yardsticks.c and `vpn-gw bench --stages`, one after the other; a round is a second, or five with many SAs, so that both
meet the same machine, and a ratio is one of a round. Figures and ratios are medians over rounds, in TSC cycles a packet; compare them within a column
only. In every third round ESP is also measured with packets that take turns on many SAs in random order (--associations; 1 leaves that
out). With --json FILE the figures are kept, for docs/PERFORMANCE.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
YARDSTICKS = ROOT / ".build" / "yardsticks"
GATEWAY = Path(os.environ.get("VPN_GW", ROOT / ".build" / "release" / "vpn-gw"))
NAMES = {"libipsec-mb": "AES-128-GCM alone, libipsec-mb", "librte_ipsec": "librte_ipsec, CPU crypto", "esp": "ESP here",
         "worker": "whole worker here", "floor": "the feed alone"}


ALL = ("libipsec-mb", "librte_ipsec", "esp", "worker", "floor")
WITH_MANY = ("librte_ipsec", "esp", "worker")


def machine() -> dict:
    """Where and when: figures without it say nothing."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "processor unknown")
    virtual = " (virtual machine)" if any(line.startswith("flags") and " hypervisor" in line for line in lines) else ""
    packages = {}
    for package in ("libdpdk-dev", "libipsec-mb-dev"):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
        packages[package.removesuffix("-dev")] = done.stdout or "unknown"
    return {"processor": model + virtual, "processors": os.cpu_count(), "kernel": platform.release(), **packages}


def build() -> None:
    """Compiles the yardsticks where they are older than their source."""
    source = ROOT / "Benchmarks" / "yardsticks.c"
    if YARDSTICKS.exists() and YARDSTICKS.stat().st_mtime > source.stat().st_mtime:
        return
    flags = {what: subprocess.run(["pkg-config", f"--{what}", "libdpdk"], check=True, capture_output=True, text=True)
             .stdout.split() for what in ("cflags", "libs")}
    subprocess.run(["cc", "-O3", "-march=native", "-Wall", "-Wextra", *flags["cflags"], "-o", YARDSTICKS, source, *flags["libs"],
                    "-lIPSec_MB"], check=True)


def peers(sizes: list[int], many: int, core: int) -> list[dict]:
    memory = 256 + many // 16
    command = [YARDSTICKS, "--no-huge", "-m", memory, "--no-pci", "--no-shconf", "--no-telemetry", "--log-level", "3", "-l", core,
               "--vdev", "crypto_aesni_gcm", "--", 60, many, *sizes]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"yardsticks ended with {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def ours(sizes: list[int], many: int, core: int) -> list[dict]:
    associations = "1" if many == 1 else f"1,{many}"
    command = ["taskset", "-c", core, GATEWAY, "bench", "--sizes", ",".join(map(str, sizes)), "--direction", "encap,decap",
               "--associations", associations, "--stages", "--format", "json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    rows = [row | {"what": "esp" if row["path"] == "esp" else "worker"} for row in json.loads(done.stdout)]
    return rows + [row | {"what": "floor", "cycles_per_packet_median": row["io_floor_cycles"]} for row in rows
                   if row["what"] == "worker"]


def measure(sizes: list[int], many: int, rounds: int, core: int) -> list[dict]:
    """Medians by what, direction, octets and SAs; with one SA also of how many times AES-GCM alone it was in the same round."""
    taken: dict[tuple, list[float]] = {}
    ratios: dict[tuple, list[float]] = {}
    for number in range(rounds):
        count = many if number % 3 == 0 else 1
        rows = peers(sizes, count, core) + ours(sizes, count, core)
        alone = {(row["direction"], int(row["inner_octets"])): row["cycles_per_packet_median"] for row in rows
                 if row["what"] == "libipsec-mb"}
        for row in rows:
            key, cycles = (row["what"], row["direction"], int(row["inner_octets"]), row["associations"]), row["cycles_per_packet_median"]
            taken.setdefault(key, []).append(cycles)
            if row["associations"] == 1:
                ratios.setdefault(key, []).append(cycles / alone[key[1:3]])
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {rounds} rounds", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return [{"what": key[0], "direction": key[1], "inner_octets": key[2], "associations": key[3],
             "cycles_per_packet_median": round(median(values), 2), "times_gcm": round(median(ratios[key]), 3) if key in ratios else None}
            for key, values in taken.items()]


def show(rows: list[dict], direction: str, sizes: list[int], many: int) -> None:
    """Each beside AES-128-GCM alone; then many SAs beside one."""
    found = {(row["what"], row["inner_octets"], row["associations"]): row for row in rows if row["direction"] == direction}

    def line(name: str, values: list[tuple[float, float]]) -> None:
        print(f"  {name:32}" + "".join(f"{f'{value:8.1f} ({ratio:5.2f})':>18}" for value, ratio in values))

    print(f"{direction}, TSC cycles a packet (times AES-128-GCM alone)")
    print(f"  {'':32}" + "".join(f"{size:>18}" for size in sizes))
    for what in ALL:
        each = [found[what, size, 1] for size in sizes]
        line(NAMES[what], [(row["cycles_per_packet_median"], row["times_gcm"]) for row in each])
    if many > 1:
        print(f"{direction}, {many} SAs in random order (times the same with one)")
        for what in WITH_MANY:
            each = [[found[what, size, count]["cycles_per_packet_median"] for count in (many, 1)] for size in sizes]
            line(NAMES[what], [(value, value / one) for value, one in each])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,512,1420")
    parser.add_argument("--associations", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes, many = [int(size) for size in options.sizes.split(",")], options.associations
    build()
    rows = measure(sizes, many, options.rounds, options.core)
    for direction in ("encap", "decap"):
        show(rows, direction, sizes, many)
    if options.json:
        report = {"machine": machine(), "date": date.today().isoformat(), "rounds": options.rounds, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
