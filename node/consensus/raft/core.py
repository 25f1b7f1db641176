"""`Raft`: the public interface over the state; dispatch by term, then role, then content.

Message handling is a table of handlers; each checks the role first. The term is settled before,
in `step`: a handler only ever sees messages of the replica's own term (pre-votes aside).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from quorumcache.node.consensus.api import (
    BEAT_ODD,
    HANDED_OUT_BYTES,
    HANDED_OUT_MAX,
    BeatSink,
    ConsensusConfig,
    Ready,
)
from quorumcache.node.consensus.catch_up import CatchUpWindows
from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.log import EntryLog
from quorumcache.node.consensus.progress import REPLICATE
from quorumcache.node.consensus.raft import (
    configurations,
    election,
    heartbeats,
    membership,
    proposals,
    reads,
    replication,
    snapshots,
    transfer,
)
from quorumcache.node.consensus.raft.commit import maybe_commit
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.raft.roles import become_follower
from quorumcache.node.consensus.raft.state import RaftState, restart_election_timer, send_durable
from quorumcache.node.consensus.staleness import make_stamp
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Index,
    Message,
    PeerStatus,
    ReplicaId,
    Role,
    SendBudget,
    SnapshotMeta,
    SnapshotSource,
    SoftState,
    Term,
)

_LEADER: Final = Role.LEADER
_NO_HARD_STATE: Final = HardState(0, 0)

_HANDLERS: dict[type[Any], Callable[[RaftState, ReplicaId, Any], None]] = {
    PreVote: election.handle_pre_vote,
    PreVoteReply: election.handle_pre_vote_reply,
    Vote: election.handle_vote,
    VoteReply: election.handle_vote_reply,
    Append: replication.handle_append,
    AppendReply: replication.handle_append_reply,
    Heartbeat: heartbeats.handle_heartbeat,
    HeartbeatReply: heartbeats.handle_heartbeat_reply,
    SnapshotChunk: snapshots.handle_snapshot_chunk,
    SnapshotReply: snapshots.handle_snapshot_reply,
    TimeoutNow: election.handle_timeout_now,
}

_FROM_LEADER: Final = (Append, Heartbeat, SnapshotChunk, TimeoutNow)


class Raft(RaftState):
    """One Raft replica. Implements `node.consensus.api.ReplicatedLog`; see there."""

    __slots__ = ()

    def __init__(
        self,
        config: ConsensusConfig,
        random: Random,
        *,
        configuration: Configuration,
        hard_state: HardState = _NO_HARD_STATE,
        entries: Sequence[Entry] = (),
        snapshot: SnapshotMeta | None = None,
        applied_index: Index = 0,
        life: int = 0,
        is_stored: bool = True,
    ) -> None:
        """Start from what is durable.

        `configuration` is the first one of the group; a snapshot's, and any in `entries`, take
        precedence. `entries` are contiguous and reach back to the snapshot (those it covers are
        skipped). Entries <= `applied_index`, which are committed, are not handed out again.
        `life` is another number after each start of the process, and marks its clock's readings.
        `is_stored`: the log on the disk has the hard state, too; else it is to be written there
        before anything else.
        """
        config.validate()
        super().__init__(config, random, life)
        self.term, self.voted_for = hard_state
        self.hard_changed = not is_stored
        base_index, base_term = 0, 0
        if snapshot is not None:
            base_index, base_term, configuration = snapshot
            if base_term > self.term:
                # Committed entries are applied, and may be in a durable snapshot, before our own
                # copy of their term is durable. No vote of ours in that term ever left.
                self.term, self.voted_for = base_term, 0
                self.hard_changed = True
        self.log = EntryLog(base_index, base_term, entries)
        assert self.log.last_term <= self.term, "entries of a term that was never entered"
        self.commit_index = self.emitted_index = max(base_index, applied_index)
        assert self.commit_index <= self.log.last_index, "applied more than the log holds"
        configurations.configurations_restored(self, base_index, configuration)
        for entry in self.log.entries:
            if entry.kind == EntryKind.CONFIG:
                configurations.configuration_appended(self, entry.index, entry.payload)
        fresh = self.term == 0 and self.log.last_index == 0
        self.has_durable_state = not fresh
        restart_election_timer(self)
        if fresh:
            self.heard_tick = -config.election_ticks  # nothing was ever promised
        # Else a promise from before the restart may still bind us: count from the first tick.
        assert self.heard_ns == NEVER_NS

    # -- read-only views -----------------------------------------------------------------

    @property
    def first_index(self) -> Index:
        return self.log.first_index

    @property
    def last_index(self) -> Index:
        return self.log.last_index

    @property
    def log_bytes(self) -> int:
        return self.log.bytes

    def fresh_ns(self, applied_index: Index) -> int:
        return self.freshness.known_ns(applied_index)

    def progress(self) -> Mapping[ReplicaId, PeerStatus]:
        return {replica: p.status() for replica, p in self.members.items()}

    def snapshot_meta(self, index: Index) -> SnapshotMeta:
        assert index <= self.commit_index
        term = self.log.term_at(index)
        assert term is not None, f"{index} is compacted away"
        return SnapshotMeta(index, term, configurations.configuration_at(self, index))

    # -- inputs --------------------------------------------------------------------------

    def step(self, sender: ReplicaId, message: Message) -> None:
        kind = type(message)
        if message[0] != self.term and not self._settle_term(sender, message, kind):
            return
        _HANDLERS[kind](self, sender, message)

    def _settle_term(self, sender: ReplicaId, message: Message, kind: type[Any]) -> bool:
        """A message of another term. True if it is to be handled after all."""
        if isinstance(message, PreVote):
            return True  # carries a term that no replica has entered
        if isinstance(message, PreVoteReply) and message.granted:
            return True
        term = message[0]
        if term > self.term:
            if isinstance(message, Vote) and not election.may_vote(self, message.force):
                return False  # do not let it disturb a live leader, not even by its term
            become_follower(self, term, sender if kind in _FROM_LEADER else 0)
            return True
        if kind in _FROM_LEADER:
            # A leader that was replaced, or one whose followers' terms are behind ours: it has to
            # hear of our term, or we could never join again.
            send_durable(self, sender, AppendReply(self.term, 0, True, 0, 0))
        elif kind is Vote:
            send_durable(self, sender, VoteReply(self.term, False))
        return False  # all other old messages: the question has been settled since

    def follow(
        self,
        sender: ReplicaId,
        term: Term,
        prev_index: Index,
        prev_term: Term,
        commit_index: Index,
        entries: list[Entry],
    ) -> bool:
        # What was decided before, the term above all, has to be on its way to the disk: else it
        # could be written behind these entries.
        if term != self.term or not self.has_durable_state or self.has_ready():
            return False
        if self.installing is not None:
            return False  # Nor could they stand behind the snapshot, which is not in the log yet.
        return replication.follow(self, sender, prev_index, prev_term, commit_index, entries)

    def acknowledged(self, sender: ReplicaId, term: Term, match_index: Index) -> bool:
        return term == self.term and replication.handle_match(self, sender, match_index)

    def send_beats_by(self, sink: BeatSink) -> None:
        self.beat_sink = sink

    def hear_beat(
        self, sender: ReplicaId, term: Term, commit_index: Index, stamp: int, fresh_index: Index
    ) -> int:
        # Without a durable state the answer would have to wait for one.
        if term != self.term or self.leader_id != sender or not self.has_durable_state:
            return BEAT_ODD
        return heartbeats.hear_beat(self, commit_index, stamp, fresh_index)

    def beat_answered(
        self, sender: ReplicaId, term: Term, sent_ns: int, read_context: int, stamp: int
    ) -> None:
        if term == self.term:
            heartbeats.beat_answered(self, sender, sent_ns, read_context, stamp)

    def clock_stamp(self) -> int:
        return make_stamp(self.freshness.life, self.now_ns)

    def tick(self, now_ns: int) -> bool:
        ticks = self.ticks
        if self.heard_tick == ticks:
            self.heard_ns = now_ns
        if now_ns > self.now_ns:
            self.now_ns = now_ns
        ticks += 1
        self.ticks = ticks
        if ticks < self.deadline_tick:
            return False
        if self.role is _LEADER:
            heartbeats.leader_deadline(self)
            if self.handed_over_index and transfer.needs_new_term(self):
                election.begin_new_term(self)
        else:
            election.election_deadline(self)
        return True

    def propose(self, payload: bytes) -> Index:
        return proposals.propose(self, payload)

    def extend(self, payload: bytes) -> Message | None:
        # Earlier entries that wait for a Ready would stand behind this one in the log on disk.
        return None if self.has_ready() else proposals.extend(self, payload)

    def request_read(self, context: int, now_ns: int) -> None:
        reads.request_read(self, context, now_ns)

    def transfer_leadership(self, to: ReplicaId) -> None:
        transfer.begin_transfer(self, to)

    def change_membership(self, new: Configuration) -> Index:
        return membership.change_membership(self, new)

    def campaign(self) -> None:
        election.campaign(self)

    def step_down(self) -> None:
        if self.role is _LEADER:
            self.lease_until_ns = 0
            transfer.call_successor(self)
            become_follower(self, self.term, 0)
            # Let the others go first; we had a reason.
            self.timeout_ticks += self.config.election_ticks
            self.deadline_tick += self.config.election_ticks

    def peer_unreachable(self, replica: ReplicaId) -> None:
        if self.role is _LEADER:
            p = self.members.get(replica)
            if p is not None and p.state is REPLICATE:
                p.become_probe()
                p.paused = True  # until it answers a heartbeat
        elif self.role is Role.FOLLOWER and replica == self.leader_id:
            election.leader_unreachable(self)

    def provide_snapshot(self, to: ReplicaId, source: SnapshotSource) -> None:
        snapshots.provide_snapshot(self, to, source)

    def pace_learners(self, budget: SendBudget) -> None:
        self.learner_budget = budget
        configurations.learners_paced(self)

    def share_catch_up(self, windows: CatchUpWindows) -> None:
        assert not self.members, "before it leads"
        self.catch_up_windows = windows

    def snapshot_installed(self, meta: SnapshotMeta) -> None:
        assert self.installing is not None
        assert self.installing.last_index == meta.last_index
        self.installing = None

    def compact(self, index: Index, keep_bytes: int = 0) -> None:
        index = min(index, self.emitted_index)
        if keep_bytes and self.role is _LEADER:
            needed = replication.needed_from_log(self, index)
            if needed < index and self.log.bytes_after(needed) <= keep_bytes:
                index = needed
        self.log.compact(index)
        configurations.configurations_compacted(self, self.log.prev_index)

    def pack(self, work_max: int) -> int:
        return self.log.let_go(work_max) or self.log.pack(self.emitted_index, work_max)

    def let_go(self, work_max: int) -> int:
        log = self.log
        if log.first_index <= log.last_index:
            log.restore(log.last_index, log.last_term)
        return log.let_go(work_max)

    def persisted(self, last_index: Index, last_term: Term) -> bool:
        self.has_durable_state = True
        # Only entries of our own reign count: they are never overwritten while it lasts, so what
        # is on disk is what is in the log. All before them are then durable as well.
        if self.role is not _LEADER or last_term != self.term:
            return False
        assert last_index <= self.log.last_index
        self.term_durable = True
        own = self.own
        if own is None or not own.acknowledged(last_index) or last_index <= self.commit_index:
            return False
        return maybe_commit(self)

    # -- output --------------------------------------------------------------------------

    def has_ready(self) -> bool:
        if self.messages or self.messages_after_append or self.hard_changed or self.soft_changed:
            return True
        log = self.log
        if log.unstable_index <= log.last_index or self.append_due:
            return True
        if self.commit_index > self.emitted_index and self.installing is None:
            return True
        if self.read_states or self.failed_reads or self.snapshot_wanted:
            return True
        if self.reads_waiting and self.commit_index >= self.term_start_index:
            return True
        return self.snapshot_ready is not None

    def take_committed(self) -> list[Entry]:
        log = self.log
        start = self.emitted_index + 1
        end = self.commit_index + 1  # Compared by hand: min() showed in profiles of sets.
        if end > log.unstable_index:
            end = log.unstable_index
        if start >= end or self.installing is not None:
            return []
        if end > start + HANDED_OUT_MAX:
            end = start + HANDED_OUT_MAX
        entries = log.first_of(start, end, HANDED_OUT_BYTES)
        self.emitted_index = start + len(entries) - 1
        return entries

    def ready(self) -> Ready:
        if self.role is _LEADER:
            if self.append_due:
                replication.broadcast_appends(self)
            if self.reads_waiting and self.commit_index >= self.term_start_index:
                heartbeats.start_read_round(self)
        ready = Ready()
        log = self.log
        if log.unstable_index <= log.last_index:
            entries = log.take_unstable()
            ready.entries = entries
            ready.last_index = log.last_index
            ready.last_term = log.last_term
        emitted_index = self.emitted_index
        if self.commit_index > emitted_index and self.installing is None:
            start = emitted_index + 1
            end = min(self.commit_index + 1, start + HANDED_OUT_MAX)
            ready.committed_entries = log.first_of(start, end, HANDED_OUT_BYTES)
            self.emitted_index = emitted_index + len(ready.committed_entries)
        if self.messages:
            ready.messages = self.messages
            self.messages = []
        if self.messages_after_append:
            ready.messages_after_append = self.messages_after_append
            self.messages_after_append = []
        if self.hard_changed:
            self.hard_changed = False
            ready.hard_state = HardState(self.term, self.voted_for)
        if self.soft_changed:
            self.soft_changed = False
            ready.soft_state = SoftState(self.role, self.leader_id, self.term)
        if self.read_states:
            ready.read_states = self.read_states
            self.read_states = []
        if self.failed_reads:
            ready.failed_reads = self.failed_reads
            self.failed_reads = []
        if self.snapshot_wanted:
            ready.snapshot_wanted = self.snapshot_wanted
            self.snapshot_wanted = []
        if self.snapshot_ready is not None:
            ready.snapshot = self.snapshot_ready
            self.snapshot_ready = None
        return ready
