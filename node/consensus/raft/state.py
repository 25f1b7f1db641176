"""Everything one Raft replica knows: fields and what holds for them, no decisions.

The modules beside this one are functions over a `RaftState`; `core.Raft` is the state with the
public interface on top. Which module moves what:

    role, term, voted_for, leader_id, votes       roles.py
    configuration and what is derived from it     configurations.py
    commit_index                                  commit.py (leader: by quorum; follower: told so)
    lease_until_ns, read rounds                   reads.py, heartbeats.py
    freshness                                     heartbeats.py (rules in staleness.py)
    transfer_*                                    transfer.py, roles.py
"""

from __future__ import annotations

from collections import deque
from random import Random

from quorumcache.node.consensus.api import BeatSink, ConsensusConfig, ReplicatedLog
from quorumcache.node.consensus.lease import NEVER_NS, lease_ns, promise_ns
from quorumcache.node.consensus.log import EntryLog
from quorumcache.node.consensus.progress import Progress
from quorumcache.node.consensus.raft.messages import RaftMessage
from quorumcache.node.consensus.staleness import Freshness
from quorumcache.node.consensus.values import (
    Configuration,
    Index,
    Outbound,
    ReadState,
    ReplicaId,
    Role,
    SendBudget,
    SnapshotMeta,
    SnapshotSource,
    Term,
)


class IncomingSnapshot:
    """A snapshot that is arriving in chunks. `key` tells it from any other."""

    __slots__ = ("key", "pieces", "size")

    def __init__(self, key: tuple[ReplicaId, Term, Index, Term, int]) -> None:
        self.key = key
        self.pieces: list[bytes] = []
        """Nobody joins them: it may be gigabytes."""
        self.size = 0
        """Their bytes together."""


