"""How a step is measured, and told."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.bench.micro import steps
from quorumcache.bench.micro.allocations import Counter
from quorumcache.bench.micro.steps import Cost, Step, lines, measure

NOTHING = Counter(None)


def test_what_measuring_takes_is_no_part_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(steps, "perf_counter_ns", lambda: next(now))

    def slow() -> None:
        next(now), next(now)

    costs = measure([Step("slow", slow, 3), Step("quick", lambda: None)], 5, NOTHING)
    assert costs == [Cost("slow", 20, 0, 3), Cost("quick", 0, 0, 1)]


def test_nor_is_what_comes_before_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(steps, "perf_counter_ns", lambda: next(now))
    done: list[str] = []

    def before() -> None:
        next(now)
        done.append("before")

    costs = measure([Step("one", lambda: done.append("run"), before=before)], 5, NOTHING)
    assert costs == [Cost("one", 0, 0, 1)]
    assert done == ["before", "run"] * (5 + 3)


def test_the_sum_counts_each_step_as_often_as_it_is_taken() -> None:
    counter: Any = type("Real", (), {"is_real": True})
    found = lines("a set", [Cost("one", 1000, 5, 1), Cost("two", 200, 2, 3)], counter)
    assert found[0].split() == ["a", "set", "ns", "blocks", "times"]
    assert found[1].split() == ["one", "1,000", "5", "1"]
    assert found[-1].split()[-2:] == ["1,600", "11"]
    assert lines("a set", [Cost("one", 1000, 0, 1)], NOTHING)[1].split()[-2:] == ["-", "1"]
