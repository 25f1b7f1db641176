"""Goal: a cancelled change takes back the wish, drops what waits, turns back what has started."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from quorumcache.ring import ChangeRefused, ClusterView, Move
from quorumcache.ring.cancelling import came_from, cancel, described
from quorumcache.ring.changes import join
from quorumcache.ring.draft import Draft
from tests.support.clusters import make_node, make_nodes
from tests.support.moving_world import MovingWorld, founded

VIEW = ClusterView(heard=frozenset(range(1, 9)))
MAP = founded(make_nodes(5), 8, 3, (1, 2, 3, 4, 5))


def world() -> MovingWorld:
    return MovingWorld(MAP, Random(1))


def test_with_nothing_under_way_there_is_nothing_to_cancel() -> None:
    with pytest.raises(ChangeRefused, match="there is nothing to cancel: no move is under way"):
        cancel(Draft(MAP), VIEW)


def test_a_drain_is_taken_back() -> None:
    cluster = world()
    cluster.ask("drain", "n2")
    cluster.tick()
    started = [move for move in cluster.map.moves if move.decided]
    waiting = len(cluster.map.moves) - len(started)
    changed = cluster.ask("cancel")
    assert changed.summary == (
        f"cancelled: {waiting} waiting moves dropped, {len(started)} turned back"
    )
    assert cluster.map.node(2).state == "active"
    assert cluster.map.change == ""
    assert [(m.group_id, m.target) for m in cluster.map.moves] == [
        (m.group_id, m.origin) for m in started
    ]
    assert {move.decided for move in cluster.map.moves} == {cluster.map.epoch}
    cluster.settle()
    assert [set(s) for s in cluster.map.replica_sets] == [set(s) for s in MAP.replica_sets]


def test_other_values_are_given_back() -> None:
    for words in (("node", "n2", "weight=3", "new-zone=z"), ("settings", "replication=5")):
        cluster = world()
        cluster.ask(*words)
        cluster.tick()
        cluster.ask("cancel")
        assert cluster.map.nodes == MAP.nodes
        assert cluster.map.replication == 3
        cluster.settle()
        assert [set(s) for s in cluster.map.replica_sets] == [set(s) for s in MAP.replica_sets]


def test_a_fraction_and_a_zone_are_given_back_exactly() -> None:
    first = MAP.with_node(make_node(2, "old(z", 1 / 3))
    cluster = MovingWorld(replace(first, epoch=1), Random(1))
    cluster.ask("node", "n2", "weight=0.7", "new-zone=z")
    assert cluster.map.change == (
        "node n2 weight=0.7 zone=z (was weight=0.3333333333333333 zone=old(z)"
    )
    cluster.ask("cancel")
    assert cluster.map.node(2) == first.node(2)


def test_a_node_whose_successor_has_not_come_is_down_again() -> None:
    cluster = world()
    cluster.alive.discard(2)
    for _ in range(3):
        cluster.tick()
    cluster.ask("replace", "n2")
    assert cluster.map.node(2).name == "n2~2"
    cluster.ask("cancel")
    assert (cluster.map.node(2).name, cluster.map.node(2).state) == ("n2", "down")


@pytest.mark.parametrize("field", ["peer_address", "client_address"])
def test_a_node_whose_address_another_one_has_by_now_stays_lost(field: str) -> None:
    """An operator gave n2 up, and started a node of another name on its machine."""
    cluster = world()
    cluster.alive.discard(2)
    for _ in range(3):
        cluster.tick()
    cluster.ask("replace", "n2")
    address = {field: getattr(cluster.map.node(2), field)}
    other = replace(make_node(6), name="other", disk_id=f"{6:032x}", **address)
    cluster.map = join(cluster.map, other, cluster.view()).map
    cluster.alive.add(6)
    cluster.settle(200)
    assert cluster.map.node(2).state == "lost"
    changed = cluster.ask("cancel")
    assert changed.summary == (
        "cancelled: 0 waiting moves dropped, 0 turned back; node n2 stays removed, since node other"
        " has its address by now, and its replicas are rebuilt on other nodes"
    )
    cluster.settle()
    assert [node.name for node in cluster.map.nodes] == ["n1", "n3", "n4", "n5", "other"]
    assert not cluster.map.moves
    assert not cluster.map.change


def test_what_rebuilds_lost_replicas_goes_on() -> None:
    cluster = world()
    cluster.alive.discard(2)
    for _ in range(5):
        cluster.tick()
    repairs = cluster.map.moves
    assert repairs
    changed = cluster.ask("cancel")
    assert cluster.map is cluster.history[-1]
    assert cluster.map.moves == repairs
    assert changed.summary.endswith(
        f", {len(repairs)} go on because their groups would be short of replicas"
    )


def test_targets_that_the_change_made_too_small_are_followed_no_more() -> None:
    five = founded(make_nodes(6), 4, 5, (1, 2, 3, 4, 5))
    cluster = MovingWorld(five, Random(1))
    cluster.ask("settings", "replication=3")
    cluster.tick()
    cluster.alive.discard(1)
    for _ in range(5):
        cluster.tick()
    assert any(len(move.target) == 3 and 1 in move.origin for move in cluster.map.moves)
    cluster.ask("cancel")
    for move in cluster.map.moves:
        assert move.group_id == 0 or len(move.target) == 5


def test_nodes_that_were_tried_in_between_do_not_count_as_the_origin() -> None:
    draft = Draft(MAP)
    assert came_from(draft, Move(1, (1, 2, 3, 4, 5), (1, 2, 3), 1)) == (1, 2, 3)
    assert came_from(draft, Move(0, (1, 2, 3), (1, 2), 1)) == (1, 2, 3)
    draft.set_state(draft.nodes[2], "down")
    assert came_from(draft, Move(1, (1, 2, 3, 4, 5), (1, 3, 4), 1)) == (1, 3, 4)
    assert came_from(draft, Move(1, (1, 2, 3), (1, 3, 4), 1)) == (1, 3, 2)


def test_a_description_names_both_values() -> None:
    assert described("settings replication=5", "replication=3") == (
        "settings replication=5 (was replication=3)"
    )
