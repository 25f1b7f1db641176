"""How a node divides the room on its disk.

The log cannot give a segment back before the next one is begun and its groups are snapshotted, and
a snapshot is written beside the old one before it replaces it. So on a small disk segments have to
be small, and some room is kept from the log for the snapshots that free it. Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SEGMENT_SHARE: Final = 8
"""A segment takes at most one in so many bytes of the file system."""

LOG_SHARE: Final = 4
"""Beyond one in so many bytes of the file system, the log is freed by snapshots."""

RESERVE_SHARE: Final = 16
"""One in so many bytes of the file system is set aside, up to `RESERVE_BYTES_MAX`."""

RESERVE_BYTES_MAX: Final = 64 << 20
"""Room enough for a segment, and for the snapshot of a shard of a usual size."""

SEGMENT_BYTES_LEAST: Final = 64 << 10
"""No disk is small enough for smaller segments."""

LOW_SEGMENTS: Final = 4
"""With room for fewer segments than that, the log is freed at once, whatever its length."""


class SpacePlan(NamedTuple):
    """In bytes. All but `least_bytes` are 0 or as set where the size of the disk is not known."""

    segment_bytes_max: int
    wal_bytes_max: int
    reserve_bytes: int
    """To be set aside in a file, and given up when the disk is full."""
    low_bytes: int
    """With less free than this the log is freed at once."""
    least_bytes: int
    """The smallest file system for the node's settings; a smaller one is worth a warning."""


def plan_space(
    total_bytes: int, *, segment_bytes_max: int, wal_bytes_max: int, memory_bytes: int
) -> SpacePlan:
    """The settings, bounded by the size of the file system (0: not known)."""
    # Every item may be in a snapshot, and the largest shard's is written twice.
    least_bytes = 2 * memory_bytes + wal_bytes_max
    if not total_bytes:
        return SpacePlan(segment_bytes_max, wal_bytes_max, 0, 0, least_bytes)
    share = max(SEGMENT_BYTES_LEAST, total_bytes // SEGMENT_SHARE)
    segment_bytes_max = min(segment_bytes_max, share)
    return SpacePlan(
        segment_bytes_max,
        max(segment_bytes_max, min(wal_bytes_max, total_bytes // LOG_SHARE)),
        min(RESERVE_BYTES_MAX, total_bytes // RESERVE_SHARE),
        min(LOW_SEGMENTS * segment_bytes_max, total_bytes // SEGMENT_SHARE),
        least_bytes,
    )
