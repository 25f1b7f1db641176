"""Goal: placement keeps its promises in any cluster, through any history. Method: seeded random
clusters, each changed a few times, every placement starting from the one before."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import pytest

from quorumcache.ring import NodeInfo, place
from tests.support.clusters import ReplicaSets, leaders, loads, make_node, moved, shares_of

ROOT = Path(__file__).parents[2]


def random_cluster(rng: random.Random) -> tuple[list[NodeInfo], int, int]:
    count = rng.choice([3, 4, 5, 6, 8, 10, 15, 30, 50, 100])
    shard_count = 1 << rng.choice([6, 6, 6, 7, 8, 10] if count < 50 or rng.random() < 0.9 else [12])
    zone_count = rng.randint(1, 5)
    uneven_zones = rng.random() < 0.5
    weight = random_weights(rng)
    nodes = [
        make_node(
            i + 1, f"z{rng.randrange(zone_count) if uneven_zones else i % zone_count}", weight()
        )
        for i in range(count)
    ]
    return nodes, shard_count, rng.randint(1, 5)


def random_weights(rng: random.Random):
    kind = rng.choice(["equal", "whole", "any"])
    if kind == "equal":
        return lambda: 1.0
    if kind == "whole":
        return lambda: float(rng.randint(1, 4))
    return lambda: rng.uniform(0.3, 4.0)


def check(nodes: Sequence[NodeInfo], shard_count: int, replication: int, sets: ReplicaSets) -> None:
    """Every promise about one placement, regardless of what was before."""
    count = min(replication, len(nodes))
    zone_of = {node.node_id: node.zone for node in nodes}
    zone_count = len(set(zone_of.values()))
    assert len(sets) == shard_count
    for replicas in sets:
        assert len(replicas) == len(set(replicas)) == count
        assert len({zone_of[node_id] for node_id in replicas}) == min(count, zone_count)

    shares = shares_of(nodes, shard_count, replication)
    held, led = loads(nodes, sets), leaders(nodes, sets)
    total_weight = sum(Fraction(node.weight) for node in nodes)
    fair = {n.node_id: shard_count * count * Fraction(n.weight) / total_weight for n in nodes}
    for node_id, share in shares.items():
        assert floor(share) <= held[node_id] <= ceil(share)
    if all(share == fair[node_id] for node_id, share in shares.items()):
        # Nothing but weight decides: leaders are as exact as replicas.
        for node_id, share in fair.items():
            assert floor(share / count) <= led[node_id] <= ceil(share / count)
            assert held[node_id] <= max(1.05 * share, ceil(share))


@pytest.mark.parametrize("seed", range(60))
def test_promises_hold_through_changes(seed: int) -> None:
    rng = random.Random(seed)
    nodes, shard_count, replication = random_cluster(rng)
    sets = place(nodes, shard_count, replication)
    check(nodes, shard_count, replication, sets)
    for step in range(4):
        change = rng.choice(["add", "remove", "weight"])
        index = rng.randrange(len(nodes))
        if change == "add":
            zone = rng.choice([*(node.zone for node in nodes), "z-new"])
            nodes = [*nodes, make_node(1000 + step, zone, rng.uniform(0.5, 3.0))]
        elif change == "remove" and len(nodes) > 1:
            nodes = nodes[:index] + nodes[index + 1 :]
        else:
            node = nodes[index]
            nodes[index] = make_node(node.node_id, node.zone, rng.uniform(0.5, 3.0))
        sets = place(nodes, shard_count, replication, present=sets)
        check(nodes, shard_count, replication, sets)
        rng.shuffle(nodes)
        assert place(nodes, shard_count, replication, present=sets) == sets


@pytest.mark.parametrize("seed", range(40))
def test_movement_is_near_the_least_possible(seed: int) -> None:
    """Any placement with the new loads moves at least what nodes gain. One zone: nothing else is
    forced. The ideal is the newcomer's share, or what the leaver held."""
    rng = random.Random(seed)
    nodes, shard_count, replication = random_cluster(rng)
    nodes = [make_node(node.node_id, "", node.weight) for node in nodes]
    before = place(nodes, shard_count, replication)
    newcomer = make_node(len(nodes) + 1, "", random_weights(rng)())
    wider = [*nodes, newcomer]
    if replication <= len(nodes):
        after = place(wider, shard_count, replication, present=before)
        new_loads, old_loads = loads(wider, after), loads(wider, before)
        gained = sum(max(0, new_loads[i] - old_loads[i]) for i in new_loads)
        assert moved(before, after) <= 1.2 * gained + 1
    if replication < len(nodes):
        leaver = rng.choice(nodes)
        rest = [node for node in nodes if node is not leaver]
        after = place(rest, shard_count, replication, present=before)
        new_loads, old_loads = loads(rest, after), loads(nodes, before)
        gained = sum(max(0, new_loads[i] - old_loads[i]) for i in new_loads)
        assert moved(before, after) <= 1.2 * gained + 1


_PROBE = """
import json, random, sys
sys.path.insert(0, {root!r})
from tests.property.test_placement import digest
print(json.dumps(digest()))
"""


def digest() -> list[str]:
    """Fingerprints of a few placements and maps."""
    from quorumcache.ring import HashRing
    from tests.support.clusters import make_map

    result = [str(hash_of) for hash_of in [list(HashRing({"a": 1, "b": 2, "c": 3}).vnodes())[:5]]]
    for seed in range(5):
        nodes, shard_count, replication = random_cluster(random.Random(seed))
        sets = place(nodes, shard_count, replication)
        wider = [*nodes, make_node(500, "z1", 2.0)]
        after = place(wider, shard_count, replication, present=sets)
        result.append(make_map(nodes, sets).fingerprint())
        result.append(make_map(wider, after).fingerprint())
    return result


def test_every_process_gives_the_same_answer() -> None:
    """Another hash seed reorders every set of strings; nothing may depend on that."""
    answers = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", _PROBE.format(root=str(ROOT))],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                cwd=ROOT,
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )
        for hash_seed in ("1", "77")
    ]
    assert answers[0] == answers[1] == digest()
