"""Goal: while a group moves, its replica set names all who hold a replica, and leads with data."""

from __future__ import annotations

import pytest

from quorumcache.ring.move import WAITING, Move


def test_a_waiting_move_changes_nothing() -> None:
    assert Move(1, (1, 2, 3), (4, 1, 2), WAITING).replica_set == (1, 2, 3)


@pytest.mark.parametrize(
    ("origin", "target", "expected"),
    [
        ((1, 2, 3), (1, 2, 4), (1, 2, 4, 3)),
        ((1, 2, 3), (4, 2, 1), (2, 1, 4, 3)),  # The first target has no data yet.
        ((1, 2, 3), (3, 1, 2), (3, 1, 2)),  # Only the preferred leader changes.
        ((1,), (2,), (1, 2)),  # Nobody stays: the present one leads.
        ((1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, 4, 5)),
        ((1, 2, 3), (2,), (2, 1, 3)),
    ],
)
def test_a_started_move_holds_both(
    origin: tuple[int, ...], target: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    move = Move(1, origin, target, 7)
    assert move.replica_set == expected
    assert set(move.added) == set(target) - set(origin)
    assert set(move.removed) == set(origin) - set(target)
    assert expected[0] in origin
