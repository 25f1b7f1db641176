"""Calls of one process, one after the other or many at a time, and how long they took.

For what is measured through `AsyncClient`: a ratio of two calls in one process and one run tells
what the cluster does, since the client's own part is the same in both.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from quorumcache.bench.histogram import Histogram
from quorumcache.bench.report import milliseconds

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A call that was made again and again, with nothing else under way. `ratio`: its median over
    that of the first call of the same run; the median of the rounds.
    """

    what: str
    latency: Histogram
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """`tasks` that made the same call at the same time. `attempts`: counted by whoever makes the
    call; at least the number of calls."""

    what: str
    tasks: int
    latency: Histogram
    attempts: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Calls that ended, per second."""
        return self.latency.count / self.seconds

    @property
    def repeated(self) -> float:
        """Attempts beyond the first, per call."""
        calls = self.latency.count
        return (self.attempts - calls) / calls if calls else 0.0


async def alone(
    calls: Sequence[tuple[str, Call]], *, rounds: int, seconds: float
) -> tuple[Alone, ...]:
    """Make each of `calls` for `seconds`, one call at a time, in `rounds` that alternate between
    all of them.
    """
    total = [Histogram() for _ in calls]
    medians: list[list[int]] = [[] for _ in calls]
    for number in range(rounds):
        # The order alternates, so a machine that warms up or cools down favours none.
        order = range(len(calls)) if number % 2 == 0 else range(len(calls) - 1, -1, -1)
        for place in order:
            found = Histogram()
            await _repeat(calls[place][1], found, time.perf_counter() + seconds)
            total[place].merge(found)
            medians[place].append(found.percentile(50))
    return tuple(
        Alone(
            what=what,
            latency=total[place],
            ratio=statistics.median(
                mine / first for mine, first in zip(medians[place], medians[0], strict=True)
            ),
        )
        for place, (what, _) in enumerate(calls)
    )


async def together(
    what: str, calls: Sequence[Call], attempts: Callable[[], int], *, seconds: float
) -> Together:
    """Make all of `calls` again and again, each in a task of its own, for `seconds`."""
    latency = Histogram()
    began = time.perf_counter()
    before = attempts()
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(_repeat(call, latency, began + seconds))
    return Together(
        what=what,
        tasks=len(calls),
        latency=latency,
        attempts=attempts() - before,
        seconds=time.perf_counter() - began,
    )


def cells(latency: Histogram, seconds: float) -> tuple[str, str, str]:
    """Calls per second, p50 and p99 in milliseconds, for a table."""
    rate = f"{latency.count / seconds:,.0f}" if seconds else "-"
    p50, p99 = (milliseconds(latency.percentile(percent) / 1e3) for percent in (50, 99))
    return rate, p50, p99


async def _repeat(call: Call, latency: Histogram, until: float) -> None:
    while True:
        began_ns = time.perf_counter_ns()
        await call()
        latency.record(time.perf_counter_ns() - began_ns)
        if time.perf_counter() >= until:
            return
