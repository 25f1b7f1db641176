"""What all groups do in a turn, at most. That turns keep to it: `test_applied_in_parts.py`."""

from __future__ import annotations

from quorumcache.node.replica.turn_bounds import (
    APPLY_WORK_MAX,
    BEHIND_BYTES,
    BYTES_PER_WORK,
    TurnBounds,
    TurnShare,
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


def test_groups_share_what_may_be_sent_in_a_turn() -> None:
    bounds = TurnBounds()
    refused: list[int] = []
    one = TurnShare(bounds, lambda: refused.append(1))
    other = TurnShare(bounds, lambda: refused.append(2))
    assert one.take(BEHIND_BYTES - 100, 0) == BEHIND_BYTES - 100
    assert other.take(1000, 0) == 100
    assert refused == []
    assert one.take(1, 0) == 0
    assert refused == [1]
    other.give_back(40)
    assert one.take(1000, 0) == 40
    one.give_back(-500)  # An entry was larger.
    assert (one.take(1, 0), other.take(1, 0)) == (0, 0)
    assert refused == [1, 1, 2]
    bounds.begin()
    assert other.take(1 << 30, 0) == BEHIND_BYTES, "what was owed is forgotten"
