"""Goal: whatever is lost, late or repeated on the way to a leader, a write is executed once at
most, and what its client is told about it is true.

Method: many small random schedules over the real coordinator, serving and group of three nodes
(`tests/support/toy_cluster.py`), each of a seed: elections, cuts, items that arrive very late,
sessions that expire, deadlines.
"""

from random import Random

import pytest

from tests.support.toy_cluster import ToyCluster

STEPS = 150
SEEDS_AT_ONCE = 250


def play(seed: int) -> ToyCluster:
    """One schedule; what happens often differs from seed to seed."""
    cluster = ToyCluster(seed)
    random = Random(f"schedule/{seed}")
    actions = cluster.actions()
    weights = [weight * random.choice((0, 1, 1, 4)) for _, weight in actions]
    weights[0] = weights[0] or 1
    cluster.elect()
    for action, _ in random.choices(actions, weights, k=STEPS):
        action()
    cluster.settle()
    cluster.check()
    return cluster


@pytest.mark.parametrize("first", range(0, 8 * SEEDS_AT_ONCE, SEEDS_AT_ONCE))
def test_every_write_is_executed_once_at_most_and_told_truly(first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        try:
            play(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_schedules_reach_what_they_are_for() -> None:
    """Forwards, repetitions, relays and failures all come up."""
    clusters = [play(seed) for seed in range(60)]
    outcomes = [o for cluster in clusters for o in cluster.outcomes]
    failures = [o for o in outcomes if hasattr(o, "outcome_known")]
    assert len(failures) < len(outcomes)
    assert {failure.outcome_known for failure in failures} == {True, False}
