"""Remembers which keys were evicted lately, by a fingerprint of a few bytes each.

A ghost queue of S3-FIFO (`eviction_queue.py`): a key that comes back soon after it was evicted was
evicted too early. A wrong answer costs a place in the wrong queue and nothing else, so a table
of fingerprints does, and no keys are kept.

A slot is 32 bits: 24 of the key's token, and 8 that tell in which sixteenth of a lifetime it was
written. A key has one slot, and takes it from whichever key was there.
"""

from array import array
from sys import getsizeof
from typing import Final

SLOTS_MIN: Final = 1 << 6
SLOTS_MAX: Final = 1 << 22
"""16 MiB: a shard with more items forgets its ghosts sooner."""

PARTS: Final = 16
"""Parts of a lifetime that are told apart."""

_LIFE_BITS: Final = 8
_LIFE_MASK: Final = (1 << _LIFE_BITS) - 1
_FINGERPRINT_MASK: Final = (1 << 24) - 1


class GhostTable:
    """See the module. Empty until the first `add`."""

    __slots__ = ("_left", "_part", "_slots", "count")

    def __init__(self) -> None:
        self._slots = array("I")
        self._part = 0
        """Number of the present part of a lifetime, modulo 256."""
        self._left = 1
        """Keys until the next part begins."""
        self.count = 0
        """About how many keys are remembered."""

    @property
    def memory_bytes(self) -> int:
        """What the table takes."""
        return getsizeof(self._slots)

    def clear(self) -> None:
        """Forget everything."""
        self._slots = array("I")
        self.count = 0

    def add(self, token: int, remembered: int) -> None:
        """Note a key by its token, of which the last 48 bits count. It is forgotten about
        `remembered` keys later, or when another one takes its slot.
        """
        slots = self._slots
        if not slots or (len(slots) < remembered and len(slots) < SLOTS_MAX):
            slots = self._grow(remembered)
        self._left -= 1
        if self._left <= 0:
            self._part = (self._part + 1) & _LIFE_MASK
            self._left = max(1, remembered // PARTS)
        self.count = min(self.count + 1, remembered)
        # A fingerprint of 0 would be an empty slot.
        fingerprint = ((token >> 24) & _FINGERPRINT_MASK) | 1
        slots[token & (len(slots) - 1)] = fingerprint << _LIFE_BITS | self._part

    def take(self, token: int) -> bool:
        """Whether the key was added and is not forgotten; it is, from now on."""
        slots = self._slots
        if not slots:
            return False
        place = token & (len(slots) - 1)
        slot = slots[place]
        if slot >> _LIFE_BITS != ((token >> 24) & _FINGERPRINT_MASK) | 1:
            return False
        slots[place] = 0
        if (self._part - slot) & _LIFE_MASK > PARTS:
            return False
        self.count = max(0, self.count - 1)
        return True

    def _grow(self, remembered: int) -> "array[int]":
        """Make room for so many keys.

        One bit more of the token then chooses the slot. That bit of the old keys is not known, so
        each stands in both places that it may have; the one that is wrong is forgotten in time.
        """
        slots = self._slots or array("I", bytes(4 * SLOTS_MIN))
        while len(slots) < remembered and len(slots) < SLOTS_MAX:
            slots = slots + slots
        self._slots = slots
        return slots
