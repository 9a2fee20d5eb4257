"""What the gateway's own code runs for a packet: where a NIC does the cryptography, no more than where software does it, whose
instructions are left out as the NIC's driver's are."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vpngw.gateway import BINARY
from vpngw.instructions import Call, Stepper

pytestmark = pytest.mark.timeout(180)

POLL = "$s9DataPlane6WorkerV4poll3nowys6UInt64V_tF"
"""Worker.poll(now:), mangled: one call takes a burst from each port."""
OUTBOUND, INBOUND = "13OutboundBurstV7prepare", "12InboundBurstV7prepare"
"""Functions that a burst of packets that go out, or come in, goes through."""
CRYPTO = ("libIPSec_MB", "cipsecmb_esp")
"""Where software encrypts: libipsec-mb, or functions of our own, by the processor."""
BURST = 32


@contextmanager
def stepped(path: str) -> Iterator[Stepper]:
    """The worker of a benchmark that goes on and on."""
    bench = subprocess.Popen(
        [BINARY, "bench", "--path", path, "--sizes", "64", "--samples", "100000", "--format", "json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while (busiest := max(threads(bench.pid), default=(0, 0)))[0] < 50:
            assert bench.poll() is None, bench.stderr.read()
            assert time.monotonic() < deadline, "the benchmark does not get to work"
            time.sleep(0.01)
        stepper = Stepper(bench.pid, busiest[1], BINARY, POLL)
        yield stepper
        stepper.release()
    finally:
        bench.kill()
        bench.wait()


def threads(process: int) -> list[tuple[int, int]]:
    """Hundredths of a second that each has run, and its number."""
    found = []
    for directory in Path(f"/proc/{process}/task").glob("*"):
        fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        found.append((int(fields[11]), int(directory.name)))
    return found


def bursts(path: str) -> dict[str, Call]:
    """A burst that goes out and one that comes in; calls with both are left out."""
    found: dict[str, Call] = {}
    with stepped(path) as stepper:
        for _ in range(20):
            call = stepper.call()
            goes_out = any(OUTBOUND in name for name in call.own)
            comes_in = any(INBOUND in name for name in call.own)
            assert goes_out or comes_in, call.own.most_common(9)
            if goes_out != comes_in:
                found["outbound" if goes_out else "inbound"] = call
            if len(found) == 2:
                return found
    raise AssertionError(f"{path}: only {list(found)}")


def may_trace() -> bool:
    """Whether this process may look into its children (Yama, seccomp)."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        Stepper.attach(child.pid)
        return True
    except OSError:
        return False
    finally:
        child.kill()
        child.wait()


def without_cryptography(call: Call) -> int:
    """Takes away what encrypts or decrypts; returns how many instructions that was."""
    taken = 0
    for counts in (call.own, call.libraries):
        for name in [name for name in counts if any(part in name for part in CRYPTO)]:
            taken += counts.pop(name)
    return taken


def test_inline_runs_no_more_than_software_without_its_cryptography():
    if not may_trace():
        pytest.skip("this process may not trace its children: ptrace is refused")
    if OUTBOUND not in subprocess.run(["nm", BINARY], capture_output=True, text=True).stdout:
        pytest.skip("the gateway was built without optimization, or stripped: nothing to count")
    counted = {path: bursts(path) for path in ("software", "inline")}
    for direction in ("outbound", "inbound"):
        software, inline = (counted[path][direction] for path in ("software", "inline"))
        of_cryptography = without_cryptography(software)
        print(f"{direction}: {software.own.total() / BURST:.0f} instructions a packet of our own by software, "
              f"{inline.own.total() / BURST:.0f} inline")
        assert of_cryptography and not without_cryptography(inline)
        assert inline.own.total() <= software.own.total(), (inline.own.most_common(), software.own.most_common())
