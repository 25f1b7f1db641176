"""Locks and fences in a store: sessions, snapshots, flushes, large values."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.store.commands import (
    COMMANDS,
    FENCED_OPS,
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_FENCED,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_LOCK_ACQUIRE,
    OP_LOCK_EXPIRE,
    OP_LOCK_RELEASE,
    OP_LOCK_RENEW,
    OP_META_GET,
    OP_META_SET,
    OP_PIECE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TICK,
    OP_TOUCH,
)
from quorumcache.node.store.effects import EFFECTS
from quorumcache.node.store.fences import FENCED_LOCKS_MAX, FLOORS, GUARDED_KEYS_MAX
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.lock_effects import (
    lock_acquire,
    lock_expire,
    lock_release,
    lock_renew,
)
from quorumcache.node.store.lock_records import (
    HOLDERS_MAX,
    OWNER_BYTES_MAX,
    TTL_MAX_MS,
    TTL_MIN_MS,
    WAITERS_MAX,
)
from quorumcache.node.store.locks import LEASES_MAX, LOCKS_MAX, QUEUE_LEASE_MS
from quorumcache.node.store.results import (
    DELETED,
    FENCE_OTHER_LOCK,
    FENCE_STALE,
    LOCK_BUSY,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    LOCKS_FULL,
    META_HIT,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    PIECES_MISSING,
    STALE_SEQUENCE,
    STORED,
    shown_item,
)
from quorumcache.node.store.snapshot import CHUNK_BYTES
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import item_of, items_of

NAME = b"lock"
NOW_MS = 1_000_000
TTL_MS = 5000
NO_SESSION = (0, 0, 0)
Session = tuple[int, int, int]


def run(store: ShardStore, command: tuple[Any, ...], now_ms: int = NOW_MS) -> Any:
    return store.apply(store.applied_index + 1, now_ms, [command], None, 1 << 20)[0]


def acquire(
    owner: bytes, session: Session = NO_SESSION, *, kind: int = 0, limit: int = 0, queues: int = 1
) -> tuple[Any, ...]:
    return (*session, OP_LOCK_ACQUIRE, NAME, owner, TTL_MS, kind, limit, queues)


def fenced(
    token: int,
    op: int,
    *args: object,
    lock: bytes = NAME,
    key: bytes = b"k",
    session: Session = NO_SESSION,
) -> tuple[Any, ...]:
    return (*session, OP_FENCED, key, lock, token, (op, *args))


def fenced_set(token: int, value: bytes = b"v", **more: Any) -> tuple[Any, ...]:
    return fenced(token, OP_SET, wire_data(0, value), 0, **more)


def restored(store: ShardStore) -> ShardStore:
    other = ShardStore()
    data = b"".join(store.encode_view(store.view()))
    other.restore(data)
    assert other.digest() == store.digest()
    assert other.view() == store.view()
    return other


def test_each_command_has_its_effect() -> None:
    assert EFFECTS[OP_LOCK_ACQUIRE] is lock_acquire
    assert EFFECTS[OP_LOCK_RENEW] is lock_renew
    assert EFFECTS[OP_LOCK_RELEASE] is lock_release
    assert EFFECTS[OP_LOCK_EXPIRE] is lock_expire
    assert COMMANDS[OP_LOCK_EXPIRE].by_leader


def test_a_lock_from_its_acquisition_to_its_end() -> None:
    store = ShardStore()
    assert run(store, acquire(b"a")) == (LOCKED, 1)
    assert run(store, acquire(b"b", queues=0)) == LOCK_BUSY
    assert run(store, acquire(b"b")) == (LOCK_QUEUED, 1)
    assert run(store, (0, 0, 0, OP_LOCK_RENEW, NAME, b"a", 1, 9000)) == (LOCKED, 1)
    assert run(store, (0, 0, 0, OP_LOCK_RENEW, NAME, b"b", 1, 9000)) == LOCK_NOT_HELD
    assert run(store, (0, 0, 0, OP_LOCK_RELEASE, NAME, b"a", 2)) == LOCK_NOT_HELD
    assert run(store, (0, 0, 0, OP_LOCK_RELEASE, NAME, b"a", 1)) == LOCK_RELEASED
    assert store.locks.holder(NAME, b"b", NOW_MS) == 2
    expire = (0, 0, 0, OP_LOCK_EXPIRE, b"", (NAME, b"no", NAME))
    assert run(store, expire, NOW_MS + TTL_MS - 1) == (NUMBER, 0)
    assert run(store, expire, NOW_MS + TTL_MS) == (NUMBER, 1)
    assert len(store.locks) == 0
    assert store.fence_counter == 2


def test_the_time_is_that_of_the_log_which_never_runs_back() -> None:
    store = ShardStore()
    run(store, acquire(b"a"))
    store.apply(2, NOW_MS + TTL_MS, [])
    assert run(store, acquire(b"b", queues=0), NOW_MS) == (LOCKED, 2)


def test_a_repeated_command_of_a_session_gets_its_first_answer() -> None:
    store = ShardStore()
    run(store, (7, 0, 0, OP_SESSION_OPEN, b""))
    assert run(store, acquire(b"a", (7, 1, 1))) == (LOCKED, 1)
    assert run(store, acquire(b"b", (7, 2, 1))) == (LOCK_QUEUED, 1)
    release = (7, 3, 1, OP_LOCK_RELEASE, NAME, b"a", 1)
    assert run(store, release) == LOCK_RELEASED
    assert run(store, release) == LOCK_RELEASED
    assert run(store, acquire(b"b", (7, 2, 1))) == (LOCK_QUEUED, 1), "as it was answered first"
    assert run(store, acquire(b"a", (7, 1, 1))) == (LOCKED, 1)
    assert store.locks.holder(NAME, b"a", NOW_MS) == 0, "it was not executed again"
    assert run(store, fenced_set(2, b"new", session=(7, 4, 1))) == STORED
    assert run(store, fenced_set(1, b"old", session=(7, 5, 1))) == (FENCE_STALE, 2)
    assert run(store, fenced(9, OP_DELETE, session=(7, 6, 1))) == DELETED
    assert run(store, fenced_set(2, b"new", session=(7, 4, 1))) == STORED
    assert run(store, fenced_set(1, b"old", session=(7, 5, 1))) == (FENCE_STALE, 2)
    assert items_of(store.items) == {}
    assert run(store, acquire(b"c", (7, 7, 7))) == (LOCK_QUEUED, 1)
    assert run(store, acquire(b"a", (7, 1, 1))) == STALE_SEQUENCE


def test_who_found_no_room_may_ask_again_under_the_same_number() -> None:
    """A client repeats what was not done until its time is over."""
    store = ShardStore()
    run(store, (7, 0, 0, OP_SESSION_OPEN, b""))
    for number in range(WAITERS_MAX + 1):
        run(store, acquire(b"%d" % number))
    assert run(store, acquire(b"me", (7, 1, 1))) == LOCKS_FULL
    assert run(store, (0, 0, 0, OP_LOCK_RELEASE, NAME, b"3", 0)) == LOCK_RELEASED
    assert run(store, acquire(b"me", (7, 1, 1))) == (LOCK_QUEUED, WAITERS_MAX)
    run(store, (0, 0, 0, OP_LOCK_RELEASE, NAME, b"me", 0))
    assert run(store, acquire(b"me", (7, 1, 1))) == (LOCK_QUEUED, WAITERS_MAX), "remembered"
    assert store.locks.place(NAME, b"me", NOW_MS) == 0


def test_an_old_token_changes_nothing_whatever_it_carries() -> None:
    store = ShardStore()
    run(store, fenced_set(5, b"7"))
    digest = store.digest()
    for op, args in {
        OP_SET: (wire_data(0, b"old"), 0),
        OP_ADD: (wire_data(0, b"old"), 0),
        OP_CAS: (wire_data(0, b"old"), 0, 1),
        OP_APPEND: (b"old",),
        OP_DELETE: (),
        OP_INCR: (1,),
        OP_TOUCH: (50,),
        OP_GAT: (50,),
        OP_META_GET: (b"vT", 50, 0, 0, 0),
        OP_META_SET: (b"", OP_SET, wire_data(0, b"old"), 0, 0, 0, 0, 0),
    }.items():
        assert run(store, fenced(4, op, *args)) == (FENCE_STALE, 5)
    assert store.digest() == digest
    assert item_of(store.items, b"k").endswith(b" 0 1\r\n7\r\n")


def test_a_fenced_command_answers_as_the_command_that_it_runs() -> None:
    store = ShardStore()
    assert run(store, fenced_set(5, b"7")) == STORED
    assert run(store, fenced(5, OP_ADD, wire_data(0, b"x"), 0)) == NOT_STORED
    assert run(store, fenced(5, OP_INCR, 3)) == (NUMBER, 10)
    assert run(store, fenced(6, OP_DELETE)) == DELETED
    assert run(store, fenced(6, OP_DELETE)) == NOT_FOUND
    assert run(store, fenced(5, OP_INCR, 3)) == (FENCE_STALE, 6)


def test_a_fenced_read_bars_older_writers() -> None:
    store = ShardStore()
    run(store, fenced_set(5, b"seven"))
    result = run(store, fenced(6, OP_META_GET, b"v", 0, 0, 0, 0))
    assert result[0] == META_HIT
    assert shown_item(result) == item_of(store.items, b"k")
    assert run(store, fenced_set(5, b"late")) == (FENCE_STALE, 6)
    assert run(store, fenced(7, OP_META_GET, b"v", 0, 0, 0, 0, key=b"no")) == NOT_FOUND
    assert run(store, fenced_set(6, key=b"no")) == (FENCE_STALE, 7)


def test_a_plain_write_runs_as_always() -> None:
    store = ShardStore()
    run(store, fenced_set(5))
    assert run(store, (0, 0, 0, OP_SET, b"k", wire_data(0, b"plain"), 0)) == STORED
    assert run(store, fenced_set(4)) == (FENCE_STALE, 5)


def test_two_locks_for_one_key_are_told() -> None:
    store = ShardStore()
    run(store, fenced_set(5))
    assert run(store, fenced_set(9, b"other", lock=b"other")) == FENCE_OTHER_LOCK
    assert item_of(store.items, b"k").endswith(b" 0 1\r\nv\r\n")


def test_a_key_that_is_deleted_under_its_lock_may_get_another_one() -> None:
    store = ShardStore()
    run(store, fenced_set(5))
    assert run(store, fenced(4, OP_DELETE)) == (FENCE_STALE, 5)
    assert run(store, fenced(9, OP_DELETE, lock=b"other")) == FENCE_OTHER_LOCK
    used = store.fences.memory_bytes
    assert run(store, fenced(5, OP_DELETE)) == DELETED
    assert store.fences.memory_bytes < used
    assert run(store, fenced(5, OP_DELETE)) == NOT_FOUND
    assert run(store, fenced_set(9, lock=b"other")) == STORED
    assert run(store, fenced_set(4)) == (FENCE_STALE, 5), "its old holders stay shut out"
    assert run(store, fenced_set(5)) == FENCE_OTHER_LOCK


def test_a_flush_leaves_locks_and_fences_alone() -> None:
    store = ShardStore()
    run(store, acquire(b"a"))
    run(store, acquire(b"b"))
    run(store, fenced_set(5))
    locks, fences = store.locks.images(), store.fences.images()
    run(store, (0, 0, 0, OP_FLUSH, b"", 0))
    run(store, (0, 0, 0, OP_FLUSH, b"", 3))
    run(store, (0, 0, 0, OP_TICK, b""), NOW_MS + 4000)
    assert (items_of(store.items), store.pending_flush_ms, store.bytes_used) == ({}, 0, 0)
    assert (store.locks.images(), store.fences.images()) == (locks, fences)
    assert run(store, fenced_set(4)) == (FENCE_STALE, 5)


def test_a_large_value_is_stored_under_a_fence_or_leaves_nothing() -> None:
    store = ShardStore()

    def staged(upload: int) -> None:
        run(store, (0, 0, 0, OP_PIECE, b"k", upload, 0, 3, b"abc"))

    inner = (OP_SET, b" 0 3\r\n", 0)
    staged(1)
    assert run(store, fenced(5, OP_STORE_PIECES, 1, inner)) == STORED
    staged(2)
    assert run(store, fenced(4, OP_STORE_PIECES, 2, inner)) == (FENCE_STALE, 5)
    assert store.staging.uploads == {}, "what was refused is not kept"
    assert list(store.values.values()) == [(b"abc",)]
    assert run(store, fenced(5, OP_STORE_PIECES, 3, inner)) == PIECES_MISSING
    # Under a session, a repetition drops what it has brought again.
    run(store, (7, 0, 0, OP_SESSION_OPEN, b""))
    assert run(store, fenced(6, OP_STORE_PIECES, 4, inner, session=(7, 1, 1))) == PIECES_MISSING
    staged(4)
    assert run(store, fenced(6, OP_STORE_PIECES, 4, inner, session=(7, 1, 1))) == STORED
    staged(5)
    assert run(store, fenced(6, OP_STORE_PIECES, 5, inner, session=(7, 1, 1))) == STORED
    assert store.staging.uploads == {}
    used = store.bytes_used
    assert restored(store).bytes_used == used


def test_all_of_it_survives_a_snapshot() -> None:
    store = ShardStore()
    assert store.view().has_locks is False
    run(store, acquire(b"a"))
    run(store, acquire(b"b"))
    run(store, fenced_set(5))
    run(store, fenced_set(3, lock=b"other", key=b"j"))
    other = restored(store)
    for one in (store, other):
        assert run(one, fenced_set(4)) == (FENCE_STALE, 5)
        assert run(one, acquire(b"c")) == (LOCK_QUEUED, 2)
        assert one.locks.due(NOW_MS + TTL_MS, 9) == [NAME]
        assert run(one, (0, 0, 0, OP_LOCK_RELEASE, NAME, b"a", 1)) == LOCK_RELEASED
        assert one.locks.holder(NAME, b"b", NOW_MS) == 2
    assert other.digest() == store.digest()


def test_tokens_grow_on_after_a_snapshot_without_a_lock() -> None:
    store = ShardStore()
    run(store, acquire(b"a"))
    run(store, (0, 0, 0, OP_LOCK_RELEASE, NAME, b"a", 1))
    other = restored(store)
    assert len(other.locks) == 0
    assert run(other, acquire(b"b")) == (LOCKED, 2)


def test_digests_tell_locks_and_fences_apart() -> None:
    store = ShardStore()
    digests = {store.digest()}
    for command in (
        acquire(b"a"),
        acquire(b"b"),
        (0, 0, 0, OP_LOCK_RENEW, NAME, b"a", 1, 9000),
        (0, 0, 0, OP_LOCK_RELEASE, NAME, b"b", 0),
        (0, 0, 0, OP_LOCK_RELEASE, NAME, b"a", 1),
        fenced(5, OP_DELETE),
        fenced(6, OP_DELETE),
        fenced(6, OP_INCR, 1, key=b"j"),
    ):
        run(store, command)
        digests.add(store.digest())
    assert len(digests) == 9


def test_memory_that_locks_and_fences_take_is_counted() -> None:
    store = ShardStore()
    store.tidy()
    before = store.memory_bytes
    run(store, acquire(b"a"))
    run(store, fenced(5, OP_DELETE))
    store.tidy()
    added = store.locks.memory_bytes + store.fences.memory_bytes
    assert added > 0
    assert store.memory_bytes == before + added
    assert restored(store).memory_bytes >= before + added


def test_a_chunk_of_a_snapshot_holds_few_locks_with_many_waiters() -> None:
    store = ShardStore()
    for name in range(40):
        owners = [b"%d-" % number + b"x" * 90 for number in range(500)]
        commands = [
            (0, 0, 0, OP_LOCK_ACQUIRE, b"%d" % name, owner, TTL_MS, 0, 0, 1) for owner in owners
        ]
        store.apply(store.applied_index + 1, NOW_MS, commands)
    chunks = list(store.encode_view(store.view()))
    assert len(chunks) > 8
    assert max(map(len, chunks)) < CHUNK_BYTES + 100_000
    restored(store)


@pytest.mark.parametrize("field", ["locks", "fences", "fence_counter"])
def test_a_snapshot_that_breaks_a_rule_is_refused(field: str) -> None:
    store = ShardStore()
    run(store, acquire(b"a"))
    run(store, fenced(5, OP_DELETE))
    other = ShardStore()
    before = other.digest()
    if field == "fence_counter":
        store.locks.last_token = 0  # Below the token of a holder.
    elif field == "locks":
        store.locks.locks[b""] = store.locks.locks[NAME]
    else:
        store.fences.seen[b""] = 5
    with pytest.raises(SnapshotInvalid):
        other.restore(b"".join(store.encode_view(store.view())))
    assert other.digest() == before


def test_what_a_fixed_log_leaves() -> None:
    """All bounds of locks and fences. A change here is a new version of batches."""
    leases = (LOCKS_MAX, LEASES_MAX, HOLDERS_MAX, WAITERS_MAX, QUEUE_LEASE_MS)
    assert leases == (1 << 14, 1 << 16, 1 << 10, 1 << 10, 10_000)
    assert (OWNER_BYTES_MAX, TTL_MIN_MS, TTL_MAX_MS) == (100, 100, 86_400_000)
    assert (FENCED_LOCKS_MAX, GUARDED_KEYS_MAX, FLOORS) == (1 << 14, 1 << 16, 1 << 12)
    store = ShardStore()
    for kind, limit in ((0, 0), (1, 0), (2, 3), (4, 5)):
        name = b"lock-%d" % kind
        for number in range(20):
            owner = b"owner-%d" % number
            args = (name, owner, 50 * number, kind, limit, number & 1)
            run(store, (0, 0, 0, OP_LOCK_ACQUIRE, *args), NOW_MS + 10 * number)
        run(store, (0, 0, 0, OP_LOCK_RELEASE, name, b"owner-1", 0), NOW_MS + 200)
    commands = [
        fenced(number % 7 + 1, OP_INCR, 1, lock=b"%d" % number, key=b"k%d" % (number * 5))
        for number in range(FENCED_LOCKS_MAX + 300)
    ]
    store.apply(999, NOW_MS + 300, commands)
    assert len(store.fences.floors) > 200
    assert store.digest().hex()[:16] == "8bcd7cee85f3f553"


def test_every_fenced_command_is_one_of_a_single_key() -> None:
    for op in FENCED_OPS:
        assert not COMMANDS[op].by_leader
        assert op not in (OP_FLUSH, OP_TICK, OP_PIECE, OP_FENCED, OP_LOCK_ACQUIRE)
