"""How long a shard is away through the other nodes when the links of its leader get slow.

The answers come too late for check-quorum, so it steps down, while its last heartbeats are still on
their way and keep the others from voting. Medians over some seeds, in virtual time.
"""

import asyncio
from statistics import median

import pytest

from tests.simulation.gaps import Gaps

SEEDS = range(1, 16)
MS = 1_000_000


def worst_of(seed: int, extra_ms: int, after_seconds: float = 0.0) -> float:
    world = Gaps(seed, nodes=3, shards=1)
    gaps: list[float] = []

    async def play() -> None:
        leader = world.leader(0)
        others = [node for node in world.nodes if node is not leader]
        for other in others:
            for ends in ((leader.name, other.name), (other.name, leader.name)):
                world.network.link(*ends).extra_latency_ns = extra_ms * MS
        await asyncio.sleep(after_seconds)
        await world.measure(6.0)
        gaps.extend(world.worst(through=node) for node in others)

    world.run(play)
    return max(gaps)


@pytest.mark.parametrize(("extra_ms", "seconds"), [(300, 0.9), (500, 0.6)])
def test_a_slow_leader_calls_its_successor(extra_ms: int, seconds: float) -> None:
    """1.1 s with 300 ms when the others waited for their own timeouts."""
    gaps = [worst_of(seed, extra_ms) for seed in SEEDS]
    assert median(gaps) < seconds, gaps


def test_a_leader_that_is_too_slow_for_a_lease_hands_over() -> None:
    """200 ms each way leave it its quorum and make every set and get take 0.8 s."""
    gaps = [worst_of(seed, 200, after_seconds=4.0) for seed in SEEDS[:3]]
    assert max(gaps) < 0.2, gaps
