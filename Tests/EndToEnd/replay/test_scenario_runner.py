"""The runner of scenarios notices what is wrong: each scenario here says one thing that is not so."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from vpngw.scenario import Case, Scenario, ScenarioError, toml
from vpngw.scenario_run import CaseRun, Failed

TRUE = {
    "name": "true", "shows": "A packet each way.", "base": "plain",
    "in": [{"port": "lan", "packets": "up(100, tos=1)"}, {"port": "wan", "packets": "[esp('site-b', down(100), seq=1)] * 2"}],
    "out": [
        {"port": "wan", "tunnel": "site-b", "packets": "hop(up(100, tos=1))", "outer": {"tos": 1}},
        {"port": "lan", "packets": "hop(down(100))"}],
    "drops": {"replayed": 1}, "report": {"ports": {"lan": {"tx_packets": 1}}},
    "sa": [{"tunnel": "site-b", "direction": "inbound", "packets": 1}],
}


def run(table: dict, directory: Path) -> None:
    for number, case in enumerate(Scenario("runner", table).cases()):
        CaseRun(case, directory / str(number)).run()


def test_what_is_so(tmp_path: Path) -> None:
    run(TRUE, tmp_path)


@pytest.mark.parametrize("path, value, said", [
    (("drops",), {}, "drops {'replayed': 1}, expected {}"),
    (("drops", "replayed"), 2, "expected {'replayed': 2}"),
    (("report", "ports", "lan", "tx_packets"), 2, "tx_packets is 1, expected 2"),
    (("sa", 0, "packets"), 2, "packets is 1, expected 2"),
    (("sa", 0, "direction"), "sideways", "0 SAs in the report"),
    (("out", 0, "packets"), "up(100, tos=1)", "different from octet 8"),
    (("out", 0, "packets"), "[hop(up(100, tos=1))] * 2", "1 packets, expected 2"),
    (("out", 0, "outer", "tos"), 2, "outer tos [1], expected [2]"),
    (("out", 0, "numbers"), "[2]", "sequence numbers [1], expected [2]"),
    (("out", 1, "packets"), "hop(down(101))", "100 octets, expected 101"),
    (("out", 1, "packets"), "[]", "nobody expected"),
    (("out", 1), {"port": "lan", "tunnel": "site-b", "packets": "hop(down(100))"}, "neither ESP nor AH"),
    (("in", 1, "packets"), "flip(esp('site-b', down(100), seq=1), -1)", "expected {'replayed': 1}"),
    (("refused",), "tunnel", "exit code 0, expected 78"),
])
def test_what_is_not_so(tmp_path: Path, path: tuple, value, said: str) -> None:
    """The failure says what, and where the captures are."""
    table = deepcopy(TRUE)
    place = table
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(Failed) as failure:
        run(table, tmp_path)
    assert said in str(failure.value) and str(tmp_path) in str(failure.value)


@pytest.mark.parametrize("change", [
    {"out": [{"port": "wan", "packet": "up(100)"}]}, {"in": [{"port": "wan", "packets": "nobody(100)"}]},
    {"in": [{"port": "wan", "packets": "__import__('os')"}]}, {"in": [{"port": "dmz", "packets": "up(100)"}]},
    {"define": {"x": "1 +"}},
])
def test_what_is_no_scenario(tmp_path: Path, change: dict) -> None:
    """A misspelt key, an unknown word, a word of Python's that is not for scenarios, a port that is not there."""
    with pytest.raises((ScenarioError, KeyError)):
        run({**TRUE, **change}, tmp_path)


def test_sites_are_merged() -> None:
    """Tables by name, other entries added, what is taken away gone, and parameters in place."""
    table = {
        **TRUE, "grid": {"W": [64, 128]}, "without": ["route"],
        "site": {"tunnel": [{"name": "site-b", "inbound": {"replay_window_packets": "$W"}}, {
            "name": "new", "local_address": "192.0.2.1", "remote_address": "$remote", "outbound": {"spi": 300},
            "inbound": {"spi": 301}}]},
    }
    first, second = Scenario("runner", table).cases()
    assert [tunnel["name"] for tunnel in first.site["tunnel"]] == ["site-b", "new"]
    assert first.site["tunnel"][0]["inbound"]["spi"] == 0x2001
    assert [case.site["tunnel"][0]["inbound"]["replay_window_packets"] for case in (first, second)] == [64, 128]
    assert first.site["tunnel"][1]["remote_address"] == "198.51.100.1" and "route" not in first.site
    keys = {one.key for one in first.associations().values()}
    assert len(keys) == 4 and all(len(key) == 20 for key in keys)
    assert isinstance(first, Case) and 'remote_address = "198.51.100.1"' in toml(first.site)
