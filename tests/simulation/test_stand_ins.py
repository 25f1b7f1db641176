"""A node of five dies: what it led is spread over the others soon, and then stays where it is.

In virtual time, over some seeds. Who wins the elections is chance: often most go to one node.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.simulation.cluster import SimulatedNode
from tests.simulation.gaps import Gaps

SHARDS = 16
SOON_SECONDS = 12.0
"""Elections, 5 s until it is not just a restart, and few at a time."""


def leaders(world: Gaps) -> dict[int, str]:
    """Of each shard that has one."""
    return {
        group.group_id: node.name
        for node in world.nodes
        if node.is_up
        for group in node.groups()
        if group.group_id and group.is_leader
    }


def led(world: Gaps) -> Counter[str]:
    return Counter(leaders(world).values())


def preferred(world: Gaps) -> dict[int, str]:
    return {shard + 1: world.replicas(shard)[0].name for shard in range(SHARDS)}


@pytest.mark.parametrize("seed", range(1, 3))
def test_what_a_dead_node_led_is_spread_and_stays_until_it_is_back(seed: int) -> None:
    world = Gaps(seed, nodes=5, shards=SHARDS)

    async def play() -> None:
        await world.stop_probing()
        home = preferred(world)
        assert leaders(world) == home
        dead: SimulatedNode = world.nodes[seed]
        dead.crash()
        await asyncio.sleep(SOON_SECONDS)
        after = leaders(world)
        assert len(after) == SHARDS
        counts = led(world).values()
        assert max(counts) - min(counts) <= 2, counts
        kept = {group: name for group, name in home.items() if name != dead.name}
        assert {group: after[group] for group in kept} == kept, "the others keep theirs"
        for _ in range(10):
            await asyncio.sleep(1.0)
            assert leaders(world) == after, "none goes to and fro"
        dead.start()
        await asyncio.sleep(SOON_SECONDS)
        assert leaders(world) == home

    world.run(play)


def test_a_node_that_is_restarted_gets_its_shards_back_at_once() -> None:
    """They do not go over a stand-in, whose clients would wait twice."""
    world = Gaps(1, nodes=5, shards=SHARDS)

    async def play() -> None:
        await world.stop_probing()
        home, dead = preferred(world), world.nodes[0]
        dead.crash()
        await asyncio.sleep(2.0)
        elected = leaders(world)
        dead.start()
        seen: set[tuple[int, str]] = set()
        for _ in range(100):
            await asyncio.sleep(0.1)
            seen.update(leaders(world).items())
        assert leaders(world) == home
        assert seen <= {*home.items(), *elected.items()}

    world.run(play)
