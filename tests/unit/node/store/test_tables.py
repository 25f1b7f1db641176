"""Dicts of a cache do not take the memory of dicts that grow."""

from __future__ import annotations

from sys import getsizeof

import pytest

from quorumcache.node.store.tables import ENTRIES_MAX, ENTRIES_MIN, least_bytes, shrink


def churned(count: int) -> dict[bytes, int]:
    """A dict of so many entries, in which each was replaced several times."""
    table = {b"%d" % number: number for number in range(count)}
    for number in range(count, 8 * count):
        del table[b"%d" % (number - count)]
        table[b"%d" % number] = number
    return table


@pytest.mark.parametrize("count", [70, 1000, 4000, 12_000, 15_625, 30_000])
def test_a_dict_that_was_churned_gets_smaller_and_stays_the_same(count: int) -> None:
    table = churned(count)
    before, pairs = getsizeof(table), list(table.items())
    moved = shrink(table)
    assert moved == 2 * count
    assert getsizeof(table) <= before * 0.6
    assert list(table.items()) == pairs
    assert shrink(table) == 0, "once is enough"


@pytest.mark.parametrize("count", range(64, 3000, 61))
def test_what_is_least_is_what_a_dict_takes(count: int) -> None:
    table = {b"%d" % number: number for number in range(count)}
    least = least_bytes(count)
    assert getsizeof(dict(table)) <= least
    slots_bytes = getsizeof(table) - 256
    assert least <= 2 * slots_bytes + 1024


def test_a_dict_that_was_just_made_stays() -> None:
    for count in range(0, 20_000, 613):
        assert shrink({b"%d" % number: number for number in range(count)}) == 0


def test_a_dict_with_little_room_left_stays() -> None:
    """It would have to grow again at once, and to be copied at every look."""
    table = churned(21_000)
    before = getsizeof(table)
    assert shrink(table) == 0
    assert getsizeof(table) == before


def test_small_and_large_ones_stay() -> None:
    assert shrink(churned(ENTRIES_MIN - 1)) == 0
    table = dict.fromkeys([b"%d" % number for number in range(2 * ENTRIES_MAX)], 0)
    for number in range(ENTRIES_MAX - 1):
        del table[b"%d" % number]
    assert shrink(table) == 0
    del table[b"%d" % (ENTRIES_MAX - 1)]
    assert shrink(table) == 2 * ENTRIES_MAX
