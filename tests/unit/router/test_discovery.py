"""Finding out about the cluster: which node is asked, and what is told when none answers."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from quorumcache.router.config import ClientConfig
from quorumcache.router.discovery import Sighting, first_sighting, look
from quorumcache.router.errors import BadReply, ClusterUnreachable, NotACluster, NotDone
from quorumcache.router.pool import Pool
from tests.support.fake_cluster import HANG, FakeCluster, Fault, run

NOBODY = "127.0.0.1:1"
HEDGE_MS = 10


def later() -> float:
    return asyncio.get_running_loop().time() + 20


def pool() -> Pool:
    return Pool(asyncio.get_running_loop(), ClientConfig(stall_ms=20_000), Random(1))


async def first(of: Pool, *addresses: str) -> Sighting:
    return await first_sighting(of, addresses, 0, later(), HEDGE_MS)


def test_a_look_is_the_map_and_the_leaders() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            asked = pool()
            address = cluster.node(2).address
            seen = await look(asked, address, 0, later())
            assert seen.cluster_map is not None
            assert seen.address == address
            assert len(seen.leaders) == seen.cluster_map.shard_count
            again = await look(asked, address, seen.cluster_map.epoch, later())
            assert again.cluster_map is None, "the epoch that is known is the newest"
            await asked.close()

    run(main())


def test_the_map_is_asked_for_in_the_newest_form_and_an_older_node_need_not_know_the_word() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            node = cluster.node(1)
            asked = pool()
            await look(asked, node.address, 0, later())
            words = [line for line in node.log if line.split()[1] in (b"form", b"map")]
            assert words == [b"cluster form 2", b"cluster map"]
            node.faults.append(Fault(b"cluster form", b"CLIENT_ERROR usage: cluster map\r\n"))
            seen = await look(asked, node.address, 0, later())
            assert seen.cluster_map is not None
            await asked.close()

    run(main())


def test_a_dead_node_and_a_silent_one_are_passed_over() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            cluster.node(1).faults.append(Fault(b"cluster map", HANG))
            asked = pool()
            seen = await first(asked, NOBODY, cluster.node(1).address, cluster.node(3).address)
            assert seen.address == cluster.node(3).address
            await asked.close()

    run(main())


def test_an_announced_epoch_has_to_be_the_one_that_comes() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            asked = pool()
            seen = await first(asked, cluster.node(1).address)
            assert seen.cluster_map is not None
            data = seen.cluster_map.to_bytes()
            other = seen.cluster_map.epoch + 1
            reply = b"MAP %d %d\r\n%s\r\nEND\r\n" % (other, len(data), data)
            cluster.node(1).faults.append(Fault(b"cluster map", reply))
            with pytest.raises(BadReply, match="announced epoch"):
                await look(asked, cluster.node(1).address, 0, later())
            await asked.close()

    run(main())


def test_when_nobody_answers_each_reason_is_told() -> None:
    async def main() -> None:
        asked = pool()
        with pytest.raises(ClusterUnreachable) as told:
            await first(asked, NOBODY, "127.0.0.1:2")
        for address in (NOBODY, "127.0.0.1:2"):
            assert f"{address}: connection refused" in str(told.value)
        await asked.close()

    run(main())


def test_a_cluster_without_a_map_is_told_before_all_other_reasons() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            reply = b"SERVER_ERROR not done: waits for its founding\r\n"
            cluster.node(1).faults.append(Fault(b"cluster map", reply))
            asked = pool()
            with pytest.raises(NotDone, match="waits for its founding") as told:
                await first(asked, NOBODY, cluster.node(1).address)
            assert type(told.value) is NotDone
            await asked.close()

    run(main())


def test_plain_memcached_is_no_cluster() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            cluster.node(1).is_plain = True
            asked = pool()
            with pytest.raises(NotACluster):
                await first(asked, cluster.node(1).address)
            await asked.close()

    run(main())
