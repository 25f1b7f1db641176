"""What each form of the table promises: the examples, and a walk beside a model.

The model (`Model`) is a dict and three lists, as slow as it is plain. The walk (`Walk`) does
everything that a table can, in any order, and compares all of both after each step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from quorumcache.node.state_machine import TIMED
from quorumcache.node.store.item import (
    ENDS,
    PIECES,
    STALE,
    WON,
    cas_unique,
    expires_at_ms,
    item_cost,
    pack_header,
    wire_data,
)
from quorumcache.node.store.item_table import (
    ItemImage,
    ItemTable,
    new_item_table,
    slab_free_bytes,
    use_hash_seed,
)
from quorumcache.node.store.stamps import FETCHED, MAIN, NOW_S_MAX, PLANNED, SMALL
from tests.support.item_tables import FORMS
from tests.support.native_core import native

Form = Callable[[], ItemTable]

SLAB_BYTES = 1 << 14
SPARE_SLABS_MAX = 64
"""As in core/item_slabs.h."""


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def form(request: pytest.FixtureRequest) -> Form:
    made: Form = request.param
    return made


@pytest.fixture
def table(form: Form) -> ItemTable:
    return form()


def plain(value: bytes = b"value", unique: int = 1, flags: int = 0, bits: int = 0) -> bytes:
    return pack_header(bits, 0, unique) + wire_data(flags, value)


def ending(ends: int, value: bytes = b"value", bits: int = 0) -> bytes:
    return pack_header(bits | ENDS, ends, 1) + wire_data(0, value)


def large(length: int, number: int, bits: int = 0, ends: int = 0) -> bytes:
    text = b" 0 %d\r\n" % length + number.to_bytes(8, "big")
    return pack_header(bits | PIECES | (ENDS if ends else 0), ends, 7) + text


ODD_TEXTS = [
    b"?",
    b" ",
    b"\r\n",
    b" 0 5\r\nvalue",
    b" 0 5\r\nvalue\r",
    b" 0 4\r\nvalue\r\n",
    b" 0 05\r\nvalue\r\n",
    b" 00 5\r\nvalue\r\n",
    b" 4294967296 5\r\nvalue\r\n",
    b" 99999999999 5\r\nvalue\r\n",
    b" -1 5\r\nvalue\r\n",
    b" +1 5\r\nvalue\r\n",
    b" 0  5\r\nvalue\r\n",
    b"  5\r\nvalue\r\n",
    b"_0 5\r\nvalue\r\n",
    b" 0 -5\r\nvalue\r\n",
    b" 0 5 \r\nvalue\r\n",
    b" 0 5\r\n\r\n",
    b" 0 0\r\n",
    b" \xb2 5\r\nvalue\r\n",
]
"""What follows the header of items that no command of today makes. They are kept all the same."""

ODD_HEADS = [
    b"",
    b" 0 5",
    b" 0 5\n",
    b"0 5\r\n",
    b" 5\r\n",
    b" 0  5\r\n",
    b" 0 5 \r\n",
    b" 0 5 5\r\n",
    b" 00 5\r\n",
    b" 0 05\r\n",
    b" 0 +5\r\n",
    b" 0 5_0\r\n",
    b" 0 \xb2\r\n",
    b" 4294967296 5\r\n",
    b" 0 4294967296\r\n",
    b" 0 99999999999\r\n",
]
"""Before the number of the value of a large item: none of these tells its length."""

ITEMS = [
    plain(),
    plain(b""),
    plain(b"\r\n"),
    plain(b"x" * 100, flags=2**32 - 1, unique=2**64 - 1),
    plain(b"x" * 300, flags=1),
    plain(b"x" * 70_000),
    plain(bits=STALE),
    plain(bits=WON | STALE, flags=10, unique=0),
    ending(1),
    ending(2**64 - 1, b"", STALE | WON),
    ending(0),
    large(5_000_000, 3),
    large(1 << 20, 2**63 + 1, bits=STALE, ends=55),
    *(pack_header(0, 0, 2) + text for text in ODD_TEXTS),
    *(pack_header(ENDS, 1000, 2) + text for text in ODD_TEXTS[:4]),
]

KEYS = [b"k", b"key", b"\0", b"\xff" * 3, b"a" * 250, b"b" * 250, b"c" * 249]


def contents(image: ItemImage) -> dict[bytes, bytes]:
    pairs = list(image.pairs())
    found = dict(pairs)
    assert len(found) == len(pairs) == len(image)
    return found


def items_of(table: ItemTable) -> dict[bytes, bytes]:
    image = table.image()
    try:
        return contents(image)
    finally:
        image.close()


def packed(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(msgpack.packb(part, use_bin_type=True) for pair in pairs for part in pair)


def drain(table: ItemTable, queue: int) -> list[bytes]:
    """The keys of a queue, from its head; each goes to the end of its queue again."""
    keys: list[bytes] = []
    while (key := table.first(queue)) is not None and key not in keys:
        keys.append(key)
        table.move(key, queue, table.stamp(key))
    return keys


# -- examples ----------------------------------------------------------------------------------


def test_the_table_of_this_process_is_one_of_the_forms() -> None:
    assert type(new_item_table()) in [type(form()) for form in FORMS]


def test_a_native_table_has_the_seed_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or clients could choose keys that all meet in one place."""
    stand_in = SimpleNamespace(ItemTable=lambda seed: ("native", seed))
    monkeypatch.setitem(sys.modules, "quorumcache.node.core.items", stand_in)
    try:
        assert new_item_table() == ("native", 0)
        use_hash_seed(7)
        assert new_item_table() == ("native", 7)
    finally:
        use_hash_seed(0)


