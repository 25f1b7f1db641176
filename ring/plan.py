"""Where every group should be, given the nodes' states: the targets of all moves at once. Pure.

A plan is made when something has happened that counts: a node has become placeable or ceased to be,
an operator asks for a change. In between the directory only looks whether the wanted sets are still
sound, which costs little. So a move that an operator has cancelled stays cancelled.

Who counts, by state:

- placeable nodes (active, weight above 0): `place` decides among them;
- nodes that hold data but are not to (draining, turned into a gateway, down): they keep it only
  while there are fewer placeable nodes than replicas, those that are up first. So no group shrinks
  because nodes are down;
- lost nodes: no group keeps one, but while a lost node's successor is awaited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from quorumcache.ring.cluster_view import ClusterView, GroupReport
from quorumcache.ring.detours import Detours
from quorumcache.ring.directory_set import choose_directory, directory_size
from quorumcache.ring.draft import Draft
from quorumcache.ring.move import DIRECTORY_GROUP
from quorumcache.ring.node_info import ACTIVE, DOWN, DRAINING, NodeInfo
from quorumcache.ring.placement import place

_KEPT: Final = {ACTIVE: 0, DRAINING: 1, DOWN: 2}
"""States in which a node that is not placeable may keep what it holds, the best first."""

_AWAITED: Final = 3
"""A lost node whose successor is awaited comes last."""


def make_plan(draft: Draft, view: ClusterView, heirs: Mapping[int, int] | None = None) -> None:
    """Aim every group at where it should be. Nothing, while no node is placeable.

    `heirs`: ids of nodes that take the place of lost ones, by the lost one's id. What the lost node
    held counts as held by its heir, so nothing else moves.
    """
    placeable = draft.placeable()
    if not placeable:
        return
    heirs = heirs or {}
    present = [
        [heirs.get(node_id, node_id) for node_id in draft.present(group_id)]
        for group_id in range(1, len(draft.sets))
    ]
    placed = place(placeable, draft.base.shard_count, draft.replication, present=present)
    kept = _kept(draft)
    awaiting = _awaiting(draft, view)
    detours = Detours(draft, view)
    for group_id, target in enumerate(placed, 1):
        if group_id in awaiting:
            continue
        missing = draft.replication - len(target)
        if missing > 0:
            copied = draft.copied(group_id, view.reports.get(group_id))
            staying = [node.node_id for node in kept if node.node_id in copied]
            target = (*target, *staying[:missing])
        target = detours.around(group_id, target)
        draft.aim(group_id, target, view.reports.get(group_id))
    report = view.reports.get(DIRECTORY_GROUP)
    current = [heirs.get(node_id, node_id) for node_id in draft.present(DIRECTORY_GROUP)]
    wanted = _wanted_directory(draft, placeable, kept, current, report)
    draft.aim(DIRECTORY_GROUP, detours.around(DIRECTORY_GROUP, wanted), report)


def _awaiting(draft: Draft, view: ClusterView) -> set[int]:
    """Groups that stay as they are: the successor of a lost node is awaited for its place there,
    and nothing else is missing.
    """
    awaited = draft.awaited()
    if awaited is None:
        return set()
    soundness = Soundness(draft)
    return {
        group_id
        for group_id in range(len(draft.sets))
        if awaited.node_id in draft.wanted(group_id)
        and awaited.node_id in draft.copied(group_id, view.reports.get(group_id))
        and soundness.allows(group_id, draft.wanted(group_id))
    }


def _kept(draft: Draft) -> list[NodeInfo]:
    """Nodes that get no replica and may keep those they have, the best first."""
    awaited = draft.awaited()
    kept = [
        (_KEPT.get(node.state, _AWAITED), node.node_id, node)
        for node in draft.nodes.values()
        if (node.state in _KEPT and not node.is_placeable) or node is awaited
    ]
    return [node for _, _, node in sorted(kept, key=lambda ranked: ranked[:2])]


def _wanted_directory(
    draft: Draft,
    placeable: Sequence[NodeInfo],
    kept: Sequence[NodeInfo],
    current: Sequence[int],
    report: GroupReport | None,
) -> tuple[int, ...]:
    # Its size follows the nodes that are to come back, too: it does not shrink with each that dies.
    returning = [node for node in kept if node.weight > 0 and node.state != DRAINING]
    copied = draft.copied(DIRECTORY_GROUP, report)
    return choose_directory(
        placeable,
        [node for node in kept if node.node_id in copied],
        current,
        directory_size(len(placeable) + len(returning)),
    )


class Soundness:
    """Whether replica sets are as safe as the nodes' states allow: a cheap look at a plan."""

    __slots__ = ("_awaited", "_kept", "_placeable", "_replication")

    def __init__(self, draft: Draft) -> None:
        self._placeable = frozenset(node.node_id for node in draft.placeable())
        self._kept = frozenset(node.node_id for node in _kept(draft))
        awaited = draft.awaited()
        self._awaited = awaited.node_id if awaited is not None else 0
        self._replication = draft.replication

    def allows(self, group_id: int, nodes: Sequence[int]) -> bool:
        """Whether this may be the group's replica set: enough placeable nodes, not too many nodes,
        and none that must go.
        """
        placeable = self._placeable
        if not placeable:
            return True  # There is nothing better.
        count = 0
        for node_id in nodes:
            if node_id in placeable:
                count += 1
            elif node_id not in self._kept:
                return False
        if group_id == DIRECTORY_GROUP:
            size = directory_size(len(placeable))
            if count >= size and (count == len(nodes) or count == len(placeable)):
                return True
            size = directory_size(len(placeable) + 1)
            return self._awaited in nodes and count + 1 == len(nodes) >= size
        if len(nodes) > self._replication:
            return False
        if count == min(self._replication, len(placeable)):
            return True
        # While its successor is awaited a lost node counts as if it were here.
        return self._awaited in nodes and count + 1 == min(self._replication, len(placeable) + 1)

    def allows_plan(self, draft: Draft, view: ClusterView) -> bool:
        """Whether the wanted set of every group is sound, and no node is waited for that can get no
        replica now: it was to get one, and went down before.
        """
        for group_id in range(len(draft.sets)):
            wanted = draft.wanted(group_id)
            if not self.allows(group_id, wanted):
                return False
            away = [node_id for node_id in wanted if node_id not in self._placeable]
            if away and self._placeable:
                copied = draft.copied(group_id, view.reports.get(group_id))
                if any(node_id not in copied for node_id in away):
                    return False
        return True
