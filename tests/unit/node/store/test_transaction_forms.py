"""Goal: whatever another node sends as a step of a transaction, `apply` can run it or never sees
it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.peers.items import FORWARD_WRITE
from quorumcache.node.store.commands import (
    COMMANDS,
    OP_DELETE,
    OP_INCR,
    OP_SET,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
    may_be_forwarded,
)
from quorumcache.node.store.store import ShardStore
from quorumcache.node.store.transaction_forms import (
    GROUP_MAX,
    TRANSACTION_OPS,
    is_transaction,
)
from quorumcache.node.store.transactions import TXN_BYTES_MAX, TXN_KEYS_MAX

TXN = bytes(16)
DATA = b" 0 1\r\nx\r\n"
CHECKS: tuple[Any, ...] = ((b"a", 5), (b"b", 0), (b"c", -1), (b"e", -2))
WRITES: tuple[Any, ...] = ((b"a", OP_SET, DATA, 0), (b"d", OP_DELETE))


def prepare(checks: Any = CHECKS, writes: Any = WRITES, **other: Any) -> tuple[Any, ...]:
    group, deadline_ms = other.get("group", 1), other.get("deadline_ms", 9_000)
    txn, key = other.get("txn", TXN), other.get("key", b"")
    return (1, 1, 1, OP_TXN_PREPARE, key, txn, group, deadline_ms, checks, writes)


def commit(participants: Any = (1, 2), **other: Any) -> tuple[Any, ...]:
    steps = (other.get("checks", CHECKS), other.get("writes", WRITES))
    return (1, 1, 1, OP_TXN_COMMIT, b"", TXN, other.get("deadline_ms", 9_000), participants, *steps)


def envelope(op: int, *args: object) -> tuple[Any, ...]:
    return (1, 1, 1, op, b"", *args)


GOOD = [
    prepare(),
    prepare(writes=()),
    prepare(checks=()),
    prepare(checks=((b"k" * 250, (1 << 64) - 1),)),
    prepare(writes=((b"a", OP_SET, b" 4294967295 0\r\n\r\n", -(1 << 31)),)),
    prepare(writes=((b"a", OP_SET, b" 0 3\r\n\r\n \r\n", 0),)),
    prepare(group=GROUP_MAX, deadline_ms=(1 << 63) - 1),
    prepare(checks=tuple((b"%d" % n, 1) for n in range(TXN_KEYS_MAX)), writes=()),
    commit(),
    commit(()),
    envelope(OP_TXN_ABORT, TXN, 0),
    envelope(OP_TXN_RESOLVE, TXN, 5, 0),
    envelope(OP_TXN_RESOLVE, TXN, 5, 1),
    envelope(OP_TXN_FORGET, TXN),
]

BAD = [
    prepare(txn=bytes(15)),
    prepare(txn=b""),
    prepare(key=b"k"),
    prepare(group=0),
    prepare(group=-1),
    prepare(group=GROUP_MAX + 1),
    prepare(deadline_ms=-1),
    prepare(deadline_ms=1 << 63),
    prepare((), ()),
    prepare(checks=(b"a",)),
    prepare(checks=(("a", 5),)),
    prepare(checks=((b"", 5),)),
    prepare(checks=((b"k" * 251, 5),)),
    prepare(checks=((b"a", -3),)),
    prepare(checks=((b"a", 1 << 64),)),
    prepare(checks=((b"a", True),)),
    prepare(checks=((b"a", b"5"),)),
    prepare(checks=((b"a", 5, 6),)),
    prepare(checks=((b"a",),)),
    prepare(checks=([b"a", 5],)),
    prepare(checks=((b"a", 5), (b"a", 5))),
    prepare(writes=(b"a",)),
    prepare(writes=((b"a",),)),
    prepare(writes=((b"a", OP_DELETE), (b"a", OP_DELETE))),
    prepare(writes=((b"a", OP_DELETE, 0),)),
    prepare(writes=((b"a", OP_INCR, 1),)),
    prepare(writes=((b"a", True),)),
    prepare(writes=((b"", OP_DELETE),)),
    prepare(writes=((b"a", OP_SET),)),
    prepare(writes=((b"a", OP_SET, DATA),)),
    prepare(writes=((b"a", OP_SET, DATA, 1 << 31),)),
    prepare(writes=((b"a", OP_SET, DATA, True),)),
    prepare(writes=((b"a", OP_SET, "x", 0),)),
    *(
        prepare(writes=((b"a", OP_SET, data, 0),))
        for data in (
            *(b"", b"x", b"\r\n", b" \r\n\r\n", b" 0 2\r\nx\r\n", b" 0 1\r\nx", b" 0 1\r\nx\r\n "),
            *(b"0 1\r\nx\r\n", b" 0 1\r\n", b" -1 1\r\nx\r\n", b" 4294967296 1\r\nx\r\n"),
            *(b" 0  1\r\nx\r\n", b" 0 1 1\r\nx\r\n", b" 0 \r\n\r\n", b" 00000000000 1\r\nx\r\n"),
            # As the packed form of a large value ends: with its number.
            b" 0 9\r\n12345678",
        )
    ),
    prepare(checks=tuple((b"%d" % n, 1) for n in range(TXN_KEYS_MAX + 1)), writes=()),
    prepare(writes=((b"a", OP_SET, b" 0 2000000\r\n%b\r\n" % bytes(2 * 10**6), 0),)),
    commit((0,)),
    commit((1, 1)),
    commit((1, "2")),
    commit((True,)),
    commit(tuple(range(1, TXN_KEYS_MAX + 2))),
    commit(deadline_ms=-1),
    commit(checks=(), writes=()),
    commit(checks=((b"a", -3),)),
    envelope(OP_TXN_ABORT, TXN[:5], 1),
    envelope(OP_TXN_ABORT, TXN, -1),
    envelope(OP_TXN_RESOLVE, TXN, 5, 2),
    envelope(OP_TXN_RESOLVE, TXN, 1 << 63, 1),
    envelope(OP_TXN_FORGET, b"x"),
]


def is_taken(command: tuple[Any, ...]) -> bool:
    try:
        check_forward((FORWARD_WRITE, 1, 1, 10, False, command))
    except PeerFrameError:
        return False
    return True


@pytest.mark.parametrize("command", GOOD, ids=range(len(GOOD)))
def test_what_nodes_send(command: tuple[Any, ...]) -> None:
    assert is_taken(command)
    ShardStore().apply(1, 1_000, [(0, 0, 0, *command[3:])])


@pytest.mark.parametrize("command", BAD, ids=range(len(BAD)))
def test_what_no_node_may_send(command: tuple[Any, ...]) -> None:
    assert not is_taken(command)


def test_every_step_is_looked_at() -> None:
    steps = {op for op, kind in COMMANDS.items() if kind.name.startswith("txn_")}
    assert steps == TRANSACTION_OPS


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.integers(-3, 3),
        st.sampled_from([b"", b"a", b"b", DATA, 1 << 64, -(1 << 63), True, None, "x", TXN]),
    ),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)
_CHECKS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b""]), _VALUES), max_size=3).map(tuple)
_WRITES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([b"a", b"b"]), st.just(OP_DELETE)),
        st.tuples(st.sampled_from([b"a", b"b"]), st.just(OP_SET), st.just(DATA), _VALUES),
        st.tuples(_VALUES, _VALUES),
    ),
    max_size=3,
).map(tuple)


@given(st.one_of(_CHECKS, _VALUES), st.one_of(_WRITES, _VALUES), st.one_of(st.just((2,)), _VALUES))
def test_apply_runs_whatever_is_taken(checks: Any, writes: Any, participants: Any) -> None:
    store = ShardStore()
    index = 0
    for command in (prepare(checks, writes), commit(participants, checks=checks, writes=writes)):
        if may_be_forwarded(command) and is_transaction(command):
            index += 1
            store.apply(index, 1_000, [command])
            store.apply(index, 1_000, [(0, 0, 0, *command[3:])])
            tuple(store.encode_view(store.view()))


def test_the_largest_transaction_of_the_wire_is_taken() -> None:
    each = TXN_BYTES_MAX // TXN_KEYS_MAX - 250
    data = b" 4294967295 %d\r\n%b\r\n" % (each, bytes(each))
    writes = tuple((b"%0250d" % n, OP_SET, data, 0) for n in range(TXN_KEYS_MAX))
    assert is_taken(prepare(checks=(), writes=writes))
