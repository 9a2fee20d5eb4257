"""The packet's way in the release binary calls nothing that allocates, counts references, locks or throws."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOTCHECK = ROOT / "scripts" / "hotcheck.sh"

pytestmark = pytest.mark.skipif(
    shutil.which("objdump") is None or shutil.which("swift") is None, reason="needs objdump and swift")


def hotcheck(*arguments):
    done = subprocess.run([HOTCHECK, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def compiled(directory, source):
    """A program whose module is called DataPlane, so that its names are those of the worker's."""
    (directory / "main.swift").write_text(source)
    binary = directory / "program"
    subprocess.run(
        ["swiftc", "-O", "-module-name", "DataPlane", directory / "main.swift", "-o", binary], check=True, timeout=300)
    return binary


CLEAN = """
struct Worker: ~Copyable {
    var sum: UInt64 = 0
    @inline(never) mutating func poll(now: UInt64) { sum &+= now; receive(on: Int(now & 3)) }
    @inline(never) mutating func receive(on port: Int) { sum &*= UInt64(port) }
}
var worker = Worker()
worker.poll(now: UInt64(CommandLine.arguments.count))
print(worker.sum)
"""

# Each by itself, in a method that `poll` calls: what is planted, and what must be named.
PLANTED = {
    "retain": (
        "final class Shared { var count = 0; init(_ n: Int) { count = n } }\n"
        "nonisolated(unsafe) var shared = [Shared(1), Shared(2)]\n"
        "@inline(never) func use(_ s: Shared) { s.count += 1 }\n",
        "let s = shared[port & 1]; use(s); shared[1 - (port & 1)] = s", r"swift_(retain|release|beginAccess)"),
    "allocation": (
        "final class Box { let n: Int; init(_ n: Int) { self.n = n } }\nnonisolated(unsafe) var last: Box?\n",
        "last = Box(port)", r"swift_allocObject"),
    "array": (
        "nonisolated(unsafe) var list: [Int] = []\n", "list.append(port)", r"swift_isUniquelyReferenced|Array|swift_"),
    "throw": (
        "struct Bad: Error { let n: Int }\n@inline(never) func fail(_ n: Int) throws { if n > 1 { throw Bad(n: n) } }\n",
        "do { try fail(port) } catch { sum &+= 1 }", r"swift_(allocError|willThrow|errorRelease)"),
    "malloc": ("import Glibc\n", "sum &+= UInt64(UInt(bitPattern: malloc(port)))", r"calls malloc"),
    "text": ("", "if port == 3 { print(sum) }", r"print|swift_"),
}


def test_release_binary():
    binary = pathlib.Path(os.environ.get("VPN_GW", ROOT / ".build/release/vpn-gw"))
    if not binary.exists():
        pytest.skip(f"{binary} is not built")
    code, text = hotcheck(binary)
    assert code == 0, "\n".join(line for line in text.splitlines() if not line.startswith("checked"))
    checked = re.findall(r"^checked (.*)$", text, re.MULTILINE)
    assert len(checked) >= 40, text


def test_clean_program_is_clean(tmp_path):
    code, text = hotcheck("--any", compiled(tmp_path, CLEAN))
    assert code == 0, text
    assert "checked DataPlane.Worker.poll(" in text


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_violation_is_found(tmp_path, kind):
    head, body, names = PLANTED[kind]
    source = head + CLEAN.replace("sum &*= UInt64(port)", "sum &*= UInt64(port); " + body)
    code, text = hotcheck("--any", compiled(tmp_path, source))
    assert code == 1, text
    violations = [line for line in text.splitlines() if line.startswith("VIOLATION")]
    assert any("DataPlane.Worker." in line and re.search(names, line) for line in violations), text


def test_a_program_without_the_worker_is_refused(tmp_path):
    code, text = hotcheck(compiled(tmp_path, CLEAN))
    assert code == 1 and "MISSING ESP.OutboundBurst.prepare(" in text
    code, text = hotcheck("--any", shutil.which("true"))
    assert code == 1 and "MISSING every root" in text


def test_usage(tmp_path):
    assert hotcheck()[0] == 2
    assert hotcheck(tmp_path / "absent")[0] == 2
