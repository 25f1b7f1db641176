"""Who leads a shard while its preferred leader is away: another replica, evenly, and the same one
whoever asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from quorumcache.ring import ClusterMap, place
from quorumcache.ring.node_info import DOWN, DRAINING
from quorumcache.ring.stand_ins import stand_ins
from tests.support.clusters import make_map, make_nodes


def five_nodes(shard_count: int = 64) -> ClusterMap:
    nodes = make_nodes(5)
    return make_map(nodes, place(nodes, shard_count, 3))


def newer(replica_sets: list[tuple[int, ...]]) -> ClusterMap:
    """A map whose nodes may be other than active."""
    return replace(make_map(make_nodes(5), replica_sets), form=2, directory=(1, 2, 3))


@pytest.mark.parametrize("away", range(1, 6))
def test_each_shard_goes_to_another_of_its_replicas_and_all_lead_about_as_much(away: int) -> None:
    cluster_map = five_nodes()
    found = stand_ins(cluster_map, away)
    wanted = [s for s, replicas in enumerate(cluster_map.replica_sets) if replicas[0] == away]
    assert sorted(found) == wanted
    leads = Counter(replicas[0] for replicas in cluster_map.replica_sets if replicas[0] != away)
    for shard, node in found.items():
        assert node != away
        assert node in cluster_map.replica_sets[shard]
        leads[node] += 1
    assert max(leads.values()) - min(leads.values()) <= 2


def test_a_heavier_node_takes_more_and_a_gateway_nothing() -> None:
    cluster_map = newer([(1, 2, 3)] * 8 + [(4, 5, 1)] * 56)
    heavy = cluster_map.with_node(replace(cluster_map.node(2), weight=3.0))
    assert Counter(stand_ins(heavy, 1).values()) == {2: 6, 3: 2}
    gateway = cluster_map.with_node(replace(cluster_map.node(2), weight=0.0))
    assert Counter(stand_ins(gateway, 1).values()) == {3: 8}


@pytest.mark.parametrize("state", [DOWN, DRAINING])
def test_a_node_that_is_to_have_no_shards_gets_none(state: str) -> None:
    cluster_map = newer([(1, 2, 3)] * 60 + [(1, 2)] * 4)
    found = stand_ins(cluster_map.with_node(replace(cluster_map.node(2), state=state)), 1)
    assert set(found.values()) == {3}
    assert not set(range(60, 64)) & set(found), "it has no other replica"


def test_a_node_that_leads_nothing_is_missed_by_nobody() -> None:
    assert stand_ins(five_nodes(), 9) == {}
