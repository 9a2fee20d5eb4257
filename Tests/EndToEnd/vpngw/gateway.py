"""Runs the vpn-gw binary and reads its reports. VPN_GW names the binary; the release build is the default."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("VPN_GW", ROOT / ".build" / "release" / "vpn-gw"))


@dataclass
class Result:
    code: int
    stdout: str
    stderr: str
    report: dict | None


def command(*arguments, timeout: float = 120, wrapper: list[str] | None = None) -> Result:
    """Runs vpn-gw to its end. `wrapper` goes in front of it (valgrind, prlimit)."""
    done = subprocess.run(
        [*(wrapper or []), str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL)
    return Result(done.returncode, done.stdout, done.stderr, None)


def replay(site: Path, inputs: list[tuple[str, Path]], outputs: list[tuple[str, Path]], *extra, code: int = 0,
           report: Path | None = None, timeout: float = 120, wrapper: list[str] | None = None) -> Result:
    """`vpn-gw pcap`; asserts its exit code and that its report accounts for every packet."""
    report = report or site.with_suffix(".report.json")
    report.unlink(missing_ok=True)
    arguments = ["pcap", "--config", site, "--report", report]
    for port, path in inputs:
        arguments += ["--in", f"{port}={path}"]
    for port, path in outputs:
        arguments += ["--out", f"{port}={path}"]
    result = command(*arguments, *extra, timeout=timeout, wrapper=wrapper)
    assert result.code == code, f"exit code {result.code}, expected {code}\n{result.stderr}"
    if report.exists():
        result.report = json.loads(report.read_text())
        assert_conserved(result.report)
    return result


def assert_conserved(report: dict) -> None:
    """What the contract says is always true, and that nothing is in flight at the end."""
    came = report["rx_packets"] + report["originated_packets"]
    went = report["tx_packets"] + report["consumed_packets"] + report["dropped_packets"] + report["in_flight_packets"]
    assert came == went, report
    assert report["in_flight_packets"] == 0, report
    assert report["dropped_packets"] == sum(report["drops"].values()), report
    assert report["rx_packets"] == sum(port["rx_packets"] for port in report["ports"].values()), report
    assert report["tx_packets"] == sum(port["tx_packets"] for port in report["ports"].values()), report
