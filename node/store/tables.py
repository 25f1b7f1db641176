"""Tables of a shard at the size that they need.

A dict that is full makes itself a table with room for three times its entries, rounded up to a
power of two. That suits one that grows. In a cache, where for each new item an old one leaves, the
places of those that left count as used, so a dict that stays as it is fills up again and again, and
takes twice the memory that it needs (54 to 108 bytes an entry instead of 27 to 54).
"""

from sys import getsizeof
from typing import Any, Final

ENTRIES_MIN: Final = 64
"""Of smaller tables there is nothing to gain."""

ENTRIES_MAX: Final = 1 << 16
"""Larger tables stay as they are: copying one would hold up the loop for 10 ms and more."""

FULL_PARTS: Final = 8
"""A table is not made so small that less than one part of so many is left free: it would have to
grow soon."""

_ENTRY_BYTES: Final = 24
_HEAD_BYTES: Final = 256
"""More than a dict and its table take beside the entries and their index."""


def least_bytes(count: int) -> int:
    """About what a dict of `count` entries takes that was made for them, and has some room left."""
    slots = 8
    while slots * 2 // 3 * (FULL_PARTS - 1) // FULL_PARTS < count:
        slots *= 2
    index_bytes = 1 if slots <= 1 << 7 else 2 if slots <= 1 << 15 else 4
    return slots * index_bytes + slots * 2 // 3 * _ENTRY_BYTES + _HEAD_BYTES


def shrink(table: dict[bytes, Any]) -> int:
    """Give a dict that has far too large a table a smaller one. Its order stays, and it is still
    the same dict. How many entries were moved.
    """
    count = len(table)
    if not ENTRIES_MIN <= count <= ENTRIES_MAX or getsizeof(table) < least_bytes(count) * 3 // 2:
        return 0
    # A dict that is made from another one is made for its entries. One that is empty takes over
    # the table of the first that it is updated from.
    copy = dict(table)
    table.clear()
    table.update(copy)
    return 2 * count
