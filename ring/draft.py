"""The next map while it is worked out: the rules change a draft, and one map is made of it.

A map is checked as a whole when it is built. A step of the directory changes several things, and
is checked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.cluster_view import GroupReport
from quorumcache.ring.move import WAITING, Move
from quorumcache.ring.node_info import JOINING, LOST, TEXT_CHARS_MAX, NodeInfo

REPLACE: Final = "replace"
"""First word of the change that waits for a node's successor."""

_LOST_MARK: Final = "~"


def name_when_lost(name: str, node_id: int) -> str:
    """The name of a lost node whose own name is free for its successor. Its end is cut off if it
    would be too long.
    """
    mark = f"{_LOST_MARK}{node_id}"
    return name[: TEXT_CHARS_MAX - len(mark)] + mark


class Draft:
    """A map that follows `base`. Changed by whoever holds it; `finish` makes the map."""

    __slots__ = (
        "base",
        "change",
        "epoch",
        "is_paused",
        "moves",
        "next_node_id",
        "nodes",
        "replication",
        "sets",
        "settings",
    )

    def __init__(self, base: ClusterMap) -> None:
        self.base = base
        self.epoch = base.epoch + 1
        """Of the map that this becomes; moves that start now are decided by it."""
        self.replication = base.replication
        self.nodes = {node.node_id: node for node in base.nodes}
        self.sets = [base.directory, *base.replica_sets]
        """Replica sets by group id."""
        self.moves = {move.group_id: move for move in base.moves}
        self.settings = dict(base.settings)
        self.next_node_id = base.next_node_id
        self.change = base.change
        self.is_paused = base.is_paused

    def finish(self) -> ClusterMap:
        """The map; `base` itself if nothing has changed."""
        base = self.base
        nodes = tuple(self.nodes[node_id] for node_id in sorted(self.nodes))
        moves = tuple(self.moves[group_id] for group_id in sorted(self.moves))
        settings = tuple(sorted(self.settings.items()))
        directory, sets = self.sets[0], tuple(self.sets[1:])
        if (
            (nodes, moves, settings) == (base.nodes, base.moves, base.settings)
            and (directory, sets) == (base.directory, base.replica_sets)
            and (self.replication, self.next_node_id) == (base.replication, base.next_node_id)
            and (self.change, self.is_paused) == (base.change, base.is_paused)
        ):
            return base  # Without the checks of a map: this is the answer nearly always.
        return replace(
            base,
            epoch=self.epoch,
            replication=self.replication,
            nodes=nodes,
            directory=directory,
            replica_sets=sets,
            moves=moves,
            settings=settings,
            next_node_id=self.next_node_id,
            change=self.change,
            is_paused=self.is_paused,
        )

    # -- nodes -------------------------------------------------------------------------------

    def placeable(self) -> list[NodeInfo]:
        """Nodes that shards may be placed on."""
        return [node for node in self.nodes.values() if node.is_placeable]

    def set_state(self, node: NodeInfo, state: str) -> None:
        """The node is in this state from now on."""
        self.nodes[node.node_id] = replace(node, state=state)

    def held(self) -> frozenset[int]:
        """Nodes that hold a replica, or are to get one."""
        return frozenset(
            [
                *(node_id for replicas in self.sets for node_id in replicas),
                *(node_id for move in self.moves.values() for node_id in move.target),
            ]
        )

    def awaited(self) -> NodeInfo | None:
        """The lost node whose successor is awaited: nothing of it is rebuilt elsewhere."""
        word, _, name = self.change.partition(" ")
        if word != REPLACE:
            return None
        for node in self.nodes.values():
            if node.name == name and node.state != JOINING:
                return None  # The successor is here.
        return next(
            (
                node
                for node in self.nodes.values()
                if node.state == LOST and node.name == name_when_lost(name, node.node_id)
            ),
            None,
        )

    # -- groups ------------------------------------------------------------------------------

    def wanted(self, group_id: int) -> tuple[int, ...]:
        """The replica set that a group has, or is to have."""
        move = self.moves.get(group_id)
        return self.sets[group_id] if move is None else move.target

    def copied(self, group_id: int, report: GroupReport | None = None) -> tuple[int, ...]:
        """Nodes that hold the group's data whatever becomes of its move.

        `report`: the group's last. A move that was aimed anew may have come from nodes that never
        got a replica; the report of its decision tells which ones have one.
        """
        move = self.moves.get(group_id)
        if move is None:
            return self.sets[group_id]
        if move.decided != WAITING and report is not None and report.decision == move.decided:
            return tuple(node_id for node_id in move.replica_set if node_id in report.voters)
        return move.origin

    def present(self, group_id: int) -> tuple[int, ...]:
        """The replica set to keep as far as possible: where data is, or is being copied to."""
        move = self.moves.get(group_id)
        return self.sets[group_id] if move is None or move.decided == WAITING else move.target

    def aim(
        self, group_id: int, target: tuple[int, ...], report: GroupReport | None = None
    ) -> None:
        """The group is to have this replica set, the preferred leader first.

        A group that does not move yet gets a waiting move, or none if only the order is new. A move
        that has started is decided anew: it holds its place already. `report`: the group's last.
        """
        move = self.moves.get(group_id)
        if move is None or move.decided == WAITING:
            origin = self.sets[group_id]
            if same_nodes(origin, target):
                self.moves.pop(group_id, None)
                self.sets[group_id] = target
            else:
                self.moves[group_id] = Move(group_id, origin, target)
            return
        if same_nodes(move.target, target):
            self._put(move._replace(target=target))
        else:
            self._put(Move(group_id, footprint(move, report), target, self.epoch))

    def start(self, move: Move) -> None:
        """A waiting move starts."""
        self._put(move._replace(decided=self.epoch))

    def complete(self, move: Move) -> None:
        """The group has reached its target."""
        del self.moves[move.group_id]
        self.sets[move.group_id] = move.target

    def _put(self, move: Move) -> None:
        self.moves[move.group_id] = move
        self.sets[move.group_id] = move.replica_set


def same_nodes(left: Sequence[int], right: Sequence[int]) -> bool:
    """Whether two replica sets differ at most in their order."""
    return sorted(left) == sorted(right)


def footprint(move: Move, report: GroupReport | None) -> tuple[int, ...]:
    """Nodes that may be in the configuration of a group whose move has started; those it came from
    first.

    All of both sets, as long as nothing is known. Once a configuration of this very decision is
    committed, no leader brings an old node back that is out of it.
    """
    nodes = (*move.origin, *move.added)
    if report is None or report.decision != move.decided:
        return nodes
    members = (*report.voters, *report.learners, *move.target)
    return tuple(node_id for node_id in nodes if node_id in members)
