"""What all groups of a node do in one turn, at most: the loop stands still for no longer. Pure.

A node that comes back finds a lot to be done at one moment: all that its log holds is committed,
and other nodes lack nothing or all. A bound for each group would be one of nothing, since there
are many. What is beyond a bound is done in the next turns, in the same order; between them the loop
does what else there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

APPLY_WORK_MAX: Final = 1 << 10
"""What is applied in a turn, beyond which the groups that have more to apply are held over: one for
each entry, and one for so many bytes of its payload as take about as long (`BYTES_PER_WORK`). Of
one set in each entry these are 650 sets, 2 ms; of a hundred they are 2,000, 1.5 ms."""

BYTES_PER_WORK: Final = 256
"""Payload that counts as one more entry."""

BEHIND_BYTES: Final = 128 << 10
"""Payload of entries that is sent in a turn to replicas which lack older entries than the newest.
Of one set in each entry these are 900, 2 ms: they are unpacked, packed and put into frames."""


class TurnBounds:
    """One for a node. `begin` is called when a turn begins: what is done between two turns counts
    for the one before."""

    __slots__ = ("behind_bytes", "work")

    def __init__(self) -> None:
        self.work = 0
        """What was applied."""
        self.behind_bytes = 0
        """Sent to replicas that are behind."""

    def begin(self) -> None:
        """A turn begins."""
        self.work = 0
        self.behind_bytes = 0

    def applied(self, entries: int, payload_bytes: int) -> None:
        """A group has applied so much."""
        self.work += entries + payload_bytes // BYTES_PER_WORK

    @property
    def is_spent(self) -> bool:
        """No more is to be applied in this turn."""
        return self.work >= APPLY_WORK_MAX


class TurnShare:
    """A `SendBudget`: what a group may send to its replicas that are behind. `refused` hears when
    that is nothing: the group needs another turn."""

    __slots__ = ("_bounds", "_refused")

    def __init__(self, bounds: TurnBounds, refused: Callable[[], None]) -> None:
        self._bounds = bounds
        self._refused = refused

    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        """See `SendBudget.take`."""
        granted = min(wanted, BEHIND_BYTES - self._bounds.behind_bytes)
        if granted <= 0:
            self._refused()
            return 0
        self._bounds.behind_bytes += granted
        return granted

    def give_back(self, size: int, doublings: int = 0) -> None:
        """See `SendBudget.give_back`."""
        self._bounds.behind_bytes -= size
