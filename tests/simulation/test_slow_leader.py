"""How long a shard is away through the other nodes when the links of its leader get slow.

The answers come too late for check-quorum, so it steps down, while its last heartbeats are still on
their way and keep the others from voting. Medians over some seeds, in virtual time.
"""

import asyncio
from statistics import median

import pytest

from tests.simulation.gaps import Gaps

SEEDS = range(1, 10)
MS = 1_000_000


def worst_of(seed: int, extra_ms: int) -> float:
    world = Gaps(seed, nodes=3, shards=1)
    gaps: list[float] = []

    async def play() -> None:
        leader = world.leader(0)
        others = [node for node in world.nodes if node is not leader]
        for other in others:
            for ends in ((leader.name, other.name), (other.name, leader.name)):
                world.network.link(*ends).extra_latency_ns = extra_ms * MS
        await world.measure(6.0)
        gaps.extend(world.worst(through=node) for node in others)

    world.run(play)
    return max(gaps)


@pytest.mark.parametrize(("extra_ms", "seconds"), [(200, 1.0), (300, 1.2), (500, 1.4)])
def test_a_slow_leader_calls_its_successor(extra_ms: int, seconds: float) -> None:
    gaps = [worst_of(seed, extra_ms) for seed in SEEDS]
    print(extra_ms, [round(g, 2) for g in sorted(gaps)])
    assert median(gaps) < seconds, gaps
