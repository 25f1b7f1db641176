"""The clock of this machine."""

from __future__ import annotations

import time

from quorumcache.node.clock import SystemClock


def test_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic_ns() for _ in range(100)]
    assert readings == sorted(readings)


def test_wall_time_is_milliseconds_since_the_epoch() -> None:
    before = time.time_ns() // 1_000_000
    found = SystemClock().wall_ms()
    assert before <= found <= time.time_ns() // 1_000_000
