"""A snapshot is read in pieces, wherever it is cut; the state is as if it had run the log."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.store.commands import OP_GAT, OP_SESSION_OPEN, OP_SET
from quorumcache.node.store.item import item_cost, wire_data
from quorumcache.node.store.reading import STEP_BYTES, StoreReader
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.stamps import SMALL
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import items_of, queued

NOW_MS = 1_000_000


def filled() -> ShardStore:
    """Some items, every other one with an expiry; sessions of both kinds with answers."""
    store = ShardStore()
    sessions = (7, CLIENT_SESSION_MIN + 1)
    for session in sessions:
        store.apply(1, NOW_MS, [(session, 0, 0, OP_SESSION_OPEN, b"")])
    order = list(range(60))
    Random(1).shuffle(order)
    for number in order:
        ttl = (number + 1) * (number % 2)
        command = (0, 0, 0, OP_SET, b"k%d" % number, wire_data(0, b"x" * number), ttl)
        store.apply(number, NOW_MS, [command])
    for session in sessions:
        store.apply(99, NOW_MS, [(session, 1, 1, OP_GAT, b"k3", 50)])
    return store


STORE = filled()
DATA = b"".join(encode_view(STORE.view()))


@given(st.lists(st.integers(0, len(DATA)), max_size=20))
def test_wherever_it_is_cut_the_state_is_the_same(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(DATA)]
    pieces = [DATA[start:end] for start, end in pairwise(ends)]
    store = ShardStore()
    taken = list(store.restoring(pieces))
    assert len(taken) == len([piece for piece in pieces if piece])
    assert taken[-1] == len(DATA)
    assert store.view() == STORE.view()
    assert store.bytes_used == sum(item_cost(*pair) for pair in items_of(STORE.items).items())
    assert store.items.expiring == STORE.items.expiring == 30
    assert store.due_expirations(NOW_MS * 2, 100) == STORE.due_expirations(NOW_MS * 2, 100)
    keys = queued(store.items, SMALL)
    assert keys == list(items_of(STORE.items)), "all may be evicted, in the snapshot's order"
    assert store.items.small_bytes == store.bytes_used
    eviction = store.plan_eviction(store.bytes_used)
    assert eviction is not None
    assert eviction.keys == keys
    store.spare(eviction)
    assert store.sessions.clients == STORE.sessions.clients == 1
    assert store.sessions.client_results == STORE.sessions.client_results == 1


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_until_the_last_step_the_state_is_as_it_was(size: int) -> None:
    pieces = [DATA[at : at + size] for at in range(0, len(DATA), size)]
    store = ShardStore()
    before = store.view()
    steps = store.restoring(pieces)
    for _ in pieces:
        next(steps)
        assert store.view() == before
        assert store.bytes_used == 0
    assert next(steps, None) is None
    assert store.view() == STORE.view()


def test_no_step_takes_more_than_a_bound_however_long_its_piece_is() -> None:
    store = ShardStore()
    value = wire_data(0, bytes(STEP_BYTES // 2))
    store.apply(1, NOW_MS, [(0, 0, 0, OP_SET, b"k%d" % n, value, 0) for n in range(9)])
    data = b"".join(encode_view(store.view()))
    taken = [0, *ShardStore().restoring([data])]
    assert max(end - start for start, end in pairwise(taken)) == STEP_BYTES
    assert taken[-1] == len(data)


def test_a_restored_state_goes_on_alone() -> None:
    """Its index of ends is over its own items."""
    store = ShardStore()
    store.restore(DATA)
    store.apply(100, NOW_MS, [(0, 0, 0, OP_SET, b"k1", wire_data(0, b"new"), 0)])
    assert b"k1" not in [key for key, _ in store.due_expirations(NOW_MS * 2, 100)]
    assert b"k1" in [key for key, _ in STORE.due_expirations(NOW_MS * 2, 100)]


def test_a_reader_says_when_it_has_not_all() -> None:
    reader = StoreReader(len(DATA))
    reader.take(DATA[:-1])
    with pytest.raises(SnapshotInvalid, match="ends in the middle"):
        reader.end()
    reader.take(DATA[-1:])
    reader.end()
    reader.take(b"xy")
    with pytest.raises(SnapshotInvalid, match="2 bytes too many"):
        reader.end()


def test_what_claims_to_be_larger_than_the_snapshot_takes_no_memory() -> None:
    reader = StoreReader(100)
    reader.take(next(encode_view(STORE.view())))
    with pytest.raises(SnapshotInvalid):
        reader.take(b"\xdd\xff\xff\xff\xff")  # an array of four thousand million members
