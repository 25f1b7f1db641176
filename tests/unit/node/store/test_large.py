"""Items whose values are kept in pieces. More of it: `tests/property/test_large_items.py`."""

from typing import Any

import pytest

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.state_machine import TIMED, WHOLE_ITEM_BYTES_MAX
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_DELETE,
    OP_GAT,
    OP_INCR,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PIECE,
    OP_PREPEND,
    OP_SET,
    OP_STORE_PIECES,
    OP_TOUCH,
)
from quorumcache.node.store.item import ENDS, PIECES, STALE, WON, cas_unique, value_bytes, wire_data
from quorumcache.node.store.large import LARGE_VALUE_BYTES, PIECE_BYTES
from quorumcache.node.store.results import (
    DELETED,
    ITEM,
    NON_NUMERIC,
    NOT_STORED,
    PIECES_MISSING,
    STORED,
    TOUCHED,
    shown_item,
)
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.state import PIECES_PER_TIDY
from quorumcache.node.store.store import EXPIRED, ShardStore
from tests.support.item_tables import item_of, items_of

NOW_MS = 1_000_000
LIMIT = 128 << 20


def staged(store: ShardStore, upload: int, *pieces: bytes) -> None:
    total = sum(map(len, pieces))
    for position, piece in enumerate(pieces):
        store.apply(1, NOW_MS, [(0, 0, 0, OP_PIECE, b"k", upload, position, total, piece)])


def stored(store: ShardStore, op: int, *pieces: bytes, exptime: int = 0) -> object:
    staged(store, 1, *pieces)
    inner = (op, b" 5 %d\r\n" % sum(map(len, pieces)), exptime)
    if op in (OP_APPEND, OP_PREPEND):
        inner = (op, b"")
    command = (0, 0, 0, OP_STORE_PIECES, b"k", 1, inner)
    return store.apply(2, NOW_MS, [command], None, LIMIT)[0]


def test_a_reader_gets_the_item_by_the_general_way_and_its_value_apart() -> None:
    store = ShardStore()
    assert stored(store, OP_SET, b"abc", b"de") == STORED
    assert store.peek(b"k") is TIMED
    item = store.lookup(b"k", NOW_MS)
    assert isinstance(item, bytes)
    assert item[0] == PIECES
    assert item[17:].startswith(b" 5 5\r\n")
    assert value_bytes(item) == 5
    assert store.value_of(item) == (b"abc", b"de")


def test_a_touch_and_a_gat_keep_the_value_and_an_end_takes_it() -> None:
    store = ShardStore()
    stored(store, OP_SET, b"abc", b"de")
    used = store.bytes_used
    for op in (OP_TOUCH, OP_GAT):
        result = store.apply(3, NOW_MS, [(0, 0, 0, op, b"k", 50)])[0]
        assert result == (TOUCHED if op == OP_TOUCH else (ITEM, item_of(store.items, b"k")))
        assert item_of(store.items, b"k")[0] == PIECES | ENDS
        assert store.value_of(item_of(store.items, b"k")) == (b"abc", b"de")
        assert store.bytes_used in (used, used + 16), "an item that ends may take more"
        store.apply(4, NOW_MS, [(0, 0, 0, OP_TOUCH, b"k", 0)])
        assert item_of(store.items, b"k")[0] == PIECES
        assert store.bytes_used == used
    store.apply(5, NOW_MS, [(0, 0, 0, OP_TOUCH, b"k", 1)])
    assert store.lookup(b"k", NOW_MS + 5000) is EXPIRED
    store.apply(6, NOW_MS + 5000, [(0, 0, 0, OP_DELETE, b"k")])
    assert (items_of(store.items), store.values, store.bytes_used) == ({}, {}, 0)


@pytest.mark.parametrize("exptime", [0, 60])
def test_what_replaces_a_large_item_frees_its_value(exptime: int) -> None:
    store = ShardStore()
    stored(store, OP_SET, b"abc", exptime=exptime)
    stored(store, OP_SET, b"xyz", exptime=60 - exptime)
    assert list(store.values.values()) == [(b"xyz",)]
    store.apply(3, NOW_MS, [(0, 0, 0, OP_SET, b"k", wire_data(0, b"small"), exptime)])
    assert store.values == {}
    assert item_of(store.items, b"k")[0] == (ENDS if exptime else 0)
    stored(store, OP_SET, b"abc")
    assert store.apply(4, NOW_MS, [(0, 0, 0, OP_DELETE, b"k")]) == [DELETED]
    assert (store.values, store.bytes_used) == ({}, 0)
    stored(store, OP_SET, b"abc")
    store.drop_all()
    assert (store.values, store.bytes_used) == ({}, 0)


