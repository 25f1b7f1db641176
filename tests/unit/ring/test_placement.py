"""Goal: the placement's promises in the cases that are easy to name. The random ones are in
tests/property/test_placement.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import PlacementError, place
from quorumcache.ring.node_info import WEIGHT_MAX, WEIGHT_MIN
from tests.support.clusters import leaders, loads, make_node, make_nodes, moved


def test_three_equal_nodes_hold_everything_and_lead_a_third() -> None:
    nodes = make_nodes(3)
    sets = place(nodes, 64, 3)
    assert loads(nodes, sets) == {1: 64, 2: 64, 3: 64}
    assert sorted(leaders(nodes, sets).values()) == [21, 21, 22]


def test_a_small_cluster_gets_as_many_replicas_as_it_has_nodes() -> None:
    assert place(make_nodes(1), 4, 3) == ((1,),) * 4
    assert all(sorted(replicas) == [1, 2] for replicas in place(make_nodes(2), 8, 3))


def test_neighbours_vary() -> None:
    """Replica sets are not a fixed pattern: a failed node's load spreads over many others."""
    sets = place(make_nodes(10), 256, 3)
    partners = {node_id for replicas in sets if 1 in replicas for node_id in replicas}
    assert partners == set(range(1, 11))


@pytest.mark.parametrize(
    ("count", "shard_count"), [(3, 64), (4, 64), (10, 1024), (30, 64), (100, 1024), (100, 4096)]
)
@pytest.mark.parametrize("replication", [1, 3, 5])
def test_a_node_more_or_less_moves_little(count: int, shard_count: int, replication: int) -> None:
    """The ideal for a newcomer is its fair share; for a leaver, what it held."""
    nodes = make_nodes(count)
    before = place(nodes, shard_count, replication)
    if replication < count:
        wider = place([*nodes, make_node(count + 1)], shard_count, replication, present=before)
        ideal = shard_count * replication / (count + 1)
        assert moved(before, wider) <= 1.2 * ideal
    if replication <= count - 1:
        held = loads(nodes, before)[2]
        without = [node for node in nodes if node.node_id != 2]
        after = place(without, shard_count, replication, present=before)
        assert moved(before, after) <= 1.2 * held


@pytest.mark.parametrize(("count", "shard_count"), [(30, 64), (100, 1024)])
def test_changes_after_changes_still_move_little(count: int, shard_count: int) -> None:
    """Which nodes hold one replica more than others is history, and is left alone."""
    nodes = make_nodes(count)
    sets = place(nodes, shard_count, 3)
    for step in range(6):
        leaver = nodes[5 * step]
        held = loads(nodes, sets)[leaver.node_id]
        nodes = [node for node in nodes if node is not leaver]
        after = place(nodes, shard_count, 3, present=sets)
        assert moved(sets, after) <= 1.2 * held
        nodes = [*nodes, make_node(count + 1 + step)]
        sets = place(nodes, shard_count, 3, present=after)
        assert moved(after, sets) <= 1.2 * shard_count * 3 / count


def test_leaders_stay_when_a_node_comes() -> None:
    nodes = make_nodes(10)
    before = place(nodes, 256, 3)
    after = place([*nodes, make_node(11)], 256, 3, present=before)
    changed = sum(old[0] != new[0] for old, new in zip(before, after, strict=True))
    assert changed <= 1.5 * 256 / 11


def test_placing_again_changes_nothing() -> None:
    nodes = [make_node(i, f"z{i % 4}", weight=1 + i % 3) for i in range(1, 14)]
    sets = place(nodes, 128, 3)
    assert place(nodes, 128, 3, present=sets) == sets
    assert place(list(reversed(nodes)), 128, 3, present=sets) == sets
    assert place(list(reversed(nodes)), 128, 3) == sets


def test_a_weight_change_moves_only_the_difference() -> None:
    nodes = make_nodes(10)
    before = place(nodes, 256, 3)
    heavier = [replace(nodes[0], weight=2.0), *nodes[1:]]
    after = place(heavier, 256, 3, present=before)
    gained = loads(nodes, after)[1] - loads(nodes, before)[1]
    assert gained == moved(before, after)
    assert loads(nodes, after)[1] in (139, 140)  # 768 * 2 / 11


def test_a_first_node_in_a_new_zone_gets_a_replica_of_every_shard() -> None:
    nodes = make_nodes(6, zones=2)
    before = place(nodes, 64, 3)
    after = place([*nodes, make_node(7, "z9")], 64, 3, present=before)
    assert all(7 in replicas for replicas in after)
    assert moved(before, after) == 64


def test_more_or_fewer_replicas_keep_the_ones_there_are() -> None:
    nodes = make_nodes(9, zones=3)
    three = place(nodes, 64, 3)
    five = place(nodes, 64, 5, present=three)
    assert moved(three, five) == 2 * 64
    # Dropping replicas costs next to nothing: a few moves to even the loads out.
    assert moved(five, place(nodes, 64, 3, present=five)) <= 5


def test_present_sets_may_break_every_rule() -> None:
    nodes = make_nodes(6, zones=3)
    broken = [(1, 4), (1, 1, 99), (1, 2, 3, 4, 5, 6), (99, 98, 97)]
    sets = place(nodes, 4, 3, present=broken)
    for replicas in sets:
        assert len({(node_id - 1) % 3 for node_id in replicas}) == 3
    assert loads(nodes, sets) == dict.fromkeys(range(1, 7), 2)


@pytest.mark.parametrize("heavy", [1, 5, 99])
def test_any_weights_within_their_bounds_can_be_placed(heavy: int) -> None:
    weights = [WEIGHT_MAX] * heavy + [WEIGHT_MIN] * (100 - heavy)
    nodes = [make_node(i, weight=weight) for i, weight in enumerate(weights, start=1)]
    held = loads(nodes, place(nodes, 64, 1))
    assert sum(held[i] for i in range(1, heavy + 1)) == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 64, 3), "no nodes"),
        ((make_nodes(3), 48, 3), "shard_count is 48"),
        ((make_nodes(3), 8192, 3), "shard_count is 8192"),
        ((make_nodes(3), 64, 0), "replication is 0"),
        (([make_node(1), make_node(1)], 64, 3), "two nodes have the id 1"),
        (([make_node(1, weight=0.0)], 64, 3), "weight is 0.0"),
        (([make_node(1, weight=5e-324), make_node(2)], 64, 3), "node 1: weight is 5e-324"),
        (([make_node(1, weight=float("nan"))], 64, 3), "weight is nan"),
    ],
)
def test_senseless_input_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(PlacementError, match=message):
        place(*arguments)


def test_present_must_have_all_shards() -> None:
    with pytest.raises(PlacementError, match="present has 1 shards, expected 64"):
        place(make_nodes(3), 64, 3, present=[(1, 2, 3)])
