"""A request that waits has a connection to itself; more than there may be take turns."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from quorumcache.router import ClientConfig, ConnectFailed
from quorumcache.router.connection import Connection
from quorumcache.router.requests import cluster_leaders
from quorumcache.router.wait_pool import WAIT_CONNECTIONS_MAX, WAIT_PIECE_MS, WaitPool
from tests.support.fake_cluster import HANG, FakeCluster, Fault, run

CONFIG = ClientConfig(connect_timeout_ms=20_000, stall_ms=20_000)


def pool_of(config: ClientConfig = CONFIG) -> WaitPool:
    return WaitPool(asyncio.get_running_loop(), config, Random(1))


def soon(seconds: float = 20.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def occupy(pool: WaitPool, address: str) -> tuple[Connection, asyncio.Future[Any]]:
    """Take a connection, as a request does that the node does not answer."""
    connection = await pool.acquire(address, soon())
    await connection.room(10, soon())
    return connection, connection.submit(cluster_leaders(), soon(1_000))


def test_each_has_its_own_and_the_rest_take_turns() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            pool, node = pool_of(), cluster.nodes[0]
            hangs = [Fault(b"cluster leaders", HANG) for _ in range(WAIT_CONNECTIONS_MAX)]
            node.faults += hangs
            assert pool.ready(node.address) is None
            taken = await asyncio.gather(
                *(occupy(pool, node.address) for _ in range(WAIT_CONNECTIONS_MAX))
            )
            await asyncio.gather(*(fault.event.wait() for fault in hangs))
            assert len({id(connection) for connection, _ in taken}) == WAIT_CONNECTIONS_MAX
            assert node.connection_count == WAIT_CONNECTIONS_MAX
            assert pool.ready(node.address) is None
            # No more of them: the next ones are given those that are taken, one after another.
            shared = [await pool.acquire(node.address, soon()) for _ in range(4)]
            assert len({id(connection) for connection in shared}) == 4
            assert not any(connection.has_room(1) for connection in shared)
            for _, answer in taken:
                answer.cancel()
            await pool.close()

    run(main())


def test_one_that_is_free_is_used_again() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            pool, node = pool_of(), cluster.nodes[0]
            for _ in range(3):
                connection, answer = await occupy(pool, node.address)
                await answer
                assert pool.ready(node.address) is connection
            assert node.connection_count == 1
            await pool.close()

    run(main())


def test_a_node_that_is_down_is_told() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            pool, node = pool_of(), cluster.nodes[0]
            await node.stop()
            with pytest.raises(ConnectFailed, match="refused"):
                await pool.acquire(node.address, soon())
            await pool.close()

    run(main())


def test_silence_for_as_long_as_a_wait_lasts_is_no_trouble() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            pool = pool_of(ClientConfig(stall_ms=50))
            node = cluster.nodes[0]
            node.delays[b"cluster leaders"] = 0.3
            connection, answer = await occupy(pool, node.address)
            await answer
            assert connection.is_usable
            assert WAIT_PIECE_MS > 300
            await pool.close()

    run(main())
