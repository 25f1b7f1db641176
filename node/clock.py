"""Time, as the node sees it: one interface, so that a virtual-time loop can stand in for it.

Leases, deadlines and staleness bounds ask for a fresh monotonic reading at the moment of the
decision. The loop's own time is not good enough for them: a loop may cache it for a whole turn,
and uvloop's counts whole milliseconds.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the node asks for the time."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment; never goes back. For leases and deadlines."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump. For expiry times and nothing else."""
        ...


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()

    # The function itself: a method around it would cost as much again, on every read.
    monotonic_ns = staticmethod(time.monotonic_ns)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
