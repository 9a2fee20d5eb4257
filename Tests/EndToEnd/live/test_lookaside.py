"""A gateway whose SAs a crypto device has, and a peer whose cryptography is software's."""

from __future__ import annotations

import json
import time

import pytest

from vpngw.gateway import BINARY, command
from vpngw.live import LiveGateway, One, Sites, Stream, echo, transfer
from vpngw.rekey import rekey
from vpngw.wiretap import Wiretap, assert_only_esp_and_arp, esp, is_esp

DEVICES = ["crypto_aesni_mb0", "crypto_openssl0,max_nb_queue_pairs=2"]
RATE = 2000
MEGABYTES = 2


def lookaside(sites: Sites, device: str, offload: str = "lookaside") -> None:
    """Gives gw-a a crypto device, and its tunnel a word on it; gw-b has neither."""
    sites.site_a.dpdk = f'crypto_devices = ["{device}"]'
    sites.site_a.tunnels[0].keys = {"offload": offload}
    sites.site_b.tunnels[0].keys = {"offload": "off"}


def paths(gateway: LiveGateway) -> dict[str, str]:
    """By SPI."""
    return {row["spi"]: row["path"] for row in gateway.control.get("offload")["offload"]}


def assert_exact(results, reports) -> None:
    """Nothing was lost, overtaken or doubled, and nothing dropped."""
    for sent, (counted, lost, reordered, doubled) in results:
        assert (counted, lost, reordered, doubled) == (sent, 0, 0, 0)
    assert [report["drops"] for report in reports] == [{}, {}]


@pytest.mark.parametrize("device", DEVICES)
def test_echo_and_tcp_through_a_device(sites: Sites, device: str):
    lookaside(sites, device)
    wire = Wiretap(sites.network, "gw-a", "wan", octets=96)
    sites.start()
    assert f"crypto device {device}: crypto_" in sites.a.log.read_text()
    echo(sites.network, "host-a", "10.0.2.10", 0, 1400)
    echo(sites.network, "host-b", "10.0.1.10", 0, 1400)
    rows = sites.a.control.get("offload")["offload"]
    assert {(row["spi"], row["path"], row["device"]) for row in rows} == {
        ("0x00001001", "lookaside", device), ("0x00002001", "lookaside", device)}
    assert all(row["offloaded_packets"] == 2 * 1401 and row["fallback_packets"] == {} for row in rows)
    assert f"crypto device {device} has it" in command("show", "offload", "--config", sites.site_a.write()).stdout
    known = {"device": device, "driver": device.partition(",")[0].rstrip("0"), "algorithm": "aes-128-gcm-16",
             "in_flight_packets_max": 512, "associations": 2, "is_usable": True}
    (found,) = sites.a.control.get("caps")["crypto_devices"]
    assert found.pop("slots") >= 2 and found == known
    assert {row["path"] for row in sites.a.control.get("sa")["sas"]} == {"lookaside"}
    assert paths(sites.b) == {"0x00001001": "software", "0x00002001": "software"}
    transfer(sites.network, "host-a", "host-b", "10.0.2.10", MEGABYTES << 20)
    transfer(sites.network, "host-b", "host-a", "10.0.1.10", MEGABYTES << 20)
    report, other = sites.stop()
    # Hosts learn what fits.
    assert set(report["drops"]) <= {"packet_too_big"} and other["drops"] == {}
    for row in report["sas"]:
        assert row["path"] == "lookaside" and row["offloaded_packets"] == row["packets"] > 2 * 1401
    frames = wire.stop()
    assert_only_esp_and_arp(frames)
    for spi in (0x1001, 0x2001):
        numbers = [packet.sequence_number for packet in map(esp, filter(is_esp, frames)) if packet.spi == spi]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("device", DEVICES)
