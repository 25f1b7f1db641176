"""Raft replicas in memory: durable state, a network of loose messages, and a checker.

`RaftCluster` is the shell around several `Raft` instances that a test drives by hand or `pump`s
until nothing moves. A member's disk is what it has synced; a crash keeps only that. Every Ready is
checked against the safety properties of the Raft paper (figure 3) as it is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from quorumcache.node.consensus.api import ConsensusConfig, Ready
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.raft.configurations import decode_configuration
from quorumcache.node.consensus.raft.messages import Append, RaftMessage
from quorumcache.node.consensus.runs import pack_run, unpack_runs
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Outbound,
    Role,
    SendBudget,
    Snapshot,
    SnapshotSource,
)

PACK_LEAST = 3
"""A member packs what it has applied once it is so many entries: few, so that every walk meets
packed entries of all kinds."""


class Held(NamedTuple):
    """What the answer to a bundle says of one run."""

    term: int
    match_index: int


Envelope = tuple[int, int, RaftMessage | Held]
"""sender, receiver, message"""


class Checker:
    """Election safety, leader completeness, state machine safety; log matching on demand."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, Entry] = {}
        self.committed_index = 0

    def leader(self, member: Member) -> None:
        raft = member.raft
        other = self.leaders.get(raft.term)
        if other is not None:
            assert other == member.id, f"{other} and {member.id} both led in term {raft.term}"
            return
        self.leaders[raft.term] = member.id
        for index, entry in self.committed.items():
            if index >= raft.first_index and entry.term < raft.term:
                assert raft.log.term_at(index) == entry.term, (
                    f"leader {member.id} of term {raft.term} lacks committed {entry}"
                )

    def commit(self, member: Member, entries: Iterable[Entry]) -> None:
        for entry in entries:
            assert entry.index == member.applied_index + 1
            known = self.committed.setdefault(entry.index, entry)
            assert known == entry, f"{member.id} applies {entry}, another applied {known}"
            member.applied_index = entry.index
            self.committed_index = max(self.committed_index, entry.index)
            if entry.kind == EntryKind.NORMAL:
                member.state.append(entry.payload)
        member.raft.log.pack(member.raft.emitted_index, PACK_LEAST)

    @staticmethod
    def logs(members: Iterable[Member]) -> None:
        """Log matching: equal index and term mean equal entries and equal prefixes."""
        up = [m.raft for m in members if m.up]
        logs = [raft.log.slice(raft.first_index, raft.last_index + 1) for raft in up]
        for a in logs:
            for b in logs:
                if a is b or not a or not b:
                    continue
                hi = min(a[-1].index, b[-1].index)
                lo = max(a[0].index, b[0].index)
                same = False
                for index in range(hi, lo - 1, -1):
                    left, right = a[index - a[0].index], b[index - b[0].index]
                    same = same or left.term == right.term
                    if same:
                        assert left == right, (left, right)


class Member:
    """A replica with its disk (what survives) and its volatile state."""

    def __init__(self, cluster: RaftCluster, replica: int, configuration: Configuration) -> None:
        self.cluster = cluster
        self.id = replica
        self.first_configuration = configuration
        # -- durable
        self.hard_state = HardState(0, 0)
        self.entries: list[Entry] = []
        self.snapshot: Snapshot | None = None
        # -- clock
        self.rate = 1.0
        self.offset_ns = 0
        self.last_tick_ns = -(1 << 60)
        self.up = False
        self.life = 0
        self.start()

    def start(self) -> None:
        """(Re)start from what is durable."""
        self.life += 1
        snapshot = self.snapshot
        self.applied_index = snapshot.meta.last_index if snapshot else 0
        self.state: list[bytes] = decode_state(snapshot.data) if snapshot else []
        self.unsynced: deque[Ready] = deque()
        self.reads: dict[int, int] = {}
        self.failed_reads: list[int] = []
        self.raft = Raft(
            self.cluster.config(self.id),
            Random(self.cluster.random.randrange(1 << 30)),
            configuration=self.first_configuration,
            hard_state=self.hard_state,
            entries=self.entries,
            snapshot=snapshot.meta if snapshot else None,
            applied_index=self.applied_index,
            life=self.life,
        )
        if self.cluster.budget is not None:
            self.raft.pace_learners(self.cluster.budget)
        self.up = True

    def crash(self) -> None:
        self.up = False
        self.unsynced.clear()

    def now_ns(self) -> int:
        return int(self.cluster.now_ns * self.rate) + self.offset_ns

    def may_lease_read(self) -> bool:
        raft = self.raft
        return (
            self.up
            and self.now_ns() < raft.lease_until_ns
            and self.applied_index >= raft.term_start_index
        )

    def write(self, ready: Ready) -> None:
        """Make one Ready durable."""
        if ready.snapshot is not None:
            self.snapshot = Snapshot(ready.snapshot.meta, b"".join(ready.snapshot.pieces))
            last_index = ready.snapshot.meta.last_index
            self.entries = []
            assert not ready.entries or ready.entries[0].index == last_index + 1
        if ready.entries:
            first = ready.entries[0].index
            self.entries = [e for e in self.entries if e.index < first] + ready.entries
        if ready.hard_state is not None:
            assert ready.hard_state.term >= self.hard_state.term
            if ready.hard_state.term == self.hard_state.term:
                assert self.hard_state.voted_for in (0, ready.hard_state.voted_for)
            self.hard_state = ready.hard_state

    def take_snapshot(self) -> Snapshot:
        return Snapshot(self.raft.snapshot_meta(self.applied_index), encode_state(self.state))

    def compact(self, keep_bytes: int = 0) -> None:
        """Snapshot the applied state and forget the log before it; see `ReplicatedLog.compact`."""
        self.snapshot = self.take_snapshot()
        last_index = self.snapshot.meta.last_index
        self.raft.compact(last_index, keep_bytes)
        self.entries = [e for e in self.entries if e.index > last_index]


