"""Bytes of the log, there and back."""

from __future__ import annotations

import struct
from zlib import crc32

import msgpack
import pytest

from quorumcache.node.consensus.values import Entry, EntryKind, HardState
from quorumcache.node.errors import WalCorrupt, WrongDataDir
from quorumcache.node.wal.format import (
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    GroupHead,
    Head,
    Mark,
    MarkKind,
    SegmentHeader,
    WalRecord,
    decode_frame,
    decode_segment_header,
    encode_frame,
    encode_segment_header,
    intact_frame_end,
)

HEADER = SegmentHeader(7, 0xDEADBEEF, 3, "büro-1")
ITEMS = [
    Head(4711, (GroupHead(1, 2, 3, 4, 5, 6), GroupHead(9, 1, 0, 0, 0, 0))),
    WalRecord(1, HardState(2, 3), ()),
    WalRecord(
        2, None, (Entry(5, 2, EntryKind.NORMAL, b"\0\xff"), Entry(6, 2, EntryKind.NOOP, b""))
    ),
    Mark(3, MarkKind.COMPACTED, 10, 2),
]


def raw_frame(payload: bytes, offset: int, salt: int) -> bytes:
    start = struct.pack(">4sII", b"QCfr", offset, len(payload))
    return start + struct.pack(">I", crc32(payload, crc32(start, salt))) + payload


def test_segment_header_round_trip() -> None:
    data = encode_segment_header(HEADER)
    assert len(data) == SEGMENT_HEADER_BYTES
    assert decode_segment_header(data + b"more", "f") == HEADER


def test_every_damaged_bit_of_a_segment_header_is_refused() -> None:
    data = encode_segment_header(HEADER)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WalCorrupt, match="damaged at offset 0"):
            decode_segment_header(bytes(damaged), "f")


def test_short_segment_header_is_refused() -> None:
    with pytest.raises(WalCorrupt, match="shorter than its header"):
        decode_segment_header(encode_segment_header(HEADER)[:-1], "f")


def test_another_format_version_is_refused_by_number() -> None:
    data = bytearray(encode_segment_header(HEADER))
    data[11] = 4
    data[12:16] = struct.pack(">I", crc32(data[16:], crc32(data[:12])))
    with pytest.raises(WrongDataDir, match=r"is in format 4, this version reads format 3"):
        decode_segment_header(bytes(data), "f")


def test_frame_round_trip() -> None:
    frame = encode_frame(ITEMS, 128, 99)
    data = bytes(128) + frame + b"rest"
    end = intact_frame_end(data, 128, 99)
    assert end == 128 + len(frame)
    assert decode_frame(data, 128, end, "f") == ITEMS


def test_frame_belongs_to_its_offset_and_segment() -> None:
    """An image of a frame, in a client's value say, is no frame where it does not belong."""
    frame = encode_frame(ITEMS, 128, 99)
    assert intact_frame_end(bytes(128) + frame, 128, 98) == 0
    assert intact_frame_end(bytes(129) + frame, 129, 99) == 0


def test_frame_cut_anywhere_is_not_intact() -> None:
    frame = bytes(128) + encode_frame(ITEMS, 128, 99)
    for end in range(128, len(frame)):
        assert intact_frame_end(frame[:end], 128, 99) == 0


def test_every_damaged_bit_of_a_frame_is_noticed() -> None:
    frame = encode_frame(ITEMS, 0, 99)
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert intact_frame_end(bytes(damaged), 0, 99) == 0


@pytest.mark.parametrize(
    "content",
    [
        7,
        [7],
        [[1]],
        [[1, 2, 3, 4, 5]],
        [["1", None, []]],
        [[1, [1], []]],
        [[1, None, [[1, 1, 0]]]],
        [[1, None, [[1, 1, 0, "text"]]]],
        [[1, None, [[True, 1, 0, b""]]]],
        [[1, 2, 3, None]],
        [[1, [[1, 2, 3]]]],
    ],
)
def test_odd_content_under_a_right_checksum_is_refused(content: object) -> None:
    frame = raw_frame(msgpack.packb(content), 0, 5)
    with pytest.raises(WalCorrupt, match="holds no log items"):
        decode_frame(frame, 0, intact_frame_end(frame, 0, 5), "f")


def test_content_that_is_not_msgpack_is_refused() -> None:
    frame = raw_frame(b"\xc1\x00", 0, 5)
    with pytest.raises(WalCorrupt, match="holds no log items"):
        decode_frame(frame, 0, intact_frame_end(frame, 0, 5), "f")


def test_zeros_are_no_frame() -> None:
    assert intact_frame_end(bytes(4 * FRAME_HEADER_BYTES), 0, 0) == 0


def test_entries_with_a_gap_are_refused() -> None:
    """The checksum holds, but no host writes this: it is not taken for a log."""
    for indexes in ((1, 66), (1, 66, 3), (2, 1)):
        entries = tuple(Entry(index, 1, EntryKind.NORMAL, b"") for index in indexes)
        frame = encode_frame([WalRecord(1, None, entries)], 0, HEADER.salt)
        with pytest.raises(WalCorrupt, match=f"entry {indexes[1]} where {indexes[0] + 1} belongs"):
            decode_frame(frame, 0, len(frame), "segment")
