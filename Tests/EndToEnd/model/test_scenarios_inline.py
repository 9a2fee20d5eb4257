"""Scenarios by NICs that encrypt: what leaves each port is what leaves it when software does all, octet by octet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vpngw import nic
from vpngw.inline import InlineRun, Outcome, applies
from vpngw.scenario import Case, Scenario, load_all

pytestmark = pytest.mark.timeout(900)

SCENARIOS = [scenario for scenario in load_all() if any(map(applies, scenario.cases()))]
SHORT = {
    "algorithms": 1, "authentication": 1, "formats": 3, "hub": 2, "nat-traversal": 1, "numbers": 6, "outer": 6, "policy": 3,
    "reassembly": 2, "router": 4, "size": 4, "sweep": 3, "trailer": 3, "transport": 5}
"""How many scenarios of each file the short run has, with one case each."""
PER_PACKET = {"ipv4_options", "ipv6_extension", "fragment", "not_processed", "device_failed"}
"""Reasons for which software takes single packets of an SA that the NIC has."""
worked = Counter()
"""ESP packets of all runs, by who worked on them."""


def short(scenarios: list[Scenario]) -> list[Scenario]:
    """Of each file as many as it may have, spread over it."""
    chosen = []
    for file, count in SHORT.items():
        own = [scenario for scenario in scenarios if scenario.file == file]
        chosen += [own[index * len(own) // count] for index in range(min(count, len(own)))]
    return chosen


def streams(frames: list[bytes]) -> dict[bytes, list[bytes]]:
    """Frames in their order, for each pair of addresses and SPI. Which of two tunnels comes first in a burst is for where the
    burst ended. Identifications of IPv6 fragments begin anywhere (RFC 7739): here they count from 0."""
    found: dict[bytes, list[bytes]] = {}
    identifications: dict[bytes, int] = {}
    for frame in frames:
        packet = frame[14:]
        if packet[:1] and packet[0] >> 4 == 6:
            if packet[6] == 44:
                number = identifications.setdefault(packet[44:48], len(identifications))
                frame = frame[:58] + number.to_bytes(4, "big") + frame[62:]
            key = packet[8:40] + (packet[40:44] if packet[6] == 50 else b"")
        else:
            header = (packet[0] & 15) * 4 if packet else 0
            key = packet[12:20] + (packet[header : header + 4] if packet[9:10] == b"\x32" else b"")
        found.setdefault(key, []).append(frame)
    return found


def compare(case: Case, directory: Path) -> None:
    software, inline = InlineRun(case, directory / "software", "off"), InlineRun(case, directory / "inline", "auto")
    try:
        one, other = software.finish(), inline.finish()
    finally:
        software.close()
        inline.close()
    assert one.told() == other.told(), case.title
    for port, frames in one.out.items():
        assert streams(frames) == streams(other.out[port]), f"{case.title}: port {port}: {directory}"
    judge(case, one, other)


def judge(case: Case, software: Outcome, inline: Outcome) -> None:
    """What the model says of both, and whose the packets were."""
    for was, now in zip(software.model["ports"], inline.model["ports"]):
        clear = was["violations"]["clear_text"]
        # What the site lets through in clear leaves in clear with software too, and nothing else does.
        assert now["violations"] == {**dict.fromkeys(now["violations"], 0), "clear_text": clear}, case.title
        assert not any(now["findings"].values()), (case.title, now["findings"])
    for row in software.report["sas"]:
        assert (row["path"], row["offloaded_packets"], row["fallback_packets"]) == ("software", 0, {}), case.title
    for row in inline.report["sas"]:
        fallback = row["fallback_packets"]
        worked["nic"] += row["offloaded_packets"]
        worked["software"] += row["packets"] - min(row["packets"], row["offloaded_packets"])
        if row["path"] != "inline":
            assert row["offloaded_packets"] == 0
            continue
        assert set(fallback) <= PER_PACKET, (case.title, row)
        if row["direction"] == "outbound":
            assert row["offloaded_packets"] + sum(fallback.values()) == row["packets"], (case.title, row)
        else:
            assert row["offloaded_packets"] + sum(fallback.values()) >= row["packets"], (case.title, row)


def run(cases: list[Case], directory: Path) -> None:
    if reason := nic.missing():
        pytest.skip(reason)
    for number, case in enumerate(cases, start=1):
        compare(case, directory / str(number))


@pytest.mark.parametrize("scenario", short(SCENARIOS), ids=lambda scenario: scenario.identifier)
def test_a_case_of_a_scenario(scenario: Scenario, tmp_path: Path):
    run([case for case in scenario.cases() if applies(case)][-1:], tmp_path)


def test_most_packets_were_the_nics():
    if not worked:
        pytest.skip("nothing ran before")
    assert worked["nic"] > worked["software"], worked


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.identifier)
def test_every_case_of_a_scenario(scenario: Scenario, tmp_path: Path):
    run([case for case in scenario.cases() if applies(case)], tmp_path)
