"""Is this node well, and what does it know: the contents of `/health` and `/status`.

A node is well when it can do its part: it has a cluster map, it sees a leader for every shard
it replicates, and it can write its log. A node that is not well still answers what it can (it
forwards); a load balancer should rather send clients to another one. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.compiled import describe
from node.version import VERSION
from node.view import (
    DIRECTORY_GROUP_ID,
    GroupView,
    NodeView,
    group_name,
    role_name,
    shard_groups,
    uptime_seconds,
)

# A cluster that has lost its majority would name every shard; a reader needs a few and the
# number.
PROBLEMS_MAX = 10


def health_problems(node: NodeView) -> list[str]:
    """What keeps this node from doing its part, as short sentences; empty when it is well."""
    problems = node.alarms.problems()
    if not node.host.log_writable:
        problems.append("the log cannot be written: the disk is full")
    if node.map is None:
        problems.append("no cluster map yet: a majority of the nodes has to meet first")
    groups = node.host.groups
    if node.map is not None:
        node_id = node.config.node_id
        problems += [
            f"shard {shard}: its replica here has not started"
            for shard, replicas in enumerate(node.map.replica_sets)
            if node_id in replicas and shard + 1 not in groups
        ]
    problems += [
        f"{group_name(group_id)}: no leader known"
        for group_id, group in sorted(groups.items())
        if group.leader_id == 0
    ]
    if len(problems) > PROBLEMS_MAX:
        problems[PROBLEMS_MAX:] = [f"and {len(problems) - PROBLEMS_MAX} more"]
    return problems


def health_document(node: NodeView) -> dict[str, object]:
    """The body of `/health`."""
    problems = health_problems(node)
    return {
        "status": "unavailable" if problems else "ok",
        "node": node.config.name,
        "problems": problems,
        "warnings": node.alarms.warnings(),
    }


def status_document(node: NodeView) -> dict[str, object]:
    """The body of `/status`: who this node is, which nodes it knows, and every replica it holds."""
    config, cluster_map = node.config, node.map
    peers_up = node.peers_up()
    return {
        "version": VERSION,
        "form": describe(),
        "node": config.name,
        "node_id": config.node_id,
        "zone": config.zone,
        "cluster": config.cluster_name,
        "cluster_id": config.cluster_id,
        "settings": config.cluster_settings.fingerprint(),
        "durability": config.durability,
        "uptime_seconds": round(uptime_seconds(node), 3),
        "listen_address": node.listen_address,
        "peer_address": node.peer_address,
        "http_address": node.http_address,
        "health": health_problems(node),
        "warnings": node.alarms.warnings(),
        "map_epoch": 0 if cluster_map is None else cluster_map.epoch,
        "shard_count": config.shards,
        "log_bytes": node.host.wal.bytes_total,
        "nodes": []
        if cluster_map is None
        else [
            {
                "node_id": info.node_id,
                "name": info.name,
                "peer_address": info.peer_address,
                "client_address": info.client_address,
                "http_address": info.http_address,
                "zone": info.zone,
                "up": info.node_id == config.node_id or peers_up.get(info.node_id, False),
            }
            for info in cluster_map.nodes
        ],
        "directory": _directory(node),
        "shards": list(_shards(node)),
    }


def _directory(node: NodeView) -> dict[str, object] | None:
    group = node.host.groups.get(DIRECTORY_GROUP_ID)
    return None if group is None else _replica(group)


def _shards(node: NodeView) -> Iterator[dict[str, object]]:
    for shard, group, store in shard_groups(node):
        row: dict[str, object] = {"shard": shard}
        row |= _replica(group)
        row |= {"items": len(store.items), "bytes": store.bytes_used}
        if node.map is not None and shard < node.map.shard_count:
            row["replicas"] = list(node.map.replicas_of(shard))
        yield row


def _replica(group: GroupView) -> dict[str, object]:
    return {
        "role": role_name(group),
        "term": group.term,
        "leader": group.leader_id,
        "commit_index": group.commit_index,
        "applied_index": group.applied_index,
        "last_index": group.log.last_index,
    }
