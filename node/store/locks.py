"""The locks of a shard: who holds each, who waits for it, and until when. Replicated state.

A lock is no item: it is not evicted, it does not expire as items do, and a flush leaves it alone.
Its *lease* ends by the time of the log, so all replicas agree when.
"""

from typing import Any, Final

LOCKS_MAX: Final = 16_384
"""Locks of a shard that are held or waited for."""

LockImage = tuple[Any, ...]
"""A lock as snapshots hold it."""


class LockTable:
    """All locks of a shard, by name."""

    __slots__ = ("locks",)

    def __init__(self) -> None:
        self.locks: dict[bytes, object] = {}

    def __len__(self) -> int:
        return len(self.locks)

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process."""
        return 0

    def images(self) -> tuple[LockImage, ...]:
        """The whole table as plain values, in its order."""
        return ()

    def add(self, image: LockImage) -> None:
        """Take in a lock of a snapshot, behind those that are there. Raises ValueError."""
        raise ValueError("an invalid lock")
