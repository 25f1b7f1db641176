"""Goal: changes of a node do what they say, or are refused with a sentence and change nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from quorumcache.ring import ChangeRefused
from quorumcache.ring.node_info import JOINING
from tests.support.clusters import make_node, make_nodes
from tests.support.moving_world import MovingWorld, founded


def world(count: int = 5, replication: int = 3) -> MovingWorld:
    directory = (1, 2, 3)[:count]
    return MovingWorld(founded(make_nodes(count), 8, replication, directory), Random(1))


def silence(cluster: MovingWorld, *node_ids: int, ticks: int = 2) -> None:
    cluster.alive.difference_update(node_ids)
    for _ in range(ticks):
        cluster.tick()


def refused(cluster: MovingWorld, *words: str) -> str:
    """Why it is refused; nothing has changed."""
    before = cluster.map
    with pytest.raises(ChangeRefused) as caught:
        cluster.ask(*words)
    assert cluster.map is before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_drain_excludes_the_node_and_moves_its_replicas() -> None:
    cluster = world()
    held = sum(2 in replicas for replicas in cluster.map.replica_sets)
    changed = cluster.ask("drain", "n2")
    assert cluster.map.node(2).state == "draining"
    assert cluster.map.change == "drain n2"
    assert all(2 not in move.target for move in cluster.map.moves)
    assert changed.report["replicas_moved"] >= held
    assert changed.report["bytes"] == 1000 * changed.report["replicas_moved"]
    assert changed.summary.startswith("node n2 is being drained")


def test_drains_that_are_refused() -> None:
    assert refused(world(), "drain", "x") == (
        "there is no node 'x': the nodes are n1, n2, n3, n4, n5"
    )
    assert refused(world(1, 1), "drain", "n1") == (
        "node n1 cannot be drained: it is the last node that can hold replicas; join another node "
        "first"
    )
    assert refused(world(3), "drain", "n1") == (
        "node n1 cannot be drained: 2 nodes would be left for 3 replicas of each shard; join "
        "another node first, or `quorumcache cluster set replication=...`"
    )
    cluster = world()
    cluster.ask("drain", "n1")
    assert refused(cluster, "drain", "n2").startswith("a change is under way: drain n1, ")
    assert refused(cluster, "drain", "n1") == (
        "node n1 cannot be drained: it is being drained already; see `quorumcache moves`"
    )
    cluster.settle()
    assert "it is drained already, and ends" in refused(cluster, "drain", "n1")
    cluster = world()
    silence(cluster, 2, ticks=4)
    assert "it is down; start it again, or use `quorumcache node remove n2 --force`" in refused(
        cluster, "drain", "n2"
    )
    cluster.join("f")
    assert "it is still joining; wait" in refused(cluster, "drain", "f")
    assert refused(cluster, "drain") == "write it as: drain NAME"


def test_a_gateway_may_always_be_drained() -> None:
    cluster = world(3)
    cluster.join("g", weight=0.0)
    cluster.settle()
    cluster.ask("drain", "g")
    assert not cluster.map.moves
    cluster.tick()
    assert cluster.map.node(4).state == "drained"


def test_a_lost_node_is_removed_and_rebuilt() -> None:
    cluster = world()
    silence(cluster, 2)
    cluster.ask("remove", "n2", "force")
    assert cluster.map.node(2).state == "lost"
    cluster.settle()
    assert [node.node_id for node in cluster.map.nodes] == [1, 3, 4, 5]
    assert {len(replicas) for replicas in cluster.map.replica_sets} == {3}


def test_removals_that_are_refused() -> None:
    assert refused(world(), "remove", "n2").startswith(
        "remove takes a lost node out by force, as in `quorumcache node remove NAME --force`"
    )
    assert refused(world(), "remove", "n2", "force") == (
        "node n2 cannot be removed: it is heard, so it is not lost; use `quorumcache node drain n2`"
    )
    cluster = world(3)
    silence(cluster, 2)
    assert refused(cluster, "remove", "n2", "force") == (
        "node n2 cannot be removed: 2 nodes would be left for 3 replicas of each shard; join "
        "another node first, or use `quorumcache node replace n2`"
    )
    silence(cluster, 3)
    assert refused(cluster, "remove", "n2", "force") == (
        "node n2 cannot be removed: the directory has 1 of 3 replicas on nodes that are heard, no "
        "majority; first start node n2 or n3"
    )
    cluster = world()
    silence(cluster, 2)
    cluster.ask("remove", "n2", "force")
    assert "it was removed already" in refused(cluster, "remove", "n2", "force")


def test_a_node_that_never_came_is_removed() -> None:
    cluster = world(3)
    cluster.join("f")
    silence(cluster, 4)
    cluster.ask("remove", "f", "force")
    cluster.settle()
    assert len(cluster.map.nodes) == 3


def test_a_replaced_node_makes_room_for_its_name() -> None:
    cluster = world(3)
    silence(cluster, 2, ticks=5)
    changed = cluster.ask("replace", "n2")
    assert (cluster.map.node(2).name, cluster.map.node(2).state) == ("n2~2", "lost")
    assert not cluster.map.moves
    assert "start its successor with --join and --name n2" in changed.summary
    assert refused(cluster, "drain", "n1").startswith("a change is under way: replace n2, 0 moves")
    assert "'n2': the nodes are n1, n2~2, n3" in refused(cluster, "replace", "n2")


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_nothing_else_moves_until_the_successor_is_there(count: int) -> None:
    """However many nodes could take the replicas, and whoever comes and goes meanwhile."""
    cluster = world(count)
    cluster.settle()
    before = cluster.map
    silence(cluster, 2, ticks=3)
    cluster.ask("replace", "n2")
    cluster.settle()
    assert cluster.map.replica_sets == before.replica_sets
    assert cluster.map.directory == before.directory
    assert not cluster.map.moves
    cluster.join("other")
    cluster.settle()
    held = [2 in replicas for replicas in before.replica_sets]
    assert [2 in replicas for replicas in cluster.map.replica_sets] == held
    heir = cluster.join("n2").node_id
    cluster.settle()
    assert cluster.map.node_named("n2") is cluster.map.node(heir)
    assert [node.name for node in cluster.map.nodes if node.state != "active"] == []
    assert sum(heir in replicas for replicas in cluster.map.replica_sets) > 0


@pytest.mark.parametrize("words", [("cancel",), ("remove", "n2", "force")])
def test_a_successor_that_never_comes_is_in_nobodys_way(words: tuple[str, ...]) -> None:
    cluster = world(4)
    silence(cluster, 2, ticks=3)
    cluster.ask("replace", "n2")
    silence(cluster, cluster.join("n2").node_id, ticks=4)
    cluster.ask(*words)
    names = {node.node_id: (node.name, node.state) for node in cluster.map.nodes}
    if words == ("cancel",):
        assert names[2] == ("n2", "down")
        assert cluster.map.change == ""
        cluster.settle()  # What it held is rebuilt elsewhere.
        assert all(2 not in replicas for replicas in cluster.map.replica_sets)
    else:
        assert names[2] == ("n2~2", "lost")
        assert cluster.map.change == "replace n2"
    assert 5 not in {node.node_id for node in cluster.map.nodes}
    assert 5 not in names


def test_another_loss_is_healed_while_a_successor_is_awaited() -> None:
    cluster = world(6)
    silence(cluster, 2, ticks=3)
    cluster.ask("replace", "n2")
    before = cluster.map.replica_sets
    cluster.alive.discard(5)
    for _ in range(200):
        cluster.step_all()
        cluster.tick()
    healed = 0
    for old, new in zip(before, cluster.map.replica_sets, strict=True):
        if 5 in old and 2 not in old:
            assert 5 not in new
            assert len(new) == 3
            healed += 1
    assert healed


def test_a_rebuilding_that_has_not_begun_waits_for_the_successor() -> None:
    cluster = world(5)
    cluster.ask("pause")
    silence(cluster, 2, ticks=5)
    assert cluster.map.moves
    cluster.ask("replace", "n2")
    assert all(2 not in move.removed for move in cluster.map.moves)


def test_replacements_that_are_refused() -> None:
    assert "it is heard, so it is not lost" in refused(world(), "replace", "n2")
    cluster = world()
    cluster.ask("drain", "n2")
    assert refused(cluster, "replace", "n2") == (
        "node n2 cannot be replaced: it is being drained, and frees its name at the end; see "
        "`quorumcache moves`"
    )
    cluster = world()
    cluster.map = cluster.map.with_node(replace(make_node(6), state=JOINING))
    assert "`quorumcache node remove n6 --force` frees its name" in refused(
        cluster, "replace", "n6"
    )
    cluster = world(3)
    silence(cluster, 2, 3)
    assert "1 of 3 replicas on nodes that are heard" in refused(cluster, "replace", "n2")


def test_weight_and_zone_are_set_together() -> None:
    cluster = world()
    changed = cluster.ask("node", "n2", "weight=2.5", "new-zone=z1")
    assert (cluster.map.node(2).weight, cluster.map.node(2).zone) == (2.5, "z1")
    assert changed.summary == "node n2 has weight 2.5 in zone z1"
    assert cluster.map.change == "node n2 weight=2.5 zone=z1 (was weight=1 zone=)"
    cluster.settle()
    assert sum(2 in replicas for replicas in cluster.map.replica_sets) == 8
    before = cluster.map
    cluster.ask("node", "n2", "weight=2.5")
    assert cluster.map is before


def test_a_member_becomes_a_gateway() -> None:
    cluster = world()
    cluster.ask("node", "n2", "weight=0")
    cluster.settle()
    assert all(2 not in replicas for replicas in cluster.map.replica_sets)
    assert 2 not in cluster.map.directory
    assert cluster.map.node(2).state == "active"


@pytest.mark.parametrize("text", ["two", "-1", "nan", "inf", "1e9", "", "1e-9"])
def test_a_weight_that_is_no_number_is_refused(text: str) -> None:
    assert refused(world(), "node", "n2", f"weight={text}") == (
        f"the weight is {text!r}, expected a number from 0.000001 to 1000000, or 0 for a gateway"
    )


def test_nodes_that_cannot_be_set_so() -> None:
    assert "there is no node 'x'" in refused(world(), "node", "x", "weight=2")
    assert refused(world(), "node", "n2", "zone=z9") == (
        "no node is in zone 'z9': no node has a zone; write new-zone=z9 for a new one"
    )
    assert "zone is 'a b', expected printable text" in refused(
        world(), "node", "n2", "new-zone=a b"
    )
    assert "a node has no 'size' to set" in refused(world(), "node", "n2", "size=2")
    assert "'weight' sets nothing" in refused(world(), "node", "n2", "weight")
    assert "say what to set" in refused(world(), "node", "n2")
    assert refused(world(3), "node", "n2", "weight=0") == (
        "node n2 cannot be changed: 2 nodes would be left for 3 replicas of each shard; join "
        "another node first, or `quorumcache cluster set replication=...`"
    )
    assert "it is the last node" in refused(world(1, 1), "node", "n1", "weight=0")
    cluster = world()
    cluster.ask("drain", "n2")
    assert "it is draining; its weight" in refused(cluster, "node", "n2", "weight=2")
    assert "a change is under way" in refused(cluster, "node", "n3", "weight=2")


def test_only_a_drained_node_leaves_by_itself() -> None:
    cluster = world()
    assert refused(cluster, "leave", "2") == (
        "node n2 cannot leave: it is active; use `quorumcache node drain n2` first"
    )
    cluster.ask("drain", "n2")
    assert "it is draining" in refused(cluster, "leave", "2")
    cluster.settle()
    cluster.ask("leave", "2")
    assert [node.node_id for node in cluster.map.nodes] == [1, 3, 4, 5]
    before = cluster.map
    assert cluster.ask("leave", "2").summary == "node 2 has left"
    assert cluster.map is before


def test_a_zone_that_another_node_is_in_needs_no_more_words() -> None:
    first = founded([*make_nodes(3), make_node(4, "z1")], 8, 3, (1, 2, 3))
    cluster = MovingWorld(first, Random(1))
    cluster.ask("node", "n2", "zone=z1")
    assert cluster.map.node(2).zone == "z1"


def test_a_node_with_the_longest_name_is_replaced_and_given_back() -> None:
    name = "n" * 255
    cluster = world(4)
    cluster.map = replace(cluster.map.with_node(replace(cluster.map.node(2), name=name)), epoch=1)
    cluster.history = [cluster.map]
    silence(cluster, 2, ticks=3)
    cluster.ask("replace", name)
    assert cluster.map.node(2).name == "n" * 253 + "~2"
    cluster.join(name)
    cluster.ask("cancel")
    assert cluster.map.node_named(name) == cluster.map.node(2)
    cluster.ask("replace", name)
    heir = cluster.join(name).node_id
    cluster.settle()
    assert cluster.map.node_named(name) == cluster.map.node(heir)
    assert 2 not in {node.node_id for node in cluster.map.nodes}
