"""`stats shards` and `stats cluster`: our own sections, in the form of memcached's.

`stats shards` tells of each replica on this node, `stats cluster` of the members, leaders, memory
and moves of the cluster as this node knows them: other nodes may know newer ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from quorumcache.node.admin.memory_use import memory_of
from quorumcache.node.admin.view import (
    ObservedGroup,
    ObservedNode,
    role_name,
    shard_groups,
    staleness_seconds,
)
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, group_name
from quorumcache.ring import ClusterMap
from quorumcache.ring.move import WAITING


def shards(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats shards`."""
    now_ns = node.clock.monotonic_ns()
    directory = node.host.groups.get(DIRECTORY_GROUP_ID)
    if directory is not None:
        yield from _replica("directory", directory, now_ns)
    for shard, group, store in shard_groups(node):
        yield from _replica(f"shard:{shard}", group, now_ns)
        yield f"shard:{shard}:items", len(store.items)
        yield f"shard:{shard}:bytes", store.bytes_used
        yield f"shard:{shard}:memory", store.memory_bytes
        yield f"shard:{shard}:share", group.share_bytes


def _replica(prefix: str, group: ObservedGroup, now_ns: int) -> Iterator[tuple[str, object]]:
    yield f"{prefix}:role", role_name(group)
    yield f"{prefix}:term", group.term
    yield f"{prefix}:leader", group.leader_id
    yield f"{prefix}:commit", group.commit_index
    yield f"{prefix}:applied", group.applied_index
    seconds = staleness_seconds(group, now_ns)
    yield f"{prefix}:staleness_ms", int(seconds * 1000) if seconds < math.inf else "-"


def cluster(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats cluster`."""
    config, cluster_map = node.config, node.map
    yield "cluster:name", config.cluster_name
    yield "cluster:id", node.cluster_id or "-"
    yield "cluster:seen_by", config.name
    yield "memory:limit", node.memory_bytes
    memory = memory_of(node)
    yield "memory:used", memory.items + memory.tables
    yield "memory:items", memory.items
    yield "memory:index", memory.index
    yield "memory:sessions", memory.sessions
    yield "memory:retired", memory.retired
    yield "memory:free", memory.free
    yield "memory:log", memory.log
    yield "map:epoch", 0 if cluster_map is None else cluster_map.epoch
    if cluster_map is None:
        return
    yield "map:form", cluster_map.form
    yield "map:shards", cluster_map.shard_count
    yield "map:replication", cluster_map.replication
    yield "map:nodes", len(cluster_map.nodes)
    yield "map:moves", len(cluster_map.moves)
    yield "map:moves_paused", "yes" if cluster_map.is_paused else "no"
    led = [node.leader_of(shard + 1) for shard in range(cluster_map.shard_count)]
    names = {info.node_id: info.name for info in cluster_map.nodes}
    yield from _nodes(node, cluster_map, Counter(led))
    yield "leader:directory", names.get(node.leader_of(DIRECTORY_GROUP_ID), "-")
    for shard, node_id in enumerate(led):
        yield f"leader:shard:{shard}", names.get(node_id, "-")
    for move in cluster_map.moves:
        prefix = f"move:{group_name(move.group_id).replace(' ', ':')}"
        yield f"{prefix}:state", "waiting" if move.decided == WAITING else "started"
        yield f"{prefix}:from", _names(node, move.origin)
        yield f"{prefix}:to", _names(node, move.target)


def _nodes(
    node: ObservedNode, cluster_map: ClusterMap, led: Counter[int]
) -> Iterator[tuple[str, object]]:
    peers_up = node.peers_up()
    held: Counter[int] = Counter()
    for replicas in cluster_map.replica_sets:
        held.update(replicas)
    for info in cluster_map.nodes:
        prefix = f"node:{info.name}"
        is_up = info.node_id == node.node_id or peers_up.get(info.node_id, False)
        yield f"{prefix}:id", info.node_id
        yield f"{prefix}:state", info.state
        yield f"{prefix}:up", "yes" if is_up else "no"
        yield f"{prefix}:zone", info.zone or "-"
        yield f"{prefix}:weight", info.weight
        yield f"{prefix}:client_address", info.client_address or "-"
        yield f"{prefix}:peer_address", info.peer_address or "-"
        yield f"{prefix}:shards_held", held[info.node_id]
        yield f"{prefix}:shards_led", led[info.node_id]


def _names(node: ObservedNode, node_ids: tuple[int, ...]) -> str:
    return ",".join(node.name_of(node_id) for node_id in node_ids)
