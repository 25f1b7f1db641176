"""What is done again and again: in every tick of the host, or every `SWEEP_MS`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SWEEP_MS: Final = 50
"""Time between two sweeps."""

BUG_MS: Final = 10_000
"""A duty that failed is left out for so long."""


OnBug = Callable[[str, Exception], None]
"""Hears what failed, and how."""


class _Duty:
    __slots__ = ("call", "left", "on_bug", "sweeps")

    def __init__(self, call: Callable[[], None], sweeps: int, on_bug: OnBug | None) -> None:
        self.call = call
        self.on_bug = on_bug
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

    def in_sweeps(
        self,
        *calls: Callable[[], None],
        every_ms: int = SWEEP_MS,
        on_bug: OnBug | None = None,
    ) -> None:
        """Call them in the next sweep, and then every `every_ms`.

        `on_bug` hears of one that fails, which rests for `BUG_MS` then. Without it the failure is
        that of the whole round, and ends the node.
        """
        sweeps = max(1, every_ms // SWEEP_MS)
        self._duties += [_Duty(call, sweeps, on_bug) for call in calls]

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
                if duty.on_bug is None:
                    duty.call()
                    continue
                try:
                    duty.call()
                except Exception as error:
                    duty.left = BUG_MS // SWEEP_MS
                    duty.on_bug(getattr(duty.call, "__qualname__", "a duty") + " failed", error)
