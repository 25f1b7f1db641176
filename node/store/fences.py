"""Fencing tokens that a shard has seen, so that it can refuse what an old holder of a lock sends.
Replicated state.
"""

from typing import Any, Final

FENCED_LOCKS_MAX: Final = 16_384
"""Locks whose newest token a shard remembers by name."""

FenceImage = tuple[Any, ...]
"""An entry as snapshots hold it."""


class FenceTable:
    """The newest tokens, by lock, and the locks that guard keys."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: dict[bytes, int] = {}

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.seen)

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process."""
        return 0

    def check(self, lock: bytes, token: int, key: bytes) -> int | tuple[int, int | bytes] | None:
        """The refusal of a command for `key` that carries this token, or None: then it is noted."""
        raise NotImplementedError

    def images(self) -> tuple[FenceImage, ...]:
        """The whole table as plain values, in its order."""
        return ()

    def add(self, image: FenceImage) -> None:
        """Take in an entry of a snapshot, behind those that are there. Raises ValueError."""
        raise ValueError("an invalid fence")
