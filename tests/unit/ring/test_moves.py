"""Goal: the directory's own step completes, plans and starts moves, and is None when all is right.
What holds through whole histories is in tests/property/test_moves.py."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from quorumcache.ring import ClusterMap, ClusterView, GroupReport, Move
from quorumcache.ring.moves import is_complete, next_map
from tests.support.clusters import make_nodes
from tests.support.moving_world import DEAD_AFTER_MS, MovingWorld, founded

MAP = founded(make_nodes(4), 8, 3, (1, 2, 3))
MOVE = Move(1, (1, 2, 3), (1, 2, 4), 5)


def all_heard(cluster_map: ClusterMap) -> ClusterView:
    return ClusterView(heard=frozenset(node.node_id for node in cluster_map.nodes))


def world(count: int = 4, shards: int = 8, replication: int = 3) -> MovingWorld:
    directory = tuple(range(1, 4 if count < 5 else 6))[:count]
    return MovingWorld(founded(make_nodes(count), shards, replication, directory), Random(1))


@pytest.mark.parametrize(
    ("report", "complete"),
    [
        (GroupReport(1, 1, 5, (4, 2, 1)), True),
        (None, False),
        (GroupReport(1, 1, 4, (4, 2, 1)), False),
        (GroupReport(1, 1, 6, (4, 2, 1)), False),
        (GroupReport(1, 1, 5, (4, 2, 1, 3)), False),
        (GroupReport(1, 1, 5, (1, 2)), False),
        (GroupReport(1, 1, 5, (4, 2, 1), (3,)), False),
    ],
)
def test_a_move_is_complete_by_its_own_decision(report: GroupReport | None, complete: bool) -> None:
    assert is_complete(MOVE, report) is complete


def test_a_waiting_move_is_never_complete() -> None:
    assert not is_complete(Move(1, (1, 2), (2, 1, 3)), GroupReport(1, 1, 0, (1, 2, 3)))


def test_when_all_is_right_there_is_no_next_map() -> None:
    assert next_map(MAP, all_heard(MAP)) is None


def test_a_map_of_form_1_has_no_steps() -> None:
    old = replace(MAP, form=1, directory=())
    silent = ClusterView(heard=frozenset([1]), silent_ms={2: 10**9, 3: 10**9, 4: 10**9})
    assert next_map(old, silent) is None


def test_a_completed_move_gives_its_place_to_the_next() -> None:
    cluster = world()
    cluster.ask("drain", "n4")
    assert cluster.tick()
    started = [move for move in cluster.map.moves if move.decided]
    waiting = len(cluster.map.moves) - len(started)
    assert started
    assert waiting
    for _ in range(10):
        cluster.step_group(started[0].group_id)
    assert cluster.tick()
    assert cluster.map.move_of(started[0].group_id) is None
    assert cluster.map.replica_set(started[0].group_id) == started[0].target
    assert sum(move.decided == 0 for move in cluster.map.moves) < waiting


def test_a_drained_node_holds_nothing_and_leaves_when_it_falls_silent() -> None:
    cluster = world()
    cluster.ask("drain", "n4")
    cluster.settle()
    assert cluster.map.node(4).state == "drained"
    assert cluster.map.change == ""
    cluster.alive.discard(4)
    cluster.settle()
    assert [node.node_id for node in cluster.map.nodes] == [1, 2, 3]
    assert cluster.map.next_node_id == 5


def test_a_silent_node_is_rebuilt_elsewhere_and_finds_its_place_when_it_returns() -> None:
    cluster = world(5)
    cluster.alive.discard(5)
    for _ in range(DEAD_AFTER_MS // 500 - 1):
        assert not cluster.tick()
    assert cluster.tick()
    assert cluster.map.node(5).state == "down"
    cluster.settle()
    assert all(5 not in replicas for replicas in cluster.map.replica_sets)
    assert {len(replicas) for replicas in cluster.map.replica_sets} == {3}
    cluster.alive.add(5)
    cluster.settle()
    assert cluster.map.node(5).state == "active"
    assert sum(5 in replicas for replicas in cluster.map.replica_sets) in (4, 5)


def test_of_three_nodes_one_may_be_down_for_ever() -> None:
    cluster = world(3)
    cluster.alive.discard(2)
    cluster.settle()
    assert cluster.map.node(2).state == "down"
    assert not cluster.map.moves
    assert all(len(replicas) == 3 for replicas in cluster.map.replica_sets)
    assert all(replicas[0] != 2 for replicas in cluster.map.replica_sets)


def test_a_node_that_joins_gets_its_share_once_it_is_heard() -> None:
    cluster = world(3)
    cluster.join("d")
    cluster.alive.discard(4)
    for _ in range(5):
        cluster.tick()
    assert cluster.map.node(4).state == "joining"
    assert not cluster.map.moves
    cluster.alive.add(4)
    cluster.settle()
    assert sum(4 in replicas for replicas in cluster.map.replica_sets) == 6
    assert sum(replicas[0] == 4 for replicas in cluster.map.replica_sets) == 2


def test_a_replaced_node_gives_everything_to_its_successor() -> None:
    cluster = world(5, shards=16)
    before = cluster.map.replica_sets
    cluster.alive.discard(2)
    for _ in range(3):
        cluster.tick()
    cluster.ask("replace", "n2")
    for _ in range(20):
        cluster.step_all()
        cluster.tick()
    assert cluster.map.replica_sets == before  # It waits for the successor.
    cluster.join("n2")
    cluster.settle()
    assert [node.name for node in cluster.map.nodes] == ["n1", "n3", "n4", "n5", "n2"]
    for old, new in zip(before, cluster.map.replica_sets, strict=True):
        assert {6 if node_id == 2 else node_id for node_id in old} == set(new)
    assert cluster.map.change == ""


def test_the_directory_moves_like_any_group() -> None:
    cluster = world(5)
    cluster.ask("drain", "n1")
    cluster.settle()
    assert set(cluster.map.directory) < {2, 3, 4, 5}
    assert len(cluster.map.directory) == 3
    cluster.join("f")
    cluster.settle()
    assert set(cluster.map.directory) == {2, 3, 4, 5, 6}


def test_a_move_whose_newcomer_dies_is_aimed_elsewhere() -> None:
    cluster = world(5)
    cluster.ask("drain", "n1")
    cluster.tick()
    move = next(move for move in cluster.map.moves if move.decided and move.group_id)
    cluster.alive.discard(move.added[0])
    for _ in range(DEAD_AFTER_MS // 500 + 1):
        cluster.tick()
    after = cluster.map.move_of(move.group_id)
    assert after is not None
    assert move.added[0] not in after.target
    assert move.added[0] in cluster.map.replica_set(move.group_id)  # It may hold some already.
    assert after.decided > move.decided
    cluster.settle()
    assert cluster.map.node(1).state == "drained"