def test_what_native_tables_keep_is_asked_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(slab_free_bytes=lambda: 5)
    monkeypatch.setitem(sys.modules, "quorumcache.node.core.items", stand_in)
    assert slab_free_bytes() == 5


def keys_that_meet(count: int) -> list[bytes]:
    """Keys of equal hashes in a native table whose seed is 0: the second word of each undoes what
    the first one does."""
    seed, mask = 0x589965CC75374CC3, (1 << 64) - 1
    begins = seed ^ 16 * 0x9E3779B97F4A7C15 & mask
    keys = []
    for number in range(count):
        product = (begins ^ number) * 0xD6E8FEB86659FD93
        folded = (product ^ product >> 64) & mask ^ seed
        keys.append(number.to_bytes(8, sys.byteorder) + folded.to_bytes(8, sys.byteorder))
    return keys


def test_keys_that_meet_in_a_table_without_a_seed_do_not_in_another_one() -> None:
    """All keys of equal hashes are in one part of a table, which a scan names at once."""
    items = native("items") or pytest.skip("there is no native core")
    keys = keys_that_meet(9000)
    largest = []
    for seed in (0, 12345):
        table = items.ItemTable(seed)
        for key in keys:
            table.put(key, plain(), 1)
        cursor, found = table.keys_after(0, 1)
        parts = [len(found)]
        while cursor:
            cursor, found = table.keys_after(cursor, 1)
            parts.append(len(found))
        largest.append(max(parts))
    assert largest[0] == len(keys)
    assert largest[1] <= 4096


def test_an_item_of_more_bytes_than_a_snapshot_can_say_is_refused() -> None:
    """Its copies would be cut off at 4 GiB. Nobody reads these bytes: they take no memory."""
    items = native("items") or pytest.skip("there is no native core")
    table = items.ItemTable()
    with pytest.raises(ValueError, match="no packed item"):
        table.put(b"k", bytes(1 << 32), 1)
    assert len(table) == 0


def test_an_empty_table(table: ItemTable) -> None:
    assert (len(table), table.bytes_used, table.expiring) == (0, 0, 0)
    assert (table.small_bytes, table.planned_bytes) == (0, 0)
    assert (table.small_count, table.main_count) == (0, 0)
    assert table.memory_bytes >= 0
    assert b"k" not in table
    assert table.get(b"k") is None
    assert table.peek_bits(b"k") == -1
    assert table.facts(b"k") is None
    assert table.remove(b"k") is None
    assert table.serve(b"k", 1) is None
    table.note_hit(b"k", 1)
    assert table.stamp(b"k") == 0
    assert table.queue_of(b"k") == -1
    assert [table.first(queue) for queue in (SMALL, MAIN, PLANNED)] == [None] * 3
    with pytest.raises(KeyError):
        table.move(b"k", MAIN, 8)
    assert table.keys_after(0, 10) == (0, [])
    assert table.tidy() >= 0
    image = table.image()
    assert (len(image), list(image.chunks(10)), list(image.pairs())) == (0, [], [])
    image.close()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("item", ITEMS)
