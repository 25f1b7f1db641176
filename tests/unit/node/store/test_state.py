"""The steps by which a shard's state changes keep its counts right."""

from typing import Any

import pytest

from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_INCR,
    OP_META_ARITHMETIC,
    OP_META_GET,
    OP_META_SET,
    OP_PREPEND,
    OP_REPLACE,
    OP_SET,
)
from quorumcache.node.store.item import ENDS, STALE, WON, item_cost, pack_header, wire_data
from quorumcache.node.store.state import NO_EXPIRY, ShardState, pack_unique
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import items_of

LASTING = NO_EXPIRY + pack_unique(1) + wire_data(0, b"x")
LONGER = NO_EXPIRY + pack_unique(2) + wire_data(0, b"longer")


STALE_LASTING = bytes((STALE | WON,)) + LASTING[1:]


def ending(at_ms: int, bits: int = 0) -> bytes:
    return pack_header(ENDS | bits, at_ms, 3) + wire_data(0, b"ends")


def assert_counted(state: ShardState) -> None:
    items = items_of(state.items)
    assert state.bytes_used == sum(item_cost(key, item) for key, item in items.items())
    assert state.items.expiring == sum(item[0] & ENDS for item in items.values())
    due = dict(state.expiry.due(1 << 60, 99))
    assert due.keys() == {key for key, item in items.items() if item[0] & ENDS}


def test_items_that_last_and_items_that_end_take_each_others_place() -> None:
    state = ShardState()
    for item in (
        *(LASTING, ending(5), ending(9), LONGER, LASTING, ending(7)),
        *(STALE_LASTING, LASTING, STALE_LASTING, ending(6, STALE), ending(6, WON), STALE_LASTING),
    ):
        if item[0] & ENDS:
            state.put_ending(b"k", item, int.from_bytes(item[1:9], "big"))
        else:
            state.put(b"k", item)
        assert items_of(state.items) == {b"k": item}
        assert_counted(state)
    state.remove(b"k")
    state.remove(b"k")
    assert (items_of(state.items), state.bytes_used, state.items.expiring) == ({}, 0, 0)


def test_an_item_may_be_put_with_the_expiry_that_it_has() -> None:
    state = ShardState()
    state.put_ending(b"k", ending(5), 5)
    state.put(b"k", ending(5)[:9] + LONGER[9:])
    assert_counted(state)
    assert state.items.expiring == 1


def test_what_has_ended_is_removed_by_a_look() -> None:
    state = ShardState()
    state.put(b"lasting", LASTING)
    state.put_ending(b"k", ending(5), 5)
    assert state.live(b"k", 4) == ending(5)
    assert state.live(b"k", 5) is None
    assert state.live(b"no", 5) is None
    assert state.live(b"lasting", 1 << 60) == LASTING
    assert list(items_of(state.items)) == [b"lasting"]
    assert_counted(state)


def test_what_is_evicted_while_a_snapshot_is_made_counts_as_gone() -> None:
    """Its image keeps it. A leader that found no room by that would evict on and on."""
    store = ShardStore()
    for number in range(1000):
        store.put(b"%d" % number, LONGER)
    view = store.view()
    before = store.memory_bytes
    wanted = store.bytes_used // 2
    eviction = store.plan_eviction(wanted)
    assert eviction is not None
    for key in eviction.keys:
        store.evict(key, item_cost(key, LONGER))
    assert store.evicted_bytes == eviction.cost_bytes >= wanted
    assert store.memory_bytes <= before - wanted
    store.end_view(view)


def test_dropping_all_keeps_what_is_no_item() -> None:
    state = ShardState()
    state.cas_counter = 7
    state.sessions.open(9, 0)
    state.put(b"lasting", LASTING)
    state.put_ending(b"k", ending(5), 5)
    state.drop_all()
    assert_counted(state)
    assert (state.bytes_used, state.cas_counter, len(state.sessions)) == (0, 7, 1)


VALUE = b"v" * 500
META_GET = (OP_META_GET, b"k", b"N", 0, 60, 0, 0)
META_APPEND = (OP_META_SET, b"k", b"N", OP_APPEND, VALUE, 0, 60, 0, 0, 0)
META_SET = (OP_META_SET, b"k", b"", OP_SET, wire_data(0, VALUE), 0, 0, 0, 0, 0)
META_COUNT = (OP_META_ARITHMETIC, b"k", b"N", 1, 5, 60, 0, 0, 0)


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        (OP_SET, b"k", wire_data(1 << 31, VALUE), 0),
        (OP_ADD, b"k", wire_data(0, VALUE), 60),
        (OP_REPLACE, b"k", wire_data(0, VALUE), 60),
        (OP_CAS, b"k", wire_data(0, VALUE), 0, 1),
        (OP_APPEND, b"k", VALUE),
        (OP_PREPEND, b"k", VALUE),
        (OP_INCR, b"k", 1),
        (OP_DELETE, b"k"),
        META_GET,
        META_APPEND,
        META_SET,
        META_COUNT,
    ],
)
def test_no_command_makes_the_state_grow_by_more_than_was_said(
    command: tuple[Any, ...], is_there: bool
) -> None:
    store = ShardStore()
    if is_there:
        store.apply(1, 1000, [(0, 0, 0, OP_SET, b"k", wire_data(0, b"7"), 0)])
    before = store.bytes_used
    full = (0, 0, 0, *command)
    said = store.growth(full, 1 + len(VALUE))
    store.apply(2, 1000, [full])
    grown = store.bytes_used - before
    assert grown <= said <= max(0, grown) + 1000