def test_what_is_not_stored_leaves_neither_pieces_nor_a_value() -> None:
    store = ShardStore()
    store.apply(1, NOW_MS, [(0, 0, 0, OP_SET, b"k", wire_data(0, b"old"), 0)])
    used = store.bytes_used
    assert stored(store, OP_ADD, b"abc") == NOT_STORED
    assert (store.values, store.staging.uploads, store.bytes_used) == ({}, {}, used)
    assert stored(store, OP_SET, b"abc", exptime=-1) == STORED
    assert (items_of(store.items), store.values, store.bytes_used) == ({}, {}, 0)


def test_a_number_never_looks_like_the_end_of_a_whole_item() -> None:
    """By its last byte it is told whether an item is large."""
    store = ShardStore()
    assert all(store.new_value((b"x",))[-1] != 10 for _ in range(600))


@pytest.mark.parametrize(
    "inner",
    [
        (OP_SET, b"", 0),
        (OP_SET, b" 0 4\r\n", 0),
        (OP_SET, b" x 3\r\n", 0),
        (OP_SET, b"  3\r\n", 0),
        (OP_SET, b" 0 3", 0),
        (OP_SET, b" 0 3\r\nabc\r\n", 0),
        (OP_APPEND, b"x"),
        (OP_META_SET, b"", OP_SET, b"", 0, 0, 0, 0, 0),
        (OP_META_SET, b"", OP_APPEND, b" 0 3\r\n", 0, 0, 0, 0, 0),
    ],
)
def test_an_inner_command_whose_data_do_not_fit_the_value_stores_nothing(inner: Any) -> None:
    store = ShardStore()
    store.apply(1, NOW_MS, [(0, 0, 0, OP_SET, b"k", wire_data(0, b"old"), 0)])
    staged(store, 1, b"abc")
    command = (0, 0, 0, OP_STORE_PIECES, b"k", 1, inner)
    assert store.apply(2, NOW_MS, [command]) == [PIECES_MISSING]
    assert item_of(store.items, b"k").endswith(b"old\r\n")
    assert (store.values, store.staging.uploads) == ({}, {})


@pytest.mark.parametrize(
    ("inner", "there", "result", "value"),
    [
        ((b"", OP_SET, b" 3 3\r\n", 0, 0, 0, 0, 3), b"", STORED, b" 3 3\r\nabc"),
        ((b"", OP_ADD, b" 3 3\r\n", 0, 0, 0, 0, 3), b"old", NOT_STORED, b" 0 3\r\nold"),
        ((b"N", OP_APPEND, b"", 0, 60, 0, 0, 3), b"", STORED, b" 3 3\r\nabc"),
        ((b"", OP_APPEND, b"", 0, 60, 0, 0, 3), b"", NOT_STORED, None),
        ((b"", OP_PREPEND, b"", 0, 60, 0, 0, 3), b"old", STORED, b" 0 6\r\nabcold"),
        ((b"CI", OP_SET, b" 3 3\r\n", 0, 0, 1, 0, 3), b"old", STORED, b" 3 3\r\nabc"),
    ],
)
def test_a_meta_set_in_pieces(
    inner: Any, there: bytes, result: object, value: bytes | None
) -> None:
    store = ShardStore()
    store.apply(1, NOW_MS, [(0, 0, 0, OP_DELETE, b"k"), (0, 0, 0, OP_DELETE, b"k")])
    if there:
        store.cas_counter = 0
        store.apply(1, NOW_MS, [(0, 0, 0, OP_SET, b"k", wire_data(0, there), 0)])
    staged(store, 1, b"ab", b"c")
    command = (0, 0, 0, OP_STORE_PIECES, b"k", 1, (OP_META_SET, *inner))
    assert store.apply(2, NOW_MS, [command]) == [result]
    item = store.items.get(b"k")
    if value is None:
        assert item is None
    else:
        assert item is not None
        pieces = store.value_of(item)
        shown = item[17:-2] if pieces is None else item[17:-8] + b"".join(pieces)
        assert shown == value
    assert len(store.values) == bool(item and item[0] & PIECES)
    assert not store.staging.uploads