def test_what_is_put_comes_out_as_it_was(table: ItemTable, key: bytes, item: bytes) -> None:
    assert table.put(key, item, 5) is None
    assert table.get(key) == item
    assert key in table
    assert len(table) == 1
    assert table.peek_bits(key) == item[0]
    cost = item_cost(key, item)
    assert table.facts(key) == (item[0], expires_at_ms(item), cas_unique(item), cost)
    assert (table.bytes_used, table.small_bytes) == (cost, cost)
    assert table.expiring == (1 if item[0] & ENDS else 0)
    assert items_of(table) == {key: item}
    assert table.put(key, item, 6) == (item if item[0] & PIECES else b"")
    assert table.get(key) == item
    assert table.remove(key) == (item if item[0] & PIECES else b"")
    assert (len(table), table.bytes_used, table.small_bytes, table.expiring) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("key", "item"),
    [
        (b"", plain()),
        (b"k" * 251, plain()),
        (b"k", b""),
        (b"k", bytes(17)),
        (b"k", pack_header(0, 1, 0) + wire_data(0, b"")),
        (b"k", pack_header(16, 0, 0) + wire_data(0, b"")),
        (b"k", pack_header(0xFF, 7, 0) + wire_data(0, b"")),
        (b"k", pack_header(PIECES, 0, 0) + b"no length" + bytes(8)),
        (b"k", pack_header(PIECES, 0, 0) + b" 0 x\r\n" + bytes(8)),
        *((b"k", pack_header(PIECES, 0, 0) + text + bytes(8)) for text in ODD_HEADS),
    ],
)
def test_what_no_item_is_like_is_refused(table: ItemTable, key: bytes, item: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        table.put(key, item, 1)
    assert len(table) == 0
    assert table.bytes_used == 0
    with pytest.raises(ValueError, match=r"\w"):
        table.load(packed([(key, item)]), 0, 1, 1)
    assert len(table) == 0


def test_one_without_bits_is_served_and_hit(table: ItemTable) -> None:
    table.put(b"plain", plain(), 1)
    assert table.serve(b"plain", 2) == plain()
    assert table.stamp(b"plain") == 2 << 3 | FETCHED | 1
    for second in range(3, 8):
        table.serve(b"plain", second)
    assert table.stamp(b"plain") == 7 << 3 | FETCHED | 3
    for item in (ending(9), plain(bits=STALE), plain(bits=WON), large(1, 3)):
        table.put(b"k", item, 2)
        before = table.stamp(b"k")
        assert table.serve(b"k", 9) is TIMED
        assert table.stamp(b"k") == before
        table.note_hit(b"k", 9)
        assert table.stamp(b"k") & FETCHED


def test_stamps_tell_the_last_second(table: ItemTable) -> None:
    table.put(b"k", plain(), NOW_S_MAX)
    assert table.stamp(b"k") == NOW_S_MAX << 3
    table.note_hit(b"k", NOW_S_MAX)
    assert table.stamp(b"k") == NOW_S_MAX << 3 | FETCHED | 1
    table.move(b"k", MAIN, NOW_S_MAX << 3 | 7)
    assert table.stamp(b"k") == NOW_S_MAX << 3 | 7


def test_a_store_keeps_the_place_and_adds_a_hit(table: ItemTable) -> None:
    for key in (b"a", b"b", b"c"):
        table.put(key, plain(), 1)
    table.note_hit(b"a", 2)
    table.put(b"a", plain(b"another, which is longer"), 3)
    assert table.stamp(b"a") == 3 << 3 | 2
    assert drain(table, SMALL) == [b"a", b"b", b"c"]
    table.move(b"b", MAIN, 8)
    table.put(b"b", plain(), 4)
    assert (table.queue_of(b"b"), table.stamp(b"b")) == (MAIN, 4 << 3 | 1)


def test_a_planned_item_that_is_stored_goes_to_the_main_queue(table: ItemTable) -> None:
    for key in (b"a", b"b"):
        table.put(key, plain(), 1)
        table.move(key, MAIN, 8)
    table.move(b"a", PLANNED, 15)
    assert table.planned_bytes == item_cost(b"a", plain())
    assert table.stamp(b"a") == 15
    table.note_hit(b"a", 2)
    assert table.queue_of(b"a") == PLANNED
    table.put(b"a", plain(b"anew"), 3)
    assert table.planned_bytes == 0
    assert (table.queue_of(b"a"), table.stamp(b"a")) == (MAIN, 3 << 3)
    assert drain(table, MAIN) == [b"b", b"a"]


def test_a_queue_is_first_in_first_out(table: ItemTable) -> None:
    """Also when some leave from the middle, and come back to the end."""
    keys = [b"%d" % number for number in range(1000)]
    for key in keys:
        table.put(key, plain(), 1)
    assert table.first(SMALL) == keys[0]
    for key in keys[::3]:
        table.remove(key)
    for key in keys[1::3]:
        table.move(key, MAIN, 8)
    for key in keys[:60:3]:
        table.put(key, plain(), 2)
    left = [table.first(SMALL)]
    while (key := table.first(SMALL)) is not None:
        left.append(key)
        table.remove(key)
    assert left == [left[0], *keys[2::3], *keys[:60:3]]
    assert drain(table, MAIN) == keys[1::3]


def test_a_scan_names_each_key_that_stays(table: ItemTable) -> None:
    stays = {b"stays %d" % number for number in range(500)}
    for number in range(500):
        table.put(b"stays %d" % number, plain(), 1)
        table.put(b"goes %d" % number, plain(), 1)
    seen: list[bytes] = []
    cursor, number = 0, 0
    while True:
        cursor, keys = table.keys_after(cursor, 7)
        assert all(key in table for key in keys)
        seen += keys
        for _ in range(20):
            table.remove(b"goes %d" % number)
            table.put(b"comes %d" % number, plain(), 1)
            number += 1
        if not cursor:
            break
        assert number < 1_000_000
    assert stays <= set(seen)
    assert len(seen) <= 4 * len(set(seen))


def test_scans_do_not_disturb_each_other(table: ItemTable) -> None:
    keys = {b"%d" % number for number in range(100)}
    for key in keys:
        table.put(key, plain(), 1)
    for _ in range(10):
        table.keys_after(0, 5)  # Nobody goes on with these.
    cursors, seen = [0, 0], [set[bytes](), set[bytes]()]
    ended = [False, False]
    while not all(ended):
        for place in (0, 1):
            if not ended[place]:
                cursors[place], found = table.keys_after(cursors[place], 9)
                seen[place] |= set(found)
                ended[place] = not cursors[place]
    assert seen == [keys, keys]


def test_a_cleared_table_is_like_a_new_one(table: ItemTable) -> None:
    for number, item in enumerate(ITEMS):
        table.put(b"%d" % number, item, 1)
    table.move(b"0", PLANNED, 8)
    table.move(b"1", MAIN, 8)
    cursor, _ = table.keys_after(0, 1)
    image = table.image()
    table.clear()
    test_an_empty_table(table)
    assert table.keys_after(cursor, 1) == (0, [])
    assert len(contents(image)) == len(ITEMS)
    image.close()
    table.put(b"0", plain(), 1)
    assert (table.first(SMALL), table.first(MAIN), table.first(PLANNED)) == (b"0", None, None)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 100, 40_000])
