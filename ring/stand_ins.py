"""Which node leads a shard while its preferred leader is away, so that no other has all its work.

Every node must answer alike, whatever else it has heard: so the map decides, and who is away.
"""

from __future__ import annotations

from fractions import Fraction

from quorumcache.ring.cluster_map import ClusterMap


def stand_ins(cluster_map: ClusterMap, away: int) -> dict[int, int]:
    """For each shard that `away` should lead: another of its replicas, so that by weight all nodes
    lead about as much. A shard without a replica that can take it has none.
    """
    weights = {
        node.node_id: Fraction(node.weight) for node in cluster_map.nodes if node.is_placeable
    }
    counts = dict.fromkeys(weights, 0)
    shards = []
    for shard, replicas in enumerate(cluster_map.replica_sets):
        if replicas[0] == away:
            shards.append(shard)
        elif replicas[0] in counts:
            counts[replicas[0]] += 1
    found: dict[int, int] = {}
    for shard in shards:
        able = [n for n in cluster_map.replica_sets[shard] if n in weights and n != away]
        if able:
            chosen = min(able, key=lambda node: ((counts[node] + 1) / weights[node], node))
            counts[chosen] += 1
            found[shard] = chosen
    return found
