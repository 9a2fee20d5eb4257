"""What `vpn-gw caps` and `vpn-gw show offload` say of NICs with an engine, to people and to programs."""

from __future__ import annotations

import json
import subprocess

import pytest

from vpngw import nic
from vpngw.gateway import BINARY, Result, command
from vpngw.live import Sites, echo
from vpngw.offload import Modelled, start_both

pytestmark = pytest.mark.timeout(170)

ALL = {(direction, mode) for direction in ("inbound", "outbound") for mode in ("transport", "tunnel")}


def ask(end: Modelled, *words) -> Result:
    return command(*words, "--socket", end.gateway.site.with_suffix(".sock"))


def usable(rows: list[dict], port: str) -> set[tuple[str, str]]:
    return {(row["direction"], row["mode"]) for row in rows if row["port"] == port and row["is_usable"]}


def test_caps_of_a_gateway_that_runs(sites: Sites):
    both = start_both(sites)
    rows = json.loads(ask(both.a, "caps", "--json").stdout)["caps"]
    assert len(rows) == 8 and usable(rows, "wan") == ALL
    for row in rows:
        assert row["driver"] == "net_ixgbe" and "aes-gcm" in row["algorithms"]
        assert row["slots"] == (255 if row["direction"] == "outbound" else 1023)
        assert not row["extended_sequence_numbers"] and not row["udp_encapsulation"]
    assert {row["port"] for row in json.loads(ask(both.a, "caps", "--json", "--port", "wan").stdout)["caps"]} == {"wan"}
    shown = ask(both.a, "caps", "--port", "wan").stdout.splitlines()
    assert len(shown) == 5 and all("net_ixgbe" in line and "aes-gcm" in line for line in shown[1:])
    wrong = ask(both.a, "caps", "--port", "wann")
    assert wrong.code == 64 and 'there is no port "wann": did you mean wan?' in wrong.stderr
    assert ask(both.a, "offload", "off", "--port", "wan", "--direction", "inbound").code == 0
    rows = json.loads(ask(both.a, "caps", "--json").stdout)["caps"]
    assert usable(rows, "wan") == {("outbound", "transport"), ("outbound", "tunnel")}
    assert {row["why"] for row in rows if row["port"] == "wan" and not row["is_usable"]} == {
        "an operator switched this direction of the port off"}
    both.a.stop()
    both.b.stop()


def test_caps_where_no_gateway_runs(sites: Sites):
    site = sites.site_a
    site.huge_pages = True
    for number, port in enumerate(site.ports):
        port.device = f"0000:81:00.{number}"
    path = site.write()

    def asked(*words) -> subprocess.CompletedProcess:
        return subprocess.run([nic.MODEL, "run", "--", BINARY, "caps", *words], capture_output=True, text=True, timeout=60)

    done = asked("--config", path, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout[done.stdout.index("{"):])["caps"]
    assert usable(rows, "lan") == usable(rows, "wan") == ALL
    done = asked("--config", path, "--port", "wan")
    assert done.returncode == 0 and done.stdout.count("net_ixgbe") == 4
    done = asked("--config", path, "--port", "dmz")
    assert done.returncode == 64 and "there is no port \"dmz\"" in done.stderr
    done = asked("--socket", sites.network.directory / "nobody.sock")
    assert done.returncode == 69 and "--config" in done.stderr, done.stderr


def test_show_offload(sites: Sites):
    sites.site_b.tunnels[0].keys = {"offload": "off"}
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 99)
    rows = json.loads(ask(both.a, "show", "offload", "--json").stdout)["offload"]
    assert [(row["direction"], row["path"], row["port"], row["wanted"]) for row in rows] == [
        ("outbound", "inline", "wan", "auto"), ("inbound", "inline", "wan", "auto")]
    for row in rows:
        assert row["offloaded_packets"] + sum(row["fallback_packets"].values()) == 100
    shown = ask(both.a, "show", "offload").stdout
    for words in ("b", "0x00001001", "outbound", "inline", "port wan has it"):
        assert words in shown, shown
    rows = json.loads(ask(both.b, "show", "offload", "--json").stdout)["offload"]
    assert {(row["path"], row["why"], row["offloaded_packets"]) for row in rows} == {("software", "the site says off", 0)}
    assert all(row["fallback_packets"] == {} for row in rows), rows
    both.a.stop()
    both.b.stop()
