"""Where a segment ends."""

from __future__ import annotations

import pytest

from quorumcache.node.errors import WalCorrupt
from quorumcache.node.wal.format import (
    SegmentHeader,
    WalRecord,
    encode_frame,
    encode_segment_header,
)
from quorumcache.node.wal.segment import Segment, scan_segment, segment_name, sequence_of

SALT = 77
START = encode_segment_header(SegmentHeader(1, SALT, 1, "c"))


def segment(count: int = 3, *, payload: bytes = b"x") -> tuple[bytes, list[tuple[int, int]]]:
    """A segment of `count` frames, and where they are."""
    data, frames = START, []
    for group in range(count):
        frame = encode_frame([WalRecord(group, None, ((1, 1, 0, payload),))], len(data), SALT)
        frames.append((len(data), len(data) + len(frame)))
        data += frame
    return data, frames


def test_names() -> None:
    assert segment_name(12) == "0000000012.wal"
    assert sequence_of("0000000012.wal") == 12
    arabic = "\N{ARABIC-INDIC DIGIT ONE}" * 10 + ".wal"
    for name in ("12.wal", "0000000012.wal.tmp", "lock", "000000001x.wal", "0000000012", arabic):
        assert sequence_of(name) == 0


@pytest.mark.parametrize("zeros", [0, 1, 15, 16, 5000])
def test_ends_at_the_file_end_or_at_zeros(zeros: int) -> None:
    data, frames = segment()
    scan = scan_segment(data + bytes(zeros), "f")
    assert scan.frames == frames
    assert scan.end == len(data)
    assert not scan.has_tail


@pytest.mark.parametrize("zeros", [0, 600])
def test_torn_last_frame_at_every_byte(zeros: int) -> None:
    data, frames = segment()
    start, end = frames[-1]
    for cut in range(start + 1, end):
        torn = data[:cut]
        scan = scan_segment(torn + bytes(zeros), "f")
        assert scan.end == start
        assert scan.has_tail


def test_damage_before_an_intact_frame_is_named_by_file_and_offset() -> None:
    data, frames = segment()
    for start, end in frames[:-1]:
        for at in range(start, end):
            damaged = bytearray(data)
            damaged[at] ^= 0x10
            with pytest.raises(WalCorrupt, match=f"log some/file is damaged at offset {start}:"):
                scan_segment(bytes(damaged), "some/file")


def test_zeros_in_the_middle_are_damage() -> None:
    """A write that never reached the disk, though a later one did after a sync between them."""
    data, frames = segment()
    start, end = frames[1]
    with pytest.raises(
        WalCorrupt, match=f"offset {start}: the bytes there have changed since the frame at {end}"
    ):
        scan_segment(data[:start] + bytes(end - start) + data[end:], "f")


def test_frame_images_in_a_torn_value_do_not_vouch_for_it() -> None:
    """A client stores what looks like frames of this log; the write of that value is torn."""
    data, frames = segment(1)
    images = b"".join(encode_frame([], offset, SALT + 1) for offset in range(0, 2000, 16))
    images += encode_frame([], 128, SALT)
    value = encode_frame([WalRecord(1, None, ((1, 1, 0, images),))], len(data), SALT)
    scan = scan_segment(data + value[:-1], "f")
    assert scan.end == frames[0][1]
    assert scan.has_tail


def test_holders_are_the_groups_whose_snapshot_ends_before_the_segment() -> None:
    held = Segment(1, "f")
    held.last_indexes = {3: 10, 1: 5, 2: 7}
    assert held.holders({}) == [1, 2, 3]
    assert held.holders({1: 5, 2: 6, 3: 11}) == [2]
    held.cut(2, 6)
    held.cut(9, 1)
    assert held.holders({1: 5, 2: 6, 3: 11}) == []
