"""What the driver forces (docs/OFFLOAD.md): each rule that is the gateway's to keep, by traffic that shows when it does not."""

from __future__ import annotations

import random
import socket

import pytest

from vpngw.live import Sites, Stream, echo
from vpngw.network import wait_until
from vpngw.offload import Modelled, on_model, start_both
from vpngw.rekey import mirrored, pair
from vpngw.site import Tunnel

pytestmark = pytest.mark.timeout(170)


def test_sas_go_while_others_of_the_port_send(sites: Sites):
    """P1: taking one SA away switches the direction off for a moment."""
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    there = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 4000, 1400)
    back = Stream(both.network, "host-b", "host-a", "10.0.1.10", 7002, 4000, 1400)
    for number in range(20):
        request = pair(number)
        for end, asked in ((both.a, request), (both.b, mirrored(request))):
            end.gateway.control.post("sa/add", asked)
            assert end.path(int(asked["outbound"]["spi"], 16), "outbound") == "inline"
            end.gateway.control.post(
                "sa/remove", {"tunnel": asked["tunnel"], "spi": asked["outbound"]["spi"]})
    for stream in (there, back):
        sent, (counted, _, *wrong) = stream.stop()
        assert counted > 0.9 * sent and wrong == [0, 0]
    for end in (both.a, both.b):
        said, wan = end.stop()
        assert said["drops"] == {} and wan["encrypted"] > 1000


def tunnels(sites: Sites, count: int, **changes) -> None:
    """So many tunnels between the two gateways, each with a subnet of host-b's of its own."""
    sites.site_a.tunnels, sites.site_b.tunnels = [], []
    for number in range(count):
        here, there = 0x1000 + number, 0x8000 + number
        tunnel = Tunnel(f"t{number}", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], [subnet(number)], here, there, **changes)
        sites.site_a.tunnels.append(tunnel)
        sites.site_b.tunnels.append(tunnel.reversed())
    sites.site_b.routes = [("10.64.0.0/12", "10.0.2.10")]
    sites.network.ip("host-b", "address", "add", "10.64.0.1/12", "dev", "lo")


def subnet(number: int) -> str:
    return f"10.{64 + number // 256}.{number % 256}.0/24"


def test_three_hundred_tunnels_each_under_its_own_key(sites: Sites):
    """P4: the driver tells context descriptors apart by eight bits of the SA's place."""
    tunnels(sites, 300)
    both = start_both(sites)
    shown = both.a.gateway.control.get("offload")["offload"]
    numbers = list(range(300))
    random.Random(1).shuffle(numbers)
    # Those that would share a descriptor, one right behind the other.
    numbers += [0, 256, 1, 257, 43, 299] * 4
    echo(both.network, "host-a", "10.64.0.9", 0, 0)
    host = both.network.socket("host-a", socket.AF_INET, socket.SOCK_DGRAM)
    for number in numbers:
        host.sendto(b"under its own key", (subnet(number).replace(".0/24", ".9"), 9))
    wait_until(lambda: both.b.gateway.show("report")["rx_packets"] >= len(numbers), "packets at the other end")
    said_a, said_b = both.a.stop()[0], both.b.stop()[0]
    assert said_a["drops"] == {} and said_b["drops"] == {}
    came = {row["tunnel"]: row["packets"] for row in said_b["sas"] if row["direction"] == "inbound"}
    assert sum(count > 0 for count in came.values()) >= 299 and sum(came.values()) >= 320
    for direction, inline in (("outbound", 255), ("inbound", 300)):
        rows = [row for row in shown if row["direction"] == direction]
        assert [row["path"] for row in rows].count("inline") == inline
        assert {row["why"] for row in rows if row["path"] == "software"} <= {"the engine's table of SAs is full"}


def test_a_port_that_starts_again_and_again_gets_all_its_sas(sites: Sites):
    """P2: a session that is destroyed too late, or not at all, is never given back, and the pool has two of each."""
    tunnels(sites, 300)
    end = on_model(sites.network, sites.site_a, 1).wait_running()
    for _ in range(3):
        end.gateway.control.post("ports/restart", {"port": "wan"})
        shown = end.gateway.control.get("offload")["offload"]
        for direction, inline in (("outbound", 255), ("inbound", 300)):
            assert [row["path"] for row in shown if row["direction"] == direction].count("inline") == inline
    end.stop()


