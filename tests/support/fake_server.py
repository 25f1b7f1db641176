"""A memcached connection without a node: a scripted coordinator, and a transport moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

from quorumcache.node.clients.connection import MemcachedConnection
from quorumcache.node.clients.context import ClientContext, ClientSettings, Controls
from quorumcache.node.clients.forwarded_answers import ForwardedAnswers
from quorumcache.node.operations.get_bundles import GETS_FORM, GetBundles
from quorumcache.node.operations.operation import Write
from quorumcache.node.operations.read_levels import parse_level
from quorumcache.node.operations.transactions import Transactions
from quorumcache.node.peers.items import FORWARD_FOUND
from quorumcache.node.state_machine import Result
from quorumcache.node.store.item import pack_header
from quorumcache.node.store.results import STORED
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from tests.support.manual_loop import ManualLoop

SHARDS = 4
LEASE_NS = 1_000_000_000


class Started:
    """An operation that the connection has started; the test gives its outcome."""

    def __init__(
        self,
        is_write: bool,
        group_id: int,
        keys: tuple[bytes, ...],
        done: Callable[[Any], None],
        op: int = 0,
        after: Any = None,
        identity: Any = None,
    ) -> None:
        self.is_write = is_write
        self.group_id = group_id
        self.keys = keys
        self.done = done
        self.op = op
        self.after = after
        self.identity = identity
        self.args: tuple[object, ...] = ()
        self.deadline_ns = 0
        self.finished = False
        self.is_unsettled = False
        self.staleness_ns = 0
        self.room: Any = None
        self.parked = False
        self.unparked = 0

    def unfinished_before(self) -> None:
        """Operations end in their order here."""

    def answered(self, outcome: Any) -> None:
        """As `Read` does: the answer is dropped while there is no room."""
        if self.room.has_room():
            self.end(outcome)
        else:
            self.parked = True
            self.room.park(self)

    def unpark(self) -> None:
        self.parked = False
        self.unparked += 1

    def end(self, outcome: Any) -> None:
        """Give it its outcome."""
        assert not self.finished
        self.finished = True
        self.done(outcome)


class ScriptedCoordinator:
    """Collects what was started, in order. `answer` ends operations on the spot when it is set."""

    def __init__(self) -> None:
        self.started: list[Started] = []
        self.answer: Callable[[Started], Any] | None = None
        self.serving = self
        self.time = SimpleNamespace(is_settled=True, now_ms=lambda: self.now_ms)
        self.host = SimpleNamespace(may_use_new_ops=True, time=self.time)
        self.timeout_ms = 5000
        self.clock = SimpleNamespace(monotonic_ns=lambda: 0)
        self.new_ops = SimpleNamespace(may_begin=lambda: self.host.may_use_new_ops)
        self.timings = SimpleNamespace(read_seconds=None, write_seconds=None)
        self.sessions = SimpleNamespace(new_id=lambda: 77)
        self.ways = ScriptedWays()
        self.bundles = self.ways.bundles
        self.forwards = SimpleNamespace(is_gathered=lambda write: False)
        self._writes: dict[Any, Started] = {}
        """By the write that its request has made."""
        self.now_ms = 1_000_000
        self.deadline = 1
        self.meta_reads: list[Any] = []
        self.found: Callable[[bytes], Any] | None = None
        """What such a read finds at once; None: the test says it later."""
        self.hint: tuple[int, int] | None = None
        self.fresh_groups: list[Any] = []
        """Groups that are fresh enough for any bound."""

    def is_fresh(self, group: Any, staleness_ns: int) -> bool:
        return group in self.fresh_groups

    def _start(self, operation: Started) -> Started:
        if self.answer is not None:
            outcome = self.answer(operation)
            if outcome is not None:
                operation.end(outcome)
                return operation
        self.started.append(operation)
        return operation

    def write(
        self,
        group_id: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        done: Callable[[Any], None],
        after: Any = None,
        identity: Any = None,
        deadline_ns: int = 0,
    ) -> Started:
        after = self._writes.get(after, after)
        started = Started(True, group_id, (key,), done, op, after, identity)
        started.args = args
        started.deadline_ns = deadline_ns
        return self._start(started)

    def begin(self, read: Any, is_late: bool) -> None:
        """An operation that its request has made."""
        if isinstance(read, Write):
            write, after = read, self._writes.get(read.after, read.after)
            args = (write.key,), write.finish, write.op, after, write.identity
            started = self._writes[write] = Started(True, write.group_id, *args)
            started.args = write.args
            started.deadline_ns = write.deadline_ns
            self._start(started)
            return
        self.meta_reads.append(read)
        if self.found is not None:
            read.hint = self.hint
            read.finish(self.found(read.keys[0]))

    def times(self, group_id: int) -> tuple[int, int]:
        return self.now_ms, self.now_ms

    def took(self, operation: Any, here: Any) -> None:
        """For `OperationOwner`."""

    def open_client_session(self, group_id: int, done: Callable[[Any], None]) -> None:
        self._start(Started(True, group_id, (), done))

    def read(
        self,
        group_id: int,
        keys: tuple[bytes, ...],
        done: Callable[[Any], None],
        after: Any = None,
        staleness_ns: int = 0,
        room: Any = None,
        deadline_ns: int = 0,
    ) -> Started:
        operation = Started(False, group_id, keys, done, 0, after)
        operation.room = room
        operation.staleness_ns = staleness_ns
        return self._start(operation)

    def deadline_ns(self) -> int:
        return self.deadline

    def take(self) -> Started:
        """The one operation that is under way."""
        (only,) = self.started
        self.started.clear()
        return only

    def end_all(self, result: Result = STORED) -> None:
        """End all writes with `result` and all reads with misses."""
        while self.started:
            operation = self.started.pop(0)
            operation.end(result if operation.is_write else [None] * len(operation.keys))


class ScriptedWays:
    """Other nodes, as `GetBundles` sees them: what it sends is a list."""

    def __init__(self) -> None:
        self.leads: dict[int, int] = {}
        """Which node leads a group."""
        self.relayed: set[int] = set()
        """Groups that are reached through another node."""
        self.forms: dict[int, int] = {}
        """Of nodes that are not of the newest form."""
        self.is_up = True
        self.now_ns = 0
        self.flushes_wanted = 0
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        self.counters = Counters()
        self.peers = self.host = self.clock = self
        ways: Any = self
        self.timings = Timings()
        self.bundles = GetBundles(ways, ways, self.timings, 1, 5_000_000_000)
        self.bundles.receiver = ForwardedAnswers()

    def monotonic_ns(self) -> int:
        return self.now_ns

    def flush_soon(self) -> None:
        """The test says when a turn ends."""
        self.flushes_wanted += 1

    def way_to(self, group_id: int) -> tuple[int, bool]:
        return self.leads.get(group_id, 0), group_id in self.relayed

    def form_of(self, node_id: int) -> int:
        return self.forms.get(node_id, GETS_FORM)

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        if self.is_up:
            self.sent.append((node_id, item))
        return self.is_up

    def turn(self) -> list[tuple[int, tuple[Any, ...]]]:
        """The turn ends: what was sent in it."""
        self.bundles.send()
        sent, self.sent = self.sent, []
        return sent

    def answer(self, node_id: int, item: tuple[Any, ...], *found: Any) -> None:
        """A node answers a FORWARD_GETS."""
        self.bundles.answered(node_id, (FORWARD_FOUND, item[1], found))


class FakeGroup:
    """What a connection sees of a group."""

    def __init__(self) -> None:
        self.machine = ShardStore()
        self.is_leader = False
        self._lease_until_ns = 0
        self.time_ms = 2000

    @property
    def lease_until_ns(self) -> int:
        return self._lease_until_ns

    @lease_until_ns.setter
    def lease_until_ns(self, until_ns: int) -> None:
        self._lease_until_ns = until_ns
        self.machine.lend(until_ns)

    def now_ms(self) -> int:
        return self.time_ms

    def lead(self) -> None:
        self.is_leader = True
        self.lease_until_ns = LEASE_NS


class FakeTransport:
    """Collects what is written; pauses the protocol above `high` bytes until `drain`."""

    def __init__(self, high: int = 64 << 10) -> None:
        self.high = high
        self.protocol: Any = None
        self.unread = bytearray()
        """Written, and not yet read by the client."""
        self.is_paused = False
        self.is_reading = True
        self.closed = False
        self.aborted = False

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 5000) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def write(self, data: bytes | memoryview) -> None:
        assert not self.closed, "written after close"
        self.unread += data
        if len(self.unread) > self.high and not self.is_paused:
            self.is_paused = True
            self.protocol.pause_writing()

    def drain(self) -> bytes:
        """The client reads everything."""
        data = bytes(self.unread)
        self.unread.clear()
        if self.is_paused:
            self.is_paused = False
            self.protocol.resume_writing()
        return data

    def pause_reading(self) -> None:
        assert self.is_reading, "paused twice"
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading, "resumed twice"
        self.is_reading = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class FakeServer(ClientContext):
    """What connections share and who owns them, without a node: replies to `stats` and `cluster`
    are made up."""

    def __init__(self) -> None:
        coordinator: Any = ScriptedCoordinator()
        coordinator.counters = counters = Counters()
        groups: Any = {shard + 1: FakeGroup() for shard in range(SHARDS)}
        loop: Any = ManualLoop()
        super().__init__(
            loop=loop,
            monotonic_ns=lambda: self.now_ns,
            coordinator=coordinator,
            counters=counters,
            groups=groups,
            shards=SHARDS,
            item_bytes_max=1 << 20,
            stats=lambda args: b"STAT a 1\r\nEND\r\n",
            cluster=_cluster,
            moved_line=lambda group_id: b"MOVED 1 %d 2 host:1\r\n" % (group_id - 1),
            operator=self.operate,
            controls=Controls(
                wall_ms=lambda: 1_700_000_000_000 + self.now_ns // 1_000_000,
                set_verbosity=lambda level: self.said.append(("verbosity", level)),
                limit_memory=self.limit_memory,
                shut_down=None,
            ),
            transactions=Transactions(coordinator, Random(1)),
        )
        self.said: list[tuple[str, int]] = []
        """What clients asked of the process."""
        self.memory_bytes_max = 1 << 40
        self.asked: list[tuple[tuple[bytes, ...], Callable[[bytes], None]]] = []
        """Words of an operator, and who hears the reply."""
        self.version_line = b"VERSION 1\r\n"
        self.now_ns = 0
        self.full = False

    def limit_memory(self, memory_bytes: int) -> bool:
        self.said.append(("memory", memory_bytes))
        return memory_bytes <= self.memory_bytes_max

    def operate(
        self,
        settings: ClientSettings,
        client_address: str,
        args: tuple[bytes, ...],
        done: Callable[[bytes], None],
    ) -> None:
        self.asked.append((args, done))

    def admit(self, connection: MemcachedConnection) -> bool:
        return not self.full

    def left(self, connection: MemcachedConnection) -> None:
        pass


def _cluster(settings: ClientSettings, args: tuple[bytes, ...]) -> bytes:
    if args[0] == b"read":
        staleness_ns = parse_level(args[1:])
        assert staleness_ns is not None
        settings.staleness_ns = staleness_ns
    else:
        settings.redirect = args == (b"redirect", b"on")
    return b"OK\r\n"


class Client:
    """One connection, and the client at its other end."""

    def __init__(
        self, *, high: int = 64 << 10, full: bool = False, server: FakeServer | None = None
    ) -> None:
        self.server = server or FakeServer()
        self.server.full = full
        scripted: Any = self.server.coordinator
        self.coordinator: ScriptedCoordinator = scripted
        self.transport = FakeTransport(high)
        self.connection = MemcachedConnection(self.server, self.server, 1, watched_ns=0)
        self.transport.protocol = self.connection
        transport: Any = self.transport
        self.connection.connection_made(transport)

    def send(self, data: bytes) -> None:
        """One read of the socket, and the turn that follows."""
        assert self.transport.is_reading, "the socket is not read"
        self.connection.data_received(data)
        self.turn()

    def greet(self) -> None:
        """The short cuts are not taken by the very first request of a connection."""
        self.send(b"version\r\n")
        assert self.read() == b"VERSION 1\r\n"

    def turn(self) -> None:
        """Run what is scheduled."""
        self.server.loop.run()

    def read(self) -> bytes:
        """What the client reads, until nothing more comes."""
        data = b""
        while self.transport.unread:
            data += self.transport.drain()
            self.turn()
        return data

    def lead_all(self) -> None:
        groups: Any = self.server.groups
        for group in groups.values():
            group.lead()

    def put(self, key: bytes, value: bytes) -> None:
        """Place an item in its shard's store, as if it had been set."""
        store: Any = self.server.groups[self.server.group_of(key)].machine
        data = b" 0 %d\r\n%b\r\n" % (len(value), value)
        store.apply(store.applied_index + 1, 1000, [(0, 0, 0, 1, key, data, 0)])


def keys_of(server: FakeServer, group_id: int, count: int) -> list[bytes]:
    """The first `count` keys of the form kN that belong to a group."""
    keys = (b"k%d" % number for number in range(100_000))
    of_group = [key for key in keys if server.group_of(key) == group_id]
    return of_group[:count]


def item(value: bytes = b"x") -> bytes:
    """A packed item, as the coordinator answers a read."""
    return pack_header(0, 0, 7) + b" 0 %d\r\n%b\r\n" % (len(value), value)


def value_lines(key: bytes, value: bytes = b"x") -> bytes:
    """What a client reads of it, without END."""
    return b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value)


def set_line(key: bytes, value: bytes = b"x", noreply: bool = False) -> bytes:
    """A whole set."""
    tail = b" noreply" if noreply else b""
    return b"set %b 0 0 %d%b\r\n%b\r\n" % (key, len(value), tail, value)
