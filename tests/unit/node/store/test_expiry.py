"""The index of ends: finds all, finds again, stays small."""

from collections.abc import Mapping
from random import Random

from quorumcache.node.store.expiry import STEPS_MAX, ExpiryIndex, keys_of
from quorumcache.node.store.item import ENDS, pack_header, unpack_header, wire_data
from quorumcache.node.store.item_table import ItemTable, new_item_table
from tests.support.item_tables import items_of


def item(expires_at_ms: int, unique: int = 1) -> bytes:
    return pack_header(1 if expires_at_ms else 0, expires_at_ms, unique) + wire_data(0, b"x")


def made(items: Mapping[bytes, bytes], now_ms: int = 0) -> tuple[ItemTable, ExpiryIndex]:
    """A table of these items, and the index that was told of each."""
    table = new_item_table()
    index = ExpiryIndex(table)
    for key, packed in items.items():
        table.put(key, packed, 1)
        if packed[0] & ENDS:
            index.push(unpack_header(packed)[1], key, table.expiring, now_ms)
    return table, index


def test_due_in_order_and_again() -> None:
    items, index = made({b"a": item(30, 1), b"b": item(10, 2), b"c": item(20, 3), b"d": item(0, 4)})
    assert index.due(9, 10) == []
    assert index.due(20, 10) == [(b"b", 2), (b"c", 3)]
    assert index.due(20, 1) == [(b"b", 2)]
    assert index.due(99, 10) == [(b"b", 2), (b"c", 3), (b"a", 1)]
    items.remove(b"b")
    assert index.due(99, 10) == [(b"c", 3), (b"a", 1)]


def test_an_item_is_named_once_though_pushed_twice() -> None:
    _, index = made({b"a": item(10)})
    index.push(10, b"a", 1)
    index.push(5, b"a", 1)
    assert index.due(10, 10) == [(b"a", 1)]


def test_a_key_costs_one_byte_more_than_it_is_long() -> None:
    """Ends over a month: a second is a bucket of its own only where it is near."""
    random = Random(1)
    now_ms = 1_700_000_000_000
    ends = {b"%05d" % n: now_ms + random.randrange(30 * 86_400_000) for n in range(20_000)}
    index = ExpiryIndex(new_item_table())
    empty = index.memory_bytes
    for key, at_ms in ends.items():
        index.add(at_ms, key, now_ms)
    assert 20_000 * 6 <= index.memory_bytes < 20_000 * 8
    index.clear()
    assert index.memory_bytes <= empty + 500


def test_keys_of_all_lengths_come_out_as_they_went_in() -> None:
    keys = [bytes(length) for length in range(1, 251)]
    bucket = bytearray()
    for key in keys:
        bucket += key
        bucket.append(len(key))
    assert list(keys_of(bucket)) == keys[::-1]
    assert not bucket


def test_each_item_is_found_when_it_ends_and_not_before() -> None:
    """A month in steps, small and large. What was found is removed, as the log does it."""
    random = Random(2)
    now_ms = 1_000_000
    packed_items = {
        b"%d" % n: item(now_ms + random.choice((5_000, 600_000, 10**8, 10**9)) * n // 900)
        for n in range(1, 901)
    }
    items, index = made(packed_items, now_ms)
    while items:
        now_ms += random.choice((1, 500, 10_000, 1_000_000, 50_000_000))
        expected = {
            key for key, packed in items_of(items).items() if unpack_header(packed)[1] <= now_ms
        }
        found: set[bytes] = set()
        while due := index.due(now_ms, 64):
            found.update(key for key, _ in due)
            for key, _ in due:
                items.remove(key)
        assert found == expected
        assert len(index) >= len(items)


def test_a_crowd_that_ends_at_once_is_found_piece_by_piece() -> None:
    """One look takes a bounded number of keys, and says what is due among them."""
    items, index = made({b"%d" % n: item(10_000_000) for n in range(3 * STEPS_MAX)})
    looks = 0
    while items:
        looks += 1
        assert looks < 1000
        due = index.due(10_000_000, 500)
        assert len(due) <= 500
        for key, _ in due:
            items.remove(key)
    assert looks >= 3 * STEPS_MAX // 500


def test_entries_of_other_times_are_stale() -> None:
    items, index = made({b"a": item(10)})
    items.put(b"a", item(50), 1)
    index.push(50, b"a", 1)
    assert index.due(49, 10) == []
    items.put(b"a", item(0), 1)
    assert index.due(99, 10) == []


def test_the_heap_stays_within_its_bound() -> None:
    items, index = made({b"%d" % number: item(1000) for number in range(50)})
    for round_ in range(100):
        for key in items_of(items):
            items.put(key, item(1000 + round_), 1)
            index.push(1000 + round_, key, len(items))
            assert len(index) <= 2 * len(items) + 64
    assert len(index.due(10**6, 1000)) == 50
