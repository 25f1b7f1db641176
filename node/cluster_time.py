"""*Cluster time*, the time for items, and the wall clock that the cluster trusts. Pure.

Cluster time counts the milliseconds since the cluster was created, by the monotonic clocks of its
nodes. Spans (relative exptimes, delays, idle sessions) are measured in it, so no wall clock, right
or wrong, can make an item end early or keep it. Every node has a reading; it runs with the node's
monotonic clock and is never set back. Nodes tell each other theirs (`TIME` in `peers/items.py`),
and each goes on from the latest it has heard; so the readings differ by no more than what an item
needs on its way. The log holds the time of each entry, and is never contradicted.

A process that starts has no reading yet, only the times its disk holds. It is *settled* once it has
heard of a settled node, which is exact. If there is none (all were down), the first that leads
*bridges* the time in which no node ran, by wall clocks: what they show now, less what the log
says they showed. Of the clocks known then it takes the lower median, so that of three or two nodes
none alone can add to it.

The trusted wall clock is cluster time and an offset: the median of what the nodes' own clocks tell.
A clock that leaps alone moves no median. Where there is none without it (one node, or two that
disagree) the leap is distrusted until it has lasted for `LEAP_LASTS_MS`. The trusted clock is asked
for absolute exptimes and for the bridge only. The argument in full: docs/consistency.md, "Time".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock

CLOCKS_APART_MS: Final = 1000
"""Wall clocks that differ by more do not agree, and an offset that moves by more has leapt."""

LEAP_LASTS_MS: Final = 120_000
"""For how long a leap has to last that no majority of clocks confirms, before it is believed."""

HEARD_MS: Final = 2_500
"""What a node told of its clock counts for so long: five times `TELL_MS`. A dead link is known
after two seconds.
"""

TELL_MS: Final = 500
"""How often nodes tell each other their times."""

TIME_MS_MAX: Final = 1 << 60
"""No time that a peer tells may be larger."""

_MERGED_MS: Final = 100
"""A reading that moves by more was another bridge's: offsets told before do not fit it any more."""

_NS: Final = 1_000_000


