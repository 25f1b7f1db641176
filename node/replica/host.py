"""All groups of one process: one turn is one batch.

Whatever happens between two turns (client requests, peer frames, ticks) marks groups dirty. `_turn`
drains them together, when `turns.py` says so, in the one legal order:

 1. queued commands become entries, and the `Ready` of each group that has one is taken;
 2. all groups' entries and hard states go to the shared log as one batch: one write, one sync;
 3. messages that promise nothing leave at once, so that followers sync while we do (thesis 10.2.1);
 4. committed entries are applied and their waiters answered;
 5. when the batch is durable, the groups hear of it and the messages that promise leave.

What is usual needs no `Ready` (`bundled.py`): new commands of leaders, and what comes in bundles,
which was taken in and applied before the turn. All messages to one peer in a turn travel in one
frame. The host touches the disk only through the log and the snapshot store it was given, and
the network only through `Transport`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.api import Ready
from quorumcache.node.consensus.catch_up import CatchUpWindows
from quorumcache.node.consensus.errors import AcknowledgedEntriesLost
from quorumcache.node.consensus.transport import Transport
from quorumcache.node.consensus.values import Message, Role, SoftState
from quorumcache.node.errors import AcknowledgedDataLost
from quorumcache.node.replica.beating import BeatHost, GroupBeats
from quorumcache.node.replica.bundled import Led, OwedAnswer
from quorumcache.node.replica.evicting import Borrow, VictimLog
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.installing import Installation, SnapshotInstaller
from quorumcache.node.replica.snapshotting import SnapshotSender
from quorumcache.node.replica.ticking import Ticker
from quorumcache.node.replica.turn_bounds import TurnBounds
from quorumcache.node.replica.turns import Turns
from quorumcache.node.state_machine import ITEM_BYTES_MAX, group_name
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.queue import QUEUED_BYTES_MAX

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.storage.snapshots import SnapshotStore
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal

log = get_logger("host")
_new: Final = tuple.__new__  # see consensus/raft/proposals.py

TICKS_AT_ONCE_MAX: Final = 3
"""Ticks made up for in one turn after a pause.

