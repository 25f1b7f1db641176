"""Goal: plain sets that are placed from their bytes leave what the general way leaves of them.

Method: each form reads payloads and places them in its table, beside a store that applies the same
commands one by one. Bytes that are no plain batch, or damaged, are read as such by all. Logs of all
kinds of entries, by either way: `tests/property/test_plain_sets.py`.
"""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.state_machine import BATCH_VERSION, NOT_USUAL, encode_batch
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_DELETE,
    OP_EVICT,
    OP_FLUSH,
    OP_PIECE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TICK,
    OP_TXN_PREPARE,
)
from quorumcache.node.store.exptime import RELATIVE_SECONDS_MAX
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.plain_item_table import PlainItemTable
from quorumcache.node.store.results import STORED
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from quorumcache.node.store.set_batches import SESSIONS_MAX, PlainSetBatches, new_set_batches
from quorumcache.node.store.store import ShardStore
from quorumcache.node.store.transactions import ABSENT
from tests.support.get_forms import FORMS, Form
from tests.support.item_tables import items_of

FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
NOW_MS = 5_000
NOW_S = 5
WALL_MS = 1_700_000_000_000
DATA = wire_data(0, b"x")
BIG = CLIENT_SESSION_MIN


def plain(
    key: bytes = b"k",
    session: int = 0,
    sequence: int = 0,
    floor: int = 0,
    data: bytes = DATA,
    exptime: int = 0,
) -> tuple[Any, ...]:
    return session, sequence, floor, OP_SET, key, data, exptime


def payload(*commands: Any) -> bytes:
    return encode_batch(NOW_MS, commands, WALL_MS)


def read(form: Form, batch: bytes) -> Any:
    return form.sets().read(batch, form.table())


def fields(*members: Any) -> bytes:
    packed: bytes = msgpack.packb(members)
    return packed


@FORM
def test_what_is_to_know_of_a_batch(form: Form) -> None:
    batch = payload(
        plain(b"a", 7, 3, 2),
        plain(b"b", BIG, 1, 1),
        plain(b"c", 7, 4, 3, exptime=9),
        plain(b"d", 0, 9, 12),
    )
    runs = [BIG, 1, 1, 1, 7, 3, 2, 3]
    assert read(form, batch) == (NOW_MS, WALL_MS, 1 << 20, 4, True, runs)
    assert read(form, payload(plain())) == (NOW_MS, WALL_MS, 1 << 20, 1, False, [])


OTHERS: dict[str, bytes] = {
    "no command": payload(),
    "another op": payload(plain(), (0, 0, 0, OP_ADD, b"k", DATA, 0)),
    "an op without arguments": payload((0, 0, 0, OP_DELETE, b"k")),
    "a victim before it": payload((0, 0, 0, OP_EVICT, b"", ((b"v", 1),)), plain()),
    "one argument more": payload((*plain(), 0)),
    "a key that is empty": payload(plain(b"")),
    "a key that is too long": payload(plain(b"k" * 251)),
    "a key of text": payload(plain("k")),  # type: ignore[arg-type]
    "no data": payload(plain(data=b"")),
    "a number of pieces": payload(plain(data=b" 0 1\r\n" + bytes(8))),
    "a Unix time": payload(plain(exptime=RELATIVE_SECONDS_MAX + 1)),
    "a time that is over": payload(plain(exptime=-1)),
    "a fraction": payload(plain(exptime=1.0)),  # type: ignore[arg-type]
    "a truth": payload(plain(sequence=True)),
    "a session that is too large": payload(plain(session=1 << 63)),
    "a gap": payload(plain(session=7, sequence=1), plain(session=7, sequence=3)),
    "a repetition": payload(plain(session=7, sequence=1), plain(session=7, sequence=1)),
    "a floor above its sequence": payload(plain(session=7, sequence=1, floor=2)),
    "a floor above the first": payload(
        plain(session=7, sequence=1), plain(session=7, sequence=2, floor=2)
    ),
    "many sessions": payload(*(plain(session=n + 1) for n in range(SESSIONS_MAX + 1))),
    "another version": fields(BATCH_VERSION + 1, 1, 1, 1, [plain()]),
    "a version of old": fields(1, [plain()]),
    "a time below 0": fields(BATCH_VERSION, -1, 1, 1, [plain()]),
    "a time that is too late": fields(BATCH_VERSION, (1 << 60) + 1, 1, 1, [plain()]),
    "a field more": fields(BATCH_VERSION, 1, 1, 1, [plain()], 0),
    "no array": msgpack.packb(7),
    "bytes behind it": payload(plain()) + b"\0",
    "nothing": b"",
}


