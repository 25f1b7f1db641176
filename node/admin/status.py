"""The contents of `/health` and `/status`: whether this node is well, and what it knows.

A node is well when it can do its part: it has a cluster map, it can write its log, and every
replica it holds leads under a lease, or was confirmed by its leader a moment ago. "Was confirmed"
is the measured staleness of the replica, so it covers a leader without answers, a follower that
hears its leader and is not heard, one that hears no replica, and one that is still catching up. A
node that is not well still answers what it can (it forwards); a load balancer should rather send
clients to another one. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from quorumcache.node.admin.view import (
    ObservedGroup,
    ObservedNode,
    role_name,
    shard_groups,
    staleness_seconds,
    uptime_seconds,
)
from quorumcache.node.compiled import describe
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, group_name
from quorumcache.node.version import VERSION
from quorumcache.ring import ClusterMap

PROBLEMS_MAX = 10
"""A cluster that has lost its majority would name every shard; a reader needs a few and the
number."""

STALE_MS_MIN = 3000
STALE_ELECTIONS = 5
"""A replica that was not confirmed for so long, and for so many election timeouts, has lost its
leader or its majority. A busy replica lags behind by less; one that hears nothing at all stands for
election after one or two timeouts, and knows no leader from then on."""

BEHIND_ENTRIES = 10_000
"""The leader reports a replica that lacks so many entries of its log."""


def health_problems(node: ObservedNode) -> list[str]:
    """What keeps this node from doing its part, as short sentences; empty when it is well."""
    problems = node.alarms.problems()
    if not node.host.log_writable and not problems:
        problems.append("the log cannot be written")
    if node.map is None:
        problems.append(
            "no cluster map yet: the cluster is being founded, or this node has not received the"
            " map"
        )
    groups = node.host.groups
    if node.map is not None:
        node_id = node.node_id
        problems += [
            f"shard {shard}: its replica here has not started"
            for shard, replicas in enumerate(node.map.replica_sets)
            if node_id in replicas and shard + 1 not in groups
            if _counts_here(node, shard + 1)
        ]
    stale_ms = max(STALE_MS_MIN, STALE_ELECTIONS * node.config.election_ms)
    for group_id, group in sorted(groups.items()):
        why = _why_not_serving(node, group, stale_ms)
        if why and _counts_here(node, group_id):
            problems.append(f"{group_name(group_id)}: {why}")
    return _first(problems)


def _counts_here(node: ObservedNode, group_id: int) -> bool:
    """Whether a group needs its replica on this node. One that is being copied here or is about to
    go does not: the others serve the group."""
    if node.map is None or group_id > node.map.shard_count:
        return True
    placed = node.map.replica_set(group_id)
    move = node.map.move_of(group_id)
    if move is not None and node.node_id in (*move.added, *move.removed):
        return False
    return not placed or node.node_id in placed


def _why_not_serving(node: ObservedNode, group: ObservedGroup, stale_ms: int) -> str:
    """Why a replica can certainly not play its part now; empty if it may."""
    if group.leader_id == 0:
        return "no leader known"
    seconds = staleness_seconds(group, node.clock.monotonic_ns())
    leads = role_name(group) == "leader"
    if leads:  # A new leader may have been elected before anybody had confirmed its state.
        seconds = min(seconds, uptime_seconds(node))
    if seconds * 1000 <= stale_ms:
        return ""
    if seconds == math.inf:
        return "its replica here is still catching up"
    if leads:
        return f"led here, but no majority has answered for {seconds:.1f} s"
    return f"its leader has not confirmed the replica here for {seconds:.1f} s"


def health_warnings(node: ObservedNode) -> list[str]:
    """What somebody should look at although this node does its part."""
    warnings = node.alarms.warnings()
    whys = node.peers_apart()
    for node_id, is_up in sorted(node.peers_up().items()):
        if not is_up:
            why = f": {whys[node_id]}" if node_id in whys else ""
            warnings.append(f"node {node.name_of(node_id)}: no connection to it{why}")
    own_id = node.node_id
    for group_id, group in sorted(node.host.groups.items()):
        if group.leader_id != own_id:
            continue
        for replica, status in sorted(group.log.progress().items()):
            missing = group.log.last_index - status.match_index
            is_copied = node.map is not None and _is_added(node.map, group_id, replica)
            if replica != own_id and missing >= BEHIND_ENTRIES and not is_copied:
                warnings.append(
                    f"{group_name(group_id)}: the replica on node {node.name_of(replica)} "
                    f"lacks {missing} entries"
                )
    return _first(warnings)


def _is_added(cluster_map: ClusterMap, group_id: int, node_id: int) -> bool:
    move = cluster_map.move_of(group_id)
    return move is not None and node_id in move.added


def _first(sentences: list[str]) -> list[str]:
    if len(sentences) > PROBLEMS_MAX:
        return [*sentences[:PROBLEMS_MAX], f"and {len(sentences) - PROBLEMS_MAX} more"]
    return sentences


def health_document(node: ObservedNode) -> dict[str, object]:
    """The body of `/health`."""
    problems = health_problems(node)
    return {
        "status": "unavailable" if problems else "ok",
        "node": node.config.name,
        "problems": problems,
        "warnings": health_warnings(node),
    }


def status_document(node: ObservedNode) -> dict[str, object]:
    """The body of `/status`: who this node is, which nodes it knows, and every replica it holds."""
    config, cluster_map = node.config, node.map
    peers_up = node.peers_up()
    return {
        "version": VERSION,
        "form": describe(),
        "node": config.name,
        "node_id": node.node_id,
        "zone": config.zone,
        "cluster": config.cluster_name,
        "cluster_id": node.cluster_id,
        "settings": config.cluster_settings.fingerprint(),
        "durability": config.durability,
        "uptime_seconds": round(uptime_seconds(node), 3),
        "listen_address": node.listen_address,
        "peer_address": node.peer_address,
        "http_address": node.http_address,
        "health": health_problems(node),
        "warnings": health_warnings(node),
        "map_epoch": 0 if cluster_map is None else cluster_map.epoch,
        "map_form": 0 if cluster_map is None else cluster_map.form,
        "change": "" if cluster_map is None else cluster_map.change,
        "moves": 0 if cluster_map is None else len(cluster_map.moves),
        "moves_paused": cluster_map is not None and cluster_map.is_paused,
        "settings_in_force": {} if cluster_map is None else _settings(cluster_map),
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
                "weight": info.weight,
                "state": info.state,
                "up": info.node_id == node.node_id or peers_up.get(info.node_id, False),
            }
            for info in cluster_map.nodes
        ],
        "directory": _directory(node),
        "shards": list(_shards(node)),
    }


def _settings(cluster_map: ClusterMap) -> dict[str, str]:
    """The settings in the map, by name."""
    return {**dict(cluster_map.settings), "replication": str(cluster_map.replication)}


def _directory(node: ObservedNode) -> dict[str, object] | None:
    group = node.host.groups.get(DIRECTORY_GROUP_ID)
    return None if group is None else _replica(group)


def _shards(node: ObservedNode) -> Iterator[dict[str, object]]:
    for shard, group, store in shard_groups(node):
        row: dict[str, object] = {"shard": shard}
        row |= _replica(group)
        row |= {"items": len(store.items), "bytes": store.bytes_used}
        if node.map is not None and shard < node.map.shard_count:
            row["replicas"] = list(node.map.replicas_of(shard))
        yield row


def _replica(group: ObservedGroup) -> dict[str, object]:
    return {
        "role": role_name(group),
        "term": group.term,
        "leader": group.leader_id,
        "commit_index": group.commit_index,
        "applied_index": group.applied_index,
        "last_index": group.log.last_index,
    }
