"""Goal: a directory can name the nonce of each start that it still keeps, and of no other.

Method: a list of all nonces as the model.
"""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.storage.starts import NONCE_BYTES, NONCES_MAX, Starts


@pytest.mark.parametrize("count", [0, 1, 5, NONCES_MAX, NONCES_MAX + 3])
def test_the_nonces_of_the_last_starts_are_found_by_number(count: int) -> None:
    random = Random(1)
    starts, model = Starts(), [b""]
    for _ in range(count):
        number = random.getrandbits(63)
        starts = starts.next(number)
        model.append(number.to_bytes(8, "big")[-NONCE_BYTES:])
    assert starts.number == count
    for number in range(-1, count + 3):
        kept = max(1, count - NONCES_MAX + 1) <= number <= count
        assert starts.nonce_of(number) == (model[number] if kept else None), number


def test_where_nothing_is_kept_there_are_no_nonces() -> None:
    assert Starts(7, b"").nonce_of(7) is None