@FORM
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_plain(form: Form, other: str) -> None:
    assert read(form, OTHERS[other]) is None


@FORM
def test_the_bounds_of_what_is_plain(form: Form) -> None:
    runs = [field for n in range(SESSIONS_MAX) for field in (n + 1, 1, 1, 1)]
    commands = [plain(b"k" * 250, n + 1, 1, 1, b"\n", RELATIVE_SECONDS_MAX) for n in range(8)]
    found = read(form, encode_batch(1 << 60, commands, 1 << 60, (1 << 63) - 1))
    assert found == (1 << 60, 1 << 60, (1 << 63) - 1, SESSIONS_MAX, True, runs)
    last = (1 << 63) - 1
    assert read(form, payload(plain(session=last, sequence=last, floor=last))) is not None


@FORM
def test_a_batch_that_ends_too_early_is_not_plain(form: Form) -> None:
    whole = payload(
        *(plain(b"k%d" % n, 7, n + 300, 200, wire_data(n, b"v" * 300)) for n in range(20))
    )
    assert read(form, whole) is not None
    for length in range(len(whole)):
        assert read(form, whole[:length]) is None


keys = st.sampled_from([b"a", b"b", b"c" * 250])
whole_texts = st.builds(wire_data, st.sampled_from([0, 7, (1 << 32) - 1]), st.binary(max_size=300))
texts = st.one_of(
    whole_texts,
    st.sampled_from([b"\n", b" 0 5\r\nx\r\n", b" 00 1\r\nx\r\n", b" 4294967296 1\r\nx\r\n"]),
)
exptimes = st.sampled_from([0, 0, 0, 1, 60, RELATIVE_SECONDS_MAX])
sets = st.lists(st.tuples(keys, texts, exptimes), min_size=1, max_size=20)


@FORM
@settings(max_examples=100, deadline=None)
@given(sets, sets)
def test_items_are_what_the_general_way_makes_of_them(form: Form, first: Any, second: Any) -> None:
    general = ShardStore()
    table, gate = form.table(), form.gate()
    gate.table = table
    gate.lease_until_ns = 1
    unique = grown = 0
    pushed: list[tuple[int, bytes]] = []
    for number, chosen in enumerate((first, second), 1):
        commands = [plain(key, data=text, exptime=exptime) for key, text, exptime in chosen]
        batch = payload(*commands)
        assert form.sets().read(batch, table) is not None
        new: list[bytes] = []
        before = set(items_of(table))
        grown += form.sets().place(batch, table, gate, unique, NOW_MS, NOW_S, pushed, [], new)
        assert set(new) == {key for key, _, _ in chosen} - before
        assert len(new) == len(set(new))
        unique += len(commands)
        general.apply(number, NOW_MS, commands, WALL_MS)
        assert general.cas_counter == unique
    assert items_of(table) == items_of(general.items)
    assert table.bytes_used == general.items.bytes_used == grown
    assert table.expiring == general.items.expiring
    for key in items_of(table):
        assert table.stamp(key) == general.items.stamp(key)
        assert table.queue_of(key) == general.items.queue_of(key)
    asked = [(NOW_MS + exptime * 1000, key) for key, _, exptime in (*first, *second) if exptime]
    assert pushed == asked


@FORM
def test_a_large_item_that_is_replaced_is_told(form: Form) -> None:
    table, gate = form.table(), form.gate()
    large = b"\x08" + bytes(16) + b" 0 2000000\r\n" + (5).to_bytes(8, "big")
    table.put(b"k", large, NOW_S)
    replaced: list[bytes] = []
    grown = form.sets().place(
        payload(plain(), plain()), table, gate, 0, NOW_MS, NOW_S, None, replaced, None
    )
    assert replaced == [large]
    assert grown < -2_000_000


