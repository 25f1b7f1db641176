"""Clusters for tests of the ring: nodes, maps, and what a placement amounts to."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.shares import fair_shares, zone_bounds

ReplicaSets = Sequence[Sequence[int]]


def make_node(node_id: int, zone: str = "", weight: float = 1.0) -> NodeInfo:
    """A node with made-up addresses."""
    return NodeInfo(
        node_id=node_id,
        name=f"n{node_id}",
        peer_address=f"10.0.0.1:{node_id}",
        client_address=f"10.0.0.2:{node_id}",
        http_address="",
        zone=zone,
        weight=weight,
    )


def make_nodes(count: int, zones: int = 1) -> list[NodeInfo]:
    """`count` equal nodes in `zones` zones, by turns; one zone is the unnamed one."""
    return [make_node(i + 1, f"z{i % zones}" if zones > 1 else "") for i in range(count)]


def make_map(
    nodes: Sequence[NodeInfo], replica_sets: ReplicaSets, replication: int = 3
) -> ClusterMap:
    """A map of epoch 1."""
    return ClusterMap(
        epoch=1,
        cluster_id="cluster-a",
        shard_count=len(replica_sets),
        replication=replication,
        nodes=tuple(nodes),
        replica_sets=tuple(tuple(replicas) for replicas in replica_sets),
    )


def with_replicas(cluster_map: ClusterMap, shard: int, replicas: Sequence[int]) -> ClusterMap:
    """The next epoch, in which `replicas` hold the shard, the preferred leader first."""
    sets = list(cluster_map.replica_sets)
    sets[shard] = tuple(replicas)
    return cluster_map.with_replica_sets(sets)


def loads(nodes: Sequence[NodeInfo], replica_sets: ReplicaSets) -> dict[int, int]:
    """Replicas per node id."""
    result = {node.node_id: 0 for node in nodes}
    for replicas in replica_sets:
        for node_id in replicas:
            result[node_id] += 1
    return result


def leaders(nodes: Sequence[NodeInfo], replica_sets: ReplicaSets) -> dict[int, int]:
    """Preferred leaderships per node id."""
    return loads(nodes, [replicas[:1] for replicas in replica_sets])


def moved(before: ReplicaSets, after: ReplicaSets) -> int:
    """Replicas that have to be copied to a node."""
    return sum(
        len([node_id for node_id in new if node_id not in old])
        for old, new in zip(before, after, strict=True)
    )


def shares_of(nodes: Sequence[NodeInfo], shard_count: int, replication: int) -> dict[int, Fraction]:
    """The fair share of replicas of each node id."""
    nodes = sorted(nodes, key=lambda node: node.node_id)
    names = sorted({node.zone for node in nodes})
    zones = [names.index(node.zone) for node in nodes]
    replication = min(replication, len(nodes))
    bounds = zone_bounds([zones.count(zone) for zone in range(len(names))], replication)
    weights = [Fraction(node.weight) for node in nodes]
    shares = fair_shares(weights, zones, bounds, shard_count, replication)
    return {node.node_id: share for node, share in zip(nodes, shares, strict=True)}
