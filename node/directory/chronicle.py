"""What happened to the cluster from one map to the next, for the log and the counters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from quorumcache.ring import ClusterMap
from quorumcache.ring.move import WAITING, Move
from quorumcache.ring.node_info import ACTIVE, DOWN, DRAINED, DRAINING, JOINING, LOST, NodeInfo


class Step(NamedTuple):
    """A log event: its level, its name, its fields."""

    level: str
    name: str
    fields: dict[str, object]


def steps(old: ClusterMap, new: ClusterMap) -> list[Step]:
    """What happened between two maps, the nodes first."""
    return [
        *_node_steps(old, new),
        *_move_steps(old, new),
        *_setting_steps(old, new),
        *_change_steps(old, new),
    ]


def _node_steps(old: ClusterMap, new: ClusterMap) -> Iterator[Step]:
    before = {node.node_id: node for node in old.nodes}
    for node in new.nodes:
        known = before.pop(node.node_id, None)
        if known is None:
            yield Step("info", "node_joining", {"peer": node.name, "node_id": node.node_id})
        elif known.state != node.state:
            yield _state_step(known, node)
    for node in before.values():
        fields: dict[str, object] = {"peer": node.name, "node_id": node.node_id}
        yield Step("info", "node_left", {**fields, "state": node.state})


def _state_step(old: NodeInfo, new: NodeInfo) -> Step:
    fields: dict[str, object] = {"peer": new.name, "node_id": new.node_id, "was": old.state}
    if new.state == DOWN:
        return Step("warning", "node_down", fields)
    if new.state == LOST:
        return Step("warning", "node_lost", fields)
    if new.state == DRAINING:
        return Step("info", "node_draining", fields)
    if new.state == DRAINED:
        return Step("info", "node_drained", fields)
    if old.state == JOINING:
        return Step("info", "node_joined", fields)
    if new.state == ACTIVE and old.state == DOWN:
        return Step("info", "node_returned", fields)
    return Step("info", "node_kept", fields)


def _move_steps(old: ClusterMap, new: ClusterMap) -> Iterator[Step]:
    before = {move.group_id: move for move in old.moves}
    for move in new.moves:
        known = before.pop(move.group_id, None)
        if move.decided == WAITING or (known is not None and known.decided == move.decided):
            continue
        is_back = known is not None and known.decided != WAITING and move.target == known.origin
        fields = _move_fields(new, move)
        if is_back:
            yield Step("info", "move_turned_back", fields)
        else:
            yield Step("info", "move_started", fields)
    for move in before.values():
        fields = _move_fields(old, move)
        if move.decided != WAITING and new.replica_set(move.group_id) == move.target:
            yield Step("info", "move_completed", fields)
        else:
            yield Step("info", "move_dropped", fields)


def _move_fields(cluster_map: ClusterMap, move: Move) -> dict[str, object]:
    names = {node.node_id: node.name for node in cluster_map.nodes}
    return {
        "group": move.group_id,
        "add": _names(names, move.added),
        "remove": _names(names, move.removed),
        "epoch": cluster_map.epoch,
    }


def _names(names: dict[int, str], node_ids: tuple[int, ...]) -> str:
    return ",".join(names.get(node_id, str(node_id)) for node_id in node_ids) or "-"


def _setting_steps(old: ClusterMap, new: ClusterMap) -> Iterator[Step]:
    if new.form != old.form:
        yield Step("info", "map_form_changed", {"form": new.form})
    before = dict(old.settings)
    if old.replication != new.replication:
        yield Step("info", "setting_changed", {"name": "replication", "value": new.replication})
    for name, value in new.settings:
        if before.get(name) != value and name != "replication":
            yield Step("info", "setting_changed", {"name": name, "value": value})
    if old.is_paused != new.is_paused:
        if new.is_paused:
            yield Step("info", "moves_paused", {"moves": len(new.moves)})
        else:
            yield Step("info", "moves_resumed", {"moves": len(new.moves)})


def _change_steps(old: ClusterMap, new: ClusterMap) -> Iterator[Step]:
    if old.change == new.change:
        return
    if old.change:
        yield Step("info", "change_ended", {"change": old.change, "epoch": new.epoch})
    if new.change:
        fields: dict[str, object] = {"change": new.change, "moves": len(new.moves)}
        yield Step("info", "change_begun", fields)
