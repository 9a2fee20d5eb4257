"""Fixtures of the tests of the ixgbe model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from vpngw import nic
from vpngw.network import wait_until


@cache
def _missing() -> str | None:
    return nic.missing()


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Callable[..., nic.Probe]]:
    """Starts the probe on the model; it ends with the test, and the machine's hugepages are as they were."""
    if reason := _missing():
        pytest.skip(reason)
    before, started = nic.HUGEPAGES.read_text(), []

    def start(*options, **keywords) -> nic.Probe:
        started.append(nic.Probe(tmp_path, *options, **keywords))
        return started[-1]

    try:
        yield start
    finally:
        for run in started:
            run.close()
    wait_until(lambda: nic.HUGEPAGES.read_text() == before, "hugepages given back")
