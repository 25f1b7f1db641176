"""Which cluster maps a node takes from its peers."""

import asyncio
from random import Random

import pytest

from quorumcache.node.clock import SystemClock
from quorumcache.node.config import NodeConfig
from quorumcache.node.errors import PeerError
from quorumcache.node.node import Node
from quorumcache.node.peers.items import MAP_REPLY
from quorumcache.ring import ClusterMap, NodeInfo
from tests.support.founding import member_of, record_of

CONFIG = NodeConfig(shards=1)
RECORD = record_of("a", config=CONFIG)


def a_map(cluster_id: str) -> ClusterMap:
    alone = NodeInfo(1, "a", "hosta:1", "hosta:2", "", "", 1.0)
    return ClusterMap(
        epoch=1,
        cluster_id=cluster_id,
        shard_count=1,
        replication=1,
        nodes=(alone,),
        replica_sets=((1,),),
    )


def taken(*maps: bytes) -> ClusterMap | None:
    """The map of a node to which these came, in this order."""

    async def test() -> ClusterMap | None:
        loop = asyncio.get_running_loop()
        node = Node(CONFIG, clock=SystemClock(), disk=None, random=Random(1), loop=loop)
        node.durable.become(member_of(RECORD, 1))
        member = node._become_member()
        for data in maps:
            member.inbox.on_rare_item(2, (MAP_REPLY, data))
        return node.map

    return asyncio.run(test())


def test_an_older_map_is_never_taken() -> None:
    """A peer that was away sends what it knows; epochs that were passed do not come back."""
    first = a_map(RECORD.cluster_id)
    second = first.with_node(NodeInfo(1, "a", "hosta:1", "moved:2", "", "", 1.0))
    third = second.with_node(NodeInfo(1, "a", "hosta:1", "again:2", "", "", 1.0))
    assert taken(first.to_bytes()) == first
    assert taken(second.to_bytes(), first.to_bytes()) == second
    assert taken(second.to_bytes(), first.to_bytes(), third.to_bytes()) == third


def test_the_map_of_another_cluster_is_not_taken() -> None:
    with pytest.raises(PeerError, match="another cluster"):
        taken(a_map("another").to_bytes())


def test_what_is_no_map_is_the_peers_fault() -> None:
    with pytest.raises(PeerError, match="an invalid cluster map"):
        taken(b"\x93\x01\x02\x03")
