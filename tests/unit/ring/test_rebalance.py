"""Goal: the moves lead from the one map to the other, in an order that helps the weakest first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import PlacementError, moves, place, report
from quorumcache.ring.rebalance import Move
from tests.support.clusters import make_map, make_node, make_nodes, moved


def apply(replica_sets, steps):
    sets = [list(replicas) for replicas in replica_sets]
    for shard, add, remove in steps:
        if add:
            assert add not in sets[shard]
            sets[shard].append(add)
        if remove:
            sets[shard].remove(remove)
    return [sorted(replicas) for replicas in sets]


def test_moves_lead_from_the_old_map_to_the_new() -> None:
    nodes = [*make_nodes(6), make_node(7)]
    old = make_map(nodes, place(nodes[:6], 64, 3))
    new = old.with_replica_sets(place(nodes, 64, 3, present=old.replica_sets))
    steps = moves(old, new)
    assert apply(old.replica_sets, steps) == [sorted(r) for r in new.replica_sets]
    assert len(steps) == moved(old.replica_sets, new.replica_sets)
    assert all(step.add and step.remove for step in steps)
    assert moves(new, new) == ()


def test_shards_at_risk_come_first_and_removals_last() -> None:
    nodes = make_nodes(5)
    old = make_map(nodes, [(1, 2, 3), (1, 2), (1,), (1, 2, 3, 4)])
    new = make_map(nodes, [(1, 2, 4), (1, 2, 3), (1, 4, 5), (1, 2, 3)])
    assert moves(old, new) == (
        Move(2, 4, 0),
        Move(2, 5, 0),
        Move(1, 3, 0),
        Move(0, 4, 3),
        Move(3, 0, 4),
    )


def test_receivers_take_turns() -> None:
    nodes = make_nodes(4)
    old = make_map(nodes, [(1,)] * 4, replication=1)
    new = make_map(nodes, [(2,), (2,), (3,), (3,)], replication=1)
    assert [step.add for step in moves(old, new)] == [2, 3, 2, 3]


def test_report_counts_what_a_change_costs() -> None:
    nodes = make_nodes(5)
    old = make_map(nodes, [(1, 2, 3), (1, 2), (3, 1), (4, 1, 2)])
    new = make_map(nodes, [(1, 2, 4), (2, 1), (3, 1, 5), (4, 1)])
    cost = report(old, new)
    assert cost.replicas_moved == 2
    assert cost.received == ((4, 1), (5, 1))
    assert cost.replicas_dropped == 2
    assert cost.leaders_changed == 1


def test_maps_of_other_clusters_are_refused() -> None:
    old = make_map(make_nodes(3), [(1, 2, 3)] * 2)
    with pytest.raises(PlacementError, match="'cluster-a' and 'other'"):
        moves(old, replace(old, cluster_id="other"))
    with pytest.raises(PlacementError, match="2 in the one map and 4 in the other"):
        report(old, make_map(make_nodes(3), [(1, 2, 3)] * 4))
