"""Goal: whatever happens on the way to a leader, writes that a client sends without waiting take
effect in the order in which it sent them, each once at most, and what it is told is true.

Method: many small random schedules over the real lanes, coordinators, serving and groups of three
nodes (`tests/support/toy_pipelines.py`), each of a seed: elections, cuts, items that arrive very
late, sessions that expire, leaders without room, transactions that hold the keys.
"""

from random import Random

import pytest

from tests.support.toy_pipelines import PipelineCluster

STEPS = 200
SEEDS_AT_ONCE = 150


def play(seed: int) -> PipelineCluster:
    """One schedule; what happens often differs from seed to seed."""
    cluster = PipelineCluster(seed)
    random = Random(f"pipelines/{seed}")
    usual = [
        (cluster.send, 8),
        (cluster.turn, 12),
        (cluster.deliver, 16),
        (cluster.propose, 4),
        (cluster.commit, 6),
    ]
    unusual = [
        (cluster.elect, 2),
        (cluster.hear, 3),
        (cluster.cut, 1),
        (cluster.expire_sessions, 1),
        (cluster.pass_time, 2),
        (cluster.hold, 2),
        (cluster.free, 3),
    ]
    weights = [
        *(weight * random.choice((1, 1, 3)) for _, weight in usual),
        *(weight * random.choice((0, 0, 1, 3)) for _, weight in unusual),
    ]
    cluster.elect()
    for action, _ in random.choices([*usual, *unusual], weights, k=STEPS):
        action()
    cluster.settle()
    cluster.check()
    return cluster


@pytest.mark.parametrize("first", range(0, 8 * SEEDS_AT_ONCE, SEEDS_AT_ONCE))
def test_writes_take_effect_in_the_order_in_which_they_were_sent(first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        try:
            play(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