The rest is dropped: what arrived during the pause (a leader's heartbeats) must be read before
an election timeout can run out, and a late tick only makes promises to a leader last longer,
never shorter.
"""


class ReplicaHost(BeatHost):
    """Owner of this node's replicas."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        wal: Wal | MemoryWal,
        snapshots: SnapshotStore | None,
        transport: Transport,
        counters: Counters,
        tick_ms: int,
        on_leader_change: Callable[[int], None],
        on_fatal: Callable[[BaseException], None],
        give_back: Callable[[], None],
        time: ClusterTime | None = None,
        item_bytes_max: int = ITEM_BYTES_MAX,
        evicts: bool = True,
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.time = time or ClusterTime(clock)
        """Which time it is for items; the same for all groups."""
        self.item_bytes_max = item_bytes_max
        """This node's limit, which it puts into what it proposes."""
        self.evicts = evicts
        self.victim_log: VictimLog | None = None  # While somebody watches evictions.
        self.borrow: Borrow | None = None
        self.may_use_new_ops = False  # By the newest map that this node has learned.
        self.wal = wal
        self.snapshots = snapshots
        self.counters = counters
        self.tick_ms = tick_ms
        self.on_leader_change = on_leader_change
        self.on_fatal = on_fatal
        self.transport = transport
        self.groups: dict[int, ReplicaGroup] = {}
        self.bytes_used = 0
        """Memory of all items here, by the store's cost model."""
        self.disk_trouble = ""
        """Why the log cannot be written now, in words; empty when it can."""
        self.disk_hangs = False
        """The disk does not answer: nothing can be written at all."""
        self.log_is_behind = False
        """So much waits for the disk that nothing more is taken in (`QUEUED_BYTES_MAX`)."""
        self.log_is_full = False
        """Entries take too much memory: nothing is proposed (`Snapshots`). Those of other leaders
        are taken: the log may need them to commit what it holds, and so to free it."""
        self.held_why = ""
        """Why nothing may be proposed, by one of the two."""
        self.stopped = False
        self._sender = SnapshotSender(loop, counters, self.mark_dirty, on_fatal, clock)
        self.copy_rate = self._sender.rate
        """Of what goes to learners: snapshots and entries."""
        self._catch_up = CatchUpWindows()
        self._installer = SnapshotInstaller(loop, counters, self._installed, on_fatal, give_back)
        self.followed = []
        self.owed = []
        self.led = []
        self.bounds = TurnBounds()
        self._dirty: list[ReplicaGroup] = []
        self._turns = Turns(loop, clock, counters, self._turn, transport.flush)
        self.ticker = Ticker(loop, clock, tick_ms, self._pass_ticks, on_fatal)
        self._every_tick: list[Callable[[], None]] = []

    @property
    def may_evict(self) -> bool:
        """Whether shards that this node leads may evict; if not, it refuses what does not fit."""
        return self.evicts and self.may_use_new_ops

    # -- groups ------------------------------------------------------------------------

    def add_group(self, group: ReplicaGroup) -> None:
        """Take a replica in; it runs from the next turn on."""
        if group.group_id in self.groups:
            raise AssertionError(f"group {group.group_id} added twice")
        self.groups[group.group_id] = group
        self.bytes_used += group.machine.bytes_used
        group.log.pace_learners(self.copy_rate)
        group.log.share_catch_up(self._catch_up)
        group.log.send_beats_by(GroupBeats(group.group_id, self.transport))
        self.mark_dirty(group)

    def remove_group(self, group_id: int) -> None:
        """Stop a replica at once: no ticks, turns or messages any more, and those who wait for it
        hear so. What it has written stays; `removal.py` says how that goes. Not to be called from
        within a turn.
        """
        group = self.groups.pop(group_id)
        self.bytes_used -= group.machine.bytes_used
        group.is_removed = True
        self._dirty = [other for other in self._dirty if other is not group]
        group.dirty = True  # It never gets into the list again.
        self.followed = [record for record in self.followed if record.group != group_id]
        self._sender.forget(group_id)
        self._installer.forget(group_id)
        group.log.step_down()  # Whoever still holds the group finds no leader.
        if group.led_term:
            self.counters.leaderships_lost += 1
            group.led_term = 0
        group.leadership_lost("the replica has left this node")
        group.machine.retire()
        self.on_leader_change(group_id)

    def mark_dirty(self, group: ReplicaGroup) -> None:
        """Have the group drained at the end of this turn."""
        if not group.dirty:
            group.dirty = True
            self._dirty.append(group)
            self.turn_soon()

    def turn_soon(self) -> None:
        """Have a turn at the end of this turn of the loop."""
        self._turns.want_turn()

    def fail(self, error: BaseException) -> None:
        """This node has to end."""
        self.on_fatal(error)

    def flush_soon(self) -> None:
        """Have the peers' frames sent at the end of this turn."""
        self._turns.want_flush()

    def flush_now(self) -> None:
        """Have them sent at once if nothing else is due to be."""
        self._turns.flush_now()

    # -- input -------------------------------------------------------------------------

    def step(self, node_id: int, group_id: int, message: Message, grows_log: bool) -> None:
        """Take in what another node's replica of a group says. `grows_log`: it carries entries.

        Raises PeerFrameError if the message is malformed.
        """
        group = self.groups.get(group_id)
        if group is None or self.disk_trouble or (self.log_is_behind and grows_log):
            # No replica here (yet), or nothing it asks for could be made durable (soon). The
            # sender repeats what matters.
            return
        replica = group.log
        try:
            replica.step(node_id, message)
        except AcknowledgedEntriesLost as lost:
            error = AcknowledgedDataLost(group_name(group_id), str(lost))
            self.on_fatal(error)
            raise error from lost
        except Exception as error:
            self.transport.check(message)
            self.on_fatal(error)  # Not the peer's fault: nothing that this log says counts now.
            raise
        try:
            self.advance(group)
        except BaseException as error:
            self.on_fatal(error)
            raise

    def peer_unreachable(self, node_id: int) -> None:
        """The connection to a node was refused or reset: its replicas may be gone."""
        for group in self.groups.values():
            group.log.peer_unreachable(node_id)
            self.mark_dirty(group)

    def start_ticking(self, every_tick: list[Callable[[], None]]) -> None:
        """Begin to pass time to the groups, and to `every_tick` after them."""
        self._every_tick = every_tick
        self.ticker.start()

    def _pass_ticks(self, now_ns: int, due: int) -> None:
        for _ in range(0 if self.disk_trouble else min(due, TICKS_AT_ONCE_MAX)):
            self.pass_tick(now_ns)
        for call in self._every_tick:
            call()

    # -- the turn ----------------------------------------------------------------------

    def _turn(self) -> None:
        """Drain every dirty group; see the module docstring for the order."""
        if self.stopped:
            return
        try:
            self._drain()
        except BaseException as error:
            self.on_fatal(error)
            raise

    def _drain(self) -> None:
        dirty, self._dirty = self._dirty, []
        records = self.followed  # `propose` adds to it.
        waiting: list[tuple[ReplicaGroup, Ready]] = []
        held_over: list[ReplicaGroup] = []
        self.bounds.begin()
        for group in dirty:
            if self.bounds.is_spent and self.is_behind(group):
                held_over.append(group)
                continue
            group.dirty = False
            if group.installing and not self._installer.has_room(group.group_id):
                continue  # Marked dirty again when its snapshot is durable.
            replica = group.log
            is_due = self.propose(group) if group.queue or group.reads_queued else True
            if not is_due or not replica.has_ready():
                self.settle(group)
                continue
            ready = replica.ready()
            if ready.snapshot is not None:
                if ready.messages:
                    self.transport.send(group.group_id, ready.messages, self.ticker.done)
                self._install(group, ready)
                continue
            if group.installing:
                if ready.entries or ready.hard_state is not None or ready.messages_after_append:
                    self._installer.hold(group.group_id, ready)
            elif ready.entries or ready.hard_state is not None:
                fields = (group.group_id, ready.hard_state, ready.entries)
                records.append(_new(WalRecord, fields))
                group.unpersisted += 1
                waiting.append((group, ready))
            elif ready.messages_after_append:
                if group.unpersisted:
                    group.unpersisted += 1
                    waiting.append((group, ready))
                else:
                    late = ready.messages_after_append
                    self.transport.send(group.group_id, late, self.ticker.done)
            if ready.messages:
                self.transport.send(group.group_id, ready.messages, self.ticker.done)
            if ready.committed_entries:
                self.apply(group, ready.committed_entries)
            if ready.soft_state is not None:
                self._role_changed(group, ready.soft_state)
            for context, read_index in ready.read_states:
                group.reads_confirmed(context, read_index)
            if ready.failed_reads:
                group.reads_failed(ready.failed_reads)
            if ready.snapshot_wanted:
                for peer in ready.snapshot_wanted:
                    self._sender.want(group, peer)
            self.settle(group)
        if held_over:
            self._dirty = held_over + self._dirty
            self.turn_soon()
        self.followed = []
        led, self.led = self.led, []
        owed, self.owed = self.owed, []
        if waiting or owed or led:
            self.wal.append(records, lambda: self._durable(waiting, owed, led))
            self._look_at_log()
        self.transport.flush()

    def set_log_full(self, is_full: bool) -> None:
        """The entries of all groups take too much memory, or no longer do."""
        self.log_is_full = is_full
        self._look_at_log()

    def _look_at_log(self) -> None:
        self.log_is_behind = self.wal.queued_bytes > QUEUED_BYTES_MAX
        if self.log_is_behind:
            self.held_why = "the disk of the node does not keep up"
        elif self.log_is_full:
            self.held_why = "the log of the node takes too much memory: a snapshot is under way"
        else:
            self.held_why = ""

    def _durable(
        self, waiting: list[tuple[ReplicaGroup, Ready]], owed: list[OwedAnswer], led: list[Led]
    ) -> None:
        """A batch is on disk: acknowledge it to the groups, send what promised it."""
        if self.stopped:
            return
        self._look_at_log()
        try:
            self.led_durable(led)
            self._acknowledge(waiting)
            if owed:
                self.bundles_durable(owed, self.ticker.done)
        except BaseException as error:
            self.on_fatal(error)
            raise

    def _acknowledge(self, waiting: list[tuple[ReplicaGroup, Ready]]) -> None:
        for group, ready in waiting:
            if group.is_removed:
                continue  # Its removal is under way: it promises nothing any more.
            group.unpersisted -= 1
            if ready.messages_after_append:
                self.transport.send(group.group_id, ready.messages_after_append, self.ticker.done)
                self.flush_soon()
            replica = group.log
            replica.persisted(ready.last_index, ready.last_term)
            self.advance(group)

    def _role_changed(self, group: ReplicaGroup, state: SoftState) -> None:
        if group.led_term and (state.role is not Role.LEADER or state.term != group.led_term):
            self.counters.leaderships_lost += 1
            group.led_term = 0
            group.leadership_lost()
            group.machine.lead(False, 0)
        if state.role is Role.LEADER:
            self.time.bridge()  # Before anything is read or stamped under this leadership.
            if not group.led_term:
                self.counters.elections_won += 1
                if group.stood_term != state.term:  # Alone, it wins in the turn it stands in.
                    self.counters.elections += 1
                group.machine.lead(True, group.now_ms())
            group.led_term = state.term
        elif state.role is Role.CANDIDATE:
            self.counters.elections += 1
            group.stood_term = state.term
        event(
            log,
            "debug",
            "role",
            group=group.group_id,
            role=state.role.name.lower(),
            term=state.term,
            leader=state.leader_id,
        )
        self.on_leader_change(group.group_id)

    # -- snapshots between replicas ------------------------------------------------------

    def _install(self, group: ReplicaGroup, ready: Ready) -> None:
        """Our leader sent its state: see `installing.py`."""
        if ready.soft_state is not None:
            self._role_changed(group, ready.soft_state)
        if ready.failed_reads:
            group.reads_failed(ready.failed_reads)
        self._installer.begin(group, ready, self.wal, self.snapshots)

    def _installed(self, installation: Installation) -> None:
        """A snapshot is durable: acknowledge it, and write what was held back meanwhile."""
        group, ready, held = installation.group, installation.ready, installation.held
        try:
            assert ready.snapshot is not None
            group.log.snapshot_installed(ready.snapshot.meta)
            self.transport.send(group.group_id, ready.messages_after_append, self.ticker.done)
            group.log.persisted(ready.last_index, ready.last_term)
            if held:
                group.unpersisted += len(held)
                records = [
                    WalRecord(group.group_id, later.hard_state, later.entries)
                    for later in held
                    if later.entries or later.hard_state is not None
                ]
                waiting = [(group, later) for later in held]
                self.wal.append(records, lambda: self._durable(waiting, [], []))
            self.mark_dirty(group)
        except BaseException as error:
            self.on_fatal(error)
            raise

    # -- the disk ------------------------------------------------------------------------

    @property
    def log_writable(self) -> bool:
        """False while the disk is full or hangs."""
        return not self.disk_trouble

    def set_disk_trouble(self, why: str, *, hangs: bool = False) -> None:
        """The log cannot be written, as `why` says, or can be again ("").

        Meanwhile this node leads nothing, takes nothing in and stands for nothing: time stands
        still for its groups, which only makes their promises to leaders last longer. It answers
        no leader, either, so no leader hands it a leadership.
        """
        before, self.disk_trouble = self.disk_trouble, why
        self.disk_hangs = hangs
        if why == before:
            return
        if not why:
            event(log, "warning", "disk_well")
            return
        event(log, "error", "disk_trouble", why=why, action="leaderships_given_up")
        for group in self.groups.values():
            if group.is_leader:
                group.log.step_down()
                self.mark_dirty(group)

    # -- shutdown ------------------------------------------------------------------------

    def stop(self) -> None:
        """No more turns and ticks. What is not durable now was never promised."""
        self.stopped = True
        self._sender.stop()
        self._installer.stop()
        self.ticker.stop()
