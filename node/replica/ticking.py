"""When time passes for the groups: a call for each turn of the loop in which ticks are due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock


class Ticker:
    """See the module. `done`: ticks that the clock had made at the last look."""

    __slots__ = (
        "_clock",
        "_handle",
        "_is_stopped",
        "_loop",
        "_on_fatal",
        "_pass",
        "_tick_ns",
        "done",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        tick_ms: int,
        pass_ticks: Callable[[int, int], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`pass_ticks(now_ns, due)`: so many ticks, one or more, have passed since the last call.
        If it fails, `on_fatal` hears it, and there are no more ticks.
        """
        self._loop = loop
        self._clock = clock
        self._tick_ns = tick_ms * 1_000_000
        self._pass = pass_ticks
        self._on_fatal = on_fatal
        self._is_stopped = False
        self._handle: asyncio.TimerHandle | None = None
        self.done = clock.monotonic_ns() // self._tick_ns

    def start(self) -> None:
        """Count from now on."""
        self.done = self._clock.monotonic_ns() // self._tick_ns
        self._arm()

    def stop(self) -> None:
        """No more ticks."""
        self._is_stopped = True
        if self._handle is not None:
            self._handle.cancel()

    def look(self) -> None:
        """Pass on what is due."""
        now_ns = self._clock.monotonic_ns()
        ticks = now_ns // self._tick_ns
        due = ticks - self.done
        self.done = ticks
        if due:
            self._pass(now_ns, due)

    def _arm(self) -> None:
        wait_ns = self._tick_ns - self._clock.monotonic_ns() % self._tick_ns
        self._handle = self._loop.call_later(wait_ns / 1e9 + 0.0002, self._tick)

    def _tick(self) -> None:
        if self._is_stopped:
            return
        try:
            self.look()
        except BaseException as error:
            self._on_fatal(error)  # A node without ticks would hold its promises for ever.
            raise
        self._arm()
