"""A replicated log, a write-ahead log and a peer network that do what the test says, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from quorumcache.node.clock import Clock
from quorumcache.node.consensus.api import BEAT_HEARD, BeatSink, Ready
from quorumcache.node.consensus.errors import NotLeader, ProposalDropped
from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Outbound,
    ReadState,
    Role,
    Snapshot,
    SnapshotMeta,
    SnapshotSource,
    SoftState,
)
from quorumcache.node.inbox import deliver_consensus
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.wal.format import WalRecord
from tests.simulation.loop import VirtualLoop
from tests.support.manual_loop import ManualLoop

VOTERS = Configuration((1, 2, 3))
NO_SNAPSHOT = SnapshotMeta(0, 0, VOTERS)


class ManualClock(Clock):
    """Time moved by hand."""

    def __init__(self) -> None:
        self.ns = 0
        self.wall = 1_000_000

    def monotonic_ns(self) -> int:
        return self.ns

    def wall_ms(self) -> int:
        return self.wall


class LoopClock(Clock):
    """The time of a virtual loop, as a node's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop

    def monotonic_ns(self) -> int:
        return self.loop.now_ns

    def wall_ms(self) -> int:
        return self.loop.now_ns // 1_000_000


class ScriptedLog:
    """Stands in for a `ReplicatedLog`: `next_ready` is what it hands out."""

    def __init__(self) -> None:
        self.role = Role.FOLLOWER
        self.term = 1
        self.leader_id = 0
        self.commit_index = 0
        self.last_index = 0
        self.first_index = 1
        self.term_start_index = 0
        self.lease_until_ns = 0
        self.fresh: list[tuple[int, int]] = []
        """(applied index, clock): the state at the index is current as of the clock."""
        self.log_bytes = 0
        self.configuration = VOTERS
        self.next_ready: Ready | None = None
        self.dropping = ""
        """Why proposals are dropped; empty when they are not."""
        self.proposed: list[Entry] = []
        self.read_contexts: list[int] = []
        self.persisted_calls: list[tuple[int, int]] = []
        self.installed: list[SnapshotMeta] = []
        self.provided: list[tuple[int, Snapshot]] = []
        self.compacted: list[int] = []
        self.keep_bytes: list[int] = []
        self.is_needed = False  # all of the log, by a replica that is behind
        self.transferred: list[int] = []
        self.stepped: list[tuple[int, Any]] = []
        self.on_step: Callable[[], None] = lambda: None
        self.on_read: Callable[[], None] = lambda: None
        self.tick_count = 0
        self.is_due = True
        """What it says of each tick."""
        self.members: dict[int, Any] = {}
        self.follows = True
        """Takes entries that follow its own without a message."""
        self.followed: list[tuple[int, int, int]] = []
        """(sender, term, commit index) of what it followed."""
        self.matches: list[tuple[int, int, int]] = []
        """(sender, term, index) of what it was told to be durable."""
        self.is_news = True
        self.extends = False
        """Takes commands without a Ready."""
        self.followers = (2, 3)
        self.sink: BeatSink | None = None
        """Takes its heartbeats."""
        self.hears = BEAT_HEARD
        """What it says of heartbeats that come."""
        self.beats: list[tuple[int, ...]] = []
        """(sender, term, commit index, stamp, fresh index) of those it took."""
        self.beat_answers: list[tuple[int, ...]] = []
        """(sender, term, moment, read context, stamp) of answers to its own."""
        self.stamp = 77
        self.to_let_go = 0
        """Entries that it has dropped and not let go of."""
        self.committed: list[Entry] = []
        """Handed out by the next `take_committed`."""

    def fresh_ns(self, applied_index: int) -> int:
        return max((ns for index, ns in self.fresh if index <= applied_index), default=NEVER_NS)

    # what the test does

    def script(self) -> Ready:
        """The Ready that is handed out next; the test fills it."""
        if self.next_ready is None:
            self.next_ready = Ready()
        return self.next_ready

    def lead(self, term: int = 0) -> None:
        self.become(Role.LEADER, term or self.term)

    def become(self, role: Role, term: int, leader_id: int = 0) -> None:
        self.role, self.term = role, term
        self.leader_id = 1 if role is Role.LEADER else leader_id
        if role is not Role.LEADER:
            self.lease_until_ns = 0
        self.script().soft_state = SoftState(role, self.leader_id, term)

    def append(self, *payloads: bytes, term: int = 0) -> list[Entry]:
        """Entries to persist, as a follower gets them."""
        ready = self.script()
        first = self.last_index + 1
        entries = [
            Entry(index, term or self.term, int(EntryKind.NORMAL), payload)
            for index, payload in enumerate(payloads, first)
        ]
        ready.entries = [*ready.entries, *entries]
        self.last_index = ready.last_index = entries[-1].index
        ready.last_term = entries[-1].term
        return entries

    def commit(self, entries: Sequence[Entry]) -> None:
        ready = self.script()
        ready.committed_entries = [*ready.committed_entries, *entries]
        self.commit_index = entries[-1].index

    def promise(self, to: int, message: Any) -> None:
        ready = self.script()
        ready.messages_after_append = [*ready.messages_after_append, Outbound(to, message)]

    def say(self, to: int, message: Any) -> None:
        ready = self.script()
        ready.messages = [*ready.messages, Outbound(to, message)]

    def confirm(self, context: int, read_index: int) -> None:
        self.script().read_states = [ReadState(context, read_index)]

    # what the host does

    def has_ready(self) -> bool:
        return self.next_ready is not None

    def ready(self) -> Ready:
        ready, self.next_ready = self.next_ready, None
        return ready if ready is not None else Ready()

    def step(self, sender: int, message: Any) -> None:
        self.stepped.append((sender, message))
        self.on_step()

    def follow(
        self,
        sender: int,
        term: int,
        prev_index: int,
        prev_term: int,
        commit_index: int,
        entries: list[Entry],
    ) -> bool:
        if not self.follows or prev_index != self.last_index:
            return False
        self.followed.append((sender, term, commit_index))
        self.last_index = entries[-1].index
        return True

    def acknowledged(self, sender: int, term: int, match_index: int) -> bool:
        self.matches.append((sender, term, match_index))
        self.on_step()
        return self.is_news

    def send_beats_by(self, sink: BeatSink) -> None:
        self.sink = sink

    def hear_beat(
        self, sender: int, term: int, commit_index: int, stamp: int, fresh_index: int
    ) -> int:
        if self.hears:
            self.beats.append((sender, term, commit_index, stamp, fresh_index))
        return self.hears

    def beat_answered(
        self, sender: int, term: int, sent_ns: int, read_context: int, stamp: int
    ) -> None:
        self.beat_answers.append((sender, term, sent_ns, read_context, stamp))
        self.on_step()

    def clock_stamp(self) -> int:
        return self.stamp

    def take_committed(self) -> list[Entry]:
        taken, self.committed = self.committed, []
        return taken

    def tick(self, now_ns: int) -> bool:
        self.tick_count += 1
        return self.is_due

    def propose(self, payload: bytes) -> int:
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader_id, self.term)
        if self.dropping:
            raise ProposalDropped(self.dropping)
        self.proposed += self.append(payload)
        return self.last_index

    def extend(self, payload: bytes) -> Any:
        if not self.extends or self.role is not Role.LEADER or self.dropping or self.has_ready():
            return None
        entry = Entry(self.last_index + 1, self.term, int(EntryKind.NORMAL), payload)
        self.proposed.append(entry)
        self.last_index = entry.index
        return self.term, entry.index - 1, self.term, self.commit_index, [entry]

    def request_read(self, context: int, now_ns: int) -> None:
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader_id, self.term)
        self.read_contexts.append(context)
        self.on_read()

    def transfer_leadership(self, to: int) -> None:
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader_id, self.term)
        self.transferred.append(to)
        self.lease_until_ns = 0

    def step_down(self) -> None:
        if self.role is Role.LEADER:
            self.become(Role.FOLLOWER, self.term)

    def peer_unreachable(self, replica: int) -> None:
        pass

    def persisted(self, last_index: int, last_term: int) -> bool:
        self.persisted_calls.append((last_index, last_term))
        return True

    def snapshot_installed(self, meta: SnapshotMeta) -> None:
        self.installed.append(meta)

    def provide_snapshot(self, to: int, source: SnapshotSource) -> None:
        self.provided.append((to, source))

    def snapshot_meta(self, index: int) -> SnapshotMeta:
        return SnapshotMeta(index, self.term, self.configuration)

    def pack(self, work_max: int) -> int:
        work = min(self.to_let_go, work_max)
        self.to_let_go -= work
        return work

    def let_go(self, work_max: int) -> int:
        return self.pack(work_max)

    def pace_learners(self, budget: Any) -> None:
        self.budget = budget

    def share_catch_up(self, windows: Any) -> None:
        self.windows = windows

    def compact(self, index: int, keep_bytes: int = 0) -> None:
        self.compacted.append(index)
        self.keep_bytes.append(keep_bytes)
        if not self.is_needed:
            self.first_index = max(self.first_index, index + 1)

    def progress(self) -> dict[int, Any]:
        return self.members


