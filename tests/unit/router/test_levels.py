"""Read levels in the client library: who is asked, over what, and where it turns to in trouble."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from quorumcache.router import (
    AsyncClient,
    Bounded,
    ClientConfig,
    DeadlineExceeded,
    InvalidArgument,
    Linearizable,
    Local,
    PartialFailure,
)
from quorumcache.router.levels import parse_level
from tests.support.fake_cluster import CLOSE_BEFORE, HANG, FakeCluster, Fault, run

PATIENT = ClientConfig(timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000)


def client_of(cluster: FakeCluster, config: ClientConfig = PATIENT) -> AsyncClient:
    return AsyncClient(cluster.seeds, config, random=Random(1))


async def all_at_hand(cluster: FakeCluster, client: AsyncClient) -> None:
    """Wait until the client has a connection to every node, and forget what was asked till then."""
    while not all(client._engine.pool.is_at_hand(address) for address in cluster.seeds):
        await client.get("warm", level=Local())
        await asyncio.sleep(0.001)
    for node in cluster.nodes:
        node.reads.clear()
        node.log.clear()


def test_linearizable_goes_to_the_leader_and_says_nothing_of_levels() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            for _ in range(6):
                await client.get("k")
                await client.gets("k", level=Linearizable())
            leader = cluster.leader_node("k")
            assert len(leader.reads) == 12
            assert not any(b"cluster read" in line for line in leader.log)

    run(main())


def test_below_it_each_replica_is_asked_in_its_turn_over_a_connection_of_that_level() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=4) as cluster, client_of(cluster) as client:
            await client.set("k", b"v")
            await all_at_hand(cluster, client)
            for _ in range(9):
                assert await client.get("k", level=Bounded(500)) == b"v"
            replicas = cluster.map.replicas_of(cluster.map.shard_of(b"k"))
            for node in cluster.nodes:
                count = 3 if node.node_id in replicas else 0
                assert node.reads == [(b"bounded 500", b"get k")] * count
                assert node.log.count(b"cluster read bounded 500") == bool(count)

    run(main())


def test_a_read_is_never_answered_at_the_level_of_another() -> None:
    """Levels, writes and cancelled calls of many tasks share the connections."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await all_at_hand(cluster, client)
            levels: dict[str, Any] = {"a": Local(), "b": Bounded(7), "c": Linearizable()}
            random = Random(3)

            async def use(name: str) -> None:
                for number in range(60):
                    call = asyncio.ensure_future(client.get(f"{name}-{number}", level=levels[name]))
                    if random.random() < 0.3:
                        await asyncio.sleep(0)
                        call.cancel()
                    await asyncio.wait([call])
                    if random.random() < 0.2:
                        await client.set(f"{name}-{number}", b"x")

            await asyncio.gather(*(use(name) for name in "abcabc"))
            reads = [read for node in cluster.nodes for read in node.reads]
            assert len(reads) > 200
            for level, line in reads:
                assert level == levels[line.split()[1][:1].decode()].words, (level, line)

    run(main())


def test_many_keys_at_once() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            keys = [f"k{number}" for number in range(50)]
            await client.set_many({key: key.encode() for key in keys})
            await all_at_hand(cluster, client)
            found = await client.get_many(keys, level=Local())
            assert found == {key: key.encode() for key in keys}
            assert all(level == b"local" for node in cluster.nodes for level, _ in node.reads)
            assert [len(node.reads) for node in cluster.nodes].count(1) == 1
            for _ in range(2):  # Each further call goes to another node, in one line.
                assert await client.get_many(keys, level=Local()) == found
            assert [len(node.reads) for node in cluster.nodes] == [1, 1, 1]
            many = [*keys, *(f"none{number}" for number in range(500))]
            assert await client.get_many(many, level=Local()) == found
            assert all(len(node.reads) > 1 for node in cluster.nodes)
            shard = cluster.map.shard_of(b"k0")
            for node in cluster.nodes:
                node.is_behind = True
            cluster.lead(shard, 0)
            with pytest.raises(PartialFailure) as failure:
                await client.get_many(keys, level=Bounded(5), timeout_ms=200)
            assert {cluster.map.shard_of(k.encode()) for k in failure.value.errors} == {shard}

    run(main())