def test_what_a_batch_answers_with_is_there_until_the_next_one() -> None:
    """A later command of the same batch may replace it before the waiters hear."""
    store = ShardStore()
    for command in (
        (0, 0, 0, OP_GAT, b"k", 50),
        (0, 0, 0, OP_GAT, b"k", -1),
        (0, 0, 0, OP_META_GET, b"k", b"Tv", 60, 0, 0, 0),
    ):
        stored(store, OP_SET, b"abc")
        results = store.apply(3, NOW_MS, [command, (0, 0, 0, OP_DELETE, b"k")])
        item = shown_item(results[0])
        assert item is not None
        assert store.value_of(item) == (b"abc",)
        assert store.values == {}
        store.apply(4, NOW_MS, [])
        assert store.value_of(item) is None


def test_marks_and_wins_leave_a_large_item_its_value() -> None:
    store = ShardStore()
    stored(store, OP_SET, b"abc")
    for command in (
        (0, 0, 0, OP_META_GET, b"k", b"Tv", 60, 0, 0, 0),
        (0, 0, 0, OP_META_DELETE, b"k", b"I", 0, 0, 0, 0),
        (0, 0, 0, OP_META_GET, b"k", b"R", 0, 0, 100, 0),
    ):
        store.apply(3, NOW_MS, [command])
        item = item_of(store.items, b"k")
        assert item[0] & PIECES
        assert store.value_of(item) == (b"abc",)
    assert item[0] == PIECES | ENDS | STALE | WON
    arithmetic = (0, 0, 0, OP_META_ARITHMETIC, b"k", b"", 1, 0, 0, 0, 0, 0)
    assert store.apply(3, NOW_MS, [arithmetic]) == [NON_NUMERIC]
    store.apply(4, NOW_MS, [(0, 0, 0, OP_META_DELETE, b"k", b"x", 0, 0, 0, 0)])
    assert store.values == {}
    assert item_of(store.items, b"k")[0] & PIECES == 0


def test_appends_beyond_the_threshold_make_a_large_item() -> None:
    store = ShardStore()
    whole = bytes(LARGE_VALUE_BYTES)
    store.apply(1, NOW_MS, [(0, 0, 0, OP_SET, b"k", wire_data(7, whole), 60)], None, LIMIT)
    append = (0, 0, 0, OP_APPEND, b"k", b"x")
    assert store.apply(2, NOW_MS, [append], None, WHOLE_ITEM_BYTES_MAX) == [STORED]
    assert not item_of(store.items, b"k")[0] & PIECES, "nodes of the release before may be there"
    assert store.apply(3, NOW_MS, [append], None, LIMIT) == [STORED]
    item = item_of(store.items, b"k")
    assert item[0] == PIECES | ENDS
    assert item[17:-8] == b" 7 %d\r\n" % (LARGE_VALUE_BYTES + 2)
    value = store.value_of(item)
    assert value is not None
    assert b"".join(value) == whole + b"xx"
    assert max(map(len, value)) == PIECE_BYTES
    assert store.apply(4, NOW_MS, [(0, 0, 0, OP_PREPEND, b"k", b"a")], None, LIMIT) == [STORED]
    assert cas_unique(item_of(store.items, b"k")) == 4
    assert len(store.values) == 1


def test_an_append_beyond_the_limit_is_refused() -> None:
    store = ShardStore()
    stored(store, OP_SET, b"abc", b"de")
    before = store.digest()
    append = (0, 0, 0, OP_APPEND, b"k", bytes(1000))
    assert store.apply(2, NOW_MS, [append], None, 1000) == [NOT_STORED]
    assert store.digest() == before


