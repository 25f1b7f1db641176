"""The check of reads below linearizable, on histories whose verdict is known."""

from __future__ import annotations

import pytest

from tests.simulation.staleness import FAIL, INFO, OK, Read, StaleHistory, Write, check, why_wrong
from tests.simulation.world import World, WorldConfig

MS = 1_000_000


def writes(*spans: tuple[bytes | None, int, int, str]) -> list[Write]:
    return [Write(value, begin * MS, end * MS, word) for value, begin, end, word in spans]


def verdict(read_ms: tuple[int, int], bound_ms: int, value: bytes | None, *spans) -> str:
    invoked, returned = read_ms
    read = Read("k", bound_ms * MS if bound_ms else None, invoked * MS, value, returned * MS)
    return why_wrong(read, writes(*spans))


ONE_THEN_TWO = ((b"1", 100, 110, OK), (b"2", 500, 510, OK))


@pytest.mark.parametrize(
    ("read_ms", "bound_ms", "value", "is_right"),
    [
        ((600, 601), 100, b"2", True),
        ((600, 601), 100, b"1", True),  # current until 510, which is less than 100 ms ago
        ((620, 621), 100, b"1", False),
        ((620, 621), 0, b"1", True),
        ((620, 621), 0, None, True),
        ((620, 621), 0, b"3", False),
        ((505, 900), 1, b"1", True),
        ((505, 900), 1, b"2", True),
        ((490, 499), 100, b"2", False),  # not written yet
        ((200, 201), 100, None, True),
        ((220, 221), 100, None, False),
    ],
)
def test_replaced_values(
    read_ms: tuple[int, int], bound_ms: int, value: bytes | None, is_right: bool
) -> None:
    assert (verdict(read_ms, bound_ms, value, *ONE_THEN_TWO) == "") is is_right


def test_a_clock_that_is_slow_by_all_that_is_allowed_is_no_fault() -> None:
    assert verdict((1515, 1516), 1000, b"1", *ONE_THEN_TWO) == ""
    assert "replaced 1025.0 ms" in verdict((1535, 1536), 1000, b"1", *ONE_THEN_TWO)


def test_a_write_of_unknown_outcome_may_come_at_any_later_time() -> None:
    unknown = ((b"1", 100, 110, INFO), (b"2", 500, 510, OK))
    assert verdict((9000, 9001), 10, b"1", *unknown) == ""
    assert verdict((9000, 9001), 10, None, *unknown)
    unknown = ((b"1", 100, 110, OK), (b"2", 500, 510, INFO))
    assert verdict((9000, 9001), 10, b"1", *unknown) == ""
    assert verdict((9000, 9001), 10, b"2", *unknown) == ""


def test_a_write_that_was_not_done_is_never_seen_and_replaces_nothing() -> None:
    failed = ((b"1", 100, 110, OK), (b"2", 500, 510, FAIL))
    assert verdict((9000, 9001), 10, b"1", *failed) == ""
    assert verdict((9000, 9001), 10, b"2", *failed) == "nobody has written that"
    assert verdict((9000, 9001), 0, b"2", *failed)


def test_any_of_several_deletes_explains_a_miss() -> None:
    deletes = ((None, 100, 110, OK), (b"1", 200, 210, OK), (None, 300, 310, OK))
    assert verdict((900, 901), 10, None, *deletes) == ""
    assert verdict((900, 901), 10, b"1", *deletes)


def test_problems_name_the_read() -> None:
    history = StaleHistory({"k": writes(*ONE_THEN_TWO)}, [Read("k", MS, 900 * MS, b"1", 901 * MS)])
    (problem,) = check(history)
    assert "get k bounded 1 ms -> b'1'" in problem


def test_the_simulation_reads_at_every_level_from_replicas() -> None:
    """Enough of each for the check to mean something, also with nodes that hold no replica."""
    for node_count in (3, 5):
        world = World(WorldConfig(seed=2, node_count=node_count, fault_seconds=2.0))
        report = world.run()
        assert report.totals["replica_reads"] > 50
        assert report.totals["bounded_too_stale"] > 5
        seen = {(read.how, read.bound_ns is None) for read in world.stale.history.reads}
        assert seen == {(how, local) for how in ("library", "plain") for local in (True, False)}
