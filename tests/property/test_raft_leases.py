"""Leases under hasty elections: no two replicas may serve reads by lease at the same moment, and
none misses what another has committed. Method: `tests/support/lease_walk.py`.
"""

from __future__ import annotations

import os

import pytest

from tests.support.lease_walk import LeaseWalk

SEEDS = int(os.environ.get("RAFT_SEEDS", "40"))
STEPS = 6000


@pytest.mark.parametrize("seed", range(SEEDS))
def test_leases_exclude_each_other(seed: int) -> None:
    walk = LeaseWalk(seed)
    for _ in range(STEPS):
        walk.step()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_leases_exclude_each_other_whatever_comes_late(seed: int) -> None:
    walk = LeaseWalk(seed, late=True)
    for _ in range(STEPS):
        walk.step()


@pytest.mark.parametrize("late", [False, True])
def test_the_walks_do_hold_leases_and_change_leaders(late: bool) -> None:
    """Enough of both for the tests above to mean something."""
    moments = leaders = 0
    for seed in range(5):
        walk = LeaseWalk(seed, late=late)
        for _ in range(STEPS):
            walk.step()
        moments += walk.lease_moments
        leaders += len(walk.cluster.checker.leaders)
    assert moments > 1000
    assert leaders > 20