def test_a_large_value_is_no_number() -> None:
    store = ShardStore()
    stored(store, OP_SET, b"12")
    assert store.apply(2, NOW_MS, [(0, 0, 0, OP_INCR, b"k", 1)]) == [NON_NUMERIC]


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        (b"\xc4\x03abc", b"\xc4\x03ab"),  # cut
        (b"\x92\x03\x01\xc4\x03abc", b"\x92\x03\x01\xc4\x04abcd"),  # of another length
        (b"\x92\x03\x01\xc4\x03abc", b"\x92\x01\x01\xc4\x03abc"),  # of another item
        (b"\x92\x03\x01\xc4\x03abc", b"\x92\x03\x00\xc4\x03abc"),
        (b"\x92\x03\x01\xc4\x03abc", b"\x92\x03\x01\xa3abc"),
        (b"\x94\x09\x05", b"\x94\x09\x01"),  # an upload that is larger than it announced
        (b"\x92\x00\xc4\x02up", b"\x92\x00\xc4\x00"),
        (b"\x92\x00\xc4\x02up", b"\x92\xc4\x00\xc4\x02up"),
    ],
)
def test_a_damaged_snapshot_with_pieces_is_refused(good: bytes, wrong: bytes) -> None:
    store = ShardStore()
    stored(store, OP_SET, b"abc")
    store.apply(3, NOW_MS, [(0, 0, 0, OP_PIECE, b"k", 9, 0, 5, b"up")])
    data = b"".join(encode_view(store.view()))
    assert data.count(good) == 1
    again = ShardStore()
    again.restore(data)
    assert again.digest() == store.digest()
    with pytest.raises(SnapshotInvalid):
        ShardStore().restore(data.replace(good, wrong))


def test_a_state_without_pieces_is_written_as_before() -> None:
    store = ShardStore()
    store.apply(1, NOW_MS, [(0, 0, 0, OP_SET, b"k", wire_data(0, b"v"), 0)])
    data = b"".join(encode_view(store.view()))
    assert data.startswith(b"\x99\xb1quorumcache-store\x02")
    stored(store, OP_SET, b"abc")
    data = b"".join(encode_view(store.view()))
    assert data.startswith(b"\x9c\xb1quorumcache-store\x03")


def pieces_gone(store: ShardStore) -> int:
    return store.retired_bytes // PIECE_BYTES


def with_values(count: int, pieces: int) -> ShardStore:
    store = ShardStore()
    for number in range(count):
        value = tuple(bytes(PIECE_BYTES) for _ in range(pieces))
        head = bytes((PIECES,)) + bytes(16) + b" 0 %d\r\n" % (pieces * PIECE_BYTES)
        store.put(b"k%d" % number, head + store.new_value(value))
    return store


def test_many_values_that_go_at_once_are_freed_bit_by_bit() -> None:
    """When all is flushed, or a leader's snapshot takes the place of the state."""
    for way in ("flushed", "replaced"):
        store = with_values(PIECES_PER_TIDY, 3)
        if way == "flushed":
            store.drop_all()
            assert store.values == {}
        else:
            other = ShardStore()
            other.values = kept = {1: (b"piece",)}
            store.become(other)  # Which tidies once.
            assert store.values is kept
            assert store.values == {1: (b"piece",)}
        left = PIECES_PER_TIDY * (3 if way == "flushed" else 2)
        assert pieces_gone(store) == left
        while left:
            assert store.tidy() == PIECES_PER_TIDY
            left -= PIECES_PER_TIDY
            assert pieces_gone(store) == left
        assert store.tidy() == 0


def test_a_new_value_frees_as_much_as_it_takes_of_those_that_went() -> None:
    store = with_values(2, 3)
    store.drop_all()
    store.new_value((b"a", b"b"))
    assert pieces_gone(store) == 4
    store.new_value((b"a",) * 9)
    assert pieces_gone(store) == 0
    store.new_value((b"a",))


def test_a_state_that_nobody_uses_any_more_is_let_go_to_its_end() -> None:
    store = with_values(PIECES_PER_TIDY, 2)
    assert store.let_go()
    assert len(store.items) == store.bytes_used == 0
    assert pieces_gone(store) == PIECES_PER_TIDY
    assert not store.let_go()
    assert (store.values, store.retired_bytes) == ({}, 0)


def test_what_an_image_has_of_a_state_is_waited_for() -> None:
    store: Any = ShardStore()

    class Items:
        """A table of which an image is open."""

        retired_bytes = 7

        def clear(self) -> None: ...

        def tidy(self) -> int:
            return 0

    store.items = items = Items()
    assert store.let_go()
    items.retired_bytes = 0
    assert not store.let_go()
