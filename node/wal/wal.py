"""The log of a node: all groups in one sequence of segments, with group commit.

One write is under way at a time. Whatever arrives meanwhile becomes the next write: one frame,
one sync. So the log needs no timer to batch, an idle log syncs a single record at once, and a
busy one syncs as many records at a time as arrive during one sync.

Life of a batch, all on the loop but for the disk's part:

    append -> queue -> frame -> disk (write, sync) -> callbacks, in the order of the appends
                 ^       |
                 |       +- the segment is full: wait for the next one, start it with a head
                 +- the disk is full: the frame is held and tried again every `retry_ms`

After a failed write or sync nothing is called back any more but `on_failed`: what is on the disk
is unknown, and the only way to find out is to start again.

What waits is in `queue.py`, the files are in `chain.py`. Reading order: `append`, `_next_frame`,
`_write`, `_written`; then what the disk refuses; then the segments and the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Self

from quorumcache.node.clock import Clock
from quorumcache.node.consensus.values import HardState, SnapshotMeta
from quorumcache.node.errors import DiskFull, DiskRefused
from quorumcache.node.storage.disk import Disk
from quorumcache.node.wal.chain import SEGMENT_BYTES_LIMIT, SegmentChain
from quorumcache.node.wal.format import (
    CLUSTER_ID_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Item,
    Mark,
    MarkKind,
    WalRecord,
    encode_frame,
)
from quorumcache.node.wal.groups import NO_HARD_STATE
from quorumcache.node.wal.newest import NOTHING_WRITTEN, NewestSegment
from quorumcache.node.wal.queue import AppendQueue, OnDurable
from quorumcache.node.wal.recovery import RecoveredGroup, Recovery, recover


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
        self.wants_room = False
        """The disk is nearly full: every closed segment should go."""
        self.sync_count = 0
        self.torn_bytes = recovery.torn_bytes
        """What the start cut off."""
        self.orphan_snapshots = recovery.orphan_snapshots
        """Groups with a snapshot file that the log knows nothing of: forgotten ones, or installed
        ones whose group was never durable. Nothing depends on them; the host deletes them."""

        self._retry_seconds = retry_ms / 1000
        self._clock = clock
        self._loop = loop

        self._states = recovery.states
        self._queue = AppendQueue(recovery.marks)
        self._chain = SegmentChain(
            disk,
            directory,
            cluster_id=cluster_id,
            node_id=node_id,
            segments=recovery.segments,
            last_sequence=recovery.last_sequence,
            durable_bases={group: base[0] for group, base in recovery.states.bases.items()},
            segment_bytes_max=segment_bytes_max,
            wal_bytes_max=wal_bytes_max,
            random=random,
        )

        self._held_action: Callable[[], None] | None = None
        """What to try again while the disk refuses a batch."""
        self._retry_timer: asyncio.TimerHandle | None = None
        self._frame = b""
        """The frame that is being written or held; empty when there is none."""
        self._frame_callbacks: list[tuple[int, OnDurable]] = []
        self._frame_cuts: list[tuple[int, int]] = []
        self._frame_marks: list[Mark] = []

        self._is_full = False
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
            wal._chain.leave_a_segment()
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
        queue = self._queue
        queue.add(records, on_durable)
        if not self._frame:
            taken_count = queue.taken_count
            self._next_frame()
            if not queue.items or queue.taken_count > taken_count:
                return
        queue.weigh(records)  # Behind the frame under way, or behind a segment that is created.

    def compacted(self, group: int, index: int, term: int) -> None:
        """A snapshot of this replica's own state at `index` is durable; `term` is the entry's.

        The entries up to it are dropped, and segments that are no longer needed are removed.
        """
        self._mark(Mark(group, MarkKind.COMPACTED, index, term))

    def installed(self, group: int, index: int, term: int) -> None:
        """A snapshot that came from a leader is durable; it replaces the group's whole log.

        The next entry of the group is `index` + 1.
        """
        self._mark(Mark(group, MarkKind.INSTALLED, index, term))

    def hard_state(self, group: int) -> HardState:
        """The newest that is durable here, or on its way to the disk; the zero one if there is
        none."""
        return self._states.hard_states.get(group, NO_HARD_STATE)

    def forget(self, group: int, on_durable: OnDurable) -> None:
        """Drop everything of a group that has left this node, its hard state too.

        The host deletes the group's snapshot after `on_durable`, not before: a log that was
        dropped up to a snapshot that is not there does not start.
        """
        self._mark(Mark(group, MarkKind.FORGOTTEN, 0, 0), on_durable)

    def _mark(self, mark: Mark, on_durable: OnDurable | None = None) -> None:
        assert not self._is_closing, "marked after close"
        self._queue.add_mark(mark, on_durable)
        if not self._frame:
            self._next_frame()

    @property
    def queued_count(self) -> int:
        """Records waiting for a write, without those being written."""
        return len(self._queue.items)

    @property
    def queued_bytes(self) -> int:
        """Payload bytes of the entries that wait for a write; see `QUEUED_BYTES_MAX`."""
        return self._queue.payload_bytes

    # --- one frame at a time

    def _next_frame(self) -> None:
        """Turn what is pending into a frame and write it. Called when no frame is under way."""
        if self._failure is not None or self._held_action is not None:
            return  # What is held goes first: `retry` comes back here.
        queue = self._queue
        if not queue.items:
            for _, callback in queue.take_callbacks():  # Of appends without records.
                self._timers().call_soon(callback)
            self._nothing_waits()
            return
        chain = self._chain
        if not chain.takes_more():
            segment = chain.roll()
            if segment is None:
                if self._clock is not None and not self.waiting_since_ns:
                    self.waiting_since_ns = self._clock.monotonic_ns()
                self._create()
                return  # `_created` comes back here.
            self._states.touched = segment.last_indexes
        file = chain.file
        assert file is not None
        items = queue.take()
        self._frame_callbacks = queue.take_callbacks()
        states = self._states
        head = None
        if file.size == SEGMENT_HEADER_BYTES:
            head = states.head(chain.previous_end)
        try:
            self._frame_marks = states.take(items)
        except ValueError as error:  # Entries that do not follow: a bug, and not one to persist.
            self._not_written(error, self._write)
            return
        if states.cuts:
            self._frame_cuts = states.cuts
            states.cuts = []
        frame_items: Sequence[Item] = items if head is None else [head, *items]
        self._frame = encode_frame(frame_items, file.size, chain.salt)
        self._write()

    def _write(self) -> None:
        file = self._chain.file
        assert file is not None
        if self._clock is not None:
            self.waiting_since_ns = self._clock.monotonic_ns()
        file.append(self._frame, self._written)

    def _written(self, error: BaseException | None) -> None:
        """The frame is durable, or it is not."""
        if error is not None:
            self._not_written(error, self._write)
            return
        if self._clock is not None:
            self.observe_sync((self._clock.monotonic_ns() - self.waiting_since_ns) / 1e9)
            self.waiting_since_ns = 0
        self.sync_count += 1
        chain = self._chain
        segment = chain.frame_written()
        if segment.frame_count == 1:
            self.on_segment(segment.sequence, chain.salt)
        if self._frame_cuts or self._frame_marks:
            chain.marks_durable(self._frame_cuts, self._frame_marks)
            self._frame_cuts = []
            self._frame_marks = []
        callbacks = self._frame_callbacks
        self._frame_callbacks = []
        self._frame = b""
        # The disk goes to work again before the loop does: the two then work side by side.
        self._next_frame()
        if chain.spare is None and chain.is_half_full():
            self._create_ahead()
        if self._is_full:
            self._is_full = False
            self.held_why = None
            chain.has_create_failed = False
            self.on_full(False)
        if chain.wants_removal:
            chain.remove_covered()
        for _, callback in callbacks:
            callback()

    def _not_written(self, error: BaseException, retry: Callable[[], None]) -> None:
        """Hold everything and try again when the disk refuses it; give up for good otherwise."""
        self.waiting_since_ns = 0
        if isinstance(error, DiskRefused) and not self._is_closing:
            self._take_held()  # One timer is enough.
            self.held_why = error
            self._held_action = retry
            self._retry_timer = self._timers().call_later(self._retry_seconds, self.retry)
            if not self._is_full:
                self._is_full = True
                self.on_full(True)
            return
        self._failure = error
        self._nothing_waits()
        if not isinstance(error, DiskRefused):
            self.on_failed(error)

    def retry(self) -> None:
        """Try what is held once more, now: there may be room. Nothing is held: nothing happens."""
        action = self._take_held()
        if action is None:
            return
        if self._is_closing:
            self._failure = self._failure or DiskFull("closed while the disk was full")
            self._nothing_waits()
        else:
            action()

    def _take_held(self) -> Callable[[], None] | None:
        action, self._held_action = self._held_action, None
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        return action

    # --- segments

    def _create_ahead(self) -> None:
        has_failed = self._chain.has_create_failed or self._failure is not None
        if not has_failed and not self._is_closing:
            self._create()

    def _create(self) -> None:
        self._chain.create(self._created)

    def _created(self, error: BaseException | None) -> None:
        is_needed = not self._frame and bool(self._queue.items)
        if self._is_closing and not is_needed:
            self._chain.close_spare()
        elif error is None:
            if is_needed:
                self._take_held()  # It waited for this, whoever had it created.
                self._next_frame()
        elif is_needed or not isinstance(error, DiskRefused):
            self._not_written(error, self._create)
        else:
            self._chain.has_create_failed = True

    @property
    def bytes_total(self) -> int:
        """Length of all segments together, without zeros."""
        return self._chain.bytes_total

    def files(self) -> list[str]:
        """Paths of the segments that have to be there."""
        return self._chain.files()

    def pinned_groups(self) -> list[int]:
        """The groups that hold back the oldest segment, while the log is longer than its maximum;
        when room is wanted, those that hold back any closed one.

        A snapshot of each of them, then `compacted`, lets the segment go.
        """
        return self._chain.pinned_groups(wants_room=self.wants_room)

    def make_room(self) -> None:
        """Close the present segment early, if it holds something worth it, so that it can go."""
        if self._failure is None and self._chain.close_early():
            self._create_ahead()

    def settle(self) -> None:
        """Have old segments go that wait for one more write to the newest one, when none comes."""
        chain = self._chain
        waits = chain.wants_removal and len(chain.segments) >= 2
        if not waits or self._frame or self._queue.items:
            return
        if chain.segments[-1].frame_count < 2 and chain.durable_bases:
            # What the log says already, said again: a mark changes nothing but its frame is there.
            group = min(chain.durable_bases)
            self._mark(Mark(group, MarkKind.COMPACTED, *self._states.bases[group]))
        else:
            chain.remove_covered()

    # --- the end

    async def close(self) -> None:
        """Wait until everything appended is durable (or cannot be), then close the file."""
        self._is_closing = True
        if (self._frame or self._queue.items) and self._failure is None and not self._is_full:
            self._idle = self._timers().create_future()
            await self._idle
        self._chain.close()

    def _nothing_waits(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _timers(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop


def _ignore(_: object) -> None:
    pass


def _ignore_segment(sequence: int, salt: int) -> None:
    pass
