"""`vpn-gw top` and `show --watch` on a terminal: tmux plays one of 80 columns and 24 rows."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpngw.gateway import BINARY, command
from vpngw.live import Sites, echo
from vpngw.network import wait_until
from vpngw.screen import Screen, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    screen = Screen(tmp_path)
    yield screen
    screen.close()


def test_top_on_a_terminal(sites: Sites, screen: Screen):
    sites.start()
    socket = sites.a.site.with_suffix(".sock")
    settings = sites.network.directory / "stty"
    screen.run(f"stty -a >{settings}-1; {BINARY} top --socket {socket}")
    screen.wait("TUNNEL")
    assert screen.state("alternate_on") == "1" and screen.state("cursor_flag") == "0"
    wait_until(lambda: "1 of 1 tunnels up" in (echo(sites.network, "host-a", "10.0.2.10", 0, 9) or screen.text()), screen.text)
    sites.network.run("host-a", "ping", "-c", 1, "-W", 1, "-t", 1, "10.0.2.10", check=False)
    screen.wait("ttl_expired")
    lines = screen.lines()
    assert len(lines) <= 24 and all(len(line) <= 80 for line in lines)
    for word in ("gw-a", "lan", "wan", "software/software", "BUSY", " %", "DROPPED"):
        assert word in screen.text(), screen.text()
    # Narrower and lower: as much as there is room for, and nothing wrapped.
    screen.resize(40, 10)
    rest = "… and more, on a taller terminal"
    wait_until(lambda: screen.lines()[-1] == rest and screen.lines()[0].endswith("…"), screen.text)
    lines = screen.lines()
    assert len(lines) == 10 and all(len(line) <= 40 for line in lines), lines
    assert lines[0].startswith("gw-a  1 of 1 tunnels up") and lines[3].startswith("PORT") and lines[3].endswith("…"), lines
    screen.resize(80, 24)
    screen.wait("DROPPED")
    # The gateway goes and comes back: top says so, and goes on.
    sites.a.stop()
    screen.wait("NO ANSWER for")
    sites.a = type(sites.a)(sites.network, "gw-a", sites.a.site).wait_running()
    wait_until(lambda: "NO ANSWER" not in screen.text(), screen.text)
    for key in ("q", "C-c"):
        screen.type(key)
        wait_until(lambda: screen.state("alternate_on") == "0", screen.text)
        assert screen.state("cursor_flag") == "1"
        screen.run(f"echo ended $?; stty -a >{settings}-2")
        screen.wait("ended 0")
        assert Path(f"{settings}-1").read_text() == Path(f"{settings}-2").read_text()
        screen.run(f"clear; {BINARY} top --socket {socket}")
        screen.wait("TUNNEL")
    screen.type("q")
    sites.stop()


def test_a_killed_top_leaves_the_terminal_as_it_was(sites: Sites, screen: Screen):
    sites.start()
    pid = sites.network.directory / "pid"
    screen.run(f"sh -c 'echo $$ >{pid}; exec {BINARY} top --socket {sites.a.site.with_suffix('.sock')}'")
    screen.wait("TUNNEL")
    os.kill(int(pid.read_text()), signal.SIGTERM)
    wait_until(lambda: screen.state("alternate_on") == "0", screen.text)
    assert screen.state("cursor_flag") == "1"
    sites.stop()


def test_no_colour_where_none_is_wanted(sites: Sites, screen: Screen):
    sites.start()
    socket = sites.a.site.with_suffix(".sock")
    for variable, painted in (("NO_COLOR=", True), ("NO_COLOR=1", False)):
        screen.run(f"clear; {variable} {BINARY} top --socket {socket}")
        screen.wait("TUNNEL")
        assert any("\x1b[" in line for line in screen.lines(escapes=True)) == painted
        screen.type("q")
        wait_until(lambda: screen.state("alternate_on") == "0", screen.text)
    sites.stop()


def test_top_without_a_terminal_or_a_gateway(tmp_path: Path, screen: Screen):
    result = command("top", "--socket", tmp_path / "none.sock")
    assert result.code == 64 and "show summary" in result.stderr
    screen.run(f"{BINARY} top --socket {tmp_path}/none.sock; echo ended $?")
    screen.wait("ended 69")
    assert screen.state("alternate_on") == "0"


@pytest.mark.parametrize("subject", ["sa", "spd", "ports", "workers", "drops", "neighbors", "routes", "report", "summary"])
def test_every_subject_is_shown(subject: str, sites: Sites):
    """One gateway would do for all; each is a process of its own, as an operator's is."""
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    socket = sites.a.site.with_suffix(".sock")
    text, table = command("show", subject, "--socket", socket), command("show", subject, "--json", "--socket", socket)
    assert text.code == table.code == 0 and text.stdout.strip()
    assert json.loads(table.stdout)
    if subject in ("report", "summary"):
        row = json.loads(table.stdout)
        names = ["tx", "consumed", "dropped", "in_flight"]
        assert row["rx_packets"] + row["originated_packets"] == sum(row[f"{name}_packets"] for name in names)
    if subject == "workers":
        wait_until(lambda: all(0 <= row.get("busy_share", -1) <= 1 for row in sites.a.show("workers")["workers"]), "no shares")
    sites.stop()


def test_the_sums_of_the_views_add_up(sites: Sites):
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 99)
    sites.network.run("host-a", "ping", "-c", 1, "-W", 1, "-t", 1, "10.0.2.10", check=False)
    before = None
    # Until nothing moves any more.
    while before != (before := (sites.a.show("report"), sites.a.show("drops"), sites.a.show("ports"), sites.a.show("sa"))):
        pass
    report, drops, ports, associations = before
    assert report["drops"] == drops["drops"] and set(drops["help"]) == set(drops["drops"])
    assert report["dropped_packets"] == sum(drops["drops"].values())
    for name, port in ports["ports"].items():
        assert {key: port[key] for key in report["ports"][name]} == report["ports"][name]
    assert report["rx_packets"] == sum(port["rx_packets"] for port in ports["ports"].values())
    for told, shown in zip(report["sas"], associations["sas"], strict=True):
        names = ("tunnel", "spi", "direction", "path", "packets", "octets", "sequence_number")
        assert [shown[name] for name in names] == [told[name] for name in names]
    policies = sites.a.show("spd")["policies"]
    outbound, = (row["packets"] for row in associations["sas"] if row["direction"] == "outbound")
    # One was covered and then had no hop left.
    covered = sum(row["packets"] for row in policies if row["direction"] == "outbound")
    assert outbound == 100 and covered == outbound + drops["drops"]["ttl_expired"]
    sites.stop()


def test_show_watches_until_it_is_interrupted(sites: Sites, screen: Screen):
    sites.start()
    screen.run(f"clear; {BINARY} show report --watch --socket {sites.a.site.with_suffix('.sock')}")
    screen.wait("originated")

    def received() -> int:
        return int(next(line.split()[1] for line in screen.lines() if line.startswith("rx")))

    first = received()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    wait_until(lambda: received() >= first + 20, screen.text)
    # It draws in the same place.
    assert screen.text().count("originated") == 1 and screen.lines()[0].startswith("COUNTER")
    screen.type("C-c")
    screen.run("echo ended $?")
    screen.wait("ended 130")
    sites.stop()
