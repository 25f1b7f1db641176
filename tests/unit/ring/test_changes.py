"""Goal: words become the next map or a sentence, and a node joins or learns why not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from quorumcache.ring import ChangeRefused, ClusterView, NodeInfo
from quorumcache.ring.changes import change, join
from quorumcache.ring.cluster_map import NODES_MAX
from tests.support.clusters import make_node, make_nodes
from tests.support.moving_world import MovingWorld, founded

MAP = founded(make_nodes(5), 8, 3, (1, 2, 3, 4, 5))
VIEW = ClusterView(heard=frozenset(range(1, 9)))
D = replace(make_node(77), name="d", disk_id="d" * 32)


def world(count: int = 5) -> MovingWorld:
    return MovingWorld(founded(make_nodes(count), 8, 3, (1, 2, 3)), Random(1))


def refused(*words: str) -> str:
    with pytest.raises(ChangeRefused) as caught:
        change(MAP, words, VIEW)
    return str(caught.value)


def join_refused(info: NodeInfo, cluster_map: object = None) -> str:
    with pytest.raises(ChangeRefused) as caught:
        join(MAP if cluster_map is None else cluster_map, info, VIEW)  # type: ignore[arg-type]
    return str(caught.value)


def test_words_that_are_no_change_are_told_the_others() -> None:
    assert refused("explode") == (
        "'explode' is no change: use cancel, drain, leave, node, pause, rebalance, remove, "
        "replace, resume, settings"
    )
    assert "'' is no change" in refused()
    assert refused("pause", "now") == "write it as: pause"


def test_nothing_changes_while_a_node_of_an_earlier_version_may_be_there() -> None:
    old = replace(MAP, form=1, directory=())
    with pytest.raises(ChangeRefused, match="cannot be changed while a node of an earlier version"):
        change(old, ["drain", "n1"], VIEW)
    assert "no node can join while a node of an earlier version" in join_refused(D, old)


# -- joining ---------------------------------------------------------------------------------


def test_a_node_joins_under_the_next_id() -> None:
    changed = join(MAP, D, VIEW)
    assert changed.map.epoch == 2
    assert changed.map.node(6) == replace(D, node_id=6, state="joining")
    assert changed.map.next_node_id == 7
    assert changed.map.replica_sets == MAP.replica_sets
    assert changed.summary == "node d joins as node 6"


def test_a_joiner_that_asks_again_gets_the_same_answer() -> None:
    first = join(MAP, D, VIEW).map
    assert join(first, D, VIEW).map is first
    elsewhere = replace(D, peer_address="10.0.0.9:1")
    again = join(first, elsewhere, VIEW).map
    assert again.node(6) == replace(elsewhere, node_id=6, state="joining")
    assert again.next_node_id == 7
    assert join_refused(replace(D, name="e"), first) == (
        "this data directory joins as node d; start it with --name d"
    )


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("active", "belongs to node d, which is a member already: it was set back to an older"),
        ("down", "belongs to node d, which is a member already: it was set back to an older"),
        ("lost", "belonged to node d, which was removed from the cluster; join with an empty"),
    ],
)
def test_a_used_data_directory_does_not_join(state: str, why: str) -> None:
    known = MAP.with_node(replace(D, node_id=6, state=state))
    assert why in join_refused(replace(D, name="e"), known)


def test_names_and_addresses_are_unique() -> None:
    assert join_refused(replace(D, name="n2")) == (
        "the name n2 is taken by the node at 10.0.0.1:2; choose another name, or, if that node is "
        "lost, run `quorumcache node replace n2` first"
    )
    # Of one that was taken in and never came nothing is to be replaced.
    assert "`quorumcache node remove d --force` first" in join_refused(
        replace(D, disk_id="e" * 32, peer_address="10.0.0.9:1", client_address="10.0.0.9:2"),
        join(MAP, D, VIEW).map,
    )
    assert join_refused(replace(D, peer_address="10.0.0.1:3")) == (
        "the peer address 10.0.0.1:3 belongs to node n3; start node d with another one"
    )
    joining = MAP.with_node(replace(D, node_id=6, state="joining"))
    why = join_refused(replace(D, disk_id="e" * 32), joining)
    assert "if that node is lost, run `quorumcache node remove d --force` first" in why
    assert "the client address 10.0.0.2:3 belongs" in join_refused(
        replace(D, client_address="10.0.0.2:3")
    )


def test_a_successor_may_have_the_addresses_of_the_lost_node() -> None:
    cluster = world()
    cluster.alive.discard(2)
    for _ in range(2):
        cluster.tick()
    cluster.ask("replace", "n2")
    old = cluster.map.node(2)
    heir = replace(old, name="n2", disk_id="e" * 32)
    assert join(cluster.map, heir, VIEW).map.node(6).peer_address == old.peer_address


def test_what_no_map_can_hold_does_not_join() -> None:
    assert "weight is -1" in join_refused(replace(D, weight=-1))
    assert "name is 'a b', expected printable text" in join_refused(replace(D, name="a b"))
    full = founded(make_nodes(NODES_MAX), 8, 3, (1, 2, 3))
    assert join_refused(replace(D, name="d"), full) == (
        "the cluster has 1024 nodes, which is the most it can have"
    )


def test_nodes_join_while_a_change_is_under_way() -> None:
    cluster = world()
    cluster.ask("drain", "n2")
    cluster.join("d")
    assert cluster.map.change == "drain n2"


# -- settings --------------------------------------------------------------------------------


def test_the_factor_changes_with_its_moves() -> None:
    cluster = world()
    changed = cluster.ask("settings", "replication=5", "dead-after-ms=9000", "move_rate=1m")
    assert cluster.map.replication == 5
    assert cluster.map.setting("dead_after_ms") == "9000"
    assert cluster.map.setting("move_rate") == "1048576"
    assert cluster.map.change == "settings replication=5 (was replication=3)"
    assert changed.summary == "set replication=5 dead-after-ms=9000 move_rate=1m"
    assert changed.report["replicas_moved"] == 16 + 2  # 8 shards, and the directory
    cluster.settle()
    assert {len(replicas) for replicas in cluster.map.replica_sets} == {5}
    cluster.ask("settings", "replication=1")
    cluster.settle()
    assert {len(replicas) for replicas in cluster.map.replica_sets} == {1}


def test_settings_without_moves_change_at_any_time() -> None:
    cluster = world()
    cluster.ask("drain", "n2")
    cluster.ask("settings", "move-rate=1m")
    assert cluster.map.change == "drain n2"
    with pytest.raises(ChangeRefused, match="a change is under way: drain n2"):
        cluster.ask("settings", "replication=1")


def test_settings_that_are_refused() -> None:
    assert refused("settings") == (
        "say what to set, as in `quorumcache cluster set replication=5 dead-after-ms=20000`"
    )
    for text in ("2", "4", "7", "0", "many", "-1", "03"):
        assert refused("settings", f"replication={text}") == (
            f"replication is {text!r}, expected 1, 3 or 5"
        )
    assert refused("settings", "shards=4") == (
        "shards cannot be changed: it is fixed since the founding"
    )
    assert refused("settings", "colour=red") == (
        "the cluster has no setting 'colour' that can be changed: use replication, dead-after-ms, "
        "move-rate, max-item-size"
    )
    assert "dead-after-ms is '1'" in refused("settings", "dead-after-ms=1")
    assert "'replication' sets nothing" in refused("settings", "replication")
    with pytest.raises(ChangeRefused, match="replication cannot be 5: only 3 nodes can hold"):
        world(3).ask("settings", "replication=5")


def test_no_group_is_narrowed_to_silent_nodes() -> None:
    five = founded(make_nodes(5), 8, 5, (1, 2, 3, 4, 5))
    view = ClusterView(heard=frozenset([1, 2, 3]))
    with pytest.raises(ChangeRefused, match="would have 1 of 3 replicas on nodes that are heard"):
        change(five, ["settings", "replication=3"], view)


# -- moves -----------------------------------------------------------------------------------


def test_a_cluster_is_rebalanced_when_it_is_asked_for() -> None:
    lopsided = replace(MAP, replica_sets=((1, 2, 3),) * 8)
    cluster = MovingWorld(lopsided, Random(1))
    assert not cluster.tick()
    changed = cluster.ask("rebalance")
    assert cluster.map.change == "rebalance"
    assert changed.report["received"] == {"n4": 5, "n5": 4}
    cluster.settle()
    before = cluster.map
    assert cluster.ask("rebalance").summary == "every replica is where it should be"
    assert cluster.map is before


def test_paused_moves_wait_until_they_are_resumed() -> None:
    cluster = world()
    cluster.ask("pause")
    cluster.ask("drain", "n2")
    for _ in range(5):
        cluster.tick()
    assert not any(move.decided for move in cluster.map.moves)
    cluster.ask("resume")
    cluster.tick()
    assert any(move.decided for move in cluster.map.moves)
    before = cluster.map
    cluster.ask("resume")
    assert cluster.map is before


def test_a_cancelled_change_makes_room_for_another() -> None:
    cluster = world()
    cluster.ask("drain", "n2")
    cluster.ask("cancel")
    cluster.ask("drain", "n3")
    assert cluster.map.change == "drain n3"


def test_the_id_of_a_node_that_has_left_is_not_given_again() -> None:
    left = MAP.with_node(replace(D, node_id=6)).without_node(6)
    joined = join(left, replace(D, disk_id="e" * 32), ClusterView()).map
    assert joined.nodes[-1].node_id == 7
