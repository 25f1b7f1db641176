"""A replica's state as the bytes of a snapshot: made in one way for every use.

The disk and a follower that is too far behind for the log get the same `SnapshotSource`. The state
is taken as it is now (`StateMachine.view`) and encoded one piece per turn of the loop, since the
whole of it may be gigabytes. The pieces stay in memory until the last reader lets go of the source.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from quorumcache.node.consensus.values import Role, SnapshotSource
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.pacing import PacedSource, Rate
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock

KEEP_ENTRIES = 256
"""Entries kept in memory behind a snapshot, for followers that are a little behind."""

COPIES_MAX = 8
"""Snapshots that are made and sent at a time. Each has one chunk under way, of 256 KiB: a turn in
which all are answered sends 2 MiB, which takes 1 to 3 ms."""

COPY_STILL_NS = 1_000_000_000
"""A copy that has not moved for so long gives its place to another: its receiver is gone, or busy
with what it has. It goes on all the same."""

log = get_logger("host")


class OnePerTurn:
    """Makes one call per turn of the loop, in the order in which they were asked for.

    A replica that comes back after a while wants the states of many groups at a time: a piece of
    each in every turn would hold up all that those groups do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        """The first one is due, or being made."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Make a call when all that were asked for before are made."""
        self._calls.append(call)
        if len(self._calls) == 1:
            self._loop.call_soon(self._make_one)

    def _make_one(self) -> None:
        try:
            self._calls[0]()
        finally:
            self._calls.popleft()
            if self._calls:
                self._loop.call_soon(self._make_one)


class SnapshotEncoder:
    """Encodes a group's present state. `done` gets the source, `failed` what went wrong."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | OnePerTurn,
        group: ReplicaGroup,
        done: Callable[[SnapshotSource], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._meta = group.log.snapshot_meta(group.applied_index)
        self._machine = group.machine
        self._view = self._machine.view()
        self._chunks: Iterator[bytes] = self._machine.encode_view(self._view)
        self._pieces: list[bytes] = []
        self._done = done
        self._failed = failed
        self._is_cancelled = False
        loop.call_soon(self._encode_one)

    def cancel(self) -> None:
        """Stop encoding without a callback, and free the memory. Does nothing once it is done."""
        self._is_cancelled = True
        self._end()
        self._pieces = []

    def _end(self) -> None:
        self._chunks = iter(())
        self._machine.end_view(self._view)

    def _encode_one(self) -> None:
        if self._is_cancelled:
            return
        try:
            piece = next(self._chunks, None)
            if piece is None:
                self._end()
                self._done(SnapshotSource(self._meta, self._pieces))
                return
        except BaseException as error:
            self._end()
            self._failed(error)
            raise
        self._pieces.append(piece)
        self._loop.call_soon(self._encode_one)


async def snapshot_of(loop: asyncio.AbstractEventLoop, group: ReplicaGroup) -> SnapshotSource:
    """A snapshot of the group's state as it is at the call."""
    made: asyncio.Future[SnapshotSource] = loop.create_future()

    def done(source: SnapshotSource) -> None:
        if not made.done():  # It may be cancelled in the same turn, a moment before.
            made.set_result(source)

    def failed(error: BaseException) -> None:
        if not made.done():
            made.set_exception(error)

    encoder = SnapshotEncoder(loop, group, done, failed)
    try:
        return await made
    finally:
        encoder.cancel()  # If the caller is: a node that stops does not wait for it.


class CopyUnderWay:
    """A snapshot on its way to one replica."""

    __slots__ = ("_group", "_moved_bytes", "_moved_ns", "_replica")

    def __init__(self, group: ReplicaGroup, replica: int, now_ns: int) -> None:
        self._group = group
        self._replica = replica
        self._moved_bytes = 0
        """What the replica held of it at the last look."""
        self._moved_ns = now_ns
        """When that changed."""

    def takes_place(self, now_ns: int) -> bool:
        """It is being sent, and moves."""
        status = self._group.log.progress().get(self._replica)
        if status is None or status.state != "snapshot":
            return False
        if status.snapshot_bytes != self._moved_bytes:
            self._moved_bytes = status.snapshot_bytes
            self._moved_ns = now_ns
        return now_ns - self._moved_ns < COPY_STILL_NS


