"""Bytes of the log: segment header, frame, and what a frame holds.

A segment file is a header and frames, one after the other, then zeros or nothing:

    +--------+-------+-------+-- ... --+-------+----------------+
    | header | frame | frame |         | frame | zeros (if any) |
    +--------+-------+-------+-- ... --+-------+----------------+

Header, 128 bytes, big endian:

     0                8         12        16               24        28        32     34
    +----------------+---------+---------+----------------+---------+---------+------+---------+
    | "QCWALSEG"     | version | crc     | sequence       | salt    | node_id | len  | cluster |
    +----------------+---------+---------+----------------+---------+---------+------+---------+
    crc: CRC-32 of bytes [0, 12) and [16, 128). cluster: `len` bytes of UTF-8, then zeros.

Frame, one per write, big endian:

     0         4         8         12        16             16 + length
    +---------+---------+---------+---------+----- ... -----+
    | "QCfr"  | offset  | length  | crc     | payload       |
    +---------+---------+---------+---------+----- ... -----+
    offset: where in the file this frame stands. Only one write is under way at a time, so the
        frame also says: when this was written, every byte before `offset` was durable.
    crc: CRC-32 of bytes [0, 12) and the payload, starting from the segment's salt. Salt and
        offset keep an image of a frame inside a client's value from looking like a frame.

Payload: a msgpack array of items, each an array whose length tells what it is:

    2  head      [previous_end, [[group, term, voted_for, base_index, base_term, last_index], ...]]
    3  record    [group, nil or [term, voted_for], [[index, term, kind, payload], ...]]
    4  mark      [group, kind, index, term]

The first item of the first frame of a segment is a head, and there is none elsewhere. It repeats
what earlier segments said and a start may still need when they are gone. `previous_end` is the
length of the segment before, without zeros.

Pure: bytes in, values out. The compiled form makes its frames in C (`core/wire.pyx`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack

from quorumcache.node.consensus.values import Entry, HardState
from quorumcache.node.errors import WalCorrupt, WrongDataDir
from quorumcache.node.version import FORMAT_VERSION, other_format

SEGMENT_MAGIC: Final = b"QCWALSEG"
SEGMENT_HEADER_BYTES: Final = 128
CLUSTER_ID_BYTES_MAX: Final = SEGMENT_HEADER_BYTES - 34

FRAME_MAGIC: Final = b"QCfr"
FRAME_HEADER_BYTES: Final = 16
FRAME_BYTES_MAX: Final = 1 << 30
"""No frame is longer. Offsets are 32 bits wide: a segment and one frame stay below 4 GiB."""

_SEGMENT: Final = struct.Struct(">8sIIQIIH")
_FRAME: Final = struct.Struct(">4sIII")
_FRAME_START: Final = struct.Struct(">4sII")
_CRC: Final = struct.Struct(">I")


class MarkKind(IntEnum):
    """What a mark tells of its group."""

    COMPACTED = 1
    """A durable snapshot covers `index`, whose entry has `term`: entries up to it are dropped."""
    INSTALLED = 2
    """A snapshot at `index` came from a leader: all entries are dropped, the next is index + 1."""
    FORGOTTEN = 3
    """The group is no longer here: everything of it is dropped."""


class WalRecord(NamedTuple):
    """What one group wants durable.

    The group's entries at and above `entries[0].index` are replaced by `entries`.
    """

    group: int
    hard_state: HardState | None
    entries: tuple[Entry, ...] | list[Entry] = ()


class Mark(NamedTuple):
    """See `MarkKind`."""

    group: int
    kind: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs
    term: int


class GroupHead(NamedTuple):
    """What the head of a segment repeats of one group: its state before this segment."""

    group: int
    term: int
    voted_for: int
    base_index: int
    """Index of the newest marked snapshot, 0 for none. Invariant: base_index <= last_index."""
    base_term: int
    last_index: int
    """Of the last entry, or `base_index` when there is none after it."""


class Head(NamedTuple):
    """First item of a segment."""

    previous_end: int
    """Where the log ends in the segment before; 0 when there is none."""
    groups: tuple[GroupHead, ...]


Item = Head | WalRecord | Mark


class SegmentHeader(NamedTuple):
    """See the module's diagram."""

    sequence: int
    salt: int
    node_id: int
    cluster_id: str


def encode_segment_header(header: SegmentHeader) -> bytes:
    """The first `SEGMENT_HEADER_BYTES` of a segment."""
    cluster = header.cluster_id.encode()
    assert len(cluster) <= CLUSTER_ID_BYTES_MAX, "cluster id too long"
    fields = (header.sequence, header.salt, header.node_id, len(cluster))
    body = _SEGMENT.pack(SEGMENT_MAGIC, FORMAT_VERSION, 0, *fields) + cluster
    body = body.ljust(SEGMENT_HEADER_BYTES, b"\0")
    return body[:12] + _CRC.pack(_header_crc(body)) + body[16:]