def test_a_replica_that_is_too_far_behind_names_the_leader() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("k", b"v")
            leader = cluster.leader_node("k")
            await all_at_hand(cluster, client)
            for node in cluster.nodes:
                node.is_behind = True
            for _ in range(6):
                assert await client.get("k", level=Bounded(5)) == b"v"
            assert len(leader.reads) == 6
            others = [node for node in cluster.nodes if node is not leader]
            assert sum(node.log.count(b"get k") for node in others) == 4, "one detour each, no more"

    run(main())


@pytest.mark.parametrize("action", [CLOSE_BEFORE, HANG, b"SERVER_ERROR not done: busy\r\n"])
def test_another_replica_is_asked_after_a_failure(action: str | bytes) -> None:
    async def main() -> None:
        config = ClientConfig(timeout_ms=20_000, read_attempt_ms=20)
        async with FakeCluster() as cluster, client_of(cluster, config) as client:
            await client.set("k", b"v")
            await all_at_hand(cluster, client)
            for node in cluster.nodes[:2]:
                node.faults.append(Fault(b"get k", action))
            for _ in range(4):
                assert await client.get("k", level=Local()) == b"v"

    run(main())


def test_local_reads_go_on_while_nobody_leads_and_nodes_are_down() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("k", b"v")
            await all_at_hand(cluster, client)
            cluster.lead(cluster.map.shard_of(b"k"), 0)
            await cluster.node(1).stop()
            await cluster.node(2).stop()
            for _ in range(10):
                assert await client.get("k", level=Local()) == b"v"
            with pytest.raises(DeadlineExceeded):
                await client.get("k", timeout_ms=100)

    run(main())


def test_a_node_that_comes_back_is_used_again() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await all_at_hand(cluster, client)
            back = cluster.node(2)
            await back.stop()
            for _ in range(10):
                await client.get("k", level=Local())
            await back.start()
            while not back.reads:
                await client.get("k", level=Local())
                await asyncio.sleep(0.002)

    run(main())


def test_the_default_level_is_a_setting() -> None:
    async def main() -> None:
        config = ClientConfig(timeout_ms=20_000, read_level=Bounded(250))
        async with FakeCluster() as cluster, client_of(cluster, config) as client:
            await client.get("k")
            await client.get_many(["k"])
            await client.gets("k", level=Linearizable())
            levels = sorted(level for node in cluster.nodes for level, _ in node.reads)
            assert levels == [b"bounded 250", b"bounded 250", b"linearizable"]

    run(main())


def test_a_node_that_takes_no_level_is_not_believed() -> None:
    """What it answers next would be of another level than was asked for: the connection ends, and
    the read is asked elsewhere."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("k", b"v")
            refusal = Fault(b"cluster read", b"CLIENT_ERROR usage\r\n")
            refused = cluster.node(2)
            refused.faults.append(refusal)
            while not refusal.event.is_set():
                assert await client.get("k", level=Local()) == b"v"
            before = refused.connection_count
            while refused.connection_count == before:
                assert await client.get("k", level=Local()) == b"v"
                await asyncio.sleep(0.001)

    run(main())


@pytest.mark.parametrize("ms", [0, -1, 86_400_001, 1.5, True, "5"])
def test_a_bound_is_a_number_of_milliseconds(ms: Any) -> None:
    with pytest.raises(InvalidArgument):
        Bounded(ms)


def test_a_setting_that_is_no_level() -> None:
    level: Any = "local"
    with pytest.raises(InvalidArgument, match="read_level"):
        ClientConfig(read_level=level)


def test_levels_as_text() -> None:
    assert parse_level("linearizable") == Linearizable()
    assert parse_level("bounded:500") == Bounded(500)
    assert parse_level("local") == Local()
    for text in ("", "bounded", "bounded:", "bounded:x", "bounded:0", "local:5", "Local"):
        with pytest.raises(InvalidArgument):
            parse_level(text)


def test_a_silent_connection_is_closed_although_its_change_of_level_has_no_answer() -> None:
    """Nobody waits for that answer: the connection must not stay open for it."""
    config = ClientConfig(timeout_ms=20_000, stall_ms=50, read_attempt_ms=50)

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster, client_of(cluster, config) as client:
            await client.set("k", b"v")
            hung = Fault(b"cluster read", HANG)
            cluster.node(1).faults.append(hung)
            assert await client.get("k", level=Local()) == b"v"
            await hung.closed.wait()

    run(main())
