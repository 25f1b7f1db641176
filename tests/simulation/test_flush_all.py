"""flush_all over a whole cluster: what it hides, what it leaves, and what is told when it does not
reach every shard.
"""

from __future__ import annotations

import asyncio

from quorumcache.node.node import Node
from tests.simulation.stage import Stage, Wire

SHARDS = 4


async def store(stage: Stage, wire: Wire, value: bytes = b"x") -> None:
    for shard in range(stage.shards):
        line = b"set %b 0 0 %d\r\n%b\r\n" % (stage.key(shard), len(value), value)
        assert await wire.ask(line) == b"STORED\r\n"


async def found(stage: Stage, wire: Wire) -> list[bool]:
    """Of each shard, whether its key is there."""
    replies = []
    for shard in range(stage.shards):
        reply = await wire.ask(b"get %b\r\n" % stage.key(shard), b"END\r\n")
        assert reply == b"END\r\n" or reply.startswith(b"VALUE ")
        replies.append(reply != b"END\r\n")
    return replies


def ask_for(node: Node, *words: str) -> list[int]:
    """Ask for a change of the cluster; the code of its answer, once it is there."""
    answers: list[int] = []
    assert node.member is not None
    node.member.office.desk.ask(words, lambda code, payload: answers.append(code))
    return answers


def test_it_hides_everything_before_it_and_nothing_after_it_in_a_pipeline() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = [stage.key(0, number) for number in range(2)]
        other = stage.key(1)
        for name in stage.nodes:
            wire = await stage.connect(name)
            sets = [b"set %b 0 0 1\r\nx\r\n" % key for key in (first, other)]
            gets = [b"get %b\r\n" % key for key in (first, second, other)]
            lines = [*sets, b"flush_all\r\n", b"set %b 0 0 1\r\ny\r\n" % second, *gets]
            end = b"STORED\r\nSTORED\r\nOK\r\nSTORED\r\nEND\r\nVALUE %b 0 1\r\ny\r\nEND\r\nEND\r\n"
            expected = end % second
            wire.writer.write(b"".join(lines))
            assert await wire.reader.readexactly(len(expected)) == expected

    Stage(shards=SHARDS).run(scenario)


def test_a_shard_without_a_leader_is_told_and_the_others_are_flushed() -> None:
    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        await store(stage, wire)
        led = [shard for shard in range(SHARDS) if stage.leader(shard) == "n2"]
        assert 0 < len(led) < SHARDS
        stage.nodes["n2"].crash()
        await asyncio.sleep(0.1)  # Until the others have heard it: nothing may be sent there.
        reply = await wire.ask(b"flush_all\r\n")
        were, flushed = ("was" if len(led) == 1 else "were"), SHARDS - len(led)
        expected = (
            f"SERVER_ERROR outcome unknown: {flushed} of {SHARDS} shards"
            f" {'was' if flushed == 1 else 'were'} flushed, {len(led)} {were} not: shard"
        )
        assert reply.startswith(expected.encode()), reply
        assert reply.endswith(b"had no leader for 2000 ms\r\n"), reply
        stage.nodes["n2"].start()
        await stage.served()
        assert await found(stage, wire) == [shard in led for shard in range(SHARDS)]
        assert await wire.ask(b"flush_all\r\n") == b"OK\r\n"
        assert not any(await found(stage, wire))

    Stage(shards=SHARDS, replication=1).run(scenario)


def test_when_no_shard_can_be_reached_it_is_not_done() -> None:
    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        await store(stage, wire)
        for name in ("n2", "n3"):
            stage.nodes[name].crash()
        await asyncio.sleep(5.0)  # Whoever led knows by now that it does not.
        reply = await wire.ask(b"flush_all\r\n")
        assert reply.startswith(b"SERVER_ERROR not done: no shard was flushed: shard "), reply
        for name in ("n2", "n3"):
            stage.nodes[name].start()
        await stage.served()
        assert all(await found(stage, wire))

    Stage(shards=SHARDS).run(scenario)


