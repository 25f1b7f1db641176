"""Goal: what a store says of its memory is what the process takes for it, within 10 %.

Method: a store of one shard is filled in a process of its own (`support/fill_store.py`), with so
many items that their table has just grown, or is nearly full, and its resident memory is compared
with `memory_bytes`. Counted are items, tables and the index of ends.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

JUST_GROWN, NEARLY_FULL = 180_000, 340_000
"""A dict has room for 174,762 items in one size of its table, for 349,525 in the next."""


def filled(*arguments: int) -> tuple[int, int]:
    """Bytes that a store takes, and those that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.fill_store", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    taken, told = map(int, done.stdout.split())
    return taken, told


@pytest.mark.parametrize(
    ("count", "value_bytes"),
    [
        (JUST_GROWN, 10),
        (JUST_GROWN, 100),
        (NEARLY_FULL, 100),
        (60_000, 400),
        (60_000, 1_000),
        (4_000, 10_000),
        (800, 100_000),
    ],
)
def test_a_store_takes_what_it_says(count: int, value_bytes: int) -> None:
    taken, told = filled(count, value_bytes, 0, 0)
    assert abs(told - taken) < taken / 10


@pytest.mark.parametrize(("count", "value_bytes"), [(100_000, 10), (100_000, 100), (4_000, 10_000)])
def test_so_it_does_with_items_that_end(count: int, value_bytes: int) -> None:
    taken, told = filled(count, value_bytes, 3600, 0)
    assert abs(told - taken) < taken / 10


@pytest.mark.parametrize("ttl", [0, 3600])
@pytest.mark.parametrize(("count", "value_bytes"), [(100_000, 100), (4_000, 10_000)])
def test_so_it_does_after_many_changes(count: int, value_bytes: int, ttl: int) -> None:
    """Items are written again, with other sizes, and replaced by others: four times all of them."""
    taken, told = filled(count, value_bytes, ttl, 8)
    assert abs(told - taken) < taken / 10
