"""What is done again and again: in every tick of the host, or every `SWEEP_MS`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SWEEP_MS: Final = 50
"""Time between two sweeps."""


class _Duty:
    __slots__ = ("call", "left", "sweeps")

    def __init__(self, call: Callable[[], None], sweeps: int) -> None:
        self.call = call
        self.sweeps = sweeps
        """It is called in each sweep of so many."""
        self.left = 1
        """Sweeps until it is called."""


class Rounds:
    """`tick` is called in every tick. Duties are called in the order in which they were added."""

    def __init__(self, tick_ms: int) -> None:
        self._ticks = max(1, SWEEP_MS // tick_ms)
        self._left = 0
        """Ticks until the next sweep."""
        self._in_ticks: list[Callable[[], None]] = []
        self._duties: list[_Duty] = []

    def in_every_tick(self, call: Callable[[], None]) -> None:
        """Call it in every tick, before the sweep."""
        self._in_ticks.append(call)

    def in_sweeps(self, *calls: Callable[[], None], every_ms: int = SWEEP_MS) -> None:
        """Call them in the next sweep, and then every `every_ms`."""
        sweeps = max(1, every_ms // SWEEP_MS)
        self._duties += [_Duty(call, sweeps) for call in calls]

    def tick(self) -> None:
        """A tick has passed."""
        for call in self._in_ticks:
            call()
        self._left -= 1
        if self._left > 0:
            return
        self._left = self._ticks
        for duty in self._duties:
            duty.left -= 1
            if duty.left <= 0:
                duty.left = duty.sweeps
                duty.call()