class RaftState(ReplicatedLog):
    """State of one replica. Fields without a remark are what the thesis calls them."""

    __slots__ = (
        "append_due",
        "beat_sink",
        "commit_index",
        "config",
        "configuration",
        "configurations",
        "deadline_tick",
        "emitted_index",
        "failed_reads",
        "followers",
        "forced",
        "freshness",
        "handed_over_index",
        "hard_changed",
        "has_durable_state",
        "heard_commit_index",
        "heard_ns",
        "heard_tick",
        "heartbeat_tick",
        "incoming",
        "installing",
        "leader_id",
        "learner_budget",
        "lease_length_ns",
        "lease_until_ns",
        "log",
        "members",
        "messages",
        "messages_after_append",
        "misses_followers",
        "now_ns",
        "outgoing",
        "own",
        "peers",
        "pending_config_index",
        "promise_length_ns",
        "quorum_check_tick",
        "random",
        "read_round",
        "read_rounds",
        "read_states",
        "reads_waiting",
        "replica_id",
        "resend_gap",
        "resend_tick",
        "role",
        "snapshot_ready",
        "snapshot_wanted",
        "soft_changed",
        "term",
        "term_durable",
        "term_start_index",
        "ticks",
        "timeout_ticks",
        "timer_tick",
        "transfer_deadline_tick",
        "transfer_target",
        "turn_budget",
        "uncommitted_bytes",
        "voted_for",
        "voters",
        "votes",
    )

    def __init__(self, config: ConsensusConfig, random: Random, life: int) -> None:
        self.config = config
        self.random = random
        self.replica_id: ReplicaId = config.replica_id

        # -- term and role
        self.role = Role.FOLLOWER
        self.term: Term = 0
        self.voted_for: ReplicaId = 0
        self.leader_id: ReplicaId = 0
        self.votes: dict[ReplicaId, bool] = {}
        """Answers to the (pre-)vote under way, by voter."""
        self.forced = False
        """Candidate: the leader asked us to stand, so voters need not spare it."""
        self.term_durable = True
        """A leader's own vote for `term` is known to be on disk. Until then nothing that tells of
        the term may leave: a sole voter could otherwise reign in the same term twice."""
        self.has_durable_state = False
        """Something was ever made durable, so a restart will be noticed as one."""

        # -- log
        self.log = EntryLog()
        self.commit_index: Index = 0
        self.heard_commit_index: Index = 0
        """Highest commit index that any leader told of, whether our log reaches it or not. A log
        that ends below it lacks a committed entry: we neither stand with it nor vote for it.
        Forgotten by a restart."""
        self.emitted_index: Index = 0
        """Last committed entry handed out. Invariant: emitted_index <= commit_index."""
        self.term_start_index: Index = 0
        """Index of this leader's no-op; 0 unless leader. Entries from here on are of its term."""
        self.uncommitted_bytes = 0
        """Leader: payload bytes above commit_index."""

        # -- members
        self.configuration = Configuration(())
        self.configurations: list[tuple[Index, Configuration]] = []
        """Configurations by the index of their entry, ascending; the first is the one at or below
        the compaction point. The last is in force."""
        self.pending_config_index: Index = 0
        """Leader: index of a configuration entry that is not committed; 0 = none."""
        self.members: dict[ReplicaId, Progress] = {}
        """Leader: progress of all members, itself included while it is one."""
        self.own: Progress | None = None
        """Leader: its own progress, if it is a member."""
        self.peers: tuple[Progress, ...] = ()
        """Leader: progress of the others, by ascending id."""
        self.followers = ()
        self.misses_followers = False
        self.voters: tuple[Progress, ...] = ()
        self.outgoing: tuple[Progress, ...] = ()

        # -- time, in ticks unless a name says otherwise
        self.ticks = 0
        self.now_ns = 0
        """Newest clock reading seen; never later than the true time."""
        self.heard_tick = 0
        """When a leader was last heard. A promise to it holds for `election_ticks` (see lease.py)
        and is independent of term and role: a newer term does not end it."""
        self.heard_ns = NEVER_NS
        """Clock at the first tick after heard_tick, so never before the true moment."""
        self.timer_tick = 0
        """When the election timer was last restarted for another reason."""
        self.timeout_ticks = 0
        self.deadline_tick = 0
        """Next tick at which anything can be due. Hearing from a leader does not move it: it is
        recomputed when reached, so that a hot Append writes one field only."""
        self.resend_tick = 0
        self.resend_gap = 0
        self.heartbeat_tick = 0
        self.quorum_check_tick = 0
        self.promise_length_ns = promise_ns(config.election_ticks, config.tick_ms)
        self.lease_length_ns = lease_ns(
            config.election_ticks, config.tick_ms, config.clock_drift_ppm
        )

        # -- reads
        self.lease_until_ns = 0
        self.handed_over_index: Index = 0
        """Leader: end of the log when a TimeoutNow went out in this term; 0 = none did. It may
        arrive at any time, and then elects a leader without regard to promises: no lease any more
        in this term."""
        self.read_round = 0
        """Number of the newest read round of this term."""
        self.reads_waiting: list[int] = []
        """Contexts that ride on the next round."""
        self.read_rounds: deque[tuple[int, Index, list[int]]] = deque()
        """Rounds under way: (number, read index, contexts), ascending."""

        self.freshness = Freshness(life)
        """How old our own state can be. Independent of term and role."""

        # -- leadership transfer
        self.transfer_target: ReplicaId = 0
        self.transfer_deadline_tick = 0

        # -- snapshots
        self.learner_budget: SendBudget | None = None
        """See `ReplicatedLog.pace_learners`."""
        self.turn_budget: SendBudget | None = None
        """See `ReplicatedLog.bound_turns`."""
        self.incoming: IncomingSnapshot | None = None
        self.installing: SnapshotMeta | None = None
        """Handed to the shell and not yet installed; committed entries wait for it."""

        self.beat_sink: BeatSink | None = None
        """See `ReplicatedLog.send_beats_by`."""

        # -- collected for the next Ready
        self.append_due = False
        """Leader: entries were appended that have not been sent."""
        self.hard_changed = False
        self.soft_changed = False
        self.snapshot_ready: SnapshotSource | None = None
        self.messages: list[Outbound] = []
        self.messages_after_append: list[Outbound] = []
        self.read_states: list[ReadState] = []
        self.failed_reads: list[int] = []
        self.snapshot_wanted: list[ReplicaId] = []


def send_as_leader(r: RaftState, to: ReplicaId, message: RaftMessage) -> None:
    """Send what needs no entry to be durable, only that the term itself is."""
    out = r.messages if r.term_durable else r.messages_after_append
    out.append(Outbound(to, message))


def send_durable(r: RaftState, to: ReplicaId, message: RaftMessage) -> None:
    """Send once everything that was decided so far is durable: votes, acknowledgements."""
    r.messages_after_append.append(Outbound(to, message))


def in_promise(r: RaftState) -> bool:
    """Must votes be refused because a leader was heard from lately (or we lately started)?

    Counted in ticks and checked against the clock, so that ticks delivered in a burst after a
    pause do not shorten the promise.
    """
    if r.ticks - r.heard_tick < r.config.election_ticks:
        return True
    return r.now_ns - r.heard_ns < r.promise_length_ns


def restart_election_timer(r: RaftState) -> None:
    """Draw a fresh timeout, counted from now."""
    election_ticks = r.config.election_ticks
    r.timer_tick = r.ticks
    r.timeout_ticks = r.random.randrange(election_ticks, 2 * election_ticks)
    r.deadline_tick = r.ticks + r.timeout_ticks
