"""The steps by which a shard's state changes keep its counts right."""

from quorumcache.node.store.item import ENDS, STALE, WON, item_cost, pack_header, wire_data
from quorumcache.node.store.state import NO_EXPIRY, ShardState, pack_unique

LASTING = NO_EXPIRY + pack_unique(1) + wire_data(0, b"x")
LONGER = NO_EXPIRY + pack_unique(2) + wire_data(0, b"longer")


STALE_LASTING = bytes((STALE | WON,)) + LASTING[1:]


def ending(at_ms: int, bits: int = 0) -> bytes:
    return pack_header(ENDS | bits, at_ms, 3) + wire_data(0, b"ends")


def assert_counted(state: ShardState) -> None:
    items = state.items
    assert state.bytes_used == sum(item_cost(key, item) for key, item in items.items())
    assert state.expiring == sum(item[0] & ENDS for item in items.values())
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
        assert state.items == {b"k": item}
        assert_counted(state)
    state.remove(b"k")
    state.remove(b"k")
    assert (state.items, state.bytes_used, state.expiring) == ({}, 0, 0)


def test_an_item_may_be_put_with_the_expiry_that_it_has() -> None:
    state = ShardState()
    state.put_ending(b"k", ending(5), 5)
    state.put(b"k", ending(5)[:9] + LONGER[9:])
    assert_counted(state)
    assert state.expiring == 1


def test_what_has_ended_is_removed_by_a_look() -> None:
    state = ShardState()
    state.put(b"lasting", LASTING)
    state.put_ending(b"k", ending(5), 5)
    assert state.live(b"k", 4) == ending(5)
    assert state.live(b"k", 5) is None
    assert state.live(b"no", 5) is None
    assert state.live(b"lasting", 1 << 60) == LASTING
    assert list(state.items) == [b"lasting"]
    assert_counted(state)


def test_dropping_all_keeps_what_is_no_item() -> None:
    state = ShardState()
    state.cas_counter = 7
    state.sessions.open(9, 0)
    state.put(b"lasting", LASTING)
    state.put_ending(b"k", ending(5), 5)
    state.drop_all()
    assert_counted(state)
    assert (state.bytes_used, state.cas_counter, len(state.sessions)) == (0, 7, 1)
