#!/usr/bin/env python3
"""ESP here beside libipsec-mb alone and DPDK's librte_ipsec, in turn on the same core, and what the ratios are.

Each round runs Benchmarks/yardsticks.c and `vpn-gw bench --stages`, one after the other; a round is short, so that both meet the same
machine. Figures are medians over rounds of each round's median, in TSC cycles a packet; compare them within a column only. With
--json FILE the figures are kept, for docs/PERFORMANCE.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
YARDSTICKS = ROOT / ".build" / "yardsticks"
GATEWAY = Path(os.environ.get("VPN_GW", ROOT / ".build" / "release" / "vpn-gw"))
NAMES = {"libipsec-mb": "AES-128-GCM alone, libipsec-mb", "librte_ipsec": "librte_ipsec, CPU crypto", "esp": "ESP here",
         "worker": "whole worker here"}


def build() -> None:
    """Compiles the yardsticks where they are older than their source."""
    source = ROOT / "Benchmarks" / "yardsticks.c"
    if YARDSTICKS.exists() and YARDSTICKS.stat().st_mtime > source.stat().st_mtime:
        return
    flags = {what: subprocess.run(["pkg-config", f"--{what}", "libdpdk"], check=True, capture_output=True, text=True)
             .stdout.split() for what in ("cflags", "libs")}
    subprocess.run(["cc", "-O3", "-march=native", "-Wall", "-Wextra", *flags["cflags"], "-o", YARDSTICKS, source, *flags["libs"],
                    "-lIPSec_MB"], check=True)


def peers(sizes: list[int], core: int) -> list[dict]:
    command = [YARDSTICKS, "--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level", "3", "-l", core,
               "--vdev", "crypto_aesni_gcm", "--", 60, *sizes]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"yardsticks ended with {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def ours(sizes: list[int], core: int) -> list[dict]:
    command = ["taskset", "-c", core, GATEWAY, "bench", "--sizes", ",".join(map(str, sizes)), "--direction", "encap,decap",
               "--stages", "--format", "json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return [row | {"what": "esp" if row["path"] == "esp" else "worker"} for row in json.loads(done.stdout)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,512,1420")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    build()
    taken: dict[tuple[str, str, int], list[float]] = {}
    for number in range(options.rounds):
        for row in peers(sizes, options.core) + ours(sizes, options.core):
            key = row["what"], row["direction"], int(row["inner_octets"])
            taken.setdefault(key, []).append(row["cycles_per_packet_median"])
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {options.rounds} rounds", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    rows = []
    for direction in ("encap", "decap"):
        print(f"{direction}, TSC cycles a packet (times AES-128-GCM alone)")
        print(f"  {'':32}" + "".join(f"{size:>16}" for size in sizes))
        for what, name in NAMES.items():
            cells = []
            for size in sizes:
                cycles, raw = (median(taken[key, direction, size]) for key in (what, "libipsec-mb"))
                cells.append(f"{cycles:8.1f} ({cycles / raw:4.2f})")
                rows.append({"what": what, "direction": direction, "inner_octets": size, "cycles_per_packet_median": round(cycles, 2),
                             "times_gcm": round(cycles / raw, 3), "rounds": options.rounds})
            print(f"  {name:32}" + "".join(f"{cell:>16}" for cell in cells))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
