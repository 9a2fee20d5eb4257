"""What a service manager, the journal and a hook see of a gateway."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpngw.gateway import BINARY, ROOT, command
from vpngw.live import One, Sites, LiveGateway, echo
from vpngw.network import wait_until
from vpngw.notify import Manager


@pytest.fixture(params=["path", "abstract"])
def manager(request, one: One, tmp_path: Path) -> Iterator[Manager]:
    if request.param == "path":
        manager = Manager(str(tmp_path / "notify"))
    else:
        manager = Manager(f"@vpngw-{uuid.uuid4()}", one.network.socket("gw", socket.AF_UNIX, socket.SOCK_DGRAM))
    yield manager
    manager.close()


def test_ready_reload_and_stop_are_told(one: One, manager: Manager):
    gateway = one.run(**manager.environment).wait_running()
    assert re.fullmatch(
        r"READY=1\nSTATUS=0 of 1 tunnels up; .*\d+ packets in, \d+ dropped", manager.wait_for("READY=1"))
    assert not [text for text in manager.said() if "WATCHDOG" in text]
    for how in ("signal", "command", "refused"):
        before = len(manager.said())
        if how == "signal":
            gateway.process.send_signal(signal.SIGHUP)
        elif how == "command":
            assert command("reload", "--config", gateway.site).code == 0
        else:
            gateway.site.write_text(gateway.site.read_text() + "\n[nonsense]\n")
            assert command("reload", "--socket", gateway.site.with_suffix(".sock")).code == 78
        wait_until(lambda: [t for t in manager.said()[before:] if t.startswith("READY=1")], manager.said)
        said = [text for text in manager.said()[before:] if not text.startswith("STATUS=")]
        stamp = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", said[0])
        assert stamp and abs(int(stamp[1]) / 1e6 - time.monotonic()) < 30
        assert said[1].startswith("READY=1\nSTATUS=") and len(said) == 2
    gateway.stop()
    assert "STOPPING=1\nSTATUS=stopping" in manager.said()


def test_the_watchdog_hears_nothing_when_a_worker_stands_still(one: One, tmp_path: Path):
    manager = Manager(str(tmp_path / "notify"))
    gateway = one.run(WATCHDOG_USEC="3000000", **manager.environment).wait_running()
    wait_until(lambda: len(manager.times("WATCHDOG=1")) >= 2, manager.said, 60)
    # A debugger's way to stop one thread: the others go on.
    worker = [task for task in Path(f"/proc/{gateway.process.pid}/task").iterdir()
              if (task / "comm").read_text().startswith("rte-worker") or (task / "comm").read_text().startswith("lcore-worker")]
    assert len(worker) == 1, [(task / "comm").read_text() for task in Path(f"/proc/{gateway.process.pid}/task").iterdir()]
    holder = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("hold_thread.py"), worker[0].name], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        gateway.wait_for("do not advance", 60)
        count = len(manager.times("WATCHDOG=1"))
        status = [text for text in manager.said()]
        wait_until(lambda: gateway.log.read_text().count("do not advance") == 1, gateway.log.read_text)
        # The process itself is well, and says so where it is asked.
        assert command("show", "drops", "--config", gateway.site).code == 0
        time.sleep(2.5)
        assert len(manager.times("WATCHDOG=1")) == count, status
    finally:
        holder.stdin.close()
        holder.wait(10)
    wait_until(lambda: len(manager.times("WATCHDOG=1")) >= count + 2, manager.said, 60)
    assert gateway.log.read_text().count("do not advance") == 1
    gateway.stop()
    manager.close()


def test_lines_for_the_journal_have_priorities(one: One):
    """stderr is a socket as the journal's is; JOURNAL_STREAM names it, or another."""
    ours, theirs = socket.socketpair()
    status = os.fstat(theirs.fileno())
    site = one.site.write()
    for stream, has_priorities in ((f"{status.st_dev}:{status.st_ino}", True), ("1:2", False)):
        process = one.network.start(
            "gw", BINARY, "--config", site, log=site.with_suffix(".unused"), stderr=theirs,
            env=os.environ | {"JOURNAL_STREAM": stream})
        text = ""
        ours.settimeout(20)
        while " runs: workers on core(s)" not in text:
            text += ours.recv(65536).decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        ours.setblocking(False)
        try:
            while more := ours.recv(65536):
                text += more.decode()
        except BlockingIOError:
            pass
        own = [line for line in text.splitlines() if "gateway gw runs" in line or line.endswith("stopped")]
        assert len(own) == 2, text
        for line in own:
            assert bool(re.match(r"<6>[a-z]", line)) == has_priorities, line
            assert bool(re.match(r"\d{4}-\d\d-\d\dT\S+ info vpn-gw: ", line)) != has_priorities, line


