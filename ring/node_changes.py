"""Changes of one node: each a function from a draft and words to a summary, or a refusal. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from quorumcache.ring.cancelling import described
from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.draft import REPLACE, Draft, name_when_lost
from quorumcache.ring.errors import ChangeRefused
from quorumcache.ring.move import WAITING
from quorumcache.ring.node_info import (
    ACTIVE,
    DOWN,
    DRAINED,
    DRAINING,
    JOINING,
    LOST,
    WEIGHTS,
    is_weight,
)
from quorumcache.ring.plan import make_plan
from quorumcache.ring.refusals import (
    check_alone,
    check_factor,
    check_removable,
    check_targets,
    check_zone,
    node_named,
)
from quorumcache.ring.words import expect, pairs_of

_JOIN_FIRST: Final = "or `quorumcache cluster set replication=...`"


def drain(draft: Draft, words: list[str], view: ClusterView) -> str:
    """Everything moves away from a node; then it leaves."""
    (name,) = expect(words, "drain NAME", 1)
    node = node_named(draft, name)
    what = f"node {name} cannot be drained"
    if node.state in _NOT_DRAINED:
        raise ChangeRefused(f"{what}: {_NOT_DRAINED[node.state].format(name=name)}")
    check_alone(draft.base)
    draft.set_state(node, DRAINING)
    draft.change = f"drain {name}"
    if node.is_placeable:
        check_factor(draft, what, _JOIN_FIRST)
        make_plan(draft, view)
    check_targets(draft, view, what)
    return f"node {name} is being drained; it leaves the cluster and ends when it holds nothing"


_NOT_DRAINED: Final = {
    JOINING: "it is still joining; wait until it is active",
    DRAINING: "it is being drained already; see `quorumcache moves`",
    DRAINED: "it is drained already, and ends when its clients have left",
    DOWN: "it is down; start it again, or use `quorumcache node remove {name} --force`",
    LOST: "it was removed already",
}


def remove(draft: Draft, words: list[str], view: ClusterView) -> str:
    """A node that is lost leaves; its replicas are rebuilt on others."""
    name = words[0] if words else ""
    if len(words) != 2 or words[1] != "force":
        raise ChangeRefused(
            "remove takes a lost node out by force, as in `quorumcache node remove NAME --force`; "
            "for a node that is up use `quorumcache node drain NAME`"
        )
    node = node_named(draft, name)
    what = f"node {name} cannot be removed"
    if node.state == LOST:
        raise ChangeRefused(f"{what}: it was removed already")
    if node.state == JOINING:  # It holds nothing, so this is no change to be watched.
        check_removable(draft, view, node, what)
        del draft.nodes[node.node_id]
        return f"node {name} is removed; it had not joined yet"
    check_alone(draft.base)
    check_removable(draft, view, node, what)
    draft.set_state(node, LOST)
    if node.weight > 0 and node.node_id in draft.held():
        check_factor(draft, what, f"or use `quorumcache node replace {name}`")
    draft.change = f"remove {name}"
    make_plan(draft, view)
    check_targets(draft, view, what)
    return f"node {name} is removed; its replicas are rebuilt on other nodes"


def replace_node(draft: Draft, words: list[str], view: ClusterView) -> str:
    """A node that is lost makes room for a successor of the same name."""
    (name,) = expect(words, "replace NAME", 1)
    node = node_named(draft, name)
    what = f"node {name} cannot be replaced"
    if node.state not in (ACTIVE, DOWN):
        raise ChangeRefused(f"{what}: {_NOT_REPLACED[node.state].format(name=name)}")
    check_alone(draft.base)
    check_removable(draft, view, node, what)
    draft.nodes[node.node_id] = replace(node, name=name_when_lost(name, node.node_id), state=LOST)
    draft.change = f"{REPLACE} {name}"
    # What would rebuild its replicas elsewhere and has not begun waits for the successor, too.
    for move in tuple(draft.moves.values()):
        if node.node_id in move.removed and move.decided == WAITING:
            draft.aim(move.group_id, move.origin)
    return (
        f"node {name} is given up; start its successor with --join and --name {name}, which takes "
        "its place"
    )


_NOT_REPLACED: Final = {
    JOINING: "it holds nothing yet; `quorumcache node remove {name} --force` frees its name",
    DRAINING: "it is being drained, and frees its name at the end; see `quorumcache moves`",
    DRAINED: "it was drained and holds nothing; `quorumcache node remove {name} --force` frees its"
    " name",
    LOST: "it was given up already",
}


def set_node(draft: Draft, words: list[str], view: ClusterView) -> str:
    """A node gets another weight or zone."""
    if len(words) < 2:
        raise ChangeRefused("say what to set, as in `quorumcache node set NAME weight=2 zone=z`")
    name = words[0]
    node = node_named(draft, name)
    what = f"node {name} cannot be changed"
    if node.state not in (ACTIVE, DOWN):
        raise ChangeRefused(f"{what}: it is {node.state}; its weight and zone do not count")
    weight, zone = node.weight, node.zone
    for key, value in pairs_of(words[1:]):
        if key == "weight":
            weight = _weight(value)
        elif key in ("zone", "new-zone"):
            zone = value
            if key == "zone":
                check_zone(draft, zone)
        else:
            raise ChangeRefused(f"a node has no {key!r:.60} to set; weight and zone can be set")
    if (weight, zone) == (node.weight, node.zone):
        return f"node {name} has this weight and zone already"
    check_alone(draft.base)
    draft.nodes[node.node_id] = replace(node, weight=weight, zone=zone)
    draft.finish()  # Refuses a zone that is no word, before anything is placed.
    if node.is_placeable and weight == 0:
        check_factor(draft, what, _JOIN_FIRST)
    new, old = [f"node {name}"], []
    if weight != node.weight:
        new.append(f"weight={_number(weight)}")
        old.append(f"weight={_number(node.weight)}")
    if zone != node.zone:
        new.append(f"zone={zone}")
        old.append(f"zone={node.zone}")
    draft.change = described(" ".join(new), " ".join(old))
    make_plan(draft, view)
    check_targets(draft, view, what)
    return f"node {name} has weight {_number(weight)}" + (f" in zone {zone}" if zone else "")


def leave(draft: Draft, words: list[str], view: ClusterView) -> str:
    """A drained node has served its last client."""
    (text,) = expect(words, "leave NODE_ID", 1)
    node = next((n for n in draft.nodes.values() if str(n.node_id) == text), None)
    if node is None:
        return f"node {text} has left"
    if node.state != DRAINED or node.node_id in draft.held():
        raise ChangeRefused(
            f"node {node.name} cannot leave: it is {node.state}; use "
            f"`quorumcache node drain {node.name}` first"
        )
    del draft.nodes[node.node_id]
    return f"node {node.name} has left"


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not is_weight(weight):
        raise ChangeRefused(f"the weight is {text!r:.60}, expected {WEIGHTS}")
    return weight


def _number(weight: float) -> str:
    """A weight that `float` reads back."""
    return str(int(weight)) if weight == int(weight) else repr(weight)
