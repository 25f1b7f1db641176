"""What all groups of a node do in one turn, at most: the loop stands still for no longer. Pure.

A node that comes back hears at one moment that all its log holds is committed. A bound for each
group would bound nothing, since there are many. What is beyond the bound is applied in the next
turns, in the same order; between them the loop does what else there is.
"""

from __future__ import annotations

from typing import Final

APPLY_WORK_MAX: Final = 1 << 10
"""What is applied in a turn, beyond which the groups that have more to apply are held over: one for
each entry, and one for so many bytes of its payload as take about as long (`BYTES_PER_WORK`). Of
one set in each entry these are 650 sets, 2 ms; of a hundred they are 2,000, 1.5 ms."""

BYTES_PER_WORK: Final = 256
"""Payload that counts as one more entry."""


class TurnBounds:
    """One for a node. `begin` is called when a turn begins: what is done between two turns counts
    for the one before."""

    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work = 0
        """What was applied."""

    def begin(self) -> None:
        """A turn begins."""
        self.work = 0

    def applied(self, entries: int, payload_bytes: int) -> None:
        """A group has applied so much."""
        self.work += entries + payload_bytes // BYTES_PER_WORK

    @property
    def is_spent(self) -> bool:
        """No more is to be applied in this turn."""
        return self.work >= APPLY_WORK_MAX
