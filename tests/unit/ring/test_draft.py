"""Goal: a draft becomes one map of the next epoch, and aims groups without losing a replica."""

from __future__ import annotations

from dataclasses import replace

from quorumcache.ring import GroupReport, Move
from quorumcache.ring.draft import Draft, footprint, name_when_lost, same_nodes
from tests.support.clusters import make_nodes
from tests.support.moving_world import founded

MAP = founded(make_nodes(5), 4, 3, (1, 2, 3))
SETS = ((1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 1))
PLAIN = replace(MAP, replica_sets=SETS)


def test_a_draft_without_a_change_is_the_map_itself() -> None:
    assert Draft(PLAIN).finish() is PLAIN
    draft = Draft(PLAIN)
    draft.change = "drain n1"
    assert draft.finish() == replace(PLAIN, epoch=2, change="drain n1")


def test_a_group_gets_a_waiting_move_and_then_a_started_one() -> None:
    draft = Draft(PLAIN)
    draft.aim(1, (4, 1, 2))
    assert draft.moves == {1: Move(1, (1, 2, 3), (4, 1, 2))}
    assert draft.sets[1] == (1, 2, 3)
    draft.start(draft.moves[1])
    assert draft.sets[1] == (1, 2, 4, 3)
    assert draft.finish().moves == (Move(1, (1, 2, 3), (4, 1, 2), 2),)
    draft.complete(draft.moves[1])
    assert (draft.sets[1], draft.moves) == ((4, 1, 2), {})


def test_a_new_order_needs_no_move() -> None:
    draft = Draft(PLAIN)
    draft.aim(1, (3, 1, 2))
    assert (draft.sets[1], draft.moves) == ((3, 1, 2), {})


def test_a_waiting_move_back_to_where_the_group_is_is_dropped() -> None:
    draft = Draft(PLAIN)
    draft.aim(1, (4, 1, 2))
    draft.aim(1, (1, 3, 2))
    assert (draft.sets[1], draft.moves) == ((1, 3, 2), {})


def test_a_started_move_is_decided_anew_and_keeps_whoever_may_be_in_the_configuration() -> None:
    started = replace(
        PLAIN,
        epoch=5,
        replica_sets=((1, 2, 4, 3), *SETS[1:]),
        moves=(Move(1, (1, 2, 3), (1, 2, 4), 5),),
    )
    draft = Draft(started)
    draft.aim(1, (1, 2, 3))
    assert draft.moves[1] == Move(1, (1, 2, 3, 4), (1, 2, 3), 6)
    assert draft.sets[1] == (1, 2, 3, 4)
    draft = Draft(started)
    draft.aim(1, (4, 2, 1))
    assert draft.moves[1] == Move(1, (1, 2, 3), (4, 2, 1), 5)


def test_a_footprint_is_all_that_may_be_in_the_configuration() -> None:
    move = Move(1, (1, 2, 3), (1, 4, 5), 7)
    assert footprint(move, None) == (1, 2, 3, 4, 5)
    assert footprint(move, GroupReport(1, 1, 6, (1, 4), ())) == (1, 2, 3, 4, 5)
    assert footprint(move, GroupReport(1, 1, 7, (1, 3, 4), (5,))) == (1, 3, 4, 5)
    assert footprint(move, GroupReport(1, 1, 7, (1, 2, 3), ())) == (1, 2, 3, 4, 5)


def test_a_lost_node_is_awaited_until_its_successor_is_heard() -> None:
    lost = replace(PLAIN.node(3), name=name_when_lost("n3", 3), state="lost")
    assert lost.name == "n3~3"
    nodes = (*PLAIN.nodes[:2], lost, *PLAIN.nodes[3:])
    awaiting = replace(PLAIN, nodes=nodes, change="replace n3")
    assert Draft(awaiting).awaited() == lost
    assert Draft(replace(awaiting, change="")).awaited() is None
    heir = replace(PLAIN.node(3), node_id=6, state="joining")
    draft = Draft(awaiting.with_node(heir))
    assert draft.awaited() == lost
    draft.set_state(heir, "active")
    assert draft.awaited() is None


def test_held_names_replicas_that_are_and_that_are_to_be() -> None:
    draft = Draft(replace(PLAIN, replica_sets=((1, 2, 3),) * 4))
    assert draft.held() == {1, 2, 3}
    draft.aim(2, (1, 2, 5))
    assert draft.held() == {1, 2, 3, 5}


def test_replica_sets_are_the_same_in_any_order() -> None:
    assert same_nodes((1, 2), (2, 1))
    assert not same_nodes((1, 2), (1, 2, 3))
