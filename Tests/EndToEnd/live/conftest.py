"""Fixtures of the live tests: real gateways in network namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from vpngw import network as networks
from vpngw.live import One, Sites, make_one, make_sites
from vpngw.network import Network


@cache
def _missing() -> str | None:
    return networks.missing()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Namespaces that go with the test."""
    if reason := _missing():
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


@pytest.fixture
def one(network: Network) -> One:
    """A host, one gateway and a plain host in place of its peer, cabled, not started."""
    return make_one(network)
