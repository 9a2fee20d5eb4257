"""Fixtures of the replay tests. All chance comes from one seed, which a failure names: VPN_GW_SEED repeats it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from random import Random

import pytest

from vpngw.gateway import BINARY
from vpngw.rig import Pair, make_pair

SEED = os.environ.get("VPN_GW_SEED") or str(secrets.randbits(32))


def pytest_report_header() -> list[str]:
    return [f"vpn-gw: {BINARY}", f"seed: VPN_GW_SEED={SEED}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Names the seed and the captures of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        directory: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
        files = sorted(str(path) for path in directory.rglob("*.*") if path.is_file()) if directory else []
        report.sections.append(("vpn-gw", "\n".join([f"VPN_GW_SEED={SEED}", *files])))
    return report


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """The test's own source of chance: the same for the same seed, whichever tests run beside it."""
    return Random(f"{SEED}/{request.node.nodeid}")


@pytest.fixture
def pair(tmp_path: Path, rng: Random) -> Pair:
    """Two gateways with random keys and a tunnel between them."""
    return make_pair(tmp_path, rng)
