"""One lock: what may be one, who is let in, and who is next."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.store.lock_records import (
    HOLDERS_MAX,
    KIND_BARRIER,
    KIND_LOCK,
    KIND_SEMAPHORE,
    NEVER,
    OWNER_BYTES_MAX,
    WAITERS_MAX,
    Holder,
    LockRecord,
    Waiter,
    check_lease,
    is_owner,
    is_possible,
)


def record(kind: int, limit: int, *holders: int, waiters: tuple[int, ...] = ()) -> LockRecord:
    """A lock with so many holders and waiters, each given as `shared`."""
    made = LockRecord(kind, limit)
    for number, shared in enumerate(holders, 1):
        owner = b"h%d" % number
        made.holders[owner] = Holder(owner, number, shared, 1000 + number, 500)
    for number, shared in enumerate(waiters, 1):
        owner = b"w%d" % number
        made.waiters[owner] = Waiter(owner, shared, 500, 900 + number)
    return made


@pytest.mark.parametrize(
    ("owner", "may_be"),
    [
        (b"", False),
        (b"a", True),
        (b"node-7/worker:3", True),
        (b"\xc3\xa4", True),
        (b"x" * OWNER_BYTES_MAX, True),
        (b"x" * (OWNER_BYTES_MAX + 1), False),
        (b"a b", False),
        (b"a\r", False),
        (b"\n", False),
        (b"a\x00", False),
        (b"\x7f", False),
    ],
)
def test_what_an_owner_may_be(owner: bytes, may_be: bool) -> None:
    assert is_owner(owner) is may_be
    assert is_possible(b"name", owner, KIND_LOCK, 0, 0) is may_be


@pytest.mark.parametrize(
    ("kind", "shared", "limit", "may_be"),
    [
        (KIND_LOCK, 0, 0, True),
        (KIND_LOCK, 1, 0, True),
        (KIND_LOCK, 0, 1, False),
        (KIND_LOCK, 0, -1, False),
        (KIND_SEMAPHORE, 0, 1, True),
        (KIND_SEMAPHORE, 1, 1, False),
        (KIND_SEMAPHORE, 0, 0, False),
        (KIND_SEMAPHORE, 0, -5, False),
        (KIND_SEMAPHORE, 0, HOLDERS_MAX, True),
        (KIND_SEMAPHORE, 0, HOLDERS_MAX + 1, False),
        (KIND_BARRIER, 0, 1, True),
        (KIND_BARRIER, 1, 2, False),
        (KIND_BARRIER, 0, 0, False),
        (KIND_BARRIER, 0, WAITERS_MAX, True),
        (KIND_BARRIER, 0, WAITERS_MAX + 1, False),
        (3, 0, 0, False),
        (-1, 0, 0, False),
    ],
)
def test_what_a_lock_may_be(kind: int, shared: int, limit: int, may_be: bool) -> None:
    assert is_possible(b"name", b"me", kind, shared, limit) is may_be


@pytest.mark.parametrize(("name", "may_be"), [(b"", False), (b"n" * 250, True), (b"n" * 251, 0)])
def test_a_name_is_as_long_as_a_key(name: bytes, may_be: bool) -> None:
    assert is_possible(name, b"me", KIND_LOCK, 0, 0) == may_be


def test_whom_a_lock_lets_in() -> None:
    free, read, written = record(KIND_LOCK, 0), record(KIND_LOCK, 0, 1), record(KIND_LOCK, 0, 0)
    assert [free.admits(0), free.admits(1)] == [True, True]
    assert [read.admits(0), read.admits(1)] == [False, True]
    assert [written.admits(0), written.admits(1)] == [False, False]
    assert not record(KIND_LOCK, 0, *[1] * HOLDERS_MAX).admits(1)
    assert record(KIND_LOCK, 0, *[1] * (HOLDERS_MAX - 1)).admits(1)


def test_a_semaphore_lets_in_as_many_as_it_says() -> None:
    assert record(KIND_SEMAPHORE, 2, 0).admits(0)
    assert not record(KIND_SEMAPHORE, 2, 0, 0).admits(0)


def test_a_newcomer_is_next_only_if_nobody_waits() -> None:
    assert record(KIND_LOCK, 0, 1).is_next(1)
    assert not record(KIND_LOCK, 0, 1, waiters=(0,)).is_next(1), "a writer waits"
    assert not record(KIND_SEMAPHORE, 2, 0, waiters=(0,)).is_next(0)


def test_a_barrier_opens_when_all_parties_are_there_and_not_before() -> None:
    assert not record(KIND_BARRIER, 3, waiters=(0,)).is_next(0)
    assert record(KIND_BARRIER, 3, waiters=(0, 0)).is_next(0)
    assert record(KIND_BARRIER, 1).is_next(0)
    assert record(KIND_BARRIER, 3, waiters=(0, 0)).next_grants() == 0
    assert record(KIND_BARRIER, 3, waiters=(0, 0, 0)).next_grants() == 3
    assert record(KIND_BARRIER, 3, 0, 0, 0, waiters=(0, 0, 0)).next_grants() == 3, "a new round"


def test_a_round_of_a_barrier_waits_for_room_of_those_of_the_round_before() -> None:
    waiters = (0,) * 600
    assert record(KIND_BARRIER, 600, *[0] * (HOLDERS_MAX - 600), waiters=waiters).next_grants()
    full = record(KIND_BARRIER, 600, *[0] * (HOLDERS_MAX - 599), waiters=waiters)
    assert not full.next_grants()
    assert not full.is_next(0)


def test_the_head_of_the_queue_is_next_and_nobody_else() -> None:
    assert record(KIND_LOCK, 0).next_grants() == 0
    assert record(KIND_LOCK, 0, waiters=(0, 1)).next_grants() == 1
    assert record(KIND_LOCK, 0, 1, waiters=(0, 1)).next_grants() == 0
    assert record(KIND_SEMAPHORE, 2, 0, waiters=(0, 0)).next_grants() == 1


def test_the_soonest_end_and_places() -> None:
    both = record(KIND_LOCK, 0, 0, waiters=(0, 1))
    assert both.soonest_end_ms() == 901
    assert record(KIND_LOCK, 0, 1, 1).soonest_end_ms() == 1001
    assert record(KIND_LOCK, 0).soonest_end_ms() == NEVER
    assert [both.place_of(owner) for owner in (b"w1", b"w2", b"h1", b"x")] == [1, 2, 0, 0]


@pytest.mark.parametrize(
    ("name", "owner", "shared", "numbers"),
    [
        ("name", b"me", 0, (1,)),
        (b"", b"me", 0, (1,)),
        (b"name", "me", 0, (1,)),
        (b"name", b"m e", 0, (1,)),
        (b"name", b"h1", 0, (1,)),
        (b"name", b"w1", 0, (1,)),
        (b"name", b"me", 2, (1,)),
        (b"name", b"me", True, (1,)),
        (b"name", b"me", None, (1,)),
        (b"name", b"me", 0, (1, 2.0)),
        (b"name", b"me", 0, (None,)),
    ],
)
def test_a_lease_that_cannot_be(name: object, owner: object, shared: object, numbers: Any) -> None:
    lock = record(KIND_LOCK, 0, 1, waiters=(0,))
    check_lease(b"name", lock, b"me", 0, (1, 2))
    with pytest.raises(ValueError, match="invalid"):
        check_lease(name, lock, owner, shared, numbers)


@pytest.mark.parametrize(("kind", "limit"), [(3, 0), (KIND_LOCK, 1), ("0", 0), (KIND_LOCK, None)])
def test_a_lease_of_a_lock_that_cannot_be(kind: Any, limit: Any) -> None:
    with pytest.raises(ValueError, match="invalid"):
        check_lease(b"name", LockRecord(kind, limit), b"me", 0, (1, 2))
