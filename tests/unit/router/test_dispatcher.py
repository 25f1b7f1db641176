"""The dispatcher: which loop and process a client serves, and what a first attempt costs."""

from __future__ import annotations

import asyncio
import gc
from random import Random

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientClosed,
    ClientConfig,
    NotDone,
    PartialFailure,
    WrongEventLoop,
)
from quorumcache.router.dispatcher import Dispatcher
from tests.support.fake_cluster import CLOSE_BEFORE, FakeCluster, Fault, run

PATIENT = ClientConfig(timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000)


def client_of(cluster: FakeCluster, config: ClientConfig = PATIENT) -> AsyncClient:
    return AsyncClient(cluster.seeds, config, random=Random(1))


def test_a_client_serves_the_loop_of_its_first_use() -> None:
    """Another loop is refused in a sentence that says what to do, for every kind of call."""
    client = AsyncClient("127.0.0.1:1")

    async def use() -> None:
        with pytest.raises(NotDone):
            await client.connect(once=True)

    async def elsewhere() -> None:
        for call in (client.get("k"), client.set_many({"k": b"v"}), client.close()):
            with pytest.raises(WrongEventLoop, match="first used in another event loop"):
                await call

    with asyncio.Runner() as first:
        first.run(use())
        run(elsewhere())
        first.run(client.close())
    with asyncio.Runner() as second, pytest.raises((WrongEventLoop, ClientClosed)):
        second.run(client.get("k"))


def test_a_client_that_was_never_used_closes_anywhere() -> None:
    client = AsyncClient("127.0.0.1:1")
    run(client.close())
    with pytest.raises(ClientClosed):
        run(client.get("k"))


def test_many_keys_go_in_one_line_per_leader() -> None:
    """100 keys of all shards: one request to each node that leads some, and two to one that has
    more keys than fit in a line.
    """

    async def main() -> None:
        async with FakeCluster(shards=64) as cluster, client_of(cluster) as client:
            keys = [f"key-{number}" for number in range(100)]
            await client.set_many({key: key.encode() for key in keys})
            assert list(await client.get_many(reversed(keys))) == keys[::-1]
            lines = [[line for _, line in node.reads] for node in cluster.nodes]
            assert [len(of_node) for of_node in lines] == [1, 1, 1]
            for shard in range(64):
                cluster.lead(shard, 2)
            await client.get_many(keys)  # learns of it
            for node in cluster.nodes:
                node.reads.clear()
            assert len(await client.get_many(keys)) == 100
            sizes = [[len(line.split()) - 1 for _, line in node.reads] for node in cluster.nodes]
            assert sizes == [[], [50, 50], []]

    run(main())


def test_a_moved_shard_costs_the_others_one_more_request() -> None:
    """A node refuses a whole line when it does not lead one shard of it: the other shards are
    asked for at the same node again, the moved one where it went, and all values come.
    """

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            keys = [f"key-{number}" for number in range(60)]
            await client.set_many({key: key.encode() for key in keys})
            cluster.lead(0, cluster.leader(0) % 3 + 1)
            assert await client.get_many(keys) == {key: key.encode() for key in keys}
            for node in cluster.nodes:
                node.reads.clear()
            await client.get_many(keys)
            assert [len(node.reads) for node in cluster.nodes] == [1, 1, 1]

    run(main())


def test_one_shard_without_a_leader_fails_alone() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            keys = [f"key-{number}" for number in range(60)]
            await client.set_many({key: key.encode() for key in keys})
            cluster.lead(3, 0)
            with pytest.raises(PartialFailure) as failure:
                await client.get_many(keys, timeout_ms=300)
            lost = {key for key in keys if cluster.map.shard_of(key.encode()) == 3}
            assert set(failure.value.errors) == lost
            assert set(failure.value.values) == set(keys) - lost

    run(main())


def test_a_broken_connection_under_a_line_of_many() -> None:
    """Its keys are asked for again, and nothing is lost."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            keys = [f"key-{number}" for number in range(60)]
            await client.set_many({key: key.encode() for key in keys})
            for node in cluster.nodes:
                node.faults.append(Fault(b"get ", CLOSE_BEFORE))
            assert await client.get_many(keys) == {key: key.encode() for key in keys}

    run(main())


def test_a_client_that_nobody_holds_is_forgotten() -> None:
    """The list of clients to tell of a fork keeps none of them alive."""
    from quorumcache.router import forks

    before = len(forks._living)
    engine = Dispatcher(["127.0.0.1:1"], ClientConfig(), Random(1))
    assert len(forks._living) == before + 1
    del engine
    gc.collect()
    assert len(forks._living) <= before
