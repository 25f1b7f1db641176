"""What held keys mean to everything else in a store: commands, readers, expiry, eviction, flushes,
large items, sessions, snapshots and the count of bytes."""

from typing import Any

import pytest

from quorumcache.node.state_machine import ARGS, TIMED
from quorumcache.node.store.commands import (
    COMMANDS,
    HELD_OPS,
    OP_ADD,
    OP_CAS,
    OP_DELETE,
    OP_DROP_PIECES,
    OP_EVICT,
    OP_EXPIRE,
    OP_FENCED,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PIECE,
    OP_PREPEND,
    OP_REFUSE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TICK,
    OP_TOUCH,
    OP_TXN_COMMIT,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.item import (
    cas_unique,
    fingerprint,
    item_cost,
    item_value,
    wire_data,
)
from quorumcache.node.store.results import (
    DELETED,
    EVICTED,
    HELD,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    PIECE_STAGED,
    STORED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import EXPIRED, HELD_KEY, ShardStore
from quorumcache.node.store.transactions import ABSENT, writes_cost
from tests.support.item_tables import item_of, items_of

NOW, DEADLINE = 1000, 50_000
T1, T2 = b"1" * 16, b"2" * 16
SESSION = 7
DATA = wire_data(0, b"5")
NEW = wire_data(0, b"new")


def run(store: ShardStore, *commands: tuple[Any, ...], now_ms: int = NOW) -> list[Any]:
    return store.apply(1, now_ms, [(0, 0, 0, *command) for command in commands])


def prepare(txn: bytes, checks: Any = (), writes: Any = ()) -> tuple[Any, ...]:
    return (OP_TXN_PREPARE, b"", txn, 7, DEADLINE, checks, writes)


def resolve(txn: bytes, committed: int = 0) -> tuple[Any, ...]:
    return (OP_TXN_RESOLVE, b"", txn, DEADLINE, committed)


def write(key: bytes, data: bytes = NEW) -> tuple[Any, ...]:
    return (key, OP_SET, data, 0)


def check(store: ShardStore, key: bytes) -> tuple[bytes, int]:
    return key, fingerprint(item_of(store.items, key))


def held_store(*, exptime: int = 0) -> ShardStore:
    """`read` and `written` are held, `free` is not."""
    store = ShardStore()
    run(store, *[(OP_SET, key, DATA, exptime) for key in (b"read", b"written", b"free")])
    assert run(store, prepare(T1, (check(store, b"read"),), (write(b"written"),))) == [TXN_PREPARED]
    return store


COMMANDS_OF_A_KEY: list[tuple[Any, ...]] = [
    (OP_SET, DATA, 0),
    (OP_ADD, DATA, 0),
    (OP_CAS, DATA, 0, 1),
    (OP_PREPEND, b"x"),
    (OP_DELETE,),
    (OP_INCR, 1),
    (OP_TOUCH, 9),
    (OP_GAT, 9),
    (OP_META_GET, b"v", 0, 0, 0, 0),
    (OP_META_SET, b"", OP_SET, DATA, 0, 0, 0, 0, 0),
    (OP_META_DELETE, b"", 0, 0, 0, 0),
    (OP_META_ARITHMETIC, b"", 1, 0, 0, 0, 0, 0),
    (OP_STORE_PIECES, 9, (OP_SET, b" 0 4\r\n", 0)),
    (OP_FENCED, b"lock", 5, (OP_DELETE,)),
]


@pytest.mark.parametrize(
    "command", COMMANDS_OF_A_KEY, ids=lambda command: COMMANDS[command[0]].name
)
@pytest.mark.parametrize("key", [b"read", b"written"])
def test_a_command_of_a_held_key_does_nothing(key: bytes, command: tuple[Any, ...]) -> None:
    op, *args = command
    store = held_store()
    assert run(store, (OP_PIECE, key, 9, 0, 4, b"data")) == [PIECE_STAGED]
    before = store.digest()
    assert run(store, (op, key, *args)) == [HELD]
    assert store.digest() == before
    session = (SESSION, 1, 1, op, key, *args)
    store.apply(1, NOW, [(SESSION, 0, 0, OP_SESSION_OPEN, b"")])
    assert store.apply(1, NOW, [session]) == [HELD]
    assert store.apply(1, NOW, [session]) == [HELD]
    run(store, resolve(T1))
    # The session remembers none of that: now it is done, once.
    if op != OP_FENCED:
        first = store.apply(1, NOW, [session])
        assert first != [HELD]
        assert store.apply(1, NOW, [session]) == first


def test_a_command_that_was_done_before_is_answered_while_its_key_is_held() -> None:
    store = ShardStore()
    store.apply(1, NOW, [(SESSION, 0, 0, OP_SESSION_OPEN, b"")])
    done = (SESSION, 1, 1, OP_SET, b"k", DATA, 0)
    assert store.apply(1, NOW, [done]) == [STORED]
    assert run(store, prepare(T1, (), (write(b"k"),))) == [TXN_PREPARED]
    assert store.apply(1, NOW, [done]) == [STORED]
    assert store.apply(1, NOW, [(SESSION, 2, 2, OP_DELETE, b"k")]) == [HELD]
    assert run(store, resolve(T1, 1)) == [OK]
    assert store.apply(1, NOW, [(SESSION, 2, 2, OP_DELETE, b"k")]) == [DELETED]


def test_what_passes() -> None:
    store = held_store()
    for op, key, *args in (
        (OP_SET, b"free", DATA, 0),
        (OP_PIECE, b"written", 9, 0, 4, b"data"),
        (OP_DROP_PIECES, b"written", 9, 0),
        (OP_REFUSE, b"written"),
        (OP_TICK, b""),
        (OP_SESSION_EXPIRE, b"", (5,), 0),
    ):
        assert run(store, (op, key, *args)) != [HELD], op
    assert run(store, (OP_REFUSE, b"written")) == [OUT_OF_MEMORY]
    of_keys = {command[0] for command in COMMANDS_OF_A_KEY}
    assert of_keys <= HELD_OPS
    assert not HELD_OPS & {OP_FLUSH, OP_EXPIRE, OP_EVICT, OP_TXN_PREPARE, OP_TXN_COMMIT}


def test_a_prepare_and_plain_writes_of_its_keys_in_one_batch() -> None:
    store = ShardStore()
    run(store, (OP_SET, b"k", DATA, 0))
    assert run(
        store,
        (OP_SET, b"k", wire_data(0, b"before"), 0),
        prepare(T1, (), (write(b"k"),)),
        (OP_SET, b"k", wire_data(0, b"held"), 0),
        (OP_SET, b"l", DATA, 0),
        resolve(T1, 1),
        (OP_INCR, b"l", 1),
        (OP_PREPEND, b"k", b"then "),
    ) == [STORED, TXN_PREPARED, HELD, STORED, OK, (NUMBER, 6), STORED]
    assert item_value(item_of(store.items, b"k")) == b"then new"


# Readers ------------------------------------------------------------------------------------------


def test_readers_pass_a_check_and_not_a_write() -> None:
    store = held_store()
    for key in (b"read", b"free"):
        assert (
            store.peek(key)
            == store.serve(key)
            == store.lookup(key, NOW)
            == item_of(store.items, key)
        )
    assert store.peek(b"written") is store.serve(b"written") is TIMED
    assert store.lookup(b"written", NOW) is HELD_KEY
    assert store.lookup_before(b"written", NOW) == item_of(store.items, b"written")
    assert run(store, prepare(T2, ((b"no", ABSENT),), (write(b"nor"),))) == [TXN_PREPARED]
    assert store.peek(b"no") is store.serve(b"no") is store.lookup(b"no", NOW) is None
    assert store.peek(b"nor") is store.serve(b"nor") is TIMED
    assert store.lookup(b"nor", NOW) is HELD_KEY
    assert store.lookup_before(b"nor", NOW) is None
    run(store, resolve(T1), resolve(T2))
    assert (
        store.peek(b"written") == store.lookup(b"written", NOW) == item_of(store.items, b"written")
    )
    assert store.peek(b"nor") is None


def test_an_item_that_ends_under_a_check_is_not_gone_before_that_is_decided() -> None:
    store = held_store(exptime=1)
    end = NOW + 1000
    assert store.lookup(b"read", end - 1) == item_of(store.items, b"read")
    assert store.lookup(b"read", end) is HELD_KEY
    assert store.lookup(b"written", end) is HELD_KEY
    assert store.lookup(b"free", end) is EXPIRED
    assert store.lookup_before(b"read", end - 1) == item_of(store.items, b"read")
    assert store.lookup_before(b"read", end) is None
    pairs = [(key, cas_unique(item_of(store.items, key))) for key in (b"read", b"written", b"free")]
    assert store.due_expirations(end, 9) == pairs[2:]
    assert run(store, (OP_EXPIRE, b"", tuple(pairs)), now_ms=end) == [(NUMBER, 1)]
    assert items_of(store.items).keys() == {b"read", b"written"}
    run(store, resolve(T1), now_ms=end)
    assert store.lookup(b"read", end) is EXPIRED
    assert store.due_expirations(end, 9) == pairs[:2]
    assert run(store, (OP_EXPIRE, b"", tuple(pairs)), now_ms=end) == [(NUMBER, 2)]


# Flushes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 5])
@pytest.mark.parametrize("held", ["read", "written"])
def test_a_flush_waits_for_holds(delay: int, held: str) -> None:
    store = ShardStore()
    run(store, (OP_SET, b"k", DATA, 0))
    steps = ((check(store, b"k"),), ()) if held == "read" else ((), (write(b"k"),))
    assert run(store, prepare(T1, *steps)) == [TXN_PREPARED]
    assert run(store, (OP_FLUSH, b"", delay)) == [HELD]
    assert b"k" in store.items
    assert store.pending_flush_ms == 0
    assert run(store, resolve(T1), (OP_FLUSH, b"", 0)) == [TXN_RELEASED, OK]
    assert (items_of(store.items), store.bytes_used) == ({}, 0)


def test_a_delayed_flush_waits_for_holds_and_lets_no_others_begin() -> None:
    store = ShardStore()
    run(store, *[(OP_SET, key, DATA, 0) for key in (b"a", b"b", b"c")])
    a, b = check(store, b"a"), check(store, b"b")
    assert run(store, (OP_FLUSH, b"", 5), prepare(T1, (a,), (write(b"c"),))) == [OK, TXN_PREPARED]
    due = NOW + 5000
    assert run(store, prepare(T2, (a, b)), now_ms=due - 1) == [TXN_PREPARED]
    assert not store.flush_due(due)
    assert run(store, (OP_TICK, b""), now_ms=due) == [OK]
    assert store.lookup(b"b", due) == item_of(store.items, b"b")
    # What is written now would go with a flush whose time was before.
    commit = (OP_TXN_COMMIT, b"", b"4" * 16, DEADLINE, (), (), (write(b"b"),))
    assert run(
        store,
        *((OP_SET, b"b", DATA, 0), (OP_SET, b"d", DATA, 0)),
        *(prepare(b"3" * 16, (b,)), prepare(b"5" * 16, (), (write(b"d"),)), commit),
        now_ms=due,
    ) == [HELD, HELD, (TXN_CONFLICT, b"b"), (TXN_CONFLICT, b"d"), (TXN_CONFLICT, b"b")]
    assert run(store, resolve(T1, 1), (OP_SET, b"d", DATA, 0), now_ms=due) == [OK, HELD]
    assert item_value(item_of(store.items, b"c")) == b"new"
    # The last of them is released, the flush runs, and what comes behind it stays.
    assert run(store, resolve(T2), (OP_SET, b"d", DATA, 0), now_ms=due) == [
        *(TXN_RELEASED, STORED),
    ]
    assert items_of(store.items).keys() == {b"d"}
    assert (store.pending_flush_ms, store.items.expiring) == (0, 0)
    assert store.bytes_used == item_cost(b"d", item_of(store.items, b"d"))


def test_a_flush_that_is_not_due_yet_does_not_run_when_holds_end() -> None:
    store = held_store()
    run(store, resolve(T1), (OP_FLUSH, b"", 5), prepare(T2, (), (write(b"k"),)))
    assert run(store, resolve(T2, 1), now_ms=NOW + 4999) == [OK]
    assert b"k" in store.items
    assert store.flush_due(NOW + 5000)
    run(store, (OP_TICK, b""), now_ms=NOW + 5000)
    assert not store.items


# Eviction -----------------------------------------------------------------------------------------


def test_a_held_key_is_not_evicted() -> None:
    store = held_store()
    pairs = tuple((key, cas_unique(item)) for key, item in items_of(store.items).items())
    assert run(store, (OP_EVICT, b"", pairs)) == [(EVICTED, 1)]
    assert items_of(store.items).keys() == {b"read", b"written"}
    run(store, resolve(T1))
    assert run(store, (OP_EVICT, b"", pairs)) == [(EVICTED, 2)]


def test_a_held_key_is_not_chosen() -> None:
    store = held_store()
    free = item_cost(b"free", item_of(store.items, b"free"))
    eviction = store.plan_eviction(1 << 20)
    assert eviction is not None
    assert eviction.keys == [b"free"]
    assert eviction.cost_bytes == store.planned_bytes == free
    assert eviction.command == (0, 0, 0, OP_EVICT, b"", ((b"free", 3),))
    assert store.plan_eviction(1 << 20) is None
    assert run(store, eviction.command[3:]) == [(EVICTED, 1)]
    assert store.planned_bytes == 0
    run(store, resolve(T1))
    eviction = store.plan_eviction(1 << 20)
    assert eviction is not None
    assert sorted(eviction.keys) == [b"read", b"written"]
    assert eviction.cost_bytes == store.bytes_used


def test_a_victim_that_is_held_meanwhile_may_be_chosen_again() -> None:
    store = ShardStore()
    run(store, (OP_SET, b"k", DATA, 0))
    eviction = store.plan_eviction(1)
    assert eviction is not None
    run(store, prepare(T1, (check(store, b"k"),)))
    assert run(store, eviction.command[3:]) == [(EVICTED, 0)]
    assert store.planned_bytes == 0
    run(store, resolve(T1))
    assert store.plan_eviction(1) is not None


# Large items, bytes, snapshots --------------------------------------------------------------------


def test_a_large_item_is_checked_by_the_number_of_its_value_and_replaced() -> None:
    store = ShardStore()

    def upload(number: int) -> list[Any]:
        piece = (OP_PIECE, b"k", number, 0, 4, b"data")
        return run(store, piece, (OP_STORE_PIECES, b"k", number, (OP_SET, b" 0 4\r\n", 0)))

    assert upload(1) == [PIECE_STAGED, STORED]
    old = check(store, b"k")
    assert run(store, prepare(T1, (old,), (write(b"k"),))) == [TXN_PREPARED]
    assert upload(2) == [PIECE_STAGED, HELD]
    assert store.staging.uploads.keys() == {2}
    assert run(store, resolve(T1, 1)) == [OK]
    assert (store.values, item_value(item_of(store.items, b"k"))) == ({}, b"new")
    assert run(store, (OP_STORE_PIECES, b"k", 2, (OP_SET, b" 0 4\r\n", 0))) == [STORED]
    assert run(store, prepare(T2, (old,))) == [(TXN_CONFLICT, b"k")]
    used = item_cost(b"k", item_of(store.items, b"k"))
    assert store.bytes_used == used
    delete = ((b"k", OP_DELETE),)
    commit = (OP_TXN_COMMIT, b"", b"3" * 16, DEADLINE, (), (check(store, b"k"),), delete)
    assert run(store, commit) == [TXN_COMMITTED]
    assert (store.values, store.bytes_used) == ({}, 0)


def test_a_resolution_needs_no_more_than_was_counted_before() -> None:
    for values in ((b"", b"x"), (b"x" * 400, b"x" * 5000)):
        store = ShardStore()
        run(store, (OP_SET, b"old", wire_data(0, values[0]), 9), (OP_SET, b"gone", DATA, 0))
        writes = (
            *(write(b"old", wire_data(0, values[1])), write(b"new", wire_data(0, values[0]))),
            (b"gone", OP_DELETE),
        )
        before = store.bytes_used
        step = (0, 0, 0, *prepare(T1, (), writes))
        growth = store.growth(step, 0)
        assert run(store, step[3:]) == [TXN_PREPARED]
        assert store.bytes_used == before + growth
        counted = store.bytes_used
        run(store, resolve(T1, 1))
        assert store.bytes_used <= counted
        assert store.bytes_used == sum(item_cost(*pair) for pair in items_of(store.items).items())


def test_by_how_much_a_transaction_makes_the_store_grow() -> None:
    store = held_store()
    writes = (write(b"free", wire_data(0, b"x" * 99)), write(b"n"), (b"gone", OP_DELETE))
    commit = (0, 0, 0, OP_TXN_COMMIT, b"", T2, DEADLINE, (), (), writes)
    growth = store.growth(commit, 0)
    before = store.bytes_used
    assert run(store, commit[3:]) == [TXN_COMMITTED]
    assert store.bytes_used <= before + growth <= store.bytes_used + 2 * 64
    smaller = (*commit[:ARGS], T2, DEADLINE, (), (), (write(b"free", DATA),))
    assert store.growth(smaller, 0) == 0
    assert store.growth((0, 0, 0, *prepare(T2, (), writes)), 0) == writes_cost(writes)
    assert store.growth((0, 0, 0, *prepare(T2, ((b"free", ABSENT),))), 0) == 0


def test_a_snapshot_keeps_holds_and_what_guards_against_late_steps() -> None:
    store = held_store()
    run(store, resolve(T2), (OP_TXN_COMMIT, b"", b"3" * 16, DEADLINE, (4,), (), (write(b"free"),)))
    copy = ShardStore()
    run(copy, (OP_SET, b"other", DATA, 0))
    copy.restore(b"".join(encode_view(store.view())))
    assert copy.digest() == store.digest()
    assert copy.bytes_used == store.bytes_used
    for either in (store, copy):
        assert either.holds is either.transactions.holds
        assert either.lookup(b"written", NOW) is HELD_KEY
        assert run(
            either,
            *((OP_DELETE, b"read"), prepare(T2, (), (write(b"free"),)), prepare(T1)),
            resolve(T1, 1),
        ) == [HELD, TXN_TOO_LATE, TXN_PREPARED, OK]
        assert item_value(item_of(either.items, b"written")) == b"new"
    assert copy.digest() == store.digest()
    assert copy.bytes_used == store.bytes_used
    assert copy.tidy() == store.tidy()
