"""Goal: shares are exact, proportional to weight, and within the rules."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from quorumcache.ring.shares import ZoneBounds, fair_shares, fill_level, quotas, zone_bounds

F = Fraction


@pytest.mark.parametrize(
    ("sizes", "replication", "low", "high"),
    [
        ([5], 3, (2,), (3,)),
        ([3], 3, (2,), (3,)),
        ([2, 2, 2], 3, (0, 0, 0), (1, 1, 1)),
        ([2, 2, 2, 2], 3, (0, 0, 0, 0), (1, 1, 1, 1)),
        ([2, 2], 3, (1, 1), (2, 2)),
        ([1, 9], 3, (1, 1), (1, 2)),
        ([3, 3, 3], 5, (1, 1, 1), (2, 2, 2)),  # never 3 + 1 + 1: a zone may fail
        ([1, 1, 1], 3, (0, 0, 0), (1, 1, 1)),
        ([1, 4], 5, (1, 3), (1, 4)),
    ],
)
def test_replicas_spread_evenly_over_zones(
    sizes: list[int], replication: int, low: tuple[int, ...], high: tuple[int, ...]
) -> None:
    assert zone_bounds(sizes, replication) == ZoneBounds(low, high)


def test_fill_level_holds_back_at_the_caps() -> None:
    weights = [F(1), F(2), F(5)]
    assert fill_level(weights, [F(100)] * 3, 16) == 2
    # The last is full at 6; the other two share 10 - 6 = 4 by 1 to 2.
    assert fill_level(weights, [F(6)] * 3, 10) == F(4, 3)
    assert fill_level(weights, [F(4)] * 3, 12) == 4
    assert fill_level(weights, [F(4)] * 3, 0) == 0


def test_shares_follow_weight_up_to_one_replica_per_shard() -> None:
    bounds = zone_bounds([4], 3)
    zones = [0] * 4
    assert fair_shares([F(1)] * 4, zones, bounds, 64, 3) == [48] * 4
    # A node of weight 10 would deserve more replicas than there are shards.
    assert fair_shares([F(10), F(1), F(1), F(1)], zones, bounds, 64, 3) == [
        64,
        F(128, 3),
        F(128, 3),
        F(128, 3),
    ]


def test_shares_follow_the_zones_before_the_weights() -> None:
    zones = [0, 1, 2, 2]
    bounds = zone_bounds([1, 1, 2], 3)
    assert fair_shares([F(1)] * 4, zones, bounds, 64, 3) == [64, 64, 32, 32]


def test_shares_and_quotas_add_up_in_random_clusters() -> None:
    rng = random.Random(1)
    for _ in range(300):
        count = rng.randint(1, 30)
        zone_count = rng.randint(1, 5)
        zones = [rng.randrange(zone_count) for _ in range(count)]
        names = sorted(set(zones))
        zones = [names.index(zone) for zone in zones]
        weights = [F(rng.choice([1, 1, 2, 3, 8, 0.3])) for _ in range(count)]
        replication = rng.randint(1, min(5, count))
        shard_count = 1 << rng.randint(0, 8)
        bounds = zone_bounds([zones.count(z) for z in range(len(names))], replication)
        shares = fair_shares(weights, zones, bounds, shard_count, replication)
        rounded = quotas(shares, zones, bounds, shard_count, [rng.randint(0, 9)] * count)
        assert sum(shares) == sum(rounded) == shard_count * replication
        for share, quota in zip(shares, rounded, strict=True):
            assert 0 <= share <= shard_count
            assert share - 1 < quota < share + 1
        for zone in range(len(names)):
            total = sum(quota for quota, z in zip(rounded, zones, strict=True) if z == zone)
            assert bounds.low[zone] * shard_count <= total <= bounds.high[zone] * shard_count
            # Within a zone a heavier node has no smaller share.
            inside = sorted(
                (w, s) for w, s, z in zip(weights, shares, zones, strict=True) if z == zone
            )
            assert [s for _, s in inside] == sorted(s for _, s in inside)


def test_rounding_prefers_what_nodes_hold_today() -> None:
    bounds = zone_bounds([4], 1)
    shares = [F(5, 2)] * 4
    assert quotas(shares, [0] * 4, bounds, 10, [2, 3, 2, 3]) == [2, 3, 2, 3]
    assert quotas(shares, [0] * 4, bounds, 10, [3, 2, 2, 3]) == [3, 2, 2, 3]
    assert quotas(shares, [0] * 4, bounds, 10, [0, 0, 0, 0]) == [3, 3, 2, 2]
