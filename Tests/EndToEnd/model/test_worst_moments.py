"""SAs are taken from NICs, and gateways end, while packets whose payload is in clear wait in the descriptors."""

from __future__ import annotations

import http.client
import threading
import time

import pytest

from vpngw.live import Sites, Stream, blast, echo
from vpngw.network import wait_until
from vpngw.offload import ModelledSites, start_both
from vpngw.rekey import mirrored, pair

pytestmark = pytest.mark.timeout(170)


def held(both: ModelledSites) -> None:
    """Packets that wait in the descriptors of gw-a's wan port, and go as soon as its engine is switched off."""
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    both.a.tell("fault", "1", "stall", "armed")
    blast(both.network, "host-a", "10.0.2.10", 200)
    wait_until(lambda: both.a.paths()["0x00001001", "outbound"]["offloaded_packets"] >= 200, "packets for the NIC")


def test_a_stop_while_packets_wait_in_the_nic_shows_nothing(sites: Sites):
    both = start_both(sites)
    held(both)
    both.a.stop()
    both.b.stop()


def test_a_restart_while_packets_wait_in_the_nic_shows_nothing(sites: Sites):
    both = start_both(sites)
    held(both)
    both.a.gateway.control.post("ports/restart", {"port": "wan"})
    both.a.tell("fault", "1", "stall", "off")
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    assert both.a.path(0x1001, "outbound") == "inline"
    both.a.stop()
    both.b.stop()


def test_what_a_restart_finds_in_a_full_queue_is_lost(sites: Sites):
    """P2: packets that the NIC had no room for carry an SA's place, which is another's or nobody's after the restart."""
    both = start_both(sites)
    request = pair(0)
    both.a.gateway.control.post("sa/add", request)
    both.b.gateway.control.post("sa/add", mirrored(request))
    both.a.gateway.control.post("sa/activate", {"tunnel": "b", "spi": request["outbound"]["spi"]})
    both.b.gateway.control.post("sa/activate", {"tunnel": "a", "spi": request["inbound"]["spi"]})
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    # The place of the one that sends is not the first any more that a started port gives.
    both.a.gateway.control.post("sa/remove", {"tunnel": "b", "spi": "0x1001"})
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    both.a.tell("fault", "1", "stall", "on")

    def is_full() -> bool:
        blast(both.network, "host-a", "10.0.2.10", 1000)
        return "tx_full" in both.a.gateway.show("report")["drops"]

    wait_until(is_full, "the port's queue is full")
    both.a.gateway.control.post("ports/restart", {"port": "wan"})
    both.a.tell("fault", "1", "stall", "off")
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    assert both.a.path(int(request["outbound"]["spi"], 16), "outbound") == "inline"
    drops = both.a.stop()[0]["drops"]
    assert set(drops) == {"offload_failed", "tx_full"}
    assert both.b.stop()[0]["drops"] == {}


@pytest.mark.parametrize("what", ["the SA", "the switch", "the tunnel"])
def test_taking_an_sa_while_packets_wait_in_the_nic_shows_nothing(sites: Sites, what: str):
    both = start_both(sites)
    request = pair(0)
    both.a.gateway.control.post("sa/add", request)
    both.b.gateway.control.post("sa/add", mirrored(request))
    held(both)
    control = both.a.gateway.control
    if what == "the SA":
        control.post("sa/remove", {"tunnel": "b", "spi": request["outbound"]["spi"]})
    elif what == "the switch":
        control.post("offload", {"port": "wan", "wanted": "off"})
    else:
        sites.site_a.tunnels = []
        sites.site_a.write()
        control.post("reload")
    both.a.tell("fault", "1", "stall", "off")
    if what != "the tunnel":
        echo(both.network, "host-a", "10.0.2.10", 0, 9)
    assert set(both.a.stop()[0]["drops"]) <= {"offload_failed", "no_policy", "no_route"}
    both.b.stop()


@pytest.mark.parametrize("seconds", [0.05, 0.4, 1.0])
def test_a_stop_in_the_middle_of_a_restart(sites: Sites, seconds: float):
    """The restart takes a while, since packets wait in the NIC."""
    both = start_both(sites)
    held(both)
    answers = []

    def restart() -> None:
        try:
            answers.append(both.a.gateway.control.try_post("ports/restart", {"port": "wan"}))
        except (OSError, http.client.HTTPException, AssertionError) as error:
            answers.append(error)

    asking = threading.Thread(target=restart)
    asking.start()
    time.sleep(seconds)  # any moment will do
    both.a.stop()
    asking.join(30)
    assert answers
    both.b.stop()


def test_an_sa_is_taken_while_the_link_is_down(sites: Sites):
    both = start_both(sites)
    request = pair(0)
    both.a.gateway.control.post("sa/add", request)
    both.b.gateway.control.post("sa/add", mirrored(request))
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    stream = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 1000, 1400)
    both.a.tell("fault", "1", "link", "down")
    both.a.tell("fault", "1", "stall", "armed")
    wait_until(lambda: both.a.gateway.show("ports")["ports"]["wan"]["link"] == "down", "the link is down")
    both.a.gateway.control.post("sa/remove", {"tunnel": "b", "spi": request["outbound"]["spi"]})
    both.a.gateway.control.post("ports/restart", {"port": "wan"})
    both.a.tell("fault", "1", "stall", "off")
    both.a.tell("fault", "1", "link", "up")
    wait_until(lambda: both.a.gateway.show("ports")["ports"]["wan"]["link"] == "up", "the link is up")
    wait_until(lambda: {row["path"] for row in both.a.paths().values()} == {"inline"}, "all SAs are back")
    before = both.a.wan()["encrypted"]
    wait_until(lambda: both.a.wan()["encrypted"] > before + 100, "packets that the NIC encrypts")
    stream.stop()
    assert set(both.a.stop()[0]["drops"]) <= {"offload_failed", "tx_full"}
    both.b.stop()
