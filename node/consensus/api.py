"""The replicated log as the rest of a node sees it: its settings and the interface.

Nothing here belongs to Raft; another protocol can stand behind `ReplicatedLog` unchanged.

The contract of use: feed `step`, `tick`, `propose`, `request_read` and the other inputs in any
order, from one thread; whenever `has_ready()`, take `ready()` and act on it in this order.

1. `snapshot`, `entries` and `hard_state` go to the log on disk, in the order in which Readys were
   taken.
2. `messages` may leave at once, `committed_entries` may be applied at once, `read_states` may be
   served as soon as the state machine has applied their `read_index`.
3. `messages_after_append` leave once (1) of this and of all earlier Readys is durable; then
   `persisted` is called with the Ready's `last_index` and `last_term`.

Most of what a busy group does needs no Ready: `extend` takes a leader's new command, `follow` takes
it at the others, `acknowledged` hears that it is durable there, and `take_committed` gives what can
be applied. What is not usual shows in `has_ready` afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from quorumcache.node.consensus.catch_up import CatchUpWindows
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    HardState,
    Index,
    Message,
    Outbound,
    PeerStatus,
    ReadState,
    ReplicaId,
    Role,
    SendBudget,
    SnapshotMeta,
    SnapshotSource,
    SoftState,
    Term,
)

_NOTHING: list[Any] = []

HANDED_OUT_MAX: Final = 64
"""Committed entries that are handed out at once, at most. A replica that has read its log again
hears at one moment that all of it is committed, as do the others of its node."""

HANDED_OUT_BYTES: Final = 32 << 10
"""Of several, their payloads have no more than this: each may hold many commands."""


class Ready:
    """Everything that became due since the last one. See the module docstring for the legal order
    of use."""

    __slots__ = (
        "committed_entries",
        "entries",
        "failed_reads",
        "hard_state",
        "last_index",
        "last_term",
        "messages",
        "messages_after_append",
        "read_states",
        "snapshot",
        "snapshot_wanted",
        "soft_state",
    )

    hard_state: HardState | None
    """To make durable; None = unchanged."""
    entries: list[Entry]
    """To append. Storage first drops everything at and above `entries[0].index`."""
    snapshot: SnapshotSource | None
    """To make durable before `entries`; it replaces the whole log and state. Answer with
    `snapshot_installed`."""
    messages: list[Outbound]
    messages_after_append: list[Outbound]
    committed_entries: list[Entry]
    """Each entry exactly once, in order; held back while a snapshot is being installed. At most
    `HANDED_OUT_MAX` and `HANDED_OUT_BYTES`: `has_ready` tells whether there are more."""
    read_states: list[ReadState]
    failed_reads: list[int]
    """Contexts of reads that cannot be served here any more: leadership was lost."""
    soft_state: SoftState | None
    """None = unchanged."""
    snapshot_wanted: list[ReplicaId]
    """Peers whose next entry is compacted away: answer each with `provide_snapshot`."""
    last_index: Index
    """What to hand to `persisted` once this Ready is durable: its last entry, or 0 and 0 if it has
    none."""
    last_term: Term

    def __init__(self) -> None:
        # Nobody adds to these lists: a core replaces them, a shell only reads them. So the empty
        # one can be shared, which saves seven lists per Ready (a tenth of a write's cost).
        self.hard_state = None
        self.entries = _NOTHING
        self.snapshot = None
        self.messages = _NOTHING
        self.messages_after_append = _NOTHING
        self.committed_entries = _NOTHING
        self.read_states = _NOTHING
        self.failed_reads = _NOTHING
        self.soft_state = None
        self.snapshot_wanted = _NOTHING
        self.last_index = 0
        self.last_term = 0

    @property
    def must_persist(self) -> bool:
        """True if there is something to make durable (else `persisted` need not be called)."""
        return bool(self.entries) or self.hard_state is not None or self.snapshot is not None


APPEND_BYTES_MAX: Final = 1 << 20
"""Default of `ConsensusConfig.append_bytes_max`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusConfig:
    """Settings of one replica. All but `replica_id` must be the same in all replicas of a group."""

    replica_id: ReplicaId
    tick_ms: int = 10
    """Least time between two calls of `tick`, of the monotonic clock."""
    heartbeat_ticks: int = 5
    election_ticks: int = 30
    """Followers refuse votes for this long after they heard from a leader; election timeouts are
    drawn from [election_ticks, 2 * election_ticks)."""
    append_bytes_max: int = APPEND_BYTES_MAX
    """Payload bytes of one Append; a single larger entry still travels alone."""
    inflight_appends_max: int = 64
    """Unacknowledged Appends per peer."""
    inflight_bytes_max: int = 8 << 20
    """Unacknowledged payload bytes per peer."""
    catch_up_bytes_max: int = 256 << 10
    """Bytes of entries and snapshots without an answer that one node is sent by another for
    replicas which are behind, of all groups together. A loop that shares its processor takes them
    in within some 50 ms, and requests wait no longer behind them."""
    uncommitted_bytes_max: int = 64 << 20
    """Payload bytes a leader holds uncommitted before it drops proposals."""
    snapshot_chunk_bytes: int = 256 << 10
    snapshot_bytes_max: int = 4 << 30
    """Largest snapshot a replica accepts; bounds the memory a sender can claim."""
    clock_drift_ppm: int = 10_000
    """Bound of the rate difference between any two monotonic clocks of the group."""
    stagger_ticks: int = 3
    """Distance between the election timeouts of two voters that both saw the leader go."""

    def validate(self) -> None:
        """Raise ValueError naming the offending field and both values."""
        for name in (
            "replica_id",
            "tick_ms",
            "heartbeat_ticks",
            "append_bytes_max",
            "inflight_appends_max",
            "inflight_bytes_max",
            "catch_up_bytes_max",
            "uncommitted_bytes_max",
            "snapshot_chunk_bytes",
            "snapshot_bytes_max",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.election_ticks < 2 * self.heartbeat_ticks:
            raise ValueError(
                f"election_ticks must be at least 2 * heartbeat_ticks = {2 * self.heartbeat_ticks},"
                f" got {self.election_ticks}"
            )
        if not 0 <= self.clock_drift_ppm < 1_000_000:
            raise ValueError(f"clock_drift_ppm must be in [0, 1000000), got {self.clock_drift_ppm}")
        if self.stagger_ticks < 0:
            raise ValueError(f"stagger_ticks must not be negative, got {self.stagger_ticks}")


BEAT_ODD: Final = 0
BEAT_HEARD: Final = 1
BEAT_COMMITS: Final = 2
"""What became of a heartbeat: see `ReplicatedLog.hear_beat`."""


class BeatSink:
    """Takes the heartbeats of a leader in place of messages, so that those of many groups can
    travel together."""

    __slots__ = ()

    def beat(
        self,
        to: ReplicaId,
        term: Term,
        commit_index: Index,
        sent_ns: int,
        read_context: int,
        stamp: int,
        fresh_index: Index,
    ) -> bool:
        """False: it was not taken, and has to go as a message."""
        raise NotImplementedError


class ReplicatedLog:
    """One replica of one group. Pure: no I/O, no clock, deterministic for equal inputs.

    A class and no `Protocol`: mypyc calls the methods of a class directly, and each batch needs
    some ten of them.
    """

    __slots__ = ()

    # Read-only for callers.
    role: Role
    term: Term
    leader_id: ReplicaId
    """0 = unknown."""
    commit_index: Index
    term_start_index: Index
    """Index of this leader's no-op; 0 unless leader. No read before it is applied."""
    configuration: Configuration
    """The newest in the log, committed or not."""
    followers: tuple[ReplicaId, ...]
    """To whom a leader sends what `extend` returns; empty unless leader."""
    misses_followers: bool
    """Not to all of its group: `extend` has left out those that are sent nothing now."""
    lease_until_ns: int
    """0 = no lease. A leader may serve reads while its clock < this and it has applied
    `term_start_index`."""

    @property
    def first_index(self) -> Index:  # of the first entry not compacted away
        raise NotImplementedError

    @property
    def last_index(self) -> Index:
        raise NotImplementedError

    @property
    def log_bytes(self) -> int:  # payload and overhead of the entries held in memory
        raise NotImplementedError

    def step(self, sender: ReplicaId, message: Message) -> None:
        """Take a message in. Duplicates, reordering and loss are harmless."""
        raise NotImplementedError

    def tick(self, now_ns: int) -> bool:
        """Time passed: called once per `tick_ms` of the monotonic clock, never faster. False:
        nothing was due, so there is nothing more to do than before.

        `now_ns` is a fresh reading of that clock, no older than any message stepped before. It
        keeps promises to leaders whole should ticks come in a burst after a pause all the same.
        """
        raise NotImplementedError

    def propose(self, payload: bytes) -> Index:
        """Append a command; the index it has if it commits with the current term.

        Raises `NotLeader` or `ProposalDropped`; then it is certainly not in the log.
        """
        raise NotImplementedError

    def extend(self, payload: bytes) -> Message | None:
        """Append a command in the usual case of a leader: no Ready is needed for it.

        What is returned are the members of the message with its entry: term, previous index and its
        term, commit index, a list of the one entry. It may leave at once, to each of `followers`.
        The entry is to be made durable behind all that was handed out, as if a Ready had held it;
        then `persisted` is called with its index and term. None: nothing was done, and `propose`
        is to be asked.
        """
        raise NotImplementedError

    def request_read(self, context: int, now_ns: int) -> None:
        """Ask for a linearizable read point (Raft thesis 6.4), answered in `read_states` or
        `failed_reads`.

        `context` is the caller's and is only handed back. Raises `NotLeader`.
        """
        raise NotImplementedError

    def transfer_leadership(self, to: ReplicaId) -> None:
        """Hand leadership to a voter (Raft thesis 3.10). Proposals are dropped meanwhile; the lease
        is given up at once.

        Given up after an election timeout. Raises `NotLeader`, or `ConfigurationRefused` if `to` is
        no voter.
        """
        raise NotImplementedError

    def change_membership(self, new: Configuration) -> Index:
        """Propose `new`, one change at a time; the index of its (first) entry.

        Voters that differ by at most one are changed in a single step, otherwise through a joint
        configuration that the leader leaves by itself. Naming the present voters as
        `voters_outgoing` asks for the joint way. Raises `NotLeader`, `ProposalDropped`,
        `MembershipChangePending` or `ConfigurationRefused`.
        """
        raise NotImplementedError

    def campaign(self) -> None:
        """Stand for election (pre-vote first) as soon as promises to a leader allow, without
        waiting for a timeout."""
        raise NotImplementedError

    def step_down(self) -> None:
        """Give leadership up at once, and ask the voter that is furthest along to stand for it.
        Nothing happens unless leader."""
        raise NotImplementedError

    def follow(
        self,
        sender: ReplicaId,
        term: Term,
        prev_index: Index,
        prev_term: Term,
        commit_index: Index,
        entries: list[Entry],
    ) -> bool:
        """Take a leader's new entries in the usual case: no Ready is needed for them.

        True: they were taken. They are to be made durable behind all that was handed out, as if a
        Ready had held them; then `sender` may be told that this replica holds in `term` all up to
        the last of them. `persisted` is not called for them. False: nothing was done, and the same
        is to be given to `step` as a message. `entries`: commands of `term`, at least one.
        """
        raise NotImplementedError

    def acknowledged(self, sender: ReplicaId, term: Term, match_index: Index) -> bool:
        """`sender` holds durably what the leader of `term` has up to `match_index`: what `step`
        would be told in a message. False if nothing came of it that `take_committed` or `has_ready`
        would tell."""
        raise NotImplementedError

    def send_beats_by(self, sink: BeatSink) -> None:
        """Give heartbeats to `sink` from now on, as far as it takes them."""
        raise NotImplementedError

    def hear_beat(
        self, sender: ReplicaId, term: Term, commit_index: Index, stamp: int, fresh_index: Index
    ) -> int:
        """Take in a heartbeat in the usual case, in which nothing but its answer is to be sent.

        BEAT_HEARD, or BEAT_COMMITS if entries may have to be applied: the answer may leave at once,
        with `clock_stamp()`. BEAT_ODD: nothing was done, and the same is to be given to `step` as a
        message.
        """
        raise NotImplementedError

    def beat_answered(
        self, sender: ReplicaId, term: Term, sent_ns: int, read_context: int, stamp: int
    ) -> None:
        """`sender` has answered the heartbeat that this replica, as the leader of `term`, sent at
        `sent_ns`: what `step` would be told in a message."""
        raise NotImplementedError

    def clock_stamp(self) -> int:
        """A reading of this replica's clock for a leader to send back (`staleness.py`)."""
        raise NotImplementedError

    def take_committed(self) -> list[Entry]:
        """What the next Ready would hold as `committed_entries`, without one. Entries that no Ready
        has handed out for the log are left to the next one."""
        raise NotImplementedError

    def peer_unreachable(self, replica: ReplicaId) -> None:
        """Hint of the transport: the connection to `replica` was refused or reset."""
        raise NotImplementedError

    def has_ready(self) -> bool:
        raise NotImplementedError

    def ready(self) -> Ready:
        """Take everything pending. Several Readys may be outstanding."""
        raise NotImplementedError

    def persisted(self, last_index: Index, last_term: Term) -> bool:
        """The Ready with this `last_index` and `last_term`, and all before it, are durable. Called
        in order. False as with `acknowledged`."""
        raise NotImplementedError

    def provide_snapshot(self, to: ReplicaId, source: SnapshotSource) -> None:
        """Answer to `Ready.snapshot_wanted`, sent in chunks. Ignored if no longer needed."""
        raise NotImplementedError

    def snapshot_installed(self, meta: SnapshotMeta) -> None:
        """`Ready.snapshot` is durable and the state machine restored from it."""
        raise NotImplementedError

    def pace_learners(self, budget: SendBudget) -> None:
        """Bound the entries that this replica sends to learners while it leads. What they are
        refused is sent later; voters get everything at once."""
        raise NotImplementedError

    def share_catch_up(self, windows: CatchUpWindows) -> None:
        """Bound what this replica sends to those that are behind together with the other replicas
        that were given `windows`: `catch_up_bytes_max`. Called before it leads."""
        raise NotImplementedError

    def compact(self, index: Index, keep_bytes: int = 0) -> None:
        """Entries <= `index` may be forgotten (a snapshot at >= `index` is durable).

        A leader keeps those that a replica still needs which answers, is being sent a snapshot or
        is behind, as long as all entries in memory then take `keep_bytes` or less.
        """
        raise NotImplementedError

    def pack(self, work_max: int) -> int:
        """Free entries that were dropped, or hold old ones in less memory, if that is worth it:
        called now and then. Returns the work that was done, about `work_max` at most: it counts
        entries, and what is copied."""
        return 0

    def let_go(self, work_max: int) -> int:
        """The replica has left this node, and is asked for nothing any more: free its entries, some
        with each call. Returns the work that was done, as `pack` does; 0 when none are left."""
        return 0

    def snapshot_meta(self, index: Index) -> SnapshotMeta:
        """What a snapshot of the state after applying `index` must carry. `first_index` - 1 <=
        `index` <= `commit_index`."""
        raise NotImplementedError

    def fresh_ns(self, applied_index: Index) -> int:
        """Moment of our own clock such that the state at `applied_index` holds everything that was
        committed, by anybody, before it; far in the past if nothing is known.

        `applied_index` is what the state machine has applied, and never shrinks between calls. A
        leader's own state is current while its lease holds; this is about what others tell.
        """
        raise NotImplementedError

    def progress(self) -> Mapping[ReplicaId, PeerStatus]:
        """A leader's view of all members; empty unless leader."""
        raise NotImplementedError
