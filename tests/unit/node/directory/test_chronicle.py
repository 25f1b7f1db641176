"""What the log tells of the way from one map to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.node.directory.chronicle import steps
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.move import Move
from tests.support.founding import record_of

MAP = replace(record_of("a", "b", "c").first_map(), form=2, directory=(1, 2, 3))
NEW = NodeInfo(4, "d", "hostd:1", "hostd:2", "", "", 1.0, "d" * 32, "joining")
FOUR = MAP.with_node(replace(NEW, state="active"))
ORIGIN = FOUR.replica_set(1)
TARGET = (*ORIGIN[:2], 4)


def moving(decided: int) -> ClusterMap:
    """Shard 0 moves to node 4."""
    move = Move(1, ORIGIN, TARGET, decided)
    sets = (move.replica_set, *FOUR.replica_sets[1:])
    return replace(FOUR, moves=(move,), replica_sets=sets)


def names(old: ClusterMap, new: ClusterMap) -> list[str]:
    return [step.name for step in steps(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("joining", "active", "node_joined"),
        ("active", "down", "node_down"),
        ("down", "active", "node_returned"),
        ("active", "draining", "node_draining"),
        ("draining", "active", "node_kept"),
        ("draining", "drained", "node_drained"),
        ("down", "lost", "node_lost"),
    ],
)
def test_each_change_of_a_nodes_state_has_a_name(old: str, new: str, name: str) -> None:
    before, after = (FOUR.with_node(replace(NEW, state=state)) for state in (old, new))
    (step,) = steps(before, after)
    assert (step.name, step.fields["peer"], step.fields["was"]) == (name, "d", old)


def test_nodes_come_and_go() -> None:
    assert names(MAP, MAP.with_node(NEW)) == ["node_joining"]
    assert names(FOUR, FOUR.without_node(4)) == ["node_left"]
    assert not names(MAP, replace(MAP, epoch=9))


def test_the_life_of_a_move() -> None:
    complete = replace(FOUR, replica_sets=(TARGET, *FOUR.replica_sets[1:]))
    assert not names(FOUR, moving(0)), "it waits"
    assert names(moving(0), moving(1)) == ["move_started"]
    assert not names(moving(1), replace(moving(1), epoch=9))
    assert names(moving(1), complete) == ["move_completed"]
    assert names(moving(0), FOUR) == ["move_dropped"]
    back = Move(1, TARGET, ORIGIN, 2)
    turned = replace(
        moving(1), moves=(back,), replica_sets=(back.replica_set, *FOUR.replica_sets[1:])
    )
    assert names(moving(1), turned) == ["move_turned_back"]
    assert names(turned, FOUR) == ["move_completed"]
    (step,) = steps(moving(0), moving(1))
    gone = next(node.name for node in FOUR.nodes if node.node_id == ORIGIN[2])
    assert (step.fields["add"], step.fields["remove"]) == ("d", gone)


def test_changes_and_settings() -> None:
    changed = replace(MAP, change="drain c", replication=5, is_paused=True)
    changed = replace(changed, settings=(*changed.settings, ("zz", "5")))
    assert names(MAP, changed) == [
        *("setting_changed", "setting_changed", "moves_paused", "change_begun")
    ]
    assert "moves_resumed" in names(changed, MAP)
    assert "change_ended" in names(changed, MAP)
    assert names(changed, replace(changed, change="drain b")) == ["change_ended", "change_begun"]
    assert names(record_of("a", "b", "c").first_map(), MAP) == ["map_form_changed"]
