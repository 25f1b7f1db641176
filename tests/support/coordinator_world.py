"""A coordinator with a scripted group and a scripted peer network: no loop, no sockets."""

from random import Random
from typing import Any

from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.reply_room import ReplyRoom
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import (
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.store.commands import OP_SESSION_OPEN, OP_SET
from quorumcache.node.store.results import OK
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings

HERE, THERE, ELSEWHERE = 1, 2, 3
GROUP = 5
DATA = b" 0 1\r\nx\r\n"


class ManualClock:
    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        return self.ns

    def wall_ms(self) -> int:
        return 1_000_000 + self.ns // 1_000_000


class ScriptedGroup:
    """A replica whose log is a list: the test decides what becomes of each submission."""

    def __init__(self, clock: ManualClock) -> None:
        self.group_id = GROUP
        self.is_leader = False
        self.leader_id = 0
        self.term = 1
        self.lease = True
        self.evicts = self.may_evict = False
        self.share_bytes = 0
        self.machine = ShardStore()
        self.submitted: list[tuple[Any, ...]] = []
        self.waiters: list[Any] = []
        self.reading: list[Any] = []
        self.refuses = ""
        """Why it takes nothing."""
        self.clock = clock

    def has_lease(self) -> bool:
        return self.lease

    def now_ms(self) -> int:
        return self.clock.wall_ms()

    def submit(self, command: tuple[Any, ...], size: int, waiter: Any) -> bool:
        if self.refuses:
            waiter.on_refused(self.refuses)
            return False
        self.submitted.append(command)
        self.waiters.append(waiter)
        return True

    def when_readable(self, waiter: Any) -> None:
        self.reading.append(waiter)

    def commit(self) -> None:
        """Everything submitted is applied and answered."""
        submitted, waiters = self.submitted, self.waiters
        self.submitted, self.waiters = [], []
        index = self.machine.applied_index + 1
        results = self.machine.apply(index, self.now_ms(), submitted)
        for waiter, result in zip(waiters, results, strict=True):
            waiter.on_result(result)


class Room(ReplyRoom):
    """A client's connection, full or not."""

    def __init__(self) -> None:
        self.is_full = False
        self.parked: list[Any] = []

    def has_room(self) -> bool:
        return not self.is_full

    def is_waiting(self) -> bool:
        return bool(self.parked)

    def park(self, read: Any) -> None:
        self.parked.append(read)


class World:
    """A coordinator on node 1, with one group that is replicated on 1, 2 and 3."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.group = ScriptedGroup(self.clock)
        self.groups: dict[int, Any] = {GROUP: self.group}
        self.bytes_used = 0
        self.disk_trouble = ""
        self.may_use_new_ops = True
        self.replicas: tuple[int, ...] = ()
        """Of each group, by the map."""
        self._sent: list[tuple[int, tuple[Any, ...]]] = []
        self.forms: dict[int, int] = {}
        """Of nodes that are not of the newest form."""
        self.is_left_behind = False
        """Something was sent, and nobody had it flushed."""
        self.up = {THERE, ELSEWHERE}
        self.outcomes: list[Any] = []
        self.timings = Timings()
        self.coordinator = Coordinator(
            Serving(
                node_id=HERE,
                host=self,
                peers=self,
                clock=self.clock,
                counters=Counters(),
                memory=MemoryRoom(1000),
            ),
            Leaders(HERE, self.groups, self, lambda group_id: 0, lambda group_id: self.replicas),
            random=Random(1),
            timings=self.timings,
            timeout_ms=5000,
        )

    @property
    def sent(self) -> list[tuple[int, tuple[Any, ...]]]:
        """What this turn's end, and earlier ones, sent to other nodes."""
        self.coordinator.before_flush()
        return self._sent

    def form_of(self, node_id: int) -> int:
        return self.forms.get(node_id, OWN_FORM)

    def flush_soon(self) -> None:
        self.is_left_behind = False

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        if node_id not in self.up:
            return False
        self._sent.append((node_id, item))
        self.is_left_behind = True
        return True

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return self.send(node_id, item)

    def is_up(self, node_id: int) -> bool:
        return node_id in self.up

    def set(self, key: bytes = b"k", after: Any = None, deadline_ns: int = 0) -> Any:
        return self.coordinator.write(
            GROUP, OP_SET, key, (DATA, 0), 10, self.outcomes.append, after, None, deadline_ns
        )

    def read(self, key: bytes = b"k", after: Any = None) -> Any:
        return self.coordinator.read(GROUP, (key,), self.outcomes.append, after)

    def lead(self, node_id: int) -> None:
        self.group.is_leader = node_id == HERE
        self.group.leader_id = node_id
        self.coordinator.leader_changed(GROUP)

    def take(self) -> tuple[int, tuple[Any, ...]]:
        (only,) = self.sent
        self._sent.clear()
        return only

    def open_session_here(self) -> None:
        """The first write opens the session; answer that."""
        assert self.group.submitted[0][3] == OP_SESSION_OPEN
        self.group.commit()

    def open_session_at(self, node_id: int) -> None:
        to, item = self.take()
        assert to == node_id
        assert item[0] == FORWARD_WRITE
        assert item[5][3] == OP_SESSION_OPEN
        self.coordinator.on_forward(node_id, (FORWARD_RESULT, item[1], OK))

    def pass_ms(self, ms: int) -> None:
        self.clock.ns += ms * 1_000_000
        self.coordinator.sweep()
