"""Fixtures of the tests of the ixgbe model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from vpngw import network as networks
from vpngw import nic
from vpngw.live import Sites, make_sites
from vpngw.network import Network, wait_until


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


@cache
def _cannot_cable() -> str | None:
    return networks.missing()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Namespaces that go with the test, for gateways on models."""
    if reason := _missing() or _cannot_cable():
        pytest.skip(reason)
    network = Network(tmp_path)
    try:
        yield network
    finally:
        network.close()


@pytest.fixture
def sites(network: Network) -> Sites:
    """Two hosts and two gateways, cabled, not started."""
    return make_sites(network)
