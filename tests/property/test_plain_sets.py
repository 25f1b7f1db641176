"""Goal: a store that takes plain sets from their bytes is the same as one that takes no short way.

Method: logs of all kinds of commands. Nodes and clients number their writes in order, but for some
that are repeated, or leave a gap. One store takes each entry by `apply_usual` where that is open,
another one the general way alone: results, states and memory are equal after each entry.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.state_machine import NOT_USUAL, batch_fields, encode_batch
from quorumcache.node.store import sessions as sessions_module
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_EVICT,
    OP_FENCED,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_LOCK_ACQUIRE,
    OP_PIECE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.exptime import RELATIVE_SECONDS_MAX
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from quorumcache.node.store.store import ShardStore
from quorumcache.node.store.transactions import ABSENT

NOW_MS = 5_000
WALL_MS = 1_700_000_000_000
DATA = wire_data(0, b"x")
BIG = CLIENT_SESSION_MIN

keys = st.sampled_from([b"a", b"b", b"c" * 250])
whole_texts = st.builds(wire_data, st.sampled_from([0, 7, (1 << 32) - 1]), st.binary(max_size=300))
exptimes = st.sampled_from([0, 0, 0, 1, 60, RELATIVE_SECONDS_MAX])
SESSIONS = (0, 7, 8, BIG, BIG + 1)
one_set = st.tuples(st.just("set"), st.sampled_from(SESSIONS), keys, whole_texts, exptimes)
some = st.one_of(
    one_set,
    st.tuples(st.just("again"), st.sampled_from(SESSIONS), keys),
    st.tuples(st.just("jump"), st.sampled_from(SESSIONS), keys),
    st.tuples(st.just("floor"), st.sampled_from(SESSIONS), keys),
    st.tuples(st.just("add"), st.sampled_from(SESSIONS), keys),
    st.tuples(st.just("incr"), st.sampled_from(SESSIONS), keys),
    st.tuples(st.just("open"), st.sampled_from(SESSIONS)),
    st.tuples(st.just("lock"), keys),
    st.tuples(st.just("fenced"), keys),
    st.tuples(st.just("large"), keys),
    st.tuples(st.just("evict"), keys),
    st.tuples(st.just("hold"), keys),
    st.tuples(st.just("flush"), st.integers(0, 2)),
)
lines = st.one_of(
    st.lists(one_set, min_size=1, max_size=5),
    st.lists(one_set, min_size=1, max_size=5),
    st.lists(some, max_size=4),
    st.just([("let go", b"")]),
)
# With the time that has passed: a new leader may stamp an earlier one than the last leader did.
entries = st.lists(
    st.tuples(lines, st.sampled_from([0, 1, 700, 2500, -900])), min_size=1, max_size=30
)


class Writer:
    """Makes commands of what was drawn: it numbers them as nodes and clients do, but for some."""

    def __init__(self) -> None:
        self.sequences = dict.fromkeys(SESSIONS, 1)
        self.floors = dict.fromkeys(SESSIONS, 0)
        self.uploads = 0

    def commands(self, store: ShardStore, line: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        kind, about, *rest = line
        head = (0, 0, 0)
        if kind in ("set", "again", "jump", "floor", "add", "incr", "open"):
            sequence = self.sequences[about]
            if kind == "again":
                sequence = max(1, sequence - 2)
            elif kind == "jump":
                sequence += 3
            elif kind == "floor":
                self.floors[about] = sequence - 1
            head = (about, sequence, self.floors[about])
            self.sequences[about] = max(self.sequences[about], sequence + 1)
        if kind == "set":
            key, text, exptime = rest
            return [(*head, OP_SET, key, text, exptime)]
        if kind in ("again", "jump", "floor"):
            return [(*head, OP_SET, rest[0], DATA, 0)]
        if kind == "add":
            return [(*head, OP_ADD, rest[0], DATA, 3)]
        if kind == "incr":
            return [(*head, OP_INCR, rest[0], 2)]
        if kind == "open":
            return [(about, 0, 0, OP_SESSION_OPEN, b"")]
        if kind == "lock":
            return [(*head, OP_LOCK_ACQUIRE, b"lock", b"me", 10_000, 0, 1, 0)]
        if kind == "fenced":
            return [(*head, OP_FENCED, about, b"lock", 1, (OP_SET, DATA, 0))]
        if kind == "large":
            self.uploads += 1
            piece = (*head, OP_PIECE, about, self.uploads, 0, 100, b"p" * 100)
            return [
                piece,
                (*head, OP_STORE_PIECES, about, self.uploads, (OP_SET, b" 0 100\r\n", 0)),
            ]
        if kind == "evict":
            facts = store.items.facts(about)
            return [(*head, OP_EVICT, b"", ((about, facts[2]),))] if facts else []
        if kind == "hold":
            step = (b"1" * 16, 3, 100_000, ((about, ABSENT),), ())
            return [(*head, OP_TXN_PREPARE, b"", *step)]
        if kind == "let go":
            return [(*head, OP_TXN_RESOLVE, b"", b"1" * 16, 100_000, 0)]
        return [(*head, OP_FLUSH, b"", about)]


@settings(max_examples=300, deadline=None)
@given(entries)
def test_either_way_leaves_the_same_state(drawn: Any) -> None:
    either, general = ShardStore(), ShardStore()
    writer = Writer()
    now_ms = NOW_MS
    opened = [(n, 0, 0, OP_SESSION_OPEN, b"") for n in (*SESSIONS[1:4], BIG + 1)]
    for index, (chosen, passed_ms) in enumerate([([], 0), *drawn], 1):
        now_ms += passed_ms
        commands = opened if index == 1 else []
        for line in chosen:
            commands = commands + writer.commands(general, line)
        batch = encode_batch(now_ms, commands, WALL_MS + now_ms)
        before = either.bytes_used
        results = general.apply(index, now_ms, commands, WALL_MS + now_ms)
        grown = either.apply_usual(index, batch)
        if grown == NOT_USUAL:
            answered = either.apply(index, *batch_fields(batch, either.op_count))
        else:
            answered = [either.usual_result] * len(commands)
            assert either.bytes_used == before + grown
        assert answered == results
        assert either.digest() == general.digest()
        assert either.bytes_used == general.bytes_used
        assert either.sessions.memory_bytes == general.sessions.memory_bytes
        assert either.values == general.values
        assert either.applied_index == index
    later = now_ms + 100_000
    assert sorted(either.due_expirations(later, 99)) == sorted(general.due_expirations(later, 99))


def test_plain_sets_do_go_the_short_way() -> None:
    """Also where a large item is replaced, a key comes back that was evicted, and items end."""
    either, general = ShardStore(), ShardStore()
    before: list[list[tuple[Any, ...]]] = [
        [(7, 0, 0, OP_SESSION_OPEN, b"")],
        [(0, 0, 0, OP_SET, b"k%d" % n, DATA, 0) for n in range(40)],
        [(0, 0, 0, OP_EVICT, b"", tuple((b"k%d" % n, n + 1) for n in range(5)))],
        [
            (0, 0, 0, OP_PIECE, b"large", 5, 0, 100, b"p" * 100),
            (0, 0, 0, OP_STORE_PIECES, b"large", 5, (OP_SET, b" 0 100\r\n", 0)),
        ],
    ]
    for index, commands in enumerate(before, 1):
        for store in (either, general):
            store.apply(index, NOW_MS, commands, WALL_MS)
    sets = [
        (7, 1, 1, OP_SET, b"large", DATA, 0),
        (0, 0, 0, OP_SET, b"k3", DATA, 0),
        (7, 2, 1, OP_SET, b"new", DATA, 9),
    ]
    general.apply(5, NOW_MS, sets, WALL_MS)
    assert either.apply_usual(5, encode_batch(NOW_MS, sets, WALL_MS)) != NOT_USUAL
    assert either.digest() == general.digest()
    assert either.values == general.values == {}
    assert either.due_expirations(NOW_MS + 9000, 9) == general.due_expirations(NOW_MS + 9000, 9)
    assert either.due_expirations(NOW_MS + 9000, 9)
    for key in (b"large", b"k3", b"new"):
        assert either.items.queue_of(key) == general.items.queue_of(key)


def commands_near_bounds(random: Random, numbers: dict[int, tuple[int, int]]) -> list[Any]:
    """Sets of some sessions, by their next number and floor in `numbers`: a few of them repeat one,
    leave a gap, or raise the floor up to their own number, and a few are gets that carry items."""
    is_odd = random.random() < 0.3
    chosen = random.sample(sorted(numbers), random.randint(1, len(numbers)))
    commands: list[Any] = []
    for _ in range(random.choice((1, 2, 4, 9))):
        session = random.choice(chosen)
        following, floor = numbers[session]
        sequence = following
        if is_odd and random.random() < 0.3:
            sequence = max(1, following + random.randint(-5, 4))
        if random.random() < 0.1:
            floor = max(floor, sequence - random.randint(0, 5))
        numbers[session] = max(following, sequence + 1), floor
        key = b"k%d" % random.randrange(4)
        if is_odd and random.random() < 0.4:
            commands.append((session, sequence, floor, OP_GAT, key, 30))
        else:
            commands.append((session, sequence, floor, OP_SET, key, DATA, random.choice((0, 9))))
    if random.random() < 0.1:
        commands.insert(0, (random.choice(chosen), 0, 0, OP_SESSION_OPEN, b""))
    return commands


@pytest.mark.parametrize("seed", range(40))
def test_either_way_leaves_the_same_sessions_at_their_bounds(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The compiled form keeps its own bounds: there this is a walk far from them."""
    bounds = {"RESULTS_MAX": 12, "CLIENT_RESULTS_MAX": 16, "CLIENT_RESULTS_LEAST": 3}
    bounds |= {"RESULT_BYTES_MAX": 20, "SESSIONS_MAX": 4}
    for name, bound in bounds.items():
        monkeypatch.setattr(sessions_module, name, bound)
    random = Random(seed)
    either, general = ShardStore(), ShardStore()
    numbers = dict.fromkeys((1, 2, 3, 4, 5, BIG, BIG + 1, BIG + 2, BIG + 3, BIG + 4), (1, 0))
    taken = 0
    for index in range(1, 80):
        commands = commands_near_bounds(random, numbers)
        if index == 1:
            commands = [(session, 0, 0, OP_SESSION_OPEN, b"") for session in numbers]
        now_ms = NOW_MS + index * 100 - (500 if index % 7 == 0 else 0)
        batch = encode_batch(now_ms, commands, WALL_MS)
        fields = batch_fields(batch, general.op_count)
        results = general.apply(index, *fields)
        if either.apply_usual(index, batch) == NOT_USUAL:
            assert either.apply(index, *fields) == results
        else:
            assert results == [either.usual_result] * len(commands)
            taken += 1
        ours, theirs = either.sessions, general.sessions
        assert ours.images() == theirs.images()
        assert ours.memory_bytes == theirs.memory_bytes
        assert (ours.clients, ours.client_results) == (theirs.clients, theirs.client_results)
        assert either.digest() == general.digest()
    assert taken > 5
