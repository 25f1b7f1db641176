"""The steps that all changes of an item share."""

from quorumcache.node.store.changes import new_unique, place, rewrite
from quorumcache.node.store.exptime import ALREADY_EXPIRED
from quorumcache.node.store.item import ENDS, STALE, WON, cas_unique, expires_at_ms, wire_data
from quorumcache.node.store.large import extended
from quorumcache.node.store.state import ShardState
from tests.support.item_tables import item_of, items_of

DATA = wire_data(7, b"ab")


def test_the_counter_never_repeats_a_unique_that_a_client_has_set() -> None:
    state = ShardState()
    assert new_unique(state, 1000) == 1000
    assert new_unique(state, None) == 1001
    assert new_unique(state, 7) == 7
    assert new_unique(state, None) == 1002, "it never falls"
    for largest in (2**63, 2**64 - 1):
        assert new_unique(state, largest) == largest
    assert new_unique(state, None) == 1003, "it does not run out behind the largest"
    assert new_unique(state, 2**63 - 1) == 2**63 - 1
    assert new_unique(state, None) == 2**63


def test_an_item_is_placed_with_its_marks_and_its_end() -> None:
    state = ShardState()
    place(state, b"k", STALE, 5000, 9, DATA)
    item = item_of(state.items, b"k")
    assert (item[0], expires_at_ms(item), cas_unique(item)) == (ENDS | STALE, 5000, 9)
    assert (item[17:], state.items.expiring) == (DATA, 1)
    place(state, b"k", WON, 0, 9, DATA)
    assert (item_of(state.items, b"k")[0], state.items.expiring) == (WON, 0)
    place(state, b"k", 0, ALREADY_EXPIRED, 9, DATA)
    assert (items_of(state.items), state.bytes_used) == ({}, 0)


def test_a_rewritten_item_keeps_its_end() -> None:
    state = ShardState()
    place(state, b"k", STALE, 5000, 9, DATA)
    rewrite(state, b"k", item_of(state.items, b"k"), WON, 10, wire_data(1, b"c"))
    item = item_of(state.items, b"k")
    assert (item[0], expires_at_ms(item), cas_unique(item)) == (ENDS | WON, 5000, 10)
    assert (item[17:], state.items.expiring, len(state.expiry)) == (wire_data(1, b"c"), 1, 1)


def test_an_extended_value_keeps_its_flags_and_its_limit() -> None:
    state = ShardState()
    place(state, b"k", 0, 0, 9, DATA)
    item = item_of(state.items, b"k")
    state.batch_item_bytes_max = 1000
    assert extended(state, b"k", item, b"c", before=False) == wire_data(7, b"abc")
    assert extended(state, b"k", item, b"c", before=True) == wire_data(7, b"cab")
    state.batch_item_bytes_max = 100
    assert extended(state, b"k", item, b"c" * 34, before=True) == wire_data(7, b"c" * 34 + b"ab")
    assert extended(state, b"k", item, b"c" * 35, before=True) is None
