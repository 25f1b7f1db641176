"""The shortest schedule that still fails: what somebody who looks for the cause wants to read.

Faults are data, so leaving some out or making them shorter gives another run of the same seed.
What is kept must fail in the same way (`SimulationFailure.kind`), or a second bug would be found
where the first one was lost.

 1. What begins after the failure cannot have caused it.
 2. Leave out halves, quarters, ... single faults (Zeller and Hildebrandt 2002, "ddmin").
 3. Halve how long each one lasts, and the numbers it counts down.

`shrink` decides; what runs a schedule is handed in. Bounded in runs and in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from tests.simulation.schedule import Fault, Schedule

RUNS_MAX = 300
SECONDS_MAX = 120.0
SECONDS_MIN = 0.02

Fails = Callable[[Schedule], int | None]
"""Runs a schedule: None when it does not fail in the wanted way, else `failed_ms`."""


class Shrinker:
    """One search. `runs`: how many schedules were tried; `is_cut_short`: a bound ended it."""

    def __init__(
        self,
        fails: Fails,
        *,
        now: Callable[[], float],
        runs_max: int = RUNS_MAX,
        seconds_max: float = SECONDS_MAX,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.runs = 0
        self.is_cut_short = False
        self._fails = fails
        self._now = now
        self._runs_max = runs_max
        self._end = now() + seconds_max
        self._progress = progress

    def shrink(self, schedule: Schedule) -> Schedule | None:
        """The shortest one found; None when `schedule` itself does not fail."""
        failed_ms = self._try(schedule)
        if failed_ms is None:
            return None
        schedule = self._without_later(schedule, failed_ms)
        schedule = self._fewer(schedule)
        schedule = self._shorter(schedule)
        return self._sooner_over(schedule)

    def _try(self, schedule: Schedule) -> int | None:
        if self.runs >= self._runs_max or self._now() >= self._end:
            self.is_cut_short = True
            return None
        self.runs += 1
        self._progress(f"shrinking: run {self.runs}, {len(schedule.faults)} faults")
        return self._fails(schedule)

    def _without_later(self, schedule: Schedule, failed_ms: int) -> Schedule:
        earlier = tuple(fault for fault in schedule.faults if fault.at_ms <= failed_ms)
        if len(earlier) == len(schedule.faults):
            return schedule
        shorter = replace(schedule, faults=earlier)
        return shorter if self._try(shorter) is not None else schedule

    def _fewer(self, schedule: Schedule) -> Schedule:
        """ddmin, leaving out only: any failing part that is smaller will do."""
        if not schedule.faults:
            return schedule
        if self._try(replace(schedule, faults=())) is not None:
            return replace(schedule, faults=())
        parts = 2
        while len(schedule.faults) > 1:
            smaller = self._without_a_part(schedule, parts)
            if smaller is not None:
                schedule = smaller
                parts = max(2, parts - 1)
            elif parts >= len(schedule.faults) or self.is_cut_short:
                break
            else:
                parts = min(len(schedule.faults), parts * 2)
        return schedule

    def _without_a_part(self, schedule: Schedule, parts: int) -> Schedule | None:
        faults = schedule.faults
        for begin, end in _cuts(len(faults), parts):
            candidate = replace(schedule, faults=faults[:begin] + faults[end:])
            if self._try(candidate) is not None:
                return candidate
        return None

    def _shorter(self, schedule: Schedule) -> Schedule:
        for number in range(len(schedule.faults)):
            while not self.is_cut_short:
                fault = _halved(schedule.faults[number])
                if fault is None:
                    break
                faults = (*schedule.faults[:number], fault, *schedule.faults[number + 1 :])
                candidate = replace(schedule, faults=faults)
                if self._try(candidate) is None:
                    break
                schedule = candidate
        return schedule

    def _sooner_over(self, schedule: Schedule) -> Schedule:
        """No longer time of faults than they need."""
        ends = [f.at_ms / 1000 + f.parameters.get("seconds", 0.0) for f in schedule.faults]
        for seconds in (max(ends, default=0.0) + 0.1, max(ends, default=0.0) + 1.0):
            candidate = replace(schedule, fault_seconds=round(seconds, 3))
            if seconds < schedule.fault_seconds and self._try(candidate) is not None:
                return candidate
        return schedule


def _cuts(count: int, parts: int) -> Sequence[tuple[int, int]]:
    """[begin, end) of so many nearly equal parts."""
    places = [count * part // parts for part in range(parts + 1)]
    return [(a, b) for a, b in pairwise(places) if a < b]


def _halved(fault: Fault) -> Fault | None:
    seconds = fault.parameters.get("seconds")
    if seconds is None or seconds / 2 < SECONDS_MIN:
        return None
    return Fault(fault.at_ms, fault.name, {**fault.parameters, "seconds": round(seconds / 2, 3)})
