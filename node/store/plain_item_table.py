"""The table of a shard's items, made of dicts: the form that runs from the sources.

`item_table.py` says what its methods do. Three dicts, key to stamp, are the queues: their order is
that of the queue, and their keys are the objects of the items' dict. All items with the same stamp
share one int.
"""

from collections.abc import Iterator
from itertools import islice
from sys import getsizeof
from typing import Final, cast

import msgpack

from quorumcache.node.state_machine import TIMED, Peeked
from quorumcache.node.store.item import (
    ENDS,
    ITEM_DATA,
    KEY_BYTES_MAX,
    PIECES,
    STALE,
    WON,
    item_cost,
    object_bytes,
    tells_length,
    unpack_header,
)
from quorumcache.node.store.stamps import FETCHED, HITS, HITS_MAX, PLANNED, SECOND_SHIFT, SMALL
from quorumcache.node.store.tables import shrink

SHARED_MAX: Final = 4096
"""Stamps of the past that are kept for sharing."""

HEAD_KEYS_MIN: Final = 64
HEAD_PARTS: Final = 16
"""Keys taken off the head of a queue at a time: one part of so many. Each look at a dict's head
passes over all that has left it, so it has to be worth it."""

SCANS_MAX: Final = 4
"""Scans that are remembered. One that was forgotten begins anew."""

_POSITION_BITS: Final = 40
"""Of a cursor: the place in the keys of its scan. Before it is the number of the scan."""

_BITS: Final = ENDS | STALE | WON | PIECES
_NO_END: Final = bytes(8)

_BIN_8: Final = 0xC4
_BIN_32: Final = 0xC6


def bin_at(data: bytes, offset: int) -> tuple[int, int]:
    """`(start, end)` of the contents of a binary string of msgpack; `(0, 0)` if it is not whole.
    ValueError if there is something else.
    """
    if offset >= len(data):
        return 0, 0
    kind = data[offset]
    if not _BIN_8 <= kind <= _BIN_32:
        raise ValueError(f"no binary string, but a byte {kind:#x}")
    start = offset + 1 + (1 << (kind - _BIN_8))
    if start > len(data):
        return 0, 0
    end = start + int.from_bytes(data[offset + 1 : start], "big")
    return (start, end) if end <= len(data) else (0, 0)


def check_item(key: bytes, item: bytes) -> None:
    """ValueError for what no table takes in."""
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise ValueError(f"a key of {len(key)} bytes")
    if (
        len(item) <= ITEM_DATA
        or item[0] & ~_BITS
        or not (item[0] & ENDS or item[1:9] == _NO_END)
        or (item[0] & PIECES and not tells_length(item))
    ):
        raise ValueError(f"an item of an unknown form: {item!r:.60}")


class PlainItemImage:
    """See `ItemImage`. Costs a copy of the dict, not of the items."""

    __slots__ = ("_is_open", "_items")

    def __init__(self, items: dict[bytes, bytes]) -> None:
        self._items = items
        self._is_open = True

    def __len__(self) -> int:
        return len(self._items)

    def chunks(self, bytes_max: int) -> Iterator[bytes]:
        """See `ItemImage.chunks`."""
        pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
        flat: list[bytes] = []
        size = 0
        for key, item in self.pairs():
            flat += (key, item)
            size += len(key) + len(item)
            if size >= bytes_max:
                yield pack(flat)
                flat = []
                size = 0
        if flat:
            yield pack(flat)

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """See `ItemImage.pairs`."""
        self._check()
        for key, item in self._items.items():
            yield key, item
            self._check()

    def _check(self) -> None:
        if not self._is_open:
            raise ValueError("the image is closed")

    def close(self) -> None:
        """See `ItemImage.close`."""
        self._is_open = False
        self._items = {}


