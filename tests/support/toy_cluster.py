"""Three nodes' coordinators, serving and groups over one log that is a list: for random schedules.

Everything between a client's operation and the state machine is real. What stands in is consensus
(`ToyLog`: the leader's proposals are committed one by one; at an election some of those that are
not committed yet survive) and the network (one queue per direction, delivered item by item, emptied
when a connection is cut). So an item may be as late as the schedule likes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.errors import NotLeader
from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.values import Entry, EntryKind, Role, SnapshotMeta
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.forwarded_writes import take_writes
from quorumcache.node.operations.found_items import answer_gets
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.items import FORWARD_FOUND, FORWARD_GETS, FORWARD_WRITES
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.state_machine import ITEM_BYTES_MAX, Command, encode_batch
from quorumcache.node.store.commands import OP_INCR, OP_SESSION_EXPIRE, OP_SET
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from tests.support.item_tables import item_of
from tests.support.scripted_log import VOTERS, ManualClock

GROUP = 1
NODES = (1, 2, 3)
KEY = b"n"
TIMEOUT_MS = 5000


class ToyLog:
    """One node's view of the log that all share."""

    def __init__(self, cluster: ToyCluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.role = Role.FOLLOWER
        self.term = 0
        self.leader_id = 0
        self.lease_until_ns = 0
        self.term_start_index = 0
        self.reads: list[tuple[int, int]] = []

    @property
    def commit_index(self) -> int:
        return self.cluster.committed

    def fresh_ns(self, applied_index: int) -> int:
        return NEVER_NS

    def extend(self, payload: bytes) -> None:
        """It knows no short way."""

    def propose(self, payload: bytes) -> int:
        if self.role is not Role.LEADER or self.term != self.cluster.term:
            raise NotLeader(self.leader_id, self.term)
        index = len(self.cluster.entries) + 1
        self.cluster.entries.append(Entry(index, self.term, int(EntryKind.NORMAL), payload))
        return index

    def request_read(self, context: int, now_ns: int) -> None:
        if self.role is not Role.LEADER or self.term != self.cluster.term:
            raise NotLeader(self.leader_id, self.term)
        self.reads.append((context, self.cluster.committed))


class ToyGroup(ReplicaGroup):
    """One that may have no room for a command."""

    cluster: ToyCluster

    def submit(self, command: Command, size: int, waiter: Any) -> bool:
        if self.cluster.busy and self.cluster.random.random() < self.cluster.busy:
            waiter.on_refused("too many writes in flight")
            return False
        return super().submit(command, size, waiter)


class ToyNode:
    """A node: what the coordinator takes for its host and its peer network."""

    def __init__(self, cluster: ToyCluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.clock = cluster.clock
        self.time = ClusterTime(cluster.clock)
        self.time.bridge()
        self.item_bytes_max = ITEM_BYTES_MAX
        self.bytes_used = 0
        self.disk_trouble = ""
        self.held_why = ""
        self.may_use_new_ops = True
        self.evicts = False
        self.log = ToyLog(cluster, node_id)
        log: Any = self.log
        host: Any = self
        self.group = ToyGroup(GROUP, log, ShardStore(), host, SnapshotMeta(0, 0, VOTERS))
        self.group.cluster = cluster
        self.groups = {GROUP: self.group}
        peers: Any = self
        self.coordinator = Coordinator(
            Serving(
                node_id=node_id,
                host=host,
                peers=peers,
                clock=cluster.clock,
                counters=Counters(),
                memory=MemoryRoom(1 << 30),
            ),
            Leaders(node_id, self.groups, peers, lambda group_id: NODES[0], lambda group_id: NODES),
            random=Random(cluster.random.random()),
            timings=Timings(),
            timeout_ms=TIMEOUT_MS,
        )

    def end_turn(self) -> None:
        """Propose what was submitted here, and let go what was gathered for others."""
        self.group.propose_pending()
        self.coordinator.before_flush()

    def mark_dirty(self, group: ReplicaGroup) -> None:
        """The schedule proposes when it likes."""

    def flush_soon(self) -> None:
        """The schedule delivers when it likes."""

    def is_up(self, node_id: int) -> bool:
        return frozenset((self.node_id, node_id)) not in self.cluster.cuts

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        if not self.is_up(node_id):
            return False
        self.cluster.queues[self.node_id, node_id].append(
            msgpack.unpackb(pack_item(item), use_list=False)
        )
        return True

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return self.send(node_id, item)

    def form_of(self, node_id: int) -> int:
        return OWN_FORM

    def take(self, source: int, item: tuple[Any, ...]) -> None:
        """As `Inbox` does."""
        if item[0] == FORWARD_GETS:
            answer_gets(self.coordinator.serving, source, item)
        elif item[0] == FORWARD_WRITES:
            take_writes(self.coordinator.serving, source, item)
        elif item[0] == FORWARD_FOUND:
            self.coordinator.bundles.answered(source, item)
        else:
            self.coordinator.on_forward(source, item)

    def apply(self, index: int) -> None:
        entries = self.cluster.entries[self.group.applied_index : index]
        self.group.apply(entries)

    def follow(self, term: int, leader: int) -> None:
        """Hear of a term and its leader."""
        log = self.log
        if log.role is Role.LEADER and term > log.term:
            log.role = Role.FOLLOWER
            self.group.led_term = 0
            self.group.leadership_lost()
            log.reads.clear()
        log.term, log.leader_id = term, leader
        if leader == self.node_id:
            log.role = Role.LEADER
            self.group.led_term = term
            self.apply(self.cluster.committed)
        self.coordinator.leader_changed(GROUP)


class ToyCluster:
    """See the module. One counter, which every operation increments."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.clock = ManualClock()
        self.entries: list[Entry] = []
        self.committed = 0
        self.term = 0
        self.cuts: set[frozenset[int]] = set()
        self.queues: dict[tuple[int, int], deque[tuple[Any, ...]]] = {
            (a, b): deque() for a in NODES for b in NODES if a != b
        }
        self.leader = NODES[0]
        self.hearing = self.random.choice((0.1, 0.5, 1.0))
        """How likely a node hears of an election at once."""
        self.speeds = {way: self.random.choice((1.0, 1.0, 0.02)) for way in self.queues}
        self.nodes = {node_id: ToyNode(self, node_id) for node_id in NODES}
        self.outcomes: list[Any] = []
        self.started = 0
        self.busy = 0.0
        """How likely a leader has no room for a command."""
        self.entries.append(
            Entry(1, 0, int(EntryKind.NORMAL), encode_batch(1000, [_set(KEY, b"0")]))
        )
        self.committed = 1

    # -- what may happen -------------------------------------------------------------------------

    def begin(self, node_id: int) -> None:
        """A client of this node increments the counter."""
        self.started += 1
        self.nodes[node_id].coordinator.write(
            GROUP, OP_INCR, KEY, (1,), 10, self.outcomes.append, None
        )

    def deliver(self) -> None:
        """One item of one connection arrives; some connections are slower than others."""
        ways = [way for way, queue in self.queues.items() if queue]
        if ways:
            speeds = [self.speeds[way] for way in ways]
            source, target = self.random.choices(ways, speeds)[0]
            if self.random.random() < self.speeds[source, target]:
                self._deliver(source, target)

    def _deliver(self, source: int, target: int) -> None:
        item = self.queues[source, target].popleft()
        self.nodes[target].take(source, item)

    def propose(self) -> None:
        """All turns end."""
        for node in self.nodes.values():
            node.end_turn()

    def commit(self) -> None:
        """The log grows by one entry; the leader, and perhaps others, apply it."""
        if self.committed < len(self.entries):
            self.committed += 1
        for node in self.nodes.values():
            if node.log.role is Role.LEADER or self.random.random() < 0.5:
                node.apply(self.committed)

    def elect(self, leader: int = 0) -> None:
        """A new leader; of what was not committed some survives. Others hear of it later."""
        keep = self.random.randint(self.committed, len(self.entries))
        del self.entries[keep:]
        self.term += 1
        self.leader = leader or self.random.choice(NODES)
        chosen = self.nodes[self.leader]
        others = [node for node in self.nodes.values() if node is not chosen]
        for node in sorted(others, key=lambda n: n.log.role is not Role.LEADER):
            if node.log.role is Role.LEADER:
                node.follow(self.term, self.leader if self.random.random() < 0.5 else 0)
                self._tell(node.node_id)
            elif self.random.random() < self.hearing:
                node.follow(self.term, self.leader if self.random.random() < 0.5 else 0)
        chosen.follow(self.term, self.leader)
        self.committed = len(self.entries)  # Its no-op: what survived is committed.
        chosen.apply(self.committed)

    def _tell(self, node_id: int) -> None:
        """What a node has to say arrives before anything else happens, over fast connections."""
        for (source, target), queue in self.queues.items():
            while source == node_id and queue and self.speeds[source, target] == 1.0:
                self._deliver(source, target)

    def hear(self) -> None:
        """A node hears of the newest leader."""
        self._hear(self.nodes[self.random.choice(NODES)])

    def _hear(self, node: ToyNode) -> None:
        if node.log.leader_id != self.leader or node.log.term != self.term:
            node.follow(self.term, self.leader)

    def cut(self) -> None:
        """A connection breaks, with what is on its way, or is made again."""
        pair = frozenset(self.random.sample(NODES, 2))
        if pair in self.cuts:
            self._mend(pair)
        else:
            self._break(pair)

    def _mend(self, pair: frozenset[int]) -> None:
        a, b = sorted(pair)
        self.cuts.discard(pair)
        self.nodes[a].coordinator.peer_up(b)
        self.nodes[b].coordinator.peer_up(a)

    def _break(self, pair: frozenset[int]) -> None:
        a, b = sorted(pair)
        self.queues[a, b].clear()
        self.queues[b, a].clear()
        self.cuts.add(pair)
        self.nodes[a].coordinator.peer_down(b)
        self.nodes[b].coordinator.peer_down(a)

    def strand(self) -> None:
        """A node with a forwarded write is left with its connection to the leader only, which is
        replaced, and then that one goes, too. What it does next depends on the last answer it has
        had: its session expires meanwhile, or its time is over.
        """
        node, other = self.random.sample([n for n in NODES if n != self.leader], 2)
        pairs = [frozenset((node, self.leader)), frozenset((node, other))]
        if self.cuts.intersection(pairs):
            return
        self._forward(node, self.leader)
        self._break(pairs[1])
        self.elect(other)
        self._break(pairs[0])
        if self.random.random() < 0.5:
            self.expire_sessions()
        else:
            for _ in range(10):
                self._wait(TIMEOUT_MS // 8)
                self.propose()
                self.commit()
        for pair in pairs:
            self._mend(pair)

    def _forward(self, node: int, leader: int) -> None:
        """A write that this node forwards is proposed, and not committed."""
        self._hear(self.nodes[node])
        for _ in range(3):  # The first one opens the session.
            while self.committed < len(self.entries):
                self.commit()
            self._exchange(node, leader)
            self.begin(node)
            self.nodes[node].end_turn()
            self._exchange(node, leader)
            self.propose()

    def _exchange(self, one: int, other: int) -> None:
        """What is on its way between the two arrives."""
        for source, target in ((one, other), (other, one)):
            while self.queues[source, target]:
                self._deliver(source, target)

    def expire_sessions(self) -> None:
        """The leader expires all sessions, as it does with idle ones."""
        for node in self.nodes.values():
            records = node.group.machine.sessions.records()  # type: ignore[attr-defined]
            sessions = [state.session for state in records]
            if node.log.role is Role.LEADER and node.log.term == self.term and sessions:
                command = (0, 0, 0, OP_SESSION_EXPIRE, b"", tuple(sessions))
                node.group.submit(command, 0, _Nobody())
                node.group.propose_pending()
                self.committed = len(self.entries)
                node.apply(self.committed)

    def pass_time(self) -> None:
        """Short times mostly; rarely so long that operations are given up."""
        self._wait(self.random.choice((10, 50, 50, 300, 1100, 1100, 2500)))

    def _wait(self, ms: int) -> None:
        self.clock.ns += ms * 1_000_000
        for node in self.nodes.values():
            node.coordinator.sweep()

    def settle(self) -> None:
        """Nothing fails any more, until every operation has its outcome."""
        for pair in list(self.cuts):
            self._mend(pair)
        self.elect()
        for node in self.nodes.values():
            node.follow(self.term, self.leader)
        for _ in range(400):
            for node in self.nodes.values():
                node.end_turn()
            while any(self.queues.values()):
                self.deliver()
            self.propose()
            self.committed = len(self.entries)
            for node in self.nodes.values():
                node.apply(self.committed)
            if not self.unfinished() and not any(self.queues.values()):
                return
            self.clock.ns += 50_000_000
            for node in self.nodes.values():
                node.coordinator.sweep()
        raise AssertionError(f"{self.unfinished()} did not end")

    def unfinished(self) -> int:
        """Operations that have no outcome."""
        return self.started - len(self.outcomes)

    # -- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        """Each increment was executed once if it was answered, never if it is "not done"."""
        value = int(item_of(self.nodes[1].group.machine.items, KEY).split()[-1])  # type: ignore[attr-defined]
        answers = [o[1] for o in self.outcomes if not isinstance(o, Failure)]
        unknown = sum(isinstance(o, Failure) and not o.outcome_known for o in self.outcomes)
        assert len(answers) == len(set(answers)), f"two increments answered the same: {answers}"
        assert len(answers) <= value <= len(answers) + unknown, (
            f"the counter is {value} after {len(answers)} answered and {unknown} unknown increments"
        )

    def actions(self) -> list[tuple[Callable[[], None], int]]:
        """What may happen, and how often. Half of the seeds strand nodes: that ends much else."""
        actions: list[tuple[Callable[[], None], int]] = [
            (lambda: self.begin(self.random.choice(NODES)), 4),
            (self.deliver, 12),
            (self.propose, 4),
            (self.commit, 4),
            (self.elect, 2),
            (self.hear, 3),
            (self.cut, 1),
            (self.expire_sessions, 2),
            (self.pass_time, 3),
        ]
        return actions if self.seed % 2 else [*actions, (self.strand, 1)]


class _Nobody:
    """Waits for nothing."""

    def on_result(self, result: Any) -> None: ...
    def on_refused(self, why: str) -> None: ...
    def on_lost(self) -> None: ...


def _set(key: bytes, value: bytes) -> tuple[Any, ...]:
    return (0, 0, 0, OP_SET, key, b" 0 %d\r\n%b\r\n" % (len(value), value), 0)
