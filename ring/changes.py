"""What operators ask for, and nodes that join: from words to the next map, or a refusal.

    drain NAME | remove NAME force | replace NAME | node NAME weight=2 zone=z
    settings replication=5 dead-after-ms=20000 ... | rebalance | pause | resume | cancel
    leave NODE_ID (from a drained node)

A refusal is one sentence that says why and what to do, and nothing is changed then. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from quorumcache.ring.cancelling import cancel, described
from quorumcache.ring.cluster_map import NODES_MAX, ClusterMap
from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.draft import REPLACE, Draft
from quorumcache.ring.errors import ChangeRefused, MapError
from quorumcache.ring.estimate import Estimate, estimate
from quorumcache.ring.node_changes import drain, leave, remove, replace_node, set_node
from quorumcache.ring.node_info import JOINING, LOST, NodeInfo
from quorumcache.ring.plan import make_plan
from quorumcache.ring.refusals import check_alone, check_targets
from quorumcache.ring.settings import CHANGEABLE, REPLICATIONS, read_setting
from quorumcache.ring.words import expect, pairs_of


class Changed(NamedTuple):
    """`map`: the next one; the present one itself if there is nothing to change. `summary`: what
    happens now, for people. `report`: what it costs.
    """

    map: ClusterMap
    summary: str
    report: Estimate


def change(present: ClusterMap, words: Sequence[str], view: ClusterView) -> Changed:
    """The map that the words lead to. Raises `ChangeRefused`."""
    if present.form < 2:
        raise ChangeRefused(
            "the cluster cannot be changed while a node of an earlier version may be in it; "
            "upgrade every node first"
        )
    verb = words[0] if words else ""
    act = _ACTS.get(verb)
    if act is None:
        raise ChangeRefused(f"{verb!r:.60} is no change: use {', '.join(sorted(_ACTS))}")
    draft = Draft(present)
    try:
        summary = act(draft, list(words[1:]), view)
    except MapError as error:
        raise ChangeRefused(str(error)) from None
    if not draft.moves and draft.awaited() is None:
        draft.change = ""
    return _changed(draft, summary, view)


def join(present: ClusterMap, info: NodeInfo, view: ClusterView) -> Changed:
    """Take a node in; the map gives it an id, whatever `info` says. Raises `ChangeRefused`.

    A node that asks again before it has been heard as a member (same `disk_id`) keeps its id; it
    may come with other addresses, zone and weight.
    """
    if present.form < 2:
        raise ChangeRefused(
            "no node can join while a node of an earlier version may be in the cluster; upgrade "
            "every node first"
        )
    draft = Draft(present)
    known = next((n for n in present.nodes if n.disk_id and n.disk_id == info.disk_id), None)
    if known is not None:
        _check_returning(known, info)
        node_id = known.node_id
    else:
        node_id = present.next_node_id
        draft.next_node_id = node_id + 1
        if len(present.nodes) >= NODES_MAX:
            raise ChangeRefused(f"the cluster has {NODES_MAX} nodes, which is the most it can have")
    _check_unique(draft, node_id, info)
    draft.nodes[node_id] = replace(info, node_id=node_id, state=JOINING)
    return _changed(draft, f"node {info.name} joins as node {node_id}", view)


def _changed(draft: Draft, summary: str, view: ClusterView) -> Changed:
    try:
        new = draft.finish()
    except MapError as error:
        raise ChangeRefused(str(error)) from None
    return Changed(new, summary, estimate(draft.base, new, view))


def _check_returning(known: NodeInfo, info: NodeInfo) -> None:
    if known.state == LOST:
        raise ChangeRefused(
            f"this data directory belonged to node {known.name}, which was removed from the "
            "cluster; join with an empty data directory"
        )
    if known.state != JOINING:
        raise ChangeRefused(
            f"this data directory belongs to node {known.name}, which is a member already: it was "
            "set back to an older copy, or copied, and no longer knows what it promised. Start the "
            "node with the directory as it was last, or join with an empty one"
        )
    if known.name != info.name:
        raise ChangeRefused(
            f"this data directory joins as node {known.name}; start it with --name {known.name}"
        )


def _check_unique(draft: Draft, node_id: int, info: NodeInfo) -> None:
    for node in draft.nodes.values():
        if node.node_id == node_id:
            continue
        if node.name == info.name:
            # One that was lost before it was heard holds nothing that could be taken over.
            cure = "remove {} --force" if node.state == JOINING else "replace {}"
            raise ChangeRefused(
                f"the name {info.name} is taken by the node at {node.peer_address}; choose another "
                f"name, or, if that node is lost, run `quorumcache node {cure.format(info.name)}` "
                "first"
            )
        if node.state == LOST:
            continue  # Nobody is reached there any more.
        for what, own, others in (
            ("peer", info.peer_address, node.peer_address),
            ("client", info.client_address, node.client_address),
        ):
            if own == others:
                raise ChangeRefused(
                    f"the {what} address {own} belongs to node {node.name}; start node {info.name} "
                    "with another one"
                )


# -- settings --------------------------------------------------------------------------------


def _set_settings(draft: Draft, words: list[str], view: ClusterView) -> str:
    if not words:
        raise ChangeRefused(
            "say what to set, as in `quorumcache cluster set replication=5 dead-after-ms=20000`"
        )
    replication = draft.replication
    for flag, value in pairs_of(words):
        name = flag.replace("-", "_")
        if name == "replication":
            replication = _replication(draft, value)
        elif name in CHANGEABLE:
            try:
                draft.settings[name] = read_setting(name, value)
            except ValueError as error:
                raise ChangeRefused(str(error)) from None
        elif name in draft.settings:
            raise ChangeRefused(f"{flag} cannot be changed: it is fixed since the founding")
        else:
            known = ", ".join(key.replace("_", "-") for key in ("replication", *CHANGEABLE))
            raise ChangeRefused(
                f"the cluster has no setting {flag!r:.60} that can be changed: use {known}"
            )
    if replication != draft.replication:
        check_alone(draft.base)
        draft.change = described(
            f"settings replication={replication}", f"replication={draft.replication}"
        )
        draft.replication = replication
        make_plan(draft, view)
        check_targets(draft, view, "replication cannot be changed")
    return f"set {' '.join(words)}"


def _replication(draft: Draft, text: str) -> int:
    allowed = ", ".join(map(str, REPLICATIONS[:-1])) + f" or {REPLICATIONS[-1]}"
    if text not in map(str, REPLICATIONS):
        raise ChangeRefused(f"replication is {text!r:.60}, expected {allowed}")
    replication = int(text)
    count = len(draft.placeable())
    if draft.replication < replication and count < replication:
        raise ChangeRefused(
            f"replication cannot be {replication}: only {count} nodes can hold replicas; join "
            "more nodes first"
        )
    return replication


# -- moves -----------------------------------------------------------------------------------


def _rebalance(draft: Draft, words: list[str], view: ClusterView) -> str:
    expect(words, "rebalance", 0)
    check_alone(draft.base)
    draft.change = "rebalance"
    make_plan(draft, view)
    check_targets(draft, view, "the cluster cannot be rebalanced")
    if draft.moves:
        return "replicas move to where they should be"
    return "every replica is where it should be"


def _pause(draft: Draft, words: list[str], view: ClusterView) -> str:
    expect(words, "pause", 0)
    draft.is_paused = True
    return "paused: moves under way go on, and no other starts before `quorumcache moves resume`"


def _resume(draft: Draft, words: list[str], view: ClusterView) -> str:
    expect(words, "resume", 0)
    draft.is_paused = False
    return "waiting moves start again"


def _cancel(draft: Draft, words: list[str], view: ClusterView) -> str:
    expect(words, "cancel", 0)
    return cancel(draft, view)


_ACTS: Final[dict[str, Callable[[Draft, list[str], ClusterView], str]]] = {
    "drain": drain,
    "remove": remove,
    REPLACE: replace_node,
    "node": set_node,
    "settings": _set_settings,
    "rebalance": _rebalance,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "leave": leave,
}
