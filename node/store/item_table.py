"""The items of one shard, by key, each in its place of a queue: what every form of the table does.

There are two forms. `plain_item_table.py` is made of dicts. The other one is native, has no Python
object per item, and comes with the compiled form of the node. Both behave alike in all that is
written here; only `memory_bytes`, the order of images and scans, and the numbers of cursors differ.

A key has 1 to 250 bytes. An item is packed as `item.py` tells: longer than its header, of no other
bits than the four, and without the bit ENDS the eight bytes of its end are zero; one with the bit
PIECES tells the length of its value. `put` and `load` raise ValueError for others. What comes out
of the table is, byte by byte, what was put into it. `stamps.py` has the queues and the stamps; each
`now_s` is a second as stamps have it, 1 to NOW_S_MAX.

Methods that take a key do nothing where there is no item under it, and answer as they say.
"""

from collections.abc import Iterator
from typing import Protocol, Self

from quorumcache.node.state_machine import Peeked
from quorumcache.node.store.plain_item_table import PlainItemTable


class ItemImage(Protocol):
    """The items of one moment. Later changes of the table do not show.

    While it is open the table keeps what it needs. After `close` nothing else may be called, and an
    iterator that is under way raises ValueError.
    """

    def __len__(self) -> int:
        """How many items there are."""

    def chunks(self, bytes_max: int) -> Iterator[bytes]:
        """All items as msgpack arrays `[key, item, key, item, ...]` of binary strings, each with
        the shortest heads that it can have. An array ends after the item with which the bytes of
        its keys and items come to `bytes_max` or more; none is empty. The order is always the same.
        """

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """All `(key, item)`, in the same order."""

    def close(self) -> None:
        """Let go of it. Again does nothing."""


class ItemTable(Protocol):
    """See the module."""

    @property
    def bytes_used(self) -> int:
        """Sum of `item_cost` of all items; the same for the same items."""

    @property
    def expiring(self) -> int:
        """How many items have an expiry (bit ENDS)."""

    @property
    def small_bytes(self) -> int:
        """Sum of `item_cost` of the items in SMALL."""

    @property
    def planned_bytes(self) -> int:
        """Sum of `item_cost` of the items in PLANNED."""

    @property
    def small_count(self) -> int:
        """How many items are in SMALL."""

    @property
    def main_count(self) -> int:
        """How many items are in MAIN."""

    @property
    def memory_bytes(self) -> int:
        """What the table takes now beside `bytes_used` and `retired_bytes`: its index, and what its
        items take beyond `item_cost`."""

    @property
    def retired_bytes(self) -> int:
        """What it keeps of items that are gone: while images are open, and for a while after.

        Apart from `memory_bytes`, by which a leader evicts: an item that leaves while an image has
        it frees nothing, so the leader would evict one after the other."""

    def __len__(self) -> int:
        """How many items there are."""

    def __contains__(self, key: object) -> bool:
        """Whether there is an item under a key."""

    def get(self, key: bytes) -> bytes | None:
        """The item under a key; None = there is none."""

    def peek_bits(self, key: bytes) -> int:
        """The bits (first byte) of the item under a key; -1 = there is none."""

    def facts(self, key: bytes) -> tuple[int, int, int, int] | None:
        """`(bits, expires_at_ms, cas_unique, item_cost)` of the item under a key, without a copy
        of it; None = there is none."""

    def put(self, key: bytes, item: bytes, now_s: int) -> bytes | None:
        """Place an item. What was there before: None = nothing, the whole old item if that had the
        bit PIECES, and else b"".

        A new key goes to the end of SMALL with the stamp `now_s << 3`. Otherwise the item stays at
        its place, with one hit more and not fetched: `now_s << 3 | min(hits + 1, 3)`. If it was in
        PLANNED it goes to the end of MAIN, with `now_s << 3`.
        """

    def remove(self, key: bytes) -> bytes | None:
        """Remove the item under a key, also from its queue. Answers as `put` does."""

    def serve(self, key: bytes, now_s: int) -> Peeked:
        """The item under a key if it has no bits: then it is hit (`note_hit`). TIMED if it has any,
        and None if there is no item."""

    def note_hit(self, key: bytes, now_s: int) -> None:
        """The item under a key was read: its stamp becomes `now_s << 3 | FETCHED | min(hits + 1,
        3)`. Its place stays."""

    def stamp(self, key: bytes) -> int:
        """The stamp of the item under a key; 0 = there is none."""

    def queue_of(self, key: bytes) -> int:
        """SMALL, MAIN or PLANNED; -1 = there is no item under the key."""

    def first(self, queue: int) -> bytes | None:
        """The key at the head of a queue, which has been there longest; None if it is empty."""

    def move(self, key: bytes, queue: int, stamp: int) -> None:
        """Put the item under a key at the end of a queue, which may be its own, with this stamp.
        KeyError if there is no item."""

    def keys_after(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """One step of a scan: the cursor of the next step, and keys that are there now, `count` of
        them or some thousands more; it may be fewer, or none. Cursor 0 begins a scan, and as an
        answer it ends it; other cursors are valid in this table alone.

        A key that is there all the time is named once at least, and mostly once only.
        """

    def clear(self) -> None:
        """Remove all items."""

    def inherit(self, other: Self) -> None:
        """Free what another table holds, in steps: it is empty then, unless it has open images. A
        large one that is just forgotten is freed in one step, which takes 29 ms per million items.
        """

    def tidy(self) -> int:
        """Give back memory that is not needed. How many entries were moved for it."""

    def image(self) -> ItemImage:
        """The items as they are now. Any number of images may be open."""

    def load(
        self, data: bytes, offset: int, count: int, now_s: int
    ) -> tuple[int, int, list[tuple[int, bytes]]]:
        """Take in items of a snapshot: up to `count` times a key and an item, both binary strings
        of msgpack, from `offset` on. New keys only; each is placed as by `put`.

        Answers the offset behind the last one that was taken, how many were taken, and
        `(expires_at_ms, key)` of those that have the bit ENDS. It stops before an item that is not
        whole in `data`, and before one with the bit PIECES. ValueError if the bytes are of another
        form, or name a key that is there: what came before was taken.
        """


_hash_seed: int = 0


def use_hash_seed(seed: int) -> None:
    """What the native tables that are made from now on put into the hash of their keys: a number of
    64 bits that no client can guess, or it could send keys that all meet in one place. Each process
    needs its own, too: items that come in the order of a table with the same seed, as those of a
    snapshot do, meet each other while their table grows. Without it, as in a simulation, it is 0.
    """
    global _hash_seed
    _hash_seed = seed


def new_item_table() -> ItemTable:
    """An empty table, of the form that this process runs."""
    try:
        from quorumcache.node.core.items import ItemTable as NativeItemTable
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return PlainItemTable()
    return NativeItemTable(_hash_seed)


def slab_free_bytes() -> int:
    """What all native tables of this process together keep of the system's memory for items to
    come: parts of slabs in which no item is (`core/item_slabs.h`). 0 where Python holds the items.
    """
    try:
        from quorumcache.node.core.items import slab_free_bytes as native_free_bytes
    except ImportError:
        return 0
    return native_free_bytes()
