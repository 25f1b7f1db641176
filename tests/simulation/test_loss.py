"""How long a shard is away when three packets of ten are lost between the nodes.

Medians over some seeds, in virtual time. What the seconds were spent on is dialing: a kernel whose
first packet was lost waits a whole second, so a dial that has no answer has to be given up sooner;
and votes and heartbeats that wait behind what a connection has lost, so they also go as datagrams.
"""

import asyncio
from statistics import median

from tests.simulation.gaps import Gaps

SEEDS = range(1, 10)
LOSS = 0.3


def lossy(world: Gaps) -> None:
    for source in world.nodes:
        for target in world.nodes:
            if source is not target:
                world.network.link(source.name, target.name).loss = LOSS


def leads(world: Gaps) -> bool:
    return any(g.is_leader for n in world.nodes for g in n.groups() if g.group_id == 1)


def worst_of(seed: int, *, restart_all: bool) -> float:
    world = Gaps(seed, nodes=3, shards=1)

    async def play() -> None:
        if not restart_all:
            lossy(world)
            await asyncio.sleep(2.0)
            while not leads(world):  # noqa: ASYNC110 (there is no event for it)
                await asyncio.sleep(0.05)
            world.leader(0).crash()
        else:
            for node in world.nodes:
                node.crash()
            lossy(world)
            await asyncio.sleep(0.05)
            for node in world.nodes:
                node.start()
        await world.measure(12.0)

    world.run(play)
    return world.worst()


def test_a_killed_leader_under_loss() -> None:
    gaps = [worst_of(seed, restart_all=False) for seed in SEEDS]
    assert median(gaps) < 1.2, gaps


def test_all_nodes_restarted_under_loss() -> None:
    """2.8 s when a dial was given up after two seconds at first."""
    gaps = [worst_of(seed, restart_all=True) for seed in SEEDS]
    assert median(gaps) < 2.0, gaps
