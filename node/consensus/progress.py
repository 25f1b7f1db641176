"""A leader's view of one member: what it holds, what to send next, how much is under way.

    PROBE      one Append at a time, until the point where the logs agree is known
    REPLICATE  optimistic: a window of Appends under way, `next_index` moves on when sending
    SNAPSHOT   the next entry is compacted away: a snapshot is wanted or being sent

Transitions happen only in the methods here; the leader keeps one Progress for itself as well,
of which it uses `match_index` and the echoes.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final

from quorumcache.node.consensus.catch_up import SNAPSHOTS_MAX, CatchUpWindow
from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.values import (
    Index,
    PeerStatus,
    ReplicaId,
    SendBudget,
    SnapshotSource,
)

SNAPSHOT_SILENT_CHECKS: Final = 10
"""Election timeouts without a word after which a snapshot is no longer kept for a member."""


class ProgressState(IntEnum):
    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


PROBE: Final = ProgressState.PROBE
REPLICATE: Final = ProgressState.REPLICATE
SNAPSHOT: Final = ProgressState.SNAPSHOT


class Progress:
    """See the module docstring. Invariant: 0 <= match_index < next_index."""

    __slots__ = (
        "budget",
        "doublings",
        "echo_ns",
        "echo_round",
        "first_sent_bytes",
        "first_sent_index",
        "has_place",
        "held_bytes",
        "held_index",
        "inflight_bytes",
        "inflight_count",
        "is_behind",
        "is_learner",
        "later_sent",
        "match_index",
        "next_index",
        "paused",
        "recent_active",
        "replica_id",
        "round_end",
        "silent_checks",
        "snapshot",
        "snapshot_asked_tick",
        "snapshot_heard_tick",
        "snapshot_moved",
        "snapshot_offset",
        "snapshot_repeats",
        "snapshot_sent_tick",
        "stalled_at",
        "stamp",
        "state",
        "window",
    )

    def __init__(
        self, replica_id: ReplicaId, next_index: Index, window: CatchUpWindow | None = None
    ) -> None:
        """`window`: shared with the other groups; without it, one of its own."""
        self.replica_id = replica_id
        self.match_index: Index = 0
        """Known to be durable there and equal to the leader's log. Never shrinks in a term."""
        self.next_index = next_index
        """Next entry to send."""
        self.is_learner = False
        """It is sent committed entries only."""
        self.budget: SendBudget | None = None
        """Of a learner: what bounds the entries that it is sent."""
        self.round_end: Index = next_index - 1
        """Of a learner, and of one that is behind: the end of the log when the present round began
        (Raft thesis 4.2.1). Below 0: none has begun."""
        self.doublings = 0
        """Of the same: rounds that have ended."""
        self.window = window if window is not None else CatchUpWindow()
        """For what it is sent while it is behind."""
        self.is_behind = True
        """It was lost sight of, and has not been sent all since that it lacked."""
        self.held_bytes = 0
        """What it takes of the window."""
        self.has_place = False
        """Its snapshot is one of those that the window counts."""
        self.held_index: Index = 0
        """REPLICATE only: Appends under way up to here are what it takes."""
        self.state = PROBE
        self.paused = False
        """PROBE only: an Append is under way. Cleared by its answer or by a heartbeat's."""
        self.recent_active = True
        """Heard from since the last check of the quorum; new members start with the benefit of
        the doubt."""
        self.inflight_count = 0
        """REPLICATE only: Appends under way."""
        self.inflight_bytes = 0
        """Of them."""
        self.first_sent_index: Index = 0
        """Last index of the oldest Append under way, if there is one. Usually it is the only one:
        then no object is made for it."""
        self.first_sent_bytes = 0
        self.later_sent: deque[tuple[Index, int]] = deque()
        """(last index, bytes) of the others, ascending. Invariant: inflight_count - 1 of them."""
        self.stalled_at: Index = 0
        """match_index at the previous heartbeat reply, to notice a lost Append at the log's end."""
        self.echo_ns = NEVER_NS
        """Newest `sent_ns` this member has echoed, by the leader's clock."""
        self.echo_round = 0
        """Newest read round this member has echoed."""
        self.stamp = 0
        """Stamp of this member's newest reply, by its own clock; 0 = none in this term."""
        self.silent_checks = 0
        """Checks of the quorum in a row before which nothing was heard from it."""
        self.snapshot: SnapshotSource | None = None
        """SNAPSHOT only: what is being sent; None = wanted from the shell."""
        self.snapshot_offset = 0
        """SNAPSHOT only: bytes the member is known to hold."""
        self.snapshot_moved = False
        """SNAPSHOT only: a chunk was sent or acknowledged since the last heartbeat reply."""
        self.snapshot_asked_tick = 0
        """SNAPSHOT only: tick at which the shell was asked for a snapshot."""
        self.snapshot_heard_tick = 0
        """SNAPSHOT only: tick at which it got on: it got a place, or from the shell what to send,
        or the member said that it holds more of it, or all."""
        self.snapshot_sent_tick = 0
        """SNAPSHOT only: tick at which the chunk under way was sent."""
        self.snapshot_repeats = 0
        """SNAPSHOT only: how often it was sent again."""

    def status(self) -> PeerStatus:
        return PeerStatus(
            self.match_index,
            self.next_index,
            self.state.name.lower(),
            self.recent_active,
            self.echo_ns,
            self.snapshot_offset,
        )

    # -- transitions -------------------------------------------------------------------

    def become_probe(self) -> None:
        """Back to one Append at a time from the known match on."""
        self.state = PROBE
        self.is_behind = True
        self.paused = False
        self.next_index = self.match_index + 1
        self._forget_inflight()
        self._forget_snapshot()

    def become_replicate(self) -> None:
        self.state = REPLICATE
        self.paused = False
        if self.budget is None:
            self.round_end = -1
        self.next_index = self.match_index + 1
        self._forget_inflight()
        self._forget_snapshot()

    def become_snapshot(self, tick: int) -> None:
        if self.state is REPLICATE and self.is_behind:
            self.doublings += 1  # The log was dropped before it had it.
        self.state = SNAPSHOT
        self.is_behind = True
        self.paused = False
        self._forget_inflight()
        self._forget_snapshot()
        self.snapshot_asked_tick = self.snapshot_heard_tick = tick

    def start_snapshot(self, snapshot: SnapshotSource) -> None:
        assert self.state is SNAPSHOT
        assert self.snapshot is None
        self.snapshot = snapshot
        self.snapshot_offset = 0
        self.snapshot_moved = False

    def checked(self) -> None:
        """A check of the quorum is through: the next interval begins.

        A member that was silent takes nothing of the window. One that stays silent gives the memory
        back that its snapshot takes; when it answers again it is sent a new one.
        """
        self.silent_checks = 0 if self.recent_active else self.silent_checks + 1
        if self.silent_checks:
            self.release()
        self.recent_active = False
        if self.silent_checks >= SNAPSHOT_SILENT_CHECKS:
            self._forget_snapshot()

    # -- what happened -----------------------------------------------------------------

    def sent(self, last_index: Index, size: int) -> None:
        """REPLICATE: entries up to `last_index` went out."""
        assert self.next_index <= last_index
        self.next_index = last_index + 1
        self.inflight_bytes += size
        self.inflight_count += 1
        if self.is_behind:
            self.hold(self.held_bytes + size)
            self.held_index = last_index
        if self.inflight_count == 1:
            self.first_sent_index = last_index
            self.first_sent_bytes = size
        else:
            self.later_sent.append((last_index, size))

    def acknowledged(self, match_index: Index) -> bool:
        """The member holds everything up to `match_index`. True if that is news."""
        while self.inflight_count and self.first_sent_index <= match_index:
            self.inflight_bytes -= self.first_sent_bytes
            self.inflight_count -= 1
            if self.first_sent_index <= self.held_index:
                self.hold(self.held_bytes - self.first_sent_bytes)
            if self.inflight_count:
                self.first_sent_index, self.first_sent_bytes = self.later_sent.popleft()
        if match_index <= self.match_index:
            return False
        self.match_index = match_index
        if self.next_index <= match_index:
            self.next_index = match_index + 1
        return True

    def rejected(self, prev_index: Index, retry_index: Index) -> bool:
        """The member refused what follows `prev_index`; the logs agree below `retry_index` at best.

        False if the refusal is an old one and means nothing any more. Else the state is PROBE and
        `next_index` is where to try again.
        """
        if self.state is REPLICATE:
            if prev_index <= self.match_index:
                return False  # overtaken by an acknowledgement
            self.become_probe()
            return True
        if self.state is not PROBE or prev_index != self.next_index - 1:
            return False  # only the answer to the one probe under way counts
        self.next_index = max(min(prev_index, retry_index), self.match_index + 1)
        self.paused = False
        self.release()
        return True

    def may_send(self, wanted: int, now_ns: int, window_bytes_max: int) -> int:
        """How many of `wanted` bytes of entries may go now; 0: none before some time."""
        if self.is_behind:
            wanted = self.room(wanted, window_bytes_max)
            if not wanted:
                return 0
        budget = self.budget
        return wanted if budget is None else budget.take(wanted, now_ns, self.doublings)

    def room(self, wanted: int, window_bytes_max: int) -> int:
        """How many of `wanted` bytes its window has room for, while it is behind."""
        return self.window.room(wanted, window_bytes_max, self.doublings)

    def snapshot_room(self, wanted: int, window_bytes_max: int) -> int:
        """The same for bytes of a snapshot, of which fewer are on their way."""
        return self.window.room(wanted, window_bytes_max, self.doublings, SNAPSHOTS_MAX)

    def arrived(self) -> None:
        """It was sent all that it lacked."""
        self.is_behind = False
        if self.budget is None:
            self.doublings = 0

    def begin_round(self, last_index: Index) -> None:
        """If a learner, or one that is behind, holds what the log had when its round began, and
        more has come: the next round goes twice as fast.

        So it arrives however much is written meanwhile. What was there when it was added never goes
        faster than the budget says.
        """
        if self.match_index < self.round_end or (self.budget is None and not self.is_behind):
            return
        if last_index > self.match_index and self.round_end >= 0:
            self.doublings += 1
        self.round_end = last_index

    def has_room(self, appends_max: int, bytes_max: int) -> bool:
        """REPLICATE: may another Append be under way?"""
        return self.inflight_count < appends_max and self.inflight_bytes < bytes_max

    def hold(self, size: int) -> None:
        """It takes so many bytes of the window now."""
        self.window.under_way += size - self.held_bytes
        self.held_bytes = size

    def release(self) -> None:
        """It takes nothing of the window any more, whatever becomes of what was sent."""
        self.hold(0)
        self.held_index = 0

    def take_place(self, tick: int) -> bool:
        """Whether it may be sent a snapshot now: it counts from here on."""
        if not self.has_place and self.budget is None:
            if self.window.snapshots >= SNAPSHOTS_MAX:
                return False
            self.window.snapshots += 1
            self.has_place = True
            self.snapshot_heard_tick = tick
        return True

    def leave_place(self) -> None:
        """Another one may be sent its snapshot."""
        if self.has_place:
            self.window.snapshots -= 1
            self.has_place = False

    def leave_window(self) -> None:
        """Nobody looks at it any more."""
        self.release()
        self.leave_place()

    def _forget_inflight(self) -> None:
        self.release()
        self.later_sent.clear()
        self.inflight_count = 0
        self.inflight_bytes = 0

    def _forget_snapshot(self) -> None:
        self.leave_place()
        self.snapshot = None
        self.snapshot_repeats = 0
        self.snapshot_offset = 0
