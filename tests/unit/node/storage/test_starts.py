"""Goal: a directory can name the mark of each start that it still keeps, and of no other.

Method: a list of all marks as the model.
"""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.storage.starts import MARK_BYTES, MARKS_MAX, Starts


@pytest.mark.parametrize("count", [0, 1, 5, MARKS_MAX, MARKS_MAX + 3])
def test_the_marks_of_the_last_starts_are_found_by_number(count: int) -> None:
    random = Random(1)
    starts, model = Starts(), [b""]
    for _ in range(count):
        number = random.getrandbits(63)
        starts = starts.next(number)
        model.append(number.to_bytes(8, "big")[-MARK_BYTES:])
    assert starts.number == count
    for number in range(-1, count + 3):
        kept = max(1, count - MARKS_MAX + 1) <= number <= count
        assert starts.mark_of(number) == (model[number] if kept else None), number


def test_where_nothing_is_kept_there_are_no_marks() -> None:
    assert Starts(7, b"").mark_of(7) is None
