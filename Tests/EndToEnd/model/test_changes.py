"""What operators, reloads, lifetimes and crashes change of SAs that NICs have."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest

from vpngw.gateway import BINARY
from vpngw.live import LiveGateway, Sites, Stream, blast, cores, echo
from vpngw.network import wait_until
from vpngw.offload import Modelled, start_both
from vpngw.rekey import mirrored, pair
from vpngw.site import Port, Tunnel

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


@pytest.mark.parametrize("before", ["off", "lookaside"])
def test_a_reload_says_what_it_cannot_have(sites: Sites, before: str):
    """Engines are left alone where no tunnel wants one, since they take the driver's fastest ways away."""
    sites.site_a.dpdk = 'crypto_devices = ["crypto_aesni_mb0"]'
    sites.site_a.tunnels[0].keys = {"offload": before}
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


def test_two_workers_leave_packets_to_one_nic(sites: Sites):
    """Each has queues of its own, what one received is for the other, and both have to stand back before an SA goes."""
    if len(cores()) < 2:
        pytest.skip("two workers need two processors")
    second = Tunnel("c", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.3.0/24"], 0x1002, 0x2002)
    sites.site_a.tunnels.append(second)
    sites.site_b.tunnels.append(second.reversed("d"))
    sites.site_b.ports[0].addresses.append("10.0.3.1/24")
    sites.network.host("host-b", "10.0.3.10/24")
    # One gateway only: four threads that never rest would leave two processors to nobody else.
    sites.site_a.worker_cores = cores()[-2:]
    both = start_both(sites)
    assert "port wan: net_ixgbe, 00:1b:21:82:01:01, 2 receive queue(s)" in both.a.gateway.log.read_text()
    for address in ("10.0.2.10", "10.0.3.10"):
        echo(both.network, "host-a", address, 0, 9)
    streams = [Stream(both.network, "host-a", "host-b", address, 7001 + number, 300, 1400)
               for number, address in enumerate(("10.0.2.10", "10.0.3.10"))]
    streams += [Stream(both.network, "host-b", "host-a", "10.0.1.10", 7003, 300, 1400)]
    control = both.a.gateway.control
    for number in range(6):
        request = pair(number)
        both.a.gateway.control.post("sa/add", request)
        both.b.gateway.control.post("sa/add", mirrored(request))
        for end, tunnel, spi in ((both.a, "b", "outbound"), (both.b, "a", "inbound")):
            end.gateway.control.post("sa/remove", {"tunnel": tunnel, "spi": request[spi]["spi"]})
        for wanted in ("off", "auto"):
            control.post("offload", {"port": "wan", "wanted": wanted})
    for stream in streams:
        _, (counted, _, *wrong) = stream.stop()
        assert counted > 100 and wrong == [0, 0]
    for end in (both.a, both.b):
        said, _ = end.stop()
        # Where workers have no processor to themselves, what does not run lets queues fill up, and the disk wait.
        assert set(said["drops"]) <= {"handoff_full", "tx_full", "ahead"}, said["drops"]
        assert all(row["offloaded_packets"] > 0 for row in said["sas"] if row["direction"] == "outbound"), said["sas"]


def test_a_tunnel_moves_to_another_port(sites: Sites):
    """A route changes while packets flow: one NIC gives the SAs back, the other gets them."""
    network = sites.network
    network.veth(("gw-a", "wan2"), ("gw-b", "wan2"))
    for number, site in enumerate((sites.site_a, sites.site_b), start=1):
        site.ports.append(Port("wan2", "unprotected", [f"203.0.113.{number}/24"], "net_null0"))
        site.routes = [(f"198.51.100.{3 - number}/32", f"192.0.2.{3 - number}")]
        site.ports[1].addresses.append(f"198.51.100.{number}/32")
    tunnel = Tunnel("b", "198.51.100.1", "198.51.100.2", ["10.0.1.0/24"], ["10.0.2.0/24"], 0x1001, 0x2001)
    sites.site_a.tunnels, sites.site_b.tunnels = [tunnel], [tunnel.reversed("a")]
    wires = ["--ports", 3, "--wire", "2=packet:wan2", "--protect", 2, "--hugepages-mib", 768]
    both = start_both(sites, *wires)
    echo(network, "host-a", "10.0.2.10", 0, 9)
    streams = [Stream(network, "host-a", "host-b", "10.0.2.10", 7001, 1000, 1400),
               Stream(network, "host-b", "host-a", "10.0.1.10", 7002, 1000, 1400)]
    for round in range(6):
        way, name = (("203.0.113", "wan2"), ("192.0.2", "wan"))[round % 2]
        for number, site, end in ((1, sites.site_a, both.a), (2, sites.site_b, both.b)):
            site.routes = [(f"198.51.100.{3 - number}/32", f"{way}.{3 - number}")]
            site.write()
            end.gateway.control.post("reload")
            rows = end.paths().values()
            assert {(row["path"], row["port"]) for row in rows} == {("inline", name)}, rows
        for end in (both.a, both.b):
            before = {key: row["offloaded_packets"] for key, row in end.paths().items()}
            wait_until(lambda: all(row["offloaded_packets"] > before[key] + 50 for key, row in end.paths().items()),
                       end.paths)
    for stream in streams:
        # Two ways may overtake each other.
        assert stream.stop()[1][0] > 500
    for end in (both.a, both.b):
        said, _ = end.stop()
        assert set(said["drops"]) <= {"neighbor_unresolved"}, said["drops"]
        for row in said["sas"]:
            # What came by the port that the other end has left, or before the NIC had the SA, or half of it.
            assert set(row["fallback_packets"]) <= {
                "neighbor_unresolved", "not_processed", "device_failed", "other_port", "reprogramming"}, row