def test_chunks_are_the_arrays_of_a_snapshot(table: ItemTable, count: int) -> None:
    """With heads of one, three and five bytes, and binary strings of each length."""
    for number in range(count):
        table.put(b"%d" % number, plain(b"x" * (number % 300) if count < 1000 else b""), 1)
    if count == 100:
        table.put(b"large", plain(b"y" * 70_000), 1)
        table.put(b"longer", plain(b"z" * 65_536), 1)
    image = table.image()
    pairs = list(image.pairs())
    assert dict(pairs) == items_of(table)
    for bytes_max in (0, 1, 1000, 100_000, 1 << 40):
        expected, flat, size = [], list[bytes](), 0
        for key, item in pairs:
            flat += (key, item)
            size += len(key) + len(item)
            if size >= bytes_max:
                expected.append(msgpack.packb(flat, use_bin_type=True))
                flat, size = [], 0
        if flat:
            expected.append(msgpack.packb(flat, use_bin_type=True))
        assert list(image.chunks(bytes_max)) == expected
    image.close()


def test_an_image_stays_as_it_is(table: ItemTable) -> None:
    images = []
    for round_ in range(5):
        for number in range(round_, 200, round_ + 1):
            table.put(b"%d" % number, plain(b"%d" % round_ * (number + 1)), 1)
        for number in range(0, 200, 7 + round_):
            table.remove(b"%d" % number)
        images.append((table.image(), items_of(table)))
    table.clear()
    table.put(b"0", plain(), 1)
    assert contents(images[2][0]) == images[2][1]
    for image, expected in images:
        assert contents(image) == expected
        image.close()
        image.close()
    assert items_of(table) == {b"0": plain()}


def test_an_image_may_be_read_while_the_table_changes(table: ItemTable) -> None:
    for number in range(300):
        table.put(b"%d" % number, plain(b"before"), 1)
    expected = items_of(table)
    image = table.image()
    seen = {}
    for number, (key, item) in enumerate(image.pairs()):
        seen[key] = item
        table.put(b"%d" % number, plain(b"after, and longer than before"), 2)
        table.remove(b"%d" % (299 - number))
        table.put(b"new %d" % number, plain(), 2)
    assert seen == expected
    pieces = []
    for piece in image.chunks(500):
        pieces.append(piece)
        for _ in range(10):
            if (key := table.first(SMALL)) is not None:
                table.remove(key)
    flat = [part for piece in pieces for part in msgpack.unpackb(piece)]
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == expected
    image.close()


def test_a_closed_image_ends_its_iterators(table: ItemTable) -> None:
    for number in range(10):
        table.put(b"%d" % number, plain(), 1)
    image = table.image()
    pairs, chunks = image.pairs(), image.chunks(1)
    next(pairs)
    next(chunks)
    image.close()
    with pytest.raises(ValueError, match="closed"):
        next(pairs)
    with pytest.raises(ValueError, match="closed"):
        next(chunks)
    with pytest.raises(ValueError, match="closed"):
        next(image.pairs())


