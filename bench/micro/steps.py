"""The steps of a request, each measured by itself: nanoseconds and allocated blocks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import NamedTuple

from quorumcache.bench.micro.allocations import Counter


def _nothing() -> None:
    """Before a step that needs nothing."""


class Step(NamedTuple):
    """`times`: how often a cluster of three takes it for one request. `before`: what has to have
    happened, and is not measured."""

    name: str
    run: Callable[[], object]
    times: int = 1
    before: Callable[[], object] = _nothing


class Cost(NamedTuple):
    """Of one step, once."""

    name: str
    ns: float
    blocks: float
    times: int


def measure(steps: Sequence[Step], rounds: int, counter: Counter) -> list[Cost]:
    """All steps in turn, `rounds` times; medians, without what the measuring itself takes."""
    every = [Step("nothing", _nothing), *steps]
    ns: list[list[int]] = [[] for _ in every]
    blocks: list[list[int]] = [[] for _ in every]
    for _ in range(rounds):
        for place, step in enumerate(every):
            step.before()
            began = perf_counter_ns()
            step.run()
            ns[place].append(perf_counter_ns() - began)
    with counter:
        for _ in range(max(3, rounds // 10)):
            for place, step in enumerate(every):
                step.before()
                before = counter.now()
                step.run()
                blocks[place].append(counter.now() - before)
    times = [statistics.median(found) for found in ns]
    counts = [statistics.median(found) for found in blocks]
    return [
        Cost(step.name, max(0.0, times[n] - times[0]), max(0.0, counts[n] - counts[0]), step.times)
        for n, step in enumerate(every)
        if n
    ]


def lines(title: str, costs: Sequence[Cost], counter: Counter) -> list[str]:
    """The table of one request."""
    found = [f"{title:<40} {'ns':>8} {'blocks':>7} {'times':>6}"]
    for cost in costs:
        blocks = f"{cost.blocks:.0f}" if counter.is_real else "-"
        found.append(f"  {cost.name:<38} {cost.ns:8,.0f} {blocks:>7} {cost.times:>6}")
    total = sum(cost.ns * cost.times for cost in costs)
    blocks = f"{sum(cost.blocks * cost.times for cost in costs):.0f}" if counter.is_real else "-"
    return [*found, f"  {'sum, by the times':<38} {total:8,.0f} {blocks:>7}"]
