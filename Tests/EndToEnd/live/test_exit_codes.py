"""How run mode ends when it can't begin: the exit code of the contract, and a message that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpngw.gateway import BINARY, command
from vpngw.live import One, cores, echo
from vpngw.network import wait_until

NOBODY = 65534
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")


def test_absent_site_file(tmp_path: Path):
    run = command("--config", tmp_path / "absent.toml")
    assert run.code == 66
    assert "absent.toml" in run.stderr and "there is no such file" in run.stderr


def test_every_problem_of_a_site_at_once(one: One):
    text = one.site.text()
    for good, bad in (
        ('role = "protected"', 'role = "inside"'), ("mtu_octets = 1500", "mtu_octets = 15000"), ("spi = 0x1001", "spi = 0x10")
    ):
        text = text.replace(good, bad, 1)
    run = one.run(text).ended()
    assert run.code == 78, run.stderr
    for bad in ("inside", "15000", "spi"):
        assert bad in run.stderr


def test_keys_that_others_may_read(one: One):
    path = one.site.write()
    path.chmod(0o644)
    run = one.run().ended()
    assert run.code == 78, run.stderr
    assert str(path) in run.stderr and "chmod 600" in run.stderr
    for tunnel in one.site.tunnels:
        assert tunnel.outbound_key.hex() not in run.stderr and tunnel.inbound_key.hex() not in run.stderr


def test_interface_that_is_not_there(one: One):
    one.site.ports[1].device = "net_af_packet1,iface=wann"
    run = one.run().ended()
    assert run.code == 69, run.stderr
    assert 'port wan: there is no network interface "wann" here: run `ip link`' in run.stderr


def test_a_start_without_its_device_uses_no_numbers(one: One):
    """A service manager may try again every few seconds, for days."""
    state = one.site.directory / "gw-state"
    for _ in range(2):
        run = one.run(one.site.text().replace("net_af_packet1", "net_nonsense1")).ended()
        assert run.code == 69, run.stderr
        assert "0x00001001" not in command("state", "show", "--directory", state).stdout
    one.run().wait_running().stop()
    assert "0x00001001" in command("state", "show", "--directory", state).stdout


def test_core_that_is_not_there(one: One):
    one.site.worker_cores = [max(cores()) + 1]
    run = one.run().ended()
    assert run.code == 69, run.stderr
    assert f"core {max(cores()) + 1} is not available here" in run.stderr
    assert f"may use {', '.join(map(str, cores()))}" in run.stderr


@pytest.fixture
def huge_pages() -> Iterator[Path]:
    """The kernel's number of them, put back afterwards."""
    before = HUGE_PAGES.read_text()
    try:
        yield HUGE_PAGES
    finally:
        HUGE_PAGES.write_text(before)


def test_no_huge_pages(one: One, huge_pages: Path):
    huge_pages.write_text("0")
    if free_huge_pages():
        pytest.skip("another process of this machine holds hugepages")
    one.site.huge_pages = True
    run = one.run().ended()
    assert run.code == 69, run.stderr
    assert "no hugepages are free" in run.stderr and "sysctl -w vm.nr_hugepages=" in run.stderr


def test_what_the_message_on_huge_pages_says_helps(one: One, huge_pages: Path):
    huge_pages.write_text("0")
    one.site.huge_pages = True
    run = one.run().ended()
    if "sysctl -w" not in run.stderr:
        pytest.skip("another process of this machine holds hugepages")
    wanted = int(run.stderr.split("vm.nr_hugepages=")[1].split("`")[0])
    huge_pages.write_text(str(wanted))
    if free_huge_pages() < wanted:
        pytest.skip(f"the kernel gives {free_huge_pages()} hugepages of {wanted}")
    gateway = one.run().wait_running()
    assert free_huge_pages() < wanted
    echo(one.network, "host", "10.0.1.1", 0, 99)
    gateway.stop()
    assert free_huge_pages() == wanted  # all given back


def free_huge_pages() -> int:
    return sum(int(path.read_text()) for path in Path("/sys/kernel/mm/hugepages").glob("*/free_hugepages"))


@pytest.fixture
def nobody(one: One) -> Iterator[One]:
    """The same site, its file and state directory where a user without rights reaches them, and his."""
    directory = Path(tempfile.mkdtemp(prefix="vpngw-nobody-"))
    try:
        directory.chmod(0o755)
        binary = directory / "vpn-gw"
        shutil.copy(BINARY, binary)
        mine = directory / "mine"
        mine.mkdir()
        os.chown(mine, NOBODY, NOBODY)
        one.site.directory = mine
        for port in one.site.ports:  # rings of the default size: they must fit `ulimit -l`
            port.device = port.device.split(",framecnt")[0]
        path = one.site.write()
        os.chown(path, NOBODY, NOBODY)
        tried = subprocess.run([*as_nobody(), binary, "--help"], capture_output=True, text=True)
        if tried.returncode != 0:
            pytest.skip(f"another user can't start the binary here: {tried.stderr.strip()}")
        yield one
    finally:
        shutil.rmtree(directory)


def as_nobody(*capabilities: str) -> list[str]:
    """A command in front of another, which then runs without root's rights but those named."""
    names = "".join(f",+{capability}" for capability in capabilities)
    given = [f"--inh-caps=-all{names}", f"--ambient-caps=-all{names}"] if capabilities else []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *given]


def run_as_nobody(one: One, *capabilities: str) -> subprocess.Popen:
    binary, site = one.site.directory.parent / "vpn-gw", one.site.directory / "gw.toml"
    return one.network.start(
        "gw", *as_nobody(*capabilities), binary, "--config", site, log=one.network.directory / "nobody.log")


def said(one: One) -> str:
    return (one.network.directory / "nobody.log").read_text()


def test_user_without_rights(nobody: One):
    assert run_as_nobody(nobody).wait(20) == 77, said(nobody)
    assert "needs root, or the capabilities CAP_NET_RAW and CAP_NET_ADMIN" in said(nobody)
    assert "setcap cap_net_raw,cap_net_admin+ep" in said(nobody)


def test_the_capabilities_that_the_message_names_are_enough(nobody: One):
    process = run_as_nobody(nobody, "net_raw", "net_admin")
    wait_until(lambda: " runs: " in said(nobody) or process.poll() is not None, lambda: said(nobody))
    assert process.poll() is None, said(nobody)
    echo(nobody.network, "host", "10.0.1.1", 0, 9)
    process.terminate()
    assert process.wait(10) == 0, said(nobody)


def test_site_file_of_another_user(nobody: One):
    path = nobody.site.directory / "gw.toml"
    os.chown(path, 0, 0)
    assert run_as_nobody(nobody, "net_raw", "net_admin").wait(20) == 77, said(nobody)
    assert str(path) in said(nobody) and "this user may not read it" in said(nobody)


def test_state_directory_of_another_user(nobody: One):
    os.mkdir(nobody.site.directory / "gw-state", 0o700)
    assert run_as_nobody(nobody, "net_raw", "net_admin").wait(20) == 77, said(nobody)
    assert "gw-state" in said(nobody) and "may write" in said(nobody)
