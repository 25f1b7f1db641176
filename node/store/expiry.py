"""Which items end when: a lazy heap over a store's items.

The heap is an index of the leader's sweep and no part of the replicated state. An entry is a hint:
it counts only while the item under its key still ends at that time, and stale entries go when they
surface or when they are the majority.
"""

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from sys import getsizeof
from typing import Final

from quorumcache.node.store.item import ENDS, block_bytes, unpack_header

_STALE_ALLOWED: Final = 64
"""Stale entries that are never worth a rebuild."""

ENTRY_BYTES: Final = 64 + 48
"""What an entry takes beside its place in the heap and its key: a tuple, and a number with room for
a digit more, as a sum has it."""


class ExpiryHeap:
    """Entries `(expires_at_ms, key)`, earliest first.

    Invariant: every item with an expiry has an entry; at most `2 * live + 64` entries are held
    after `push`.
    """

    __slots__ = ("_entries", "_items", "_key_bytes")

    def __init__(self, items: Mapping[bytes, bytes]) -> None:
        """An index over `items`, which it only reads."""
        self._items = items
        self._entries: list[tuple[int, bytes]] = []
        self._key_bytes = 0
        """Of the keys of all entries."""
        self.rebuild(items.keys())

    def __len__(self) -> int:
        return len(self._entries)

    def memory_bytes(self, live_count: int) -> int:
        """What the index takes, of which `live_count` entries have the key that the items have.

        The key of a stale entry is its own: it was that of an item before.
        """
        entries = self._entries
        count = len(entries)
        if not count:
            return getsizeof(entries)
        stale_keys = self._key_bytes * max(0, count - live_count) // count
        return getsizeof(entries) + count * ENTRY_BYTES + stale_keys

    def push(self, expires_at_ms: int, key: bytes, live_count: int) -> None:
        """Note that `key` now ends at `expires_at_ms`; `live_count` is how many items have an
        expiry.
        """
        entries = self._entries
        heappush(entries, (expires_at_ms, key))
        self._key_bytes += block_bytes(len(key))
        if len(entries) > 2 * live_count + _STALE_ALLOWED:
            self.rebuild(dict.fromkeys(key for _, key in entries))

    def add(self, expires_at_ms: int, key: bytes) -> None:
        """Note that `key`, which has no entry, ends at `expires_at_ms`."""
        heappush(self._entries, (expires_at_ms, key))
        self._key_bytes += block_bytes(len(key))

    def rebuild(self, keys: Iterable[bytes]) -> None:
        """Start over from the items under `keys`."""
        items = self._items
        entries = []
        key_bytes = 0
        for key in keys:
            item = items.get(key)
            if item is not None and item[0] & ENDS:
                entries.append((unpack_header(item)[1], key))
                key_bytes += block_bytes(len(key))
        heapify(entries)
        self._entries = entries
        self._key_bytes = key_bytes

    def clear(self) -> None:
        """Forget everything: the items were flushed."""
        self._entries.clear()
        self._key_bytes = 0

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Up to `limit` pairs `(key, cas_unique)` of items that ended by `now_ms`, earliest first.

        Nothing is removed but stale entries: the log may lose the command that the caller makes of
        the answer, and then the next call has to find the same items again.
        """
        entries = self._entries
        items = self._items
        due: list[tuple[bytes, int]] = []
        taken: list[tuple[int, bytes]] = []
        while entries and entries[0][0] <= now_ms and len(due) < limit:
            entry = heappop(entries)
            self._key_bytes -= block_bytes(len(entry[1]))
            item = items.get(entry[1])
            if item is None or not item[0] & ENDS:
                continue
            _, ends, unique = unpack_header(item)
            if ends != entry[0] or (taken and taken[-1] == entry):
                continue
            taken.append(entry)
            due.append((entry[1], unique))
        for entry in taken:
            heappush(entries, entry)
            self._key_bytes += block_bytes(len(entry[1]))
        return due