def encode_state(state: list[bytes]) -> bytes:
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in state)


def decode_state(data: bytes) -> list[bytes]:
    state = []
    offset = 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        state.append(data[offset + 4 : offset + 4 + size])
        offset += 4 + size
    return state


class RaftCluster:
    """Voters 1..count unless a configuration is given. `settings` go to ConsensusConfig."""

    def __init__(
        self,
        count: int = 3,
        *,
        seed: int = 1,
        configuration: Configuration | None = None,
        auto_sync: bool = True,
        **settings: int,
    ) -> None:
        self.random = Random(seed)
        self.settings = settings
        self.auto_sync = auto_sync
        self.now_ns = 0
        self.checker = Checker()
        self.network: list[Envelope] = []
        self.cut_links: dict[tuple[int, int], bool] = {}
        self.configuration = configuration or Configuration(tuple(range(1, count + 1)))
        self.members: dict[int, Member] = {}
        self.budget: SendBudget | None = None
        """Of each replica's learners; for those that start from now on."""
        self.bundles: Random | None = None
        """Draws which Appends come in bundles, as `node/replica/bundled.py` takes them; None = all
        come as messages."""
        self.followed = 0
        """Runs that took the short way at a follower."""
        self.extended = 0
        """Commands that took it at a leader."""
        for replica in self.configuration.members():
            self.add(replica)

    def config(self, replica: int) -> ConsensusConfig:
        return ConsensusConfig(replica_id=replica, **self.settings)

    def __getitem__(self, replica: int) -> Raft:
        return self.members[replica].raft

    def add(self, replica: int, configuration: Configuration | None = None) -> None:
        """Start a new, empty replica."""
        self.members[replica] = Member(self, replica, configuration or self.configuration)

    # -- faults --------------------------------------------------------------------------

    def isolate(self, *replicas: int) -> None:
        """Cut `replicas` off from all others (not from each other)."""
        for a in self.members:
            for b in self.members:
                if (a in replicas) != (b in replicas):
                    self.cut_links[a, b] = True

    def heal(self) -> None:
        self.cut_links = {}

    def crash(self, replica: int) -> None:
        self.members[replica].crash()
        self.network = [e for e in self.network if e[1] != replica]

    def restart(self, replica: int) -> None:
        self.members[replica].crash()
        self.members[replica].start()

    # -- moving --------------------------------------------------------------------------

    def propose(self, replica: int, payload: bytes) -> None:
        """A command for a leader: with bundles, mostly when its turn is over, and without a
        Ready."""
        member = self.members[replica]
        raft = member.raft
        if self.bundles is not None and self.bundles.random() < 0.8:
            self.process(replica)
            run = raft.extend(payload)
            if run is not None:
                self.extended += 1
                ready = Ready()
                ready.entries = run[4]
                ready.last_index, ready.last_term = run[1] + 1, run[0]
                member.unsynced.append(ready)
                message = Append(*run[:4], tuple(run[4]))
                self.send(replica, [Outbound(to, message) for to in raft.followers])
                return
        raft.propose(payload)

    def process(self, replica: int) -> list[Ready]:
        """Take a member's Readys; their effects except those that wait for its disk."""
        member = self.members[replica]
        readies = []
        while member.up and member.raft.has_ready():
            readies.append(self._take(member))
        if self.auto_sync:
            self.sync(replica)
        return readies

    def _take(self, member: Member) -> Ready:
        raft = member.raft
        ready = raft.ready()
        if raft.role is Role.LEADER and raft.term_durable:
            self.checker.leader(member)  # else nobody has heard of it, and it may be forgotten
        self.send(member.id, ready.messages)
        member.unsynced.append(ready)
        if ready.snapshot is None:
            self.checker.commit(member, ready.committed_entries)
        else:
            assert not ready.committed_entries
        for context, read_index in ready.read_states:
            member.reads[context] = read_index
        member.failed_reads += ready.failed_reads
        for to in ready.snapshot_wanted:
            taken = member.take_snapshot()
            raft.provide_snapshot(to, SnapshotSource(taken.meta, [taken.data]))
        return ready

    def sync(self, replica: int, count: int = 1 << 30) -> None:
        """Make up to `count` of a member's Readys durable, and let go of what waited for it."""
        member = self.members[replica]
        while member.up and member.unsynced and count:
            count -= 1
            ready = member.unsynced.popleft()
            member.write(ready)
            if ready.snapshot is not None:
                member.applied_index = ready.snapshot.meta.last_index
                member.state = decode_state(b"".join(ready.snapshot.pieces))
                member.raft.snapshot_installed(ready.snapshot.meta)
            if ready.must_persist:
                member.raft.persisted(ready.last_index, ready.last_term)
            self.send(replica, ready.messages_after_append)

    def send(self, sender: int, messages: Iterable[Outbound]) -> None:
        for to, message in messages:
            if not self.cut_links.get((sender, to)):
                self.network.append((sender, to, message))

    def deliver(self, envelope: Envelope) -> None:
        sender, to, message = envelope
        member = self.members.get(to)
        if member is None or not member.up or self.cut_links.get((sender, to)):
            return
        raft = member.raft
        if self.bundles is not None and self.bundles.random() < 0.7:
            self.process(to)  # Bundles are for those whose turn is over.
        is_dirty = raft.has_ready()
        if isinstance(message, Held):
            raft.acknowledged(sender, *message)
        elif is_dirty or not self._follow(sender, member, message):
            raft.step(sender, message)
        if self.bundles is not None and not is_dirty:
            self.checker.commit(member, raft.take_committed())

    def _follow(self, sender: int, member: Member, message: RaftMessage) -> bool:
        """Take an Append in as a run of a bundle: its entries wait for the disk behind all that
        does, and the answer for them."""
        if self.bundles is None or not isinstance(message, Append) or self.bundles.random() < 0.2:
            return False
        for _, *run in unpack_runs(pack_run(1, message)):
            if member.raft.follow(sender, *run):
                self.followed += 1
                term, prev_index, _, _, entries = run
                held: Any = Held(term, prev_index + len(entries))
                ready = Ready()
                ready.entries = entries
                ready.messages_after_append = [Outbound(sender, held)]
                member.unsynced.append(ready)
                return True
        return False

    def pump(self) -> None:
        """Deliver everything, in order, until nothing moves."""
        for _ in range(100_000):
            for replica in self.members:
                self.process(replica)
            if self.network:
                self.deliver(self.network.pop(0))
            elif not any(m.up and m.raft.has_ready() for m in self.members.values()):
                return
        raise AssertionError("the cluster never comes to rest")

    def tick(self, count: int = 1, *replicas: int) -> None:
        """Let time pass for all (or the given) replicas, pumping after each tick."""
        for _ in range(count):
            self.now_ns += self.config(1).tick_ms * 1_000_000
            for replica in replicas or tuple(self.members):
                member = self.members[replica]
                if member.up:
                    member.raft.tick(member.now_ns())
            self.pump()

    # -- shortcuts -----------------------------------------------------------------------

    def elect(self, replica: int) -> Raft:
        """Make `replica` the leader of a fresh cluster."""
        self.pump()
        raft = self[replica]
        raft.campaign()
        self.pump()
        assert raft.role is Role.LEADER
        return raft

    def leader(self) -> Raft:
        """The one leader of the newest term."""
        leaders = [m.raft for m in self.members.values() if m.up and m.raft.role is Role.LEADER]
        assert leaders, "no leader"
        return max(leaders, key=lambda raft: raft.term)

    def wait_for_leader(self, *among: int) -> Raft:
        """Tick until one of `among` (default: anyone) leads and has committed its first entry."""
        for _ in range(1000):
            self.tick()
            for replica, member in self.members.items():
                raft = member.raft
                if (
                    member.up
                    and raft.role is Role.LEADER
                    and replica in (among or self.members)
                    and raft.commit_index >= raft.term_start_index
                ):
                    return raft
        raise AssertionError("no leader came forward")

    def states(self) -> list[list[bytes]]:
        return [m.state for m in self.members.values()]


def configuration_entries(entries: Iterable[Entry]) -> list[Configuration]:
    """The configurations among `entries`."""
    return [decode_configuration(e.payload) for e in entries if e.kind == EntryKind.CONFIG]