def test_an_image_lives_longer_than_its_table(form: Form) -> None:
    table = form()
    for number, item in enumerate(ITEMS):
        table.put(b"%d" % number, item, 1)
    expected = items_of(table)
    image = table.image()
    del table
    assert contents(image) == expected
    image.close()


def test_a_table_frees_in_steps_what_it_inherits(form: Form) -> None:
    old, new = form(), form()
    for number in range(50_000):
        old.put(b"%d" % number, plain(b"x" * 100), 1)
    new.put(b"k", plain(b"v"), 1)
    before, used = new.memory_bytes, new.bytes_used
    new.inherit(old)
    if new.retired_bytes:  # The Python form has nothing to free in steps.
        assert new.retired_bytes >= 50_000 * 100
        assert len(old) == old.bytes_used == old.retired_bytes == 0
        new.tidy()
        assert 0 < new.retired_bytes < 50_000 * 100, "not all at once"
    while new.tidy():
        pass
    assert new.retired_bytes == 0
    assert (new.memory_bytes, new.bytes_used, len(new)) == (before, used, 1)
    assert new.get(b"k") == plain(b"v")


def test_a_table_with_open_images_leaves_nothing_to_others(form: Form) -> None:
    old, new = form(), form()
    for number, item in enumerate(ITEMS):
        old.put(b"%d" % number, item, 1)
    expected = items_of(old)
    image = old.image()
    new.inherit(old)
    assert new.retired_bytes == 0
    del old
    assert contents(image) == expected
    image.close()


def test_a_table_inherits_what_another_has_retired(form: Form) -> None:
    old, new = form(), form()
    for table in (old, new):
        image = table.image()
        table.put(b"k", plain(b"x" * 100), 1)
        second = table.image()
        table.remove(b"k")
        image.close()
        second.close()
    retired = old.retired_bytes + new.retired_bytes
    new.inherit(old)
    assert new.retired_bytes == retired
    while new.tidy():
        pass
    assert new.retired_bytes == 0


def test_what_slabs_keep_for_items_to_come_is_told_and_is_little_in_the_end() -> None:
    items = native("items") or pytest.skip("there is no native core")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer sees single blocks: there are no slabs")
    before = items.slab_free_bytes()
    first, second = items.ItemTable(), items.ItemTable()
    for number in range(20_000):
        (first if number % 2 else second).put(b"%d" % number, plain(b"x" * 500), 1)
    assert items.slab_free_bytes() <= before + SLAB_BYTES
    second.clear()
    while second.tidy():
        pass
    # Items of both tables stood in turns, so each slab is half empty.
    assert 10_000 * 500 < items.slab_free_bytes() < before + 10_000 * 600
    for number in range(10_000):
        second.put(b"%d" % number, plain(b"x" * 500), 1)
    assert items.slab_free_bytes() <= before + SLAB_BYTES, "others use what is free"
    del first, second
    assert items.slab_free_bytes() <= before + (SPARE_SLABS_MAX + 1) * SLAB_BYTES


def test_items_that_stay_do_not_keep_a_slab_each() -> None:
    """Of items of a size that nobody uses any more some stay, and are moved in the queues."""
    items = native("items") or pytest.skip("there is no native core")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer sees single blocks: there are no slabs")
    before, table = items.slab_free_bytes(), items.ItemTable()
    for number in range(20_000):
        table.put(b"%d" % number, plain(b"x" * 600), 1)
    for number in range(20_000):
        if number % 20:
            table.remove(b"%d" % number)
    assert items.slab_free_bytes() > before + 19_000 * 500
    image = table.image()
    expected = contents(image)
    for number in range(0, 10_000, 20):
        table.move(b"%d" % number, MAIN, 2)
    assert items.slab_free_bytes() > before + 19_000 * 500, "what an image has stays where it is"
    assert contents(image) == expected
    image.close()
    for number in range(0, 20_000, 20):
        table.move(b"%d" % number, MAIN, 2)
    assert items.slab_free_bytes() < before + 200 * SLAB_BYTES
    assert items_of(table) == expected


