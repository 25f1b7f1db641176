"""One replica of one group: the replicated log, the state machine it drives, and its waiters.

The group turns what clients ask into log entries and back: commands that arrive in one turn of
the loop become one entry (`propose_pending`), committed entries are applied in order (`apply`),
and each command's waiter is told its result. Reads are served from the state machine while the
leader's lease holds; otherwise they wait for a read index. It does no I/O: the host (`host.py`)
drains the log's `Ready`, in the one legal order, for all groups at once.

A waiter hears exactly one of: `on_result`, `on_refused` (certainly not executed here),
`on_lost` (leadership went while the command was in the log: it may or may not be executed).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from quorumcache.node.consensus.api import ReplicatedLog
from quorumcache.node.consensus.errors import NotLeader, ProposalDropped
from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.values import (
    Entry,
    EntryKind,
    Message,
    Role,
    SnapshotMeta,
    SnapshotSource,
)
from quorumcache.node.replica.evicting import EvictingGroup, EvictingHost, make_room
from quorumcache.node.replica.proposed import Proposed, apply_payload
from quorumcache.node.replica.read_rounds import ReadRounds
from quorumcache.node.state_machine import (
    NOT_USUAL,
    Command,
    ReadWaiter,
    StateMachine,
    Waiter,
    encode_batch,
)

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.cluster_time import ClusterTime

BATCH_BYTES_MAX: Final = 1 << 20
"""A turn's commands are cut into entries of about this size, so that one append stays one
message.
"""

INFLIGHT_BYTES_MAX: Final = 64 << 20
"""Commands proposed by one group and not yet committed; beyond it new ones are refused as busy."""

COMMAND_OVERHEAD_BYTES: Final = 64
"""Charged per command in flight on top of its key and value."""

_LEADER: Final = Role.LEADER
_NORMAL: Final = int(EntryKind.NORMAL)
"""Asked for with each request: to look them up in their classes would take longer than the
comparison."""

ENTRY_BYTES_MAX: Final = 32 << 20
"""No larger entry is proposed: it has to fit a frame to the followers together with those before it
(`append_bytes_max`). Commands that respect the limit on items stay far below (see `node.py`).
"""


class GroupHost(EvictingHost):
    """What a group needs of the process it lives in. A class and no `Protocol`: each batch asks it,
    and mypyc reads the fields of a class directly."""

    bytes_used: int
    clock: Clock
    time: ClusterTime
    item_bytes_max: int
    held_why: str  # nothing may be proposed now; "" = it may
    evicts: bool  # otherwise what does not fit is refused
    may_use_new_ops: bool  # every node of the cluster knows what came with maps of form 2

    def mark_dirty(self, group: ReplicaGroup) -> None:
        """Have the group drained at the end of this turn."""
        raise NotImplementedError

    def extended(self, group: ReplicaGroup, run: Message) -> None:
        """The group's log has taken a command by `ReplicatedLog.extend`, which returned `run`."""
        raise NotImplementedError