def test_through_a_gateway_and_in_redirect_mode() -> None:
    """It is one command for the whole cluster, so nobody is sent elsewhere with it."""

    async def scenario(stage: Stage) -> None:
        n1, gateway = stage.node("n1"), stage.node("n4")
        ask_for(n1, "node", "n4", "weight=0")
        await stage.until("it holds no shard", lambda: set(gateway.host.groups) <= {0})
        for redirects in (False, True):
            wire = await stage.connect("n4")
            other = await stage.connect("n1")
            await store(stage, other)
            if redirects:
                assert await wire.ask(b"cluster redirect on\r\n") == b"OK\r\n"
            assert await wire.ask(b"flush_all\r\n") == b"OK\r\n"
            assert not any(await found(stage, other))

    Stage(nodes=4, shards=SHARDS).run(scenario)


def test_a_second_flush_replaces_the_first_in_all_shards() -> None:
    async def scenario(stage: Stage) -> None:
        early, late = await stage.connect("n1"), await stage.connect("n2")
        # A pending one is replaced by one at once ...
        assert await early.ask(b"flush_all 20\r\n") == b"OK\r\n"
        assert await late.ask(b"flush_all\r\n") == b"OK\r\n"
        await store(stage, early)
        await asyncio.sleep(25.0)
        assert all(await found(stage, late))
        # ... and by a later or an earlier one.
        assert await early.ask(b"flush_all 10\r\n") == b"OK\r\n"
        assert await late.ask(b"flush_all 40\r\n") == b"OK\r\n"
        await asyncio.sleep(25.0)
        assert all(await found(stage, late))
        assert await early.ask(b"flush_all 5\r\n") == b"OK\r\n"
        await asyncio.sleep(8.0)
        assert not any(await found(stage, early))
        await store(stage, early)
        await asyncio.sleep(20.0)
        assert all(await found(stage, late)), "the one that was replaced does not come"

    Stage(shards=SHARDS).run(scenario)


def test_a_pending_flush_moves_with_its_shard() -> None:
    """Every replica is another one when its time comes."""

    async def scenario(stage: Stage) -> None:
        n1 = stage.node("n1")
        ask_for(n1, "settings", "replication=1")
        await stage.until(
            "one replica each",
            lambda: (
                n1.map is not None
                and not n1.map.moves
                and all(len(nodes) == 1 for nodes in n1.map.replica_sets)
            ),
        )
        wire = await stage.connect("n1")
        await store(stage, wire)
        assert await wire.ask(b"flush_all 30\r\n") == b"OK\r\n"
        name = next(leader for shard in range(SHARDS) if (leader := stage.leader(shard)) != "n1")
        moved = [shard for shard in range(SHARDS) if stage.leader(shard) == name]
        ask_for(n1, "node", name, "weight=0")
        await stage.until(
            "its shards are elsewhere",
            lambda: all(stage.leader(shard) not in ("", name) for shard in moved),
        )
        assert all(await found(stage, wire))
        await asyncio.sleep(40.0)
        assert not any(await found(stage, wire))

    Stage(nodes=4, shards=SHARDS).run(scenario)


def test_flushes_while_a_shard_moves_lose_nothing_and_leave_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        n1 = stage.node("n1")
        wire = await stage.connect("n1")
        ask_for(n1, "drain", "n4")
        rounds = 0
        while n1.map is None or len(n1.map.nodes) == 4 or rounds < 5:
            await store(stage, wire)
            assert await wire.ask(b"flush_all\r\n") == b"OK\r\n"
            assert not any(await found(stage, wire))
            rounds += 1
        stage.nodes["n4"].problems.clear()  # It ended when it had left.

    Stage(nodes=4, shards=SHARDS).run(scenario)


def test_where_it_is_not_allowed_it_does_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other = await stage.connect("n1"), await stage.connect("n2")
        await store(stage, wire)
        assert await wire.ask(b"flush_all\r\n") == b"CLIENT_ERROR flush_all not allowed\r\n"
        assert all(await found(stage, wire))
        assert await other.ask(b"flush_all\r\n") == b"OK\r\n", "another node decides for itself"

    Stage(shards=SHARDS, own={"n1": {"flush_enabled": False}}).run(scenario)
