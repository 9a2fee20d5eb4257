"""Large captures in little memory, and a memory checker's word. RFC 4303 has nothing to say of either; operators do."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from replay.hostile import capture_of
from vpngw import capture, packets
from vpngw.capture import SECOND, START, Record
from vpngw.gateway import BINARY
from vpngw.packets import frame, sized
from vpngw.rig import Pair

pytestmark = pytest.mark.long
SUPPRESSIONS = Path(__file__).with_name("valgrind.supp")

SIGSUSPEND = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
int sigsuspend(const sigset_t *mask) {
    sigset_t copy = *mask;
    int (*suspend)(const sigset_t *) = (int (*)(const sigset_t *))dlsym(RTLD_NEXT, "sigsuspend");
    return suspend(&copy);
}
"""
"""Valgrind before 3.20 writes to the mask that sigsuspend is given; libdispatch's lies in read-only memory."""


def peak_octets(arguments: list[str | Path]) -> int:
    """Runs vpn-gw, which must succeed, and returns the most memory it had, looked at every few milliseconds: what wait4 tells
    counts the memory of this process too."""
    child, peak = subprocess.Popen([BINARY, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
    while child.poll() is None:
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), peak)
        time.sleep(0.005)
    assert child.returncode == 0 and peak > 0
    return peak


def payloads(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """Of every record of a large pcap file: its length and the eight octets at `offset`, without holding the file."""
    with path.open("rb", buffering=1 << 20) as file:
        file.seek(24)
        while header := file.read(16):
            captured = struct.unpack_from("<I", header, 8)[0]
            octets = file.read(captured)
            yield captured, octets[offset : offset + 8]


@pytest.mark.timeout(900)
def test_a_gigabyte_in_little_memory(pair: Pair, rng: Random, tmp_path: Path) -> None:
    """There and back again, a thousand times as much as fits the buffers; memory does not grow with the capture."""
    count, large, small = 740_000, tmp_path / "large.pcap", tmp_path / "small.pcap"
    body = sized("unknown", 1400, rng, pair.host_a, pair.host_b)

    def numbered(number: int) -> bytes:
        return frame(body[:20] + struct.pack("!Q", number) + body[28:])

    capture.write(small, (numbered(number) for number in range(1000)))
    capture.write(large, (numbered(number) for number in range(count)))
    assert large.stat().st_size > 1_000_000_000
    site_a, site_b = pair.a.site.write(), pair.b.site.write()
    middle, end = tmp_path / "middle.pcap", tmp_path / "end.pcap"
    little = peak_octets(["pcap", "--config", site_a, "--in", f"lan={small}", "--out", f"wan={tmp_path / 's.pcap'}"])
    outbound = peak_octets(
        ["pcap", "--config", site_a, "--in", f"lan={large}", "--out", f"wan={middle}", "--drops", tmp_path / "d.pcap"]
    )
    large.unlink()
    inbound = peak_octets(["pcap", "--config", site_b, "--in", f"wan={middle}", "--out", f"lan={end}"])
    assert max(outbound, inbound) < 300_000_000, (outbound, inbound)
    assert max(outbound, inbound) - little < 30_000_000, (little, outbound, inbound)
    numbers = 0
    for length, number in payloads(end, 34):
        assert length == 1414 and number == struct.pack("!Q", numbers)
        numbers += 1
    assert numbers == count


@pytest.mark.timeout(600)
def test_a_year_of_clock(pair: Pair, rng: Random) -> None:
    """A capture may take any time: neighbours age and are asked for again, and nothing waits for a real clock."""
    packet = frame(sized("udp", 100, rng, pair.host_a, pair.host_b))
    times = [START + index * 3600 * SECOND for index in range(24 * 365)]
    replayed = pair.a.replay("--resolve", lan=[(time, packet) for time in times])
    assert replayed.drops == {"neighbor_unresolved": len(times)}


@pytest.mark.timeout(900)
@pytest.mark.skipif(not shutil.which("valgrind") or not shutil.which("cc"), reason="needs valgrind and a C compiler")
@pytest.mark.parametrize("options", [[], ["--resolve"]], ids=["placeholders", "ARP"])
def test_memory_under_valgrind(pair: Pair, rng: Random, tmp_path: Path, options: list[str]) -> None:
    """No invalid access, no use of what was never written, no leak, over every path; and the same output as without it.

    Valgrind hides the newest instructions from libipsec-mb, so equal outputs also say that its slower code agrees.
    """
    shim = tmp_path / "sigsuspend.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", shim, "-ldl"], input=SIGSUSPEND, text=True, check=True
    )
    binary = tmp_path / "vpn-gw"  # its debug information is newer than valgrind 3.19 can read
    subprocess.run(["strip", "--strip-debug", "-o", binary, BINARY], check=True)
    good = [
        Record(START, frame(packet), len(packet) + 14) for packet in packets.mixed(500, rng, pair.host_a, pair.host_b)
    ]
    files = [
        ("lan", capture.write(tmp_path / "lan.pcap", good + capture_of(pair, rng, 4000))),
        ("wan", capture.write(tmp_path / "wan.pcap", capture_of(pair, rng, 4000))),
    ]
    # What ends early gives everything back as well.
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(files[0][1].read_bytes()[:-7])
    site = pair.a.site.write()
    runs = [(files, 0), ([("lan", cut)], 65)]
    for inputs, code in runs:
        outputs = {}
        for name, command in (
            ("native", [BINARY]),
            (
                "checked",
                [
                    "valgrind",
                    "--quiet",
                    "--error-exitcode=99",
                    "--leak-check=full",
                    "--errors-for-leak-kinds=definite",
                    "--show-leak-kinds=definite",
                    f"--suppressions={SUPPRESSIONS}",
                    f"--log-file={tmp_path / 'valgrind.log'}",
                    binary,
                ],
            ),
        ):
            directory = tmp_path / f"{name}-{code}"
            directory.mkdir()
            environment = {**os.environ, "LD_PRELOAD": str(shim)} if name == "checked" else None
            arguments: list[str | Path] = ["pcap", "--config", site, "--report", directory / "report.json"]
            arguments += ["--drops", directory / "drops.pcap", *options]
            arguments += [word for port, path in inputs for word in ("--in", f"{port}={path}")]
            arguments += [word for port in ("lan", "wan") for word in ("--out", f"{port}={directory / port}.pcap")]
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, timeout=400)
            log = (tmp_path / "valgrind.log").read_text() if name == "checked" else ""
            assert done.returncode == code, done.stderr + log
            assert log == "", log
            outputs[name] = {path.name: path.read_bytes() for path in directory.iterdir()}
        assert outputs["native"] == outputs["checked"]