class ReplicaGroup(EvictingGroup):
    """A replica: `log` decides, `machine` remembers, waiters are told."""

    __slots__ = (
        "_inflight_bytes",
        "_lease_until_ns",
        "_proposed",
        "_rounds",
        "applied_index",
        "dirty",
        "fresh_ns",
        "group_id",
        "growing_bytes",
        "host",
        "installing",
        "is_removed",
        "led_term",
        "log",
        "log_bytes_since_snapshot",
        "machine",
        "queue",
        "reads_queued",
        "share_bytes",
        "snapshot_index",
        "stood_term",
        "unpersisted",
    )

    def __init__(
        self,
        group_id: int,
        log: ReplicatedLog,
        machine: StateMachine,
        host: GroupHost,
        snapshot: SnapshotMeta,
    ) -> None:
        self.group_id = group_id
        self.log = log
        self.machine = machine
        self.host = host
        self.applied_index = snapshot.last_index
        """Index of the last entry in `machine`. Invariant: applied_index <= log.commit_index."""
        self.snapshot_index = snapshot.last_index
        """Index of the newest durable snapshot."""
        self.log_bytes_since_snapshot = 0
        """Payload bytes applied after `snapshot_index`; decides when the next snapshot is due."""
        self.led_term = 0
        """Term in which waiters were taken on; 0 when not leader."""
        machine.lead(False, 0)
        self.stood_term = 0
        """Last term in which this replica was seen as a candidate."""
        self._lease_until_ns = 0
        machine.lend(0)
        self.fresh_ns = NEVER_NS
        """`machine` holds all that was committed before this moment of our clock (see
        `ReplicatedLog.fresh_ns`): readers that put up with some staleness ask for it."""
        self.share_bytes = 0
        """What the state may take before the leader evicts; 0: no bound is known."""
        self.growing_bytes = 0
        """By how much entries that were proposed here, and are not applied, let it grow."""
        self.dirty = False
        """Already in the host's list for the coming turn."""
        self.installing = False
        """The leader's snapshot is being restored and made durable (`installing.py`): nothing is
        applied, written or promised."""
        self.is_removed = False
        """It has left this node (`ReplicaHost.remove_group`). Nothing of it goes to the log, to the
        snapshots or to peers any more."""
        self.unpersisted = 0
        """Batches that the disk has not confirmed; messages that promise wait for 0."""
        self.queue: list[tuple[Command, Waiter, int]] = []
        """Commands of this turn, with their waiters and cost: `propose_pending` takes them."""
        self._proposed: dict[int, Proposed] = {}
        """By index, until they are applied or lost."""
        self._inflight_bytes = 0
        self.reads_queued: list[ReadWaiter] = []
        """Waiting for the next read round of the coming turn."""
        self._rounds = ReadRounds(log)

    # -- what others ask ---------------------------------------------------------------

    @property
    def role(self) -> Role:
        return self.log.role

    @property
    def term(self) -> int:
        return self.log.term

    @property
    def leader_id(self) -> int:
        return self.log.leader_id

    @property
    def commit_index(self) -> int:
        return self.log.commit_index

    @property
    def is_leader(self) -> bool:
        return self.log.role is _LEADER

    @property
    def lease_until_ns(self) -> int:
        """Reads may be served while the clock is below; 0 when not a leader that may serve."""
        return self._lease_until_ns

    @lease_until_ns.setter
    def lease_until_ns(self, until_ns: int) -> None:
        """Whoever reads the state without asking here has to know as well, at once."""
        if until_ns != self._lease_until_ns:
            self._lease_until_ns = until_ns
            self.machine.lend(until_ns)

    @property
    def evicts(self) -> bool:
        """Whether what does not fit here takes the place of other items; if not, it is refused."""
        return self.share_bytes > 0 and self.may_evict

    @property
    def may_evict(self) -> bool:
        """It evicts once it has a share."""
        return self.host.evicts and self.host.may_use_new_ops and self.is_leader

    def now_ms(self) -> int:
        """Cluster time: what a leader stamps, and by which every replica tells what has ended.

        It never goes back within a process, nor behind what the log has seen.
        """
        now_ms = self.host.time.now_ms()
        last_ms = self.machine.last_now_ms
        return now_ms if now_ms > last_ms else last_ms

    # -- writes ------------------------------------------------------------------------

    def submit(self, command: Command, size: int, waiter: Waiter) -> bool:
        """Queue a command for this turn's entry. `size`: bytes of its key and value. False: it was
        refused.

        Order of submission is the order in the log.
        """
        if self._inflight_bytes > INFLIGHT_BYTES_MAX:
            waiter.on_refused("too many writes in flight for this shard; retry more slowly")
            return False
        self._inflight_bytes += size + COMMAND_OVERHEAD_BYTES
        self.queue.append((command, waiter, size + COMMAND_OVERHEAD_BYTES))
        if not self.dirty:
            self.host.mark_dirty(self)
        return True

    def propose_pending(self) -> int:
        """Turn the queued commands into entries, and the queued reads into one read round.

        The number of entries that were proposed.
        """
        proposed = 0
        if self.queue:
            queue, self.queue = self.queue, []
            start = 0
            size = 0
            why = ""
            for position, (_, _, cost) in enumerate(queue):
                size += cost
                if size >= BATCH_BYTES_MAX:
                    why = self._propose(queue[start : position + 1], size, why)
                    proposed += 0 if why else 1
                    start, size = position + 1, 0
            if start < len(queue):
                why = self._propose(queue[start:] if start else queue, size, why)
                proposed += 0 if why else 1
        if self.reads_queued:
            waiters, self.reads_queued = self.reads_queued, []
            self._rounds.start(waiters, self.host.clock.monotonic_ns())
        return proposed

    def _propose(self, batch: list[tuple[Command, Waiter, int]], size: int, why: str) -> str:
        """Make an entry of commands. Returns why they were refused, "" when they were not.

        `why` those before them were: then so are these, even if there is room for them. What is
        refused is submitted again later, and would come to stand behind what was sent after it.
        """
        host = self.host
        time = host.time
        if not time.is_settled and self.is_leader:
            time.bridge()
        growth = 0
        if self.evicts and not why:
            growth = make_room(self, host, batch, size)
        commands = [item[0] for item in batch]
        now_ms, wall_ms = time.stamp()
        last_ms = self.machine.last_now_ms
        if last_ms > now_ms:
            now_ms = last_ms
        item_bytes_max = host.item_bytes_max
        why = why or host.held_why
        if not why:
            try:
                payload = encode_batch(now_ms, commands, wall_ms, item_bytes_max)
                if len(payload) > ENTRY_BYTES_MAX:
                    raise ProposalDropped(f"{len(payload)} bytes are too many for one log entry")
                run = self.log.extend(payload)
                index = self.log.propose(payload) if run is None else self.log.last_index
                if run is not None:
                    host.extended(self, run)
            except (NotLeader, ProposalDropped) as error:
                why = str(error)
        if why:
            self._inflight_bytes -= size
            for _, waiter, _ in batch:
                waiter.on_refused(why)
            return why
        waiters = [item[1] for item in batch]
        kept = None if self.machine.is_usual(commands[0]) else commands
        self._proposed[index] = Proposed(
            self.log.term, now_ms, kept, wall_ms, item_bytes_max, waiters, size, growth
        )
        self.growing_bytes += growth
        return ""

    # -- reads -------------------------------------------------------------------------

    def has_lease(self) -> bool:
        """May the state machine be read now? Checked after the request's bytes have arrived."""
        return self.host.clock.monotonic_ns() < self.lease_until_ns

    def when_readable(self, waiter: ReadWaiter) -> None:
        """Call the waiter once a linearizable read may be served here (Raft thesis 6.4)."""
        if not self.is_leader:
            waiter.on_refused("not the leader")
            return
        self.reads_queued.append(waiter)
        if not self.dirty:
            self.host.mark_dirty(self)

    def reads_confirmed(self, context: int, read_index: int) -> None:
        """The log confirmed a read round: its reads run once `read_index` is applied."""
        self._rounds.confirm(context, read_index, self.applied_index)

    def reads_failed(self, contexts: Iterable[int]) -> None:
        """The log can no longer confirm these rounds here."""
        self._rounds.fail(contexts)

    # -- what the log decided ----------------------------------------------------------

    def apply(self, entries: list[Entry]) -> None:
        """Apply committed entries in order and tell their waiters."""
        machine = self.machine
        is_new = False
        for entry in entries:
            index, term, kind, payload = entry
            if index != self.applied_index + 1:
                raise AssertionError(
                    f"group {self.group_id}: entry {index} applied after {self.applied_index}"
                )
            self.applied_index = index
            proposed = self._proposed.pop(index, None) if self._proposed else None
            if kind == _NORMAL:
                self.log_bytes_since_snapshot += len(payload)
                if proposed is not None and proposed.term != term:
                    self._lose(proposed)
                    proposed = None
                growth = machine.apply_usual(index, payload)
                if growth != NOT_USUAL:
                    self.host.bytes_used += growth
                    if proposed is not None:
                        self._inflight_bytes -= proposed.size
                        self.growing_bytes -= proposed.growth
                        proposed.answer_all(machine.usual_result)
                    else:
                        is_new = True
                    continue
                before = machine.bytes_used
                if proposed is not None:
                    results = proposed.apply_to(machine, index, payload)
                    self.host.bytes_used += machine.bytes_used - before
                    self._inflight_bytes -= proposed.size
                    self.growing_bytes -= proposed.growth
                    proposed.answer(results)
                else:
                    apply_payload(machine, index, payload)
                    self.host.bytes_used += machine.bytes_used - before
                    is_new = True
            elif proposed is not None:
                self._lose(proposed)
        if is_new:  # What this process stamped is no later than its own reading.
            self.host.time.found(machine.last_now_ms, machine.last_wall_ms)
        if self._rounds.confirmed:
            self._rounds.applied(self.applied_index)

    def update_lease(self) -> None:
        """Copy the log's lease, held back until this term's no-op is applied (thesis 6.4)."""
        log = self.log
        lease = log.lease_until_ns
        if self.applied_index < log.term_start_index:
            lease = 0
        if lease < self._lease_until_ns:  # A transfer begins: until now the state was current.
            now_ns = self.host.clock.monotonic_ns()
            self.fresh_ns = max(self.fresh_ns, min(self.lease_until_ns, now_ns))
        if lease != self._lease_until_ns:
            self.lease_until_ns = lease

    def update_freshness(self) -> None:
        """Copy what the log knows of the age of the state as it is applied now."""
        fresh_ns = self.log.fresh_ns(self.applied_index)
        if fresh_ns > self.fresh_ns:  # A lease of our own may have told more.
            self.fresh_ns = fresh_ns

    def staleness_ns(self, now_ns: int) -> int:
        """By how much the state may lag behind what is committed; 0 under a lease. Huge if nothing
        is known.

        While a lease held, no other replica committed anything: a leader was current until its end.
        """
        fresh_ns = self.fresh_ns
        lease_until_ns = self.lease_until_ns  # 0 is no moment, but none.
        if lease_until_ns and lease_until_ns > fresh_ns:
            fresh_ns = lease_until_ns
        return now_ns - fresh_ns if now_ns > fresh_ns else 0

    def leadership_lost(self, why: str = "leadership changed") -> None:
        """No longer leader: what was proposed may still be committed by a successor. `why`: told to
        those who are refused."""
        if self.lease_until_ns <= self.host.clock.monotonic_ns():
            # It ran out. One that did not ended at an unknown moment: a successor may have been
            # called, or our own vote given away.
            self.fresh_ns = max(self.fresh_ns, self.lease_until_ns)
        self.lease_until_ns = 0
        queue, self.queue = self.queue, []
        for _, waiter, cost in queue:
            self._inflight_bytes -= cost
            waiter.on_refused(why)
        proposed, self._proposed = self._proposed, {}
        for item in proposed.values():
            self._lose(item)
        reads, self.reads_queued = self.reads_queued, []
        for reader in reads:
            reader.on_refused(why)
        self._rounds.refuse(why)

    def _lose(self, proposed: Proposed) -> None:
        self._inflight_bytes -= proposed.size
        self.growing_bytes -= proposed.growth
        proposed.lost()

    # -- snapshots ---------------------------------------------------------------------

    def restoring(self, snapshot: SnapshotSource) -> Iterator[int]:
        """Replace the state by a snapshot's, a piece in each step, as a whole in the last one. The
        caller tells the log, and lets nothing be applied meanwhile."""
        machine = self.machine
        before = machine.bytes_used
        yield from machine.restoring(snapshot.pieces)
        self.host.time.found(machine.last_now_ms, machine.last_wall_ms)
        self.host.bytes_used += machine.bytes_used - before
        self.applied_index = self.snapshot_index = snapshot.meta.last_index
        self.log_bytes_since_snapshot = 0