def test_two_peers_chose_one_spi(sites: Sites):
    """P3: outbound SPIs are the peers' to choose, and the driver removes by SPI."""
    first = sites.site_a.tunnels[0]
    second = Tunnel("c", "192.0.2.1", "192.0.2.3", ["10.0.1.0/24"], ["10.0.3.0/24"], first.outbound_spi, 0x2002)
    sites.site_a.tunnels.append(second)
    sites.site_b.tunnels.append(second.reversed("c"))
    # One gateway is both peers; its inbound SAs of one SPI are told apart by nothing, so it has them under two names.
    sites.site_b.tunnels = [first.reversed("a")]
    both = start_both(sites)
    rows = {row["tunnel"]: row for row in both.a.gateway.control.get("offload")["offload"] if row["direction"] == "outbound"}
    assert rows["b"]["path"] == "inline" and rows["c"]["path"] == "software"
    assert rows["c"]["why"] == "another SA of the port and direction has this SPI"
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    # The first one goes; the other has its place, and what comes back is not under the wrong key.
    sites.site_a.tunnels = [second]
    sites.site_a.write()
    both.a.gateway.control.post("reload")
    rows = {row["tunnel"]: row for row in both.a.gateway.control.get("offload")["offload"] if row["direction"] == "outbound"}
    assert rows["c"]["path"] == "inline"
    sites.site_a.tunnels = [second, first]
    sites.site_a.write()
    both.a.gateway.control.post("reload")
    # What a NIC has it keeps.
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    rows = {row["tunnel"]: row for row in both.a.gateway.control.get("offload")["offload"] if row["direction"] == "outbound"}
    assert rows["c"]["path"] == "inline" and rows["b"]["path"] == "software"
    assert rows["b"]["fallback_packets"] == {"duplicate_spi": 10}
    assert both.b.stop()[0]["drops"] == {}
    both.a.stop()


def test_one_inbound_spi_is_for_one_tunnel(sites: Sites):
    """P3, inbound: there the gateway chooses, and may not choose one twice."""
    first = sites.site_a.tunnels[0]
    sites.site_a.tunnels.append(
        Tunnel("c", "192.0.2.1", "192.0.2.3", ["10.0.1.0/24"], ["10.0.3.0/24"], 0x1002, first.inbound_spi))
    result = on_model(sites.network, sites.site_a, 1).gateway.ended(60)
    assert result.code == 78 and "0x00002001" in result.stderr


def test_a_tunnel_that_pads_for_secrecy_stays_in_software(sites: Sites):
    """P5: the driver tells descriptors apart by four bits of the padding's length."""
    sites.site_a.tunnels[0].lifetime = {"tfc_padding_octets": 700}
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 199)
    rows = both.a.paths()
    for end in (both.a, both.b):
        assert end.stop()[0]["drops"] == {}
    assert rows["0x00001001", "outbound"]["path"] == "software"
    assert rows["0x00001001", "outbound"]["fallback_packets"] == {"tfc_padding": 200}
    assert rows["0x00002001", "inbound"]["path"] == "inline"


def test_more_own_addresses_than_the_nic_takes(sites: Sites):
    """P6: the driver says yes to more; the gateway counts. One place of the 128 is the one that switches inbound on."""
    tunnels(sites, 130)
    for number, (tunnel, other) in enumerate(zip(sites.site_a.tunnels, sites.site_b.tunnels)):
        tunnel.local_address = other.remote_address = f"192.0.2.{100 + number}"
    sites.site_a.ports[1].addresses += [f"192.0.2.{100 + number}/24" for number in range(130)]
    both = start_both(sites)
    shown = [row for row in both.a.gateway.control.get("offload")["offload"] if row["direction"] == "inbound"]
    for number in (0, 126, 127, 129):
        echo(both.network, "host-a", subnet(number).replace(".0/24", ".9"), 0, 9)
    said = both.a.stop()[0]
    assert [row["path"] for row in shown].count("inline") == 127
    full = "the engine's table of own addresses is full"
    assert [row["tunnel"] for row in shown if row["why"] == full] == ["t127", "t128", "t129"]
    rows = {row["tunnel"]: row for row in said["sas"] if row["direction"] == "inbound"}
    for number, offloaded in ((0, 10), (126, 10), (127, 0), (129, 0)):
        row = rows[f"t{number}"]
        assert (row["packets"], row["offloaded_packets"]) == (10, offloaded)
        assert row["fallback_packets"] == ({} if offloaded else {"address_table_full": 10})
    assert said["drops"] == {} and both.b.stop()[0]["drops"] == {}


def test_large_frames_go_to_the_nic_in_one_piece(sites: Sites):
    """P14: of a packet in several buffers the driver would tell the engine a length of 0."""
    for site in (sites.site_a, sites.site_b):
        for port in site.ports:
            port.mtu_octets = 9000
    for name, interface in (("host-a", "eth0"), ("gw-a", "lan"), ("gw-a", "wan"), ("gw-b", "wan"), ("gw-b", "lan"),
                            ("host-b", "eth0")):
        sites.network.ip(name, "link", "set", interface, "mtu", "9000")
    both = start_both(sites, "--hugepages-mib", 1024)
    echo(both.network, "host-a", "10.0.2.10", 8800, 8915)
    echo(both.network, "host-b", "10.0.1.10", 1990, 2100)
    for end in (both.a, both.b):
        said, wan = end.stop()
        assert said["drops"] == {}
        for row in said["sas"]:
            assert row["path"] == "inline" and row["offloaded_packets"] >= row["packets"] - 1 >= 226
            assert set(row["fallback_packets"]) <= {"neighbor_unresolved"}
