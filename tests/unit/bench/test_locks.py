"""`quorumcache.bench.locks`: goal and table."""

from quorumcache.bench.histogram import Histogram
from quorumcache.bench.locks import FREE, SET, goals, locks_table
from quorumcache.bench.tasks import Alone, Together


def histogram(*values: int) -> Histogram:
    found = Histogram()
    found.record_all(values)
    return found


def rows(ratio: float) -> tuple[Alone, Alone]:
    return (
        Alone(what=SET, latency=histogram(1_000_000), ratio=1.0),
        Alone(what=FREE, latency=histogram(2_000_000), ratio=ratio),
    )


def test_the_goal_is_a_ratio_to_a_set() -> None:
    assert goals(rows(2.4))[0].is_met
    assert not goals(rows(2.6))[0].is_met
    assert not goals(())[0].is_met, "nothing measured meets no goal"


def test_the_table_has_a_row_for_each_call() -> None:
    many = Together(
        what="8 want one lock",
        tasks=8,
        latency=histogram(*[9_000_000] * 4),
        attempts=0,
        seconds=2.0,
    )
    table = locks_table(rows(2.0), [many])
    assert table.rows == (
        ("set", "1", "1,000", "1.00", "1.00", "1.00"),
        ("lock and release", "1", "500", "2.00", "2.00", "2.00"),
        ("8 want one lock", "8", "2", "9.00", "9.00", "-"),
    )
    assert table.notes[-1] == "all 1 goals met"
