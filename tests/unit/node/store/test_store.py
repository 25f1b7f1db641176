"""Rules of the state machine that a transcript cannot show. The rest is in tests/conformance."""

import gc

import pytest

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.state_machine import TIMED, Result
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_DELETE,
    OP_EXPIRE,
    OP_FLUSH,
    OP_INCR,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_TICK,
    OP_TOUCH,
)
from quorumcache.node.store.item import (
    cas_unique,
    expires_at_ms,
    item_cost,
    item_value,
    wire_data,
)
from quorumcache.node.store.results import (
    DELETED,
    NOT_STORED,
    NUMBER,
    OK,
    SESSION_GONE,
    STALE_SEQUENCE,
    STORED,
)
from quorumcache.node.store.stamps import FETCHED, NOW_S_MAX
from quorumcache.node.store.store import EXPIRED, ShardStore, shard_store
from tests.support.get_forms import read_at_once
from tests.support.item_tables import item_of

NOW_MS = 1_700_000_000_000


def do(store: ShardStore, now_ms: int, *command: object) -> Result:
    return store.apply(1, now_ms, [(0, 0, 0, *command)])[0]


def put(store: ShardStore, key: bytes, value: bytes = b"x", exptime: int = 0) -> None:
    assert do(store, NOW_MS, OP_SET, key, wire_data(0, value), exptime) == STORED


def test_a_gate_is_shut_while_a_delayed_flush_waits() -> None:
    store = ShardStore()
    store.lend(1)
    put(store, b"k")
    assert read_at_once(store.gate, b"k") == b"VALUE k 0 1\r\nx\r\nEND\r\n"
    do(store, NOW_MS, OP_FLUSH, b"", 10)
    assert read_at_once(store.gate, b"k") is None
    store.tick(NOW_MS + 20_000)
    assert read_at_once(store.gate, b"k") is None, "it is due, and has not run"
    do(store, NOW_MS + 20_000, OP_TICK, b"")
    assert read_at_once(store.gate, b"k") == b"END\r\n"


def test_a_gate_knows_the_time_that_the_state_has_seen() -> None:
    store = ShardStore()
    store.lend(1)
    put(store, b"k", exptime=1)
    assert read_at_once(store.gate, b"k", now_ms=NOW_MS) == b"VALUE k 0 1\r\nx\r\nEND\r\n"
    do(store, NOW_MS + 1000, OP_SET, b"other", wire_data(0, b"x"), 0)
    assert read_at_once(store.gate, b"k", now_ms=NOW_MS) is None


@pytest.mark.parametrize("how", ["applied", "ticked", "led"])
def test_hits_through_a_gate_are_of_the_present_second(how: str) -> None:
    store = ShardStore()
    store.lend(1)
    put(store, b"k")
    later_ms = NOW_MS + 5000
    if how == "applied":
        do(store, later_ms, OP_TICK, b"")
    elif how == "ticked":
        store.tick(later_ms)
    else:
        store.lead(False, 0)
        store.lead(True, later_ms)
    assert read_at_once(store.gate, b"k") is not None
    assert store.items.stamp(b"k") == store.queue.now_s << 3 | FETCHED | 1
    assert store.queue.now_s == later_ms // 1000 & NOW_S_MAX


def test_who_reads_at_once_reads_what_was_restored() -> None:
    store, other = ShardStore(), ShardStore()
    put(store, b"old")
    put(other, b"new")
    store.lend(1)
    store.restore(b"".join(other.encode_view(other.view())))
    assert read_at_once(store.gate, b"old") == b"END\r\n"
    assert read_at_once(store.gate, b"new") == b"VALUE new 0 1\r\nx\r\nEND\r\n"
    assert store.gate.table is store.items


@pytest.mark.parametrize("delay", [0, 10])
def test_a_restored_state_with_a_delayed_flush_is_not_read_at_once(delay: int) -> None:
    store, other = ShardStore(), ShardStore()
    put(other, b"k")
    if delay:
        do(other, NOW_MS, OP_FLUSH, b"", delay)
    store.lend(1)
    store.restore(b"".join(other.encode_view(other.view())))
    assert (read_at_once(store.gate, b"k") is None) == (delay > 0)


def test_lookup() -> None:
    store = ShardStore()
    put(store, b"a")
    put(store, b"b", exptime=1)
    assert store.lookup(b"no", NOW_MS) is None
    assert item_value(item_of(store.items, b"a")) == b"x"
    assert store.lookup(b"a", NOW_MS + 10**9) == item_of(store.items, b"a")
    assert store.lookup(b"b", NOW_MS + 999) == item_of(store.items, b"b")
    assert store.lookup(b"b", NOW_MS + 1000) is EXPIRED
    assert b"b" in store.items, "a lookup changes nothing"


