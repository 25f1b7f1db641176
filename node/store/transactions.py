"""The transactions that a shard takes part in: holds of keys, prepared writes, decisions.
Replicated state.
"""

from typing import Any, Final

TXN_KEYS_MAX: Final = 128
"""Keys that a transaction checks or writes."""
TXN_BYTES_MAX: Final = 1 << 20
"""Keys and values of a transaction together."""

TransactionImage = tuple[Any, ...]
"""A prepared transaction, a decision or a finished transaction as snapshots hold it."""


class TransactionTable:
    """All that a shard knows of transactions."""

    __slots__ = ("holds",)

    def __init__(self) -> None:
        self.holds: dict[bytes, object] = {}
        """By key."""

    def __len__(self) -> int:
        """How many images there are."""
        return 0

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process, without the writes of prepared
        transactions."""
        return 0

    def images(self) -> tuple[TransactionImage, ...]:
        """The whole table as plain values, in its order."""
        return ()

    def add(self, image: TransactionImage) -> None:
        """Take in an entry of a snapshot, behind those that are there. Raises ValueError."""
        raise ValueError("an invalid transaction")
