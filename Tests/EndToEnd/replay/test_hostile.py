"""Hostile input never stops the gateway: everything is accounted for, and nothing leaks out in clear."""

from __future__ import annotations

from random import Random

import pytest

from replay.hostile import capture_of
from vpngw.rig import Pair


@pytest.mark.parametrize("options", [[], ["--resolve"]], ids=["placeholders", "ARP"])
@pytest.mark.parametrize("round_", range(3))
def test_mutated_frames(pair: Pair, rng: Random, options: list[str], round_: int) -> None:
    """Every replay asserts conservation, the drops file, and that nothing but ESP and our own words left outside."""
    replayed = pair.a.replay(*options, lan=capture_of(pair, rng, 8000), wan=capture_of(pair, rng, 8000))
    assert replayed.report["rx_packets"] == 16_000
    # A generator that only makes rubbish proves nothing: every path is to be walked.
    for reason in (
        "malformed",
        "unsupported_ethertype",
        "martian",
        "no_policy",
        "ttl_expired",
        "packet_too_big",
        "unprotected",
        "integrity_failed",
        "replayed",
        "unknown_spi",
        "tunnel_address_mismatch",
        "bad_trailer",
    ):
        assert replayed.drops.get(reason, 0) > 0, f"no {reason}: {replayed.drops}"
    assert replayed.report["ports"]["wan"]["tx_packets"] > 100
    assert replayed.report["ports"]["lan"]["tx_packets"] > 100
