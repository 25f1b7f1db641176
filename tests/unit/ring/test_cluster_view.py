"""Goal: a view counts whom it hears."""

from __future__ import annotations

import pytest

from quorumcache.ring.cluster_view import ClusterView


@pytest.mark.parametrize(
    ("heard", "nodes", "count", "majority"),
    [
        ((), (1,), 0, False),
        ((1,), (1,), 1, True),
        ((1,), (1, 2), 1, False),
        ((1, 9), (1, 2, 3), 1, False),
        ((1, 3), (1, 2, 3), 2, True),
    ],
)
def test_more_than_half_is_a_majority(
    heard: tuple[int, ...], nodes: tuple[int, ...], count: int, majority: bool
) -> None:
    view = ClusterView(heard=frozenset(heard))
    assert view.count_heard(nodes) == count
    assert view.hears_majority(nodes) is majority
