"""ARP on both sides, next hops that are silent, and links that go away."""

from __future__ import annotations

import struct
import time

from vpngw.live import One, Sites, blast, echo
from vpngw.network import wait_until
from vpngw.wiretap import ARP, Wiretap, ethertype


def neighbor(one: One, name: str, address: str) -> str:
    """The MAC address that a namespace's kernel has for a neighbour."""
    words = one.network.ip(name, "neighbor", "show", address).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def test_arp_and_echo_for_the_gateways_own_addresses(one: One):
    one.network.host("peer", "192.0.2.2/24")
    gateway = one.run().wait_running()
    for name, address in (("host", "10.0.1.1"), ("peer", "192.0.2.1")):
        echo(one.network, name, address, 0, 19)
        echo(one.network, name, address, 1381, 1400)
    assert neighbor(one, "host", "10.0.1.1") == one.network.mac("gw", "lan")
    assert neighbor(one, "peer", "192.0.2.1") == one.network.mac("gw", "wan")
    report = gateway.stop()
    assert report["drops"] == {}
    # 40 echoes on each port, and ARP: each host asks once at least, and the gateway may ask back.
    assert report["originated_packets"] >= 82 and report["consumed_packets"] >= 82


def test_nobody_answers_for_other_addresses(one: One):
    gateway = one.run().wait_running()
    said = one.network.run("host", "ping", "-c", "1", "-W", "1", "10.0.1.77", check=False)
    assert "0 received" in said
    assert neighbor(one, "host", "10.0.1.77") == ""
    gateway.stop()


def test_a_silent_next_hop_costs_little_and_comes_back(one: One):
    """The peer has no address yet: 16 packets wait for it, the rest go, and few questions are asked."""
    wire = Wiretap(one.network, "peer", "eth0")
    gateway = one.run().wait_running()
    began = time.monotonic()
    one.network.run("host", "ping", "-q", "-c", "500", "-i", "0.005", "-W", "1", "10.0.2.10", check=False)
    seconds = time.monotonic() - began
    one.network.host("peer", "192.0.2.2/24")
    received = one.network.directory / "esp.log"
    tap = one.network.start("peer", "tcpdump", "-c", "3", "-i", "eth0", "ip proto 50", log=received)
    wait_until(lambda: "listening on" in received.read_text(), "tcpdump listens")
    # Whenever a question is answered, whatever waits goes out.
    one.network.run("host", "ping", "-q", "-c", "10", "-i", "0.2", "-W", "1", "10.0.2.10", check=False)
    assert tap.wait(20) == 0, received.read_text()
    report = gateway.stop()
    # The peer knows no ESP and says so by ICMP, to the gateway itself.
    assert report["drops"].keys() <= {"neighbor_unresolved", "no_policy"}, report["drops"]
    assert 450 <= report["drops"]["neighbor_unresolved"] <= 510
    questions = [frame for frame in wire.stop() if ethertype(frame) == ARP and struct.unpack_from("!H", frame, 20)[0] == 1
                 and frame[6:12].hex(":") == one.network.mac("gw", "wan")]
    # One a second, and one more for a packet that starts over.
    assert 1 <= len(questions) <= 2 * (seconds + 5), len(questions)


def test_traffic_goes_on_after_a_link_was_away(sites: Sites):
    network = sites.network
    sites.start()
    echo(network, "host-a", "10.0.2.10", 0, 9)
    network.ip("gw-b", "link", "set", "wan", "down")
    sites.a.wait_for("port wan: link is down")
    blast(network, "host-a", "10.0.2.10", 10_000)
    network.ip("gw-b", "link", "set", "wan", "up")
    sites.a.wait_for("port wan: link is up")
    wait_until(
        lambda: " 0% packet loss" in network.run(
            "host-a", "ping", "-q", "-c", "3", "-i", "0.1", "-W", "1", "10.0.2.10", check=False), "echo goes through")
    echo(network, "host-a", "10.0.2.10", 0, 99)
    echo(network, "host-b", "10.0.1.10", 0, 99)
    sites.stop()


def test_a_gateway_stops_while_its_own_link_is_down(sites: Sites):
    """More packets than the interface's ring holds want to leave by it."""
    network = sites.network
    sites.start()
    echo(network, "host-a", "10.0.2.10", 0, 9)
    network.ip("gw-a", "link", "set", "wan", "down")
    sites.a.wait_for("port wan: link is down")
    blast(network, "host-a", "10.0.2.10", 10_000)
    report_a, _ = sites.stop()
    assert report_a["ports"]["lan"]["rx_packets"] >= 10_000
