"""Pieces of values that wait for the command that stores them: the bounds of what may wait."""

from quorumcache.node.store.commands import (
    OP_APPEND,
    OP_DROP_PIECES,
    OP_PIECE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
)
from quorumcache.node.store.results import OK, PIECE_STAGED, PIECES_MISSING, STAGING_FULL, STORED
from quorumcache.node.store.staging import PIECE_OVERHEAD, STAGED_BYTES_MAX, UPLOADS_MAX, Staging
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import item_of, items_of


def test_the_bytes_that_uploads_announce_are_bounded_as_a_whole() -> None:
    staging = Staging()
    assert staging.stage(1, 0, STAGED_BYTES_MAX - 10, b"x", 0) == PIECE_STAGED
    assert staging.stage(2, 0, 11, b"x", 0) == STAGING_FULL
    assert staging.stage(3, 0, 10, b"x", 0) == PIECE_STAGED
    assert staging.reserved_bytes == STAGED_BYTES_MAX
    staging.drop(1)
    assert staging.stage(2, 0, 11, b"x", 0) == PIECE_STAGED
    assert staging.bytes_used == 2 * (1 + PIECE_OVERHEAD)


def test_an_upload_that_was_let_in_has_room_for_all_its_pieces() -> None:
    staging = Staging()
    assert staging.stage(1, 0, STAGED_BYTES_MAX, b"x", 0) == PIECE_STAGED
    assert staging.stage(2, 0, 1, b"x", 0) == STAGING_FULL
    assert staging.stage(1, 1, STAGED_BYTES_MAX, b"y", 0) == PIECE_STAGED


def test_uploads_are_bounded_in_number() -> None:
    staging = Staging()
    for upload in range(UPLOADS_MAX):
        assert staging.stage(upload, 0, 1, b"x", 0) == PIECE_STAGED
    assert staging.stage(UPLOADS_MAX, 0, 1, b"x", 0) == STAGING_FULL


def test_a_piece_that_comes_after_its_upload_was_dropped_leaves_nothing() -> None:
    staging = Staging()
    staging.stage(1, 0, 10, b"x", 0)
    staging.drop(1)
    assert staging.stage(1, 1, 10, b"y", 0) == PIECES_MISSING
    assert not staging.uploads


def test_an_upload_holds_no_more_than_it_announced() -> None:
    staging = Staging()
    assert staging.stage(1, 0, 3, b"ab", 0) == PIECE_STAGED
    assert staging.stage(1, 1, 3, b"cd", 0) == PIECES_MISSING
    assert staging.stage(1, 1, 3, b"", 0) == PIECES_MISSING
    assert staging.stage(1, 1, 3, b"c", 0) == PIECE_STAGED
    assert staging.take(1) == (b"ab", b"c")


def test_an_upload_of_a_negative_length_takes_nothing_from_others() -> None:
    staging = Staging()
    assert staging.stage(1, 0, -5, b"x", 0) == PIECES_MISSING
    assert staging.reserved_bytes == 0


def test_only_an_upload_that_has_been_idle_is_dropped_by_the_leader() -> None:
    store = ShardStore()
    store.apply(1, 1000, [(0, 0, 0, OP_PIECE, b"k", 1, 0, 2, b"a")])
    assert store.idle_uploads(60_999, 60_000) == []
    assert store.idle_uploads(61_000, 60_000) == [1]
    store.apply(2, 50_000, [(0, 0, 0, OP_PIECE, b"k", 1, 1, 2, b"b")])
    drop = (0, 0, 0, OP_DROP_PIECES, b"k", 1, 60_000)
    assert store.apply(3, 61_000, [drop]) == [OK]
    assert 1 in store.staging.uploads, "a piece has come since the leader looked"
    assert store.apply(4, 110_000, [drop]) == [OK]
    assert not store.staging.uploads
    assert store.bytes_used == 0


def test_a_flush_leaves_uploads_that_are_under_way() -> None:
    """They are stored after it."""
    store = ShardStore()
    store.apply(1, 1, [(0, 0, 0, OP_PIECE, b"k", 1, 0, 1, b"a")])
    store.drop_all()
    assert store.bytes_used == store.staging.bytes_used > 0
    store.apply(2, 1, [(0, 0, 0, OP_STORE_PIECES, b"k", 1, (OP_SET, b" 0 1\r\n", 0))])
    assert store.value_of(item_of(store.items, b"k")) == (b"a",)


def test_a_store_without_all_pieces_may_be_done_by_its_repetition() -> None:
    """It is not remembered as the answer of its sequence: nothing was done."""
    store = ShardStore()
    inner = (OP_SET, b" 0 2\r\n", 0)
    store.apply(1, 1, [(7, 0, 0, OP_SESSION_OPEN, b"")])
    store.apply(2, 1, [(0, 0, 0, OP_PIECE, b"k", 1, 0, 2, b"a")])
    stores = (7, 1, 1, OP_STORE_PIECES, b"k", 1, inner)
    assert store.apply(3, 1, [stores]) == [PIECES_MISSING]
    assert items_of(store.items) == {}
    assert store.staging.uploads == {}
    pieces = [(0, 0, 0, OP_PIECE, b"k", 2, at, 2, bytes([97 + at])) for at in (0, 1)]
    assert store.apply(4, 1, [*pieces, (*stores[:5], 2, inner)])[-1] == STORED
    assert store.value_of(item_of(store.items, b"k")) == (b"a", b"b")


def test_an_append_without_all_pieces_adds_nothing() -> None:
    store = ShardStore()
    store.apply(1, 1, [(0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0)])
    for positions in ([0], [0, 2], []):
        for at in positions:
            store.apply(2, 1, [(0, 0, 0, OP_PIECE, b"k", 1, at, 3, b"a")])
        append = (0, 0, 0, OP_STORE_PIECES, b"k", 1, (OP_APPEND, b""))
        assert store.apply(3, 1, [append], None, 1000) == [PIECES_MISSING]
        assert item_of(store.items, b"k").endswith(b" 0 1\r\nx\r\n")
        assert (store.values, store.staging.uploads) == ({}, {})
