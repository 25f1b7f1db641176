"""What all groups do in a turn, at most. That turns keep to it: `test_applied_in_parts.py`."""

from __future__ import annotations

from quorumcache.node.replica.turn_bounds import (
    APPLY_WORK_MAX,
    BYTES_PER_WORK,
    TurnBounds,
)


def test_what_entries_hold_counts_as_they_do() -> None:
    bounds = TurnBounds()
    bounds.applied(1, BYTES_PER_WORK * (APPLY_WORK_MAX - 1))
    assert bounds.is_spent
    bounds.begin()
    bounds.applied(APPLY_WORK_MAX - 1, BYTES_PER_WORK - 1)
    assert not bounds.is_spent
    bounds.applied(1, 0)
    assert bounds.is_spent