def test_json_lines(one: One):
    site = one.site.write()
    log = site.with_suffix(".log")
    process = one.network.start("gw", BINARY, "--config", site, "--log-format", "json", log=log)
    wait_until(lambda: " runs: workers" in log.read_text() or process.poll() is not None, log.read_text)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert {frozenset(line) for line in lines} == {frozenset({"time", "level", "message"})}
    assert any(line["message"].startswith("gateway gw runs") and line["level"] == "info" for line in lines)


def test_a_tunnel_comes_up_once(sites: Sites):
    directory = sites.site_a.directory
    told = directory / "events"
    hook = directory / "hook"
    hook.write_text(f'#!/bin/sh\necho "$VPNGW_EVENT $VPNGW_TUNNEL" >> {told}\n')
    hook.chmod(0o755)
    sites.site_a.extra = f'hook_command = ["{hook}"]'
    manager = Manager(str(directory / "notify"))
    sites.a = LiveGateway(sites.network, "gw-a", sites.site_a.write(), manager.environment).wait_running()
    sites.b = LiveGateway(sites.network, "gw-b", sites.site_b.write()).wait_running()
    assert not told.exists()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    wait_until(lambda: told.exists() and told.read_text() == "tunnel_up b\n", lambda: sites.a.log.read_text())
    manager.wait_for("1 of 1 tunnels up")
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    sites.a.wait_for("tunnel b: up: authentic packets come in")
    sites.stop()
    assert told.read_text() == "tunnel_up b\n"
    assert sites.a.log.read_text().count("tunnel b: up") == 1
    manager.close()


def test_doctor_for_a_site_here(one: One):
    """In the gateway's own namespace: what is there is found, what runs is named."""
    site = one.site.write()

    def doctor() -> tuple[int, list[dict]]:
        done = subprocess.run(
            one.network.command("gw", BINARY, "doctor", "--json", "--config", site), capture_output=True, text=True)
        assert done.stderr == "", done.stderr
        findings = json.loads(done.stdout)["findings"]
        assert all(set(row) <= {"subject", "level", "text", "remedy"} for row in findings)
        assert done.returncode == (69 if any(row["level"] == "fail" for row in findings) else 0)
        return done.returncode, [row for row in findings if row["subject"] == "port lan"]

    # The host's end of the cable fills in its checksums, and is elsewhere.
    _, (row,) = doctor()
    assert "another namespace" in row["text"] and row["level"] == "warn"
    one.network.ip("gw", "link", "set", "lan", "mtu", "1400")
    code, (row, _) = doctor()
    assert code == 69 and row["remedy"] == "ip link set lan mtu 1500"
    one.network.run("gw", "sh", "-c", row["remedy"])
    assert len(doctor()[1]) == 1
    one.network.ip("gw", "link", "delete", "lan")
    code, (row,) = doctor()
    assert code == 69 and row["text"] == "there is no network interface lan here"


def test_doctor_names_the_gateway_that_runs(one: One):
    gateway = one.run().wait_running()
    text = subprocess.run(
        one.network.command("gw", BINARY, "doctor", "--config", gateway.site), capture_output=True, text=True).stdout
    assert f"process {gateway.process.pid} (vpn-gw) runs with this state directory" in text, text
    gateway.stop()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed (util-linux)")
def test_it_runs_as_another_user_with_the_units_capabilities(one: One):
    """AmbientCapabilities, User and NoNewPrivileges of the unit, without systemd."""
    unit = (ROOT / "configs/systemd/vpn-gw.service").read_text()
    names = re.search(r"^AmbientCapabilities=(.+)$", unit, re.M)[1].split()
    capabilities = ",".join("+" + name.removeprefix("CAP_").lower() for name in names)
    site = one.site.write()
    directory = one.site.directory
    user = 64321
    for path in (directory, site):
        os.chown(path, user, user)
    above = [path for path in directory.parents if stat.S_IMODE(path.stat().st_mode) & 0o001 == 0]
    for path in above:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o001)
    log = directory / "user.log"
    process = one.network.start(
        "gw", "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs",
        f"--inh-caps=-all,{capabilities}", f"--ambient-caps=-all,{capabilities}", f"--bounding-set=-all,{capabilities}",
        BINARY, "--config", site, log=log)
    wait_until(lambda: " runs: workers" in log.read_text() or process.poll() is not None, log.read_text)
    assert process.poll() is None, log.read_text()
    wait_until(lambda: command("show", "ports", "--config", site).code == 0, "the socket answers")
    one.network.run("host", "ping", "-c", "1", "-W", "5", "10.0.1.1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0, log.read_text()
