"""Goal: nodes change their state after what is heard of them, and leave when they hold nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import ClusterView
from quorumcache.ring.draft import Draft
from quorumcache.ring.healing import JOINING_MS_MAX, RETURN_MS, follow_nodes, let_nodes_leave
from tests.support.clusters import make_node, make_nodes
from tests.support.moving_world import DEAD_AFTER_MS, founded

MAP = founded(make_nodes(3), 4, 3, (1, 2, 3)).with_node(make_node(4))
"""Node 4 holds nothing."""


def draft_with(state: str, weight: float = 1.0) -> Draft:
    return Draft(MAP.with_node(replace(MAP.node(4), state=state, weight=weight)))


def view(*, silent_ms: int | None = None, heard_ms: int = 0) -> ClusterView:
    """Of node 4; the others have been heard for ever."""
    heard = {1: 10**9, 2: 10**9, 3: 10**9}
    if silent_ms is not None:
        return ClusterView(frozenset(heard), {4: silent_ms}, heard)
    return ClusterView(frozenset([1, 2, 3, 4]), {}, {**heard, 4: heard_ms})


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        ("joining", view(), "active"),
        ("joining", view(silent_ms=DEAD_AFTER_MS), "joining"),
        ("active", view(), "active"),
        ("active", view(silent_ms=DEAD_AFTER_MS - 1), "active"),
        ("active", view(silent_ms=DEAD_AFTER_MS), "down"),
        ("active", ClusterView(), "active"),
        ("down", view(heard_ms=RETURN_MS - 1), "down"),
        ("down", view(heard_ms=RETURN_MS), "active"),
        ("down", view(silent_ms=10**9), "down"),
        ("draining", view(silent_ms=10**9), "draining"),
        ("lost", view(heard_ms=10**9), "lost"),
    ],
)
def test_states_follow_what_is_heard(before: str, seen: ClusterView, after: str) -> None:
    draft = draft_with(before)
    is_new, heirs = follow_nodes(draft, seen)
    assert draft.nodes[4].state == after
    assert is_new is (before != after)
    assert heirs == {}


def test_a_gateway_needs_no_plan() -> None:
    draft = draft_with("joining", 0.0)
    assert follow_nodes(draft, view()) == (False, {})
    assert draft.nodes[4].state == "active"


def test_the_map_says_how_long_a_silence_may_be() -> None:
    draft = draft_with("active")
    draft.settings["dead_after_ms"] = "9000"
    follow_nodes(draft, view(silent_ms=8999))
    assert draft.nodes[4].state == "active"


def test_a_successor_is_the_heir_of_the_node_that_it_replaces() -> None:
    lost = replace(MAP.node(3), name="n3~3", state="lost")
    heir = replace(MAP.node(4), name="n3", state="joining")
    draft = Draft(replace(MAP, nodes=(*MAP.nodes[:2], lost, heir), change="replace n3"))
    assert follow_nodes(draft, view(silent_ms=0)) == (False, {})
    assert follow_nodes(draft, view()) == (True, {3: 4})


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        ("draining", view(), "drained"),
        ("drained", view(), "drained"),
        ("drained", view(silent_ms=DEAD_AFTER_MS - 1), "drained"),
        ("drained", view(silent_ms=DEAD_AFTER_MS), ""),
        ("lost", view(), ""),
        ("joining", view(silent_ms=JOINING_MS_MAX - 1), "joining"),
        ("joining", view(silent_ms=JOINING_MS_MAX), ""),
        ("down", view(silent_ms=10**9), "down"),
        ("active", view(), "active"),
    ],
)
def test_nodes_leave_that_will_not_come_back(before: str, seen: ClusterView, after: str) -> None:
    draft = draft_with(before)
    let_nodes_leave(draft, seen)
    assert (draft.nodes[4].state if 4 in draft.nodes else "") == after
    assert draft.finish().next_node_id == 5


@pytest.mark.parametrize("state", ["draining", "drained", "lost", "joining"])
@pytest.mark.parametrize("where", ["set", "target", "directory"])
def test_no_node_leaves_that_holds_something(state: str, where: str) -> None:
    draft = draft_with(state)
    if where == "set":
        draft.sets[1] = (1, 2, 4)
    elif where == "directory":
        draft.sets[0] = (1, 2, 4)
    else:
        draft.aim(1, (1, 2, 4))
    let_nodes_leave(draft, view(silent_ms=10**9))
    assert draft.nodes[4].state == state