def test_peek_serves_what_no_time_can_end() -> None:
    store = ShardStore()
    put(store, b"a")
    put(store, b"b", exptime=1000)
    assert store.peek(b"a") == item_of(store.items, b"a")
    assert store.peek(b"no") is None
    assert store.peek(b"b") is TIMED
    do(store, NOW_MS, OP_FLUSH, b"", 2)
    assert store.peek(b"a") is TIMED
    assert store.peek(b"no") is None
    do(store, NOW_MS + 2000, OP_TICK, b"")
    assert store.peek(b"a") is None


def test_what_is_found_expired_has_a_command_that_removes_it() -> None:
    store = ShardStore()
    put(store, b"a", exptime=1)
    put(store, b"b", exptime=1)
    put(store, b"c", exptime=9)
    removal = store.removal_of([b"b", b"a"], NOW_MS + 1000)
    assert removal == (0, 0, 0, OP_EXPIRE, b"", ((b"b", 2), (b"a", 1)))
    assert store.apply(2, NOW_MS + 1000, [removal]) == [(NUMBER, 2)]
    do(store, NOW_MS + 1000, OP_FLUSH, b"", 2)
    removal = store.removal_of([b"c"], NOW_MS + 3000)
    store.apply(3, NOW_MS + 3000, [removal])
    assert store.peek(b"c") is None


def test_only_the_machine_of_a_shard_is_a_store() -> None:
    store = ShardStore()
    assert shard_store(store) is store
    with pytest.raises(AssertionError):
        shard_store(DirectoryState(lambda cluster_map: None))


def test_expire_through_the_log() -> None:
    store = ShardStore()
    put(store, b"a", exptime=1)
    due = store.due_expirations(NOW_MS + 1000, 10)
    assert due == [(b"a", 1)]
    assert do(store, NOW_MS + 1000, OP_EXPIRE, b"", tuple(due)) == (NUMBER, 1)
    assert store.lookup(b"a", NOW_MS) is None
    assert store.bytes_used == 0


def test_time_does_not_run_backwards() -> None:
    """A new leader with a slow clock brings nothing back."""
    store = ShardStore()
    put(store, b"a", exptime=1)
    do(store, NOW_MS + 1000, OP_TICK, b"")
    assert store.last_now_ms == NOW_MS + 1000
    assert store.lookup(b"a", NOW_MS) is EXPIRED
    assert do(store, NOW_MS, OP_APPEND, b"a", b"x") == NOT_STORED
    put(store, b"b", exptime=1)
    assert expires_at_ms(item_of(store.items, b"b")) == NOW_MS + 2000


def test_a_due_flush_hides_until_the_log_ran_it() -> None:
    store = ShardStore()
    put(store, b"a")
    do(store, NOW_MS, OP_FLUSH, b"", 2)
    assert store.pending_flush_ms == NOW_MS + 2000
    assert store.lookup(b"a", NOW_MS + 1999) == item_of(store.items, b"a")
    assert not store.flush_due(NOW_MS + 1999)
    assert store.flush_due(NOW_MS + 2000)
    assert store.lookup(b"a", NOW_MS + 2000) is EXPIRED
    assert store.lookup(b"no", NOW_MS + 2000) is None
    assert do(store, NOW_MS + 2000, OP_TICK, b"") == OK
    assert store.lookup(b"a", NOW_MS + 2000) is None
    assert (store.bytes_used, store.pending_flush_ms) == (0, 0)


def test_a_due_flush_runs_before_the_batch() -> None:
    store = ShardStore()
    put(store, b"a")
    do(store, NOW_MS, OP_FLUSH, b"", 2)
    batch = [(0, 0, 0, OP_ADD, b"a", wire_data(0, b"new"), 0), (0, 0, 0, OP_DELETE, b"a")]
    assert store.apply(1, NOW_MS + 2000, batch) == [STORED, DELETED]


def test_flush_keeps_counter_and_sessions() -> None:
    store = ShardStore()
    put(store, b"a")
    store.apply(1, NOW_MS, [(9, 0, 0, OP_SESSION_OPEN, b"")])
    do(store, NOW_MS, OP_FLUSH, b"", 0)
    put(store, b"b")
    assert cas_unique(item_of(store.items, b"b")) == 2
    assert len(store.sessions) == 1


def test_a_clock_is_no_part_of_apply() -> None:
    """The same log gives the same state, also when nobody looked in between."""
    stores = [ShardStore(), ShardStore()]
    for step in range(50):
        for number, store in enumerate(stores):
            now_ms = NOW_MS + step * 100
            if number:
                store.lookup(b"a", now_ms + 10**6)
                store.due_expirations(now_ms + 10**6, 3)
                store.expired_sessions(now_ms + 10**6, 0)
                store.view()
            do(store, now_ms, OP_SET, b"k%d" % (step % 7), wire_data(0, b"%d" % step), step % 3)
            do(store, now_ms, OP_INCR, b"k%d" % (step % 5), 1)
    assert stores[0].digest() == stores[1].digest()
    assert stores[0].last_now_ms == NOW_MS + 4900, "the log's time, whatever this machine's is"


