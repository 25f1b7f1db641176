"""The directory on whole nodes: changes that are asked for anywhere, steered to their end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from quorumcache.node.directory.question import OK, REFUSED
from quorumcache.node.errors import NodeLeft
from quorumcache.node.node import Node
from quorumcache.ring import ClusterMap
from tests.simulation.stage import Stage


def map_of(node: Node) -> ClusterMap:
    assert node.map is not None
    return node.map


async def ask(node: Node, *words: str) -> tuple[int, bytes]:
    """Ask for a change at a node; the answer."""
    answers: list[tuple[int, bytes]] = []
    assert node.member is not None
    node.member.office.desk.ask(words, lambda *answer: answers.append(answer))
    while not answers:  # noqa: ASYNC110 - a desk answers within its deadline
        await asyncio.sleep(0.01)
    return answers[0]


async def started(stage: Stage) -> None:
    await stage.until("starts", lambda: map_of(stage.node("n1")).started == 2**stage.shards - 1)


def moves(node: Node) -> dict[str, Any]:
    assert node.member is not None
    document: dict[str, Any] = json.loads(node.member.office.desk.moves_json())
    return document


def test_a_drained_node_gives_away_its_shards_and_leaves_and_no_write_is_lost() -> None:
    async def scenario(stage: Stage) -> None:
        await started(stage)
        wire = await stage.connect("n1")
        keys = [stage.key(shard, number) for shard in range(2) for number in range(20)]
        for key in keys:
            assert await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key) == b"STORED\r\n"
        drained = stage.node("n4")
        client = await stage.connect("n4")
        assert await client.ask(b"version\r\n") != b""
        code, payload = await ask(stage.node("n2"), "drain", "n4")
        assert code == OK, payload
        code, payload = await ask(stage.node("n4"), "drain", "n3")
        assert code == REFUSED
        assert b"drain n4" in payload or b"replication" in payload or b"factor" in payload, payload
        await stage.until("drained", lambda: map_of(drained).node(4).state == "drained")
        assert moves(stage.node("n3"))["moves"] == []
        await asyncio.sleep(3.0)
        assert not drained.failed.done(), "a client is there"
        for key in keys:
            assert await client.ask(b"get %b\r\n" % key, b"END\r\n") == (
                b"VALUE %b 0 1\r\n5\r\nEND\r\n" % key
            )
        client.close()
        await stage.until("left", drained.failed.done)
        error = drained.failed.result()
        assert isinstance(error, NodeLeft)
        assert error.was_drained
        (problem,) = stage.nodes["n4"].problems
        assert "NodeLeft" in problem
        stage.nodes["n4"].problems.clear()
        others = [stage.node(name) for name in ("n1", "n2", "n3")]
        await stage.until("gone", lambda: all(len(map_of(n).nodes) == 3 for n in others))
        await stage.until("forgotten", lambda: all(4 not in n.members.told for n in others))
        for key in keys:
            assert (await wire.ask(b"get %b\r\n" % key, b"END\r\n")).startswith(b"VALUE")

    Stage(nodes=4).run(scenario)


def test_a_node_that_was_removed_while_it_was_away_ends_when_it_comes_back() -> None:
    async def scenario(stage: Stage) -> None:
        await started(stage)
        lost = stage.nodes["n4"]
        lost.crash()
        n1 = stage.node("n1")

        async def removed() -> bool:
            code, _ = await ask(n1, "remove", "n4", "force")
            return code == OK

        while not await removed():  # noqa: ASYNC110 - until it has been silent for a moment
            await asyncio.sleep(0.5)
        await stage.until("gone", lambda: len(map_of(n1).nodes) == 3)
        await asyncio.sleep(2.0)
        lost.start()
        await stage.until("it ends", lambda: lost.problems)
        (problem,) = lost.problems
        assert "NodeLeft" in problem
        assert "no member of cluster" in problem
        lost.problems.clear()
        lost.start()
        await stage.until("it is refused", lambda: lost.problems)
        (problem,) = lost.problems
        assert "must not be used any more: node n4 is no member" in problem
        lost.problems.clear()

    Stage(nodes=4).run(scenario)


def test_a_larger_item_is_taken_as_soon_as_the_map_says_so() -> None:
    """Clients that are connected included, and at each node."""

    async def scenario(stage: Stage) -> None:
        await started(stage)
        store = b"set %b 0 0 100000\r\n" % stage.key(0) + b"x" * 100_000 + b"\r\n"
        wires = [await stage.connect(name) for name in stage.nodes]
        for wire in wires:
            assert (await wire.ask(store)).startswith(b"SERVER_ERROR object too large")
        code, payload = await ask(stage.node("n3"), "settings", "max-item-size=128k")
        assert code == OK, payload
        epoch = json.loads(payload)["epoch"]
        await stage.until("known", lambda: all(map_of(n).epoch >= epoch for n in stage.up()))
        for wire in wires:
            assert await wire.ask(store) == b"STORED\r\n"
        code, payload = await ask(stage.node("n3"), "settings", "max-item-size=64k")
        epoch = json.loads(payload)["epoch"]
        await stage.until("known", lambda: all(map_of(n).epoch >= epoch for n in stage.up()))
        for wire in wires:
            assert (await wire.ask(store)).startswith(b"SERVER_ERROR object too large")

    Stage().run(scenario)


def test_a_change_survives_the_death_of_the_directorys_leader() -> None:
    """Whoever leads next goes on from the map alone."""

    async def scenario(stage: Stage) -> None:
        await started(stage)
        code, payload = await ask(stage.node("n2"), "drain", "n4")
        assert code == OK, payload
        leader = next(n for n in stage.up() if n.host.groups[0].is_leader)
        stage.nodes[leader.config.name].crash()
        others = [node for node in stage.up() if node.config.name != "n4"]
        await asyncio.sleep(2.0)
        stage.nodes[leader.config.name].start()
        await stage.until("it leaves", lambda: all(len(map_of(n).nodes) == 3 for n in others))
        stage.nodes["n4"].problems.clear()

    Stage(nodes=4).run(scenario)