class PlainItemTable:
    """See `ItemTable`."""

    __slots__ = (
        "_heads",
        "_items",
        "_new",
        "_now_s",
        "_object_bytes",
        "_queues",
        "_read",
        "_scan_number",
        "_scans",
        "_shared",
        "_written",
        "bytes_used",
        "expiring",
        "planned_bytes",
        "small_bytes",
    )

    def __init__(self) -> None:
        self._items: dict[bytes, bytes] = {}
        self._queues: tuple[dict[bytes, object], dict[bytes, object], dict[bytes, object]]
        self._queues = {}, {}, {}
        """SMALL, MAIN and PLANNED."""
        self._heads: tuple[dict[bytes, None], dict[bytes, None], dict[bytes, None]] = {}, {}, {}
        """The next keys of each queue, the next one last."""
        self.bytes_used = 0
        self.expiring = 0
        self.small_bytes = 0
        self.planned_bytes = 0
        self._object_bytes = 0
        """Sum of `object_bytes` over the items."""
        self._scans: dict[int, list[bytes]] = {}
        """By number: the keys of each scan, of which none has ended."""
        self._scan_number = 0
        self._shared: dict[int, object] = {}
        self._now_s = 0
        self._new: object = 0
        self._written: list[object] = []
        self._read: list[object] = []
        """The stamps of this second: of a new item, and by hits before, of an item that is stored
        again, and of one that is read."""
        self._look_at(1)

    @property
    def small_count(self) -> int:
        """See `ItemTable`."""
        return len(self._queues[0])

    @property
    def main_count(self) -> int:
        """See `ItemTable`."""
        return len(self._queues[1])

    @property
    def memory_bytes(self) -> int:
        """See `ItemTable`. Planned items, and keys that were taken off a queue's head, are few, and
        images live for a short time: none of them is counted.
        """
        tables = getsizeof(self._items) + getsizeof(self._queues[0]) + getsizeof(self._queues[1])
        return tables + max(0, self._object_bytes - self.bytes_used)

    @property
    def retired_bytes(self) -> int:
        """See `ItemTable`. It keeps nothing itself: images have a dict of their own."""
        return 0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    # -- items -----------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """See `ItemTable.get`."""
        return self._items.get(key)

    def peek_bits(self, key: bytes) -> int:
        """See `ItemTable.peek_bits`."""
        item = self._items.get(key)
        return -1 if item is None else item[0]

    def facts(self, key: bytes) -> tuple[int, int, int, int] | None:
        """See `ItemTable.facts`."""
        item = self._items.get(key)
        if item is None:
            return None
        bits, expires_at_ms, unique = unpack_header(item)
        return bits, expires_at_ms, unique, item_cost(key, item)

    def put(self, key: bytes, item: bytes, now_s: int) -> bytes | None:
        """See `ItemTable.put`."""
        check_item(key, item)
        if now_s != self._now_s:
            self._look_at(now_s)
        cost = item_cost(key, item)
        old = self._items.get(key)
        self._items[key] = item
        self.bytes_used += cost
        self._object_bytes += object_bytes(key, item)
        if item[0] & ENDS:
            self.expiring += 1
        if old is None:
            self._queues[0][key] = self._new
            self.small_bytes += cost
            return None
        old_cost = self._uncount(key, old)
        small, main, _ = self._queues
        queue = main
        stamp = queue.get(key)
        if stamp is None:
            queue = small
            stamp = queue.get(key)
            if stamp is not None:
                self.small_bytes += cost - old_cost
        if stamp is not None:
            queue[key] = self._written[cast(int, stamp) & HITS]
        else:
            self._leave(PLANNED, key)
            self.planned_bytes -= old_cost
            main[key] = self._new
        return old if old[0] & PIECES else b""

    def _uncount(self, key: bytes, old: bytes) -> int:
        """An item is not in the table any more. Answers its cost."""
        cost = item_cost(key, old)
        self.bytes_used -= cost
        self._object_bytes -= object_bytes(key, old)
        if old[0] & ENDS:
            self.expiring -= 1
        return cost

    def remove(self, key: bytes) -> bytes | None:
        """See `ItemTable.remove`."""
        old = self._items.pop(key, None)
        if old is None:
            return None
        self._note_moved(self.queue_of(key), -1, self._uncount(key, old))
        self._leave(self.queue_of(key), key)
        return old if old[0] & PIECES else b""

    def _leave(self, number: int, key: bytes) -> None:
        """Take a key out of its queue."""
        del self._queues[number][key]
        head = self._heads[number]
        if head:
            head.pop(key, None)

    def _note_moved(self, number: int, queue: int, cost: int) -> None:
        """An item of this cost leaves one queue for another, or for none (-1)."""
        if number == SMALL:
            self.small_bytes -= cost
        elif number == PLANNED:
            self.planned_bytes -= cost
        if queue == SMALL:
            self.small_bytes += cost
        elif queue == PLANNED:
            self.planned_bytes += cost

    def clear(self) -> None:
        """See `ItemTable.clear`."""
        self._items.clear()
        for queue in self._queues:
            queue.clear()
        for head in self._heads:
            head.clear()
        self._scans.clear()
        self.bytes_used = self.expiring = 0
        self.small_bytes = self.planned_bytes = self._object_bytes = 0

    def inherit(self, other: "PlainItemTable") -> None:
        """See `ItemTable.inherit`. What Python holds is freed in one step."""

    def tidy(self) -> int:
        """See `ItemTable.tidy`."""
        return shrink(self._items) + shrink(self._queues[0]) + shrink(self._queues[1])

    # -- hits and queues -------------------------------------------------------------------

    def _look_at(self, now_s: int) -> None:
        """It is this second now."""
        self._now_s = now_s
        stamps = [cast(object, now_s << SECOND_SHIFT | low) for low in range(8)]
        self._new = stamps[0]
        self._written = [stamps[min(hits + 1, HITS_MAX)] for hits in range(HITS_MAX + 1)]
        self._read = [stamps[FETCHED | min(hits + 1, HITS_MAX)] for hits in range(HITS_MAX + 1)]

    def serve(self, key: bytes, now_s: int) -> Peeked:
        """See `ItemTable.serve`."""
        item = self._items.get(key)
        if item is not None:
            if item[0]:
                return TIMED
            self.note_hit(key, now_s)
        return item

    def note_hit(self, key: bytes, now_s: int) -> None:
        """See `ItemTable.note_hit`. Each read passes here: it writes only what has changed."""
        if now_s != self._now_s:
            self._look_at(now_s)
        small, queue, planned = self._queues
        stamp = queue.get(key)
        if stamp is None:
            queue = small
            stamp = queue.get(key)
            if stamp is None:
                queue = planned
                stamp = queue.get(key)
                if stamp is None:
                    return
        new = self._read[cast(int, stamp) & HITS]
        if new is not stamp:
            queue[key] = new

    def stamp(self, key: bytes) -> int:
        """See `ItemTable.stamp`."""
        small, main, planned = self._queues
        found = main.get(key) or small.get(key) or planned.get(key)
        return 0 if found is None else cast(int, found)

    def queue_of(self, key: bytes) -> int:
        """See `ItemTable.queue_of`."""
        for number in range(3):
            if key in self._queues[number]:
                return number
        return -1

    def first(self, queue: int) -> bytes | None:
        """See `ItemTable.first`."""
        keys, head = self._queues[queue], self._heads[queue]
        if not head:
            if not keys:
                return None
            count = max(HEAD_KEYS_MIN, len(keys) // HEAD_PARTS)
            for key in reversed(list(islice(keys, count))):
                head[key] = None
        # Not the last of an iteration: that would pass over all that has left behind it, each time.
        key, _ = head.popitem()
        head[key] = None
        return key

    def move(self, key: bytes, queue: int, stamp: int) -> None:
        """See `ItemTable.move`."""
        number = self.queue_of(key)
        if number < 0:
            raise KeyError(key)
        self._leave(number, key)
        self._queues[queue][key] = self._share(stamp)
        if number != queue:
            self._note_moved(number, queue, item_cost(key, self._items[key]))

    def _share(self, stamp: int) -> object:
        """The stamp as an object that others have, too."""
        shared = self._shared
        found = shared.get(stamp)
        if found is None:
            if len(shared) >= SHARED_MAX:
                shared.clear()
            found = shared[stamp] = cast(object, stamp)
        return found

    # -- all of them -----------------------------------------------------------------------

    def keys_after(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """See `ItemTable.keys_after`. A scan goes through a copy of the keys."""
        number, position = cursor >> _POSITION_BITS, cursor & ((1 << _POSITION_BITS) - 1)
        keys = self._scans.get(number)
        if keys is None:
            position = 0
            keys = list(self._items)
            self._scan_number = number = self._scan_number + 1
            if len(self._scans) >= SCANS_MAX:
                del self._scans[next(iter(self._scans))]
            self._scans[number] = keys
        end = position + count
        items = self._items
        found = [key for key in keys[position:end] if key in items]
        if end >= len(keys):
            del self._scans[number]
            return 0, found
        return number << _POSITION_BITS | end, found

    def image(self) -> PlainItemImage:
        """See `ItemTable.image`."""
        return PlainItemImage(self._items.copy())

    def load(
        self, data: bytes, offset: int, count: int, now_s: int
    ) -> tuple[int, int, list[tuple[int, bytes]]]:
        """See `ItemTable.load`."""
        taken = 0
        ending: list[tuple[int, bytes]] = []
        while taken < count:
            key_start, key_end = bin_at(data, offset)
            if not key_end:
                break
            start, end = bin_at(data, key_end)
            if not end:
                break
            key, item = data[key_start:key_end], data[start:end]
            if item and item[0] & PIECES:
                check_item(key, item)
                break
            if key in self._items:
                raise ValueError(f"the key {key!r:.60} is there already")
            self.put(key, item, now_s)
            if item[0] & ENDS:
                ending.append((unpack_header(item)[1], key))
            taken += 1
            offset = end
        return offset, taken, ending
