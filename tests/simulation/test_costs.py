"""What computing costs leaves time for the work of nodes."""

from __future__ import annotations

from itertools import islice
from random import Random

from tests.simulation.costs import MS, US, Costs


def test_stalls_come_as_seldom_as_they_are_said_to() -> None:
    """In every stretch of a run: nodes that stall several times a second can have no leader."""
    costs = Costs(callback_ns=15 * US, stall_every=1_000, stall_ns=150 * MS)
    for seed in range(50):
        drawn = list(islice(costs.of_callbacks(Random(seed)), 10_000))
        stalls = sum(cost_ns > 5 * MS for cost_ns in drawn)
        assert 1 <= stalls <= 30
        assert sum(drawn) / len(drawn) < 15 * US + 300 * MS / 1_000 * 1.5


def test_without_stalls_no_callback_takes_long() -> None:
    drawn = list(islice(Costs(callback_ns=10 * US).of_callbacks(Random(1)), 2_000))
    assert max(drawn) < MS
    assert sum(drawn) > 0
