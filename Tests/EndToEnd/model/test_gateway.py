"""The gateway, as it is, on the model's ports: the NICs encrypt and decrypt."""

from __future__ import annotations

import time

import pytest

from vpngw.live import Sites, Stream, echo
from vpngw.network import wait_until
from vpngw.offload import Modelled, ModelledSites, on_model, start_both
from vpngw.rekey import rekey

pytestmark = pytest.mark.timeout(170)

# What the test before the start does to the counters: one packet encrypted, one decrypted, one refused.
TEST_ENCRYPTED, TEST_DECRYPTED = 1, 1


def rows(report: dict, direction: str) -> list[dict]:
    return [row for row in report["sas"] if row["direction"] == direction]


def stop_unharmed(both: ModelledSites, *streams: Stream) -> list[dict]:
    """What the model says of both wan ports: nothing was lost between a port's receiving and a port's sending, nothing
    overtook, nothing left that should not have."""
    for stream in streams:
        sent, (counted, _, *wrong) = stream.stop()
        # The machine's own queues between the hosts may lose, under load.
        assert counted > 0.9 * sent and wrong == [0, 0]
    judged = []
    for end in (both.a, both.b):
        said, wan = end.stop()
        assert said["drops"] == {}
        judged.append(wan)
    return judged


def test_echo_through_two_gateways_whose_nics_encrypt(sites: Sites):
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 200)
    echo(both.network, "host-b", "10.0.1.10", 1300, 1400)
    for end in (both.a, both.b):
        said, wan = end.stop()
        assert said["drops"] == {}
        (outbound,), (inbound,) = rows(said, "outbound"), rows(said, "inbound")
        assert outbound["path"] == inbound["path"] == "inline"
        # The first packet waits for the next hop's address, and is software's.
        assert set(outbound["fallback_packets"]) <= {"neighbor_unresolved"}
        assert outbound["offloaded_packets"] == outbound["packets"] - outbound["fallback_packets"].get(
            "neighbor_unresolved", 0) >= 301
        assert wan["encrypted"] == outbound["offloaded_packets"] + TEST_ENCRYPTED
        assert wan["decrypted"] == inbound["offloaded_packets"] + TEST_DECRYPTED
        assert inbound["offloaded_packets"] == inbound["packets"] == 302


def test_the_kill_switch_and_back_under_traffic(sites: Sites):
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    there = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 2000, 1400)
    back = Stream(both.network, "host-b", "host-a", "10.0.1.10", 7002, 2000, 1400)
    control = both.a.gateway.control
    for direction in ("outbound", "inbound", None):
        body = {"port": "wan"} | ({"direction": direction} if direction else {})
        control.post("offload", body | {"wanted": "off"})
        for row in both.a.paths().values():
            isOff = direction in (None, row["direction"])
            assert (row["path"], "operator" in row["why"]) == (("software", True) if isOff else ("inline", False)), row
        before = both.b.wan()["decrypted"]
        wait_until(lambda: both.b.wan()["decrypted"] > before + 100, "packets went on")
        control.post("offload", body | {"wanted": "auto"})
        assert {row["path"] for row in both.a.paths().values()} == {"inline"}
    stop_unharmed(both, there, back)


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.long)])
def test_rekey_under_traffic_loses_nothing_and_shows_nothing(sites: Sites, seconds: int):
    both = start_both(sites)
    sites.a, sites.b = both.a.gateway, both.b.gateway
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    there = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 2000, 1400)
    back = Stream(both.network, "host-b", "host-a", "10.0.1.10", 7002, 2000, 1400)
    spis, start = [], time.monotonic()
    while time.monotonic() < start + seconds:
        spis.append(rekey(sites, len(spis), spis[-2] if len(spis) > 1 else None))
    assert len(spis) > seconds / 2
    for wan in stop_unharmed(both, there, back):
        assert wan["encrypted"] > 1000 and wan["decrypted"] > 1000


def resumes(end: Modelled) -> bool:
    """Whether packets come in by the tunnel again, and their NIC decrypts them."""
    before = end.wan()["decrypted"]
    wait_until(lambda: end.wan()["decrypted"] > before + 100, "packets that the NIC decrypts", 30)
    return True


