"""One segment file: its name, which groups it holds back, and reading it at start.

The scan decides where a segment ends. It walks intact frames from the header on. Where they stop:

1. Nothing or only zeros follow: the log ends here.
2. Something else follows, and an intact frame stands anywhere behind it: that frame was written
   only after everything before it was durable, so durable bytes have changed. `WalCorrupt`.
3. Something else follows, and no intact frame behind it: a *torn tail*, what a crash left of the
   last write, which was not reported as durable. The caller decides whether a tail may be torn:
   only in the newest segment that was written to.

Pure: bytes in, values out.
"""

from __future__ import annotations

from typing import NamedTuple

from quorumcache.node.errors import WalCorrupt
from quorumcache.node.wal.format import (
    FRAME_MAGIC,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    decode_segment_header,
    intact_frame_end,
)

_SUFFIX = ".wal"
_DIGITS = 10


def segment_name(sequence: int) -> str:
    """File name of a segment; names sort as sequence numbers do."""
    return f"{sequence:0{_DIGITS}}{_SUFFIX}"


def sequence_of(name: str) -> int:
    """Sequence number in a segment's file name; 0 when the name is not one."""
    digits, dot, _ = name.partition(".")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) == _DIGITS
    if dot and name == digits + _SUFFIX and is_number:
        return int(digits)
    return 0


class Segment:
    """A segment whose head is durable, as the log keeps it in memory."""

    __slots__ = ("frame_count", "last_indexes", "path", "sequence", "size")

    def __init__(self, sequence: int, path: str) -> None:
        self.sequence = sequence
        self.path = path
        self.size = 0
        """Bytes up to the end of the last durable frame."""
        self.frame_count = 0
        """Durable frames, the one with the head included."""
        self.last_indexes: dict[int, int] = {}
        """Group to the last of its entries in here that still counts: not overwritten since."""

    def holders(self, bases: dict[int, int]) -> list[int]:
        """The groups, sorted, that need this segment: their snapshot ends before it does.

        `bases` maps a group to the last index its snapshot covers; a missing one has none.
        """
        return sorted(
            group
            for group, last_index in self.last_indexes.items()
            if last_index > bases.get(group, 0)
        )

    def cut(self, group: int, last_index: int) -> None:
        """The entries of `group` above `last_index` no longer count."""
        if self.last_indexes.get(group, 0) > last_index:
            self.last_indexes[group] = last_index


class SegmentScan(NamedTuple):
    """What a scan found."""

    header: SegmentHeader
    frames: list[tuple[int, int]]
    """[start, end) of every intact frame, in order, without a gap."""
    end: int
    """Where the log ends in this segment."""
    has_tail: bool
    """Something other than zeros follows `end`, and it may be a torn write."""


def scan_segment(data: bytes, path: str) -> SegmentScan:
    """Find the frames of the segment whose file at `path` holds `data`.

    Raises `WalCorrupt` for a damaged header or case 2 above.
    """
    header = decode_segment_header(data, path)
    salt = header.salt
    frames: list[tuple[int, int]] = []
    end = SEGMENT_HEADER_BYTES
    while frame_end := intact_frame_end(data, end, salt):
        frames.append((end, frame_end))
        end = frame_end
    has_tail = data.count(0, end) != len(data) - end
    if has_tail:
        later = _next_intact(data, end + 1, salt)
        if later:
            why = f"the bytes there have changed since the frame at {later} was written"
            raise WalCorrupt(path, end, why)
    return SegmentScan(header, frames, end, has_tail)


def _next_intact(data: bytes, start: int, salt: int) -> int:
    """Offset of the first intact frame at or after `start`; 0 for none.

    Linear in practice: the checksum is computed only where magic and offset fit.
    """
    at = data.find(FRAME_MAGIC, start)
    while at >= 0:
        if intact_frame_end(data, at, salt):
            return at
        at = data.find(FRAME_MAGIC, at + 1)
    return 0
