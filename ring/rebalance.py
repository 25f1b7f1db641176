"""The difference of two cluster maps, as moves in a sensible order.

A move changes the membership of one replica group by at most one node in and one out: the node that
comes is added first (as a learner, then a voter), and the one that goes is retired last. So a move
may stop half-way, or be cancelled, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.errors import PlacementError

NO_NODE = 0


class Move(NamedTuple):
    """In `shard`, node `add` becomes a replica and then node `remove` ceases to be one.

    Either may be 0, none: a shard may only gain or only lose a replica. Never both.
    """

    shard: int
    add: int
    remove: int


class MoveReport(NamedTuple):
    """What a change of the map costs, to be shown before it is made.

    `replicas_moved`: replicas that must be copied to a node. `received`: (node_id, replicas it
    gets), for the nodes that get any, ascending. `leaders_changed`: shards whose preferred leader
    is another node.
    """

    replicas_moved: int
    replicas_dropped: int
    received: tuple[tuple[int, int], ...]
    leaders_changed: int


def moves(old: ClusterMap, new: ClusterMap) -> tuple[Move, ...]:
    """The moves from `old` to `new`, the most urgent first.

    1. Shards that gain a replica without losing one, those with the fewest replicas first: they are
       the ones at risk.
    2. Exchanges, taking turns among the nodes that receive, so that no node copies everything
    first. 3. Shards that only lose a replica.

    Raises `PlacementError` if the maps are not of the same cluster and shard count.
    """
    _check(old, new)
    repairs: list[tuple[int, Move]] = []
    exchanges: list[tuple[int, Move]] = []
    removals: list[Move] = []
    turns: dict[int, int] = {}
    for shard, (before, after) in enumerate(zip(old.replica_sets, new.replica_sets, strict=True)):
        for add, remove in zip_longest(
            _minus(after, before), _minus(before, after), fillvalue=NO_NODE
        ):
            move = Move(shard, add, remove)
            if add == NO_NODE:
                removals.append(move)
            elif remove == NO_NODE:
                repairs.append((len(before), move))
            else:
                turns[add] = turns.get(add, 0) + 1
                exchanges.append((turns[add], move))
    repairs.sort(key=_rank)
    exchanges.sort(key=_rank)
    return (*(move for _, move in repairs), *(move for _, move in exchanges), *removals)


def report(old: ClusterMap, new: ClusterMap) -> MoveReport:
    """What the change from `old` to `new` moves. Raises as `moves` does."""
    _check(old, new)
    received: dict[int, int] = {}
    dropped = 0
    leaders = 0
    for before, after in zip(old.replica_sets, new.replica_sets, strict=True):
        for node_id in _minus(after, before):
            received[node_id] = received.get(node_id, 0) + 1
        dropped += len(_minus(before, after))
        leaders += before[0] != after[0]
    return MoveReport(sum(received.values()), dropped, tuple(sorted(received.items())), leaders)


def _rank(ranked: tuple[int, Move]) -> int:
    return ranked[0]  # sorts are stable: within a rank the shards stay in order


def _minus(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return [node_id for node_id in left if node_id not in right]


def _check(old: ClusterMap, new: ClusterMap) -> None:
    if old.cluster_id != new.cluster_id:
        raise PlacementError(f"maps of two clusters: {old.cluster_id!r} and {new.cluster_id!r}")
    if old.shard_count != new.shard_count:
        raise PlacementError(
            f"shard_count never changes: it is {old.shard_count} in the one map "
            f"and {new.shard_count} in the other"
        )
