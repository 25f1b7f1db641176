"""What the table of dicts counts for its objects. `test_item_table.py` tests what it does."""

from __future__ import annotations

from sys import getsizeof

import msgpack
import pytest

from quorumcache.node.store.item import object_bytes, pack_header, wire_data
from quorumcache.node.store.plain_item_table import (
    SCANS_MAX,
    PlainItemTable,
    bin_at,
)
from quorumcache.node.store.stamps import MAIN, SMALL


def item(length: int) -> bytes:
    return pack_header(0, 0, 1) + wire_data(0, b"x" * length)


@pytest.mark.parametrize("length", [0, 1, 100, 1000, 100_000])
def test_objects_are_counted(length: int) -> None:
    table = PlainItemTable()
    empty = table.memory_bytes
    objects = 0
    for number in range(100):
        key = b"%014d" % number
        table.put(key, item(length), 1)
        objects += getsizeof(key) + getsizeof(item(length))
    counted = table.bytes_used + table.memory_bytes
    tables = counted - 100 * object_bytes(b"%014d" % 0, item(length))
    assert empty <= tables < empty + 100 * 200
    assert objects <= counted - tables < objects + 100 * 48
    for number in range(100):
        table.put(b"%014d" % number, item(1), 1)
        table.remove(b"%014d" % number)
    assert table.bytes_used == 0
    assert table.memory_bytes <= empty + 100 * 200


def test_equal_stamps_are_one_object() -> None:
    table = PlainItemTable()
    keys = [b"%d" % number for number in range(100)]
    for key in keys:
        table.put(key, item(1), 1000)
    assert len(set(map(id, table._queues[SMALL].values()))) == 1
    for key in keys:
        table.note_hit(key, 1001)
    assert len(set(map(id, table._queues[SMALL].values()))) == 1
    for key in keys:
        table.move(key, MAIN, 5555)
    assert len(set(map(id, table._queues[MAIN].values()))) == 1


def test_tables_that_were_churned_get_smaller() -> None:
    table = PlainItemTable()
    for number in range(20_000):
        table.put(b"%d" % number, item(0), 1)
        table.remove(b"%d" % (number - 1000))
    before = table.memory_bytes
    assert table.tidy() > 0
    assert table.memory_bytes < before
    assert (len(table), table.first(SMALL)) == (1000, b"19000")


def test_few_scans_are_remembered() -> None:
    table = PlainItemTable()
    table.put(b"a", item(0), 1)
    table.put(b"b", item(0), 1)
    for _ in range(3 * SCANS_MAX):
        assert table.keys_after(0, 1)[0] != 0
    assert len(table._scans) == SCANS_MAX


def test_heads_of_binary_strings() -> None:
    for length in (0, 1, 255, 256, 65_535, 65_536):
        data = msgpack.packb(bytes(length), use_bin_type=True)
        start, end = bin_at(data, 0)
        assert (end, end - start) == (len(data), length)
        assert bin_at(data[:-1], 0) == (0, 0)
        assert bin_at(b"xx" + data, 2) == (start + 2, end + 2)
    assert bin_at(b"", 0) == (0, 0)
    with pytest.raises(ValueError, match="0x80"):
        bin_at(b"\x80", 0)
