"""The cases of docs/HARDWARE.md. scripts/hw-test.sh runs them on the ports in VPNGW_HW_PORTS; without those they run on the
model, so that what somebody with the card will run is known to work."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from vpngw.hardware import HOSTS, End, Pair
from vpngw.live import Sites, Stream, echo
from vpngw.network import wait_until
from vpngw.rekey import rekey

pytestmark = pytest.mark.timeout(300)

FAMILIES = pytest.mark.parametrize(("family", "outer"), [(4, 4), (6, 6)], ids=["IPv4", "IPv6"])


def all_offloaded(report: dict, direction: str) -> None:
    """Of each SA of a direction all packets but the first few, which wait for the next hop's address."""
    for row in report["sas"]:
        if row["direction"] == direction:
            software = sum(row["fallback_packets"].values())
            assert set(row["fallback_packets"]) <= {"neighbor_unresolved"} and software < 20, row
            assert row["offloaded_packets"] + software == row["packets"] > 50, row


def assert_no_loss(*reports: dict) -> None:
    """All that was dropped is what a host's kernel tells everybody, with IPv6: solicitations of routers."""
    for report in reports:
        assert set(report["drops"]) <= {"not_for_us"}, report["drops"]


def none_offloaded(report: dict, direction: str) -> None:
    rows = [row for row in report["sas"] if row["direction"] == direction]
    assert rows and all(row["offloaded_packets"] == 0 and row["packets"] > 50 for row in rows), rows


def test_caps(pair: Callable[..., Pair]):
    run = pair().start()
    done = run.ask(run.a, "caps", "--port", "wan", "--json")
    assert done.code == 0, done.stderr
    rows = json.loads(done.stdout)["caps"]
    offered = {(row["direction"], row["mode"]) for row in rows if row["is_usable"]}
    assert offered == {(direction, mode) for direction in ("inbound", "outbound") for mode in ("transport", "tunnel")}, rows
    run.stop()


def test_self_test(pair: Callable[..., Pair]):
    """`required` would not start without; and nothing says that a direction is not used."""
    run = pair().start()
    for end in (run.a, run.b):
        assert "port wan: IPsec engine, outbound 1 of 255 SAs, inbound 1 of 1023 SAs" in end.gateway.log.read_text()
    run.stop()


@FAMILIES
def test_outbound(pair: Callable[..., Pair], family: int, outer: int):
    run = pair(family=family, outer=outer, offload_a={"outbound": "required"}, offload_b="off").start()
    echo(run.network, "host-a", HOSTS[family][1], 0, 300)
    one, other = run.stop()
    all_offloaded(one, "outbound")
    none_offloaded(other, "inbound")
    assert_no_loss(one, other)


@FAMILIES
def test_inbound(pair: Callable[..., Pair], family: int, outer: int):
    run = pair(family=family, outer=outer, offload_a="off", offload_b={"inbound": "required", "outbound": "off"}).start()
    echo(run.network, "host-a", HOSTS[family][1], 0, 300)
    one, other = run.stop()
    none_offloaded(one, "outbound")
    none_offloaded(other, "outbound")
    all_offloaded(other, "inbound")
    assert_no_loss(one, other)


@FAMILIES
def test_both(pair: Callable[..., Pair], family: int, outer: int):
    run = pair(family=family, outer=outer).start()
    # ICMP payloads: packets of 46 octets up to the largest that fits.
    first, last = (18, 1418) if family == 4 else (0, 1376)
    echo(run.network, "host-a", HOSTS[family][1], first, last)
    for report in run.stop():
        assert_no_loss(report)
        all_offloaded(report, "outbound")
        all_offloaded(report, "inbound")


@FAMILIES
def test_transport(pair: Callable[..., Pair], family: int, outer: int):
    run = pair(family=family, outer=outer, transport=True).start()
    echo(run.network, "host-a", HOSTS[family][1], 0, 1400)
    for report in run.stop():
        assert_no_loss(report)
        all_offloaded(report, "outbound")
        all_offloaded(report, "inbound")


