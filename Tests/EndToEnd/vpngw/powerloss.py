"""What a power cut may leave of a directory, made from what a process did to it.

A process that runs with `PowerLoss.environment()` writes down what it does below the directory
(powerloss/powerloss.c). `PowerLoss.cut()` then replaces the directory's content by one that a power cut in that moment
may leave: everything that was synced is there; of everything else, whatever chance says. That is what POSIX allows, and
more than most file systems do: a file's fsync does not sync its name; writes that were not synced are kept or lost by
sectors of 512 octets, in part or torn, whatever their order; names that were made, changed or removed come and go until
their directory was synced.

    power = PowerLoss(directory, log)       # the content now is on disk
    run(..., env=os.environ | power.environment())
    power.cut(Random(seed))                 # the process has ended, however

Not followed, and refused when seen: links, fallocate, truncate by path, names from or to elsewhere. Not seen: mmap and
stdio. `everything()` is the content without a cut, by the log alone: comparing it with the directory shows whether
something was missed.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

SECTOR_OCTETS = 512
_HEADER = struct.Struct("=IIQQIIQ")
_SOURCE = Path(__file__).resolve().parents[1] / "powerloss" / "powerloss.c"
# SQLite's index of its -wal: mapped, hence not seen, and never synced. What is in it after a cut is anything.
_MAPPED_SUFFIX = "-shm"


@functools.cache
def library() -> Path:
    """The C library, compiled once for the process."""
    directory = tempfile.mkdtemp(prefix="powerloss-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = Path(directory) / "powerloss.so"
    subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-o", path, _SOURCE,
                    "-ldl", "-pthread"], check=True)
    return path


@dataclass
class _File:
    mode: int
    # On disk for certain, and what came after: ("write", offset, data) or ("truncate", size).
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple] = field(default_factory=list)

    def sync(self) -> None:
        _apply(self.durable, self.pending)
        self.pending = []


@dataclass
class _Directory:
    mode: int
    names: dict[str, int] = field(default_factory=dict)  # the numbers of its nodes, on disk


@dataclass
class _Names:
    """One change of names, which happens whole or not at all: of each directory, names to nodes (None: gone)."""
    changes: list[tuple[int, str, int | None]]


class PowerLoss:
    """A directory whose power may be cut. `log` is a file elsewhere; nothing of it need be there."""

    def __init__(self, directory: Path, log: Path):
        self.directory = Path(directory)
        self.log = Path(log)
        self.start_over()

    def environment(self) -> dict[str, str]:
        """What to add to a process's environment so that it is followed."""
        return {"LD_PRELOAD": str(library()), "POWERLOSS_DIRECTORY": str(self.directory),
                "POWERLOSS_LOG": str(self.log)}

    def start_over(self) -> None:
        """The directory's content as it is now counts as on disk; no process that is followed may run."""
        self.log.unlink(missing_ok=True)
        self._disk = _Disk(self.directory)

    def cut(self, random: Random) -> None:
        """Replaces the directory's content by one that a cut now may leave, and starts over from there."""
        content = self._replayed().after_cut(random)
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path, (mode, octets) in content.items():
            place = self.directory / path
            if octets is None:
                place.mkdir()
            else:
                place.write_bytes(octets)
            place.chmod(mode)
        self.start_over()

    def everything(self) -> dict[str, bytes]:
        """The files' content by the log, had nothing been cut; files that are mapped left out."""
        disk = self._replayed()
        disk.sync_all()
        return {path: octets for path, (_, octets) in disk.content().items()
                if octets is not None and not path.endswith(_MAPPED_SUFFIX)}

    def _replayed(self) -> _Disk:
        disk = _Disk(self.directory, initial=self._disk)
        for record in _records(self.log):
            disk.replay(*record)
        return disk


