"""Histograms of how long things take: plain bucket arrays, filled on the data path, read at
scrape time.

An observation is two comparisons and two additions; a value that falls into another bucket than the
one before takes a few more. There are no labels and no locks (one loop, one thread). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

# Upper bounds in seconds. From a lease read served in the same loop turn to a request held
# through an election.
LATENCY_BOUNDS: tuple[float, ...] = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)


class Histogram:
    """Counts of observations by upper bound.

    Invariant: `len(counts) == len(bounds) + 1`; the last bucket holds what exceeds every bound.
    `counts` are per bucket, not cumulative. `total` is the sum of all observed values, in
    seconds.
    """

    __slots__ = ("_above", "_counts", "_here", "_place", "_up_to", "bounds", "total")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
        assert list(bounds) == sorted(bounds), bounds
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        self._place = 0
        """The bucket of the last value, whose values are above `_above` and up to `_up_to`: the
        next one often falls into it, too."""
        self._above = self._up_to = 0.0
        self._here: int = 0
        """Values in that bucket that `_counts` does not hold yet."""

    @property
    def counts(self) -> list[int]:
        """Of each bucket."""
        self._counts[self._place] += self._here
        self._here = 0
        return self._counts

    def observe(self, seconds: float) -> None:
        """Count one value. A value equal to a bound falls into that bound's bucket."""
        self.observe_many(seconds, 1)

    def observe_many(self, seconds: float, count: int) -> None:
        """Count one value so many times."""
        if not self._above < seconds <= self._up_to:
            self._find(seconds)
        self._here += count
        self.total += seconds * count

    def _find(self, seconds: float) -> None:
        self._counts[self._place] += self._here
        self._here = 0
        bounds = self.bounds
        place = self._place  # From here on, as the next value is seldom far away.
        while place < len(bounds) and seconds > bounds[place]:
            place += 1
        while place and seconds <= bounds[place - 1]:
            place -= 1
        self._place = place
        self._above = bounds[place - 1] if place else -inf
        self._up_to = bounds[place] if place < len(bounds) else inf

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus buckets: (`le` label, observations at or below it), the last being `+Inf`."""
        running = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return buckets


class Timings:
    """All histograms of one node."""

    __slots__ = (
        "forward_seconds",
        "gc_pause_seconds",
        "loop_lag_seconds",
        "read_seconds",
        "sync_seconds",
        "write_seconds",
    )

    def __init__(self) -> None:
        # Reads that could not be answered in the loop turn in which they arrived, until their
        # reply.
        self.read_seconds = Histogram()
        # Writes, from the turn in which they arrived to their reply.
        self.write_seconds = Histogram()
        # Commands forwarded to another node, until that node's answer.
        self.forward_seconds = Histogram()
        # One write and sync of the log.
        self.sync_seconds = Histogram()
        # How late the event loop runs its timers.
        self.loop_lag_seconds = Histogram()
        # How long the garbage collector stopped the loop.
        self.gc_pause_seconds = Histogram()
