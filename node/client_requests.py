"""The requests of a client connection that are under way, from their lane to their reply.

Each takes its place in the order of replies when it is made, starts its operations at the
coordinator, and fills its place when they have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from node.operations import Failure, Identity, Read, ReadOutcome, Write, WriteOutcome
from node.protocol.requests import FlushAll, GetAndTouch
from node.protocol.responses import (
    END_LINE,
    OK_LINE,
    OUT_OF_MEMORY_LINE,
    render,
    session_line,
    value_line,
)
from node.store.commands import (
    OP_CAS,
    OP_DELETE,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_PREPEND,
    OP_SET,
    OP_TOUCH,
)
from node.store.item import ITEM_DATA
from node.store.results import (
    DELETED,
    EXISTS,
    ITEM,
    NOT_FOUND,
    OUT_OF_MEMORY,
    STORED,
    TOUCHED,
)

if TYPE_CHECKING:
    from node.connection import MemcachedConnection, Slot

WRITE_OVERHEAD_BYTES: Final = 512
"""Charged per unfinished write: noreply writes take no slot, so this alone bounds their number."""

WINDOW_KEYS: Final = 64
"""Keys of one multi-get that are looked up at a time."""

COPY_BYTES_MAX: Final = 4096
"""Values up to this size are copied out of their item; larger ones are referred to."""


class PendingWrite:
    """A write of this connection, from its lane to its reply."""

    __slots__ = (
        "args",
        "connection",
        "group_id",
        "identity",
        "key",
        "op",
        "reply",
        "size",
        "slot",
        "write",
    )

    def __init__(
        self,
        connection: MemcachedConnection,
        slot: Slot | None,
        group_id: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        reply: bytes | None,
        identity: Identity | None = None,
    ) -> None:
        self.connection = connection
        self.slot = slot
        self.group_id = group_id
        self.op = op
        self.key = key
        self.args = args
        self.size = size
        self.reply = reply
        """What to answer once it is done, whatever its result; None = the result."""
        self.identity = identity
        """The client's own (session, sequence, floor)."""
        self.write: Write | None = None
        connection.inflight_bytes += size + WRITE_OVERHEAD_BYTES

    def start(self) -> None:
        connection = self.connection
        last = connection.last_write
        write = connection.server.coordinator.write(
            self.group_id,
            self.op,
            self.key,
            self.args,
            self.size,
            self.done,
            last.get(self.group_id),
            self.identity,
        )
        if not write.finished:
            self.write = last[self.group_id] = write

    def done(self, outcome: WriteOutcome) -> None:
        connection = self.connection
        connection.inflight_bytes -= self.size + WRITE_OVERHEAD_BYTES
        self.args = ()
        if self.write is not None and connection.last_write.get(self.group_id) is self.write:
            del connection.last_write[self.group_id]
        if isinstance(outcome, Failure):
            data = connection.server.failed(outcome)
        else:
            data = self._render(outcome)
        connection.lane_ended(self.group_id, True)
        connection.fill(self.slot, data)

    def _render(self, result: Any) -> bytes:
        if self.reply is not None:
            return self.reply
        op = self.op
        counters = self.connection.server.counters
        if op <= OP_PREPEND:
            if result == STORED:
                counters.total_items += 1
                if op == OP_CAS:
                    counters.cas_hits += 1
            elif result in (OUT_OF_MEMORY, DELETED) or (op == OP_SET and result == NOT_FOUND):
                # A set refused for memory runs as a delete (see Coordinator.submit).
                return OUT_OF_MEMORY_LINE
            elif op == OP_CAS:
                if result == EXISTS:
                    counters.cas_badval += 1
                else:
                    counters.cas_misses += 1
        elif op == OP_DELETE:
            if result == DELETED:
                counters.delete_hits += 1
            else:
                counters.delete_misses += 1
        elif op == OP_TOUCH:
            if result == TOUCHED:
                counters.touch_hits += 1
            else:
                counters.touch_misses += 1
        elif result == NOT_FOUND:
            if op == OP_INCR:
                counters.incr_misses += 1
            else:
                counters.decr_misses += 1
        elif type(result) is tuple:
            if op == OP_INCR:
                counters.incr_hits += 1
            else:
                counters.decr_hits += 1
        return render(result)


class OpenSession:
    """`cluster session open`: a session of the client's own in one shard."""

    def __init__(self, connection: MemcachedConnection, group_id: int) -> None:
        self.connection = connection
        self.group_id = group_id
        slot = connection.take_slot()
        assert slot is not None
        self.slot = slot

    def start(self) -> None:
        self.connection.server.coordinator.open_client_session(self.group_id, self.done)

    def done(self, outcome: int | Failure) -> None:
        connection = self.connection
        if isinstance(outcome, Failure):
            connection.fill(self.slot, connection.server.failed(outcome))
        else:
            connection.fill(self.slot, session_line(self.group_id - 1, outcome))


