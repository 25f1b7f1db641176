"""Which items end when: keys in buckets of time, the coarser the farther away.

The index is one of the leader's sweep and no part of the replicated state. A key in it is a hint:
it counts only while its item still ends at a time of that bucket. Stale ones go when their bucket
is looked at, or when they are the majority.

A bucket is as long as a sixteenth to a thirty-second of the time until it, and a second at least.
When it has come, its keys move to finer ones, a few times in the life of an item. So there are some
hundred buckets, whatever is in them (a hierarchical timing wheel: Varghese and Lauck, "Hashed and
hierarchical timing wheels", 1987).

A bucket is a stack of keys in one bytearray, each followed by its length: one byte more than a key
is long, where a bytes object in a list would take 56 or more.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from sys import getsizeof
from typing import Final

from quorumcache.node.store.item import ENDS
from quorumcache.node.store.item_table import ItemTable

_STALE_ALLOWED: Final = 64
"""Stale keys that are never worth a rebuild."""

SHIFT_MIN: Final = 10
"""The finest bucket is 1024 ms long."""

PART_BITS: Final = 5
"""A bucket is shorter than the time until it by so many bits, less one."""

STEPS_MAX: Final = 1 << 13
"""Keys that one look takes out of a bucket: some milliseconds. Those left wait for the next one."""

_SHIFT_BITS: Final = 6


def pop_key(bucket: bytearray) -> bytes:
    """Take the last key out of a bucket that is not empty."""
    start = len(bucket) - 1 - bucket[-1]
    key = bytes(bucket[start:-1])
    del bucket[start:]
    return key


def keys_of(bucket: bytearray) -> Iterator[bytes]:
    """Take all keys out of a bucket."""
    while bucket:
        yield pop_key(bucket)


class ExpiryIndex:
    """See the module.

    Invariant: every item with an expiry is in the bucket of its end; at most `2 * live + 64` keys
    are held after `push`.
    """

    __slots__ = ("_buckets", "_count", "_items", "_starts")

    def __init__(self, items: ItemTable) -> None:
        """An empty index over `items`, which it only reads."""
        self._items = items
        self._buckets: dict[int, bytearray] = {}
        """By number: the time of the bucket in units of its length, and the bits of that length."""
        self._starts: list[tuple[int, int]] = []
        """A heap of when each bucket begins, with its number."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def memory_bytes(self) -> int:
        """What the index takes."""
        keys = sum([getsizeof(bucket) for bucket in self._buckets.values()])
        return getsizeof(self._buckets) + getsizeof(self._starts) + keys

    def push(self, expires_at_ms: int, key: bytes, live_count: int, now_ms: int = 0) -> None:
        """Note that `key` now ends at `expires_at_ms`; `live_count` is how many items have an
        expiry.
        """
        self.add(expires_at_ms, key, now_ms)
        if self._count > 2 * live_count + _STALE_ALLOWED:
            held = list(self._buckets.values())
            self.clear()
            self._rebuild((key for bucket in held for key in keys_of(bucket)), now_ms)

    def add(self, expires_at_ms: int, key: bytes, now_ms: int = 0) -> None:
        """Note that `key` ends at `expires_at_ms`. The index may grow without bound by this."""
        shift = SHIFT_MIN
        if expires_at_ms > now_ms:
            shift = max(SHIFT_MIN, (expires_at_ms - now_ms).bit_length() - PART_BITS)
        place = expires_at_ms >> shift
        number = place << _SHIFT_BITS | shift
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
            heappush(self._starts, (place << shift, number))
        bucket += key
        bucket.append(len(key))
        self._count += 1

    def _rebuild(self, keys: Iterable[bytes], now_ms: int) -> None:
        """Take in the items under `keys`, each once. Before, the index is empty."""
        items = self._items
        seen: set[bytes] = set()
        for key in keys:
            if key in seen:
                continue
            facts = items.facts(key)
            if facts is not None and facts[0] & ENDS:
                seen.add(key)
                self.add(facts[1], key, now_ms)

    def clear(self) -> None:
        """Forget everything: the items were flushed."""
        self._buckets.clear()
        self._starts.clear()
        self._count = 0

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Up to `limit` pairs `(key, cas_unique)` of items that ended by `now_ms`, earliest first
        but for what is in one bucket beyond `limit`.

        Nothing is removed but stale keys: the log may lose the command that the caller makes of
        the answer, and then the next call has to find the same items again.
        """
        items = self._items
        found: dict[bytes, tuple[int, int]] = {}
        kept: list[tuple[int, bytes]] = []
        """Ends and keys that stay in the index."""
        steps = STEPS_MAX + limit
        starts = self._starts
        while starts and starts[0][0] <= now_ms and len(found) < limit and steps > 0:
            number = starts[0][1]
            bucket = self._buckets[number]
            shift = number & ((1 << _SHIFT_BITS) - 1)
            while bucket and steps > 0:
                steps -= 1
                key = pop_key(bucket)
                self._count -= 1
                facts = items.facts(key)
                if facts is None or not facts[0] & ENDS:
                    continue
                ends, unique = facts[1], facts[2]
                if ends >> shift != number >> _SHIFT_BITS:
                    continue
                if ends <= now_ms:
                    if key in found:
                        continue
                    found[key] = ends, unique
                kept.append((ends, key))
            if not bucket:
                heappop(starts)
                del self._buckets[number]
        for ends, key in kept:
            self.add(ends, key, now_ms)
        due = sorted([(ends, key, unique) for key, (ends, unique) in found.items()])
        return [(key, unique) for _, key, unique in due[:limit]]
