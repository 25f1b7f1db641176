"""How a node divides the room on its disk."""

from __future__ import annotations

import pytest

from quorumcache.node.storage.disk_space import (
    LOW_SEGMENTS,
    RESERVE_BYTES_MAX,
    SEGMENT_BYTES_LEAST,
    SpacePlan,
    plan_space,
)


def test_segments_fit_a_small_disk() -> None:
    plan = plan_space(
        96 << 20, segment_bytes_max=64 << 20, wal_bytes_max=1 << 30, memory_bytes=1 << 30
    )
    assert plan.segment_bytes_max == 12 << 20
    assert plan.wal_bytes_max == 24 << 20
    assert plan.reserve_bytes == 6 << 20
    assert plan.least_bytes > 96 << 20
    large = plan_space(
        1 << 40, segment_bytes_max=64 << 20, wal_bytes_max=1 << 30, memory_bytes=1 << 30
    )
    assert (large.segment_bytes_max, large.wal_bytes_max) == (64 << 20, 1 << 30)
    assert plan_space(0, segment_bytes_max=1, wal_bytes_max=2, memory_bytes=3).reserve_bytes == 0


@pytest.mark.parametrize("total_bytes", [1 << exponent for exponent in range(12, 50, 2)])
def test_the_parts_fit_together_on_every_disk(total_bytes: int) -> None:
    plan = plan_space(
        total_bytes, segment_bytes_max=64 << 20, wal_bytes_max=1 << 30, memory_bytes=1 << 30
    )
    assert SEGMENT_BYTES_LEAST <= plan.segment_bytes_max <= 64 << 20
    assert plan.segment_bytes_max <= plan.wal_bytes_max <= 1 << 30
    assert plan.reserve_bytes <= RESERVE_BYTES_MAX
    assert plan.low_bytes <= LOW_SEGMENTS * plan.segment_bytes_max
    if total_bytes >= 8 * SEGMENT_BYTES_LEAST:
        taken = plan.segment_bytes_max + plan.wal_bytes_max + plan.reserve_bytes + plan.low_bytes
        assert taken < total_bytes


def test_of_a_disk_of_unknown_size_nothing_is_set_aside() -> None:
    plan = plan_space(0, segment_bytes_max=5, wal_bytes_max=7, memory_bytes=11)
    assert plan == SpacePlan(5, 7, 0, 0, 2 * 11 + 7)
