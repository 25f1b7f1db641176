"""Lease arithmetic: no lease outlasts a promise, for any clock rates within the bound."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.lease import lease_ns, promise_ns


def test_a_promise_is_one_tick_less_than_the_ticks_counted() -> None:
    """A leader heard just before a tick has that tick counted at once."""
    assert promise_ns(30, 10) == 290_000_000


@pytest.mark.parametrize("drift_ppm", [0, 100, 10_000, 200_000])
def test_a_lease_ends_before_the_promise_at_any_allowed_rate(drift_ppm: int) -> None:
    """Leader's clock slow by the whole bound against the follower's: still not later."""
    lease = lease_ns(30, 10, drift_ppm)
    slowest_leader = (1_000_000 - drift_ppm) / 1_000_000
    true_end_of_lease = lease / slowest_leader
    assert true_end_of_lease <= promise_ns(30, 10) + 1
