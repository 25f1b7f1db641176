"""What an operator is told in each situation: `/health` says 503 with the reason when a node can
certainly not do its part, and warns when it can but somebody should look.
"""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.node.admin.status import health_document
from quorumcache.node.housekeeping.disk_keeper import HANG_ELECTIONS, PROBE_IDLE_NS
from quorumcache.node.node import Node
from tests.simulation.stage import Stage


def problems(node: Node) -> list[str]:
    found = health_document(node)["problems"]
    assert isinstance(found, list)
    return found


def warnings(node: Node) -> list[str]:
    found = health_document(node)["warnings"]
    assert isinstance(found, list)
    return found


async def told(stage: Stage, node: Node, text: str) -> list[str]:
    """Wait until a problem holds `text`; all of them."""
    await stage.until(text, lambda: any(text in problem for problem in problems(node)))
    return problems(node)


def test_all_well() -> None:
    async def scenario(stage: Stage) -> None:
        for node in stage.up():
            assert (problems(node), warnings(node)) == ([], [])
        await asyncio.sleep(10.0)  # With nothing to do.
        for node in stage.up():
            assert (problems(node), warnings(node)) == ([], [])

    Stage().run(scenario)
    Stage(nodes=1).run(scenario)


def test_one_node_dead_is_a_warning_at_the_others() -> None:
    async def scenario(stage: Stage) -> None:
        stage.nodes["n3"].crash()
        first = stage.node("n1")
        await stage.until("warned", lambda: warnings(first) == ["node n3: no connection to it"])
        await stage.until("all led", lambda: not any(problems(node) for node in stage.up()))
        await asyncio.sleep(10.0)
        assert not any(problems(node) for node in stage.up())
        stage.nodes["n3"].start()
        await stage.served()
        assert warnings(first) == []

    Stage().run(scenario)


def test_the_log_tells_when_a_node_is_unwell_and_when_it_is_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def told() -> list[str]:
        names = [record.getMessage().split()[0] for record in caplog.records]
        return [name for name in names if "healthy" in name]

    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(5.0)
        assert told() == ["healthy"] * 3
        stage.nodes["n2"].crash()
        stage.nodes["n3"].crash()
        await asyncio.sleep(10.0)
        assert told() == ["healthy"] * 3 + ["unhealthy"]
        stage.nodes["n2"].start()
        await asyncio.sleep(5.0)
        assert told() == ["healthy"] * 3 + ["unhealthy"] + ["healthy"] * 2

    with caplog.at_level("INFO", logger="quorumcache.health"):
        Stage().run(scenario)


def test_the_survivor_of_a_majority_is_not_well() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        for name in stage.nodes:
            if name != leader:
                stage.nodes[name].crash()
        node = stage.node(leader)
        begin = stage.loop.time()
        await told(stage, node, "shard 0: no leader known")
        assert stage.loop.time() - begin < 3 * node.config.election_ms / 1000
        for _ in range(100):  # And it stays so, whatever its elections try.
            await asyncio.sleep(0.1)
            found = problems(node)
            assert len(found) == 3, found
            assert all("no leader known" in problem for problem in found), found

    Stage().run(scenario)


def test_a_leader_that_was_paused_is_not_well_until_it_follows() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        simulated, node = stage.nodes[leader], stage.node(leader)
        simulated.process.pause()
        await asyncio.sleep(5.0)
        others = [other for other in stage.up() if other is not node]
        assert not any(problems(other) for other in others)
        assert all(f"node {leader}: no connection to it" in warnings(other) for other in others)
        simulated.process.resume()
        await stage.served()

    Stage().run(scenario)


def test_a_node_that_hears_and_is_not_heard() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        name = next(name for name in stage.nodes if name != leader)
        node = stage.node(name)
        others = [other for other in stage.nodes if other != name]
        links = stage.network.partition([name], others, one_way=True)
        await stage.until("it is not well", lambda: problems(node))
        await asyncio.sleep(10.0)
        for _ in range(100):
            await asyncio.sleep(0.05)
            assert problems(node)
        stage.network.mend(links)
        await stage.served()

    Stage().run(scenario)


