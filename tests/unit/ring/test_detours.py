"""Goal: a node whose disk is full gets no new replica while another node can take it, and no move
to it keeps anything from happening."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from quorumcache.ring import ClusterView
from quorumcache.ring.detours import FULL_MS_MAX, Detours, leave_full_nodes
from quorumcache.ring.directory_set import directory_size
from quorumcache.ring.draft import Draft
from tests.support.clusters import make_node, make_nodes
from tests.support.moving_world import MovingWorld, founded

MAP = founded(make_nodes(6), 4, 3, (1, 2, 3))
VIEW = ClusterView(heard=frozenset(range(1, 7)), full_ms={5: 0})


def draft_with(*sets: tuple[int, ...], zones: str = "") -> Draft:
    base = MAP
    if zones:
        base = replace(base, nodes=tuple(make_node(i + 1, z) for i, z in enumerate(zones)))
    return Draft(replace(base, replica_sets=sets + ((1, 2, 3),) * (4 - len(sets))))


def test_a_replica_stays_where_it_is_rather_than_going_to_a_full_disk() -> None:
    draft = draft_with((1, 2, 4))
    assert Detours(draft, VIEW).around(1, (1, 2, 5)) == (1, 2, 4)


def test_what_has_to_go_goes_to_the_node_with_the_least_load() -> None:
    draft = draft_with((1, 2, 4), (1, 2, 3), (1, 2, 3))
    draft.set_state(draft.nodes[4], "draining")
    detours = Detours(draft, VIEW)
    assert detours.around(1, (1, 5, 2)) == (1, 6, 2)
    draft.set_state(draft.nodes[6], "down")
    assert Detours(draft, VIEW).around(1, (1, 2, 5)) == (1, 2, 3)


def test_zones_stay_apart_where_they_can() -> None:
    draft = draft_with((1, 2, 4), zones="xyxzzy")
    draft.set_state(draft.nodes[4], "draining")
    assert Detours(draft, VIEW).around(1, (1, 2, 5)) == (1, 2, 6)  # Only x and y are left.
    draft.nodes[3] = replace(draft.nodes[3], zone="z")
    assert Detours(draft, VIEW).around(1, (1, 2, 5)) == (1, 2, 3)  # Though it has more to do.


def test_what_a_full_node_has_already_it_keeps() -> None:
    draft = draft_with((1, 2, 5))
    assert Detours(draft, VIEW).around(1, (1, 3, 5)) == (1, 3, 5)


def test_a_copy_does_not_go_to_and_fro_between_disks_that_are_too_small_for_it() -> None:
    """Node 6 was full until the move was aimed at 5, which is full now."""
    draft = draft_with((1, 2, 4))
    for node_id in (3, 4):
        draft.set_state(draft.nodes[node_id], "down")
    assert Detours(draft, VIEW).around(1, (1, 2, 5)) == (1, 2, 6)
    lately = replace(VIEW, lately_full=frozenset([6]))
    assert Detours(draft, lately).around(1, (1, 2, 5)) == (1, 2, 5)
    assert Detours(draft, lately).around(1, (1, 2, 6)) == (1, 2, 6), "a plan may count on it"


def test_where_no_other_node_is_left_the_full_one_is_waited_for() -> None:
    draft = draft_with((1, 2, 4))
    for node_id in (3, 4, 6):
        draft.set_state(draft.nodes[node_id], "down")
    assert Detours(draft, VIEW).around(1, (1, 2, 5)) == (1, 2, 5)


def test_a_move_is_aimed_anew_after_a_while_only() -> None:
    draft = draft_with((1, 2, 4))
    draft.aim(1, (1, 2, 5))
    draft.start(draft.moves[1])
    for ms, target in ((FULL_MS_MAX - 1, (1, 2, 5)), (FULL_MS_MAX, (1, 2, 4))):
        leave_full_nodes(draft, replace(VIEW, full_ms={5: ms}))
        assert draft.moves[1].target == target
    before = dict(draft.moves)
    leave_full_nodes(draft, replace(VIEW, full_ms={5: FULL_MS_MAX + 1}))
    assert draft.moves == before, "once"


def world(count: int) -> MovingWorld:
    directory = tuple(range(1, directory_size(count) + 1))
    return MovingWorld(founded(make_nodes(count), 16, 3, directory), Random(1))


def test_a_node_that_joins_with_a_full_disk_is_left_alone_until_it_has_room() -> None:
    cluster = world(5)
    joiner = cluster.join("d").node_id
    cluster.full_ms[joiner] = 0
    cluster.settle()
    assert not any(joiner in replicas for replicas in cluster.map.replica_sets)
    cluster.full_ms.clear()
    cluster.ask("rebalance")
    cluster.settle()
    assert sum(joiner in replicas for replicas in cluster.map.replica_sets) > 6


def test_a_change_goes_on_past_a_disk_that_becomes_full_on_the_way() -> None:
    cluster = world(7)
    cluster.ask("drain", "n1")
    cluster.tick()
    full = next(move.added[0] for move in cluster.map.moves if move.decided and move.added)
    before = {g for g in range(17) if full in cluster.groups[g].voters}
    cluster.full_ms[full] = 0
    cluster.settle()
    assert not cluster.map.moves
    assert cluster.map.change == ""
    assert {g for g in range(17) if full in cluster.groups[g].voters} == before
    assert all(1 not in replicas for replicas in cluster.map.replica_sets)


def test_what_only_a_full_disk_can_take_waits_until_it_has_room() -> None:
    cluster = world(4)
    cluster.full_ms[4] = 0
    cluster.alive.discard(1)
    for _ in range(200):
        cluster.step_all()
        cluster.tick()
    waiting = [move for move in cluster.map.moves if 4 in move.added]
    assert waiting
    assert not any(move.decided for move in waiting)
    cluster.full_ms.clear()
    cluster.settle()
    assert not cluster.map.moves
    assert all(1 not in replicas for replicas in cluster.map.replica_sets)
