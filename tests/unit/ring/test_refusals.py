"""Goal: checks that changes share refuse with a sentence that names the cause and the next step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import ChangeRefused, ClusterView, GroupReport, Move
from quorumcache.ring.draft import Draft
from quorumcache.ring.refusals import (
    LOST_MS_MIN,
    check_alone,
    check_factor,
    check_removable,
    check_targets,
    check_zone,
    group_name,
    listed,
    node_named,
)
from tests.support.clusters import make_nodes
from tests.support.moving_world import founded

MAP = founded(make_nodes(4), 4, 3, (1, 2, 3))
LONG_SILENT = {1: 10**6, 2: 10**6, 3: 10**6, 4: 10**6}


def test_an_unknown_node_is_told_the_names() -> None:
    assert node_named(Draft(MAP), "n2") == MAP.node(2)
    with pytest.raises(ChangeRefused, match=r"no node 'x': the nodes are n1, n2, n3, n4$"):
        node_named(Draft(MAP), "x")
    assert listed([str(i) for i in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


def test_a_second_change_is_told_of_the_first() -> None:
    check_alone(MAP)
    moves = (Move(1, MAP.replica_sets[0], (1, 2)), Move(2, MAP.replica_sets[1], (1, 2)))
    with pytest.raises(
        ChangeRefused,
        match=r"a change is under way: drain c, 2 moves left, 0 of them started; wait, or "
        r"`quorumcache moves cancel`",
    ):
        check_alone(replace(MAP, change="drain c", moves=moves))


def test_the_factor_needs_as_many_nodes() -> None:
    draft = Draft(MAP)
    check_factor(draft, "no", "or not")
    draft.replication = 5
    with pytest.raises(ChangeRefused, match="no: 4 nodes would be left for 5 replicas of each"):
        check_factor(draft, "no", "or not")
    for node in MAP.nodes:
        draft.set_state(node, "draining")
    with pytest.raises(ChangeRefused, match="no: it is the last node that can hold replicas"):
        check_factor(draft, "no", "or not")


def test_a_node_that_is_heard_or_was_a_moment_ago_is_not_lost() -> None:
    heard = ClusterView(heard=frozenset([1, 2, 3, 4]))
    with pytest.raises(ChangeRefused, match="no: it is heard, so it is not lost; use `quorum"):
        check_removable(Draft(MAP), heard, MAP.node(4), "no")
    early = ClusterView(heard=frozenset([1, 2, 3]), silent_ms={4: LOST_MS_MIN - 1})
    with pytest.raises(ChangeRefused, match="no: it was heard a moment ago"):
        check_removable(Draft(MAP), early, MAP.node(4), "no")
    check_removable(Draft(MAP), replace(early, silent_ms=LONG_SILENT), MAP.node(4), "no")


def test_a_node_is_not_removed_from_a_group_that_needs_it() -> None:
    draft = Draft(replace(MAP, replica_sets=((1, 2, 4), *((1, 2, 3),) * 3)))
    view = ClusterView(heard=frozenset([1, 3]), silent_ms=LONG_SILENT)
    with pytest.raises(
        ChangeRefused,
        match="no: shard 0 has 1 of 3 replicas on nodes that are heard, no majority; first "
        "start node n2 or n4",
    ):
        check_removable(draft, view, MAP.node(4), "no")


@pytest.mark.parametrize(
    ("origin", "target", "heard", "allowed"),
    [
        ((1, 2, 3), (1, 2, 4), {1, 2, 3}, True),
        ((1, 2, 4), (1, 2, 3), {1, 2, 3}, True),
        ((1, 2, 3), (1, 2, 4), {1, 2}, False),  # (1, 2, 3, 4) needs three.
        ((1,), (4,), {1}, False),  # The last that was heard of it may be from before 4 had a vote.
        ((4,), (1,), {1}, False),
    ],
)
def test_a_group_that_moves_may_count_on_all_that_vote_on_the_way(
    origin: tuple[int, ...], target: tuple[int, ...], heard: set[int], allowed: bool
) -> None:
    draft = Draft(replace(MAP, replica_sets=(origin, *((1, 2, 3),) * 3)))
    draft.aim(1, target)
    draft.start(draft.moves[1])
    view = ClusterView(
        heard=frozenset(heard),
        silent_ms=LONG_SILENT,
        reports={1: GroupReport(1, 1, draft.epoch, (1, 2, 3))},
    )
    if allowed:
        check_removable(draft, view, MAP.node(4), "no")
    else:
        with pytest.raises(ChangeRefused, match=r"shard 0 has . of . replicas on nodes that are"):
            check_removable(draft, view, MAP.node(4), "no")


def test_no_group_is_to_end_on_silent_nodes() -> None:
    draft = Draft(MAP)
    draft.sets[1] = (1, 2, 3)
    draft.aim(1, (1, 3, 4))
    check_targets(draft, ClusterView(heard=frozenset([1, 2, 3])), "no")
    with pytest.raises(
        ChangeRefused,
        match="no: shard 0 would have 1 of 3 replicas on nodes that are heard, no majority; first "
        "start node n3 or n4, or wait",
    ):
        check_targets(draft, ClusterView(heard=frozenset([1, 2])), "no")


def test_a_zone_is_one_that_is_there() -> None:
    with pytest.raises(
        ChangeRefused, match="no node is in zone 'z': no node has a zone; write new-zone=z for"
    ):
        check_zone(Draft(MAP), "z")
    zoned = Draft(MAP.with_node(replace(MAP.node(1), zone="y")))
    check_zone(zoned, "y")
    check_zone(zoned, "")
    with pytest.raises(ChangeRefused, match="zone 'z': the zones are y; write new-zone=z"):
        check_zone(zoned, "z")


def test_groups_have_names() -> None:
    assert group_name(0) == "the directory"
    assert group_name(7) == "shard 6"
