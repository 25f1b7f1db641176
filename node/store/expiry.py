"""Which items end when: keys in buckets of time, the coarser the farther away.

The index is one of the leader's sweep and no part of the replicated state. A key in it is a hint:
it counts only while its item still ends at a time of that bucket. Stale ones go when their bucket
is looked at, or when they are the majority.

A bucket is as long as a sixteenth to a thirty-second of the time until it, and a second at least.
When it has come, its keys move to finer ones, a few times in the life of an item. So a key costs
one place in a list, and there are some hundred buckets, whatever is in them (a hierarchical timing
wheel: Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987).
"""

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from sys import getsizeof
from typing import Final

from quorumcache.node.store.item import ENDS, block_bytes, unpack_header

_STALE_ALLOWED: Final = 64
"""Stale keys that are never worth a rebuild."""

SHIFT_MIN: Final = 10
"""The finest bucket is 1024 ms long."""

PART_BITS: Final = 5
"""A bucket is shorter than the time until it by so many bits, less one."""

STEPS_MAX: Final = 1 << 13
"""Keys that one look takes out of a bucket: some milliseconds. Those left wait for the next one."""

_SHIFT_BITS: Final = 6


class ExpiryIndex:
    """See the module.

    Invariant: every item with an expiry is in the bucket of its end; at most `2 * live + 64` keys
    are held after `push`.
    """

    __slots__ = ("_buckets", "_count", "_items", "_key_bytes", "_own_count", "_starts")

    def __init__(self, items: Mapping[bytes, bytes]) -> None:
        """An index over `items`, which it only reads."""
        self._items = items
        self._buckets: dict[int, list[bytes]] = {}
        """By number: the time of the bucket in units of its length, and the bits of that length."""
        self._starts: list[tuple[int, int]] = []
        """A heap of when each bucket begins, with its number."""
        self._count = 0
        self._key_bytes = 0
        """Of all keys that are held."""
        self._own_count = 0
        """About how many of them were noted for items that there were already: the items' dict goes
        on to hold another key, which is equal."""
        self.rebuild(items.keys())

    def __len__(self) -> int:
        return self._count

    def memory_bytes(self, live_count: int) -> int:
        """What the index takes, for `live_count` items with an expiry; the keys that nobody else
        holds included, as far as it can tell.
        """
        count = self._count
        own = max(self._own_count, count - live_count)
        own_keys = self._key_bytes * min(own, count) // count if count > 0 and own > 0 else 0
        lists = sum([getsizeof(keys) for keys in self._buckets.values()])
        return getsizeof(self._buckets) + getsizeof(self._starts) + lists + own_keys

    def push(
        self,
        expires_at_ms: int,
        key: bytes,
        live_count: int,
        now_ms: int = 0,
        *,
        is_new: bool = True,
    ) -> None:
        """Note that `key` now ends at `expires_at_ms`; `live_count` is how many items have an
        expiry. `is_new`: there was no item under it before.
        """
        self.add(expires_at_ms, key, now_ms)
        if not is_new:
            self._own_count += 1
        if self._count > 2 * live_count + _STALE_ALLOWED:
            count, own = self._count, self._own_count
            held = list(self._buckets.values())
            self.clear()
            self.rebuild((key for keys in held for key in keys), now_ms)
            self._own_count = own * self._count // count

    def add(self, expires_at_ms: int, key: bytes, now_ms: int = 0) -> None:
        """Note that `key` ends at `expires_at_ms`. The index may grow without bound by this."""
        shift = SHIFT_MIN
        if expires_at_ms > now_ms:
            shift = max(SHIFT_MIN, (expires_at_ms - now_ms).bit_length() - PART_BITS)
        place = expires_at_ms >> shift
        number = place << _SHIFT_BITS | shift
        keys = self._buckets.get(number)
        if keys is None:
            self._buckets[number] = [key]
            heappush(self._starts, (place << shift, number))
        else:
            keys.append(key)
        self._count += 1
        self._key_bytes += block_bytes(len(key))

    def rebuild(self, keys: Iterable[bytes], now_ms: int = 0) -> None:
        """Take in the items under `keys`, each once. Before, the index is empty."""
        items = self._items
        seen: set[bytes] = set()
        for key in keys:
            if key in seen:
                continue
            item = items.get(key)
            if item is not None and item[0] & ENDS:
                seen.add(key)
                self.add(unpack_header(item)[1], key, now_ms)

    def clear(self) -> None:
        """Forget everything: the items were flushed."""
        self._buckets.clear()
        self._starts.clear()
        self._count = self._own_count = 0
        self._key_bytes = 0

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
        count = self._count
        starts = self._starts
        while starts and starts[0][0] <= now_ms and len(found) < limit and steps > 0:
            number = starts[0][1]
            keys = self._buckets[number]
            shift = number & ((1 << _SHIFT_BITS) - 1)
            while keys and steps > 0:
                steps -= 1
                key = keys.pop()
                self._count -= 1
                self._key_bytes -= block_bytes(len(key))
                item = items.get(key)
                if item is None or not item[0] & ENDS:
                    continue
                _, ends, unique = unpack_header(item)
                if ends >> shift != number >> _SHIFT_BITS:
                    continue
                if ends <= now_ms:
                    if key in found:
                        continue
                    found[key] = ends, unique
                kept.append((ends, key))
            if not keys:
                heappop(starts)
                del self._buckets[number]
        for ends, key in kept:
            self.add(ends, key, now_ms)
        if self._count != count:
            self._own_count = self._own_count * self._count // count
        due = sorted([(ends, key, unique) for key, (ends, unique) in found.items()])
        return [(key, unique) for _, key, unique in due[:limit]]
