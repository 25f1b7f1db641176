"""The nodes of the cluster, as this node knows them.

What is known of a node comes from three sources: the newest cluster map, the founding record while
there is no map, and what the node told of itself when it connected. Node ids are looked up, never
counted: an id that is in none of the sources is an unknown node, not an error. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.storage.founding_record import FoundingRecord
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.stand_ins import stand_ins


class Members:
    """See the module."""

    def __init__(self) -> None:
        self.own_id = 0
        """This node's id; 0 while it is new."""
        self.record: FoundingRecord | None = None
        """None while this node is new."""
        self.map: ClusterMap | None = None
        """The newest map that this node knows."""
        self.leaving: set[int] = set()
        """Groups that a move under way takes away from this node, by that map."""
        self.told: dict[int, NodeInfo] = {}
        """What nodes told of themselves, by node id. This node is one of them."""
        self._stand_ins: dict[int, dict[int, int]] = {}
        """By the node that is away: shard to the node that leads meanwhile."""
        self._stand_ins_of: ClusterMap | None = None
        """The map that these are of."""

    def nodes(self) -> tuple[NodeInfo, ...]:
        """The members, by the map, or by the founding record before there is one."""
        if self.map is not None:
            return self.map.nodes
        return self.record.founders if self.record is not None else ()

    def heard_of(self) -> list[int]:
        """Ids of the other nodes that have told of themselves."""
        return [node_id for node_id in self.told if node_id != self.own_id]

    def learned(self, cluster_map: ClusterMap) -> None:
        """A newer map. What a node told here before it moved, and the map has it from elsewhere, is
        no news any more: the directory's leader would put the old addresses back.
        """
        before = self.map
        self.map = cluster_map
        self.leaving.clear()
        self.leaving.update(
            move.group_id
            for move in cluster_map.moves
            if move.decided and self.own_id not in move.target
        )
        if before is None:
            return
        old = {node.node_id: _addresses(node) for node in before.nodes}
        for node in cluster_map.nodes:
            told = self.told.get(node.node_id)
            if (
                told is not None
                and node.node_id != self.own_id
                and _addresses(told) == old.get(node.node_id) != _addresses(node)
            ):
                peer, client, http = _addresses(node)
                self.told[node.node_id] = replace(
                    told, peer_address=peer, client_address=client, http_address=http
                )

    def forget(self, node_id: int) -> None:
        """A node has left the cluster: what it told of itself means nothing any more."""
        if node_id != self.own_id:
            self.told.pop(node_id, None)

    def name_of(self, node_id: int) -> str:
        """A node's name; the id, as text, of a node that is unknown."""
        return next((n.name for n in self.nodes() if n.node_id == node_id), str(node_id))

    def client_address_of(self, node_id: int) -> str:
        """Where clients reach a node, as HOST:PORT; "" if that is not known."""
        told = self.told.get(node_id)
        if told is not None:
            return told.client_address
        nodes = self.map.nodes if self.map is not None else ()
        return next((n.client_address for n in nodes if n.node_id == node_id), "")

    def directory(self) -> tuple[int, ...]:
        """Nodes with a replica of group 0: by the map, or the voters of the founding record while
        the map does not say it.
        """
        if self.map is not None and self.map.directory:
            return self.map.directory
        return self.record.directory_voters if self.record is not None else ()

    def preferred_leader_of(self, group_id: int) -> int:
        """Node that should lead a group; 0 if the map does not say it."""
        replicas = self.replicas_of(group_id)
        return replicas[0] if replicas else 0

    def stand_in_of(self, group_id: int) -> int:
        """Node that should lead a group while its preferred leader is away; 0 if there is none."""
        away = self.preferred_leader_of(group_id)
        if self.map is None or not away:
            return 0
        if self._stand_ins_of is not self.map:
            self._stand_ins_of = self.map
            self._stand_ins.clear()
        if away not in self._stand_ins:
            self._stand_ins[away] = stand_ins(self.map, away)
        return self._stand_ins[away].get(group_id - 1, 0)

    def replicas_of(self, group_id: int) -> tuple[int, ...]:
        """Nodes with a replica of a group, the preferred leader first; () if the map does not say
        it: there is none, it knows no such shard, or the group is the directory.
        """
        shard = group_id - 1
        if self.map is None or group_id == DIRECTORY_GROUP_ID or shard >= self.map.shard_count:
            return ()
        return self.map.replica_sets[shard]


def _addresses(node: NodeInfo) -> tuple[str, str, str]:
    return node.peer_address, node.client_address, node.http_address
