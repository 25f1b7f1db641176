"""One Raft replica driven by hand: the test plays its disk and all its peers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from quorumcache.node.consensus.api import ConsensusConfig, Ready
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.raft.messages import (
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    RaftMessage,
    VoteReply,
)
from quorumcache.node.consensus.values import Configuration, Entry, HardState, Role, SnapshotMeta

TICK_NS = 10_000_000
ELECTION_TICKS = 30


class Solo:
    """Replica 1 of `voters` unless told otherwise. `flush` plays a disk that is done at once."""

    def __init__(
        self,
        voters: Sequence[int] = (1, 2, 3),
        *,
        replica: int = 1,
        learners: Sequence[int] = (),
        outgoing: Sequence[int] = (),
        term: int = 0,
        voted_for: int = 0,
        terms: Sequence[int] = (),
        snapshot: SnapshotMeta | None = None,
        applied_index: int = 0,
        seed: int = 1,
        **settings: int,
    ) -> None:
        base = snapshot.last_index if snapshot else 0
        self.raft = Raft(
            ConsensusConfig(replica_id=replica, **settings),
            Random(seed),
            configuration=Configuration(tuple(voters), tuple(learners), tuple(outgoing)),
            hard_state=HardState(term, voted_for),
            entries=log_of(terms, base),
            snapshot=snapshot,
            applied_index=applied_index,
        )
        self.now_ns = 1_000_000_000
        self.applied: list[Entry] = []

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_ns += TICK_NS
            self.raft.tick(self.now_ns)

    def step(self, sender: int, *messages: RaftMessage) -> None:
        for message in messages:
            self.raft.step(sender, message)

    def ready(self) -> Ready:
        ready = self.raft.ready()
        self.applied += ready.committed_entries
        return ready

    def persist(self, ready: Ready) -> None:
        if ready.must_persist:
            self.raft.persisted(ready.last_index, ready.last_term)
        if ready.snapshot is not None:
            self.raft.snapshot_installed(ready.snapshot.meta)

    def flush(self) -> list[tuple[int, RaftMessage]]:
        """Take and persist all Readys; every message, in the order it may leave."""
        out: list[tuple[int, RaftMessage]] = []
        while self.raft.has_ready():
            ready = self.ready()
            out += [(to, message) for to, message in ready.messages]
            self.persist(ready)
            out += [(to, message) for to, message in ready.messages_after_append]
        return out

    def sent(self, kind: type) -> list[tuple[int, RaftMessage]]:
        """`flush`, but only messages of one kind."""
        return [(to, message) for to, message in self.flush() if type(message) is kind]

    # -- shortcuts -----------------------------------------------------------------------

    def time_out(self) -> None:
        """Let time pass until the replica stands for election."""
        for _ in range(3 * ELECTION_TICKS):
            self.tick()
            if self.raft.role is not Role.FOLLOWER:
                return
        raise AssertionError("no timeout")

    def become_candidate(self, *voters: int) -> None:
        """Time out and win the pre-vote with the help of `voters` (default: all)."""
        self.time_out()
        for voter in voters or self.raft.configuration.voters:
            if self.raft.role is Role.PRE_CANDIDATE and voter != self.raft.replica_id:
                self.step(voter, PreVoteReply(self.raft.term + 1, True))
        assert self.raft.role is Role.CANDIDATE

    def become_leader(self, *voters: int) -> Raft:
        """Win an election with the votes of `voters` (default: all)."""
        self.become_candidate(*voters)
        self.flush()
        for voter in voters or self.raft.configuration.voters:
            if self.raft.role is Role.CANDIDATE and voter != self.raft.replica_id:
                self.step(voter, VoteReply(self.raft.term, True))
        assert self.raft.role is Role.LEADER
        return self.raft

    def lead(self, *voters: int) -> Raft:
        """Become leader and have the no-op committed."""
        raft = self.become_leader(*voters)
        self.flush()
        self.acknowledge(*voters)
        self.flush()
        assert raft.commit_index == raft.last_index
        return raft

    def acknowledge(self, *senders: int, index: int = 0) -> None:
        """Peers (default: all) acknowledge the log up to `index` (default: its end)."""
        raft = self.raft
        for sender in senders or raft.configuration.members():
            if sender != raft.replica_id and raft.role is Role.LEADER:
                reply = AppendReply(raft.term, index or raft.last_index, False, 0, 0)
                self.step(sender, reply)

    def follow(self, leader: int, term: int) -> None:
        """Hear a heartbeat."""
        self.step(leader, Heartbeat(term, 0, 0, 0))

    def echo(self, *senders: int) -> None:
        """Peers answer the newest heartbeat round; the round is taken from what is pending."""
        beats = [m for _, m in self.flush() if isinstance(m, Heartbeat)]
        assert beats, "no heartbeat went out"
        newest = beats[-1]
        for sender in senders:
            self.step(sender, HeartbeatReply(newest.term, newest.sent_ns, newest.read_context))


def log_of(terms: Sequence[int], base: int = 0) -> list[Entry]:
    """A log whose entries after `base` have these terms; payloads tell index and term."""
    return [
        Entry(base + i, term, 0, b"%d@%d" % (base + i, term)) for i, term in enumerate(terms, 1)
    ]


def terms_of(raft: Raft) -> list[int]:
    return [entry.term for entry in raft.log.slice(raft.first_index, raft.last_index + 1)]
