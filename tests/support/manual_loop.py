"""The smallest loop that the log runs on: timers and nothing else, in virtual time.

For tests that drive everything by hand. Anything that awaits needs a real loop.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class ManualLoop:
    """`call_soon` and `call_later` as asyncio has them; nothing runs until told."""

    def __init__(self) -> None:
        self.now = 0.0
        self._count = 0
        self._timers: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        self.call_later(0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._timers, (self.now + delay, self._count, callback, args))

    def run(self, steps_max: int = 1_000_000, until: float = 3600.0) -> int:
        """Run timers in order, advancing time, while some are due by `until`; return how many."""
        count = 0
        while self._timers and count < steps_max and self._timers[0][0] <= until:
            self.now, _, callback, args = heapq.heappop(self._timers)
            count += 1
            callback(*args)
        return count
