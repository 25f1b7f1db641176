"""What an exptime means."""

import pytest

from quorumcache.node.store.exptime import (
    ALREADY_EXPIRED,
    is_below,
    resolve_exptime,
    resolve_flush,
    seconds_left,
)

NOW_MS = 1_700_000_000_123


@pytest.mark.parametrize(
    ("exptime", "expires_at_ms"),
    [
        (0, 0),
        (1, NOW_MS + 1000),
        (2_592_000, NOW_MS + 2_592_000_000),
        (2_592_001, ALREADY_EXPIRED),
        (1_700_000_000, ALREADY_EXPIRED),
        (1_700_000_001, 1_700_000_001_000),
        (2**31 - 1, 2_147_483_647_000),
        (-1, ALREADY_EXPIRED),
        (-(2**31), ALREADY_EXPIRED),
    ],
)
def test_resolve_exptime(exptime: int, expires_at_ms: int) -> None:
    assert resolve_exptime(exptime, NOW_MS, NOW_MS) == expires_at_ms


def test_a_part_of_a_second_that_is_left_counts_as_one() -> None:
    left = [seconds_left(NOW_MS + ms, NOW_MS) for ms in (30_000, 29_001, 29_000, 1, 0, -5)]
    assert left == [30, 30, 29, 1, 0, 0]


@pytest.mark.parametrize(
    ("left_ms", "bound", "expected"),
    [
        (30_000, 30, False),
        (29_001, 30, False),
        (29_000, 30, True),
        (30_000, 1_700_000_000 + 30, False),
        (28_000, 1_700_000_000 + 30, True),
        (1000, 0, False),
        (1000, -1, False),
        (1000, 1_700_000_000, False),
        (-1, 1, True),
    ],
)
def test_what_is_below_a_bound(left_ms: int, bound: int, expected: bool) -> None:
    assert is_below(NOW_MS + left_ms, bound, NOW_MS, NOW_MS) is expected
    assert not is_below(0, bound, NOW_MS, NOW_MS), "what never ends is below no bound"


def test_an_absolute_time_that_is_now_has_passed() -> None:
    assert resolve_exptime(1_700_000_000, 5, 1_700_000_000_000) == ALREADY_EXPIRED


@pytest.mark.parametrize(
    ("delay", "at_ms"),
    [
        (0, NOW_MS),
        (-1, NOW_MS),
        (1, NOW_MS + 1000),
        (2_592_000, NOW_MS + 2_592_000_000),
        (2_592_001, 2_592_001_000),
        (1_800_000_000, 1_800_000_000_000),
    ],
)
def test_resolve_flush(delay: int, at_ms: int) -> None:
    assert resolve_flush(delay, NOW_MS, NOW_MS) == at_ms


def test_spans_are_of_cluster_time_and_unix_times_by_the_wall_clock() -> None:
    assert resolve_exptime(10, 5000, NOW_MS) == 15_000
    assert resolve_exptime(1_700_000_010, 5000, 1_700_000_000_000) == 15_000
    assert resolve_flush(10, 5000, NOW_MS) == 15_000
    assert resolve_flush(1_700_000_010, 5000, 1_700_000_000_000) == 15_000
    assert resolve_flush(1_600_000_000, 5000, 1_700_000_000_000) < 5000