@FORM
def test_what_cannot_be_read_is_not_placed(form: Form) -> None:
    table, gate = form.table(), form.gate()
    for damaged in (b"", payload(plain())[:-1]):
        with pytest.raises(Exception, match=r".*"):
            form.sets().place(damaged, table, gate, 0, NOW_MS, NOW_S, None, None, None)
    assert len(table) == 0


@FORM
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_are_plain_only_where_the_twin_finds_the_same(form: Form, data: Any) -> None:
    """The other way round it may not be: the twin takes numbers with more bytes than they need."""
    chosen = data.draw(sets)
    damaged = bytearray(
        payload(*(plain(k, 7, n + 1, 1, text, e) for n, (k, text, e) in enumerate(chosen)))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(60, len(damaged) - 1)))
        damaged[place] = data.draw(st.integers(0, 255))
    found = read(form, bytes(damaged))
    if found is not None:
        assert found == PlainSetBatches().read(bytes(damaged), PlainItemTable())


def test_the_process_has_a_form_of_its_own() -> None:
    assert type(new_set_batches()) in [type(form.sets()) for form in FORMS]


# -- the store, by whichever way ------------------------------------------------------------------


def usual(store: ShardStore, *commands: tuple[Any, ...], now_ms: int = NOW_MS) -> bool:
    return store.apply_usual(2, encode_batch(now_ms, commands, WALL_MS)) != NOT_USUAL


def test_plain_sets_are_usual_and_answered_stored() -> None:
    store = ShardStore()
    assert usual(store, plain(b"a"), plain(b"b", exptime=5))
    assert store.usual_result == STORED
    assert store.due_expirations(NOW_MS + 5000, 9) == [(b"b", 2)]


def test_while_keys_are_held_or_a_flush_waits_nothing_is_usual() -> None:
    store = ShardStore()
    hold = (OP_TXN_PREPARE, b"", b"1" * 16, 3, 100_000, ((b"k", ABSENT),), ())
    store.apply(1, NOW_MS, [(0, 0, 0, *hold)])
    assert not usual(store, plain(b"other"))
    store = ShardStore()
    store.apply(1, NOW_MS, [(0, 0, 0, OP_FLUSH, b"", 10)])
    assert not usual(store, plain())
    assert not usual(store, plain(), now_ms=NOW_MS + 11_000)
    store.apply(2, NOW_MS + 11_000, [(0, 0, 0, OP_TICK, b"")])
    assert usual(store, plain())


def test_a_repetition_is_not_usual_and_an_unknown_session_is_not() -> None:
    store = ShardStore()
    assert not usual(store, plain(session=7, sequence=1))
    store.apply(1, NOW_MS, [(7, 0, 0, OP_SESSION_OPEN, b"")])
    assert usual(store, plain(session=7, sequence=1))
    assert not usual(store, plain(session=7, sequence=1))
    assert store.cas_counter == 1
    assert usual(store, plain(session=7, sequence=5, floor=5))
    assert not usual(store, plain(session=7, sequence=4)), "it lies below the floor"


def test_a_large_item_that_a_plain_set_replaces_leaves_no_value() -> None:
    store = ShardStore()
    pieces = [
        (0, 0, 0, OP_PIECE, b"k", 5, 0, 100, b"p" * 100),
        (0, 0, 0, OP_STORE_PIECES, b"k", 5, (OP_SET, b" 0 100\r\n", 0)),
    ]
    store.apply(1, NOW_MS, pieces)
    assert len(store.values) == 1
    assert usual(store, plain(b"other"), plain())
    assert not store.values


def test_a_key_that_comes_back_goes_to_the_main_queue_either_way() -> None:
    either, general = ShardStore(), ShardStore()
    for store in (either, general):
        store.apply(1, NOW_MS, [plain(b"k%d" % n) for n in range(40)])
        evicted = tuple((b"k%d" % n, n + 1) for n in range(5))
        store.apply(2, NOW_MS, [(0, 0, 0, OP_EVICT, b"", evicted)])
    assert usual(either, plain(b"k3"), plain(b"new"))
    general.apply(3, NOW_MS, [plain(b"k3"), plain(b"new")])
    for key in (b"k3", b"new"):
        assert either.items.queue_of(key) == general.items.queue_of(key)
    assert either.items.queue_of(b"k3") != either.items.queue_of(b"new")
