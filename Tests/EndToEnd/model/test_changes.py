"""What operators, reloads, lifetimes and crashes change of SAs that NICs have."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest

from vpngw.gateway import BINARY
from vpngw.live import LiveGateway, Sites, Stream, blast, echo
from vpngw.network import wait_until
from vpngw.offload import Modelled, start_both
from vpngw.site import Tunnel

pytestmark = pytest.mark.timeout(170)


def kill(end: Modelled) -> None:
    """The gateway, not the model around it, which ends with it."""
    for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        words = process.read_bytes().split(b"\0")
        if words[0] == str(BINARY).encode() and str(end.gateway.site).encode() in words:
            os.kill(int(process.parent.name), signal.SIGKILL)
    end.gateway.process.wait(30)


def again(end: Modelled) -> LiveGateway:
    """The same gateway on the same model's options, once more."""
    old = end.gateway
    return LiveGateway(old.network, old.name, old.site, old.environment, old.wrapper)


def test_an_operator_who_wants_a_nic_gets_it(sites: Sites):
    """For a tunnel whose site says off, and the other way round, until the site is read again."""
    third = Tunnel("c", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.3.0/24"], 0x1002, 0x2002)
    sites.site_a.tunnels.append(third)
    sites.site_b.tunnels.append(third.reversed("c"))
    sites.site_b.ports[0].addresses.append("10.0.3.1/24")
    sites.network.host("host-b", "10.0.3.10/24")
    for site in (sites.site_a, sites.site_b):
        site.tunnels[0].keys = {"offload": "off"}
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    for wanted, path in (("auto", "inline"), ("off", "software")):
        for end, tunnel in ((both.a, "b"), (both.b, "a")):
            end.gateway.control.post("offload", {"tunnel": tunnel, "wanted": wanted})
        for end in (both.a, both.b):
            before = end.paths()
            echo(both.network, "host-a", "10.0.2.10", 0, 49)
            for key, row in end.paths().items():
                if key[0][-1] == "1":
                    assert row["path"] == path
                    gained = row["offloaded_packets"] - before[key]["offloaded_packets"]
                    assert gained == (50 if wanted == "auto" else 0), row
                    assert row["fallback_packets"] == before[key]["fallback_packets"]
    for end, tunnel in ((both.a, "b"), (both.b, "a")):
        end.gateway.control.post("offload", {"tunnel": tunnel, "wanted": "auto"})
        end.gateway.control.post("reload")
        assert end.path(0x1001, "outbound" if end is both.a else "inbound") == "software"
    for end in (both.a, both.b):
        assert end.stop()[0]["drops"] == {}


def test_a_reload_changes_what_is_wanted(sites: Sites):
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    stream = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 1000, 1400)
    for choice, path in (("off", "software"), ("required", "inline"), ("off", "software"), ("auto", "inline")):
        sites.site_a.tunnels[0].keys["offload"] = choice
        sites.site_a.write()
        both.a.gateway.control.post("reload")
        assert {row["path"] for row in both.a.paths().values()} == {path}
        before = both.a.wan()["encrypted"]
        if path == "inline":
            wait_until(lambda: both.a.wan()["encrypted"] > before + 100, "packets that the NIC encrypts")
    sites.site_a.tunnels[0].keys = {"offload": "required", "extended_sequence_numbers": True}
    sites.site_a.write()
    assert both.a.gateway.control.try_post("reload")[0] == 78
    sent, (counted, lost, *wrong) = stream.stop()
    assert counted > 0.9 * sent and wrong == [0, 0]
    for end in (both.a, both.b):
        assert end.stop()[0]["drops"] == {}


def test_a_reload_says_what_it_cannot_have(sites: Sites):
    sites.site_a.tunnels[0].keys = {"offload": "off"}
    both = start_both(sites)
    sites.site_a.tunnels[0].keys = {"offload": "auto"}
    sites.site_a.write()
    told = "\n".join(both.a.gateway.control.post("reload"))
    assert "tunnel b: software until the gateway is started again" in told
    sites.site_a.ports[1].extra = "vlan = 7"
    sites.site_a.write()
    code, messages = both.a.gateway.control.try_post("reload")
    assert code != 0 and "vlan of port wan is 0 and would be 7: that takes a restart" in "\n".join(messages)
    both.a.stop()
    both.b.stop()


def test_tunnels_that_come_by_a_reload_have_nics(sites: Sites):
    tunnels, sites.site_a.tunnels = sites.site_a.tunnels, []
    both = start_both(sites)
    sites.site_a.tunnels = tunnels
    sites.site_a.write()
    both.a.gateway.control.post("reload")
    echo(both.network, "host-a", "10.0.2.10", 0, 49)
    assert {row["path"] for row in both.a.paths().values()} == {"inline"}
    assert both.a.stop()[0]["drops"] == {}
    both.b.stop()


def test_lifetimes_of_sas_that_a_nic_has(sites: Sites):
    sites.site_a.tunnels[0].lifetime = {"soft_lifetime_packets": 50, "hard_lifetime_packets": 100}
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 39)
    blast(both.network, "host-a", "10.0.2.10", 200)
    both.a.gateway.wait_for("outbound SA 0x00001001 has reached its soft lifetime")
    both.a.gateway.wait_for("outbound SA 0x00001001 has reached its hard lifetime")
    said, wan = both.a.stop()
    (row,) = [row for row in said["sas"] if row["direction"] == "outbound"]
    assert row["packets"] == 100 and wan["encrypted"] == row["offloaded_packets"] + 1
    assert row["offloaded_packets"] + sum(row["fallback_packets"].values()) == 100
    assert said["drops"] == {"lifetime_expired": 140}
    assert both.b.stop()[0]["drops"] == {}


def test_packets_above_what_is_on_disk_wait_opened(sites: Sites):
    """A NIC opened them; the window may not yet take them, and nothing of them is lost (docs/STATE.md)."""
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    for _ in range(2):
        # Killed, gw-b starts above what it may have accepted, and gw-a's numbers jump when that is killed.
        for end in (both.a, both.b):
            kill(end)
        both.b.gateway, both.a.gateway = again(both.b), again(both.a)
        both.a.wait_running()
        both.b.wait_running()
        echo(both.network, "host-b", "10.0.1.10", 0, 9)
        stream = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 4000, 64)
        wait_until(lambda: both.b.wan()["decrypted"] > 3000, "packets that the NIC opened", 30)
        sent, (counted, lost, reordered, doubled) = stream.stop()
        assert (reordered, doubled) == (0, 0) and counted > 0.9 * sent
    for end in (both.a, both.b):
        assert end.stop()[0]["drops"] == {}