class FakeWal:
    """Collects batches; the test makes them durable with `sync`."""

    def __init__(self, story: list[Any]) -> None:
        self.story = story
        self.batches: list[tuple[list[WalRecord], Callable[[], None]]] = []
        self.pinned: list[int] = []
        self.queued_bytes = 0

    def append(self, records: list[WalRecord], on_durable: Callable[[], None]) -> None:
        self.story.append(("write", [record.group for record in records]))
        self.batches.append((list(records), on_durable))

    def sync(self) -> None:
        """The oldest batch is durable."""
        _, on_durable = self.batches.pop(0)
        self.story.append("synced")
        on_durable()

    def installed(self, group: int, index: int, term: int) -> None:
        self.story.append(("installed", group, index))

    def compacted(self, group: int, index: int, term: int) -> None:
        self.story.append(("compacted", group, index))

    def forget(self, group: int, on_durable: Callable[[], None]) -> None:
        self.story.append(("forget", group))
        self.batches.append(([], on_durable))

    def hard_state(self, group: int) -> HardState:
        return HARD_STATE

    def pinned_groups(self) -> list[int]:
        return self.pinned


class FakeSnapshots:
    """Collects snapshots; the test says how saving them ended."""

    def __init__(self, story: list[Any]) -> None:
        self.story = story
        self.saving: list[tuple[int, Snapshot, Callable[[BaseException | None], None]]] = []

    def save(
        self,
        group: int,
        meta: SnapshotMeta,
        pieces: Iterable[bytes],
        done: Callable[[BaseException | None], None],
    ) -> None:
        self.story.append(("save", group, meta.last_index))
        self.saving.append((group, Snapshot(meta, b"".join(pieces)), done))

    def delete(self, group: int, done: Callable[[BaseException | None], None]) -> None:
        self.story.append(("delete", group))
        self.saving.append((group, Snapshot(NO_SNAPSHOT, b""), done))

    def end(self, error: BaseException | None = None) -> None:
        _, _, done = self.saving.pop(0)
        done(error)