class SingleGet:
    """get and gets of one key that could not be answered on the spot."""

    __slots__ = (
        "connection",
        "group_id",
        "keys",
        "read",
        "reserved",
        "slot",
        "staleness_ns",
        "with_cas",
    )

    def __init__(
        self,
        connection: MemcachedConnection,
        group_id: int,
        keys: tuple[bytes, ...],
        with_cas: bool,
    ) -> None:
        self.connection = connection
        self.group_id = group_id
        self.keys = keys
        self.with_cas = with_cas
        self.read: Read | None = None
        self.staleness_ns = connection.staleness_ns
        self.slot = connection.take_slot()
        self.reserved = connection.reserve(1)

    def start(self) -> None:
        """Read it, in its lane."""
        connection = self.connection
        coordinator = connection.server.coordinator
        if self.staleness_ns:  # Such reads have no order among each other.
            coordinator.read(self.group_id, self.keys, self.done, None, self.staleness_ns)
            return
        last = connection.last_read
        read = coordinator.read(self.group_id, self.keys, self.done, last.get(self.group_id))
        if not read.finished:
            self.read = last[self.group_id] = read

    def done(self, outcome: ReadOutcome) -> None:
        connection = self.connection
        if self.read is not None and connection.last_read.get(self.group_id) is self.read:
            del connection.last_read[self.group_id]
        counters = connection.server.counters
        if isinstance(outcome, Failure):
            data = connection.server.failed(outcome)
        else:
            item = outcome[0]
            if item is None:
                counters.get_misses += 1
                data = END_LINE
            else:
                counters.get_hits += 1
                data = value_line(self.keys[0], item, self.with_cas) + END_LINE
        connection.came(self.reserved, 1, len(data))
        connection.lane_ended(self.group_id, False)
        connection.fill(self.slot, data)


