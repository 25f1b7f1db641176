"""Goal: a figure beyond its bound is said and changes the exit status, and failures weigh more."""

from __future__ import annotations

import math

import pytest

from quorumcache.bench.goals import Goal, exit_status, goal_notes


@pytest.mark.parametrize(
    ("measured", "bound", "is_least", "is_met"),
    [
        (5.0, 5.0, False, True),
        (5.1, 5.0, False, False),
        (0.7, 2 / 3, True, True),
        (0.6, 2 / 3, True, False),
        (math.nan, 5.0, False, False),
        (math.nan, 5.0, True, False),
    ],
)
def test_a_bound_may_be_reached_and_what_was_not_measured_meets_none(
    measured: float, bound: float, is_least: bool, is_met: bool
) -> None:
    assert Goal("x", measured, bound, is_least=is_least).is_met == is_met


def test_each_missed_goal_is_a_line() -> None:
    good = Goal("pause", 20, 200, "ms")
    assert goal_notes([good, good]) == ["all 2 goals met"]
    slow = Goal("throughput", 0.5, 2 / 3, is_least=True)
    late = Goal("the join took", 61.23, 60, "s")
    assert str(Goal("pause", 1921.4, 200, "ms")) == "pause 1,921 ms, goal: at most 200 ms"
    assert goal_notes([good, slow, late]) == [
        "GOAL MISSED: throughput 0.5, goal: at least 0.667",
        "GOAL MISSED: the join took 61.2 s, goal: at most 60 s",
    ]


def test_the_exit_status_tells_failures_from_slowness() -> None:
    good, missed = Goal("a", 1, 2), Goal("b", 3, 2)
    assert exit_status(0, [good]) == 0
    assert exit_status(0, [good, missed]) == 4
    assert exit_status(1, [good, missed]) == exit_status(1, [good]) == 3
