"""A store whose values come in pieces against the model of `test_store_model.py`.

Goal: nobody who reads can tell in what form a value came. Method: the model's commands run on a
store that takes some of their values in pieces, between pieces of others which come twice, never,
or too late; snapshots are taken in between.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.state_machine import Command, decode_batch, encode_batch
from quorumcache.node.store.commands import (
    BLOCK_OPS,
    OP_APPEND,
    OP_DECR,
    OP_DROP_PIECES,
    OP_INCR,
    OP_PIECE,
    OP_PREPEND,
    OP_SESSION_OPEN,
    OP_STORE_PIECES,
)
from quorumcache.node.store.item import (
    PIECES,
    cas_unique,
    item_flags,
    item_value,
    value_bytes,
)
from quorumcache.node.store.large import PIECE_BYTES, joined
from quorumcache.node.store.results import ITEM, NON_NUMERIC, PIECE_STAGED, PIECES_MISSING
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.staging import Staging
from quorumcache.node.store.store import EXPIRED, ShardStore
from tests.property.test_store_model import Model, Steps, assert_consistent, batches, steps, wire
from tests.support.item_tables import item_of, items_of

KEYS = (b"a", b"b", b"c", b"d")


def value_in(store: ShardStore, item: bytes) -> bytes:
    value = store.value_of(item)
    if value is None:
        return item_value(item)
    joined_value = b"".join(value)
    assert len(joined_value) == value_bytes(item)
    return joined_value


def in_pieces(
    command: tuple[object, ...], upload: int, size: int, session: tuple[int, int, int] = (0, 0, 0)
) -> tuple[list[Command], Command] | None:
    """A model's command as the commands of an upload and the one that stores; None if it has no
    value of at least one byte."""
    op, key, *args = command
    if op not in BLOCK_OPS:
        return None
    extends = op in (OP_APPEND, OP_PREPEND)
    value = args[0] if extends else args[1]
    if not value:
        return None
    head = b"" if extends else b" %d %d\r\n" % (args[0], len(value))
    rest = () if extends else tuple(args[2:])
    cuts = [value[start : start + size] for start in range(0, len(value), size)]
    pieces = [
        (0, 0, 0, OP_PIECE, key, upload, position, len(value), piece)
        for position, piece in enumerate(cuts)
    ]
    return pieces, (*session, OP_STORE_PIECES, key, upload, (op, head, *rest))


@settings(max_examples=150, deadline=None)
@given(steps, st.data())
def test_values_in_pieces_against_the_model(steps: Steps, data: st.DataObject) -> None:
    store, model = ShardStore(), Model()
    latest_ms = index = upload = 0
    for now_ms, commands in batches(steps):
        latest_ms = max(latest_ms, now_ms)
        index += 1
        store.apply(index, now_ms, [])
        for command in commands:
            index += 1
            upload += 1
            item = store.lookup(command[1], latest_ms)
            if command[0] in (OP_INCR, OP_DECR) and isinstance(item, bytes) and item[0] & PIECES:
                # As in memcached, a value in pieces is no number.
                assert store.apply(index, now_ms, [wire(command)]) == [NON_NUMERIC]
                continue
            made = in_pieces(command, upload, data.draw(st.integers(1, 4)))
            batch = [wire(command)]
            if made is not None and data.draw(st.booleans()):
                pieces, last = made
                # Others of a value that is never stored, and repetitions, do not count.
                foreign = (0, 0, 0, OP_PIECE, last[4], -upload, 0, 9, b"foreign")
                tail = data.draw(st.permutations([*pieces[1:], pieces[0], foreign]))
                batch = [pieces[0], *tail, last]
            result = store.apply(*(index, now_ms, batch), None, 1 << 20)[-1]
            if type(result) is tuple and result[0] == ITEM:
                result = (ITEM, value_in(store, result[1]))
            assert result == model.run(latest_ms, *command), command
        if data.draw(st.booleans()):
            again = ShardStore()
            again.restore(b"".join(encode_view(store.view())))
            assert again.view() == store.view()
            assert again.digest() == store.digest()
            assert again.bytes_used == store.bytes_used
            store = again
        model.pass_time(latest_ms)
        for key in KEYS:
            item = store.lookup(key, latest_ms)
            entry = model.entries.get(key)
            assert (item not in (None, EXPIRED)) == (entry is not None)
            if entry is not None:
                found = (item_flags(item), value_in(store, item), cas_unique(item))
                assert found == (entry.flags, entry.value, entry.unique)
        assert_consistent(store)


@settings(max_examples=100, deadline=None)
@given(steps, st.data())
def test_a_value_in_pieces_is_stored_once(steps: Steps, data: st.DataObject) -> None:
    """Under a session a repetition, with the same upload or with another one, changes nothing and
    leaves nothing behind."""
    once, retried = ShardStore(), ShardStore()
    for store in (once, retried):
        store.apply(1, 1, [(7, 0, 0, OP_SESSION_OPEN, b"")])
    index, upload, sequence = 1, 0, 0
    for now_ms, commands in batches(steps):
        for command in commands:
            upload += 2
            sequence += 1
            made = in_pieces(command, upload, 2, (7, sequence, 1))
            if made is None:
                continue
            index += 1
            first = once.apply(index, now_ms, [*made[0], made[1]])[-1]
            assert retried.apply(index, now_ms, [*made[0], made[1]])[-1] == first
            other = upload + data.draw(st.integers(0, 1))
            again = in_pieces(command, other, 1, (7, sequence, 1))
            assert again is not None
            index += 1
            staged = again[0] if data.draw(st.booleans()) else []
            assert retried.apply(index, now_ms, [*staged, again[1]])[-1] == first
            assert not retried.staging.uploads
        assert items_of(retried.items) == items_of(once.items)
        assert retried.values == once.values
        assert_consistent(retried)


uploads = st.integers(1, 3)
staging_steps = st.lists(
    st.one_of(
        st.tuples(st.just(OP_PIECE), uploads, st.integers(0, 3), st.integers(0, 12)),
        st.tuples(st.just(OP_STORE_PIECES), uploads),
        st.tuples(st.just(OP_DROP_PIECES), uploads, st.sampled_from([0, 5])),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(staging_steps)
def test_pieces_of_two_uploads_never_meet(taken: list[tuple[int, ...]]) -> None:
    """Whatever comes in whatever order: what is stored consists of all pieces of its upload, and
    replicas agree, the accounts included."""
    store, replica = ShardStore(), ShardStore()
    lengths = {1: 3, 2: 6, 3: 7}
    for index, (kind, upload, *more) in enumerate(taken, 1):
        if kind == OP_PIECE:
            position = more[0]
            piece = b"%d%d%d" % (upload, position, upload)
            command = (0, 0, 0, OP_PIECE, b"a", upload, position, lengths[upload], piece)
        elif kind == OP_DROP_PIECES:
            command = (0, 0, 0, OP_DROP_PIECES, b"a", upload, more[0])
        else:
            inner = (1, b" 0 %d\r\n" % lengths[upload], 0)
            command = (0, 0, 0, OP_STORE_PIECES, b"a", upload, inner)
        before = store.items.get(b"a")
        (result,) = store.apply(index, index, [command])
        assert replica.apply(index, *decode_batch(encode_batch(index, [command]))) == [result]
        assert replica.digest() == store.digest()
        assert_consistent(store)
        if kind == OP_PIECE:
            assert result in (PIECE_STAGED, PIECES_MISSING)
        if kind == OP_STORE_PIECES and result != PIECES_MISSING:
            item = item_of(store.items, b"a")
            assert item[0] & PIECES
            whole = b"".join(b"%d%d%d" % (upload, p, upload) for p in range(lengths[upload] // 3))
            assert value_in(store, item) == whole
        elif kind == OP_STORE_PIECES:
            assert store.items.get(b"a") == before
        if kind == OP_STORE_PIECES:
            assert upload not in store.staging.uploads


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3 * PIECE_BYTES), max_size=6), st.integers(0, 5))
def test_joined_pieces_are_those_of_both_and_neither_too_long_nor_too_many(
    lengths: list[int], cut: int
) -> None:
    pieces = [bytes([number]) * length for number, length in enumerate(lengths)]
    first, second = joined(tuple(pieces[:cut]), ()), joined((), tuple(pieces[cut:]))
    whole = joined(first, second)
    assert b"".join(whole) == b"".join(pieces)
    assert all(0 < len(piece) <= PIECE_BYTES for piece in whole)
    value: tuple[bytes, ...] = ()
    for _ in range(5):
        value = joined(value, (b"x" * 10,))
    assert value == (b"x" * 50,)


def test_staging_is_empty_when_all_uploads_have_ended() -> None:
    staging = Staging()
    for upload in range(9):
        staging.stage(upload, 0, 10, b"12345", upload)
        staging.stage(upload, 1, 10, b"12345", upload)
    assert staging.take(0) == (b"12345", b"12345")
    assert staging.idle(100, 94) == [1, 2, 3, 4, 5, 6]
    for upload in staging.idle(1000, 10):
        staging.drop_idle(upload, 1000, 10)
    assert (staging.uploads, staging.reserved_bytes, staging.bytes_used) == ({}, 0, 0)