class _Disk:
    """Files and directories by node number: what is on disk, and what is on its way there."""

    def __init__(self, directory: Path, initial: _Disk | None = None):
        self.nodes: dict[int, _File | _Directory] = {}
        self.numbers: dict[int, int] = {}  # inode -> node; an inode may come again
        self.pending: list[_Names] = []
        self.current: dict[int, dict[str, int]] = {}  # what a process sees, by directory node
        if initial is None:
            self.root = self._read(directory)
        else:
            self.root = initial.root
            self.numbers = dict(initial.numbers)
            for number, node in initial.nodes.items():
                if isinstance(node, _File):
                    self.nodes[number] = _File(node.mode, bytearray(node.durable))
                else:
                    self.nodes[number] = _Directory(node.mode, dict(node.names))
                    self.current[number] = dict(node.names)

    def _read(self, path: Path) -> int:
        status = path.stat()
        if not path.is_dir():
            return self._add(status.st_ino, _File(status.st_mode & 0o7777, bytearray(path.read_bytes())))
        number = self._add(status.st_ino, _Directory(status.st_mode & 0o7777))
        names = {child.name: self._read(child) for child in sorted(path.iterdir())}
        self.nodes[number].names = names
        self.current[number] = dict(names)
        return number

    def _add(self, inode: int, node: _File | _Directory) -> int:
        number = len(self.nodes)
        self.nodes[number] = node
        self.numbers[inode] = number
        if isinstance(node, _Directory):
            self.current[number] = {}
        return number

    def replay(self, operation: str, inode: int, offset: int, path: str, other: str, data: bytes) -> None:
        match operation:
            case "C":
                self._name(path, self._add(inode, _File(offset)))
            case "M":
                self._name(path, self._add(inode, _Directory(offset)))
            case "W":
                self._file(inode).pending.append(("write", offset, data))
            case "T":
                self._file(inode).pending.append(("truncate", offset))
            case "S":
                self._sync(inode)
            case "U":
                self._name(path, None)
            case "R":
                directory, name = self._place(path)
                target, target_name = self._place(other)
                number = self.current[directory].pop(name)
                self.current[target][target_name] = number
                self.pending.append(_Names([(directory, name, None), (target, target_name, number)]))
            case _:
                raise RuntimeError(f"the process did what is not followed here, to {path or inode!r} {other!r}")

    def _file(self, inode: int) -> _File:
        node = self.nodes[self.numbers[inode]]
        assert isinstance(node, _File)
        return node

    def _place(self, path: str) -> tuple[int, str]:
        *parents, name = path.split("/")
        directory = self.root
        for parent in parents:
            directory = self.current[directory][parent]
        return directory, name

    def _name(self, path: str, number: int | None) -> None:
        directory, name = self._place(path)
        if number is None:
            del self.current[directory][name]
        else:
            self.current[directory][name] = number
        self.pending.append(_Names([(directory, name, number)]))

    def _sync(self, inode: int) -> None:
        number = self.numbers[inode]
        node = self.nodes[number]
        if isinstance(node, _File):
            node.sync()
            return
        # A change of two directories is on disk with either.
        for names in [names for names in self.pending if any(place == number for place, _, _ in names.changes)]:
            self._settle(names)
            self.pending.remove(names)

    def _settle(self, names: _Names) -> None:
        for directory, name, number in names.changes:
            if number is None:
                self.nodes[directory].names.pop(name, None)
            else:
                self.nodes[directory].names[name] = number

    def sync_all(self) -> None:
        for names in self.pending:
            self._settle(names)
        self.pending = []
        for node in self.nodes.values():
            if isinstance(node, _File):
                node.sync()

    def content(self) -> dict[str, tuple[int, bytes | None]]:
        """Path to mode and octets (None: a directory), parents first, of what is on disk."""
        found: dict[str, tuple[int, bytes | None]] = {}

        def walk(number: int, prefix: str) -> None:
            for name, child in self.nodes[number].names.items():
                node = self.nodes[child]
                if isinstance(node, _File):
                    found[prefix + name] = (node.mode, bytes(node.durable))
                else:
                    found[prefix + name] = (node.mode, None)
                    walk(child, prefix + name + "/")

        walk(self.root, "")
        return found

    def after_cut(self, random: Random) -> dict[str, tuple[int, bytes | None]]:
        """The content that a cut may leave. Consumes this disk."""
        kept = _share(random)
        for names in self.pending:
            if random.random() < kept:
                self._settle(names)
        for node in self.nodes.values():
            if isinstance(node, _File):
                _apply(node.durable, _survivors(node, random))
        content = self.content()
        for path, (mode, octets) in list(content.items()):
            if octets is not None and path.endswith(_MAPPED_SUFFIX):
                content[path] = (mode, random.choice([b"", bytes(len(octets)), random.randbytes(32768)]))
        return content


def _share(random: Random) -> float:
    """How likely it is that something not synced is kept: all of it, nothing, or anything between."""
    return random.choice([0.0, 1.0, random.random()])


def _survivors(file: _File, random: Random) -> Iterator[tuple]:
    """What a cut leaves of what was not synced of a file."""
    kept = _share(random)
    for change in file.pending:
        if change[0] == "truncate":
            if random.random() < kept:
                yield change
            continue
        _, offset, data = change
        # The size may be on disk without the data: zeros.
        if random.random() < kept / 2:
            yield ("extend", offset + len(data))
        end = offset + len(data)
        while offset < end:
            length = min(SECTOR_OCTETS - offset % SECTOR_OCTETS, end - offset)
            piece, data = data[:length], data[length:]
            if random.random() < kept:
                # Torn within a sector: its beginning only. Disks promise not to, and SQLite does not need that.
                whole = random.random() < 0.95
                yield ("write", offset, piece if whole else piece[:random.randrange(length)])
            offset += length


def _apply(octets: bytearray, changes) -> None:
    for change in changes:
        match change:
            case ("write", offset, data):
                if not data:
                    continue
                if offset > len(octets):
                    octets.extend(bytes(offset - len(octets)))
                octets[offset:offset + len(data)] = data
            case ("truncate", size):
                del octets[size:]
                octets.extend(bytes(size - len(octets)))
            case ("extend", size):
                octets.extend(bytes(max(0, size - len(octets))))


def _records(log: Path) -> Iterator[tuple[str, int, int, str, str, bytes]]:
    """The log's records, without a last one that a kill cut short: what it tells was not waited for."""
    octets = log.read_bytes() if log.exists() else b""
    place = 0
    while place + _HEADER.size <= len(octets):
        length, operation, inode, offset, path, other, data = _HEADER.unpack_from(octets, place)
        if place + length > len(octets):
            return
        assert length == _HEADER.size + path + other + data, f"no record at octet {place} of {log}"
        start = place + _HEADER.size
        yield (chr(operation), inode, offset, os.fsdecode(octets[start:start + path]),
               os.fsdecode(octets[start + path:start + path + other]), octets[start + path + other:place + length])
        place += length
