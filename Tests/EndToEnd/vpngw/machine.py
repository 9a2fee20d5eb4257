"""A machine for a Debian package: this one's files under an overlay that goes, and units run as systemd would run them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from .gateway import ROOT
from .network import Network, wait_until
from .notify import Manager

# What runs in the private mount namespace: $1 is a directory for the overlay, the rest runs inside it.
ENTER = r"""
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --bind /proc "$1/root/proc"
mount --bind /sys "$1/root/sys"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/tmp"
cp "$2" "$1/root/tmp/package.deb"
exec chroot "$1/root" sh -c "$3"
"""

# ProtectSystem=strict and PrivateTmp=yes, with UMask $1, LimitCORE $2 and LimitMEMLOCK $3; $4 is what may be written all the
# same, and the rest the command. Not every root may raise limits: then it is this machine's.
PROTECT = r"""
set -e
umask "$1"
ulimit -c "$2"
ulimit -l "$3" 2>/dev/null || true
for directory in $4; do mount --bind "$directory" "$directory"; done
mount -t tmpfs tmpfs /tmp
mount -o remount,bind,ro /run
mount -o remount,bind,ro /
shift 4
exec "$@"
"""


def package() -> Path | None:
    """The Debian package to test: VPN_GW_PACKAGE, or what `make deb` made."""
    given = os.environ.get("VPN_GW_PACKAGE")
    if given:
        return Path(given)
    found = sorted((ROOT / ".build/deb").glob("*.deb"))
    return found[-1] if found else None


@dataclass
class Said:
    """What a command that ended said: both streams in `text`."""

    line: str
    code: int
    stdout: str
    text: str


class Machine:
    """A root of its own in a network namespace, and somebody at its prompt. Ends with the network that it is in.

    Every line and what it said goes to `transcript`, as on a terminal.
    """

    def __init__(self, network: Network, name: str, deb: Path):
        """Skips the test where there can be no overlay."""
        self.network, self._name, self.where = network, name, "/root"
        self.transcript = network.directory / "transcript.txt"
        overlay, log = network.directory / "overlay", network.directory / "machine.log"
        overlay.mkdir()
        # /run is a machine's own; nothing of this one's services is in it.
        stay = "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /root && echo it stands && exec sleep infinity"
        self._holder = network.start(
            name, "unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", overlay, deb, stay, log=log)
        wait_until(lambda: "it stands" in log.read_text() or self._holder.poll() is not None, log.read_text)
        if self._holder.poll() is not None:
            pytest.skip(f"no overlay here: {(log.read_text().strip() or 'no word why').splitlines()[0]}")
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": "screen"}

    def path(self, name: str) -> Path:
        """A file of the machine's, seen from here."""
        return Path(f"/proc/{self._holder.pid}/root", name.lstrip("/"))

    def enter(self, *arguments: object) -> list[str]:
        """A command that runs on the machine."""
        return ["nsenter", f"--target={self._holder.pid}", "--mount", "--net", "--root", "--wd", *map(str, arguments)]

    def shell(self, line: str, environment: dict[str, str] | None = None) -> list[str]:
        """The same for a shell's line, typed where the last `cd` led."""
        words = [f"{key}={value}" for key, value in (self.environment | (environment or {})).items()]
        return self.enter("env", "-i", *words, "sh", "-c", f"cd {shlex.quote(self.where)} && {line}")

    def type(self, line: str, code: int | None = 0, shown: str | None = None, **environment: str) -> Said:
        """Types a line and waits for its end, which must be with `code` (None: any) and without what no human wants to see.
        `shown` is what the transcript has in its place."""
        if line.startswith("cd "):
            self.where = line.removeprefix("cd ").strip()
        done = subprocess.run(
            self.shell(line, environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, timeout=120)
        said = Said(line, done.returncode, done.stdout, done.stdout + done.stderr)
        self.note(shown or line, said.text + (f"[exit code {said.code}]\n" if said.code else ""))
        assert code is None or said.code == code, f"{line}: exit code {said.code}\n{said.text}"
        assert_human(said.text)
        return said

    def note(self, line: str, text: str) -> None:
        with self.transcript.open("a") as transcript:
            transcript.write(f"{self.where}# {line}\n{text}\n")

    def start(self, line: str, log: Path) -> subprocess.Popen:
        """Types a line and does not wait."""
        # `ip netns exec` goes to the namespace first, where the process is known to the network.
        return self.network.start(self._name, *self.shell(f"exec {line}"), log=log)


def assert_human(text: str) -> None:
    """Nothing that only programmers understand, and no key."""
    for word in ("Traceback", "Fatal error", "Optional(", "nil)", "Stack dump", "core dumped", "errno ", "NSError", "Swift."):
        assert word not in text, text
    assert not re.search(r"0x[0-9a-f]{40}", text), "a key was printed"


class Service:
    """A unit of the machine's, by its installed file: started, reloaded and stopped as systemd does, without systemd.

    Its user, capabilities, limits, directories, umask, read-only root and environment are the unit's; its filter of system
    calls and of devices are not.
    """

    def __init__(self, machine: Machine, name: str):
        self.machine = machine
        self.values: dict[str, list[str]] = {}
        for line in machine.path(f"/lib/systemd/system/{name}.service").read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.values.setdefault(key, []).append(value)
        self.log = machine.network.directory / f"{name}.log"
        notify = "/run/systemd/notify"
        machine.path(notify).parent.mkdir(parents=True, exist_ok=True)
        self.manager = Manager(str(machine.path(notify)))
        machine.path(notify).chmod(0o777)
        self._notify, self.process = notify, None

    def __getitem__(self, key: str) -> str:
        value, = self.values[key]
        return value

    def start(self) -> None:
        """Until it says that it is ready, within the unit's own time."""
        for kind, base, owner in (("State", "/var/lib", True), ("Runtime", "/run", True), ("Configuration", "/etc", False)):
            directory = f"{base}/{self[f'{kind}Directory']}"
            own = f"chown {self['User']}:{self['Group']} {directory} && " if owner else ""
            self._prepare(f"mkdir -p {directory} && {own}chmod {self[f'{kind}DirectoryMode']} {directory}")
        self.log.touch()
        self.process = self.machine.start(shlex.join(self._command(self["ExecStart"])), self.log)
        wait_until(
            lambda: any("READY=1" in text for text in self.manager.said()) or self.process.poll() is not None,
            self.log.read_text, float(self["TimeoutStartSec"]))
        assert self.process.poll() is None, self.log.read_text()
        assert not re.search(r"^Uid:.*\b0\b", Path(f"/proc/{self.process.pid}/status").read_text(), re.M), "it is root's"

    def reload(self) -> Said:
        return self.machine.type(shlex.join(self._command(self["ExecReload"])), shown="systemctl reload vpn-gw")

    def stop(self) -> int:
        """Its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(float(self["TimeoutStopSec"]))

    def status(self) -> str:
        """The STATUS that it told last."""
        return [found[1] for text in self.manager.said() if (found := re.search(r"^STATUS=(.*)", text, re.M))][-1]

    def journal(self, priority: int = 7) -> list[str]:
        """Its lines of this priority and more urgent ones."""
        found = (re.match(r"<(\d)>(.*)", line) for line in self.log.read_text().splitlines())
        return [line[2] for line in found if line and int(line[1]) <= priority]

    def _prepare(self, line: str) -> None:
        done = subprocess.run(self.machine.shell(line), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stderr}"

    def _command(self, line: str) -> list[str]:
        """A command of the unit as the unit wants it run."""
        assert self["ProtectSystem"] == "strict" and self["PrivateTmp"] == "yes" and self["NoNewPrivileges"] == "yes"

        def capabilities(key: str) -> str:
            return ",".join(["-all", *("+" + name.removeprefix("CAP_").lower() for name in self[key].split())])

        log = os.stat(self.log)
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "USER": self["User"], "LANG": "C.UTF-8",
            "NOTIFY_SOCKET": self._notify, "WATCHDOG_USEC": str(int(self["WatchdogSec"]) * 1_000_000),
            "JOURNAL_STREAM": f"{log.st_dev}:{log.st_ino}", "STATE_DIRECTORY": f"/var/lib/{self['StateDirectory']}",
            "RUNTIME_DIRECTORY": f"/run/{self['RuntimeDirectory']}",
            "CONFIGURATION_DIRECTORY": f"/etc/{self['ConfigurationDirectory']}"}
        return [
            "unshare", "--mount", "--propagation", "private", "sh", "-c", PROTECT, "sh", self["UMask"], self["LimitCORE"],
            self["LimitMEMLOCK"].replace("infinity", "unlimited"),
            f"{environment['STATE_DIRECTORY']} {environment['RUNTIME_DIRECTORY']}",
            "setpriv", f"--reuid={self['User']}", f"--regid={self['Group']}", "--init-groups", "--no-new-privs",
            f"--inh-caps={capabilities('AmbientCapabilities')}", f"--ambient-caps={capabilities('AmbientCapabilities')}",
            f"--bounding-set={capabilities('CapabilityBoundingSet')}",
            "env", "-i", *(f"{key}={value}" for key, value in environment.items()), *shlex.split(line)]
