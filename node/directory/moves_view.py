"""What an operator sees of the cluster's nodes and moves: the JSON of `cluster moves`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from quorumcache.ring import ClusterMap
from quorumcache.ring.move import DIRECTORY_GROUP, WAITING, Move

if TYPE_CHECKING:
    from quorumcache.node.directory.reports import Ledger
    from quorumcache.ring.cluster_view import GroupReport

NO_MAP: Final[dict[str, Any]] = {
    "epoch": 0,
    "form": 1,
    "change": "",
    "paused": False,
    "settings": {},
    "nodes": [],
    "moves": [],
    "done": 0,
    "total": 0,
}


class MovesView:
    """Counts the moves as maps come, since a map names only those that are left."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._map: ClusterMap | None = None
        self._seen: set[int] = set()
        """Groups that have moved, or are to, since there was no move. One group may never get on:
        what is counted must not grow with each move of the others."""

    def learned(self, cluster_map: ClusterMap) -> None:
        """A newer map."""
        self._map = cluster_map
        if not cluster_map.moves:
            self._seen.clear()
        self._seen.update(move.group_id for move in cluster_map.moves)

    @property
    def total(self) -> int:
        """Groups with a move since there was none: under way, waiting, or complete."""
        return len(self._seen)

    def to_json(self) -> bytes:
        """See the module."""
        return json.dumps(self.document()).encode()

    def document(self) -> dict[str, Any]:
        """The same as a value."""
        cluster_map = self._map
        if cluster_map is None:
            return dict(NO_MAP)
        names = {node.node_id: node.name for node in cluster_map.nodes}
        held = dict.fromkeys(names, 0)
        for replicas in cluster_map.replica_sets:
            for node_id in replicas:
                held[node_id] += 1
        return {
            "epoch": cluster_map.epoch,
            "form": cluster_map.form,
            "change": cluster_map.change,
            "paused": cluster_map.is_paused,
            "settings": {
                **dict(cluster_map.settings),
                "replication": str(cluster_map.replication),
            },
            "nodes": [
                {
                    "node_id": node.node_id,
                    "name": node.name,
                    "state": node.state,
                    "zone": node.zone,
                    "weight": node.weight,
                    "shards": held[node.node_id],
                    "directory": node.node_id in cluster_map.directory,
                    "heard": self._ledger.hears(node.node_id),
                    "peer_address": node.peer_address,
                    "client_address": node.client_address,
                    "http_address": node.http_address,
                }
                for node in cluster_map.nodes
            ],
            "moves": [self._move(move, names) for move in cluster_map.moves],
            "done": self.total - len(cluster_map.moves),
            "total": self.total,
        }

    def _move(self, move: Move, names: dict[int, str]) -> dict[str, Any]:
        report = self._ledger.report_of(move.group_id)
        return {
            "group": move.group_id,
            "shard": None if move.group_id == DIRECTORY_GROUP else move.group_id - 1,
            "add": [names[node_id] for node_id in move.added],
            "remove": [names[node_id] for node_id in move.removed],
            "state": state_of(move, report),
            "bytes_done": report.bytes_done if report is not None else 0,
            "bytes": report.bytes if report is not None else self._ledger.bytes_of(move.group_id),
            "decided": move.decided,
        }


def state_of(move: Move, report: GroupReport | None) -> str:
    """`waiting`, `copying` to the new replicas, `voting` once one of them votes, `leaving` once
    all of them do and old ones go."""
    if move.decided == WAITING:
        return "waiting"
    if report is None:
        return "copying"
    added = [node_id for node_id in move.added if node_id not in report.voters]
    if not added:
        return "leaving"
    return "voting" if len(added) < len(move.added) else "copying"
