"""What a measurement is held to, and how it ends when that is missed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

STATUS_GOOD, STATUS_FAILURES, STATUS_MISSED = 0, 3, 4


class Goal(NamedTuple):
    """A figure and its bound. `what`: a sentence's beginning, such as `3 to 6: longest pause`.

    `unit` stands behind both numbers; with `is_least` the bound is the least that is good, else the
    most.
    """

    what: str
    measured: float
    bound: float
    unit: str = ""
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """A figure that is no number (nothing was measured) meets no goal."""
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound

    def __str__(self) -> str:
        which = "at least" if self.is_least else "at most"
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.what} {_number(self.measured)}{unit}, goal: {which} {_number(self.bound)}{unit}"
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def goal_notes(goals: Sequence[Goal]) -> list[str]:
    """A line for each goal that was missed, or one that says that all were met."""
    missed = [f"GOAL MISSED: {goal}" for goal in goals if not goal.is_met]
    return missed or [f"all {len(goals)} goals met"]


def exit_status(failures: int, goals: Sequence[Goal]) -> int:
    """`failures`: errors that clients saw, wrong reads, and lost writes and items. They weigh more
    than goals.
    """
    if failures:
        return STATUS_FAILURES
    return STATUS_GOOD if all(goal.is_met for goal in goals) else STATUS_MISSED
