"""What an exptime means."""

import pytest

from quorumcache.node.store.exptime import ALREADY_EXPIRED, resolve_exptime, resolve_flush

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
