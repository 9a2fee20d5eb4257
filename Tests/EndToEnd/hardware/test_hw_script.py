"""scripts/hw-test.sh touches nothing before it knows that the ports are right."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vpngw.gateway import ROOT

FIRST, SECOND = "0000:03:00.0", "0000:03:00.1"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Two ports of a card, as the kernel shows them."""
    for port in (FIRST, SECOND):
        place = tmp_path / "bus/pci/devices" / port
        place.mkdir(parents=True)
        (place / "class").write_text("0x020000\n")
        (place / "vendor").write_text("0x8086\n")
    return tmp_path


def run(sysfs: Path, *ports: str) -> subprocess.CompletedProcess:
    return subprocess.run([ROOT / "scripts/hw-test.sh", *ports], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"SYSFS": str(sysfs)})


@pytest.mark.parametrize(("ports", "code", "said"), [
    ([], 64, "usage:"),
    ([FIRST], 64, "usage:"),
    ([FIRST, FIRST], 64, "two ports are needed"),
    ([FIRST, "eth1"], 64, "no PCI address"),
    ([FIRST, "0000:04:00.0"], 69, "there is no device 0000:04:00.0; lspci"),
], ids=["none", "one", "one twice", "a name", "absent"])
def test_ports_that_are_none(sysfs: Path, ports: list[str], code: int, said: str):
    done = run(sysfs, *ports)
    assert done.returncode == code and said in done.stderr, done.stderr


@pytest.mark.parametrize(("file", "text", "said"), [
    ("class", "0x010802\n", "is no Ethernet controller"), ("vendor", "0x15b3\n", "is not Intel's")])
def test_devices_that_are_something_else(sysfs: Path, file: str, text: str, said: str):
    (sysfs / "bus/pci/devices" / SECOND / file).write_text(text)
    done = run(sysfs, FIRST, SECOND)
    assert done.returncode == 69 and f"{SECOND} {said}" in done.stderr, done.stderr


def test_a_port_that_is_in_use(sysfs: Path):
    """`lo` has an address on every machine, though not a global one: one of those that have is enough."""
    said = subprocess.run(["ip", "-o", "-4", "address", "show", "scope", "global"], capture_output=True, text=True).stdout
    if not said:
        pytest.skip("this machine has no address")
    name = said.split()[1]
    (sysfs / "bus/pci/devices" / FIRST / "net" / name).mkdir(parents=True)
    done = run(sysfs, FIRST, SECOND)
    assert done.returncode == 69 and f"{FIRST} is {name}, and it has addresses" in done.stderr, done.stderr