def test_bytes_used() -> None:
    store = ShardStore()
    put(store, b"key", b"12345")
    assert store.bytes_used == item_cost(b"key", item_of(store.items, b"key")) == 64
    do(store, NOW_MS, OP_APPEND, b"key", b"67")
    assert store.bytes_used == item_cost(b"key", item_of(store.items, b"key")) == 64
    do(store, NOW_MS, OP_TOUCH, b"key", 10)
    assert store.bytes_used == item_cost(b"key", item_of(store.items, b"key")) == 64
    do(store, NOW_MS, OP_APPEND, b"key", b"8")
    assert store.bytes_used == item_cost(b"key", item_of(store.items, b"key")) == 80
    do(store, NOW_MS + 10_000, OP_DELETE, b"key")
    assert store.bytes_used == 0


def test_a_session_gets_first_answers() -> None:
    store = ShardStore()
    put(store, b"n", b"5")
    incr = (7, 1, 0, OP_INCR, b"n", 1)
    assert store.apply(1, NOW_MS, [incr]) == [SESSION_GONE]
    assert store.apply(2, NOW_MS, [(7, 0, 0, OP_SESSION_OPEN, b"")]) == [OK]
    assert store.apply(3, NOW_MS, [incr, incr]) == [(NUMBER, 6), (NUMBER, 6)]
    assert store.apply(4, NOW_MS, [(7, 2, 0, OP_INCR, b"n", 1)]) == [(NUMBER, 7)]
    assert store.apply(5, NOW_MS, [incr]) == [(NUMBER, 6)]
    # The client has its answers up to 2; a late copy of the first command comes in.
    assert store.apply(6, NOW_MS, [(7, 3, 3, OP_INCR, b"n", 1)]) == [(NUMBER, 8)]
    assert store.apply(7, NOW_MS, [incr]) == [STALE_SEQUENCE]
    # Other sessions, and commands without one, are not concerned.
    store.apply(8, NOW_MS, [(8, 0, 0, OP_SESSION_OPEN, b"")])
    assert store.apply(9, NOW_MS, [(8, 1, 0, OP_INCR, b"n", 1)]) == [(NUMBER, 9)]
    assert store.apply(9, NOW_MS, [(0, 1, 0, OP_INCR, b"n", 1)]) == [(NUMBER, 10)]
    assert store.apply(9, NOW_MS, [(0, 1, 0, OP_INCR, b"n", 1)]) == [(NUMBER, 11)]


def test_a_floor_does_not_fall() -> None:
    store = ShardStore()
    store.apply(1, NOW_MS, [(7, 0, 0, OP_SESSION_OPEN, b"")])
    store.apply(2, NOW_MS, [(7, 5, 5, OP_DELETE, b"a"), (7, 6, 0, OP_DELETE, b"a")])
    assert store.apply(3, NOW_MS, [(7, 4, 0, OP_DELETE, b"a")]) == [STALE_SEQUENCE]


def test_sessions_expire_through_the_log() -> None:
    store = ShardStore()
    store.apply(1, NOW_MS, [(7, 0, 0, OP_SESSION_OPEN, b""), (8, 0, 0, OP_SESSION_OPEN, b"")])
    store.apply(2, NOW_MS + 500, [(7, 1, 0, OP_DELETE, b"a")])
    assert store.expired_sessions(NOW_MS + 1000, 1000) == [8]
    assert store.expired_sessions(NOW_MS + 1500, 1000) == [8, 7]
    store.apply(3, NOW_MS + 1000, [(0, 0, 0, OP_SESSION_EXPIRE, b"", (7, 8), 1000)])
    assert store.expired_sessions(NOW_MS + 9000, 1000) == [7]
    store.apply(4, NOW_MS + 1000, [(0, 0, 0, OP_SESSION_EXPIRE, b"", (7,))])
    assert len(store.sessions) == 0


def test_session_0_cannot_be_opened() -> None:
    assert ShardStore().apply(1, NOW_MS, [(0, 0, 0, OP_SESSION_OPEN, b"")]) == [SESSION_GONE]


def test_the_garbage_collector_sees_no_items() -> None:
    store = ShardStore()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1000):
        put(store, b"key%d" % number, exptime=100)
    gc.collect()
    assert len(gc.get_objects()) < before + 50


def test_an_entry_of_an_earlier_time_means_the_same_unix_time() -> None:
    """A new leader's reading is a moment behind: the Unix time of its item does not move by it."""
    store = ShardStore()
    store.apply(1, 5000, [], NOW_MS)
    command = (0, 0, 0, OP_SET, b"k", wire_data(0, b"x"), NOW_MS // 1000 + 10)
    store.apply(2, 4300, [command], NOW_MS - 700)
    assert expires_at_ms(item_of(store.items, b"k")) == 5000 + (NOW_MS // 1000 + 10) * 1000 - NOW_MS
