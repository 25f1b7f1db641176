"""Through any live node, a shard whose leader is gone is away for a moment only.

Five nodes, three replicas of each shard, so that two nodes hold none. In virtual time.
"""

import asyncio
from typing import Any

import pytest

from tests.simulation.gaps import Gaps
from tests.simulation.network import Link
from tests.simulation.transport import VirtualTransport

SHARD = 0
PAUSE_SECONDS = 0.9
"""An election takes 0.3 to 0.6 s with the usual settings, and all has to be found out after it."""


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_killed_leader_that_stays_away_is_a_pause_through_every_node(seed: int) -> None:
    world = Gaps(seed, nodes=5)

    async def play() -> None:
        world.leader(SHARD).crash()
        await world.measure(8.0)

    world.run(play)
    assert not world.failures
    assert world.worst() < PAUSE_SECONDS


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_leader_that_nobody_reaches_is_a_pause_through_every_other_node(seed: int) -> None:
    """No connection is reset, so nobody is told that it is gone."""
    world = Gaps(seed, nodes=5)

    async def play() -> None:
        leader = world.leader(SHARD)
        others = [node.name for node in world.nodes if node is not leader]
        world.network.partition([leader.name], others, fault="lose")
        await world.measure(8.0)
        gaps = [world.worst(through=node) for node in world.nodes if node is not leader]
        assert max(gaps) < PAUSE_SECONDS, gaps

    world.run(play)


@pytest.mark.parametrize("fault", ["lose", "hold"])
@pytest.mark.parametrize("holds_replica", [True, False])
def test_a_node_that_is_cut_off_from_the_leader_goes_through_another(
    holds_replica: bool, fault: str
) -> None:
    """A gap until it is noticed, and none afterwards, for as long as the cut lasts."""
    world = Gaps(1, nodes=5)

    async def play() -> None:
        leader = world.leader(SHARD)
        nodes = world.replicas(SHARD) if holds_replica else world.strangers(SHARD)
        cut_off = next(node for node in nodes if node is not leader)
        world.network.partition([cut_off.name], [leader.name], fault=fault)
        await world.measure(4.0)
        assert world.worst(through=cut_off) < 1.5, world.longest
        await world.measure(4.0)
        assert world.worst(through=cut_off) < 0.3, world.longest
        assert world.leader(SHARD) is leader, "the cut cost the leader its leadership"

    world.run(play)


@pytest.mark.parametrize("ways", [1, 2])
def test_a_leader_whose_large_packets_are_lost_is_replaced(ways: int) -> None:
    """A tunnel that swallows full packets: connections come up and stall with the first large
    entry, again and again. All that is small passes, datagrams too.
    """
    world = Gaps(1, nodes=3, shards=1)
    network = world.network
    transmit, bytes_max = network._transmit, 1000
    holes: list[Link] = []
    stalled: set[VirtualTransport] = set()

    def swallow(link: Link, receiver: VirtualTransport, item: Any) -> None:
        if link in holes and (
            receiver in stalled or (type(item) is bytes and len(item) > bytes_max)
        ):
            stalled.add(receiver)  # What follows on the connection waits for it in vain.
        else:
            transmit(link, receiver, item)

    network._transmit = swallow  # type: ignore[method-assign]

    async def play() -> None:
        world.value = b"x" * 2 * bytes_max
        leader = world.leader(SHARD)
        others = [node for node in world.nodes if node is not leader]
        for other in others:
            holes.append(network.link(leader.name, other.name))
            if ways == 2:
                holes.append(network.link(other.name, leader.name))
        await asyncio.sleep(4.0)
        assert world.leader(SHARD) is not leader
        if ways == 2:  # It cannot be given its office back.
            await world.measure(6.0)
            assert max(world.worst(through=other) for other in others) < 0.5, world.longest

    world.run(play)


def test_two_dead_replicas_of_three_say_what_is_wrong_and_recover() -> None:
    world = Gaps(2, nodes=5)

    async def play() -> None:
        first, second, _ = world.replicas(SHARD)
        first.crash()
        second.crash()
        await world.measure(7.0)
        assert world.failures
        assert any(b"had no leader for 5000 ms" in line for line in world.failures), world.failures
        first.start()
        await asyncio.sleep(2.0)
        await world.measure(4.0)
        assert not world.failures
        assert world.worst() < PAUSE_SECONDS

    world.run(play)
