"""`quorumcache.bench.transactions`: keys and table."""

from quorumcache.bench.histogram import Histogram
from quorumcache.bench.tasks import Alone, Together
from quorumcache.bench.transactions import (
    ONE_SHARD,
    SET,
    TWO_SHARDS,
    apart,
    goals,
    transactions_table,
)
from quorumcache.ring import shard_of


def histogram(*values: int) -> Histogram:
    found = Histogram()
    found.record_all(values)
    return found


def row(what: str, ratio: float) -> Alone:
    return Alone(what=what, latency=histogram(1_000_000), ratio=ratio)


def test_keys_lie_in_shards_of_their_own() -> None:
    for shards in (1, 2, 64):
        keys = apart(shards, min(10, shards))
        found = [shard_of(key.encode(), shards) for key in keys]
        assert len(set(found)) == len(keys) == min(10, shards)


def test_the_goals_are_ratios_to_a_set() -> None:
    assert all(goal.is_met for goal in goals([row(ONE_SHARD, 1.2), row(TWO_SHARDS, 2.9)]))
    missed = [row(ONE_SHARD, 1.4), row(TWO_SHARDS, 3.1)]
    assert not any(goal.is_met for goal in goals(missed))
    assert not any(goal.is_met for goal in goals([])), "nothing measured meets no goal"


def test_the_table_shows_conflicts() -> None:
    many = Together(
        what="transfers", tasks=16, latency=histogram(*[4_000_000] * 4), attempts=6, seconds=2.0
    )
    table = transactions_table([row(SET, 1.0), row(ONE_SHARD, 1.2), row(TWO_SHARDS, 2.0)], [many])
    assert table.rows[0] == ("set", "1", "1,000", "1.00", "1.00", "1.00", "-")
    assert table.rows[-1] == ("transfers", "16", "2", "4.00", "4.00", "-", "0.50")
