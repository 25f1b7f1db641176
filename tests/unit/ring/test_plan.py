"""Goal: a plan puts every group where it should be, and keeps what nobody else can take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import ClusterMap, ClusterView, GroupReport, Move, place
from quorumcache.ring.draft import Draft, same_nodes
from quorumcache.ring.plan import Soundness, make_plan
from tests.support.clusters import make_node, make_nodes
from tests.support.moving_world import founded

VIEW = ClusterView()


def states(cluster_map: ClusterMap, **by_name: str) -> ClusterMap:
    nodes = tuple(replace(n, state=by_name.get(n.name, n.state)) for n in cluster_map.nodes)
    return replace(cluster_map, nodes=nodes)


def planned(cluster_map: ClusterMap) -> Draft:
    draft = Draft(cluster_map)
    make_plan(draft, VIEW)
    return draft


def wanted(draft: Draft) -> list[tuple[int, ...]]:
    return [draft.wanted(group_id) for group_id in range(len(draft.sets))]


THREE = founded(make_nodes(3), 4, 3, (1, 2, 3))
FIVE = founded(make_nodes(5), 16, 3, (1, 2, 3, 4, 5))


def test_a_good_map_needs_nothing() -> None:
    assert Soundness(Draft(FIVE)).allows_plan(Draft(FIVE), VIEW)
    assert planned(FIVE).finish() is FIVE


def test_replicas_of_a_draining_node_go_to_the_others() -> None:
    cluster_map = states(FIVE, n2="draining")
    assert not Soundness(Draft(cluster_map)).allows_plan(Draft(cluster_map), VIEW)
    draft = planned(cluster_map)
    assert Soundness(draft).allows_plan(draft, VIEW)
    rest = [node for node in FIVE.nodes if node.node_id != 2]
    assert wanted(draft)[1:] == list(place(rest, 16, 3, present=FIVE.replica_sets))
    assert same_nodes(wanted(draft)[0], (1, 3, 4))
    assert sorted(draft.finish().replica_sets) == sorted(FIVE.replica_sets)


@pytest.mark.parametrize("state", ["down", "draining"])
def test_nobody_is_given_up_while_there_is_nobody_else(state: str) -> None:
    draft = planned(states(THREE, n3=state))
    assert all(group_id == 0 for group_id in draft.moves)
    assert all(same_nodes(nodes, (1, 2, 3)) for nodes in wanted(draft)[1:])
    assert all(nodes[-1] == 3 for nodes in wanted(draft)[1:])
    assert Soundness(draft).allows_plan(draft, VIEW)


def test_one_that_is_up_is_kept_before_one_that_is_down() -> None:
    nodes = make_nodes(4)
    base = replace(founded(nodes, 4, 3, (1, 2, 3)), replica_sets=((1, 2, 3), *((1, 3, 4),) * 3))
    draft = planned(states(base, n1="down", n3="draining"))
    assert set(wanted(draft)[2]) == {4, 2, 3}


def test_a_lost_node_goes_even_if_there_is_nobody_else() -> None:
    cluster_map = states(THREE, n3="lost")
    assert not Soundness(Draft(cluster_map)).allows_plan(Draft(cluster_map), VIEW)
    assert all(same_nodes(nodes, (1, 2)) for nodes in wanted(planned(cluster_map)))


def test_a_lost_node_stays_while_its_successor_is_awaited() -> None:
    lost = replace(THREE.node(3), name="n3~3", state="lost")
    cluster_map = replace(THREE, nodes=(*THREE.nodes[:2], lost), change="replace n3")
    draft = Draft(cluster_map)
    assert Soundness(draft).allows_plan(draft, VIEW)
    make_plan(draft, VIEW)
    assert not draft.moves
    heir = replace(THREE.node(3), node_id=4)
    draft = Draft(cluster_map.with_node(heir))
    make_plan(draft, VIEW, {3: 4})
    assert all(same_nodes(nodes, (1, 2, 4)) for nodes in wanted(draft))


def test_an_heir_gets_what_the_lost_node_held_and_nothing_else_moves() -> None:
    lost = replace(FIVE.node(3), name="n3~3", state="lost")
    base = replace(FIVE, nodes=(*FIVE.nodes[:2], lost, *FIVE.nodes[3:]), change="replace n3")
    draft = Draft(base.with_node(replace(FIVE.node(3), node_id=6)))
    make_plan(draft, VIEW, {3: 6})
    for group_id, replicas in enumerate(FIVE.replica_sets, 1):
        assert draft.wanted(group_id) == tuple(6 if n == 3 else n for n in replicas)


def test_an_heir_gets_the_seat_in_the_directory() -> None:
    """Another node that could have it stays as it is."""
    six = founded(make_nodes(6), 4, 3, (1, 2, 3, 4, 5))
    lost = replace(six.node(3), name="n3~3", state="lost")
    base = replace(six, nodes=(*six.nodes[:2], lost, *six.nodes[3:]), change="replace n3")
    draft = Draft(base.with_node(replace(six.node(3), node_id=7)))
    make_plan(draft, VIEW, {3: 7})
    assert same_nodes(draft.wanted(0), (1, 2, 4, 5, 7))


def test_a_gateway_is_never_placed() -> None:
    base = FIVE.with_node(make_node(6, "", 0.0))
    draft = planned(base)
    assert not draft.moves
    gateway = planned(replace(FIVE, nodes=(replace(FIVE.node(1), weight=0.0), *FIVE.nodes[1:])))
    assert all(1 not in nodes for nodes in wanted(gateway))


def test_without_a_placeable_node_nothing_is_planned() -> None:
    cluster_map = states(THREE, n1="down", n2="down", n3="down")
    assert Soundness(Draft(cluster_map)).allows_plan(Draft(cluster_map), VIEW)
    assert planned(cluster_map).finish() is cluster_map


def test_the_directory_does_not_shrink_while_nodes_may_return() -> None:
    draft = planned(states(FIVE, n4="down", n5="down"))
    assert same_nodes(draft.wanted(0), (1, 2, 3, 4, 5))
    six = FIVE.with_node(make_node(6))
    draft = planned(states(six, n4="down", n5="down"))
    assert same_nodes(draft.wanted(0), (1, 2, 3, 6, 4))


def test_a_directory_that_is_too_small_is_unsound() -> None:
    draft = Draft(replace(FIVE, directory=(1, 2, 3)))
    assert not Soundness(draft).allows(0, draft.wanted(0))


@pytest.mark.parametrize("decided", [0, 9])
def test_a_node_that_went_down_before_it_got_its_replica_is_not_waited_for(decided: int) -> None:
    """It may be gone for good: then the move would never end."""
    move = Move(1, (1, 2, 3), (1, 2, 3, 4), decided)
    draft = Draft(states(moving(move), n4="down"))
    report = GroupReport(1, 1, 9, (1, 2, 3))
    view = ClusterView(reports={1: report} if decided else {})
    assert not Soundness(draft).allows_plan(draft, view)
    make_plan(draft, view)
    assert same_nodes(draft.wanted(1), (1, 2, 3))
    assert Soundness(draft).allows_plan(draft, view)


def test_what_a_move_that_was_aimed_anew_came_from_may_hold_nothing() -> None:
    """Its report tells. Until there is one, the node is kept in case it does."""
    move = Move(1, (1, 2, 3, 4), (1, 2, 3, 4), 9)
    draft = Draft(states(moving(move), n4="down"))
    assert Soundness(draft).allows_plan(draft, VIEW)
    holds = ClusterView(reports={1: GroupReport(1, 1, 9, (1, 2, 3, 4))})
    assert Soundness(draft).allows_plan(draft, holds)
    lacks = ClusterView(reports={1: GroupReport(1, 1, 9, (1, 2, 3))})
    assert not Soundness(draft).allows_plan(draft, lacks)
    make_plan(draft, lacks)
    assert same_nodes(draft.wanted(1), (1, 2, 3))


def moving(move: Move) -> ClusterMap:
    """Four nodes and one shard that moves; five replicas are wanted."""
    return replace(
        founded(make_nodes(4), 1, 5, (1, 2, 3)),
        epoch=9,
        replica_sets=(move.replica_set,),
        moves=(move,),
    )


@pytest.mark.parametrize(
    ("nodes", "is_sound"),
    [
        ((1, 2, 3), True),
        ((1, 2), False),
        ((1, 2, 3, 4), False),
        ((1, 2, 5), False),
        ((1, 2, 3, 5), False),
    ],
)
def test_soundness_of_a_set(nodes: tuple[int, ...], is_sound: bool) -> None:
    assert Soundness(Draft(states(FIVE, n5="down"))).allows(1, nodes) is is_sound
