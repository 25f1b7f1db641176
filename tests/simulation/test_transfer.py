"""Leadership goes back to a preferred leader that cannot take it: the attempt fails, and nothing of
it may remain.
"""

from __future__ import annotations

import asyncio

from quorumcache.node.admin.status import health_document
from quorumcache.node.consensus.api import ReplicatedLog
from quorumcache.node.node import Node
from tests.simulation.stage import Stage


async def another_leads(stage: Stage) -> tuple[str, Node, ReplicatedLog]:
    """Restart the leader of shard 0: its name, the node that leads now, and that node's log. The
    shard has not gone back yet.
    """
    name = stage.leader(0)
    stage.nodes[name].crash()
    await stage.until("another leads", lambda: stage.leader(0))
    stage.nodes[name].start()
    await stage.served()
    assert stage.leader(0) != name
    leader = stage.node(stage.leader(0))
    return name, leader, leader.host.groups[1].log


def hear_nothing_of_fitness(node: Node) -> None:
    """As from nodes of form 1, which do not say that they want no leadership."""
    assert node.member is not None
    node.member.fitness.heard = lambda node_id, item: None  # type: ignore[method-assign]


def test_a_shard_whose_new_leaders_disk_hangs_is_well_and_served_by_lease() -> None:
    """Without a lease nobody learns how fresh its state is: after 3 s all report to be unwell."""

    async def scenario(stage: Stage) -> None:
        name, leader, log = await another_leads(stage)
        term = log.term
        hear_nothing_of_fitness(leader)
        stage.nodes[name].disk.hang(20.0)
        await stage.until("it is told to stand", lambda: log.transfer_target)
        begin = stage.loop.time()
        await stage.until("it is given up", lambda: log.role.name == "LEADER" and log.term > term)
        await stage.until("a lease", lambda: stage.leader(0) == leader.config.name)
        assert stage.loop.time() - begin < 2 * leader.config.election_ms / 1000
        others = [node for node in stage.up() if node.config.name != name]
        request = b"set %b 0 0 1\r\nx\r\n" % stage.key(0)
        while stage.loop.time() < begin + 15.0:
            assert [await stage.ask(other.config.name, request) for other in others] == [
                b"STORED\r\n"
            ] * 2
            assert stage.leader(0) == leader.config.name
            assert not any(health_document(other)["problems"] for other in others)
            await asyncio.sleep(0.1)
        assert log.term == term + 1
        await stage.served()
        await stage.until("it has gone back", lambda: stage.leader(0) == name)

    Stage().run(scenario)


def test_a_node_with_a_slow_disk_is_offered_its_shards_less_and_less_often() -> None:
    """It does not hang for long enough to be known for it, and is never elected in time."""

    async def scenario(stage: Stage) -> None:
        name, leader, log = await another_leads(stage)
        term = log.term
        hear_nothing_of_fitness(leader)
        stage.nodes[name].disk.delay = lambda random: 0.4
        for _ in range(240):
            await asyncio.sleep(0.25)
            told = [health_document(node)["problems"] for node in stage.up()]
            assert all(problems in ([], ["shard 0: no leader known"]) for problems in told), told
        assert stage.leader(0) == leader.config.name
        assert 1 < log.term - term <= 6, "without a pause between them it would be some 25"

    Stage().run(scenario)
