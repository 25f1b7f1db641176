"""Preferred leaders: one replica each, balanced by weight, and moved no more than that takes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from random import Random

from quorumcache.ring.leaders import choose_leaders

Sets = Sequence[Sequence[int]]


def chosen(sets: Sets, count: int, present: Sets | None = None) -> list[int]:
    weights = [Fraction(1)] * count
    shares = [Fraction(sum(node in s for s in sets)) for node in range(count)]
    return choose_leaders(sets, present or [[] for _ in sets], weights, shares)


def test_each_shard_is_led_by_one_of_its_replicas_and_all_lead_alike() -> None:
    sets = [[0, 1, 2]] * 9
    leaders = chosen(sets, 3)
    assert sorted(leaders) == [0] * 3 + [1] * 3 + [2] * 3


def test_a_leader_stays_while_the_balance_allows_it() -> None:
    sets = [[0, 1, 2]] * 6
    present = [[2, 0, 1], [2, 0, 1], [0, 1, 2], [0, 1, 2], [1, 2, 0], [1, 2, 0]]
    assert chosen(sets, 3, present) == [2, 2, 0, 0, 1, 1]
    crowded = [[0, 1, 2]] * 6
    leaders = chosen(sets, 3, crowded)
    assert sorted(leaders) == [0, 0, 1, 1, 2, 2]


def test_a_leader_that_holds_the_shard_no_more_is_replaced() -> None:
    assert chosen([[1, 2]], 3, [[0, 1, 2]])[0] in (1, 2)


def test_a_leadership_moves_along_a_chain() -> None:
    """0 leads two, and shares no shard with 2, which leads none: 1 stands between."""
    sets = [[0, 1], [0, 1], [1, 2]]
    leaders = chosen(sets, 3, [[0, 1], [0, 1], [1, 2]])
    assert sorted(leaders) == [0, 1, 2]


def test_a_heavier_node_leads_more() -> None:
    sets = [[0, 1, 2]] * 8
    weights = [Fraction(2), Fraction(1), Fraction(1)]
    leaders = choose_leaders(sets, [[] for _ in sets], weights, [Fraction(8)] * 3)
    assert [leaders.count(node) for node in range(3)] == [4, 2, 2]


def test_random_clusters_are_within_one_of_their_share() -> None:
    """Where every node holds every shard there is always a chain."""
    rng = Random(1)
    for _ in range(50):
        count, shards = rng.randint(1, 6), rng.randint(1, 30)
        sets = [list(range(count)) for _ in range(shards)]
        present = [rng.sample(range(count), count) for _ in range(shards)]
        leaders = chosen(sets, count, present)
        fair = Fraction(shards, count)
        counts = [leaders.count(node) for node in range(count)]
        assert floor(fair) <= min(counts) <= max(counts) <= ceil(fair)
        moved = sum(
            leader != replicas[0] for leader, replicas in zip(leaders, present, strict=True)
        )
        before = [sum(replicas[0] == node for replicas in present) for node in range(count)]
        assert moved <= sum(max(0, had - floor(fair)) for had in before)
