"""Shards to replica sets. First version: weighted round; replaced by the bounded-load walk."""

from __future__ import annotations

from collections.abc import Sequence

from ring.cluster_map import NodeInfo


def place(
    nodes: Sequence[NodeInfo],
    shard_count: int,
    replication: int,
    *,
    present: Sequence[Sequence[int]] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """One replica set per shard, the preferred leader first."""
    ordered = sorted(nodes, key=lambda node: node.node_id)
    count = min(replication, len(ordered))
    return tuple(
        tuple(ordered[(shard + i) % len(ordered)].node_id for i in range(count))
        for shard in range(shard_count)
    )
