"""What leaders answer about locks, from one node to another."""

import pytest

from quorumcache.node.operations.lock_answers import (
    GONE,
    GRANTED,
    TOO_MANY,
    WAITS,
    pack_lock,
    pack_standing,
    read_lock,
    read_standing,
    standing,
)
from quorumcache.node.store.locks import LockTable

NOW_MS = 1000
TTL_MS = 500


def table_of(*owners: bytes) -> LockTable:
    """The first one holds the lock, the others wait for it."""
    table = LockTable()
    for owner in owners:
        table.acquire(b"l", owner, TTL_MS, 0, 0, True, NOW_MS)
    return table


def test_how_it_stands_with_an_owner() -> None:
    table = table_of(b"a", b"b", b"c")
    assert standing(table, b"l", b"a", NOW_MS) == (GRANTED, 1)
    assert standing(table, b"l", b"c", NOW_MS) == (WAITS, 2)
    assert standing(table, b"l", b"d", NOW_MS) == (GONE, 0)
    assert standing(table, b"m", b"a", NOW_MS) == (GONE, 0)
    assert standing(table, b"l", b"a", NOW_MS + TTL_MS) == (GONE, 0), "its lease has ended"


@pytest.mark.parametrize("found", [(GRANTED, 2**63 - 1), (WAITS, 1), (GONE, 0), (TOO_MANY, 5)])
def test_an_answer_comes_out_as_it_went_in(found: tuple[int, int]) -> None:
    assert read_standing(pack_standing(found)) == found


@pytest.mark.parametrize("answer", [None, b"", b"123456789x"])
def test_what_is_no_answer_has_the_owner_ask_for_the_lock_again(answer: bytes | None) -> None:
    assert read_standing(answer) == (GONE, 0)


def test_a_lock_is_packed_with_the_time_that_is_left() -> None:
    table = table_of(b"a", b"b")
    kind, holders, waiters = read_lock(pack_lock(table, b"l", NOW_MS + 100))
    assert kind == 0
    assert holders == ((b"a", 1, 0, TTL_MS - 100),)
    assert [(owner, shared) for owner, shared, _ in waiters] == [(b"b", 0)]
    assert read_lock(pack_lock(table, b"m", NOW_MS)) is None
