"""Every scenario of scenarios/*.toml through `vpn-gw pcap`: scenarios/README.md says how one is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpngw.scenario import Scenario, load_all
from vpngw.scenario_run import CaseRun, Failed

SCENARIOS = load_all()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.identifier for scenario in SCENARIOS])
def test_scenario(scenario: Scenario, tmp_path: Path) -> None:
    """Each case of the scenario; all that fail are named, with the directory that holds their captures and site."""
    failures = []
    for number, case in enumerate(scenario.cases(), start=1):
        try:
            CaseRun(case, tmp_path / str(number)).run()
        except Failed as failure:
            failures.append(str(failure))
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
