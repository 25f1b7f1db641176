"""What a change of the map costs, to be shown before it is made and while it runs. Pure."""

from __future__ import annotations

from math import ceil
from typing import Final, NotRequired, TypedDict

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.move import Move
from quorumcache.ring.pacing import MOVES_IN_MAX, MOVES_MAX
from quorumcache.ring.settings import move_rate

MOVE_MS: Final = 1500
"""A move without any data takes about this: a copy, three changes of the configuration, each heard
of by the directory within its half second."""

COPY_BYTES_PER_S: Final = 50_000_000
"""What one node takes in where `move-rate` sets no bound, roughly."""


class Estimate(TypedDict):
    """`replicas_moved`: replicas to be copied; `bytes` of them, as far as sizes are known;
    `seconds`: roughly, if nothing else happens. `received`: replicas that each node gets, by name.
    `leaders_changed`: shards whose preferred leader is to be another node. `too_much`: by name,
    what nodes that get something would hold, and what their memory holds: writes there will be
    refused. Only there if there are such nodes.
    """

    replicas_moved: int
    bytes: int
    seconds: int
    received: dict[str, int]
    leaders_changed: int
    too_much: NotRequired[dict[str, tuple[int, int]]]


def estimate(old: ClusterMap, new: ClusterMap, view: ClusterView) -> Estimate:
    """What the moves of `new` cost that `old` did not want yet."""
    known = {(move.group_id, node_id) for move in old.moves for node_id in move.added}
    names = {node.node_id: node.name for node in new.nodes}
    received: dict[str, int] = {}
    bytes_in: dict[str, int] = {}
    move_count = 0
    for move in new.moves:
        gained = [n for n in move.added if (move.group_id, n) not in known]
        move_count += move not in old.moves
        for node_id in gained:
            name = names[node_id]
            received[name] = received.get(name, 0) + 1
            bytes_in[name] = bytes_in.get(name, 0) + view.bytes.get(move.group_id, 0)
    rate = move_rate(dict(new.settings)) or COPY_BYTES_PER_S
    copy_s = max(bytes_in.values(), default=0) / rate
    rounds = max(
        ceil(move_count / MOVES_MAX), ceil(max(received.values(), default=0) / MOVES_IN_MAX)
    )
    cost = Estimate(
        replicas_moved=sum(received.values()),
        bytes=sum(bytes_in.values()),
        seconds=ceil(copy_s + rounds * MOVE_MS / 1000),
        received=dict(sorted(received.items())),
        leaders_changed=_leaders_changed(old, new),
    )
    too_much = _too_much(new, view)
    too_much = {name: sizes for name, sizes in sorted(too_much.items()) if name in received}
    if too_much:
        cost["too_much"] = too_much
    return cost


def _too_much(new: ClusterMap, view: ClusterView) -> dict[str, tuple[int, int]]:
    """By name, the nodes that would hold more than their memory does, both in bytes."""
    held: dict[int, int] = {}
    for group_id, replicas in enumerate(_wanted(new), 1):
        for node_id in replicas:
            held[node_id] = held.get(node_id, 0) + view.bytes.get(group_id, 0)
    return {
        node.name: (held[node.node_id], view.memory_bytes[node.node_id])
        for node in new.nodes
        if held.get(node.node_id, 0) > view.memory_bytes.get(node.node_id, 0) > 0
    }


def _leaders_changed(old: ClusterMap, new: ClusterMap) -> int:
    return sum(
        before[0] != after[0] for before, after in zip(_wanted(old), _wanted(new), strict=True)
    )


def _wanted(cluster_map: ClusterMap) -> list[tuple[int, ...]]:
    """The replica set that each shard has, or is to have."""
    targets: dict[int, Move] = {move.group_id: move for move in cluster_map.moves}
    return [
        targets[group_id].target if group_id in targets else replicas
        for group_id, replicas in enumerate(cluster_map.replica_sets, 1)
    ]
