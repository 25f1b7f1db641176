"""The index of ends: finds all, finds again, stays small."""

from random import Random

from quorumcache.node.store.expiry import STEPS_MAX, ExpiryIndex
from quorumcache.node.store.item import pack_header, unpack_header, wire_data


def item(expires_at_ms: int, unique: int = 1) -> bytes:
    return pack_header(1 if expires_at_ms else 0, expires_at_ms, unique) + wire_data(0, b"x")


def test_due_in_order_and_again() -> None:
    items = {b"a": item(30, 1), b"b": item(10, 2), b"c": item(20, 3), b"d": item(0, 4)}
    index = ExpiryIndex(items)
    assert index.due(9, 10) == []
    assert index.due(20, 10) == [(b"b", 2), (b"c", 3)]
    assert index.due(20, 1) == [(b"b", 2)]
    assert index.due(99, 10) == [(b"b", 2), (b"c", 3), (b"a", 1)]
    del items[b"b"]
    assert index.due(99, 10) == [(b"c", 3), (b"a", 1)]


def test_an_item_is_named_once_though_pushed_twice() -> None:
    items = {b"a": item(10)}
    index = ExpiryIndex(items)
    index.push(10, b"a", 1)
    index.push(5, b"a", 1)
    assert index.due(10, 10) == [(b"a", 1)]


def test_the_memory_of_keys_is_counted_and_of_those_that_nobody_else_holds_the_keys_too() -> None:
    items = {b"%d" % number: item(1000) for number in range(1000)}
    index = ExpiryIndex(items)
    empty = ExpiryIndex({}).memory_bytes(0)
    of_places = index.memory_bytes(1000)
    assert empty + 8 * 1000 <= of_places < empty + 8 * 1000 * 5 // 4 + 300
    for key in items:
        items[key] = item(2000)
        index.push(2000, key, len(items), is_new=False)
    assert len(index) == 2000
    counted = index.memory_bytes(1000)
    assert of_places + 1000 * (8 + 48) <= counted < of_places + 1000 * (8 + 48) * 5 // 4
    assert index.memory_bytes(500) >= counted + 500 * 48 - 1000, "those of items that are gone"
    items.clear()
    while index.due(10**6, 1000):
        pass
    index.due(10**6, 1000)
    index.clear()
    assert index.memory_bytes(0) <= empty + 500


def test_a_key_costs_a_place_in_a_list_wherever_its_end_is() -> None:
    """Ends over a month: a second is a bucket of its own only where it is near."""
    random = Random(1)
    now_ms = 1_700_000_000_000
    ends = {b"%d" % n: now_ms + random.randrange(30 * 86_400_000) for n in range(20_000)}
    index = ExpiryIndex({})
    for key, at_ms in ends.items():
        index.add(at_ms, key, now_ms)
    assert index.memory_bytes(20_000) < 20_000 * 14


def test_each_item_is_found_when_it_ends_and_not_before() -> None:
    """A month in steps, small and large. What was found is removed, as the log does it."""
    random = Random(2)
    now_ms = 1_000_000
    items = {
        b"%d" % n: item(now_ms + random.choice((5_000, 600_000, 10**8, 10**9)) * n // 900)
        for n in range(1, 901)
    }
    index = ExpiryIndex(items)
    index.clear()
    for key, packed in items.items():
        index.add(unpack_header(packed)[1], key, now_ms)
    while items:
        now_ms += random.choice((1, 500, 10_000, 1_000_000, 50_000_000))
        expected = {key for key, packed in items.items() if unpack_header(packed)[1] <= now_ms}
        found: set[bytes] = set()
        while due := index.due(now_ms, 64):
            found.update(key for key, _ in due)
            for key, _ in due:
                del items[key]
        assert found == expected
        assert len(index) >= len(items)


def test_a_crowd_that_ends_at_once_is_found_piece_by_piece() -> None:
    """One look takes a bounded number of keys, and says what is due among them."""
    items = {b"%d" % n: item(10_000_000) for n in range(3 * STEPS_MAX)}
    index = ExpiryIndex(items)
    looks = 0
    while items:
        looks += 1
        assert looks < 1000
        due = index.due(10_000_000, 500)
        assert len(due) <= 500
        for key, _ in due:
            del items[key]
    assert looks >= 3 * STEPS_MAX // 500


def test_entries_of_other_times_are_stale() -> None:
    items = {b"a": item(10)}
    index = ExpiryIndex(items)
    items[b"a"] = item(50)
    index.push(50, b"a", 1)
    assert index.due(49, 10) == []
    items[b"a"] = item(0)
    assert index.due(99, 10) == []


def test_the_heap_stays_within_its_bound() -> None:
    items = {b"%d" % number: item(1000) for number in range(50)}
    index = ExpiryIndex(items)
    for round_ in range(100):
        for key in items:
            items[key] = item(1000 + round_)
            index.push(1000 + round_, key, len(items))
            assert len(index) <= 2 * len(items) + 64
    assert len(index.due(10**6, 1000)) == 50
