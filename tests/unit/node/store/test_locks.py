"""The table of locks, command by command. Random ones: `tests/property/test_locks.py`."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.store.lock_records import (
    HOLDERS_MAX,
    KIND_BARRIER,
    KIND_LOCK,
    KIND_SEMAPHORE,
    TTL_MAX_MS,
    TTL_MIN_MS,
    WAITERS_MAX,
    Holder,
    Waiter,
)
from quorumcache.node.store.locks import (
    LEASES_MAX,
    LEAVES_QUEUE,
    LOCKS_MAX,
    QUEUE_LEASE_MS,
    LockTable,
)
from quorumcache.node.store.results import (
    LOCK_BUSY,
    LOCK_KIND,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    LOCKS_FULL,
)

NAME = b"lock"
TTL_MS = 5000
EXCLUSIVE, SHARED, SEMAPHORE, BARRIER = 0, 1, 2 * KIND_SEMAPHORE, 2 * KIND_BARRIER


def acquire(
    table: LockTable,
    owner: bytes,
    now_ms: int = 1000,
    *,
    kind: int = EXCLUSIVE,
    limit: int = 0,
    queues: bool = True,
    ttl_ms: int = TTL_MS,
    name: bytes = NAME,
) -> object:
    return table.acquire(name, owner, ttl_ms, kind, limit, queues, now_ms)


def restored(table: LockTable) -> LockTable:
    other = LockTable()
    other.last_token = table.last_token
    for image in table.images():
        other.add(tuple(map(plain, image)))
    return other


def plain(value: Any) -> Any:
    """As msgpack brings it."""
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def test_tokens_grow_over_all_locks_and_are_not_given_twice() -> None:
    table = LockTable()
    assert acquire(table, b"a") == (LOCKED, 1)
    assert acquire(table, b"a", name=b"other") == (LOCKED, 2)
    assert table.release(NAME, b"a", 1, 1000) == LOCK_RELEASED
    assert acquire(table, b"a") == (LOCKED, 3)


def test_who_asks_again_has_what_it_had() -> None:
    table = LockTable()
    assert acquire(table, b"a") == (LOCKED, 1)
    assert acquire(table, b"b") == (LOCK_QUEUED, 1)
    assert acquire(table, b"c") == (LOCK_QUEUED, 2)
    assert acquire(table, b"b", 2000, ttl_ms=700, queues=False) == (LOCK_QUEUED, 1)
    assert acquire(table, b"a", 2000, ttl_ms=600, queues=False) == (LOCKED, 1)
    ((_, _, _, holders, waiters),) = table.images()
    assert holders == (Holder(b"a", 1, 0, 2600, 600),)
    assert waiters[0] == Waiter(b"b", 0, 700, 2000 + QUEUE_LEASE_MS)
    assert waiters[1] == Waiter(b"c", 0, TTL_MS, 1000 + QUEUE_LEASE_MS)
    assert table.last_token == 1


def test_who_does_not_want_to_wait_is_told_so() -> None:
    table = LockTable()
    acquire(table, b"a")
    assert acquire(table, b"b", queues=False) == LOCK_BUSY
    assert table.place(NAME, b"b", 1000) == 0


def test_a_lease_ends_at_its_end_and_not_before() -> None:
    table = LockTable()
    acquire(table, b"a", 1000)
    assert acquire(table, b"b", 1000 + TTL_MS - 1, queues=False) == LOCK_BUSY
    assert table.holder(NAME, b"a", 1000 + TTL_MS - 1) == 1
    assert table.holder(NAME, b"a", 1000 + TTL_MS) == 0, "readers see it end before the log does"
    assert acquire(table, b"b", 1000 + TTL_MS, queues=False) == (LOCKED, 2)


def test_a_renewal_counts_from_now_with_the_token_of_the_lease_only() -> None:
    table = LockTable()
    acquire(table, b"a", 1000)
    assert table.renew(NAME, b"a", 1, 3000, 4000) == (LOCKED, 1)
    assert table.holder(NAME, b"a", 6999) == 1
    assert table.holder(NAME, b"a", 7000) == 0
    for owner, token in ((b"a", 0), (b"a", 2), (b"a", -1), (b"b", 1)):
        assert table.renew(NAME, owner, token, 9000, 4000) == LOCK_NOT_HELD
    assert table.renew(b"no", b"a", 1, 9000, 4000) == LOCK_NOT_HELD
    assert table.renew(NAME, b"a", 1, 9000, 7000) == LOCK_NOT_HELD, "it has ended"
    assert len(table) == 0
    assert acquire(table, b"a", 7000) == (LOCKED, 2)
    assert table.renew(NAME, b"a", 1, 9000, 7000) == LOCK_NOT_HELD, "a token of before"


def test_a_renewal_may_be_shorter_and_is_noticed_then() -> None:
    table = LockTable()
    acquire(table, b"a", 1000, ttl_ms=60_000)
    assert table.renew(NAME, b"a", 1, 500, 2000) == (LOCKED, 1)
    assert table.due(2499, 10) == []
    assert table.due(2500, 10) == [NAME]


@pytest.mark.parametrize(
    ("ttl_ms", "counts_as"),
    [(0, TTL_MIN_MS), (-5, TTL_MIN_MS), (99, TTL_MIN_MS), (1 << 60, TTL_MAX_MS), (100, 100)],
)
def test_a_lease_has_a_least_and_a_greatest_length(ttl_ms: int, counts_as: int) -> None:
    table = LockTable()
    acquire(table, b"a", 1000, ttl_ms=ttl_ms)
    assert table.holder(NAME, b"a", 1000 + counts_as - 1) == 1
    assert table.holder(NAME, b"a", 1000 + counts_as) == 0
    table.renew(NAME, b"a", 1, ttl_ms, 1001)
    assert table.holder(NAME, b"a", 1001 + counts_as - 1) == 1
    assert table.holder(NAME, b"a", 1001 + counts_as) == 0


def test_a_release_is_of_the_holder_with_its_token() -> None:
    table = LockTable()
    acquire(table, b"a")
    for owner, token in ((b"b", 1), (b"b", 0), (b"a", 2), (b"a", -1)):
        assert table.release(NAME, owner, token, 1000) == LOCK_NOT_HELD
    assert table.release(b"no", b"a", 1, 1000) == LOCK_NOT_HELD
    assert table.release(NAME, b"a", 1, 1000) == LOCK_RELEASED
    assert table.release(NAME, b"a", 1, 1000) == LOCK_NOT_HELD, "twice"
    acquire(table, b"a")
    assert table.release(NAME, b"a", 0, 1000) == LOCK_RELEASED, "whatever its token"
    acquire(table, b"a")
    assert table.release(NAME, b"a", 0, 1000 + TTL_MS) == LOCK_NOT_HELD, "after its end"
    assert (len(table), table.holders, table.waiters) == (0, 0, 0)


def test_a_client_that_is_gone_leaves_the_queue_and_keeps_what_it_holds() -> None:
    table = LockTable()
    acquire(table, b"a")
    acquire(table, b"b")
    assert table.release(NAME, b"a", LEAVES_QUEUE, 1000) == LOCK_NOT_HELD
    assert table.holder(NAME, b"a", 1000) == 1
    assert table.release(NAME, b"b", LEAVES_QUEUE, 1000) == LOCK_RELEASED
    assert (table.holders, table.waiters) == (1, 0)


def test_a_waiter_leaves_with_token_0_only() -> None:
    table = LockTable()
    acquire(table, b"a")
    acquire(table, b"b")
    acquire(table, b"c")
    assert table.release(NAME, b"b", 7, 1000) == LOCK_NOT_HELD
    assert table.release(NAME, b"b", 0, 1000) == LOCK_RELEASED
    assert table.place(NAME, b"c", 1000) == 1
    assert table.release(NAME, b"b", 0, 1000) == LOCK_NOT_HELD


def test_the_queue_is_served_in_the_order_of_arrival() -> None:
    table = LockTable()
    for owner in (b"a", b"b", b"c"):
        acquire(table, owner)
    table.release(NAME, b"a", 1, 2000)
    assert table.holder(NAME, b"b", 2000) == 2
    assert table.place(NAME, b"c", 2000) == 1
    assert acquire(table, b"d", 2000, queues=False) == LOCK_BUSY
    assert acquire(table, b"b", 2000 + TTL_MS - 1) == (LOCKED, 2), "a full lease from its grant on"
    table.release(NAME, b"b", 2, 8000)
    assert table.holder(NAME, b"c", 8000) == 3


def test_nobody_comes_in_between_an_end_and_the_one_who_waits() -> None:
    """The command that finds the lease ended is not of the one who is next."""
    table = LockTable()
    acquire(table, b"a", 1000)
    acquire(table, b"b", 5000)
    assert acquire(table, b"c", 1000 + TTL_MS) == (LOCK_QUEUED, 1)
    assert table.holder(NAME, b"b", 1000 + TTL_MS) == 2


def test_a_waiter_that_does_not_ask_again_loses_its_place() -> None:
    table = LockTable()
    acquire(table, b"a", 1000, ttl_ms=60_000)
    acquire(table, b"b", 1000)
    acquire(table, b"c", 2000)
    assert table.place(NAME, b"b", 999 + QUEUE_LEASE_MS) == 1
    assert table.place(NAME, b"b", 1000 + QUEUE_LEASE_MS) == 0
    assert table.release(NAME, b"a", 1, 1000 + QUEUE_LEASE_MS) == LOCK_RELEASED
    assert table.holder(NAME, b"c", 1000 + QUEUE_LEASE_MS) == 2
    assert table.waiters == 0


def test_who_ends_at_the_same_time_is_not_granted() -> None:
    table = LockTable()
    acquire(table, b"a", 1000, ttl_ms=QUEUE_LEASE_MS)
    acquire(table, b"b", 1000)
    assert table.expire(NAME, 1000 + QUEUE_LEASE_MS) == 2
    assert (len(table), table.last_token) == (0, 1)


def test_readers_share_and_writers_do_not_starve() -> None:
    table = LockTable()
    assert acquire(table, b"r1", kind=SHARED) == (LOCKED, 1)
    assert acquire(table, b"r2", kind=SHARED) == (LOCKED, 2)
    assert acquire(table, b"w", kind=EXCLUSIVE) == (LOCK_QUEUED, 1)
    assert acquire(table, b"r3", kind=SHARED) == (LOCK_QUEUED, 2)
    assert acquire(table, b"r4", kind=SHARED) == (LOCK_QUEUED, 3)
    assert acquire(table, b"w2", kind=EXCLUSIVE) == (LOCK_QUEUED, 4)
    table.release(NAME, b"r1", 1, 1000)
    assert table.holder(NAME, b"w", 1000) == 0, "another reader is still there"
    table.release(NAME, b"r2", 2, 1000)
    assert table.holder(NAME, b"w", 1000) == 3
    table.release(NAME, b"w", 3, 1000)
    tokens = [table.holder(NAME, owner, 1000) for owner in (b"r3", b"r4", b"w2")]
    assert tokens == [4, 5, 0]


def test_a_writer_that_leaves_the_queue_lets_the_readers_behind_it_in() -> None:
    table = LockTable()
    acquire(table, b"r1", kind=SHARED)
    acquire(table, b"w", kind=EXCLUSIVE)
    acquire(table, b"r2", kind=SHARED)
    assert table.release(NAME, b"w", 0, 1000) == LOCK_RELEASED
    assert table.holder(NAME, b"r2", 1000) == 2


def test_a_reader_is_never_told_that_it_writes() -> None:
    table = LockTable()
    acquire(table, b"a", kind=SHARED)
    assert acquire(table, b"a", kind=EXCLUSIVE) == LOCK_KIND
    acquire(table, b"w", kind=EXCLUSIVE)
    assert acquire(table, b"w", kind=SHARED) == LOCK_KIND
    assert table.place(NAME, b"w", 1000) == 1, "it waits as before"


def test_a_semaphore_has_as_many_holders_as_permits() -> None:
    table = LockTable()
    tokens = [acquire(table, owner, kind=SEMAPHORE, limit=2) for owner in (b"a", b"b", b"c")]
    assert tokens == [(LOCKED, 1), (LOCKED, 2), (LOCK_QUEUED, 1)]
    table.release(NAME, b"a", 1, 1000)
    assert table.holder(NAME, b"c", 1000) == 3


def test_a_barrier_grants_all_of_a_round_at_once() -> None:
    table = LockTable()
    for owner, place in ((b"a", 1), (b"b", 2)):
        assert acquire(table, owner, kind=BARRIER, limit=3) == (LOCK_QUEUED, place)
    assert acquire(table, b"c", kind=BARRIER, limit=3) == (LOCKED, 3)
    assert [table.holder(NAME, owner, 1000) for owner in (b"a", b"b", b"c")] == [1, 2, 3]
    # The next round gathers while the first is still there, and needs all three again.
    for owner in (b"d", b"e"):
        acquire(table, owner, kind=BARRIER, limit=3)
        assert table.holder(NAME, owner, 1000) == 0
    assert acquire(table, b"a", kind=BARRIER, limit=3) == (LOCKED, 1), "it is of the first round"
    table.release(NAME, b"a", 1, 1000)
    assert acquire(table, b"a", kind=BARRIER, limit=3) == (LOCKED, 6)


def test_a_barrier_that_is_not_waited_for_is_busy_but_for_the_last_party() -> None:
    table = LockTable()
    assert acquire(table, b"a", kind=BARRIER, limit=2, queues=False) == LOCK_BUSY
    assert len(table) == 0
    acquire(table, b"a", kind=BARRIER, limit=2)
    assert acquire(table, b"b", kind=BARRIER, limit=2, queues=False) == (LOCKED, 2)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (SHARED + 2, 1),
        (BARRIER + 1, 1),
        (6, 0),
        (-1, 0),
        (-2, 0),
        (EXCLUSIVE, 1),
        (SEMAPHORE, 0),
        (SEMAPHORE, HOLDERS_MAX + 1),
        (BARRIER, WAITERS_MAX + 1),
    ],
)
def test_a_lock_that_cannot_be_is_refused(kind: int, limit: int) -> None:
    table = LockTable()
    assert acquire(table, b"a", kind=kind, limit=limit) == LOCK_KIND
    assert acquire(table, b"a b") == LOCK_KIND
    assert acquire(table, b"a", name=b"") == LOCK_KIND
    assert (len(table), table.memory_bytes) == (0, 0)


def test_a_lock_keeps_its_kind_and_limit_while_it_is_there() -> None:
    table = LockTable()
    acquire(table, b"a", kind=SEMAPHORE, limit=2)
    assert acquire(table, b"b") == LOCK_KIND
    assert acquire(table, b"b", kind=SEMAPHORE, limit=3) == LOCK_KIND
    assert acquire(table, b"b", kind=BARRIER, limit=2) == LOCK_KIND
    assert acquire(table, b"b", 1000 + TTL_MS) == (LOCKED, 2), "the semaphore has ended"


def test_locks_are_bounded_in_number() -> None:
    table = LockTable()
    for number in range(LOCKS_MAX):
        acquire(table, b"a", name=b"%d" % number)
    assert acquire(table, b"a") == LOCKS_FULL
    assert acquire(table, b"b", name=b"0") == (LOCK_QUEUED, 1), "one that is there has room"
    table.release(b"1", b"a", 2, 1000)
    assert acquire(table, b"a") == (LOCKED, LOCKS_MAX + 1)


def test_waiters_and_holders_of_a_lock_are_bounded() -> None:
    table = LockTable()
    acquire(table, b"w", kind=EXCLUSIVE)
    for number in range(WAITERS_MAX):
        assert acquire(table, b"%d" % number, kind=SHARED) == (LOCK_QUEUED, number + 1)
    assert acquire(table, b"more", kind=SHARED) == LOCKS_FULL
    table.release(NAME, b"w", 1, 1000)
    assert (table.holders, table.waiters) == (HOLDERS_MAX, 0)
    assert acquire(table, b"more", kind=SHARED, queues=False) == LOCK_BUSY
    assert acquire(table, b"more", kind=SHARED) == (LOCK_QUEUED, 1)
    table.release(NAME, b"7", 0, 1000)
    assert table.holder(NAME, b"more", 1000) == HOLDERS_MAX + 2


def test_a_full_queue_lets_in_the_last_party_of_a_barrier() -> None:
    table = LockTable()
    for number in range(WAITERS_MAX - 1):
        acquire(table, b"%d" % number, kind=BARRIER, limit=WAITERS_MAX)
    assert acquire(table, b"last", kind=BARRIER, limit=WAITERS_MAX) == (LOCKED, WAITERS_MAX)


def test_leases_of_a_shard_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LEASES_MAX == 65_536
    monkeypatch.setattr("quorumcache.node.store.locks.LEASES_MAX", 3)
    table = LockTable()
    acquire(table, b"a")
    acquire(table, b"b")
    acquire(table, b"a", name=b"2")
    assert acquire(table, b"c") == LOCKS_FULL
    assert acquire(table, b"a", name=b"3") == LOCKS_FULL
    assert acquire(table, b"b") == (LOCK_QUEUED, 1), "who is there stays"
    table.release(NAME, b"b", 0, 1000)
    assert acquire(table, b"c") == (LOCK_QUEUED, 1)


def test_what_is_due_is_named_until_it_has_gone_earliest_first() -> None:
    table = LockTable()
    for number in (3, 1, 2):
        acquire(table, b"a", name=b"%d" % number, ttl_ms=1000 * number)
    assert table.due(1999, 10) == []
    assert table.due(3500, 10) == [b"1", b"2"]
    assert table.due(3500, 1) == [b"1"]
    assert table.due(3500, 10) == [b"1", b"2"]
    assert table.expire(b"1", 3500) == 1
    assert table.due(3500, 10) == [b"2"]
    table.renew(b"3", b"a", 1, 5000, 3600)
    assert table.due(8599, 10) == [b"2"]
    assert table.due(8600, 10) == [b"2", b"3"]


def test_what_was_renewed_since_the_leader_looked_stays() -> None:
    table = LockTable()
    acquire(table, b"a", 1000)
    assert table.due(6000, 10) == [NAME]
    table.renew(NAME, b"a", 1, TTL_MS, 5999)
    assert table.expire(NAME, 6000) == 0
    assert table.expire(b"no", 6000) == 0
    assert table.holder(NAME, b"a", 6000) == 1
    assert table.due(6000, 10) == []


def test_a_waiter_is_due_too() -> None:
    table = LockTable()
    acquire(table, b"a", ttl_ms=60_000)
    acquire(table, b"b")
    assert table.due(1000 + QUEUE_LEASE_MS, 10) == [NAME]
    assert table.expire(NAME, 1000 + QUEUE_LEASE_MS) == 1
    assert table.due(60_999, 10) == []
    assert table.due(61_000, 10) == [NAME]


def test_what_is_noted_of_ends_does_not_grow_with_time() -> None:
    """On a replica nobody asks what is due."""
    table = LockTable()
    for turn in range(5000):
        acquire(table, b"a", turn)
        table.renew(NAME, b"a", table.last_token, TTL_MS, turn)
        table.release(NAME, b"a", 0, turn)
    assert len(table._ends) < 100
    acquire(table, b"a", 9000)
    assert table.due(9000 + TTL_MS, 10) == [NAME]


def test_who_waits() -> None:
    table = LockTable()
    for owner in (b"a", b"b"):
        acquire(table, owner)
    ends_ms = 1000 + QUEUE_LEASE_MS
    assert [table.waits(NAME, owner, ends_ms - 1) for owner in (b"a", b"b", b"c")] == [
        *(False, True, False)
    ]
    assert not table.waits(NAME, b"b", ends_ms)
    assert not table.waits(b"other", b"b", 1000)


def test_a_reader_sees_what_there_is() -> None:
    table = LockTable()
    assert table.show(NAME) is None
    acquire(table, b"a")
    acquire(table, b"b", 3000)
    holder, waiter = Holder(b"a", 1, 0, 6000, TTL_MS), Waiter(b"b", 0, TTL_MS, 13_000)
    assert table.show(NAME) == (NAME, KIND_LOCK, 0, (holder,), (waiter,))
    assert table.show(NAME, 5999) == table.show(NAME)
    assert table.show(NAME, 6000) == (NAME, KIND_LOCK, 0, (), (waiter,))
    assert table.show(NAME, 13_000) is None
    assert table.place(b"no", b"b", 1) == table.holder(b"no", b"b", 1) == 0


def test_memory_is_counted_and_given_back() -> None:
    table = LockTable()
    assert table.memory_bytes == 0
    acquire(table, b"a")
    one = table.memory_bytes
    assert one > 500
    acquire(table, b"b" * 100)
    assert table.memory_bytes > one + 290
    assert restored(table).memory_bytes == table.memory_bytes
    table.expire(NAME, 10**6)
    assert table.memory_bytes == 0


def test_a_snapshot_brings_all_back_in_its_order() -> None:
    table = LockTable()
    for owner in (b"b", b"a", b"c"):
        acquire(table, owner)
        acquire(table, owner, kind=SEMAPHORE, limit=2, name=b"semaphore")
        acquire(table, owner, kind=BARRIER, limit=2, name=b"barrier", ttl_ms=700)
        acquire(table, owner, kind=SHARED, name=b"read")
    other = restored(table)
    assert other.images() == table.images()
    assert (other.holders, other.waiters) == (table.holders, table.waiters) == (8, 4)
    for now_ms in (1700, 6000, 11_000):
        assert other.due(now_ms, 10) == table.due(now_ms, 10)
    for one in (table, other):
        assert one.expire(NAME, 6000) == 1
        assert one.holder(NAME, b"a", 6000) == 9


HOLDER = (b"a", 1, 0, 6000, 5000)
WAITER = (b"b", 0, 5000, 9000)
READERS = tuple((b"%d" % number, 1, 1, 6000, 5000) for number in range(HOLDERS_MAX + 1))
WAITERS = tuple((b"%d" % number, 0, 5000, 9000) for number in range(WAITERS_MAX + 1))


@pytest.mark.parametrize(
    "image",
    [
        (),
        None,
        7,
        (NAME, 0, 0, (HOLDER,)),
        (NAME, 0, 0, (), ()),
        (NAME, 0, 0, None, (WAITER,)),
        (NAME, 0, 1, (HOLDER,), ()),
        (NAME, 3, 0, (HOLDER,), ()),
        (NAME, "0", 0, (HOLDER,), ()),
        (b"", 0, 0, (HOLDER,), ()),
        (b"n" * 251, 0, 0, (HOLDER,), ()),
        ("lock", 0, 0, (HOLDER,), ()),
        (b"there", 0, 0, (HOLDER,), ()),
        (NAME, 0, 0, (HOLDER, (b"c", 1, 0, 6000, 5000)), ()),
        (NAME, 0, 0, (HOLDER, (b"c", 1, 1, 6000, 5000)), ()),
        (NAME, 0, 0, (HOLDER, HOLDER), ()),
        (NAME, 1, 1, (HOLDER, (b"c", 1, 0, 6000, 5000)), ()),
        (NAME, 1, 1, ((b"c", 1, 1, 6000, 5000),), ()),
        (NAME, 0, 0, READERS, ()),
        (NAME, 2, 5, tuple((*reader[:2], 0, *reader[3:]) for reader in READERS), ()),
        (NAME, 0, 0, (HOLDER,), WAITERS),
        (NAME, 0, 0, (HOLDER,), (WAITER, WAITER)),
        (NAME, 0, 0, (HOLDER,), ((b"a", 0, 5000, 9000),)),
        (NAME, 0, 0, (HOLDER,), ((b"b", 2, 5000, 9000),)),
        (NAME, 0, 0, (HOLDER,), ((b"b", 0, "x", 9000),)),
        (NAME, 0, 0, (HOLDER,), ((b"b", 0, 5000),)),
        (NAME, 0, 0, ((b"", 1, 0, 6000, 5000),), ()),
        (NAME, 0, 0, (("a", 1, 0, 6000, 5000),), ()),
        (NAME, 0, 0, ((b"a", 0, 0, 6000, 5000),), ()),
        (NAME, 0, 0, ((b"a", 9, 0, 6000, 5000),), ()),
        (NAME, 0, 0, ((b"a", 1, 0, None, 5000),), ()),
        (NAME, 0, 0, ((b"a", 1, 0, 6000),), ()),
    ],
)
def test_an_image_that_is_no_lock(image: Any) -> None:
    table = LockTable()
    table.last_token = 8
    table.add((b"there", 0, 0, (HOLDER,), (WAITER,)))
    before = table.images()
    with pytest.raises((ValueError, TypeError)):
        table.add(image)
    assert table.images() == before
