"""Snapshots: chunks, round trips, and bytes that are none."""

import msgpack
import pytest

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_SESSION_OPEN,
    OP_SET,
    OP_TXN_ABORT,
    OP_TXN_PREPARE,
)
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.snapshot import CHUNK_BYTES, encode_view, read_times
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import items_of


def filled(items: int = 10, value: bytes = b"x") -> ShardStore:
    store = ShardStore()
    sets = [
        (0, 0, 0, OP_SET, b"key%d" % number, wire_data(number, value), number % 3)
        for number in range(items)
    ]
    store.apply(1, 1000, sets)
    opens = [(session, 0, 0, OP_SESSION_OPEN, b"") for session in range(1, 201)]
    store.apply(2, 2000, opens)
    store.apply(3, 2000, [(5, 1, 0, OP_GAT, b"key0", 100), (5, 2, 0, OP_GAT, b"no", 100)])
    store.apply(4, 2000, [(0, 0, 0, OP_FLUSH, b"", 500)])
    return store


def test_round_trip() -> None:
    store = filled()
    data = b"".join(encode_view(store.view()))
    other = ShardStore()
    other.apply(1, 9000, [(3, 0, 0, OP_SESSION_OPEN, b""), (0, 0, 0, OP_SET, b"z", b" 0 0", 7)])
    other.restore(data)
    assert items_of(other.items) == items_of(store.items)
    assert other.digest() == store.digest()
    assert other.applied_index == 4
    assert other.last_now_ms == 2000
    assert other.pending_flush_ms == 502_000
    assert other.cas_counter == store.cas_counter
    assert other.bytes_used == store.bytes_used
    assert other.sessions.images() == store.sessions.images()
    assert other.due_expirations(10**9, 99) == store.due_expirations(10**9, 99)
    # A retry is answered from the snapshot.
    assert other.apply(5, 2001, [(5, 1, 0, OP_GAT, b"key0", 7)]) == store.apply(
        5, 2001, [(5, 1, 0, OP_GAT, b"key0", 7)]
    )


def test_the_bytes_of_a_snapshot() -> None:
    """An item, a pending flush, and a session that remembers a result of each form."""
    store = ShardStore()
    batch = [
        (7, 0, 0, OP_SESSION_OPEN, b""),
        (7, 1, 1, OP_SET, b"n", wire_data(0, b"5"), 0),
        (7, 2, 1, OP_INCR, b"n", 2),
        (7, 3, 1, OP_GAT, b"n", 60),
        (7, 4, 1, OP_DELETE, b"no"),
        (0, 0, 0, OP_FLUSH, b"", 9),
    ]
    store.apply(1, 1000, batch, 2000)
    item = "01000000000000ee480000000000000002203020310d0a370d0a"
    assert b"".join(encode_view(store.view())).hex() == (
        "99b171756f72756d63616368652d73746f72650201cd03e8cd07d0cd2710020101"
        f"92c4016ec41a{item}"
        f"919407cd03e801949201019202920c079203920dc41a{item}920404"
    )
    assert store.digest().hex() == (
        "011f77a7252845d297884662e3880501d27fdd882b892c8d3a3426e527e5a8b5"
    )


def test_an_empty_store() -> None:
    data = b"".join(encode_view(ShardStore().view()))
    store = filled()
    store.restore(data)
    assert store.digest() == ShardStore().digest()
    assert store.bytes_used == 0


def test_chunks_are_of_moderate_size() -> None:
    chunks = list(encode_view(filled(100, b"x" * 20_000).view()))
    assert len(chunks) > 8
    assert max(map(len, chunks)) < CHUNK_BYTES + 30_000


def test_a_view_does_not_move() -> None:
    store = filled()
    view = store.view()
    before = b"".join(encode_view(view))
    store.apply(9, 3000, [(5, 3, 2, OP_SET, b"new", wire_data(0, b""), 0)])
    store.apply(10, 3000, [(0, 0, 0, OP_FLUSH, b"", 0)])
    assert b"".join(encode_view(view)) == before


def test_a_view_outlives_all_that_becomes_of_its_store() -> None:
    """It is emptied, filled anew, restored from another one's snapshot, removed, and gone."""
    store, other = filled(50), filled(3)
    views, expected = [], []
    for step in range(4):
        views.append(store.view())
        expected.append(b"".join(encode_view(views[-1])))
        if step == 0:
            store.apply(9, 3000, [(0, 0, 0, OP_FLUSH, b"", 0)])
        elif step == 1:
            sets = [(0, 0, 0, OP_SET, b"%d" % n, wire_data(0, b"y" * n), 0) for n in range(300)]
            store.apply(10, 3000, sets)
        elif step == 2:
            assert list(store.restoring(list(encode_view(other.view()))))
            assert store.digest() == other.digest()
            store.apply(11, 4000, [(0, 0, 0, OP_FLUSH, b"", 0)])
        else:
            store.retire()
    assert len(set(expected)) == 4
    del store
    for view, data in zip(views, expected, strict=True):
        assert b"".join(encode_view(view)) == data
        view.items.close()


