"""Why a change of the cluster is refused: checks that several changes share, with their sentences.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.draft import Draft
from quorumcache.ring.errors import ChangeRefused
from quorumcache.ring.move import DIRECTORY_GROUP, WAITING
from quorumcache.ring.node_info import NodeInfo

LOST_MS_MIN: Final = 1000
"""A node is taken for lost only after the directory's leader has missed it for so long: one that
has just begun to lead has not been told yet whom the others hear."""

_NAMES_MAX: Final = 10
"""Names in one sentence; who has more nodes looks at the list."""


def node_named(draft: Draft, name: str) -> NodeInfo:
    """The node of this name."""
    node = draft.base.node_named(name)
    if node is None:
        raise ChangeRefused(f"there is no node {name!r:.100}: the nodes are {_names(draft)}")
    return node


def check_alone(present: ClusterMap) -> None:
    """Only one change at a time, so that each can be watched and cancelled as one."""
    if present.change:
        raise ChangeRefused(
            f"a change is under way: {present.change}, {moves_left(present)}; wait, or "
            "`quorumcache moves cancel`"
        )


def moves_left(present: ClusterMap) -> str:
    """How much of what is under way is left, for people."""
    started = sum(move.decided != WAITING for move in present.moves)
    count = len(present.moves)
    return f"{count} move{'' if count == 1 else 's'} left, {started} of them started"


def check_factor(draft: Draft, what: str, name: str) -> None:
    """Enough nodes stay for every replica. `what`: "node c cannot be drained"."""
    count = len(draft.placeable())
    if count == 0:
        raise ChangeRefused(
            f"{what}: it is the last node that can hold replicas; join another node first"
        )
    if count < draft.replication:
        raise ChangeRefused(
            f"{what}: {_nodes(count)} would be left for {draft.replication} replicas of each "
            f"shard; join another node first, {name}"
        )


def check_removable(draft: Draft, view: ClusterView, node: NodeInfo, what: str) -> None:
    """Every group that holds the node can do without it: most of its voters are heard."""
    if node.node_id in view.heard:
        raise ChangeRefused(
            f"{what}: it is heard, so it is not lost; use `quorumcache node drain {node.name}`"
        )
    if view.silent_ms.get(node.node_id, 0) < LOST_MS_MIN:
        raise ChangeRefused(
            f"{what}: it was heard a moment ago, so it may only be starting again; if it is lost, "
            "try again in some seconds"
        )
    for group_id in range(len(draft.sets)):
        if node.node_id not in draft.sets[group_id]:
            continue
        voters = draft.sets[group_id]
        if not _has_majority(draft, view, group_id):
            raise ChangeRefused(
                f"{what}: {group_name(group_id)} has {view.count_heard(voters)} of {len(voters)} "
                f"replicas on nodes that are heard, no majority; first start "
                f"{_silent(draft, view, voters)}"
            )


def _has_majority(draft: Draft, view: ClusterView, group_id: int) -> bool:
    """Whether most voters of a group are heard for certain.

    A group that moves may be anywhere between both sets: reports do not tell what it has done just
    before its leader fell silent. At worst silent newcomers vote already, or silent nodes that are
    to go vote still.
    """
    move = draft.moves.get(group_id)
    if move is None or move.decided == WAITING:
        return view.hears_majority(draft.sets[group_id])
    return all(
        2 * view.count_heard(nodes) > len(nodes) + len(others) - view.count_heard(others)
        for nodes, others in ((move.origin, move.added), (move.target, move.removed))
    )


def check_targets(draft: Draft, view: ClusterView, what: str) -> None:
    """No group is to end on nodes of which most are not heard."""
    before = {move.group_id: move for move in draft.base.moves}
    for group_id, move in sorted(draft.moves.items()):
        if move == before.get(group_id) or view.hears_majority(move.target):
            continue
        raise ChangeRefused(
            f"{what}: {group_name(group_id)} would have {view.count_heard(move.target)} of "
            f"{len(move.target)} replicas on nodes that are heard, no majority; first start "
            f"{_silent(draft, view, move.target)}, or wait until the cluster counts without it"
        )


def group_name(group_id: int) -> str:
    """A group, for people."""
    return "the directory" if group_id == DIRECTORY_GROUP else f"shard {group_id - 1}"


def _silent(draft: Draft, view: ClusterView, node_ids: tuple[int, ...]) -> str:
    names = [draft.nodes[n].name for n in node_ids if n not in view.heard and n in draft.nodes]
    return f"node {' or '.join(names[:_NAMES_MAX])}"


def check_zone(draft: Draft, zone: str) -> None:
    """A zone in which a node is already; a slip of the pen would spread replicas differently."""
    zones = sorted({node.zone for node in draft.base.nodes} - {""})
    if zone and zone not in zones:
        known = f"the zones are {listed(zones)}" if zones else "no node has a zone"
        raise ChangeRefused(
            f"no node is in zone {zone!r:.100}: {known}; write new-zone={zone:.100} for a new one"
        )


def _names(draft: Draft) -> str:
    return listed([node.name for node in draft.base.nodes])


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    more = "" if len(names) <= _NAMES_MAX else f" and {len(names) - _NAMES_MAX} more"
    return ", ".join(names[:_NAMES_MAX]) + more


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"
