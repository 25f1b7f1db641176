"""Fair shares: how many replicas each node should hold, exactly.

A share is proportional to weight, within what the rules of placement allow:

1. A node holds at most one replica of a shard, so at most `shard_count` replicas.
2. The replicas of a shard spread over the zones as evenly as the zones' sizes allow: `ZoneBounds`
   gives, per zone, the least and the most replicas that one shard may have there. So a shard uses
   as many distinct zones as possible, and loses as few replicas as possible with any one zone.

Shares are rational numbers (no float decides a placement). Quotas are shares rounded down or up
such that their sum, and each zone's sum, is exact. Every set of quotas made here can be realised:
dealing quota / shard_count of every shard to the node is a fractional solution, and a flow problem
with integer bounds that has a fractional solution has a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple


class ZoneBounds(NamedTuple):
    """Replicas of one shard allowed in each zone: `low[zone]` to `high[zone]`, one apart at most.

    Invariant: sum(low) <= replication <= sum(high).
    """

    low: tuple[int, ...]
    high: tuple[int, ...]


def zone_bounds(sizes: Sequence[int], replication: int) -> ZoneBounds:
    """The most even spread of `replication` replicas over zones of `sizes` nodes each.

    `replication` is at most sum(sizes).
    """
    height = 1
    while sum(min(size, height) for size in sizes) < replication:
        height += 1
    return ZoneBounds(
        tuple(min(size, height - 1) for size in sizes), tuple(min(size, height) for size in sizes)
    )


def fill_level(weights: Sequence[Fraction], caps: Sequence[Fraction], total: int) -> Fraction:
    """The level at which sum(min(cap, level * weight)) is `total`, which is at most sum(caps)."""
    # A node reaches its cap at level cap / weight; the ones that reach it first are taken out
    # first.
    order = sorted(range(len(weights)), key=lambda i: caps[i] / weights[i])
    rest, weight_sum, level = Fraction(total), sum(weights, Fraction(0)), Fraction(0)
    for i in order:
        level = rest / weight_sum
        if level * weights[i] < caps[i]:
            return level
        level = caps[i] / weights[i]
        rest -= caps[i]
        weight_sum -= weights[i]
    return level


def fair_shares(
    weights: Sequence[Fraction],
    zones: Sequence[int],
    bounds: ZoneBounds,
    shard_count: int,
    replication: int,
) -> list[Fraction]:
    """The share of each node; the sum is shard_count * replication.

    Shares are proportional to weight among the nodes that no bound holds. `zones[i]` is the zone of
    node i, an index into `bounds`.
    """
    by_zone: list[list[int]] = [[] for _ in bounds.low]
    for i, zone in enumerate(zones):
        by_zone[zone].append(i)

    cap = Fraction(shard_count)

    def level_of(members: Sequence[int], total: int) -> Fraction:
        return fill_level([weights[i] for i in members], [cap] * len(members), total)

    floors = [level_of(m, shard_count * low) for m, low in zip(by_zone, bounds.low, strict=True)]
    ceilings = [level_of(m, shard_count * up) for m, up in zip(by_zone, bounds.high, strict=True)]

    def zone_total(zone: int, level: Fraction) -> Fraction:
        level = min(max(level, floors[zone]), ceilings[zone])
        return sum((min(level * weights[i], cap) for i in by_zone[zone]), Fraction(0))

    # One level for all zones, held between each zone's floor and ceiling. The total grows with the
    # level, in straight lines between the floors and ceilings: find the line, then solve on it.
    wanted = shard_count * replication
    marks = sorted([*floors, *ceilings])
    low, high = 0, len(marks) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if sum(zone_total(zone, marks[middle]) for zone in range(len(by_zone))) <= wanted:
            low = middle
        else:
            high = middle
    free: list[int] = []
    rest = Fraction(wanted)
    for zone, members in enumerate(by_zone):
        if floors[zone] <= marks[low] and ceilings[zone] >= marks[high]:
            free += members
        else:
            rest -= zone_total(zone, marks[low])
    assert rest.denominator == 1, "zones at a bound hold whole numbers of replicas"
    level = level_of(free, int(rest)) if free else marks[low]
    shares = [Fraction(0)] * len(weights)
    for zone, members in enumerate(by_zone):
        held = min(max(level, floors[zone]), ceilings[zone])
        for i in members:
            shares[i] = min(held * weights[i], cap)
    assert sum(shares) == wanted
    return shares


def quotas(
    shares: Sequence[Fraction],
    zones: Sequence[int],
    bounds: ZoneBounds,
    shard_count: int,
    loads: Sequence[int],
) -> list[int]:
    """Shares rounded down or up; their sum and the bounds of every zone stay exact.

    Nodes that hold the larger number today (`loads`) keep it first, so that rounding moves nothing;
    among the rest those whose load per share would grow least.
    """
    result = [int(share) for share in shares]
    spare = int(sum(shares)) - sum(result)
    zone_sums = [0] * len(bounds.low)
    for i, zone in enumerate(zones):
        zone_sums[zone] += result[i]
    candidates = [i for i, share in enumerate(shares) if share.denominator != 1]
    candidates.sort(key=lambda i: (loads[i] <= result[i], (result[i] + 1) / shares[i], i))
    raised = [False] * len(shares)
    # First what a zone needs to reach its least sum, then the rest up to each zone's greatest.
    for limit in (bounds.low, bounds.high):
        for i in candidates:
            if spare and not raised[i] and zone_sums[zones[i]] < limit[zones[i]] * shard_count:
                raised[i] = True
                result[i] += 1
                zone_sums[zones[i]] += 1
                spare -= 1
    assert spare == 0
    return result
