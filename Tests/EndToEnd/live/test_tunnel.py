"""Two gateways and two hosts: what goes in comes out, and nothing else is on the wire."""

from __future__ import annotations

import signal

import pytest

from vpngw.live import Sites, echo, transfer
from vpngw.wiretap import ARP, Wiretap, assert_only_esp_and_arp, esp, ethertype, is_esp

MEGABYTES = 8


def test_echo_of_every_size_both_ways(sites: Sites):
    wire = Wiretap(sites.network, "gw-a", "wan")
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 1400)
    echo(sites.network, "host-b", "10.0.1.10", 0, 1400)
    report_a, report_b = sites.stop()
    assert report_a["drops"] == {} and report_b["drops"] == {}

    frames = wire.stop()
    assert_only_esp_and_arp(frames)
    packets = [esp(frame) for frame in frames if is_esp(frame)]
    for spi, source in ((0x1001, "192.0.2.1"), (0x2001, "192.0.2.2")):
        mine = [packet for packet in packets if packet.spi == spi]
        assert {packet.source for packet in mine} == {source}
        # A question and an answer of 1401 sizes each.
        assert [packet.sequence_number for packet in mine] == list(range(1, 2 * 1401 + 1))
        assert len({packet.initialization_vector for packet in mine}) == len(mine)
    assert len(frames) == len(packets) + sum(ethertype(frame) == ARP for frame in frames)
    for report, spi in ((report_a, "0x00001001"), (report_b, "0x00002001")):
        association, = (sa for sa in report["sas"] if sa["spi"] == spi)
        assert (association["packets"], association["sequence_number"]) == (2 * 1401, 2 * 1401)


def test_tcp_keeps_its_content_both_ways(sites: Sites):
    wire = Wiretap(sites.network, "gw-a", "wan", octets=96)
    sites.start()
    transfer(sites.network, "host-a", "host-b", "10.0.2.10", MEGABYTES << 20)
    transfer(sites.network, "host-b", "host-a", "10.0.1.10", MEGABYTES << 20)
    report_a, report_b = sites.stop()
    # The hosts' MTU is 1500: host-a's first full segments learn by ICMP that 1446 octets fit, and its next SYN says so.
    assert report_a["drops"].keys() == {"packet_too_big"}
    assert report_a["drops"]["packet_too_big"] < 200
    assert report_b["drops"] == {}
    frames = wire.stop()
    assert_only_esp_and_arp(frames)
    assert sum(map(is_esp, frames)) > 2 * (MEGABYTES << 20) // 1500


def test_a_sender_learns_what_fits(sites: Sites):
    sites.start()
    said = sites.network.run(
        "host-a", "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1472", "10.0.2.10", check=False)
    assert "From 10.0.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1446)" in said
    echo(sites.network, "host-a", "10.0.2.10", 1418, 1418)  # 1446 with its headers
    report, _ = sites.stop()
    assert report["drops"] == {"packet_too_big": 1}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_gateway_under_load(sites: Sites, how: signal.Signals):
    sites.start()
    flood = sites.network.start(
        "host-a", "ping", "-f", "-q", "10.0.2.10", log=sites.network.directory / "flood.log")
    echo(sites.network, "host-b", "10.0.1.10", 0, 100)
    report_a, report_b = sites.stop(how)
    assert flood.poll() is None
    assert report_a["rx_packets"] > 200 and report_b["rx_packets"] > 200
    for gateway in (sites.a, sites.b):
        assert "stopped" in gateway.log.read_text()
