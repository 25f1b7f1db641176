"""Shards to replica sets: a bounded-load walk of the ring that keeps what may stay.

The rules, the first before the second, and so on:

1. No two replicas of a shard on one node; the replicas spread over the zones as evenly as possible.
2. A node's replicas are its fair share, rounded down or up: see shares.py.
3. Replicas that may stay where they are stay. A walk from scratch moves 1.4 to 3 times the ideal
   once a node holds fewer than about 50 replicas, so a new placement starts from the present one.
4. The first replica of each shard is its preferred leader; leaders are balanced by weight, and a
   leader that may stay stays: see leaders.py.

A missing replica goes to the first node clockwise from the shard's arc that rule 1 allows and whose
load is below its quota. What is then above its quota gives replicas away: see board.py.

The answer depends on the arguments alone, and not on the order of `nodes`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from quorumcache.ring.board import Board
from quorumcache.ring.errors import PlacementError
from quorumcache.ring.hash_ring import HashRing
from quorumcache.ring.hashing import is_shard_count, shard_start
from quorumcache.ring.leaders import choose_leaders
from quorumcache.ring.node_info import WEIGHTS, NodeInfo, is_weight
from quorumcache.ring.shares import fair_shares, quotas, zone_bounds

RING_VNODES_PER_NODE = 64  # on average; quotas make the balance, the ring only spreads neighbours


def place(
    nodes: Sequence[NodeInfo],
    shard_count: int,
    replication: int,
    *,
    present: Sequence[Sequence[int]] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """One replica set (node ids, the preferred leader first) per shard.

    A shard gets min(replication, len(nodes)) replicas. `present` holds today's replica sets, by
    shard; it may name nodes that are gone and break any rule. Placing again with the result as
    `present` changes nothing. Raises `PlacementError` for input that means nothing.
    """
    ordered = sorted(nodes, key=lambda node: node.node_id)
    _check(ordered, shard_count, replication, present)
    count = min(replication, len(ordered))
    index_of = {node.node_id: i for i, node in enumerate(ordered)}
    weights = [Fraction(node.weight) for node in ordered]
    zone_names = sorted({node.zone for node in ordered})
    zones = [zone_names.index(node.zone) for node in ordered]
    bounds = zone_bounds([zones.count(zone) for zone in range(len(zone_names))], count)

    today = _indexed(present, index_of, shard_count)
    loads = [0] * len(ordered)
    for replicas in today:
        for i in replicas:
            loads[i] += 1
    shares = fair_shares(weights, zones, bounds, shard_count, count)
    limits = quotas(shares, zones, bounds, shard_count, loads)

    board = Board(zones, bounds, count, limits, today)
    _trim(board, today)
    _fill(board, _ring(weights), shard_count, count)
    board.balance()
    leaders = choose_leaders(board.members, today, weights, shares)
    ids = [node.node_id for node in ordered]
    return tuple(
        (ids[leader], *(ids[i] for i in members if i != leader))
        for leader, members in zip(leaders, board.members, strict=True)
    )


def _check(
    nodes: Sequence[NodeInfo],
    shard_count: int,
    replication: int,
    present: Sequence[Sequence[int]] | None,
) -> None:
    if not nodes:
        raise PlacementError("there are no nodes to place shards on")
    if not is_shard_count(shard_count):
        raise PlacementError(f"shard_count is {shard_count}, expected a power of two up to 4096")
    if replication < 1:
        raise PlacementError(f"replication is {replication}, expected at least 1")
    for node, following in pairwise(nodes):
        if node.node_id == following.node_id:
            raise PlacementError(f"two nodes have the id {node.node_id}")
    for node in nodes:
        if not is_weight(node.weight) or node.weight == 0:
            raise PlacementError(
                f"node {node.node_id}: weight is {node.weight!r:.60}, expected {WEIGHTS}"
            )
    if present is not None and len(present) != shard_count:
        raise PlacementError(f"present has {len(present)} shards, expected {shard_count}")


def _indexed(
    present: Sequence[Sequence[int]] | None, index_of: dict[int, int], shard_count: int
) -> list[list[int]]:
    """Today's replica sets as node indexes, without the nodes that are gone."""
    if present is None:
        return [[] for _ in range(shard_count)]
    return [
        [index_of[node_id] for node_id in dict.fromkeys(replicas) if node_id in index_of]
        for replicas in present
    ]


def _ring(weights: Sequence[Fraction]) -> HashRing[int]:
    """The nodes on the ring by index; relative weights, so that the unit of weight is free."""
    mean = sum(weights, Fraction(0)) / len(weights)
    return HashRing(
        {i: float(weight / mean) for i, weight in enumerate(weights)},
        vnodes_per_weight=RING_VNODES_PER_NODE,
    )


def _trim(board: Board, today: Sequence[Sequence[int]]) -> None:
    """Drops replicas that break the bounds of the zones, from the fullest nodes first."""
    for shard, replicas in enumerate(today):
        while extra := board.extra_members(shard):
            surplus = [(board.loads[i] - board.quotas[i], i != replicas[0], i) for i in extra]
            board.drop(shard, max(surplus)[2])


def _fill(board: Board, ring: HashRing[int], shard_count: int, count: int) -> None:
    """Completes every shard to `count` replicas by walking the ring from the shard's arc."""
    loads, limits = board.loads, board.quotas
    vnodes = list(ring.vnodes())
    tokens = [token for token, _ in vnodes]
    owners = [owner for _, owner in vnodes]
    for shard in range(shard_count):
        missing = count - len(board.members[shard])
        if missing == 0:
            continue
        full = 0
        start = bisect_left(tokens, shard_start(shard, shard_count))
        for position in range(start - len(owners), start):
            node = owners[position]
            if loads[node] >= limits[node]:
                full += 1
            elif board.can_add(shard, node):
                board.add(shard, node)
                missing -= 1
                if missing == 0:
                    break
        if full > len(owners) // 2:
            # Nodes that are full stay full: walk past them no more.
            vnodes = [(token, node) for token, node in vnodes if loads[node] < limits[node]]
            tokens = [token for token, _ in vnodes]
            owners = [owner for _, owner in vnodes]
        for _ in range(missing):
            # Every node that may join is full. Take the least full; `balance` puts it right.
            board.add(
                shard,
                min(
                    (i for i in range(len(loads)) if board.can_add(shard, i)),
                    key=lambda i: (loads[i] - limits[i], i),
                ),
            )
