"""A second reader of the log's files, written from docs/storage.md and not from the product.

It knows what a node has promised to remember: `DurableLog` follows the synced bytes of a node's
segments as they grow, and holds for every group the votes, terms and entries that a power cut
would leave.
"""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

import msgpack

HEADER_BYTES = 128
FRAME = struct.Struct(">4sIII")
COMPACTED, INSTALLED, FORGOTTEN = 1, 2, 3


def salt_of(segment: bytes | bytearray) -> int:
    """The salt in a segment's header."""
    return int.from_bytes(segment[24:28], "big")


def frame_end(segment: bytes | bytearray, offset: int, salt: int) -> int:
    """The end of the frame that begins at `offset`; 0 when there is none that is whole."""
    if len(segment) < offset + FRAME.size:
        return 0
    magic, written_offset, length, crc = FRAME.unpack_from(segment, offset)
    end = offset + FRAME.size + length
    if magic != b"QCfr" or written_offset != offset or end > len(segment):
        return 0
    found = crc32(segment[offset : offset + 12], salt)
    return end if crc32(segment[offset + FRAME.size : end], found) == crc else 0


def last_frame_offset(segment: bytes) -> int:
    """Where the last whole frame of a segment begins; 0 when it has none."""
    salt, offset, last = salt_of(segment), HEADER_BYTES, 0
    while end := frame_end(segment, offset, salt):
        offset, last = end, offset
    return last


class DurableGroup:
    """What the disk remembers of one group. `terms`: index to term of the entries, from
    `base_index` on; `last_index` ends them. `votes`: term to whom it was given."""

    __slots__ = ("base_index", "last_index", "term", "terms", "voted_for", "votes")

    def __init__(self) -> None:
        self.term = 0
        self.voted_for = 0
        self.votes: dict[int, int] = {}
        self.terms: dict[int, int] = {}
        self.base_index = 0
        self.last_index = 0

    def copy(self) -> DurableGroup:
        """Another one with the same content."""
        twin = DurableGroup()
        twin.term, twin.voted_for, twin.votes = self.term, self.voted_for, dict(self.votes)
        twin.terms, twin.base_index, twin.last_index = self.terms, self.base_index, self.last_index
        return twin

    def covers(self, index: int, term: int) -> bool:
        """Is the entry of this index and term durable, in the log or under its snapshot?"""
        return index <= self.base_index or self.terms.get(index) == term


class _Segment:
    """A segment that is followed: `offset` is the end of what was read of it."""

    __slots__ = ("inode", "offset", "salt", "sequence")

    def __init__(self, sequence: int, inode: Any) -> None:
        self.sequence = sequence
        self.inode = inode
        self.salt = salt_of(inode.synced)
        self.offset = HEADER_BYTES


class DurableLog:
    """The groups of one disk, from its synced bytes. Call `refresh` before looking."""

    def __init__(self, disk: Any) -> None:
        self.groups: dict[int, DurableGroup] = {}
        self.forgotten: list[int] = []
        """Groups whose replica was removed here, one after the other."""
        self._disk = disk
        self._seen = (-1, -1, -1)
        self._segments: list[_Segment] = []
        """Those that may grow, by sequence."""

    def group(self, group_id: int) -> DurableGroup:
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = DurableGroup()
        return group

    def refresh(self) -> None:
        """Take in what was synced since the last call."""
        disk = self._disk
        seen = (disk.generation, disk.dir_syncs, disk.syncs)
        if seen == self._seen:
            return
        if seen[:2] != self._seen[:2]:
            self._find_segments()
        self._seen = seen
        segments = self._segments
        newest = 0
        for number, segment in enumerate(segments):
            if self._read(segment):
                newest = number
        # Only the newest that was written to grows; those created ahead come after it.
        del segments[:newest]

    def _find_segments(self) -> None:
        known = {id(segment.inode): segment for segment in self._segments}
        oldest = self._segments[0].sequence if self._segments else 0
        found = []
        for path, inode in self._disk._synced_names.items():
            if path.endswith(".wal") and len(inode.synced) >= HEADER_BYTES:
                sequence = int(path.rpartition("/")[2][:-4])
                if sequence >= oldest:
                    found.append(known.get(id(inode)) or _Segment(sequence, inode))
        self._segments = sorted(found, key=lambda segment: segment.sequence)

    def _read(self, segment: _Segment) -> bool:
        """Take in the frames that are new; whether there were any."""
        data = segment.inode.synced
        begin = offset = segment.offset
        while len(data) > offset and (end := frame_end(data, offset, segment.salt)):
            for item in msgpack.unpackb(data[offset + FRAME.size : end], use_list=False):
                self._take(item)
            offset = end
        segment.offset = offset
        return offset > begin

    def _take(self, item: tuple[Any, ...]) -> None:
        if len(item) == 2:
            return  # A head repeats what is known.
        group = self.group(item[0])
        if len(item) == 4:
            _, kind, index, term = item
            if kind == FORGOTTEN:
                self.groups.pop(item[0], None)
                self.forgotten.append(item[0])
            elif index <= group.base_index:
                return
            elif kind == INSTALLED:
                group.terms = {index: term}
                group.base_index = group.last_index = index
            else:
                group.base_index = max(group.base_index, index)
                group.last_index = max(group.last_index, index)
            return
        _, hard_state, entries = item
        if hard_state is not None:
            group.term, group.voted_for = hard_state
            if group.voted_for:
                group.votes[group.term] = group.voted_for
        if entries:
            terms = group.terms
            first = entries[0][0]
            for index in range(first, group.last_index + 1):
                terms.pop(index, None)
            for index, term, _, _ in entries:
                terms[index] = term
            group.last_index = entries[-1][0]