class ClusterTime:
    """One node's reading. `tell` and `hear` are its words with the others, `look` its regular
    look at the wall clocks.
    """

    __slots__ = (
        "_ahead_ns",
        "_clock",
        "_found_ms",
        "_heard",
        "_leap_since_ms",
        "_leap_to_ms",
        "_monotonic_ns",
        "_wall_offset_ms",
        "bridged_ms",
        "is_settled",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic_ns = clock.monotonic_ns
        self._ahead_ns = -clock.monotonic_ns()
        """Cluster time less the monotonic clock. Never decreases."""
        self._wall_offset_ms: int | None = None
        """The trusted wall clock less cluster time; None while nothing is known of it."""
        self._found_ms = 0
        """The latest time that `found` was told. The reading is no earlier."""
        self._heard: dict[int, tuple[int, int]] = {}
        """Of each node heard of lately: its wall clock less its cluster time, and when (by ours).
        """
        self._leap_to_ms = 0
        self._leap_since_ms = -1
        """A leap that is distrusted, and since when; -1 = there is none."""
        self.is_settled = False
        """Only a settled node stamps entries."""
        self.bridged_ms = 0
        """What this process has added for a time in which no node ran."""

    # Asking -----------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Cluster time. Never decreases within one process."""
        return (self._monotonic_ns() + self._ahead_ns) // 1_000_000

    def wall_ms(self) -> int:
        """Unix time in milliseconds, by the clocks that are trusted; may step."""
        offset_ms = self._wall_offset_ms
        return self._clock.wall_ms() if offset_ms is None else self.now_ms() + offset_ms

    def stamp(self) -> tuple[int, int]:
        """`now_ms` and `wall_ms` of one moment."""
        now_ms = self.now_ms()
        offset_ms = self._wall_offset_ms
        return now_ms, self._clock.wall_ms() if offset_ms is None else now_ms + offset_ms

    def wall_of(self, time_ms: int) -> int:
        """The Unix time, in milliseconds, of a moment of cluster time."""
        return time_ms + self.wall_ms() - self.now_ms()

    # What is known from the disk --------------------------------------------------------------

    def found(self, time_ms: int, wall_ms: int) -> None:
        """The disk holds an entry or a snapshot of this time, when wall clocks showed `wall_ms` (0
        = it does not say).

        The latest counts. Later, too, nothing that was applied may lie ahead of the reading.
        """
        if time_ms <= self._found_ms:
            return  # The reading is no earlier than that, and each entry asks.
        self._found_ms = time_ms
        if time_ms > self.now_ms():
            offset_ms = self._wall_offset_ms
            self._raise_to(time_ms)
            if not self.is_settled:
                self._wall_offset_ms = wall_ms - time_ms if wall_ms else offset_ms

    def _raise_to(self, time_ms: int) -> None:
        """Go on from `time_ms`, which is ahead of the reading; the wall clock is not touched."""
        by_ms = time_ms - self.now_ms()
        if self._wall_offset_ms is not None:
            self._wall_offset_ms -= by_ms
        self._leap_to_ms -= by_ms
        self._ahead_ns = time_ms * _NS - self._monotonic_ns()
        if by_ms > _MERGED_MS:
            self._heard.clear()

    # Other nodes ------------------------------------------------------------------------------

    def tell(self) -> tuple[bool, int, int, int]:
        """What to tell the others: is it settled, cluster time, own wall clock, trusted one (0 =
        this node knows of none).
        """
        now_ms = self.now_ms()
        offset_ms = self._wall_offset_ms
        trusted_ms = 0 if offset_ms is None else now_ms + offset_ms
        return self.is_settled, now_ms, self._clock.wall_ms(), trusted_ms

    def hear(self, node_id: int, settled: bool, time_ms: int, wall_ms: int, trusted: int) -> None:
        """Another node told its times."""
        now_ms = self.now_ms()
        if settled and not self.is_settled:
            if time_ms > now_ms:
                self._raise_to(time_ms)
            self._wall_offset_ms = trusted - time_ms
            self.is_settled = True
        elif settled and time_ms > now_ms:
            self._raise_to(time_ms)
        elif not self.is_settled and trusted and time_ms > now_ms:
            # Its disk holds something later than ours.
            self._raise_to(time_ms)
            self._wall_offset_ms = trusted - time_ms
        # Both readings are of one moment, however long the item was on its way.
        offset_ms = wall_ms - time_ms
        if not settled:
            # Its reading is no common one yet. Its wall clock counts all the same.
            offset_ms = wall_ms - self.now_ms()
        self._heard[node_id] = offset_ms, self.now_ms()

    def lost(self, node_id: int) -> None:
        """The connection to a node is gone: its clock does not count any more."""
        self._heard.pop(node_id, None)

    def _offsets(self) -> list[int]:
        """The wall clocks that count, less cluster time, ascending; this node's is among them."""
        now_ms = self.now_ms()
        offsets = [self._clock.wall_ms() - now_ms]
        offsets += [
            offset_ms for offset_ms, at_ms in self._heard.values() if now_ms - at_ms <= HEARD_MS
        ]
        offsets.sort()
        return offsets

    def bridge(self) -> bool:
        """This node leads, and has heard of no settled one: add the time in which no node ran.

        Of the clocks of the majority that elected it the lower median counts: a span may be kept
        for longer than it was meant, rather than end early. False: it was settled already.
        """
        if self.is_settled:
            return False
        offsets = self._offsets()
        least_ms = offsets[(len(offsets) - 1) // 2]
        trusted_ms = least_ms
        if self._wall_offset_ms is not None:
            self.bridged_ms = max(0, least_ms - self._wall_offset_ms)
            # Of two clocks that disagree the one that the log bears out is trusted.
            trusted_ms = min(max(self._wall_offset_ms, least_ms), offsets[len(offsets) // 2])
            self._ahead_ns += self.bridged_ms * _NS
            self._heard = {
                node_id: (heard_ms - self.bridged_ms, at_ms + self.bridged_ms)
                for node_id, (heard_ms, at_ms) in self._heard.items()
            }
        self._wall_offset_ms = trusted_ms - self.bridged_ms
        self.is_settled = True
        return True

    # The wall clock ---------------------------------------------------------------------------

    def look(self) -> str:
        """Follow the wall clocks. What is wrong with this node's own, for people; "" = nothing."""
        if not self.is_settled:
            return ""
        offsets = self._offsets()
        count = len(offsets)
        own_ms = self._clock.wall_ms() - self.now_ms()
        trusted_ms = self._wall_offset_ms
        assert trusted_ms is not None
        # Of an even number of clocks no one is the middle: stay as close as may be.
        target_ms = min(max(trusted_ms, offsets[(count - 1) // 2]), offsets[count // 2])
        if abs(target_ms - trusted_ms) <= CLOCKS_APART_MS or self._is_confirmed(offsets, target_ms):
            self._wall_offset_ms = target_ms
            self._leap_since_ms = -1
        else:
            now_ms = self.now_ms()
            if self._leap_since_ms < 0 or abs(self._leap_to_ms - target_ms) > CLOCKS_APART_MS:
                self._leap_since_ms = now_ms
                self._leap_to_ms = target_ms
            elif now_ms - self._leap_since_ms >= LEAP_LASTS_MS:
                self._wall_offset_ms = target_ms
                self._leap_since_ms = -1
        return self._complaint(offsets, own_ms)

    @staticmethod
    def _is_confirmed(offsets: list[int], target_ms: int) -> bool:
        """Two clocks or more, and a majority of those that count, agree with it."""
        agree = sum(abs(offset_ms - target_ms) <= CLOCKS_APART_MS for offset_ms in offsets)
        return agree > 1 and agree * 2 > len(offsets)

    def _complaint(self, offsets: list[int], own_ms: int) -> str:
        trusted_ms = self._wall_offset_ms
        assert trusted_ms is not None
        off_ms = own_ms - trusted_ms
        if abs(off_ms) <= CLOCKS_APART_MS:
            others = [o for o in offsets if abs(o - own_ms) > CLOCKS_APART_MS]
            if len(others) * 2 < len(offsets):
                return ""
            off_ms = own_ms - others[0]
            by = f"{abs(off_ms) / 1000:.0f} s {'ahead of' if off_ms > 0 else 'behind'}"
            return (
                f"The wall clock of this node is {by} those of half of the nodes or more. Expiry "
                f"at Unix times may be wrong by as much. Set the clocks right (NTP)."
            )
        by = f"{abs(off_ms) / 1000:.0f} s {'ahead of' if off_ms > 0 else 'behind'}"
        return (
            f"The wall clock of this node is {by} the time that the cluster trusts, and is not "
            f"used. Set it right (NTP)."
        )


def is_told_well(item: tuple[Any, ...]) -> bool:
    """Whether the members of a `TIME` item after its kind are what `tell` makes."""
    if tuple(map(type, item[1:])) != (bool, int, int, int):
        return False
    return 0 <= item[2] <= TIME_MS_MAX and all(abs(time) <= TIME_MS_MAX for time in item[3:])


__all__ = ["CLOCKS_APART_MS", "LEAP_LASTS_MS", "TELL_MS", "ClusterTime", "is_told_well"]
