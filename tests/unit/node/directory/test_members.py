"""What a node knows of the others, and of ids that nobody has."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from quorumcache.node.directory.members import Members
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.ring.move import Move
from tests.support.founding import record_of

RECORD = record_of("a", "b", "c")
MAP = RECORD.first_map()
UNKNOWN = (0, 4, 99)


def member() -> Members:
    members = Members()
    members.own_id = 2
    members.record = RECORD
    return members


def test_a_new_node_knows_nobody() -> None:
    members = Members()
    assert members.nodes() == ()
    assert members.heard_of() == []
    assert [members.name_of(n) for n in (1, 2)] == ["1", "2"]
    assert members.client_address_of(1) == ""
    assert members.replicas_of(1) == ()
    assert members.preferred_leader_of(1) == 0


def test_the_record_names_the_nodes_until_there_is_a_map() -> None:
    members = member()
    assert [members.name_of(n) for n in (1, 2, 3)] == ["a", "b", "c"]
    founder = RECORD.founder(3)
    assert founder is not None
    members.map = MAP.with_node(replace(founder, name="renamed"))
    assert members.name_of(3) == "renamed"


def test_ids_may_have_gaps_and_any_order() -> None:
    """A node that left leaves its id free for ever, and a later one may have any other."""
    members = member()
    late = replace(RECORD.founders[0], node_id=40, name="late", disk_id=f"{40:032x}")
    late = replace(late, peer_address="late:1", client_address="late:2")
    others = [(1, 3, 40)[shard % 3 :] + (1, 3, 40)[: shard % 3] for shard in range(4)]
    members.map = MAP.with_node(late).with_replica_sets(others).without_node(2)
    assert [n.node_id for n in members.nodes()] == [1, 3, 40]
    assert members.name_of(40) == "late"
    assert members.name_of(2) == "2"
    assert members.client_address_of(40) == "late:2"
    assert members.preferred_leader_of(3) == 40


def test_while_a_node_is_away_others_stand_in_for_it_by_the_newest_map() -> None:
    members = member()
    assert members.stand_in_of(1) == 0, "there is no map yet"
    members.map = MAP.with_replica_sets([(1, 2, 3)] * 4)
    assert [members.stand_in_of(group) for group in range(1, 5)] == [2, 3, 2, 3]
    assert members.stand_in_of(DIRECTORY_GROUP_ID) == members.stand_in_of(5) == 0
    members.map = MAP.with_replica_sets([(1, 3)] * 4)
    assert {members.stand_in_of(group) for group in range(1, 5)} == {3}
    members.map = MAP.with_replica_sets([(2, 1)] * 4)
    assert {members.stand_in_of(group) for group in range(1, 5)} == {1}


def test_what_a_node_tells_of_itself_counts_before_the_map() -> None:
    members = member()
    members.map = MAP
    assert members.client_address_of(1) == MAP.node(1).client_address
    members.told[1] = replace(MAP.node(1), client_address="moved:1")
    members.told[2] = MAP.node(2)
    assert members.client_address_of(1) == "moved:1"
    assert members.heard_of() == [1], "the own words are not heard of"


@pytest.mark.parametrize("group_id", [0, MAP.shard_count + 1, 1000])
def test_a_group_that_is_no_shard_of_the_map_has_no_replicas(group_id: int) -> None:
    members = member()
    members.map = MAP
    assert members.replicas_of(group_id) == ()
    assert members.preferred_leader_of(group_id) == 0


def test_an_unknown_id_is_an_unknown_node_and_no_error() -> None:
    members = member()
    members.map = MAP
    for node_id in UNKNOWN:
        assert members.name_of(node_id) == str(node_id)
        assert members.client_address_of(node_id) == ""


def test_a_node_that_left_is_forgotten_and_this_node_never() -> None:
    members = member()
    for node_id in (1, 2):
        founder = RECORD.founder(node_id)
        assert founder is not None
        members.told[node_id] = founder
    members.forget(1)
    members.forget(2)
    members.forget(99)
    assert [*members.told] == [2]
    assert members.heard_of() == []


def test_the_directorys_nodes_are_the_maps_or_the_founding_voters() -> None:
    members = Members()
    assert members.directory() == ()
    members.record = RECORD
    assert members.directory() == (1, 2, 3)
    members.map = MAP
    assert members.directory() == (1, 2, 3)
    members.map = replace(MAP, form=2, directory=(2,))
    assert members.directory() == (2,)


def test_what_a_node_told_here_before_it_moved_is_no_news_any_more() -> None:
    """It moved while no link led here, and the map has its new addresses from another node."""
    members = member()
    members.learned(MAP)
    for node_id in (1, 2, 3):
        members.told[node_id] = replace(MAP.node(node_id), zone="told")
    members.told[3] = replace(MAP.node(3), client_address="newer:1")
    there = [replace(MAP.node(n), peer_address=f"new{n}:1") for n in (1, 2, 3)]
    members.learned(MAP.with_nodes(there))
    assert members.told[1] == replace(there[0], zone="told")
    assert members.told[2].peer_address == MAP.node(2).peer_address, "this node knows where it is"
    assert members.told[3].client_address == "newer:1", "the map does not have this yet"


def test_a_group_leaves_a_node_once_a_move_that_takes_it_away_has_started() -> None:
    members = member()
    leaving = members.leaving
    moves = (
        Move(1, (1, 2, 3), (1, 2, 4), 7),  # Node 2 stays.
        Move(2, (1, 2, 3), (1, 3, 4), 0),  # It waits.
        Move(3, (1, 2, 3), (1, 3, 4), 7),
    )
    members.learned(SimpleNamespace(moves=moves, nodes=()))  # type: ignore[arg-type]
    assert leaving == {3}
    members.learned(MAP)
    assert leaving == set()
