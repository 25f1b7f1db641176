"""How a change is cancelled: the operator's wish is taken back, waiting moves are dropped, and
moves that have started turn back by the same mechanism. What has been completed stays. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.directory_set import directory_size
from quorumcache.ring.draft import Draft
from quorumcache.ring.errors import ChangeRefused
from quorumcache.ring.move import DIRECTORY_GROUP, WAITING, Move
from quorumcache.ring.node_info import ACTIVE, DOWN, DRAINING, LOST, NodeInfo
from quorumcache.ring.plan import Soundness, make_plan

_BEFORE: Final = " (was "


def described(what: str, before: str) -> str:
    """A change in words, with what it changes: "node c weight=2 (was weight=1)"."""
    return f"{what}{_BEFORE}{before})"


def cancel(draft: Draft, view: ClusterView) -> str:
    """Turn back whatever may stay where it came from; the summary.

    A group that cannot stay there, because a node is gone, goes on.
    """
    draining = [node for node in draft.nodes.values() if node.state == DRAINING]
    if not draft.change and not draft.moves and not draining:
        raise ChangeRefused("there is nothing to cancel: no move is under way")
    for node in draining:
        draft.set_state(node, ACTIVE)
    stays_lost = _take_back(draft)
    draft.change = ""
    soundness = Soundness(draft)
    dropped = turned = 0
    for move in tuple(draft.moves.values()):
        target = came_from(draft, move)
        if not soundness.allows(move.group_id, target):
            continue
        draft.aim(move.group_id, target, view.reports.get(move.group_id))
        dropped += move.decided == WAITING
        turned += move.decided != WAITING
    if not soundness.allows_plan(draft, view):
        make_plan(draft, view)  # A target that the change has made too small must not be followed.
    kept = len(draft.base.moves) - dropped - turned
    summary = f"cancelled: {dropped} waiting moves dropped, {turned} turned back"
    if kept:
        summary += f", {kept} go on because their groups would be short of replicas"
    return summary + stays_lost


def came_from(draft: Draft, move: Move) -> tuple[int, ...]:
    """The replica set from before the move, without nodes that were only tried in between."""
    fit = [node_id for node_id in move.origin if draft.nodes[node_id].is_placeable]
    others = [node_id for node_id in move.origin if node_id not in fit]
    size = draft.replication
    if move.group_id == DIRECTORY_GROUP:
        size = max(directory_size(len(draft.placeable())), 1)
    return tuple([*fit, *others][:size])


def _take_back(draft: Draft) -> str:
    """Give back what a change has replaced: values of a node or of the settings, and a node that
    was given up, as long as its successor has not come. A node whose address another one has by now
    cannot come back: it stays lost, and what it held is rebuilt. This is said then, for people.
    """
    awaited = draft.awaited()
    if awaited is not None:
        name = draft.change.partition(" ")[2]
        tenant = _tenant(draft, awaited, name)
        if tenant is not None:
            return (
                f"; node {name} stays removed, since node {tenant.name} has its address by now, and"
                " its replicas are rebuilt on other nodes"
            )
        for other in tuple(draft.nodes.values()):
            if other.name == name:  # A successor that was taken in and has not come.
                del draft.nodes[other.node_id]
        draft.nodes[awaited.node_id] = replace(awaited, name=name, state=DOWN)
        return ""
    text, _, before = draft.change.removesuffix(")").partition(_BEFORE)
    values = dict(word.split("=", 1) for word in before.split())
    if "replication" in values:
        draft.replication = int(values["replication"])
    node = draft.base.node_named(text.split()[1]) if text.startswith("node ") else None
    if node is not None and values:
        weight = float(values.get("weight", node.weight))
        draft.nodes[node.node_id] = replace(
            draft.nodes[node.node_id], weight=weight, zone=values.get("zone", node.zone)
        )
    return ""


def _tenant(draft: Draft, lost: NodeInfo, name: str) -> NodeInfo | None:
    """A node with an address of the lost one; its successor, of this name, does not count."""
    for node in draft.nodes.values():
        if node.state == LOST or node.name == name:
            continue
        if lost.peer_address == node.peer_address or lost.client_address == node.client_address:
            return node
    return None