def test_rekey_under_traffic_loses_nothing(sites: Sites, device: str):
    lookaside(sites, device)
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    streams = [Stream(sites.network, "host-a", "host-b", "10.0.2.10", 7001, RATE, 1400),
               Stream(sites.network, "host-b", "host-a", "10.0.1.10", 7002, RATE, 1400)]
    spis, start = [], time.monotonic()
    while time.monotonic() < start + 5:
        spis.append(rekey(sites, len(spis), spis[-2] if len(spis) > 1 else None))
        assert set(paths(sites.a).values()) == {"lookaside"}
        time.sleep(max(0, start + len(spis) * 0.1 - time.monotonic()))
    results = [stream.stop() for stream in streams]
    reports = sites.stop()
    assert_exact(results, reports)
    assert len(spis) > 10
    assert sum(row["offloaded_packets"] for row in reports[0]["sas"]) > 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("device", DEVICES)
def test_there_and_back_under_traffic(sites: Sites, device: str):
    lookaside(sites, device, "off")
    sites.start()
    echo(sites.network, "host-a", "10.0.2.10", 0, 9)
    assert set(paths(sites.a).values()) == {"software"}
    streams = [Stream(sites.network, "host-a", "host-b", "10.0.2.10", 7001, RATE, 1400),
               Stream(sites.network, "host-b", "host-a", "10.0.1.10", 7002, RATE, 1400)]
    for change in range(20):
        wanted = ["lookaside", "off"][change % 2]
        if change % 4 < 2:
            sites.site_a.tunnels[0].keys = {"offload": wanted}
            sites.site_a.write()
            sites.a.control.post("reload")
        else:
            said = command("offload", wanted, "--tunnel", "b", "--config", sites.site_a.write())
            assert said.code == 0, said.stderr
        assert set(paths(sites.a).values()) == {"lookaside" if wanted == "lookaside" else "software"}
        time.sleep(0.1)
    results = [stream.stop() for stream in streams]
    reports = sites.stop()
    assert_exact(results, reports)
    for row in reports[0]["sas"]:
        assert 0 < row["offloaded_packets"] < row["packets"]


def test_caps_where_no_gateway_runs(one: One):
    one.site.dpdk = f'crypto_devices = ["{DEVICES[0]}", "crypto_null0", "0000:ff:1f.7"]'
    path = one.site.write()

    def asked(*words: str) -> str:
        return one.network.run("gw", BINARY, "caps", "--config", path, *words)

    text = asked("--json")
    rows = json.loads(text[text.index("{"):])["crypto_devices"]
    assert [(row["device"], row.get("driver"), row.get("algorithm"), row["is_usable"]) for row in rows] == [
        (DEVICES[0], "crypto_aesni_mb", "aes-128-gcm-16", True), ("crypto_null0", "crypto_null", None, False),
        ("0000:ff:1f.7", None, None, False)]
    assert "AES-128-GCM" in rows[1]["why"] and "no such crypto device" in rows[2]["why"]
    shown = asked().partition("CRYPTO DEVICE")[2].splitlines()
    assert [line.split()[0] for line in shown[1:]] == [row["device"] for row in rows]
    # Asked of one port it is of that port.
    assert "CRYPTO" not in asked("--port", "lan")
    findings = json.loads(command("doctor", "--config", path, "--json").stdout)["findings"]
    levels = {row["subject"]: row["level"] for row in findings if row["subject"].startswith("crypto ")}
    assert levels == {f"crypto {DEVICES[0]}": "warn", "crypto crypto_null0": "fail", "crypto 0000:ff:1f.7": "fail"}


def test_what_cannot_be_is_said_before_the_first_packet(one: One):
    one.site.tunnels[0].keys = {"offload": "lookaside"}
    refused = command("check", "--config", one.site.write())
    assert refused.code == 78 and "without a crypto device" in refused.stderr + refused.stdout
    one.site.dpdk = 'crypto_devices = ["crypto_null0"]'
    ended = one.run().ended()
    assert ended.code == 69 and "AES-128-GCM" in ended.stderr and "crypto_null" in ended.stderr
    one.site.dpdk = 'crypto_devices = ["crypto_aesni_mb0"]'
    one.site.tunnels[0].keys |= {"extended_sequence_numbers": True}
    refused = command("check", "--config", one.site.write())
    assert refused.code == 78 and "extended sequence numbers" in refused.stderr + refused.stdout
