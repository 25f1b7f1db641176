"""The expiry heap: finds all, finds again, stays small."""

from quorumcache.node.store.expiry import ExpiryHeap
from quorumcache.node.store.item import pack_header, wire_data


def item(expires_at_ms: int, unique: int = 1) -> bytes:
    return pack_header(1 if expires_at_ms else 0, expires_at_ms, unique) + wire_data(0, b"x")


def test_due_in_order_and_again() -> None:
    items = {b"a": item(30, 1), b"b": item(10, 2), b"c": item(20, 3), b"d": item(0, 4)}
    heap = ExpiryHeap(items)
    assert heap.due(9, 10) == []
    assert heap.due(20, 10) == [(b"b", 2), (b"c", 3)]
    assert heap.due(20, 1) == [(b"b", 2)]
    assert heap.due(99, 10) == [(b"b", 2), (b"c", 3), (b"a", 1)]
    del items[b"b"]
    assert heap.due(99, 10) == [(b"c", 3), (b"a", 1)]


def test_an_item_is_named_once_though_pushed_twice() -> None:
    items = {b"a": item(10)}
    heap = ExpiryHeap(items)
    heap.push(10, b"a", 1)
    heap.push(5, b"a", 1)
    assert heap.due(10, 10) == [(b"a", 1)]


def test_the_memory_of_entries_is_counted_with_the_keys_that_only_they_hold() -> None:
    items = {b"%d" % number: item(1000) for number in range(50)}
    heap = ExpiryHeap(items)
    of_one = ExpiryHeap({}).memory_bytes(0)
    for key in items:
        items[key] = item(2000)
        heap.push(2000, key, len(items))
    assert len(heap) == 100
    counted = heap.memory_bytes(50)
    assert counted >= of_one + 100 * 112 + 50 * 48
    assert heap.memory_bytes(100) == counted - 50 * 48
    heap.due(10**6, 1000)
    assert len(heap) == 50, "stale ones have surfaced"
    assert heap.memory_bytes(50) < counted - 50 * 112 - 50 * 48
    heap.clear()
    assert heap.memory_bytes(0) == of_one


def test_entries_of_other_times_are_stale() -> None:
    items = {b"a": item(10)}
    heap = ExpiryHeap(items)
    items[b"a"] = item(50)
    heap.push(50, b"a", 1)
    assert heap.due(49, 10) == []
    items[b"a"] = item(0)
    assert heap.due(99, 10) == []


def test_the_heap_stays_within_its_bound() -> None:
    items = {b"%d" % number: item(1000) for number in range(50)}
    heap = ExpiryHeap(items)
    for round_ in range(100):
        for key in items:
            items[key] = item(1000 + round_)
            heap.push(1000 + round_, key, len(items))
            assert len(heap) <= 2 * len(items) + 64
    assert len(heap.due(10**6, 1000)) == 50
