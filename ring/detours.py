"""Which node gets a replica in place of one whose disk is full. Pure.

Such a node keeps what it has. It gets nothing new while another node can take it: best of all the
one that holds the replica already, so that nothing moves. Where no other node is left, the move
waits until there is room. When the disk has room again nothing happens by itself: what was placed
elsewhere stays there until the next plan (`quorumcache rebalance`).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.draft import Draft
from quorumcache.ring.move import DIRECTORY_GROUP

FULL_MS_MAX: Final = 10_000
"""A move to a node whose disk has been full for so long is aimed at another node. A disk may be
full for a moment only: the log is shortened then, which takes some seconds."""


class Detours:
    """Finds other nodes for replicas of `draft`. Nodes count as full after `least_ms`."""

    __slots__ = ("_avoided", "_draft", "_full", "_loads", "_view")

    def __init__(self, draft: Draft, view: ClusterView, least_ms: int = 0) -> None:
        self._draft = draft
        self._view = view
        self._full = frozenset(n for n, ms in view.full_ms.items() if ms >= least_ms)
        self._avoided = view.lately_full | view.full_ms.keys()
        """A copy that two nodes have no room for would fill the one, then the other, for ever."""
        self._loads: Counter[int] = Counter()
        """Replicas of shards that each node is to hold; counted when it is first needed."""

    def around(self, group_id: int, target: tuple[int, ...]) -> tuple[int, ...]:
        """The target, without nodes that cannot take the replica and need not."""
        if self._full.isdisjoint(target):
            return target
        copied = self._draft.copied(group_id, self._view.reports.get(group_id))
        for node_id in target:
            if node_id not in self._full or node_id in copied:
                continue
            other = self._other(target, node_id, copied)
            if other:
                target = tuple(other if n == node_id else n for n in target)
        return target

    def _other(self, target: tuple[int, ...], full: int, copied: tuple[int, ...]) -> int:
        """The best node for the place of the full one; 0 if there is none.

        One that is heard, in a zone of its own, that has the replica already, with the least load.
        """
        draft = self._draft
        loads = self._counted()
        taken = Counter(draft.nodes[n].zone for n in target if n != full)
        ranked = [
            (
                node.node_id not in self._view.heard,
                taken[node.zone] if node.zone else 0,
                node.node_id not in copied,
                (loads[node.node_id] + 1) / node.weight,
                node.node_id,
            )
            for node in draft.placeable()
            if node.node_id not in target
            and (node.node_id not in self._avoided or node.node_id in copied)
        ]
        if not ranked:
            return 0
        other = min(ranked)[-1]
        loads[other] += other not in copied
        return other

    def _counted(self) -> Counter[int]:
        if not self._loads:
            draft = self._draft
            groups = range(DIRECTORY_GROUP + 1, len(draft.sets))
            self._loads.update(n for group_id in groups for n in draft.wanted(group_id))
        return self._loads


def leave_full_nodes(draft: Draft, view: ClusterView) -> None:
    """Aim the moves anew that bring a replica to a node whose disk stays full."""
    detours = Detours(draft, view, FULL_MS_MAX)
    for move in tuple(draft.moves.values()):
        target = detours.around(move.group_id, move.target)
        if target != move.target:
            draft.aim(move.group_id, target, view.reports.get(move.group_id))
