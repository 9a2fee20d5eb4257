"""Network namespaces with names of their own, joined by veth pairs; what a test starts in them ends with them."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path


_CLONE_NEWNET = 0x40000000


def missing() -> str | None:
    """Why there can be no namespaces here, in one line; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tools = [tool for tool in ("ip", "ethtool", "ping", "sysctl", "tcpdump") if shutil.which(tool) is None]
    if tools:
        return f"not installed: {', '.join(tools)}"
    name = f"vpngw-try-{os.getpid()}"
    for arguments in (["ip", "netns", "add", name], ["ip", "-n", name, "link", "add", "try0", "type", "veth"]):
        done = subprocess.run(arguments, capture_output=True, text=True)
        if done.returncode != 0:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
            return f"network namespaces are not permitted here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Polls `condition` until it is true; fails with `what` (text, or a function that makes it) when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def packets(process: subprocess.Popen, interface: str) -> tuple[int, int]:
    """What an interface of a process's namespace received and sent since it was made."""
    for line in Path(f"/proc/{process.pid}/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == interface:
            fields = numbers.split()
            return int(fields[1]), int(fields[9])
    raise AssertionError(f"process {process.pid} has no interface {interface}")


class Network:
    """A set of namespaces. `close` ends every process that was started in them, by its id, and removes them."""

    _count = 0

    def __init__(self, directory: Path):
        Network._count += 1
        self.directory = directory
        self._tag = f"vpngw-{os.getpid()}-{Network._count}"
        self._names: list[str] = []
        self._processes: list[subprocess.Popen] = []
        self._sockets: list[socket.socket] = []

    def add(self, *names: str) -> None:
        """New namespaces, without IPv6 so that nothing speaks unasked."""
        for name in names:
            _run(["ip", "netns", "add", self.full(name)])
            self._names.append(name)
            self.run(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
            self.ip(name, "link", "set", "lo", "up")

    def full(self, name: str) -> str:
        """What the system calls a namespace."""
        return f"{self._tag}-{name}"

    def veth(self, left: tuple[str, str], right: tuple[str, str]) -> None:
        """A cable between two (namespace, interface); both up, and every packet finished before it is on the cable."""
        self.ip(left[0], "link", "add", left[1], "type", "veth", "peer", "name", right[1], "netns", self.full(right[0]))
        for name, interface in (left, right):
            self.run(name, "ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
            self.ip(name, "link", "set", interface, "up")

    def host(self, name: str, address: str, gateway: str | None = None, interface: str = "eth0") -> None:
        """Gives an interface an address, and the namespace a default route."""
        self.ip(name, "address", "add", address, "dev", interface)
        if gateway:
            self.ip(name, "route", "add", "default", "via", gateway)

    def host6(self, name: str, address: str, gateway: str | None = None, interface: str = "eth0") -> None:
        """The same for IPv6, which the interface speaks from now on."""
        self.run(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0",
                 f"net.ipv6.conf.{interface}.disable_ipv6=0")
        self.ip(name, "address", "add", address, "dev", interface, "nodad")
        if gateway:
            self.ip(name, "-6", "route", "add", "default", "via", gateway)

    def ip(self, name: str, *arguments: str) -> str:
        return _run(["ip", "-n", self.full(name), *arguments])

    def run(self, name: str, *arguments, check: bool = True, timeout: float = 60) -> str:
        """Runs a command in a namespace to its end; its stdout."""
        return _run(self.command(name, *arguments), check=check, timeout=timeout)

    def command(self, name: str, *arguments) -> list[str]:
        return ["ip", "netns", "exec", self.full(name), *map(str, arguments)]

    def start(self, name: str, *arguments, log: Path, **options) -> subprocess.Popen:
        """Starts a command in a namespace, stdout and stderr to `log`. `ip netns exec` becomes it: the id is its own."""
        with log.open("wb") as output:
            options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT,
                       "start_new_session": True, **options}
            process = subprocess.Popen(self.command(name, *arguments), **options)
        self._processes.append(process)
        return process

    def socket(self, name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this process in a namespace."""
        made: list[socket.socket | OSError] = []

        def make() -> None:
            # A thread has a namespace of its own, and this one ends here.
            try:
                with open(f"/run/netns/{self.full(name)}", "rb") as place:
                    if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                made.append(socket.socket(family, kind, protocol))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        self._sockets.append(made[0])
        return made[0]

    def mac(self, name: str, interface: str) -> str:
        return self.run(name, "cat", f"/sys/class/net/{interface}/address").strip()

    def close(self) -> None:
        for opened in self._sockets:
            opened.close()
        for process in self._processes:
            if process.poll() is None:
                # With the processes that it started, a guest's for instance: each has a group of its own.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        for name in self._names:
            subprocess.run(["ip", "netns", "delete", self.full(name)], capture_output=True)


def _run(arguments: list[str], check: bool = True, timeout: float = 60) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments], capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
