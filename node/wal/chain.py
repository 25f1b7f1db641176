"""The segments of a log as a chain: the one that is written, the next one, and the old ones.

Life of a segment:

    created ahead, as the spare -> the one that is written -> closed -> removed
         |                              |                                 |
         half of the one before         full, or room is wanted           no group needs it

A segment counts once its first frame, which begins with a head, is durable: only then is it in
`segments`, and only then may an older one go. Nothing here waits: the disk calls back on the loop.

Reading order: `SegmentChain.roll`, `create`, `frame_written`, `marks_durable`,
`remove_covered`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from quorumcache.node.storage.disk import Disk, DiskFile
from quorumcache.node.wal.format import (
    Mark,
    MarkKind,
    SegmentHeader,
    encode_segment_header,
)
from quorumcache.node.wal.segment import Segment, segment_name

SEGMENT_BYTES_LIMIT: Final = 1 << 30
"""Upper limit for `segment_bytes_max`: offsets are 32 bits wide."""

ROTATED_SHARE: Final = 8
"""When room is wanted, a segment is closed at one in so many bytes of its usual size: one that
holds less is not worth the work."""

OnCreated = Callable[[BaseException | None], None]


class SegmentChain:
    """The segment files of one log. Used from the loop only."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        *,
        cluster_id: str,
        node_id: int,
        segments: list[Segment],
        last_sequence: int,
        durable_bases: dict[int, int],
        segment_bytes_max: int,
        wal_bytes_max: int,
        random: Random,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._segment_bytes_max = segment_bytes_max
        self._wal_bytes_max = wal_bytes_max
        self._random = random

        self.segments = segments
        """Oldest first, with a durable head each. The last one is written to once `file` is its
        file."""
        self.file: DiskFile | None = None
        """What is appended to; None until the first write after a start."""
        self.salt = 0
        """Of `file`."""
        self.current: Segment | None = None
        """The segment of `file`. Not yet in `segments` until its first frame is durable."""
        self.spare: tuple[DiskFile, Segment, int] | None = None
        """The next segment, created ahead, with its salt."""
        self.has_create_failed = False
        """The disk was full when the next segment was created ahead: not again until needed."""
        self.wants_removal = True
        """Something was marked since segments were looked at; also at start, for what a crash kept
        from being removed."""
        self.durable_bases = durable_bases
        """Group to the index of its newest mark that is durable. Decides what may be removed."""

        self._last_sequence = last_sequence
        """Of the newest segment that was created."""
        self._is_creating = False
        self._closes_early = False
        """The next write goes to the next segment, as soon as that is there."""
        self._is_removing = False

    @property
    def bytes_total(self) -> int:
        """Length of all segments together, without zeros."""
        return sum(segment.size for segment in self.segments)

    @property
    def previous_end(self) -> int:
        """Where the newest segment ends that counts; 0 if there is none."""
        return self.segments[-1].size if self.segments else 0

    def files(self) -> list[str]:
        """Paths of the segments that have to be there."""
        segments = self.segments[1:] if self._is_removing else self.segments
        return [segment.path for segment in segments]

    # --- the next segment

    def takes_more(self) -> bool:
        """Whether the next frame goes to `file`; otherwise `roll` comes first."""
        file = self.file
        if file is None or (self._closes_early and self.spare is not None):
            return False
        return file.size < self._segment_bytes_max

    def is_half_full(self) -> bool:
        """Then the next segment is created ahead, so that no write waits for it."""
        assert self.file is not None
        return self.file.size >= self._segment_bytes_max // 2

    def roll(self) -> Segment | None:
        """Go on in the spare segment, and return it; None when it has to be created first."""
        if self.spare is None:
            return None
        file, segment, self.salt = self.spare
        self.spare = None
        self._closes_early = False
        if self.file is not None:
            self.file.close()
        self.file = file
        self.current = segment
        return segment

    def create(self, on_created: OnCreated) -> None:
        """Create the spare segment; `on_created` on the loop, with the error if there is one.

        Does nothing while one is being created, or is there: a second one would leave the first
        behind without a frame, in front of segments with frames. No start believes such a log.
        """
        if self._is_creating or self.spare is not None:
            return
        self._is_creating = True
        sequence = self._last_sequence + 1
        path = f"{self._directory}/{segment_name(sequence)}"
        salt, header = self._new_header(sequence)

        def created(error: BaseException | None) -> None:
            self._is_creating = False
            if error is not None:
                self._closes_early = False
            else:
                self.has_create_failed = False
                self._last_sequence = sequence
                self.spare = (file, Segment(sequence, path), salt)
            on_created(error)

        file = self._disk.create(path, header, created)

    def _new_header(self, sequence: int) -> tuple[int, bytes]:
        """A salt, and the header of the segment that has it."""
        salt = self._random.getrandbits(32)
        header = SegmentHeader(sequence, salt, self._node_id, self._cluster_id)
        return salt, encode_segment_header(header)

    def leave_a_segment(self) -> None:
        """Start-up: have a segment file, for the first write to replace.

        Without it, a crash between a first snapshot and the first write would look like a log
        that somebody has removed.
        """
        path = f"{self._directory}/{segment_name(self._last_sequence + 1)}"
        if not self._disk.exists(path):
            self._disk.write(path, self._new_header(self._last_sequence + 1)[1])

    def close_early(self) -> bool:
        """Have the present segment closed, if it holds something worth it, so that it can go.

        True when a spare segment has to be created for that.
        """
        file = self.file
        if file is None or self._closes_early:
            return False
        if file.size * ROTATED_SHARE < self._segment_bytes_max:
            return False
        self._closes_early = True
        if self.spare is not None:
            return False
        self.has_create_failed = False
        return True

    # --- what became durable

    def frame_written(self) -> Segment:
        """A frame at the end of `file` is durable; returns the segment that holds it."""
        segment = self.current
        assert segment is not None
        assert self.file is not None
        if segment.size == 0:
            self.segments.append(segment)
        segment.size = self.file.size
        segment.frame_count += 1
        return segment

    def marks_durable(self, cuts: list[tuple[int, int]], marks: list[Mark]) -> None:
        """What the newest frame said about older segments and about snapshots is now so."""
        for group, last_index in cuts:
            for segment in self.segments:
                if segment is not self.current:
                    segment.cut(group, last_index)
        for mark in marks:
            if mark.kind == MarkKind.FORGOTTEN:
                self.durable_bases.pop(mark.group, None)
            else:
                self.durable_bases[mark.group] = mark.index
            self.wants_removal = True

    # --- removal of old segments

    def remove_covered(self) -> None:
        """Remove segments from the oldest on, one after the other, while they are not needed.

        The newest one stays, whatever is in it: it holds the hard states. As long as it has only
        one frame, the one before stays too: nothing vouches for the last frame of the log, and
        with a head it would take everything with it. One at a time and each durably, because a
        gap between segments counts as damage at the next start.
        """
        if self._is_removing or (self.segments and self.segments[-1].frame_count < 2):
            return
        if len(self.segments) < 2 or self.segments[0].holders(self.durable_bases):
            self.wants_removal = False
            return
        self._is_removing = True
        oldest = self.segments[0]

        def removed(error: BaseException | None) -> None:
            self._is_removing = False
            if error is None:
                self.segments.remove(oldest)
                self.remove_covered()
            # Otherwise it is tried again at the next mark. Keeping a segment does no harm.

        self._disk.unlink(oldest.path, removed)

    def pinned_groups(self, *, wants_room: bool) -> list[int]:
        """The groups that hold back the oldest segment, while the log is longer than its maximum;
        when room is wanted, those that hold back any closed one."""
        if wants_room:
            closed = [s.holders(self.durable_bases) for s in self.segments[:-1]]
            return sorted({group for holders in closed for group in holders})
        if self.bytes_total <= self._wal_bytes_max or not self.segments:
            return []
        return self.segments[0].holders(self.durable_bases)

    # --- the end

    def close_spare(self) -> None:
        """Close the file of a spare segment that nothing will be written to."""
        if self.spare is not None:
            self.spare[0].close()
            self.spare = None

    def close(self) -> None:
        """Close the files that are open."""
        if self.file is not None:
            self.file.close()
            self.file = None
        self.close_spare()
