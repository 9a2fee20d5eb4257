"""Two gateways whose wan ports are real NICs, joined by a cable, or where none are named modelled ones.

    host-a eth0 -- lan [gw-a] NIC == NIC [gw-b] lan -- eth0 host-b
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpngw import network as networks
from vpngw import nic
from vpngw.hardware import Pair, make_pair
from vpngw.network import Network

PORTS = os.environ.get("VPNGW_HW_PORTS", "").split()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Makes the two gateways, not started; what is started ends with the test."""
    if reason := networks.missing() or (None if PORTS else nic.missing()):
        pytest.skip(reason)
    network = Network(tmp_path)
    try:
        yield lambda **keys: make_pair(network, PORTS, **keys)
    finally:
        network.close()
