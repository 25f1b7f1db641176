"""What the client offers about the cluster. More of it: test_client.py, test_admin.py."""

from __future__ import annotations

from random import Random

from quorumcache.router import AsyncClient
from quorumcache.router.cluster_calls import ClusterCalls
from tests.support.fake_cluster import FakeCluster, run


def test_the_map_is_known_once_it_was_fetched() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            client = AsyncClient(cluster.seeds, random=Random(1))
            assert isinstance(client, ClusterCalls)
            assert client.cluster_map is None
            route = await client.route("k")
            assert client.cluster_map == cluster.map
            assert route.shard == cluster.map.shard_of(b"k")
            await cluster.add_node()
            assert (await client.refresh()).epoch == cluster.map.epoch
            overview = await client.overview()
            assert overview.cluster_map.epoch == cluster.map.epoch
            await client.close()

    run(main())
