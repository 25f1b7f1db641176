"""What the cluster looks like now: every node asked, their answers merged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.router.discovery import settle
from quorumcache.router.errors import Refused, RouterError
from quorumcache.router.pool import Pool
from quorumcache.router.requests import (
    HealthAnswer,
    LeaderLine,
    NodeLine,
    Request,
    cluster_health,
    cluster_leaders,
    cluster_moves,
    cluster_nodes,
    node_stats,
)
from quorumcache.router.routing import RoutingTable

ANSWER_MS = 1_500
"""How long an overview waits for one node."""


class NodeReport(NamedTuple):
    """What one node told, or why it told nothing (`error`, else "")."""

    node_id: int
    error: str
    leaders: tuple[LeaderLine, ...]
    nodes: tuple[NodeLine, ...]
    health: HealthAnswer = HealthAnswer((), ())
    moves: dict[str, Any] | None = None
    """What it knows of moves (docs/protocol.md, `cluster moves`); None: it is of an older version,
    or was not asked."""
    lag_ms: int | None = None
    """Of the replica here that its leader has not confirmed for the longest; None: not measured."""


class NodeStatus(NamedTuple):
    """`answers`: it answered this client. `is_up`: it did, or other nodes see it up."""

    info: NodeInfo
    answers: bool
    is_up: bool
    error: str
    replica_count: int
    leader_count: int
    health: HealthAnswer = HealthAnswer((), ())
    lag_ms: int | None = None


class ShardStatus(NamedTuple):
    """`leader_id`: 0 if no node knows one that is up. `up_count`: replicas on nodes that are up."""

    shard: int
    leader_id: int
    replicas: tuple[int, ...]
    up_count: int

    @property
    def has_quorum(self) -> bool:
        return 2 * self.up_count > len(self.replicas)


@dataclass(frozen=True, slots=True)
class Overview:
    """The cluster at one moment. `nodes` by node id, `shards` by number."""

    cluster_map: ClusterMap
    nodes: tuple[NodeStatus, ...]
    shards: tuple[ShardStatus, ...]
    moves: dict[str, Any] | None = None
    """The newest that a node told of the moves; None: no node of this version has answered."""

    @property
    def leaderless(self) -> tuple[ShardStatus, ...]:
        """Shards without a leader: their keys can be neither read nor written."""
        return tuple(shard for shard in self.shards if not shard.leader_id)

    @property
    def degraded(self) -> tuple[ShardStatus, ...]:
        """Shards with a leader and fewer live replicas than the cluster's replication asks for."""
        holders = sum(node.is_placeable for node in self.cluster_map.nodes)
        wanted = min(self.cluster_map.replication, max(1, holders))
        return tuple(shard for shard in self.shards if shard.leader_id and shard.up_count < wanted)


def merge(cluster_map: ClusterMap, reports: Sequence[NodeReport]) -> Overview:
    """One overview of what the nodes told. Pure.

    The leader of a shard is the one of the highest term any node reports, if it is up. A node is
    up if it answered, or if one that answered sees it up.
    """
    answering = {report.node_id: not report.error for report in reports}
    errors = {report.node_id: report.error for report in reports}
    health = {report.node_id: report.health for report in reports}
    lags = {report.node_id: report.lag_ms for report in reports}
    seen_up = {
        line.node_id: True
        for report in reports
        if not report.error
        for line in report.nodes
        if line.is_up
    }
    is_up = {
        node.node_id: answering.get(node.node_id, False) or node.node_id in seen_up
        for node in cluster_map.nodes
    }
    best = _best_leaders(
        cluster_map.shard_count, (line for report in reports for line in report.leaders)
    )
    shards = tuple(
        ShardStatus(
            shard,
            best[shard] if is_up.get(best[shard]) else 0,
            replicas,
            sum(is_up[node_id] for node_id in replicas),
        )
        for shard, replicas in enumerate(cluster_map.replica_sets)
    )
    nodes = tuple(
        NodeStatus(
            node,
            answering.get(node.node_id, False),
            is_up[node.node_id],
            errors.get(node.node_id, ""),
            sum(node.node_id in shard.replicas for shard in shards),
            sum(shard.leader_id == node.node_id for shard in shards),
            health.get(node.node_id, HealthAnswer((), ())),
            lags.get(node.node_id),
        )
        for node in cluster_map.nodes
    )
    told = [report.moves for report in reports if report.moves is not None]
    return Overview(cluster_map, nodes, shards, max(told, key=_news, default=None))


def _news(moves: dict[str, Any]) -> tuple[int, int]:
    """How much a node knows of the moves: the nodes of the directory know of each step."""
    known = sum(move["bytes_done"] for move in moves["moves"])
    return moves["epoch"], known + sum(move["state"] not in _FIRST for move in moves["moves"])


_FIRST = ("waiting", "copying")
"""States that a node may also tell without having heard of the move's leader."""


def _best_leaders(shard_count: int, lines: Iterable[LeaderLine]) -> list[int]:
    """Node id by shard, from the highest term that names somebody; 0 if none does."""
    best = [(0, 0)] * shard_count
    for shard, term, node_id in lines:
        if node_id and 0 <= shard < shard_count and (term, node_id) > best[shard]:
            best[shard] = (term, node_id)
    return [node_id for _, node_id in best]


async def observe(
    pool: Pool, table: RoutingTable, deadline: float, measures_lag: bool = False
) -> Overview:
    """Ask all nodes of the map at once; those that do not answer are named, not waited for."""
    cluster_map = table.cluster_map
    reports = await asyncio.gather(
        *(_report(pool, node, deadline, measures_lag) for node in cluster_map.nodes)
    )
    return merge(cluster_map, reports)


async def _report(pool: Pool, node: NodeInfo, deadline: float, measures_lag: bool) -> NodeReport:
    asked: list[Request[Any]] = [cluster_leaders(), cluster_nodes(), cluster_health()]
    asked.append(cluster_moves())
    if measures_lag:
        asked.append(node_stats("shards"))
    try:
        connection = await pool.acquire(node.client_address, deadline)
        await connection.room(sum(len(request.data) for request in asked), deadline)
        # A node that accepts connections but is stopped must not hold up the others.
        deadline = min(deadline, asyncio.get_running_loop().time() + ANSWER_MS / 1000)
        replies = [connection.submit(request, deadline) for request in asked]
        try:
            leaders, nodes, health = [await reply for reply in replies[:3]]
            try:
                moves = await replies[3]
            except Refused:
                moves = None  # Of an older version.
            lag_ms = lag_of(await replies[4]) if measures_lag else None
            return NodeReport(node.node_id, "", leaders, nodes, health, moves, lag_ms)
        finally:
            settle(*replies)
    except RouterError as error:
        why = getattr(error, "why", "") or str(error)
        return NodeReport(node.node_id, why, (), ())


def lag_of(stats: Iterable[tuple[str, str]]) -> int | None:
    """The longest time for which a replica of a node was not confirmed, in milliseconds, from its
    `stats shards`; None: one of them was never, or it holds none. Pure."""
    worst: int | None = None
    for name, value in stats:
        if name.endswith(":staleness_ms"):
            if not value.isdigit():
                return None
            worst = max(worst or 0, int(value))
    return worst
