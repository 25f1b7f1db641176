"""Cost of a durable write between nodes: three replica hosts in one process, no sockets, no disk.

    .venv/bin/python -m tests.support.write_cost [clients] [writes] [groups]

Each node leads a third of the groups. A client writes to a group drawn at random, and again when it
is answered. A node's step is: what its log has written meanwhile, the frames that have come, the
writes of clients, one turn. So measured is what a write costs the three nodes together, from
`submit` to the waiter: commands, consensus, items and frames, the bytes of the log, the store. It
is processor time of this process: other load on the machine changes it less than a clock's.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from quorumcache.node.clock import Clock
from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.values import Configuration, Role, SnapshotMeta
from quorumcache.node.inbox import deliver_consensus
from quorumcache.node.peers.codec import FrameDecoder, decode_items, encode_items
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.wal.format import WalRecord, encode_frame
from quorumcache.node.wal.groups import GroupStates
from quorumcache.node.wal.queue import AppendQueue

NODES = (1, 2, 3)
VOTERS = Configuration(NODES)
FORM = 1_000
"""Each node says that it understands everything."""
KEYS = 100
COMPACT_EVERY = 20
"""Steps between two compactions."""
VALUE = b" 0 100\r\n" + b"x" * 100 + b"\r\n"


class Steps:
    """What a host needs of an event loop: callbacks, run when the node has its step."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call it in this step."""
        self._calls.append((callback, args))

    def run(self) -> None:
        """Call all, also those that come meanwhile."""
        calls = self._calls
        while calls:
            callback, args = calls.popleft()
            callback(*args)


class RealClock(Clock):
    """The process's own clock."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class BytesLog:
    """The log without its file: what waits becomes a frame while the one before is written, which
    takes one step."""

    def __init__(self) -> None:
        self.queue = AppendQueue(())
        self.states = GroupStates()
        self.queued_bytes = 0
        self.size = 0
        self._due: list[tuple[int, Callable[[], None]]] = []

    def append(self, records: Sequence[WalRecord], on_durable: Callable[[], None]) -> None:
        """As `Wal.append`."""
        self.queue.add(records, on_durable)

    def written(self) -> None:
        """The frame under way is durable, and the next one begins."""
        due = self._due
        items = self.queue.take()
        self._due = self.queue.take_callbacks()
        if items:
            self.states.take(items)
            self.size = (self.size + len(encode_frame(items, self.size, 7))) & 0xFFFFFF
        for _, callback in due:
            callback()


class Node:
    """One of three."""

    def __init__(self, node_id: int, groups: int) -> None:
        self.node_id = node_id
        self.loop = Steps()
        self.log = BytesLog()
        self.network: dict[int, Node] = {}
        self.frames: list[tuple[int, bytes]] = []
        self._outboxes: dict[int, list[bytes]] = {}
        self._decoders = {other: FrameDecoder() for other in NODES}
        peers: Any = self
        loop: Any = self.loop
        wal: Any = self.log
        self.transport = ConsensusTransport(peers)
        self.host = ReplicaHost(
            loop=loop,
            clock=RealClock(),
            wal=wal,
            snapshots=None,
            transport=self.transport,
            counters=Counters(),
            tick_ms=10,
            on_leader_change=lambda group_id: None,
            on_fatal=_fail,
            give_back=lambda: None,
        )
        self.host.time.bridge()
        for group_id in range(1, groups + 1):
            raft = Raft(ConsensusConfig(replica_id=node_id), Random(group_id), configuration=VOTERS)
            meta = SnapshotMeta(0, 0, VOTERS)
            self.host.add_group(ReplicaGroup(group_id, raft, ShardStore(), self.host, meta))

    # What the transport needs of the peer network.

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        """Put an item into the outbox for a node."""
        self._outboxes.setdefault(node_id, []).append(packed)
        return True

    def send_again(self, node_id: int, packed: bytes) -> None:
        """There are no datagrams here."""

    def form_of(self, node_id: int) -> int:
        """What a node understands."""
        return FORM

    def flush(self) -> None:
        """One frame to each node."""
        for node_id, packed in self._outboxes.items():
            self.network[node_id].frames.append((self.node_id, encode_items(packed)))
        self._outboxes.clear()

    def step(self, submissions: list[tuple[ReplicaGroup, bytes, Waits]]) -> None:
        """See the module."""
        self.log.written()
        frames, self.frames = self.frames, []
        for sender, frame in frames:
            for payload in self._decoders[sender].feed(frame):
                for item in decode_items(payload):
                    assert isinstance(item, tuple)
                    deliver_consensus(sender, item, self.host, self.transport)
        for group, key, waiter in submissions:
            group.submit((0, 0, 0, OP_SET, key, VALUE, 0), len(key) + len(VALUE), waiter)
        self.loop.run()


class Waits:
    """A client: it writes again when it is answered."""

    def __init__(self, answered: list[Waits]) -> None:
        self._answered = answered

    def on_result(self, result: Any) -> None:
        """The write is durable."""
        self._answered.append(self)

    def on_refused(self, why: str) -> None:
        """Nothing is refused here."""
        raise AssertionError(why)

    def on_lost(self) -> None:
        """No leader is lost here."""
        raise AssertionError("lost")


def _fail(error: BaseException) -> None:
    raise error


def make_nodes(groups: int) -> dict[int, Node]:
    """Three nodes, each of which leads its groups."""
    nodes = {node_id: Node(node_id, groups) for node_id in NODES}
    for node in nodes.values():
        node.network = nodes
        for group_id, group in node.host.groups.items():
            if leader_of(group_id) == node.node_id:
                group.log.campaign()
                node.host.mark_dirty(group)
    for _ in range(20):
        for node in nodes.values():
            node.step([])
    for node in nodes.values():
        for group_id, group in node.host.groups.items():
            leads = leader_of(group_id) == node.node_id
            assert group.role is (Role.LEADER if leads else Role.FOLLOWER)
    return nodes


def leader_of(group_id: int) -> int:
    """Which node leads a group."""
    return NODES[group_id % len(NODES)]


def measure(clients: int, writes: int, groups: int) -> tuple[float, float]:
    """Microseconds of processor time per write, and writes per turn of a node."""
    nodes = make_nodes(groups)
    random = Random(1)
    answered: list[Waits] = []
    ready = [Waits(answered) for _ in range(clients)]
    done = steps = 0
    start = time.process_time()
    while done < writes:
        submissions: dict[int, list[tuple[ReplicaGroup, bytes, Waits]]] = {n: [] for n in NODES}
        for client in ready:
            group_id = random.randrange(groups) + 1
            leader = nodes[leader_of(group_id)]
            key = b"key:%010d" % random.randrange(KEYS)
            submissions[leader.node_id].append((leader.host.groups[group_id], key, client))
        for node in nodes.values():
            node.step(submissions[node.node_id])
        steps += 1
        if steps % COMPACT_EVERY == 0:
            for node in nodes.values():
                for group in node.host.groups.values():
                    group.log.compact(group.applied_index)
        ready = list(answered)
        answered.clear()
        done += len(ready)
    return (time.process_time() - start) / done * 1e6, done / steps / len(NODES)


def main() -> None:
    """Print one line."""
    numbers = [int(word) for word in sys.argv[1:4]]
    clients, writes, groups = (*numbers, *(50, 60_000, 64)[len(numbers) :])
    best = min(measure(clients, writes, groups) for _ in range(3))
    print(f"{clients} clients, {groups} groups: {best[0]:.2f} us, {best[1]:.1f} writes per turn")


if __name__ == "__main__":
    main()