@pytest.mark.parametrize("fault", ["none", "link", "reset", "stall"])
def test_a_port_that_is_started_again_gets_its_sas_again(sites: Sites, fault: str):
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    there = Stream(both.network, "host-a", "host-b", "10.0.2.10", 7001, 2000, 1400)
    back = Stream(both.network, "host-b", "host-a", "10.0.1.10", 7002, 2000, 1400)
    assert resumes(both.a) and resumes(both.b)
    if fault == "link":
        both.a.tell("fault", "1", "link", "down")
        wait_until(lambda: both.a.gateway.show("ports")["ports"]["wan"]["link"] == "down", "the link is down")
        both.a.tell("fault", "1", "link", "up")
    elif fault == "reset":
        both.a.tell("fault", "1", "reset")
    elif fault == "stall":
        both.a.tell("fault", "1", "stall", "on")
    if fault != "link":
        both.a.gateway.control.post("ports/restart", {"port": "wan"})
    if fault == "stall":
        both.a.tell("fault", "1", "stall", "off")
    assert resumes(both.a) and resumes(both.b)
    wait_until(lambda: {row["path"] for row in both.a.paths().values()} == {"inline"}, "all SAs are back")
    for stream in (there, back):
        _, (_, _, reordered, doubled) = stream.stop()
        assert (reordered, doubled) == (0, 0)
    for end in (both.a, both.b):
        said, wan = end.stop(findings=fault != "reset")
        # What waited for the engine with a clear payload, and what found no room while nothing was sent.
        assert set(said["drops"]) <= ({"offload_failed", "tx_full"} if end is both.a else set()), said["drops"]


@pytest.mark.parametrize("what", ["protocol", "length", "integrity", "not-processed"])
def test_what_the_nic_refuses_software_opens(sites: Sites, what: str):
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    both.b.tell("fault", "1", "rx-error", what, "10")
    echo(both.network, "host-a", "10.0.2.10", 0, 49)
    (row,) = [row for (_, direction), row in both.b.paths().items() if direction == "inbound"]
    assert row["path"] == "inline"
    # The driver's vector path tells nothing of the first two (P12).
    name = "device_failed" if what == "integrity" else "not_processed"
    assert row["fallback_packets"] == {name: 10}
    for end in (both.a, both.b):
        assert end.stop()[0]["drops"] == {}


def test_a_nic_that_errs_is_not_used_for_a_while(sites: Sites):
    both = start_both(sites)
    both.b.tell("fault", "1", "rx-error", "integrity", "100000")
    echo(both.network, "host-a", "10.0.2.10", 0, 99)
    both.b.gateway.wait_for("software does all inbound cryptography now", 20)
    echo(both.network, "host-a", "10.0.2.10", 0, 99)
    assert both.b.path(0x1001, "inbound") == "software" and both.b.path(0x2001, "outbound") == "inline"
    for end in (both.a, both.b):
        assert end.stop()[0]["drops"] == {}


def test_a_packet_that_the_nic_encrypted_wrong_is_the_peers_to_refuse(sites: Sites):
    both = start_both(sites)
    echo(both.network, "host-a", "10.0.2.10", 0, 9)
    both.a.tell("fault", "1", "bad-icv", "1")
    both.network.run("host-a", "ping", "-c", "1", "-W", "1", "10.0.2.10", check=False)
    assert both.a.stop()[0]["drops"] == {}
    assert both.b.stop()[0]["drops"] == {"integrity_failed": 1}


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_an_engine_that_fails_its_test_is_not_used(sites: Sites, choice: str):
    sites.site_a.tunnels[0].keys["offload"] = choice
    end = on_model(sites.network, sites.site_a, 1, "--fault", "1 bad-icv 1")
    if choice == "required":
        result = end.gateway.ended(60)
        assert result.code == 69
        assert "not possible outbound (self_test_failed)" in result.stderr and "vpn-gw caps" in result.stderr
        return
    end.wait_running()
    assert end.path(0x1001, "outbound") == "software" and end.path(0x2001, "inbound") == "inline"
    assert "did not do right in the test" in end.paths()["0x00001001", "outbound"]["why"]
    end.stop()