def test_wrong_icv(pair: Callable[..., Pair]):
    run = pair(offload_a="off")
    run.a.site.tunnels[0].outbound_key = bytes(range(20))
    run.start()
    run.network.run("host-a", "ping", "-c", "20", "-i", "0.02", "-W", "1", HOSTS[4][1], check=False)
    wait_until(lambda: run.b.gateway.show("report")["drops"].get("integrity_failed", 0) >= 15, "packets that are refused")
    row = run.b.rows()["inbound"]
    assert row["path"] == "inline" and row["offloaded_packets"] == 0, row
    refused = run.b.stop()
    failed, = [row["fallback_packets"] for row in refused["sas"] if row["direction"] == "inbound"]
    assert refused["drops"] == {"integrity_failed": failed["device_failed"]} and set(failed) == {"device_failed"}
    run.a.stop()


def streams(run: Pair) -> tuple[Stream, Stream]:
    echo(run.network, "host-a", HOSTS[4][1], 0, 9)
    return (Stream(run.network, "host-a", "host-b", HOSTS[4][1], 7001, 2000, 1400),
            Stream(run.network, "host-b", "host-a", HOSTS[4][0], 7002, 2000, 1400))


def test_rekey(pair: Callable[..., Pair]):
    run = pair(offload_a="auto", offload_b="auto").start()
    both = streams(run)
    sites = Sites(run.network, run.a.site, run.b.site, run.a.gateway, run.b.gateway)
    spis: list[str] = []
    for number in range(10):
        spis.append(rekey(sites, number, spis[-2] if len(spis) > 1 else None))
    for stream in both:
        sent, (counted, _, *wrong) = stream.stop()
        assert counted > 0.9 * sent and wrong == [0, 0]
    assert_no_loss(*run.stop())


def resumed(run: Pair) -> None:
    """Packets go through both NICs again, under all SAs."""
    for end in (run.a, run.b):
        wait_until(lambda: {row["path"] for row in end.rows().values()} == {"inline"}, end.rows, 30)
        before = {direction: row["offloaded_packets"] for direction, row in end.rows().items()}
        wait_until(lambda: all(row["offloaded_packets"] > before[direction] + 100
                               for direction, row in end.rows().items()), end.rows, 30)


def stop_excused(run: Pair, stopped: End) -> None:
    for end in (run.a, run.b):
        # What waited for a NIC that lost its SAs, and what found no room while its port stood still.
        excused = {"offload_failed", "tx_full", "neighbor_unresolved"} if end is stopped else {"neighbor_unresolved"}
        drops = end.stop()["drops"]
        assert set(drops) <= excused, drops


def test_restart(pair: Callable[..., Pair]):
    run = pair().start()
    both = streams(run)
    resumed(run)
    for _ in range(2):
        done = run.ask(run.a, "restart-port", "wan")
        assert done.code == 0, done.stderr
        resumed(run)
    for stream in both:
        assert stream.stop()[1][2:] == (0, 0)
    stop_excused(run, run.a)


def test_link(pair: Callable[..., Pair]):
    """The other end of the cable goes down and up: its port stops and starts."""
    run = pair().start()
    both = streams(run)
    resumed(run)
    done = run.ask(run.b, "restart-port", "wan")
    assert done.code == 0, done.stderr
    wait_until(lambda: run.a.gateway.show("ports")["ports"]["wan"]["link"] == "up", "the link is up", 30)
    resumed(run)
    for stream in both:
        assert stream.stop()[1][2:] == (0, 0)
    # A link that goes down under a's packets may stop its NIC too.
    for end in (run.a, run.b):
        drops = end.stop()["drops"]
        assert set(drops) <= {"offload_failed", "tx_full", "neighbor_unresolved"}, drops
