"""Two workers: tunnels belong to different ones, and packets reach their owner whichever queue they came by. And what one does that
has nothing to do."""

from __future__ import annotations

import time

import pytest

from vpngw.live import AF_PACKET, LiveGateway, Sites, Stream, cores, echo, transfer
from vpngw.network import wait_until
from vpngw.site import Child, Tunnel
from vpngw.wiretap import Wiretap, assert_only_esp_and_arp, esp, is_esp


@pytest.fixture
def two_workers(sites: Sites) -> Sites:
    """gw-a has two workers and two tunnels to gw-b: 10.0.1.0/24 to 10.0.2.0/24 and to 10.0.3.0/24."""
    if len(cores()) < 2:
        pytest.skip("two workers need two processors")
    second = Tunnel("c", "192.0.2.1", "192.0.2.2", ["10.0.1.0/24"], ["10.0.3.0/24"], 0x1002, 0x2002)
    sites.site_a.tunnels.append(second)
    sites.site_b.tunnels.append(second.reversed("d"))
    sites.site_b.ports[0].addresses.append("10.0.3.1/24")
    sites.network.host("host-b", "10.0.3.10/24")
    sites.site_a.worker_cores = cores()[-2:]
    for port in sites.site_a.ports:
        port.device = port.device.replace(AF_PACKET, f"qpairs=2,{AF_PACKET}")
    return sites


def test_two_workers_share_tunnels(two_workers: Sites):
    network = two_workers.network
    wire = Wiretap(network, "gw-a", "wan", octets=96)
    two_workers.start()
    assert "2 receive queue(s)" in two_workers.a.log.read_text()
    for address in ("10.0.2.10", "10.0.3.10"):
        echo(network, "host-a", address, 0, 1400)
    # Many flows, so that both queues of both ports get some of each tunnel.
    for number, address in enumerate(["10.0.2.10", "10.0.3.10"] * 4):
        transfer(network, "host-a", "host-b", address, 1 << 20, port=5100 + number)
    report_a, report_b = two_workers.stop()
    # A first full segment may be too large. Where workers have no processor to themselves, one that is not scheduled lets
    # its queue fill up; TCP sends that again. Nothing comes so far out of its order as to be late.
    for report in (report_a, report_b):
        assert report["drops"].keys() <= {"packet_too_big", "handoff_full"}, report["drops"]
    for association in report_a["sas"]:
        assert association["packets"] > 1401, association
    frames = wire.stop()
    assert_only_esp_and_arp(frames)
    packets = [esp(frame) for frame in frames if is_esp(frame)]
    for spi in (0x1001, 0x1002):
        numbers = [packet.sequence_number for packet in packets if packet.spi == spi]
        assert numbers == list(range(1, len(numbers) + 1))


def test_workers_share_one_tunnel(sites: Sites):
    """RFC 9611: each worker has a pair of its own, and many flows use both."""
    if len(cores()) < 2:
        pytest.skip("two workers need two processors")
    network, (tunnel,) = sites.network, sites.site_a.tunnels
    tunnel.children.append(Child(0x1002, 0x2002))
    sites.site_b.tunnels = [tunnel.reversed("a")]
    for site in (sites.site_a, sites.site_b):
        site.worker_cores = cores()[-2:]
        site.dpdk = 'idle = "sleep"'
        for port in site.ports:
            port.device = port.device.replace(AF_PACKET, f"qpairs=2,{AF_PACKET}")
    wire = Wiretap(network, "gw-a", "wan", octets=96)
    sites.start()
    echo(network, "host-a", "10.0.2.10", 0, 64)
    streams = [Stream(network, "host-a", "host-b", "10.0.2.10", 6000 + number, 150) for number in range(12)]
    streams += [Stream(network, "host-b", "host-a", "10.0.1.10", 7000 + number, 150) for number in range(4)]
    rows = sites.a.show("sa")["sas"]
    assert {row["spi"]: row["worker"] for row in rows} == {
        "0x00001001": 0, "0x00002001": 0, "0x00001002": 1, "0x00002002": 1}
    assert {row["state"] for row in rows} == {"current"}
    wait_until(
        lambda: all(row["packets"] > 1000 for row in sites.a.show("sa")["sas"] if row["direction"] == "outbound"),
        "both outbound SAs carry flows", 60)
    judged = [stream.stop() for stream in streams]
    workers = sites.a.show("workers")["workers"]
    assert {port["spreading"] for port in sites.a.show("ports")["ports"].values()} == {"device"}
    report_a, report_b = sites.stop()
    for sent, (counted, lost, reordered, doubled) in judged:
        # Nothing of a flow overtakes: it has one lane.
        assert (counted, lost, reordered, doubled) == (sent, 0, 0, 0), judged
    for report in (report_a, report_b):
        assert report["drops"] == {}, report["drops"]
    # What the kernel gave to the other worker went to the SA's, and the gateway says so.
    assert sum(worker["handed_over_packets"] for worker in workers) == sum(
        worker["taken_over_packets"] for worker in workers) > 0, workers
    assert sum(worker["rx_packets"] for worker in workers) > 0
    frames = wire.stop()
    assert_only_esp_and_arp(frames)
    packets = [esp(frame) for frame in frames if is_esp(frame)]
    for spi in (0x1001, 0x1002, 0x2001, 0x2002):
        numbers = [packet.sequence_number for packet in packets if packet.spi == spi]
        assert numbers == list(range(1, len(numbers) + 1)), hex(spi)


def test_more_workers_than_queues_is_refused(two_workers: Sites):
    site = two_workers.site_a
    site.ports[0].device = f"net_af_packet0,iface=lan,{AF_PACKET}"
    run = LiveGateway(two_workers.network, "gw-a", site.write()).ended()
    assert run.code == 69, run.stderr
    assert "port lan: net_af_packet gives 1 transmit queue(s), 2 workers need 2" in run.stderr
    assert "add ,qpairs=2 to its device" in run.stderr


@pytest.mark.parametrize("idle", ["sleep", "pause", "poll"])
def test_an_idle_worker_looks_as_often_as_the_site_says(sites: Sites, idle: str):
    sites.site_a.dpdk = f'idle = "{idle}"'
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 99)
    (before,), start = sites.a.show("workers")["workers"], time.monotonic()
    wait_until(lambda: sites.a.show("workers")["workers"][0]["polls"] > before["polls"] + 2000, "it goes on looking")
    (after,) = sites.a.show("workers")["workers"]
    elapsed = time.monotonic() - start
    polls = after["polls"] - before["polls"]
    # However fast or slow the machine is, it can't look more often than this: the control connections are not its.
    if idle != "poll":
        assert polls < elapsed / {"sleep": 50e-6, "pause": 1e-6}[idle] + 10_000
    echo(sites.network, "host-b", "10.0.1.10", 0, 99)
    for report in sites.stop():
        assert report["drops"] == {}
