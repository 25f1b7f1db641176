"""What waits for the disk: items in order, and the callbacks for when they are durable.

`Wal` adds what it is given and takes one frame's worth at a time. Nothing here bounds the queue:
the host stops feeding it, see `QUEUED_BYTES_MAX`.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from quorumcache.node.wal.format import Mark, WalRecord

FRAME_PAYLOAD_BYTES: Final = 4 << 20
"""A frame takes no further record once its entries hold this much, to bound one write, and the time
in which the frame is made: 2 ms."""

FRAME_ENTRIES_MAX: Final = 2048
"""Nor once they are so many: of one set in each, these are 300 KB and a millisecond. A replica that
is sent a long log while the disk is slow would make one of hundreds of thousands."""

FRAME_RECORDS_UNCOUNTED: Final = 8
"""So few records are not weighed: what one record may hold is bounded where entries are made."""

QUEUED_BYTES_MAX: Final = 64 << 20
"""So much may wait for the disk, in payload bytes: as much as a leader may leave uncommitted.
Beyond it the host takes nothing more in; a disk that hangs would otherwise fill the memory."""

OnDurable = Callable[[], None]


class AppendQueue:
    """Items that no frame has taken yet, and the callbacks of those that are not durable."""

    def __init__(self, items: Sequence[WalRecord | Mark]) -> None:
        self.items: list[WalRecord | Mark] = list(items)
        """Not taken yet."""
        self.payload_bytes = 0
        """Of the items that wait, as far as they were weighed; see `QUEUED_BYTES_MAX`."""
        self._callbacks: list[tuple[int, OnDurable]] = []
        """(count, callback), ordered: to be called once so many items, counted from the start,
        are durable."""
        self._added_count = len(self.items)
        """Items that were ever added."""
        self._taken_count = 0
        """Items that were ever taken. Invariant: <= _added_count."""

    def add(self, records: Sequence[WalRecord], on_durable: OnDurable) -> None:
        """Queue records, and the callback for when they and all before them are durable."""
        self.items.extend(records)
        self._added_count += len(records)
        self._callbacks.append((self._added_count, on_durable))

    @property
    def taken_count(self) -> int:
        """Items that were ever taken."""
        return self._taken_count

    def weigh(self, records: Sequence[WalRecord]) -> None:
        """Count the bytes of records that were added and that no frame has taken."""
        for record in records:
            self.payload_bytes += payload_bytes(record)

    def add_mark(self, mark: Mark, on_durable: OnDurable | None = None) -> None:
        """Queue a mark, and the callback for when it and all before it are durable."""
        self.items.append(mark)
        self._added_count += 1
        if on_durable is not None:
            self._callbacks.append((self._added_count, on_durable))

    def take(self) -> list[WalRecord | Mark]:
        """The items of the next frame: all that wait, or as much as one frame takes."""
        items = self.items
        self.items = []
        frame_bytes = frame_entries = 0
        if len(items) > FRAME_RECORDS_UNCOUNTED:
            for count, item in enumerate(items, 1):
                frame_bytes += payload_bytes(item)
                frame_entries += len(item[2]) if len(item) == 3 else 0
                if frame_bytes > FRAME_PAYLOAD_BYTES or frame_entries >= FRAME_ENTRIES_MAX:
                    self.items = items[count:]
                    del items[count:]
                    break
        self._taken_count += len(items)
        if not self.items:
            self.payload_bytes = 0
        elif self.payload_bytes:
            self.payload_bytes -= frame_bytes
        else:  # They found the disk idle, and were never weighed.
            self.payload_bytes = sum(map(payload_bytes, self.items))
        return items

    def take_callbacks(self) -> list[tuple[int, OnDurable]]:
        """The callbacks of what was taken, in order; each is given once."""
        if not self.items:
            due = self._callbacks
            self._callbacks = []
        else:
            taken_count = self._taken_count
            due = [entry for entry in self._callbacks if entry[0] <= taken_count]
            self._callbacks = self._callbacks[len(due) :]
        return due


def payload_bytes(item: WalRecord | Mark) -> int:
    """Bytes of its entries' payloads."""
    total = 0
    if len(item) == 3:
        for entry in item[2]:
            total += len(entry[3])
    return total
