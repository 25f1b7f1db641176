"""What operators are shown of nodes and moves."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from quorumcache.node.directory.moves_view import MovesView, state_of
from quorumcache.node.directory.reports import Ledger
from quorumcache.node.peers.items import REPORT
from quorumcache.ring import ClusterMap
from quorumcache.ring.cluster_view import GroupReport
from quorumcache.ring.move import Move
from tests.support.fake_node import FakeClock
from tests.support.founding import record_of

MAP = replace(record_of("a", "b", "c", "d").first_map(), form=2, directory=(1, 2, 3))
ALL = (1, 2, 3, 4)


def moved(count: int, *, started: int = 0) -> ClusterMap:
    """The first shards get their missing node instead of their last one; some have started."""
    moves = []
    sets = list(MAP.replica_sets)
    for shard in range(count):
        origin = MAP.replica_sets[shard]
        (missing,) = set(ALL) - set(origin)
        move = Move(shard + 1, origin, (*origin[:2], missing), int(shard < started))
        sets[shard] = move.replica_set
        moves.append(move)
    return replace(MAP, moves=tuple(moves), replica_sets=tuple(sets), change="drain d")


def view() -> tuple[MovesView, Ledger]:
    ledger = Ledger(1, FakeClock(), lambda node_id: node_id == 2)
    return MovesView(ledger), ledger


def test_before_there_is_a_map_all_is_empty() -> None:
    document = json.loads(view()[0].to_json())
    assert (document["epoch"], document["nodes"], document["moves"]) == (0, [], [])


def test_nodes_settings_and_moves_are_shown() -> None:
    shown, ledger = view()
    cluster_map = moved(2, started=1)
    shown.learned(cluster_map)
    ledger.learned(cluster_map)
    target = cluster_map.moves[0].target
    report = GroupReport(1, 5, 1, target[:2], (target[2],), 40, 90)
    ledger.told(2, (REPORT, (), b"", (tuple(report),), ((2, 77),), False, 5))
    document = json.loads(shown.to_json())
    assert (document["change"], document["paused"]) == ("drain d", False)
    assert document["settings"]["replication"] == "3"
    assert [node["name"] for node in document["nodes"]] == ["a", "b", "c", "d"]
    assert [node["heard"] for node in document["nodes"]] == [True, True, False, False]
    assert [node["directory"] for node in document["nodes"]] == [True, True, True, False]
    assert sum(node["shards"] for node in document["nodes"]) == 4 * 3 + 1
    first, second = document["moves"]
    assert (first["group"], first["shard"], first["state"]) == (1, 0, "copying")
    assert (first["bytes_done"], first["bytes"], first["decided"]) == (40, 90, 1)
    assert (second["state"], second["bytes_done"], second["bytes"]) == ("waiting", 0, 77)
    assert len(first["add"]) == len(first["remove"]) == 1


def test_done_and_total_count_from_when_there_was_no_move() -> None:
    shown, _ = view()

    def learn(cluster_map: ClusterMap) -> tuple[int, int]:
        shown.learned(cluster_map)
        document = shown.document()
        return document["done"], document["total"]

    assert learn(MAP) == (0, 0)
    assert learn(moved(3)) == (0, 3)
    assert learn(moved(3, started=2)) == (0, 3)
    assert learn(moved(1)) == (2, 3)
    assert learn(moved(2)) == (1, 3)
    assert learn(MAP) == (0, 0)


@pytest.mark.parametrize(
    ("voters", "state"),
    [((1, 2, 3), "copying"), ((1, 2, 3, 4), "voting"), ((1, 4, 5), "leaving")],
)
def test_the_state_of_a_move_is_that_of_the_groups_committed_configuration(
    voters: tuple[int, ...], state: str
) -> None:
    move = Move(1, (1, 2, 3), (1, 4, 5), 9)
    assert state_of(move, GroupReport(1, 5, 0, voters, (), 0, 0)) == state
    assert state_of(move, None) == "copying"
    assert state_of(move._replace(decided=0), None) == "waiting"


def test_what_is_counted_does_not_grow_while_one_group_never_gets_on() -> None:
    shown, _ = view()
    stuck = moved(1)
    for turn in range(50):
        origin = MAP.replica_sets[1]
        target = tuple(n for n in ALL if n != ALL[turn % 4])
        move = Move(2, origin, target)
        sets = (*stuck.replica_sets[:1], move.replica_set, *stuck.replica_sets[2:])
        shown.learned(replace(stuck, moves=(*stuck.moves, move), replica_sets=sets))
        shown.learned(stuck)
    assert (shown.document()["done"], shown.total) == (1, 2)