def test_digests_tell_states_apart() -> None:
    digests = set()
    store = ShardStore()
    for command in (
        (0, 0, 0, OP_SET, b"a", wire_data(0, b"1"), 0),
        (0, 0, 0, OP_SET, b"a", wire_data(0, b"1"), 0),
        (0, 0, 0, OP_FLUSH, b"", 100),
        (1, 0, 0, OP_SESSION_OPEN, b""),
        (1, 1, 0, OP_GAT, b"no", 0),
        (0, 0, 0, OP_FLUSH, b"", 0),
    ):
        store.apply(1, 1000, [command])
        digests.add(store.digest())
    store.apply(2, 1001, [])
    digests.add(store.digest())
    assert len(digests) == 7


def test_digest_does_not_depend_on_the_order_of_items() -> None:
    stores = []
    for keys in ((b"a", b"b"), (b"b", b"a")):
        store = ShardStore()
        store.apply(1, 1, [(0, 0, 0, OP_SET, key, wire_data(0, b""), 0) for key in keys])
        for key in (b"a", b"b"):
            store.apply(1, 1, [(0, 0, 0, OP_SET, key, wire_data(0, b""), 0)])
        stores.append(store)
    assert stores[0].digest() == stores[1].digest()


def test_bytes_that_are_no_snapshot() -> None:
    data = b"".join(encode_view(filled().view()))
    header = msgpack.Unpacker(use_list=False)
    header.feed(data)
    fields = header.unpack()
    rest = data[header.tell() :]
    bad = [
        b"",
        b"garbage",
        msgpack.packb(7),
        msgpack.packb(()),
        data + b"\xc0",
        rest,
        msgpack.packb(("quorumcache-store", 1, *fields[2:])) + rest,
        msgpack.packb((*fields[:7], fields[7] + 1, *fields[8:])) + rest,
        msgpack.packb((*fields[:7], fields[7] - 1, *fields[8:])) + rest,
        msgpack.packb((*fields[:8], fields[8] + 1)) + rest,
        msgpack.packb((*fields[:8], -1)) + rest,
        msgpack.packb((*fields[:2], "x", *fields[3:])) + rest,
        msgpack.packb((*fields[:7], 1, 0)) + msgpack.packb((b"key", 7)),
        msgpack.packb((*fields[:7], 1, 0)) + msgpack.packb((b"key", b"short")),
        msgpack.packb((*fields[:7], 1, 0)) + msgpack.packb((b"key",)),
        msgpack.packb((*fields[:7], 0, 1)) + msgpack.packb(((1, 2, 3, 4),)),
        msgpack.packb((*fields[:7], 0, 1)) + msgpack.packb((("1", 2, 3, ()),)),
        *(data[:cut] for cut in range(0, len(data), 37)),
    ]
    store = filled()
    before = store.digest()
    for one in bad:
        with pytest.raises(SnapshotInvalid):
            store.restore(one)
        assert store.digest() == before


def test_a_snapshot_of_another_version_is_refused_by_its_number() -> None:
    data = b"".join(encode_view(ShardStore().view())).replace(
        b"quorumcache-store\x02", b"quorumcache-store\x01"
    )
    with pytest.raises(
        SnapshotInvalid, match=r"version 1, .* this quorumcached reads versions 2 to 4"
    ):
        ShardStore().restore(data)
    with pytest.raises(SnapshotInvalid, match="version 1"):
        read_times(data)


def test_the_times_of_a_snapshot_are_read_from_its_header() -> None:
    store = filled(50, b"x" * 1000)
    store.apply(9, 1 << 59, [], (1 << 59) + 5)
    assert read_times(b"".join(encode_view(store.view()))) == (1 << 59, (1 << 59) + 5)


def test_sessions_that_remember_much_are_cut_into_chunks() -> None:
    """No turn of the loop encodes all of them, nor those of a client that numbers on for ever."""
    store = ShardStore()
    value = wire_data(0, b"x" * 60_000)
    store.apply(1, 1000, [(0, 0, 0, OP_SET, b"k", value, 0)])
    for session in range(1, 9):
        store.apply(2, 1000, [(session, 0, 0, OP_SESSION_OPEN, b"")])
        gets = [(session, number, 1, OP_GAT, b"k", 0) for number in range(1, 11)]
        store.apply(3, 1000, gets)
        store.apply(4, 1000, [(session, number, 1, OP_GAT, b"no", 0) for number in range(20, 5000)])
    chunks = list(encode_view(store.view()))
    assert len(chunks) == 2 + 8
    assert max(map(len, chunks)) < CHUNK_BYTES + 700_000
    other = ShardStore()
    for _ in other.restoring(chunks):
        pass
    assert other.view() == store.view()


def test_transactions_are_cut_into_chunks() -> None:
    store = ShardStore()
    value = wire_data(0, b"x" * 60_000)
    for number in range(200):
        txn = b"%016d" % number
        store.apply(1, 1000, [(0, 0, 0, OP_TXN_ABORT, b"", txn, 9000)])
        if number < 10:
            writes = ((b"k%d" % number, OP_SET, value, 0),)
            prepare = (0, 0, 0, OP_TXN_PREPARE, b"", txn, 7, 9000, (), writes)
            store.apply(1, 1000, [prepare])
    chunks = list(encode_view(store.view()))
    assert len(chunks) == 1 + 2 + 4
    assert max(map(len, chunks)) < CHUNK_BYTES + 70_000
    other = ShardStore()
    for _ in other.restoring(chunks):
        pass
    assert other.view() == store.view()
    assert (other.bytes_used, len(other.holds)) == (store.bytes_used, 10)
