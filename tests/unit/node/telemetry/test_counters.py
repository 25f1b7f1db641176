"""Counters: what a reset takes away, and what Prometheus sees of it."""

from __future__ import annotations

import pytest

from quorumcache.node.telemetry.counters import COUNTER_NAMES, Counters


def test_a_reset_zeroes_events_and_leaves_gauges() -> None:
    counters = Counters()
    for number, name in enumerate(COUNTER_NAMES, 1):
        setattr(counters, name, number)
    counters.curr_connections = 7
    counters.reset()
    assert {getattr(counters, name) for name in COUNTER_NAMES} == {0}
    assert counters.curr_connections == 7


def test_totals_never_go_back() -> None:
    counters = Counters()
    for _ in range(3):
        counters.cmd_get += 5
        counters.reset()
    counters.cmd_get += 1
    assert counters.cmd_get == 1
    assert counters.since_start("cmd_get") == 16
    assert counters.since_start("curr_connections") == 0


def test_a_counter_of_a_wrong_name_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Counters().cmd_gte = 1  # type: ignore[attr-defined]
