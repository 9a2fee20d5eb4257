"""Random packets by the million through a gateway with every feature on: it never stops, and accounts for each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from vpngw import capture
from vpngw.gateway import Result, replay
from vpngw.judge import parsed
from vpngw.scenario import Case, Scenario
from vpngw.storm import Storm

CHUNK = 400_000
LONG = 10_000_000
SHORT = 200_000


@pytest.fixture
def case() -> Case:
    """The site of scenarios/sites/storm.toml."""
    return Case(Scenario("storm", {"name": "storm", "shows": "", "base": "storm"}), {})


def run(case: Case, storm: Storm, directory: Path, count: int, outputs: bool = False) -> Result:
    """One chunk. The captures stay when it fails, and go when not."""
    inputs = list(storm.write(directory, count))
    site = directory / "storm.toml"
    site.touch(mode=0o600)
    site.write_text(case.site_text(directory))
    outs = [("wan", directory / "out-wan.pcap")] if outputs else []
    result = replay(site, inputs, outs, timeout=600)  # a leaked packet buffer is an exit code too
    assert result.report["rx_packets"] == count
    return result


def test_a_short_storm(case: Case, tmp_path: Path, rng: Random) -> None:
    """Two hundred thousand packets; what left by the unprotected port was protected, or is allowed in clear."""
    storm = Storm(case, str(rng.random()))
    result = run(case, storm, tmp_path, SHORT, outputs=True)
    drops = result.report["drops"]
    # A generator that only makes rubbish proves nothing: what is behind ICV, SPD and routes is to be reached.
    for reason in (
        "malformed", "unsupported_ethertype", "martian", "no_policy", "policy_discard", "ttl_expired", "packet_too_big",
        "reassembly_failed", "unprotected", "unknown_spi", "tunnel_address_mismatch", "replayed", "late",
        "integrity_failed", "bad_trailer", "dummy", "ecn_violation", "selector_mismatch",
    ):
        assert drops.get(reason, 0) > 0, f"no {reason}: {drops}"
    for sa in result.report["sas"]:
        assert sa["packets"] > 0, f"nothing went through {sa}"
    strange = clear_text(case, tmp_path / "out-wan.pcap")
    assert not strange, f"left by the unprotected port: {strange.most_common(5)}"


def clear_text(case: Case, path: Path) -> Counter[str]:
    """What left that is neither of an SA of ours, nor allowed by the bypass policy, nor the gateway's own word."""
    associations = {
        (one.source, one.destination)
        for (_, direction, _), one in case.associations().items() if direction == "outbound"}
    moved = {one.source for one in case.associations().values() if one.nat_traversal}
    own, strange, cut = {"192.0.2.1", "2001:db8:a::1"}, Counter(), set()
    for record in capture.read(path):
        if record.ethertype == 0x0806:
            continue
        packet = parsed(record.packet[:64])
        protocol = packet.proto if packet.version == 4 else packet.nh
        octets = record.packet
        if packet.version == 6 and protocol == 44:
            # Cut behind its ESP: the fragment header names what was cut. Only the first piece, which comes first, has
            # the ports of what is in UDP.
            protocol, whole = octets[40], (packet.src, packet.dst, octets[44:48])
            if protocol == 17 and packet.src in moved:
                if octets[42:44] == b"\0\1" and octets[48:50] == b"\x11\x94":
                    cut.add(whole)
                if whole in cut:
                    continue
        if protocol in (50, 51) and (packet.src, packet.dst) in associations:
            continue
        if (packet.src, packet.dst) in associations and packet.version == 6 and protocol == 0:
            continue  # transport mode behind a hop-by-hop header
        if protocol == 17 and packet.src in moved and octets[_udp(packet) : _udp(packet) + 2] == b"\x11\x94":
            continue
        if protocol in (1, 58) and packet.src in own:
            continue  # echo, and neighbour discovery
        if packet.version == 6 and protocol == 58 and packet.src.startswith("fe80:"):
            continue
        if protocol == 17 and packet.dst.startswith("203.0.113.") and packet.src.startswith("10.0.1."):
            continue
        strange[packet.summary()] += 1
    return strange


def _udp(packet) -> int:
    return packet.ihl * 4 if packet.version == 4 else 40


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_long_storm(case: Case, tmp_path: Path, rng: Random) -> None:
    """Ten million packets, in chunks of which the disk holds one."""
    storm = Storm(case, str(rng.random()), sealed_each=400)
    for _ in range(LONG // CHUNK):
        result = run(case, storm, tmp_path, CHUNK)
        assert result.report["ports"]["wan"]["tx_packets"] > 1000 and result.report["ports"]["lan"]["tx_packets"] > 1000
