"""The effect of a log depends on the log alone: not on the settings, clocks or memory of the node
that applies it, nor on where a restart or a snapshot cuts it.

Also what a fixed log leaves, byte for byte: whoever changes that changes what logs of before mean,
and has to raise `BATCH_VERSION`.
"""

from __future__ import annotations

import inspect
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.state_machine import BATCH_VERSION, decode_batch
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_DECR,
    OP_DELETE,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_PREPEND,
    OP_REPLACE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_TICK,
    OP_TOUCH,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.sessions import (
    CLIENT_RESULTS_LEAST,
    CLIENT_RESULTS_MAX,
    CLIENT_SESSION_MIN,
    RESULT_BYTES_MAX,
    RESULTS_MAX,
    SESSIONS_MAX,
)
from quorumcache.node.store.store import ShardStore
from quorumcache.node.store.transactions import (
    ABORTS_MAX,
    ABSENT,
    PREPARED_BYTES_MAX,
    PREPARED_MAX,
    PRESENT,
    PURGED_MAX,
    RECORDS_MAX,
)
from tests.support.scripted_log import Hears, HostWorld

GROUP = 5
START_MS = 1_700_000_000_000
UNIX = START_MS // 1000

keys = st.sampled_from([b"a", b"b"])
values = st.sampled_from([b"7", b"x" * 30, b"y" * 100, b"5 0"])
exptimes = st.sampled_from([0, 0, 1, 60, -1, UNIX + 2, UNIX + 4000, UNIX - 5])
txns = st.sampled_from([b"1" * 16, b"2" * 16, b"3" * 16])
deadlines = st.sampled_from([900, 2000, 9000])
checks = st.lists(st.tuples(keys, st.sampled_from([ABSENT, PRESENT, 5])), max_size=2).map(tuple)
writes = st.lists(
    st.one_of(
        st.tuples(keys, st.just(OP_SET), values.map(lambda value: wire_data(0, value)), exptimes),
        st.tuples(keys, st.just(OP_DELETE)),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda write: write[0],
).map(tuple)
no_key = st.just(b"")
steps = st.one_of(
    st.tuples(st.just(OP_TXN_PREPARE), no_key, txns, st.just(7), deadlines, checks, writes),
    st.tuples(
        *(st.just(OP_TXN_COMMIT), no_key, txns, deadlines, st.sampled_from([(), (8,)])),
        *(checks, writes),
    ),
    st.tuples(st.just(OP_TXN_ABORT), no_key, txns, deadlines),
    st.tuples(st.just(OP_TXN_RESOLVE), no_key, txns, deadlines, st.sampled_from([0, 1])),
    st.tuples(st.just(OP_TXN_FORGET), no_key, txns),
)
commands = st.one_of(
    steps,
    st.tuples(
        st.sampled_from([OP_SET, OP_SET, OP_ADD, OP_REPLACE]),
        keys,
        values.map(lambda value: wire_data(0, value)),
        exptimes,
    ),
    st.tuples(st.sampled_from([OP_APPEND, OP_APPEND, OP_PREPEND]), keys, values),
    st.tuples(st.sampled_from([OP_INCR, OP_DECR]), keys, st.just(3)),
    st.tuples(st.sampled_from([OP_TOUCH, OP_GAT]), keys, exptimes),
    st.tuples(st.just(OP_DELETE), keys),
    st.tuples(st.just(OP_FLUSH), st.just(b""), exptimes),
    st.tuples(st.just(OP_TICK), st.just(b"")),
)
nodes = st.fixed_dictionaries(
    {
        "item_bytes_max": st.sampled_from([80, 100, 150, 1 << 20]),
        "wall_leap_ms": st.sampled_from([0, 3_600_000, -3_600_000, 10**12]),
        "monotonic_ms": st.integers(0, 10**9),
        "restarts": st.integers(0, 4),
    }
)
turns = st.lists(
    st.tuples(st.lists(commands, max_size=4), st.sampled_from([0, 1, 900, 5000]), nodes),
    min_size=1,
    max_size=12,
)


class Replica(HostWorld):
    """A node of its own settings and clocks."""

    def __init__(self, drawn: dict[str, int]) -> None:
        super().__init__(GROUP)
        self.clock.ns = drawn["monotonic_ms"] * 1_000_000
        self.clock.wall = START_MS + drawn["wall_leap_ms"]
        self.host.item_bytes_max = drawn["item_bytes_max"]
        self.group, self.log = self.groups[GROUP], self.logs[GROUP]

    def take(self, payload: bytes) -> None:
        self.log.commit(self.log.append(payload))
        self.turn(GROUP)
        self.wal.sync()


@settings(max_examples=150, deadline=None)
@given(turns, nodes, nodes)
def test_any_two_nodes_make_the_same_of_a_log(
    turns: Any, one: dict[str, int], other: dict[str, int]
) -> None:
    """Each entry is proposed by a leader of its own, who was set up in yet another way."""
    replicas = [Replica(one), Replica(other)]
    replayed = ShardStore()
    leader_store = ShardStore()
    time_ms = 0
    for index, (batch, passed_ms, drawn) in enumerate(turns, 1):
        leader = Replica(drawn)
        leader.group.machine = leader_store
        leader.host.time.found(time_ms + passed_ms, START_MS + passed_ms)
        leader.log.lead()
        waiters = [Hears() for _ in batch]
        for command, waiter in zip(batch, waiters, strict=True):
            leader.group.submit((0, 0, 0, *command), 50, waiter)
        leader.turn(GROUP)
        if not batch:
            continue
        (entry,) = leader.log.proposed
        time_ms = decode_batch(entry.payload).now_ms
        results = leader_store.apply(index, *decode_batch(entry.payload))
        for replica in replicas:
            replica.take(entry.payload)
        assert replayed.apply(index, *decode_batch(entry.payload)) == results
        if index % 3 == other["restarts"] % 3:
            data = b"".join(replayed.encode_view(replayed.view()))
            replayed = ShardStore()
            replayed.restore(data)
    assert replayed.bytes_used == leader_store.bytes_used
    digests = {store.digest() for store in (leader_store, replayed)}
    digests |= {replica.group.machine.digest() for replica in replicas}
    assert len(digests) == 1


def test_a_store_has_no_settings() -> None:
    assert not inspect.signature(ShardStore).parameters


def test_what_a_fixed_log_leaves() -> None:
    """All rules and all bounds of version 2. A change here is a new version of batches."""
    store = ShardStore()
    index = 0

    def apply(now_ms: int, *batch: tuple[Any, ...], limit: int = 1 << 20) -> None:
        nonlocal index
        index += 1
        store.apply(index, now_ms, batch, START_MS + now_ms, limit)

    bounds = (SESSIONS_MAX, RESULTS_MAX, RESULT_BYTES_MAX)
    assert bounds == (1 << 14, 1 << 14, 1 << 20)
    clients = (CLIENT_SESSION_MIN, CLIENT_RESULTS_MAX, CLIENT_RESULTS_LEAST)
    assert clients == (1 << 62, 1 << 17, 64)
    apply(1, *((n, 0, 0, OP_SESSION_OPEN, b"") for n in range(1, SESSIONS_MAX + 20)))
    first = CLIENT_SESSION_MIN
    apply(2, *((first + n, 0, 0, OP_SESSION_OPEN, b"") for n in range(20)))
    apply(
        3,
        *(
            (first, n, 0, OP_SET, b"k%d" % (n % 50), wire_data(n % 3, b"%d" % n), n % 4)
            for n in range(RESULTS_MAX + 9)
        ),
    )
    apply(3, (0, 0, 0, OP_SET, b"big", wire_data(0, b"z" * 300_000), UNIX + 500))
    apply(4, *((first + 1, n, 0, OP_GAT, b"big", UNIX + 500) for n in range(1, 9)))
    apply(5, *((0, 0, 0, OP_APPEND, b"k4", b"0" * 9) for _ in range(9)), limit=120)
    apply(6, (7, 1, 0, OP_CAS, b"k4", wire_data(0, b"c"), 0, 5), (8, 1, 0, OP_INCR, b"k8", 2))
    apply(7, (0, 0, 0, OP_FLUSH, b"", 3), (0, 0, 0, OP_SESSION_EXPIRE, b"", (9, 10), 5))
    assert BATCH_VERSION == 2
    assert store.digest().hex()[:16] == "61fc9de4efebf7e8"


def test_what_a_fixed_log_of_transactions_leaves() -> None:
    """Likewise: the rules and bounds of transactions."""
    bounds = (PREPARED_MAX, PREPARED_BYTES_MAX, RECORDS_MAX, ABORTS_MAX, PURGED_MAX)
    assert bounds == (4096, 64 << 20, 65_536, 69_632, 64)
    store = ShardStore()

    def apply(now_ms: int, *batch: tuple[Any, ...]) -> None:
        store.apply(now_ms, now_ms, [(0, 0, 0, *command) for command in batch], START_MS + now_ms)

    data = wire_data(0, b"value")
    for number in range(200):
        txn, key = b"%016d" % number, b"k%d" % (number % 40)
        deadline_ms = 500 + number * 7 % 300
        step = (txn, 3, deadline_ms, ((b"k%d" % (number % 7), ABSENT),), ((key, OP_SET, data, 60),))
        apply(
            number,
            (OP_TXN_PREPARE, b"", *step),
            (OP_TXN_COMMIT, b"", txn[::-1], deadline_ms, (4, 5), (), ((key, OP_DELETE),)),
            (OP_TXN_ABORT, b"", b"%08d" % (number // 2) * 2, deadline_ms),
            (OP_SET, key, data, 0),
        )
        if number % 3:
            apply(number, (OP_TXN_RESOLVE, b"", txn, deadline_ms, number % 2))
            apply(number, (OP_TXN_FORGET, b"", txn[::-1]))
    apply(600, (OP_TXN_FORGET, b"", b"9" * 16))
    assert BATCH_VERSION == 2
    assert store.digest().hex()[:16] == "53914fddd2018a5a"
