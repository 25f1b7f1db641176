"""What a client knows of its cluster: one fetch at a time, and never an older map."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import ClusterUnreachable, DeadlineExceeded
from quorumcache.router.map_keeper import MapKeeper
from quorumcache.router.pool import Pool
from tests.support.fake_cluster import HANG, FakeCluster, Fault, run

CONFIG = ClientConfig(refresh_pause_ms=50, stall_ms=20_000, connect_timeout_ms=10_000)


def later(seconds: float = 20) -> float:
    return asyncio.get_running_loop().time() + seconds


def keeper(*seeds: str) -> tuple[MapKeeper, Pool]:
    pool = Pool(asyncio.get_running_loop(), CONFIG, Random(1))
    return MapKeeper(pool, seeds, CONFIG, Random(2), None), pool


def maps_sent(cluster: FakeCluster) -> int:
    return sum(line.startswith(b"cluster map") for line in cluster.node(1).log)


def test_all_who_start_at_once_share_one_fetch() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            kept, pool = keeper(cluster.node(1).address)
            tables = await asyncio.gather(*(kept.start(later()) for _ in range(20)))
            assert len({id(table) for table in tables}) == 1
            assert await kept.start(later()) is tables[0]
            assert maps_sent(cluster) == 1
            await pool.close()

    run(main())


def test_between_two_fetches_there_is_a_pause() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            kept, pool = keeper(cluster.node(1).address)
            await kept.start(later())
            ended_at = asyncio.get_running_loop().time()
            fetches = {kept.refresh_soon() for _ in range(20)}
            assert len(fetches) == 1
            await fetches.pop()
            assert maps_sent(cluster) == 2
            assert asyncio.get_running_loop().time() - ended_at >= 0.04
            await pool.close()

    run(main())


def test_one_pass_over_the_seeds_or_until_the_deadline() -> None:
    async def main() -> None:
        kept, pool = keeper("127.0.0.1:1", "127.0.0.1:2")
        with pytest.raises(ClusterUnreachable):
            await kept.start(later(), once=True)
        assert isinstance(kept.refresh_error, ClusterUnreachable)
        with pytest.raises(DeadlineExceeded) as late:
            await kept.start(later(0.1))
        assert "127.0.0.1:2: connection refused" in str(late.value)
        await pool.close()

    run(main())


def test_a_silent_seed_is_told_by_name() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            address = cluster.node(1).address
            cluster.node(1).faults.append(Fault(b"cluster map", HANG))
            kept, pool = keeper(address)
            with pytest.raises(DeadlineExceeded, match=f"no answer from {address}"):
                await kept.start(later(0.1))
            await kept.close()
            await pool.close()

    run(main())