def decode_segment_header(data: bytes, path: str) -> SegmentHeader:
    """Read the header of the segment at `path`; `data` may be the whole file.

    `WalCorrupt` when it is damaged, `WrongDataDir` when another version wrote it.
    """
    if len(data) < SEGMENT_HEADER_BYTES:
        raise WalCorrupt(path, 0, "the segment is shorter than its header")
    magic, version, crc, sequence, salt, node_id, length = _SEGMENT.unpack_from(data)
    if crc != _header_crc(data):
        raise WalCorrupt(path, 0, "the checksum of the segment header is wrong")
    if magic != SEGMENT_MAGIC:
        raise WalCorrupt(path, 0, "this is not a segment of a log")
    if version != FORMAT_VERSION:
        raise WrongDataDir(path, other_format(version))
    cluster = data[_SEGMENT.size : _SEGMENT.size + length]
    return SegmentHeader(sequence, salt, node_id, cluster.decode())


def _header_crc(data: bytes) -> int:
    return crc32(data[16:SEGMENT_HEADER_BYTES], crc32(data[:12]))


# One packer for all frames: creating one costs more than packing a batch of 15 records (4 us).
_pack = msgpack.Packer(autoreset=True).pack


def plain_log_frame(items: Sequence[Item], offset: int, salt: int, bytes_max: int) -> bytes | None:
    """See `encode_frame`; None if the payload is longer than `bytes_max`."""
    payload: bytes = _pack(items)
    if len(payload) > bytes_max:
        return None
    start = _FRAME_START.pack(FRAME_MAGIC, offset, len(payload))
    return b"".join((start, _CRC.pack(crc32(payload, crc32(start, salt))), payload))


def _form() -> Callable[[Sequence[Item], int, int, int], bytes | None]:
    try:
        from quorumcache.node.core.wire import log_frame
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return plain_log_frame
    return log_frame


_log_frame: Final = _form()


def encode_frame(items: Sequence[Item], offset: int, salt: int) -> bytes:
    """The frame that holds `items` and will stand at `offset`."""
    frame = _log_frame(items, offset, salt, FRAME_BYTES_MAX)
    assert frame is not None, "frame too long"
    return frame


def intact_frame_end(data: bytes, offset: int, salt: int) -> int:
    """The end of the frame that stands at `offset` of a segment; 0 when there is none."""
    if len(data) - offset < FRAME_HEADER_BYTES:
        return 0
    magic, written_offset, length, crc = _FRAME.unpack_from(data, offset)
    if magic != FRAME_MAGIC or written_offset != offset or length > FRAME_BYTES_MAX:
        return 0
    start = offset + FRAME_HEADER_BYTES
    end = start + length
    if end > len(data):
        return 0
    view = memoryview(data)
    found = crc32(view[start:end], crc32(view[offset : offset + 12], salt))
    return end if found == crc else 0


def decode_frame(data: bytes, offset: int, end: int, path: str) -> list[Item]:
    """The items of the intact frame in [offset, end).

    The checksum holds, so anything odd in here was written that way: `WalCorrupt` all the same.
    """
    payload = memoryview(data)[offset + FRAME_HEADER_BYTES : end]
    try:
        return [_item(raw) for raw in msgpack.unpackb(payload, use_list=False)]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WalCorrupt(path, offset, f"the frame holds no log items ({error})") from error


def _item(raw: tuple[Any, ...]) -> Item:
    if len(raw) == 3:
        group, hard_state, raw_entries = raw
        if hard_state is not None:
            hard_state = HardState(*_ints(hard_state))
        entries = tuple(map(_entry, raw_entries))
        for number, entry in enumerate(entries):
            if entry.index != entries[0].index + number:
                raise ValueError(f"entry {entry.index} where {entries[0].index + number} belongs")
        return WalRecord(_int(group), hard_state, entries)
    if len(raw) == 4:
        return Mark(*_ints(raw))
    if len(raw) == 2:
        return Head(_int(raw[0]), tuple(GroupHead(*_ints(group)) for group in raw[1]))
    raise ValueError(f"an item of {len(raw)} parts")


def _entry(raw: tuple[Any, ...]) -> Entry:
    index, term, kind, payload = raw
    if not isinstance(payload, bytes):
        raise TypeError("an entry's payload is not bytes")
    return Entry(_int(index), _int(term), _int(kind), payload)


def _ints(raw: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(map(_int, raw))


def _int(raw: Any) -> int:
    if type(raw) is not int:
        raise TypeError(f"{type(raw).__name__} where a number belongs")
    return raw