def test_what_images_keep_is_not_counted_with_the_items(table: ItemTable) -> None:
    """Or whoever evicts while an image is open would find that it frees nothing."""
    for number in range(5000):
        table.put(b"%d" % number, plain(b"x" * 100), 1)
    used, memory = table.bytes_used, table.memory_bytes
    image = table.image()
    for number in range(0, 5000, 2):
        table.remove(b"%d" % number)
    for number in range(1, 5000, 2):
        table.put(b"%d" % number, plain(b"y" * 100), 1)
    assert table.bytes_used == used // 2
    assert table.memory_bytes <= memory
    assert len(contents(image)) == 5000
    image.close()
    while table.tidy():
        pass
    assert table.retired_bytes == 0
    assert table.memory_bytes <= memory
    image = table.image()
    table.clear()
    assert table.memory_bytes < 5000
    image.close()
    for number in range(5000):
        table.put(b"%d" % number, plain(b"x" * 100), 1)
    while table.tidy():
        pass
    assert table.retired_bytes == 0


def test_one_that_is_forgotten_costs_nothing(table: ItemTable) -> None:
    """Nobody closed it."""
    table.put(b"k", plain(), 1)
    image = table.image()
    iterator = image.chunks(1)
    del image, iterator
    table.put(b"k", plain(b"other"), 2)
    assert items_of(table) == {b"k": plain(b"other")}


# -- load --------------------------------------------------------------------------------------


def test_items_of_a_snapshot_are_loaded(table: ItemTable) -> None:
    pairs = [(b"%d" % number, plain(b"x" * number)) for number in range(300)]
    pairs += [
        (b"ends", ending(77)),
        (b"stale", plain(bits=STALE)),
        (b"later", ending(99, bits=WON)),
    ]
    pairs += [(b"k" * 250, plain(b"y" * 70_000))]
    data = b"before" + packed(pairs) + b"after"
    assert table.load(data, 6, len(pairs), 9) == (
        len(data) - 5,
        len(pairs),
        [(77, b"ends"), (99, b"later")],
    )
    assert items_of(table) == dict(pairs)
    assert table.bytes_used == table.small_bytes == sum(item_cost(*pair) for pair in pairs)
    assert table.expiring == 2
    assert table.small_count == len(pairs)
    assert {table.stamp(key) for key, _ in pairs} == {9 << 3}
    assert table.first(SMALL) == b"0"


def test_a_load_ends_after_its_count(table: ItemTable) -> None:
    pairs = [(b"%d" % number, plain()) for number in range(10)]
    data = packed(pairs)
    offset, taken, _ = table.load(data, 0, 4, 1)
    assert (taken, len(table)) == (4, 4)
    assert table.load(data, offset, 0, 1) == (offset, 0, [])
    assert table.load(data, offset, 100, 1) == (len(data), 6, [])
    assert table.load(data, len(data), 100, 1) == (len(data), 0, [])
    assert items_of(table) == dict(pairs)


def test_a_load_stops_before_what_is_not_whole(form: Form) -> None:
    data = packed([(b"a", plain()), (b"b" * 250, ending(5, b"y" * 300))])
    first = len(packed([(b"a", plain())]))
    for length in range(len(data)):
        table = form()
        found = table.load(data[:length], 0, 2, 1)
        assert found == ((0, 0, []) if length < first else (first, 1, []))
        assert len(table) == found[1]


@pytest.mark.parametrize("bits", [PIECES, PIECES | ENDS, PIECES | STALE])
def test_a_load_stops_before_large_items(table: ItemTable, bits: int) -> None:
    item = large(7, 3, bits, 9 if bits & ENDS else 0)
    pairs = [(b"a", plain()), (b"b", item), (b"c", plain())]
    assert table.load(packed(pairs), 0, 3, 1) == (len(packed(pairs[:1])), 1, [])
    assert list(items_of(table)) == [b"a"]


@pytest.mark.parametrize(
    "bad",
    [
        b"\x92",
        b"\xa3key",
        b"\xc0",
        b"\xc7\x01\x01a",
        packed([(b"a", plain())]),
        packed([(b"", plain())]),
        packed([(b"k" * 251, plain())]),
        packed([(b"k", bytes(17))]),
        packed([(b"k", b"")]),
        packed([(b"k", pack_header(0, 5, 0) + wire_data(0, b""))]),
        packed([(b"k", pack_header(16, 0, 0) + wire_data(0, b""))]),
        packed([(b"k", pack_header(0xFF, 7, 0) + wire_data(0, b""))]),
        b"\xc4\x01k\xa3key",
        b"\xc4\x01k\x00",
    ],
)
def test_a_load_refuses_what_is_malformed(table: ItemTable, bad: bytes) -> None:
    data = packed([(b"a", plain())]) + bad + packed([(b"z", plain())])
    with pytest.raises(ValueError, match=r"\w"):
        table.load(data, 0, 3, 1)
    assert items_of(table) == {b"a": plain()}
    assert table.bytes_used == item_cost(b"a", plain())


def test_any_head_of_a_binary_string_is_read(table: ItemTable) -> None:
    """Not only the shortest."""
    item = plain()
    data = b"\xc5\x00\x01a\xc6" + len(item).to_bytes(4, "big") + item
    assert table.load(data, 0, 1, 1) == (len(data), 1, [])
    assert items_of(table) == {b"a": item}


