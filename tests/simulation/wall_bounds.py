"""What a server's stamp can have been, when all that is known is the span of an operation: of a
server that stamps with its wall clock, as the references of the model's own tests do. (The product
does not: see `cluster_times.py`, which answers the same questions.)

Every command runs at the time that some server read from its wall clock, or at the latest time
that was seen, if that is later. So the bounds are taken over all clocks:

- not before the slowest clock's time at any moment of the span;
- not after the fastest clock's time at any moment up to the end of the span: a clock that was set
  back does not take back what it has stamped.

Without jumps the two are as far apart as the clocks and the span; a jump of an hour widens them by
an hour, from then on. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

NS_PER_MS = 1_000_000
FOREVER_MS = 1 << 62
"""Upper bound of what nothing bounds."""


class WallBounds:
    """`offsets`: for each node its (virtual time in ns, wall clock minus virtual time in ms) from
    the first on, ascending; a jump adds a pair.
    """

    def __init__(self, offsets: Sequence[Sequence[tuple[int, int]]] = (((0, 0),),)) -> None:
        assert offsets
        assert all(offsets)
        self._offsets = [list(node) for node in offsets]
        self._jumps = sorted({at_ns for node in offsets for at_ns, _ in node[1:]})

    def wall_ahead_ms(self, begin_ns: int, end_ns: int | None) -> tuple[int, int]:
        """The stamps are wall time."""
        return 0, 0

    def earliest_ms(self, begin_ns: int, end_ns: int | None) -> int:
        """The least that any clock shows from `begin_ns` to `end_ns` (None: ever after)."""
        moments = [begin_ns]
        moments += [at for at in self._jumps if begin_ns < at and (end_ns is None or at <= end_ns)]
        return min(
            _offset_at(node, at_ns) + at_ns // NS_PER_MS
            for node in self._offsets
            for at_ns in moments
        )

    def latest_ms(self, end_ns: int | None) -> int:
        """The most that any clock has shown up to `end_ns` (None: no bound)."""
        if end_ns is None:
            return FOREVER_MS
        latest_ms = -FOREVER_MS
        for node in self._offsets:
            for index, (from_ns, offset_ms) in enumerate(node):
                if index and from_ns > end_ns:
                    break
                until_ns = node[index + 1][0] if index + 1 < len(node) else end_ns
                latest_ms = max(latest_ms, offset_ms + min(until_ns, end_ns) // NS_PER_MS)
        return latest_ms


def _offset_at(node: Sequence[tuple[int, int]], at_ns: int) -> int:
    offset_ms = node[0][1]
    for from_ns, later_ms in node[1:]:
        if from_ns > at_ns:
            break
        offset_ms = later_ms
    return offset_ms
