"""The memory of the tests for what may not come twice: nothing is forgotten, nothing invented."""

from __future__ import annotations

import os
import struct
from random import Random

import pytest

from vpngw.ledger import NonceLedger, Numbers

KEYS = {0x1001: bytes(20), 0x1101: bytes(20), 0x2001: bytes([1] * 20)}


@pytest.mark.parametrize("span", [40, 1 << 40])
def test_numbers_are_a_set(span: int):
    seed = int(os.environ.get("VPN_GW_SEED") or int.from_bytes(os.urandom(4)))
    random, numbers, model = Random(seed), Numbers(), set()
    for _ in range(2000):
        start = random.choice([random.randrange(span), numbers.highest + 1, numbers.highest])
        for number in range(start, start + random.randrange(1, 5)):
            assert numbers.add(number) == (number not in model), f"seed {seed}: {number}"
            model.add(number)
    assert numbers.count == len(model)
    assert numbers.ranges == sum(number - 1 not in model for number in model), f"seed {seed}"
    assert all((number in numbers) == (number in model) for number in range(60)), f"seed {seed}"


def esp(spi: int, number: int, vector: int) -> bytes:
    return bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x32" + bytes(10) + struct.pack("!IIQ", spi, number, vector)


def test_a_repeated_iv_is_seen_under_another_spi():
    ledger = NonceLedger(KEYS)
    ledger.take([esp(0x1001, 1, 7), esp(0x2001, 1, 7), esp(0x1101, 1, 8), b"\xff" * 12 + b"\x08\x06" + bytes(28)], "")
    assert ledger.count == 3
    with pytest.raises(AssertionError, match="IV 0x7 was used twice .* SPI 0x1101 as number 2, in round 9"):
        ledger.take([esp(0x1101, 2, 7)], "in round 9")


def test_a_repeated_sequence_number_is_seen():
    ledger = NonceLedger(KEYS)
    ledger.take([esp(0x1001, 5, 7), esp(0x1101, 5, 8)], "")
    with pytest.raises(AssertionError, match="sequence number 5 was sent twice"):
        ledger.take([esp(0x1001, 5, 9)], "")
