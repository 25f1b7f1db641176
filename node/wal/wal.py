"""The log of a node: all groups in one sequence of segments, with group commit.

One write is under way at a time. Whatever arrives meanwhile becomes the next write: one frame,
one sync. So the log needs no timer to batch, an idle log syncs a single record at once, and a
busy one syncs as many records at a time as arrive during one sync.

Life of a batch, all on the loop but for the disk's part:

    append -> pending -> frame -> disk (write, sync) -> callbacks, in the order of the appends
                 ^         |
                 |         +- the segment is full: wait for the next one, start it with a head
                 +- the disk is full: the frame is held and tried again every `retry_ms`

After a failed write or sync nothing is called back any more but `on_failed`: what is on the disk
is unknown, and the only way to find out is to start again.

Reading order: `append`, `_next_frame`, `_write`, `_written`; then rolling, then removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, Self

from quorumcache.node.clock import Clock
from quorumcache.node.consensus.api import SnapshotMeta
from quorumcache.node.errors import DiskFull, DiskRefused
from quorumcache.node.storage.disk import Disk, DiskFile
from quorumcache.node.wal.format import (
    CLUSTER_ID_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Item,
    Mark,
    MarkKind,
    SegmentHeader,
    WalRecord,
    encode_frame,
    encode_segment_header,
)
from quorumcache.node.wal.newest import NOTHING_WRITTEN, NewestSegment
from quorumcache.node.wal.recovery import RecoveredGroup, Recovery, recover
from quorumcache.node.wal.segment import Segment, segment_name

FRAME_PAYLOAD_BYTES: Final = 16 << 20
"""A frame takes no further record once its entries hold this much, to bound one write."""

FRAME_RECORDS_UNCOUNTED: Final = 64
"""So few records are not weighed: what one record may hold is bounded where entries are made."""

SEGMENT_BYTES_LIMIT: Final = 1 << 30
"""Upper limit for `segment_bytes_max`: offsets are 32 bits wide."""

QUEUED_BYTES_MAX: Final = 64 << 20
"""So much may wait for the disk, in payload bytes: as much as a leader may leave uncommitted.
Beyond it the host takes nothing more in; a disk that hangs would otherwise fill the memory."""

ROTATED_SHARE: Final = 8
"""When room is wanted, a segment is closed at one in so many bytes of its usual size: one that
holds less is not worth the work."""

OnDurable = Callable[[], None]


class Wal:
    """The log of one node. Made by `Wal.open`; used from the loop only."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        recovery: Recovery,
        *,
        cluster_id: str,
        node_id: int,
        segment_bytes_max: int,
        wal_bytes_max: int,
        retry_ms: int,
        random: Random,
        clock: Clock | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.on_full: Callable[[bool], None] = _ignore
        """Called with True when the disk refuses a batch, which is held then (see `held_why`), with
        False once it went through."""
        self.on_failed: Callable[[BaseException], None] = _ignore
        """Called once, with what failed. The process has to end; nothing is durable from here."""
        self.on_segment: Callable[[int, int], None] = _ignore_segment
        """Called with the number and the salt of a segment once its first frame is durable."""
        self.observe_sync: Callable[[float], None] = _ignore
        """Called per frame with the seconds from write to durable; needs a clock."""
        self.held_why: BaseException | None = None
        """Why the batch is held that the disk refuses: full, or out of descriptors."""
        self.waiting_since_ns = 0
        """Since when the disk owes an answer to a write, a sync, or the next segment that is waited
        for; 0 while it owes none. Needs a clock."""
        self.queued_bytes = 0
        """Payload bytes of the entries that wait for a write; see `QUEUED_BYTES_MAX`."""
        self.wants_room = False
        """The disk is nearly full: every closed segment should go."""
        self.sync_count = 0
        self.torn_bytes = recovery.torn_bytes
        """What the start cut off."""
        self.orphan_snapshots = recovery.orphan_snapshots
        """Groups with a snapshot file that the log knows nothing of: forgotten ones, or installed
        ones whose group was never durable. Nothing depends on them; the host deletes them."""

        self._disk = disk
        self._directory = directory
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._segment_bytes_max = segment_bytes_max
        self._wal_bytes_max = wal_bytes_max
        self._retry_seconds = retry_ms / 1000
        self._random = random
        self._clock = clock
        self._loop = loop

        self._states = recovery.states
        self._segments = recovery.segments
        """Oldest first. The last one is written to once `_file` is its file."""
        self._last_sequence = recovery.last_sequence
        """Of the newest segment that was created or is being created."""

        self._durable_bases = {group: base[0] for group, base in self._states.bases.items()}
        """Group to the index of its newest mark that is durable. Decides what may be removed."""
        self._last_sequence = recovery.last_sequence
        """Of the newest segment that was created."""

        self._pending: list[WalRecord | Mark] = list(recovery.marks)
        self._callbacks: list[tuple[int, OnDurable]] = []
        """(count, callback), ordered: to be called once so many items, counted from the start,
        are durable."""
        self._queued_count = len(self._pending)
        """Items that were ever put into `_pending`."""
        self._framed_count = 0
        """Items that were ever taken from `_pending`. Invariant: <= _queued_count."""

        self._file: DiskFile | None = None
        """What is appended to; None until the first write after a start."""
        self._salt = 0
        """Of `_file`."""
        self._spare: tuple[DiskFile, Segment, int] | None = None
        """The next segment, created ahead, with its salt."""
        self._is_creating = False
        self._closes_early = False
        """The next write goes to the next segment, as soon as that is there."""
        self._held_action: Callable[[], None] | None = None
        """What to try again while the disk refuses a batch."""
        self._retry_timer: asyncio.TimerHandle | None = None
        self._has_create_failed = False
        """The disk was full when the next segment was created ahead: not again until needed."""

        self._frame = b""
        """The frame that is being written or held; empty when there is none."""
        self._frame_segment: Segment | None = None
        """Where it goes. Not yet in `_segments` when it is the first one there."""
        self._frame_callbacks: list[tuple[int, OnDurable]] = []
        self._frame_cuts: list[tuple[int, int]] = []
        self._frame_marks: list[Mark] = []

        self._is_full = False
        self._is_removing = False
        self._wants_removal = True
        """Something was marked since segments were looked at; also at start, for what a crash kept
        from being removed."""
        self._is_closing = False
        self._failure: BaseException | None = None
        self._idle: asyncio.Future[None] | None = None

    @classmethod
    def open(
        cls,
        disk: Disk,
        directory: str,
        *,
        cluster_id: str,
        node_id: int,
        snapshots: Mapping[int, SnapshotMeta] | None = None,
        newest: NewestSegment = NOTHING_WRITTEN,
        segment_bytes_max: int = 64 << 20,
        wal_bytes_max: int = 1 << 30,
        retry_ms: int = 1000,
        random: Random | None = None,
        clock: Clock | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> tuple[Self, dict[int, RecoveredGroup]]:
        """Recover the log in `directory` and make it ready for appends. Blocks; for start-up.

        `snapshots` tells of every snapshot file on disk (`SnapshotStore.load_all`): the recovered
        entries follow them. `newest` is the segment that is known to have been written to last: it
        has to be there. `random` draws the segments' salts, which keep clients from forging
        frames. `clock` feeds `observe_sync`. `loop` defaults to the running one, when needed.

        Raises `WalCorrupt` (file and offset) when what was durable has changed, `WrongDataDir`
        when the log is of another node, cluster or format version.
        """
        if not 0 < segment_bytes_max <= SEGMENT_BYTES_LIMIT:
            raise ValueError(f"segment_bytes_max: {segment_bytes_max} not in (0, 1 GiB]")
        if len(cluster_id.encode()) > CLUSTER_ID_BYTES_MAX:
            raise ValueError(f"cluster_id: longer than {CLUSTER_ID_BYTES_MAX} bytes")
        disk.make_dirs(directory)
        recovery = recover(
            disk,
            directory,
            cluster_id=cluster_id,
            node_id=node_id,
            snapshots=snapshots or {},
            newest=newest,
        )
        wal = cls(
            disk,
            directory,
            recovery,
            cluster_id=cluster_id,
            node_id=node_id,
            segment_bytes_max=segment_bytes_max,
            wal_bytes_max=wal_bytes_max,
            retry_ms=retry_ms,
            random=random or Random(f"{cluster_id} {node_id} {recovery.last_sequence}"),
            clock=clock,
            loop=loop,
        )
        if not recovery.segments:
            wal._leave_a_segment()
        return wal, recovery.groups

    # --- appending

    def append(self, records: Sequence[WalRecord], on_durable: OnDurable) -> None:
        """Make `records` durable, then call `on_durable` on the loop; callbacks keep the order.

        A record's entries replace those of the group from `entries[0].index` on, and have to
        follow what is there (or the group's snapshot). Calling this once per loop turn with the
        records of all groups makes one sync of them. Nothing here bounds what is queued while the
        disk is slow or full: the caller stops feeding, see `on_full` and `queued_bytes`.
        """
        assert not self._is_closing, "appended to after close"
        self._pending.extend(records)
        self._queued_count += len(records)
        self._callbacks.append((self._queued_count, on_durable))
        if not self._frame:
            self._next_frame()
        else:
            for record in records:
                self.queued_bytes += payload_bytes(record)

    def compacted(self, group: int, index: int, term: int) -> None:
        """A snapshot of this replica's own state at `index` is durable; `term` is the entry's.

        The entries up to it are dropped, and segments that nobody needs any more are removed.
        """
        self._mark(Mark(group, MarkKind.COMPACTED, index, term))

    def installed(self, group: int, index: int, term: int) -> None:
        """A snapshot that came from a leader is durable; it replaces the group's whole log.

        The next entry of the group is `index` + 1.
        """
        self._mark(Mark(group, MarkKind.INSTALLED, index, term))

    def forget(self, group: int, on_durable: OnDurable) -> None:
        """Drop everything of a group that has left this node, its hard state too.

        The host deletes the group's snapshot after `on_durable`, not before: a log that was
        dropped up to a snapshot that is not there does not start.
        """
        self._callbacks.append((self._queued_count + 1, on_durable))
        self._mark(Mark(group, MarkKind.FORGOTTEN, 0, 0))

    def _mark(self, mark: Mark) -> None:
        assert not self._is_closing, "marked after close"
        self._pending.append(mark)
        self._queued_count += 1
        if not self._frame:
            self._next_frame()

    @property
    def queued_count(self) -> int:
        """Records waiting for a write, without those being written."""
        return len(self._pending)

    @property
    def bytes_total(self) -> int:
        """Length of all segments together, without zeros."""
        return sum(segment.size for segment in self._segments)

    # --- one frame at a time

    def _next_frame(self) -> None:
        """Turn what is pending into a frame and write it. Called when no frame is under way."""
        if self._failure is not None:
            return
        if not self._pending:
            if self._callbacks:  # Of appends without records: all before them is durable.
                for _, callback in self._callbacks:
                    self._timers().call_soon(callback)
                self._callbacks = []
            self._nothing_pending()
            return
        file = self._file
        closes = self._closes_early and self._spare is not None
        if file is None or closes or file.size >= self._segment_bytes_max:
            file = self._roll()
            if file is None:
                return  # `_created` comes back here.
        items = self._take_pending()
        states = self._states
        head = None
        if file.size == SEGMENT_HEADER_BYTES:
            head = states.head(self._segments[-1].size if self._segments else 0)
        try:
            self._frame_marks = states.take(items)
        except ValueError as error:  # Entries that do not follow: a bug, and not one to persist.
            self._not_written(error, self._write)
            return
        if states.cuts:
            self._frame_cuts = states.cuts
            states.cuts = []
        frame_items: Sequence[Item] = items if head is None else [head, *items]
        self._frame = encode_frame(frame_items, file.size, self._salt)
        self._write()

    def _take_pending(self) -> list[WalRecord | Mark]:
        """The items of the next frame: all that is pending, or as much as one frame takes."""
        items = self._pending
        self._pending = []
        if len(items) > FRAME_RECORDS_UNCOUNTED:
            frame_bytes = 0
            for count, item in enumerate(items, 1):
                frame_bytes += payload_bytes(item)
                if frame_bytes > FRAME_PAYLOAD_BYTES:
                    self._pending = items[count:]
                    del items[count:]
                    break
        self._framed_count += len(items)
        if self.queued_bytes:
            self.queued_bytes = sum(map(payload_bytes, self._pending))
        if not self._pending:
            self._frame_callbacks = self._callbacks
            self._callbacks = []
        else:
            framed_count = self._framed_count
            due = [entry for entry in self._callbacks if entry[0] <= framed_count]
            self._frame_callbacks = due
            self._callbacks = self._callbacks[len(due) :]
        return items

    def _write(self) -> None:
        assert self._file is not None
        if self._clock is not None:
            self.waiting_since_ns = self._clock.monotonic_ns()
        self._file.append(self._frame, self._written)

    def _written(self, error: BaseException | None) -> None:
        """The frame is durable, or it is not."""
        if error is not None:
            self._not_written(error, self._write)
            return
        segment = self._frame_segment
        assert self._file is not None
        assert segment is not None
        if self._clock is not None:
            self.observe_sync((self._clock.monotonic_ns() - self.waiting_since_ns) / 1e9)
            self.waiting_since_ns = 0
        self.sync_count += 1
        if segment.size == 0:
            self._segments.append(segment)
        segment.size = self._file.size
        segment.frame_count += 1
        if segment.frame_count == 1:
            self.on_segment(segment.sequence, self._salt)
        if self._frame_cuts or self._frame_marks:
            self._settle_marks()
        callbacks = self._frame_callbacks
        self._frame_callbacks = []
        self._frame = b""
        # The disk goes to work again before the loop does: the two then work side by side.
        self._next_frame()
        if self._spare is None and self._file.size >= self._segment_bytes_max // 2:
            self._create_ahead()
        if self._is_full:
            self._is_full = False
            self.held_why = None
            self._has_create_failed = False
            self.on_full(False)
        if self._wants_removal:
            self._remove_covered()
        for _, callback in callbacks:
            callback()

    def _not_written(self, error: BaseException, retry: Callable[[], None]) -> None:
        """Hold everything and try again when the disk refuses it; give up for good otherwise."""
        self.waiting_since_ns = 0
        if isinstance(error, DiskRefused) and not self._is_closing:
            self.held_why = error
            self._held_action = retry
            self._retry_timer = self._timers().call_later(self._retry_seconds, self.retry)
            if not self._is_full:
                self._is_full = True
                self.on_full(True)
            return
        self._failure = error
        self._nothing_pending()
        if not isinstance(error, DiskRefused):
            self.on_failed(error)

    def retry(self) -> None:
        """Try what is held once more, now: there may be room. Nothing is held: nothing happens."""
        action, self._held_action = self._held_action, None
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        if action is None:
            return
        if self._is_closing:
            self._failure = self._failure or DiskFull("closed while the disk was full")
            self._nothing_pending()
        else:
            action()

    def _settle_marks(self) -> None:
        """What the durable frame said about older segments and about snapshots is now so."""
        for group, last_index in self._frame_cuts:
            for segment in self._segments:
                if segment is not self._frame_segment:
                    segment.cut(group, last_index)
        self._frame_cuts = []
        for mark in self._frame_marks:
            if mark.kind == MarkKind.FORGOTTEN:
                self._durable_bases.pop(mark.group, None)
            else:
                self._durable_bases[mark.group] = mark.index
            self._wants_removal = True
        self._frame_marks = []

    # --- the next segment

    def _roll(self) -> DiskFile | None:
        """Go on in the next segment; None when it has to be created first."""
        if self._spare is None:
            if self._clock is not None and not self.waiting_since_ns:
                self.waiting_since_ns = self._clock.monotonic_ns()
            self._create()
            return None
        file, segment, self._salt = self._spare
        self._spare = None
        self._closes_early = False
        if self._file is not None:
            self._file.close()
        self._file = file
        self._frame_segment = segment
        self._states.touched = segment.last_indexes
        return file

    def _create_ahead(self) -> None:
        if not self._has_create_failed and not self._is_closing and self._failure is None:
            self._create()

    def _create(self) -> None:
        if self._is_creating:
            return
        self._is_creating = True
        sequence = self._last_sequence + 1
        path = f"{self._directory}/{segment_name(sequence)}"
        salt, header = self._new_header(sequence)

        def created(error: BaseException | None) -> None:
            self._created(error, file, Segment(sequence, path), salt)

        file = self._disk.create(path, header, created)

    def _new_header(self, sequence: int) -> tuple[int, bytes]:
        """A salt, and the header of the segment that has it."""
        salt = self._random.getrandbits(32)
        header = SegmentHeader(sequence, salt, self._node_id, self._cluster_id)
        return salt, encode_segment_header(header)

    def _leave_a_segment(self) -> None:
        """Start-up: have a segment file, for the first write to replace.

        Without it, a crash between a first snapshot and the first write would look like a log
        that somebody has removed.
        """
        path = f"{self._directory}/{segment_name(self._last_sequence + 1)}"
        if not self._disk.exists(path):
            self._disk.write(path, self._new_header(self._last_sequence + 1)[1])

    def _created(
        self, error: BaseException | None, file: DiskFile, segment: Segment, salt: int
    ) -> None:
        self._is_creating = False
        if error is not None:
            self._closes_early = False
        is_needed = not self._frame and bool(self._pending)
        if self._is_closing and not is_needed:
            if error is None:
                file.close()
        elif error is None:
            self._has_create_failed = False
            self._last_sequence = segment.sequence
            self._spare = (file, segment, salt)
            if is_needed:
                self._next_frame()
        elif is_needed or not isinstance(error, DiskRefused):
            self._not_written(error, self._create)
        else:
            self._has_create_failed = True

    # --- removal of old segments

    def _remove_covered(self) -> None:
        """Remove segments from the oldest on, one after the other, while nobody needs them.

        The newest one stays, whatever is in it: it holds the hard states. As long as it has only
        one frame, the one before stays too: nothing vouches for the last frame of the log, and
        with a head it would take everything with it. One at a time and each durably, because a
        gap between segments counts as damage at the next start.
        """
        if self._is_removing or (self._segments and self._segments[-1].frame_count < 2):
            return
        if len(self._segments) < 2 or self._segments[0].holders(self._durable_bases):
            self._wants_removal = False
            return
        self._is_removing = True
        oldest = self._segments[0]

        def removed(error: BaseException | None) -> None:
            self._is_removing = False
            if error is None:
                self._segments.remove(oldest)
                self._remove_covered()
            # Otherwise it is tried again at the next mark. Keeping a segment hurts nobody.

        self._disk.unlink(oldest.path, removed)

    def pinned_groups(self) -> list[int]:
        """The groups that hold back the oldest segment, while the log is longer than its maximum;
        when room is wanted, those that hold back any closed one.

        A snapshot of each of them, then `compacted`, lets the segment go.
        """
        if self.wants_room:
            closed = [s.holders(self._durable_bases) for s in self._segments[:-1]]
            return sorted({group for holders in closed for group in holders})
        if self.bytes_total <= self._wal_bytes_max or not self._segments:
            return []
        return self._segments[0].holders(self._durable_bases)

    def make_room(self) -> None:
        """Close the present segment early, if it holds something worth it, so that it can go."""
        file = self._file
        if file is None or self._closes_early or self._failure is not None:
            return
        if file.size * ROTATED_SHARE >= self._segment_bytes_max:
            self._closes_early = True
            if self._spare is None:
                self._has_create_failed = False
                self._create_ahead()

    def settle(self) -> None:
        """Have old segments go that wait for one more write to the newest one, when none comes."""
        if not self._wants_removal or self._frame or self._pending or len(self._segments) < 2:
            return
        if self._segments[-1].frame_count < 2 and self._durable_bases:
            # What the log says already, said again: a mark changes nothing but its frame is there.
            group = min(self._durable_bases)
            self._mark(Mark(group, MarkKind.COMPACTED, *self._states.bases[group]))
        else:
            self._remove_covered()

    def files(self) -> list[str]:
        """Paths of the segments that have to be there."""
        segments = self._segments[1:] if self._is_removing else self._segments
        return [segment.path for segment in segments]

    # --- the end

    async def close(self) -> None:
        """Wait until everything appended is durable (or cannot be), then close the file."""
        self._is_closing = True
        if (self._frame or self._pending) and self._failure is None and not self._is_full:
            self._idle = self._timers().create_future()
            await self._idle
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._spare is not None:
            self._spare[0].close()
            self._spare = None

    def _nothing_pending(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _timers(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop


def payload_bytes(item: WalRecord | Mark) -> int:
    """Bytes of its entries' payloads."""
    total = 0
    if len(item) == 3:
        for entry in item[2]:
            total += len(entry[3])
    return total


def _ignore(_: object) -> None:
    pass


def _ignore_segment(sequence: int, salt: int) -> None:
    pass