class SnapshotSender:
    """Gives leaders the snapshots that they want for followers (Raft thesis 5).

    Followers of one group that ask while its snapshot is being made share it. A replica set that
    comes back wants all groups at a time; they wait for their turn, so that no turn of the loop has
    a chunk of each to send, and the memory that is free when all have theirs is not much.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        mark_dirty: Callable[[ReplicaGroup], None],
        failed: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        self.rate = Rate()
        """Of all copies to learners together."""
        self._clock = clock
        self._turns = OnePerTurn(loop)
        self._counters = counters
        self._mark_dirty = mark_dirty
        self._failed = failed
        self._waiting: dict[int, ReplicaGroup] = {}
        """Groups whose snapshot is wanted and not begun, in the order in which they asked."""
        self._wanted: dict[int, list[int]] = {}
        """Groups whose snapshot waits or is being made, to the replicas that it is for."""
        self._encoders: dict[int, SnapshotEncoder] = {}
        """Groups whose snapshot is being made."""
        self._under_way: list[CopyUnderWay] = []
        """What was given to leaders, and takes a place."""
        self._copies: dict[int, dict[int, int]] = {}
        """By group: how many copies each of its present learners was sent."""

    def want(self, group: ReplicaGroup, replica: int) -> None:
        """Have the present state sent to a replica; the group asks again if that leads nowhere."""
        group_id = group.group_id
        replicas = self._wanted.get(group_id)
        if replicas is not None:
            if replica not in replicas:
                replicas.append(replica)
            return
        self._wanted[group_id] = [replica]
        self._waiting[group_id] = group
        self._begin()

    def look(self) -> None:
        """Begin what waits for a place that has become free: called in every tick."""
        if self._under_way:
            now_ns = self._clock.monotonic_ns()
            self._under_way = [copy for copy in self._under_way if copy.takes_place(now_ns)]
        if self._waiting:
            self._begin()

    def forget(self, group_id: int) -> None:
        """The group has left this node: its snapshot is for nobody."""
        self._waiting.pop(group_id, None)
        self._wanted.pop(group_id, None)
        self._copies.pop(group_id, None)
        encoder = self._encoders.pop(group_id, None)
        if encoder is not None:
            encoder.cancel()

    def stop(self) -> None:
        """Nothing is sent any more."""
        self._waiting.clear()
        for encoder in self._encoders.values():
            encoder.cancel()

    def _begin(self) -> None:
        while self._waiting and len(self._encoders) + len(self._under_way) < COPIES_MAX:
            group_id = next(iter(self._waiting))
            group = self._waiting.pop(group_id)
            if group.log.role is not Role.LEADER:
                del self._wanted[group_id]  # The leader of now makes its own.
                continue
            self._encoders[group_id] = SnapshotEncoder(
                self._turns, group, partial(self._provide, group), self._failed
            )

    def _provide(self, group: ReplicaGroup, source: SnapshotSource) -> None:
        replicas = self._wanted.pop(group.group_id)
        del self._encoders[group.group_id]
        if group.log.role is not Role.LEADER:
            self._copies.pop(group.group_id, None)
            return  # The leader of now makes its own.
        before = self._copies.get(group.group_id, {})
        copies = {learner: before.get(learner, 0) for learner in group.log.configuration.learners}
        self._copies[group.group_id] = copies
        index = source.meta.last_index
        now_ns = self._clock.monotonic_ns()
        for replica in replicas:
            self._counters.snapshots_sent += 1
            event(log, "info", "snapshot_sent", group=group.group_id, to=replica, index=index)
            given = self._paced(source, replica, copies) if replica in copies else source
            group.log.provide_snapshot(replica, given)
            self._under_way.append(CopyUnderWay(group, replica, now_ns))
        self._mark_dirty(group)

    def _paced(
        self, source: SnapshotSource, learner: int, copies: dict[int, int]
    ) -> SnapshotSource:
        copies[learner] += 1
        now_ns = self._clock.monotonic_ns
        return PacedSource(source, self.rate, now_ns, doublings=copies[learner] - 1)