# -- a walk beside a model ---------------------------------------------------------------------


class Model:
    """The items, and the queues as lists of `[key, stamp]`."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.queues: list[list[list[Any]]] = [[], [], []]

    def place(self, key: bytes) -> tuple[int, list[Any]] | None:
        for number, queue in enumerate(self.queues):
            for entry in queue:
                if entry[0] == key:
                    return number, entry
        return None

    def answer(self, key: bytes) -> bytes | None:
        old = self.items.get(key)
        return old if old is None or old[0] & PIECES else b""

    def put(self, key: bytes, item: bytes, now_s: int) -> bytes | None:
        answer = self.answer(key)
        self.items[key] = item
        found = self.place(key)
        if found is None:
            self.queues[SMALL].append([key, now_s << 3])
        elif found[0] == PLANNED:
            self.move(key, MAIN, now_s << 3)
        else:
            found[1][1] = now_s << 3 | min((found[1][1] & 3) + 1, 3)
        return answer

    def remove(self, key: bytes) -> bytes | None:
        answer = self.answer(key)
        self.items.pop(key, None)
        found = self.place(key)
        if found is not None:
            self.queues[found[0]].remove(found[1])
        return answer

    def note_hit(self, key: bytes, now_s: int) -> None:
        found = self.place(key)
        if found is not None:
            found[1][1] = now_s << 3 | FETCHED | min((found[1][1] & 3) + 1, 3)

    def move(self, key: bytes, queue: int, stamp: int) -> None:
        found = self.place(key)
        assert found is not None
        self.queues[found[0]].remove(found[1])
        self.queues[queue].append([key, stamp])

    def cost(self, queue: int) -> int:
        return sum(item_cost(key, self.items[key]) for key, _ in self.queues[queue])


keys = st.sampled_from(KEYS) | st.integers(0, 40).map(lambda number: b"%d" % number)
seconds = st.sampled_from([1, 2, 3, 1000, NOW_S_MAX])
values = st.sampled_from([b"", b"v", b"0", b"x" * 90, b"y" * 511, b"\r\n\0", b"z" * 5000])
ordinary = st.builds(
    lambda value, flags, bits, ends, unique: (
        pack_header(bits | (ENDS if ends else 0), ends, unique) + wire_data(flags, value)
    ),
    values,
    st.sampled_from([0, 1, 65_536, 2**32 - 1]),
    st.sampled_from([0, 0, 0, STALE, WON, STALE | WON]),
    st.sampled_from([0, 0, 1, 2**40]),
    st.sampled_from([0, 1, 2**64 - 1]),
)
items = ordinary | st.sampled_from(ITEMS)


def walk_of(form: Form) -> type[RuleBasedStateMachine]:
    class Walk(RuleBasedStateMachine):
        images = Bundle("images")

        def __init__(self) -> None:
            super().__init__()
            self.table = form()
            self.model = Model()
            self.scan: list[bytes] = []
            self.cursor = 0
            self.scanned: set[bytes] = set()
            self.stayed: set[bytes] | None = None

        @rule(key=keys, item=items, now_s=seconds)
        def put(self, key: bytes, item: bytes, now_s: int) -> None:
            assert self.table.put(key, item, now_s) == self.model.put(key, item, now_s)

        @rule(first=st.integers(0, 500), count=st.integers(1, 300), item=items)
        def put_many(self, first: int, count: int, item: bytes) -> None:
            for number in range(first, first + count):
                key = b"many %d" % number
                assert self.table.put(key, item, 3) == self.model.put(key, item, 3)

        @rule(key=keys)
        def remove(self, key: bytes) -> None:
            assert self.table.remove(key) == self.model.remove(key)
            self._gone(key)

        @rule(queue=st.sampled_from([SMALL, MAIN, PLANNED]), count=st.integers(1, 300))
        def remove_first(self, queue: int, count: int) -> None:
            for _ in range(count):
                key = self.table.first(queue)
                if key is None:
                    break
                assert key == self.model.queues[queue][0][0]
                assert self.table.remove(key) == self.model.remove(key)
                self._gone(key)

        @rule(
            queue=st.sampled_from([SMALL, MAIN, PLANNED]),
            to=st.sampled_from([SMALL, MAIN, PLANNED]),
            count=st.integers(1, 100),
            stamp=st.sampled_from([8, 15, 8003, NOW_S_MAX << 3 | 7]),
        )
        def move_first(self, queue: int, to: int, count: int, stamp: int) -> None:
            for _ in range(count):
                key = self.table.first(queue)
                if key is None:
                    break
                assert key == self.model.queues[queue][0][0]
                self.table.move(key, to, stamp)
                self.model.move(key, to, stamp)

        @rule(key=keys, to=st.sampled_from([SMALL, MAIN, PLANNED]), stamp=st.just(20))
        def move(self, key: bytes, to: int, stamp: int) -> None:
            if key in self.model.items:
                self.table.move(key, to, stamp)
                self.model.move(key, to, stamp)
            else:
                with pytest.raises(KeyError):
                    self.table.move(key, to, stamp)

        @rule(key=keys, now_s=seconds)
        def note_hit(self, key: bytes, now_s: int) -> None:
            self.table.note_hit(key, now_s)
            self.model.note_hit(key, now_s)

        @rule(key=keys, now_s=seconds)
        def serve(self, key: bytes, now_s: int) -> None:
            item = self.model.items.get(key)
            if item is not None and item[0]:
                assert self.table.serve(key, now_s) is TIMED
                return
            assert self.table.serve(key, now_s) == item
            self.model.note_hit(key, now_s)

        @rule(key=keys)
        def look(self, key: bytes) -> None:
            table, item = self.table, self.model.items.get(key)
            assert table.get(key) == item
            assert (key in table) == (item is not None)
            found = self.model.place(key)
            if item is None or found is None:
                assert (table.peek_bits(key), table.facts(key)) == (-1, None)
                assert (table.queue_of(key), table.stamp(key)) == (-1, 0)
                return
            assert table.peek_bits(key) == item[0]
            facts = (item[0], expires_at_ms(item), cas_unique(item), item_cost(key, item))
            assert table.facts(key) == facts
            assert (table.queue_of(key), table.stamp(key)) == (found[0], found[1][1])

        @rule()
        def clear(self) -> None:
            self.table.clear()
            self.model = Model()
            self.stayed = set() if self.stayed is not None else None

        @rule()
        def tidy(self) -> None:
            assert self.table.tidy() >= 0

        @rule(pairs=st.lists(st.tuples(keys, ordinary), max_size=10), now_s=seconds)
        def load(self, pairs: list[tuple[bytes, bytes]], now_s: int) -> None:
            new = {key: item for key, item in pairs if key not in self.model.items}
            data = packed(list(new.items()))
            ends = [(expires_at_ms(item), key) for key, item in new.items() if item[0] & ENDS]
            assert self.table.load(data, 0, len(new), now_s) == (len(data), len(new), ends)
            for key, item in new.items():
                self.model.put(key, item, now_s)

        @rule(count=st.integers(1, 30))
        def scan_on(self, count: int) -> None:
            if self.stayed is None:
                self.stayed, self.scanned, self.cursor = set(self.model.items), set(), 0
            self.cursor, found = self.table.keys_after(self.cursor, count)
            assert set(found) <= set(self.model.items)
            self.scanned |= set(found)
            if not self.cursor:
                assert self.stayed <= self.scanned
                self.stayed = None

        def _gone(self, key: bytes) -> None:
            if self.stayed is not None:
                self.stayed.discard(key)

        @rule(target=images)
        def image(self) -> tuple[ItemImage, dict[bytes, bytes]]:
            return self.table.image(), dict(self.model.items)

        @rule(held=consumes(images), again=st.booleans(), target=images)
        def read_image(self, held: tuple[ItemImage, dict[bytes, bytes]], again: bool) -> Any:
            image, expected = held
            assert contents(image) == expected
            flat = [part for piece in image.chunks(300) for part in msgpack.unpackb(piece)]
            assert list(zip(flat[::2], flat[1::2], strict=True)) == list(image.pairs())
            if again:
                return held
            image.close()
            return multiple()

        @invariant()
        def counts_agree(self) -> None:
            table, model = self.table, self.model
            assert len(table) == len(model.items)
            costs = [model.cost(queue) for queue in (SMALL, MAIN, PLANNED)]
            assert table.bytes_used == sum(costs)
            assert (table.small_bytes, table.planned_bytes) == (costs[SMALL], costs[PLANNED])
            counts = len(model.queues[SMALL]), len(model.queues[MAIN])
            assert (table.small_count, table.main_count) == counts
            assert table.expiring == sum(item[0] & ENDS for item in model.items.values())
            assert table.memory_bytes >= 0
            for number, queue in enumerate(model.queues):
                assert table.first(number) == (queue[0][0] if queue else None)

        def teardown(self) -> None:
            assert items_of(self.table) == self.model.items
            for number, queue in enumerate(self.model.queues):
                for key, stamp in queue:
                    assert self.table.first(number) == key
                    assert self.table.stamp(key) == stamp
                    self.table.remove(key)
            assert len(self.table) == 0

    return Walk


def test_a_walk_beside_a_model(form: Form) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        walk_of(form), settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
