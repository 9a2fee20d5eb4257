"""Counts the instructions of one function's calls in another process, by who they belong to: one step at a time, as a
debugger does. Slow (some 100 000 a second), exact, and independent of the machine's load and of what valgrind knows of
its processor."""

from __future__ import annotations

import bisect
import ctypes
import os
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_ATTACH, _DETACH, _CONT, _STEP = 16, 17, 7, 9
_PEEKUSER, _PEEKTEXT, _POKETEXT, _POKEUSER, _WALL = 3, 1, 4, 6, 0x40000000
_RIP, _RSP = 16 * 8, 19 * 8  # In `struct user`: sys/user.h.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int, address: int | None = None, data: int | None = None) -> int:
    ctypes.set_errno(0)
    result = _libc.ptrace(request, thread, address, data)
    if result == -1 and ctypes.get_errno() != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result & 0xFFFF_FFFF_FFFF_FFFF


def symbols(binary: Path) -> list[tuple[int, str]]:
    """Of the program's own code, by address."""
    lines = subprocess.run(["nm", "--defined-only", binary], capture_output=True, text=True, check=True).stdout
    found = (line.split(maxsplit=2) for line in lines.splitlines())
    return sorted((int(address, 16), name) for address, kind, name in found if kind in "tTwW")


@dataclass
class Call:
    """One call of the function."""

    own: Counter[str] = field(default_factory=Counter)
    """Instructions of the program itself, by function."""
    libraries: Counter[str] = field(default_factory=Counter)
    """Those of shared libraries, by file name."""


class Stepper:
    """A thread of another process that is stopped wherever a function of the program's begins."""

    def __init__(self, process: int, thread: int, binary: Path, function: str):
        self._thread = thread
        self._symbols = symbols(binary)
        self._starts = [address for address, _ in self._symbols]
        # The C library's own ranges count as libraries; what has no file is the program's.
        self._ranges: list[tuple[int, int, str]] = []
        self._base = None
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            parts = line.split(maxsplit=5)
            if len(parts) < 6:
                continue
            start, end = (int(each, 16) for each in parts[0].split("-"))
            if Path(parts[5]) == binary.resolve():
                self._base = start if self._base is None else self._base
            elif "x" in parts[1]:
                self._ranges.append((start, end, Path(parts[5]).name))
        assert self._base is not None, binary
        self._end = self._base + self._starts[-1] + (1 << 20)
        self._place = self._base + next(address for address, name in self._symbols if name == function)
        Stepper.attach(thread)
        self._word = _ptrace(_PEEKTEXT, thread, self._place)

    @staticmethod
    def attach(thread: int) -> None:
        """Stops it; an error where that is not allowed."""
        _ptrace(_ATTACH, thread)
        os.waitpid(thread, _WALL)

    def _wait(self) -> None:
        """Until it stops at a step or a breakpoint; other signals are passed on."""
        while True:
            _, status = os.waitpid(self._thread, _WALL)
            assert os.WIFSTOPPED(status), f"the program ended: {status}"
            if os.WSTOPSIG(status) == signal.SIGTRAP:
                return
            _ptrace(_CONT, self._thread, None, os.WSTOPSIG(status))

    def _run_to_call(self) -> None:
        _ptrace(_POKETEXT, self._thread, self._place, self._word & ~0xFF | 0xCC)
        _ptrace(_CONT, self._thread)
        self._wait()
        _ptrace(_POKETEXT, self._thread, self._place, self._word)
        _ptrace(_POKEUSER, self._thread, _RIP, self._place)

    def skip(self) -> None:
        """Lets one call pass."""
        self._run_to_call()
        _ptrace(_STEP, self._thread)
        self._wait()

    def call(self) -> Call:
        """The instructions of the next call, from its first to its return."""
        self._run_to_call()
        stack = _ptrace(_PEEKUSER, self._thread, _RSP)
        places: Counter[int] = Counter()
        while True:
            place = _ptrace(_PEEKUSER, self._thread, _RIP)
            if _ptrace(_PEEKUSER, self._thread, _RSP) > stack:
                break
            places[place] += 1
            _ptrace(_STEP, self._thread)
            self._wait()
        return self._sorted(places)

    def _sorted(self, places: Counter[int]) -> Call:
        call = Call()
        for place, count in places.items():
            if self._base <= place < self._end:
                index = bisect.bisect_right(self._starts, place - self._base) - 1
                call.own[self._symbols[index][1]] += count
            else:
                name = next((name for start, end, name in self._ranges if start <= place < end), "?")
                call.libraries[name] += count
        return call

    def release(self) -> None:
        """Lets the thread go on alone."""
        _ptrace(_DETACH, self._thread)
