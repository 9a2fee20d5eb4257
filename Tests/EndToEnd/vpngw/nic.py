"""Runs programs on the ixgbe model: the 82599 in software under DPDK's own driver (docs/IXGBE-MODEL.md)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from vpngw.gateway import ROOT

BUILD = Path(os.environ.get("IXGBE_MODEL_BUILD", ROOT / ".build" / "debug"))
MODEL, PROBE = BUILD / "ixgbe-model", BUILD / "ixgbe-probe"
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
MEMORY_MIB = 160


def mac(port: int) -> bytes:
    """A port's own address."""
    return bytes([0x00, 0x1B, 0x21, 0x82, 0x59, port])


def missing() -> str | None:
    """Why the model cannot run here, in one line; None where it can."""
    if os.geteuid() != 0:
        return "the ixgbe model needs root"
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        return "no 2 MiB hugepages on this machine"
    absent = [path.name for path in (MODEL, PROBE, BUILD / "libIxgbeTrap.so") if not path.exists()]
    if absent:
        return f"not built: {', '.join(absent)}"
    tried = subprocess.run([MODEL, "run", "--hugepages-mib", str(MEMORY_MIB), "--", "true"], capture_output=True,
                           text=True, timeout=60)
    return f"the ixgbe model cannot run here: {tried.stderr.strip()}" if tried.returncode else None


class Run:
    """A program on the model. Options as the command line has them."""

    def __init__(self, directory: Path, program: list, *options, **popen):
        self.control, self.report_path = directory / "control.sock", directory / "model.json"
        self.log = directory / "model.log"
        arguments = [MODEL, "run", "--control", self.control, "--report", self.report_path, "--hugepages-mib",
                     MEMORY_MIB, *options, "--", *program]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(list(map(str, arguments)), stderr=log, **popen)

    def tell(self, *words) -> str:
        """One line to the control socket; its answer, which is no error."""
        done = subprocess.run([MODEL, "tell", "--control", self.control, *map(str, words)], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def stats(self, port: int | None = None) -> dict:
        answer = json.loads(self.tell("stats"))
        return answer if port is None else answer["ports"][port]

    def ended(self, code: int = 0, seconds: float = 30) -> dict:
        """Waits for its end; its report."""
        got = self.process.wait(seconds)
        assert got == code, f"exit code {got}, expected {code}\n{self.log.read_text()}"
        return json.loads(self.report_path.read_text())

    def close(self) -> None:
        if self.process.poll() is None:
            # It passes this on to the program, and tidies up when that has ended.
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


class Probe(Run):
    """The probe on the model, and what it is told."""

    def __init__(self, directory: Path, *options, ports: int = 2):
        devices = [word for port in range(ports) for word in ("-a", f"0000:81:00.{port}")]
        core = str(sorted(os.sched_getaffinity(0))[0])
        super().__init__(
            directory, [PROBE, "--in-memory", "--no-telemetry", "-l", core, "-m", MEMORY_MIB // 2, *devices],
            "--ports", ports, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self._read()
        assert ready["ports"] == ports, self.log.read_text()
        self.program = ready["pid"]

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        assert line, f"the probe said nothing more\n{self.log.read_text()}"
        pairs = (word.split("=", 1) for word in line.split()[1:])
        return {name: value if name in ("octets", "driver") else int(value) for name, value in pairs}

    def say(self, *words) -> dict:
        """One command and its answer."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._read()

    def start(self, port: int, *words, queues: int = 1) -> int:
        """Starts a port; the milliseconds that took."""
        answer = self.say("start", port, queues, *words)
        assert answer["error"] == 0, answer
        return answer["milliseconds"]

    def egress(self, port: int, spi: int, keymat: bytes) -> int:
        return self.say("egress", port, spi, keymat.hex())["number"]

    def ingress(self, port: int, spi: int, keymat: bytes, destination: str) -> int:
        return self.say("ingress", port, spi, keymat.hex(), destination)["number"]

    def send(self, port: int, frame: bytes, session: int = -1, header: int = 20, queue: int = 0) -> None:
        assert self.say("send", port, queue, session, header, frame.hex()) == {"error": 0, "sent": 1}

    def receive(self, port: int, count: int, milliseconds: int = 20000) -> list[dict]:
        """At least `count` frames, or what comes in that time; what the driver says of each."""
        answer, frames = self.say("receive", port, count, milliseconds), []
        while "count" not in answer:
            frames.append(answer | {"octets": bytes.fromhex(answer["octets"])})
            answer = self._read()
        assert answer["count"] == len(frames)
        return frames

    def show(self, port: int) -> dict:
        return self.say("show", port)

    def quit(self, code: int = 0) -> dict:
        """Ends the probe; the model's report."""
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        return self.ended(code)