class MultiGet:
    """get and gets of any number of keys over any number of shards, in windows."""

    def __init__(
        self, connection: MemcachedConnection, keys: tuple[bytes, ...], with_cas: bool
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.with_cas = with_cas
        self.staleness_ns = connection.staleness_ns
        slot = connection.take_slot()
        assert slot is not None
        self.slot = slot
        self.position = 0
        """First key of the window under way."""
        self.pending = 0
        """Groups of the window that have not answered."""
        self.found: dict[bytes, bytes | None] = {}
        self.reserved = 0
        """Room made for the answers of the window under way."""
        self.failure: Failure | None = None

    def start(self) -> None:
        """Look one window of keys up: one read per group, each in its lane."""
        connection = self.connection
        by_group: dict[int, dict[bytes, None]] = {}
        window = self.keys[self.position : self.position + WINDOW_KEYS]
        self.reserved = connection.reserve(len(window))
        for key in window:
            by_group.setdefault(connection.server.group_of(key), {})[key] = None
        self.pending = len(by_group)
        for group_id, keys in by_group.items():
            self._read(group_id, tuple(keys))

    def _read(self, group_id: int, keys: tuple[bytes, ...]) -> None:
        connection = self.connection
        last = connection.last_read
        read: Read | None = None

        def done(outcome: ReadOutcome) -> None:
            if read is not None and last.get(group_id) is read:
                del last[group_id]
            if isinstance(outcome, Failure):
                self.failure = outcome
            else:
                self.found.update(zip(keys, outcome, strict=True))
            connection.lane_ended(group_id, False)
            self.pending -= 1
            if self.pending == 0:
                self._window_done()

        def start() -> None:
            nonlocal read
            coordinator = connection.server.coordinator
            if self.staleness_ns:
                coordinator.read(group_id, keys, done, None, self.staleness_ns)
                return
            started = coordinator.read(group_id, keys, done, last.get(group_id))
            if not started.finished:
                read = last[group_id] = started

        connection.in_lane(group_id, False, start)

    def _window_done(self) -> None:
        connection = self.connection
        if self.failure is not None:
            connection.came(self.reserved, 1, 0)
            self._finish(connection.server.failed(self.failure))
            return
        pieces = self.slot.pieces
        counters = connection.server.counters
        window = self.keys[self.position : self.position + WINDOW_KEYS]
        hits = size = 0
        for key in window:
            item = self.found[key]
            if item is None:
                continue
            hits += 1
            if self.with_cas:
                line = value_line(key, item, True)
                pieces.append(line)
                size += len(line)
            else:
                pieces.append(b"VALUE " + key)
                if len(item) <= COPY_BYTES_MAX:
                    pieces.append(item[ITEM_DATA:])
                else:
                    pieces.append(memoryview(item)[ITEM_DATA:])
                size += 6 + len(key) + len(item) - ITEM_DATA
        counters.get_hits += hits
        counters.get_misses += len(window) - hits
        connection.came(self.reserved, len(window), size)
        connection.reply_bytes += size
        self.found.clear()
        self.position += WINDOW_KEYS
        if self.position < len(self.keys):
            connection.release()
            connection.unfinished = self
            connection.schedule_pump()
        else:
            self._finish(END_LINE)

    def _finish(self, line: bytes) -> None:
        if len(self.keys) > WINDOW_KEYS:
            self.connection.barrier = False
        self.connection.fill(self.slot, line)


class MultiTouch:
    """gat and gats: one write per key, in windows like those of MultiGet."""

    def __init__(self, connection: MemcachedConnection, request: GetAndTouch) -> None:
        self.connection = connection
        self.request = request
        slot = connection.take_slot()
        assert slot is not None
        self.slot = slot
        self.position = 0
        """First key of the window under way."""
        self.items: list[bytes | None] = []
        """What the keys of the window hold."""
        self.pending = 0
        self.reserved = 0
        self.failure: Failure | None = None
        self.some_done = False
        """A key was touched, or found missing: the whole cannot be "not done" any more."""

    def start(self) -> None:
        """Touch one window of keys."""
        window = self.request.keys[self.position : self.position + WINDOW_KEYS]
        self.items = [None] * len(window)
        self.pending = len(window)
        self.reserved = self.connection.reserve(len(window))
        for place, key in enumerate(window):
            self._touch(place, key)

    def _touch(self, place: int, key: bytes) -> None:
        connection = self.connection
        group_id = connection.server.group_of(key)
        last = connection.last_write
        write: Write | None = None

        def done(outcome: WriteOutcome) -> None:
            if write is not None and last.get(group_id) is write:
                del last[group_id]
            if isinstance(outcome, Failure):
                if self.failure is None or self.failure.outcome_known:
                    self.failure = outcome
            else:
                self.some_done = True
                if type(outcome) is tuple and outcome[0] == ITEM:
                    assert isinstance(outcome[1], bytes)
                    self.items[place] = outcome[1]
            connection.lane_ended(group_id, True)
            self.pending -= 1
            if self.pending == 0:
                self._window_done()

        def start() -> None:
            nonlocal write
            started = connection.server.coordinator.write(
                group_id,
                OP_GAT,
                key,
                (self.request.exptime,),
                len(key),
                done,
                last.get(group_id),
            )
            if not started.finished:
                write = last[group_id] = started

        connection.in_lane(group_id, True, start)

    def _window_done(self) -> None:
        connection = self.connection
        failure = self.failure
        if failure is not None:
            if self.some_done:
                failure = Failure(failure.why, outcome_known=False)
            connection.came(self.reserved, 1, 0)
            self._finish(connection.server.failed(failure))
            return
        counters = connection.server.counters
        pieces = self.slot.pieces
        keys = self.request.keys
        window = keys[self.position : self.position + WINDOW_KEYS]
        size = 0
        for key, item in zip(window, self.items, strict=True):
            if item is None:
                counters.touch_misses += 1
            else:
                counters.touch_hits += 1
                line = value_line(key, item, self.request.with_cas)
                pieces.append(line)
                size += len(line)
        connection.came(self.reserved, len(window), size)
        connection.reply_bytes += size
        self.items = []
        self.position += WINDOW_KEYS
        if self.position < len(keys):
            connection.release()
            connection.unfinished = self
            connection.schedule_pump()
        else:
            self._finish(END_LINE)

    def _finish(self, line: bytes) -> None:
        if len(self.request.keys) > WINDOW_KEYS:
            self.connection.barrier = False
        self.connection.fill(self.slot, line)


class FlushAllShards:
    """flush_all: one command to every shard; OK when all have it."""

    def __init__(self, connection: MemcachedConnection, request: FlushAll) -> None:
        self.connection = connection
        self.delay = request.delay
        self.slot = connection.take_slot(request.noreply)
        self.pending = 0
        self.failure: Failure | None = None

    def start(self) -> None:
        shards = self.connection.server.shard_count
        self.pending = shards
        for shard in range(shards):
            self.connection.server.coordinator.write(
                shard + 1, OP_FLUSH, b"", (self.delay,), 0, self._done
            )

    def _done(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Failure) and (self.failure is None or outcome.outcome_known):
            # Shards that were flushed stay so: the whole is in doubt, not undone.
            self.failure = Failure(outcome.why, outcome_known=False)
        self.pending -= 1
        if self.pending == 0:
            connection = self.connection
            connection.barrier = False
            if self.failure is not None:
                connection.fill(self.slot, connection.server.failed(self.failure))
            else:
                connection.fill(self.slot, OK_LINE)
