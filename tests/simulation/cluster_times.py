"""What the nodes' cluster time was, looked at every few milliseconds; for the model, and to judge
it by the one true time, which only the simulation knows.

Which node led when is not part of a history, so the bounds for the model are taken over all nodes
that are settled (others stamp nothing):

- a command is stamped with no less than the least reading around the operation;
- and with no more than the greatest reading up to the end of the operation, since a leader goes on
  from the greatest time that its log holds.

The readings differ by a few milliseconds, so expiry is checked nearly to the look. Whether the time
itself is right is `problem`'s matter: it never leaps, and never stands still.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.simulation.wall_bounds import FOREVER_MS, NS_PER_MS

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode

LOOK_MS = 10
"""What a reading can move by between two looks, which are 5 ms apart."""
RATE_PPM = 5_000
"""By how much a clock's rate may be off."""
BRIDGE_MS = 500
"""Error of a bridge between clocks that never leapt: they start up to 400 ms apart."""
START_MS = 2_500
"""A node that starts takes over a time that was on its way for as long as a link may be silent."""


class ClusterTimes:
    """`look` takes the readings; the rest answers from them."""

    def __init__(self) -> None:
        self._at_ns: list[int] = []
        self._least: list[int] = []
        self._greatest: list[int] = []
        """Of all looks so far."""
        self._ahead: list[tuple[int, int]] = []
        """Least and greatest of what a trusted wall clock was ahead of cluster time, ms."""
        self._last: dict[tuple[str, int], int] = {}
        self._starts = 0
        self._bridges = 0
        self._bridged: set[tuple[str, int]] = set()
        self._leapt = False
        self.largest_leap_ms = 0
        """How far the greatest reading moved at once, beyond the time that passed."""
        self.problem = ""
        """The first reading that was wrong."""

    def look(self, now_ns: int, nodes: Iterable[SimulatedNode]) -> None:
        """Take the readings of all live nodes."""
        readings: list[int] = []
        ahead: list[int] = []
        for simulated in nodes:
            self._leapt = self._leapt or len(simulated.clock.wall_offsets) > 1
            node = simulated.node
            if node is None or simulated.process.is_dead:
                continue
            time = node.time
            reading = time.now_ms()
            life = simulated.name, simulated.incarnation
            if life not in self._last:
                self._starts += 1
            elif reading < self._last[life]:
                self._complain(f"{simulated.name}: {reading} after {self._last[life]}")
            self._last[life] = reading
            if not time.is_settled:
                continue
            if time.bridged_ms and life not in self._bridged:
                self._bridged.add(life)
                self._bridges += 1
            readings.append(reading)
            ahead.append(time.wall_ms() - reading)
        if not readings:
            return
        self._judge(now_ns, min(readings), max(readings))
        before = self._greatest[-1] if self._greatest else 0
        self._at_ns.append(now_ns)
        self._least.append(min(readings))
        self._greatest.append(max(before, *readings))
        self._ahead.append((min(ahead), max(ahead)))

    def _judge(self, now_ns: int, least: int, greatest: int) -> None:
        if not self._at_ns:
            return
        passed = (now_ns - self._at_ns[-1]) / NS_PER_MS
        leap = int(greatest - self._greatest[-1] - passed * (1 + RATE_PPM / 1e6))
        self.largest_leap_ms = max(self.largest_leap_ms, leap)
        lived = (now_ns - self._at_ns[0]) / NS_PER_MS
        # Bridges rest on wall clocks: where these leap, only a time without bridges is judged.
        if self._bridges and self._leapt:
            return
        first = self._greatest[0]
        most = first + lived * (1 + RATE_PPM / 1e6) + LOOK_MS + BRIDGE_MS * self._bridges
        if greatest > most:
            self._complain(f"{greatest} ms, where {most:.0f} is the most")
        late = LOOK_MS + BRIDGE_MS * self._bridges + START_MS * self._starts
        if least < first + lived * (1 - RATE_PPM / 1e6) - late:
            self._complain(f"{least} ms after {lived:.0f}")

    def _complain(self, text: str) -> None:
        self.problem = self.problem or f"the cluster's time is wrong: {text}"

    def worst_wall_error_ms(self, wall_origin_ms: int) -> int:
        """How far a trusted wall clock was from the true time at any look."""
        worst = 0
        for at_ns, least, greatest, (low, high) in zip(
            self._at_ns, self._least, self._greatest, self._ahead, strict=True
        ):
            true_ms = wall_origin_ms + at_ns // NS_PER_MS
            worst = max(worst, abs(greatest + high - true_ms), abs(least + low - true_ms))
        return worst

    def lived(self) -> tuple[int, tuple[int, int]]:
        """Milliseconds from the first look to the last, and the least and greatest that cluster
        time made of them.
        """
        passed_ms = (self._at_ns[-1] - self._at_ns[0]) // NS_PER_MS
        first = self._greatest[0]
        return passed_ms, (self._least[-1] - first, self._greatest[-1] - first)

    # -- for the model -------------------------------------------------------------------------

    def _looks(self, begin_ns: int, end_ns: int | None) -> slice:
        """The looks around a span, with the last one before it and the first one after."""
        first = max(0, bisect_right(self._at_ns, begin_ns) - 1)
        if end_ns is None:
            return slice(first, len(self._at_ns))
        return slice(first, bisect_left(self._at_ns, end_ns) + 1)

    def earliest_ms(self, begin_ns: int, end_ns: int | None) -> int:
        """The least that a command can have been stamped with."""
        return min(self._least[self._looks(begin_ns, end_ns)], default=0) - LOOK_MS

    def latest_ms(self, end_ns: int | None) -> int:
        """The most that a command can have been stamped with (None: no bound)."""
        if end_ns is None:
            return FOREVER_MS
        last = min(bisect_left(self._at_ns, end_ns), len(self._at_ns) - 1)
        return self._greatest[last] + LOOK_MS if last >= 0 else 0

    def wall_ahead_ms(self, begin_ns: int, end_ns: int | None) -> tuple[int, int]:
        """What wall clocks can have been ahead of cluster time in a leader's eyes."""
        looks = self._ahead[self._looks(begin_ns, end_ns)]
        return min(a for a, _ in looks) - LOOK_MS, max(a for _, a in looks) + LOOK_MS