class HostWorld:
    """A host with scripted logs. `story` tells in which order it touched the world."""

    def __init__(self, *group_ids: int) -> None:
        self.story: list[Any] = []
        self.form = OWN_FORM
        """Of all other nodes."""
        self.loop: Any = ManualLoop()
        self.clock = ManualClock()
        self.counters = Counters()
        self.leaders: list[int] = []
        self.fatal: list[BaseException] = []
        self.wal: Any = FakeWal(self.story)
        self.snapshots: Any = FakeSnapshots(self.story)
        peers: Any = self
        self.transport = ConsensusTransport(peers)
        self.give_back: Callable[[], None] = lambda: None
        """What the host calls to give memory back."""
        self.host = ReplicaHost(
            loop=self.loop,
            clock=self.clock,
            wal=self.wal,
            snapshots=self.snapshots,
            transport=self.transport,
            counters=self.counters,
            tick_ms=10,
            on_leader_change=self.leaders.append,
            on_fatal=self._fatal,
            give_back=lambda: self.give_back(),
        )
        self.host.time.bridge()
        self.logs: dict[int, ScriptedLog] = {}
        self.groups: dict[int, ReplicaGroup] = {}
        for group_id in group_ids:
            log: Any = ScriptedLog()
            group = ReplicaGroup(group_id, log, ShardStore(), self.host, NO_SNAPSHOT)
            self.logs[group_id] = log
            self.groups[group_id] = group
            self.host.add_group(group)
        self.turn()
        self.story.clear()

    def _fatal(self, error: BaseException) -> None:
        self.fatal.append(error)
        self.host.stop()

    def deliver(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A consensus item comes from another node."""
        deliver_consensus(node_id, item, self.host, self.transport)

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        self.story.append(("send", node_id))
        return True

    def send_again(self, node_id: int, packed: bytes) -> None:
        """The copy for a datagram."""

    def form_of(self, node_id: int) -> int:
        return self.form

    def flush(self) -> None:
        if self.story and self.story[-1] != "flush":
            self.story.append("flush")

    def turn(self, *group_ids: int) -> None:
        """Mark groups dirty, and run what is scheduled for now."""
        for group_id in group_ids:
            self.host.mark_dirty(self.groups[group_id])
        self.loop.run(until=self.loop.now)

    def told(self) -> list[Any]:
        """The story since the last call."""
        story = [step for step in self.story if step != "flush"]
        self.story.clear()
        return story


HARD_STATE = HardState(2, 1)


class Hears:
    """A waiter of a command or a read that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_result(self, result: Any) -> None:
        self.heard.append(result)

    def on_refused(self, why: str) -> None:
        self.heard.append("refused")

    def on_lost(self) -> None:
        self.heard.append("lost")

    def on_readable(self) -> None:
        self.heard.append("readable")