def test_a_node_that_is_heard_and_does_not_hear() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        name = next(name for name in stage.nodes if name != leader)
        node = stage.node(name)
        others = [other for other in stage.nodes if other != name]
        links = stage.network.partition(others, [name], one_way=True)
        await told(stage, node, "no leader known")
        stage.network.mend(links)
        await stage.served()

    Stage().run(scenario)


def test_a_follower_that_stands_still_behind_its_leader() -> None:
    """Its connection stands and its messages come: only the measured staleness tells."""

    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        name = next(name for name in stage.nodes if name != leader)
        node = stage.node(name)
        group = node.host.groups[1]
        group.dirty = True  # Its turn is always still to come.
        await stage.ask(leader, b"set %b 0 0 1\r\nx\r\n" % stage.key(0))
        found = await told(stage, node, "shard 0: its leader has not confirmed the replica here")
        assert len(found) == 1
        group.dirty = False
        node.host.mark_dirty(group)
        await stage.served()

    Stage().run(scenario)


def test_a_replica_that_never_caught_up_since_the_start() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.until("all started", lambda: all(node.host.groups for node in stage.up()))
        await stage.until(
            "told of it",
            lambda: any(
                "still catching up" in problem or "no leader known" in problem
                for node in stage.up()
                for problem in problems(node)
            ),
        )
        await stage.served()

    Stage().run(scenario, all_well=False)


def test_a_full_disk() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        node, disk = stage.node(leader), stage.nodes[leader].disk
        disk.fill()
        for _ in range(3):
            await stage.ask(leader, b"set %b 0 0 60000\r\n%b\r\n" % (stage.key(0), b"x" * 60_000))
        await told(stage, node, f"the disk of {node.config.data_dir} is full")
        disk.make_space()
        await stage.served()

    Stage().run(scenario)


def test_a_disk_that_hangs_while_nothing_is_written() -> None:
    """A follower whose disk has nothing to do is asked for a sign of life."""

    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(40.0)  # All is quiet.
        leader = stage.leader(0)
        name = next(name for name in stage.nodes if name != leader)
        node, disk = stage.node(name), stage.nodes[name].disk
        hang_s = HANG_ELECTIONS * node.config.election_ms / 1000
        begin = stage.loop.time()
        disk.hang(100.0)
        while not any(
            "does not answer" in text or "has taken more" in text for text in problems(node)
        ):
            await asyncio.sleep(0.05)
            assert stage.loop.time() - begin < PROBE_IDLE_NS / 1e9 + hang_s + 0.5
        assert node.host.disk_hangs
        await stage.until("another leads", lambda: stage.leader(0) and stage.leader(1))
        assert name not in (stage.leader(0), stage.leader(1))
        disk.repair()
        await asyncio.sleep(100.0)
        await stage.served()

    Stage().run(scenario)


def test_a_full_memory_is_a_warning() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        node = stage.node(leader)
        for number in range(20):
            await stage.ask(
                leader,
                b"set %b 0 0 60000\r\n%b\r\n" % (stage.key(0, number), b"x" * 60_000),
            )
        await stage.until("warned", lambda: any("memory allowed" in w for w in warnings(node)))
        assert problems(node) == []
        await asyncio.sleep(20.0)
        assert any("memory allowed" in warning for warning in warnings(node))
        await stage.ask(leader, b"flush_all\r\n")
        await stage.until("it goes", lambda: warnings(node) == [])

    Stage(memory_bytes=1 << 20, evicts=False).run(scenario)


def test_the_limit_of_connections_is_a_warning() -> None:
    async def scenario(stage: Stage) -> None:
        node = stage.node("n1")
        wires = [await stage.connect("n1") for _ in range(2)]
        for wire in wires:
            await wire.ask(b"version\r\n")
        await stage.until("warned", lambda: any("client connections" in w for w in warnings(node)))
        assert problems(node) == []
        for wire in wires:
            wire.close()
        await asyncio.sleep(5.0)
        assert warnings(node) != []  # Not with every client that comes and goes.
        await asyncio.sleep(10.0)
        assert warnings(node) == []

    Stage(nodes=1, connections_max=2).run(scenario)
