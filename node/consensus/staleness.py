"""How old a replica's state can at most be, by its own clock: measured, not assumed.

A replica stamps its heartbeat replies with its clock. A leader that holds a lease sends the newest
stamp it has of a replica back to it, with its commit index as `fresh_index`. What the pair says:

    everything that any replica had committed when the stamp was made lies at or below `fresh_index`

because the leader read its clock after the stamp had come, found its lease valid at that moment,
and only the holder of a valid lease commits anything. So a replica that has applied
`fresh_index` is behind by no more than its own clock has moved since the stamp. The statement is
about the past and cannot become wrong: it holds however late the message arrives, in whatever term,
and whichever replica leads then. The one thing to guard is the clock that a stamp was read from:
after a restart of the machine it counts from somewhere else, hence the number of the replica's life
in it. Only one clock is involved, so the rate at which clocks differ does not matter.

A stamp is an unsigned number of 64 bits, opaque to the leader; 0 is none:

    63          40 39                           0
    +-------------+------------------------------+
    | life        | clock, in units of 2**20 ns  |        rounded down: 1.05 ms at most
    +-------------+------------------------------+
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.values import Index

CLOCK_BITS: Final = 40
"""Units of a clock that a stamp can tell: 36 years. Beyond it stamps are not believed any more."""

UNIT_BITS: Final = 20

LIFE_BITS: Final = 24
"""Lives told apart: two neighbours are mistaken for each other once in 16 million restarts, and
that matters only if the clock was reset between them and an echo survived the restart."""

NO_STAMP: Final = 0


def make_stamp(life: int, now_ns: int) -> int:
    """A stamp of this clock reading, or of up to 2**UNIT_BITS ns before."""
    return (life << CLOCK_BITS) | ((now_ns >> UNIT_BITS) & ((1 << CLOCK_BITS) - 1))


def stamp_ns(stamp: int, life: int, now_ns: int) -> int:
    """The clock reading of a stamp of `life`; NEVER_NS for any other stamp.

    `now_ns` is any reading after the stamp was made: what lies above it is not ours.
    """
    if stamp == NO_STAMP or stamp >> CLOCK_BITS != life:
        return NEVER_NS
    read_ns = (stamp & ((1 << CLOCK_BITS) - 1)) << UNIT_BITS
    return read_ns if read_ns <= now_ns else NEVER_NS


class Freshness:
    """What one replica knows of the age of its state. Pure; fed by heartbeats."""

    __slots__ = ("_known_ns", "_waiting", "life")

    def __init__(self, life: int) -> None:
        self.life = life & ((1 << LIFE_BITS) - 1)
        self._known_ns = NEVER_NS
        """The state, as last asked for, holds all that was committed before this. Never shrinks."""
        self._waiting: list[tuple[int, Index]] = []
        """Statements whose index was not applied when last asked: (clock reading, fresh_index).
        The oldest and the newest only: the first is reached soonest, however far behind we are,
        and those between say less than the last."""

    def learn(self, read_ns: int, fresh_index: Index) -> None:
        """All that was committed at `read_ns` of our clock lies at or below `fresh_index`."""
        waiting = self._waiting
        if read_ns <= self._known_ns:
            return  # an old message, or one that was repeated
        if len(waiting) < 2:
            waiting.append((read_ns, fresh_index))
        elif read_ns > waiting[1][0]:
            waiting[1] = (read_ns, fresh_index)

    def known_ns(self, applied_index: Index) -> int:
        """The state at `applied_index` holds all that was committed before this clock reading.

        NEVER_NS if nothing is known. `applied_index` never shrinks between calls.
        """
        waiting = self._waiting
        while waiting and waiting[0][1] <= applied_index:
            self._reached(waiting.pop(0)[0])
        if waiting and waiting[-1][1] <= applied_index:
            self._reached(waiting.pop()[0])
        return self._known_ns

    def _reached(self, read_ns: int) -> None:
        if read_ns > self._known_ns:
            self._known_ns = read_ns
