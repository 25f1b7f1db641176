"""One memcached client's connection: bytes in, operations started, replies out in request order.

Reading: the parser turns what arrived into requests. A get of a key whose shard this node leads
under a lease is answered on the spot; everything else takes a slot in the reply queue and runs as
an operation of the coordinator, in the lanes of `lanes.py`.

Bounds (nothing here grows with what a client sends and does not read):
 - at most SLOTS_MAX replies, INFLIGHT_BYTES_MAX bytes of values to write and REPLY_BYTES_MAX bytes
   of answers are under way; beyond that, and while the client does not read its replies, requests
   wait in a backlog that is at most what one read of the socket brought, and the socket is not
   read;
 - a multi-get is answered in windows of WINDOW_KEYS keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from node.lanes import Lane
from node.operations import OUT_OF_MEMORY, Failure, ReadOutcome, Write, WriteOutcome
from node.protocol.parser import Parser
from node.protocol.requests import (
    Arithmetic,
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    Quit,
    RefusedStore,
    Request,
    Stats,
    Store,
    Touch,
    Verbosity,
    Version,
)
from node.protocol.responses import (
    END_LINE,
    OK_LINE,
    OUT_OF_MEMORY_LINE,
    TOO_MANY_CONNECTIONS_LINE,
    render,
    value_line,
)
from node.store.commands import (
    OP_APPEND,
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
    STORED,
    TOUCHED,
)
from ring import key_token

if TYPE_CHECKING:
    from node.server import MemcachedServer

SLOTS_MAX = 1024
"""Replies of one connection that are not complete yet."""

INFLIGHT_BYTES_MAX = 8 << 20
"""Bytes of keys and values of one connection's unfinished writes, with an overhead for each."""

WRITE_OVERHEAD_BYTES = 512
"""Charged per unfinished write: noreply writes take no slot, so this alone bounds their number."""

REPLY_BYTES_MAX = 4 << 20
"""Bytes of answers that wait for their turn, or for the transport. One more may exceed it."""

FIRST_READ_BYTES = 32 << 10
"""What a read under way is reckoned to bring until answers tell how large values are."""

LEAST_READ_BYTES = 256
"""The least that a read under way is reckoned to bring."""

WINDOW_KEYS = 64
"""Keys of one multi-get that are looked up at a time."""

WRITE_CHUNK_BYTES = 256 << 10
"""Replies are handed to the transport in pieces of about this size, so that a client that does not
read costs this much and the transport's own bound."""

COPY_BYTES_MAX = 4096
"""Values up to this size are copied out of their item; larger ones are referred to."""


class Slot:
    """The place of one reply in the order of replies."""

    __slots__ = ("done", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.done = False


class MemcachedConnection(asyncio.Protocol):
    """See the module docstring."""

    __slots__ = (
        "_backlog",
        "_barrier",
        "_closed",
        "_closing",
        "_counters",
        "_draining",
        "_groups",
        "_inflight_bytes",
        "_lanes",
        "_last_write",
        "_monotonic_ns",
        "_out",
        "_parser",
        "_pump_scheduled",
        "_read_bytes",
        "_reading_paused",
        "_reply_bytes",
        "_slots",
        "_token_shift",
        "_transport",
        "_unfinished_windows",
        "_write_paused",
        "client_address",
        "number",
        "redirect",
        "server",
    )

    def __init__(self, server: MemcachedServer, number: int) -> None:
        self.server = server
        self._counters = server.counters
        self._groups = server.groups
        self._token_shift = server.token_shift
        self._monotonic_ns = server.monotonic_ns
        self.number = number
        self.client_address = ""
        self.redirect = False
        """Answer misrouted keys with MOVED instead of forwarding them."""
        self._parser = Parser(item_bytes_max=server.item_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Transport | None = None
        """The transport once it was closed: it lives until the client has read everything."""
        self._slots: deque[Slot] = deque()
        self._out: deque[bytes | memoryview] = deque()
        self._lanes: dict[int, Lane] = {}
        self._last_write: dict[int, Write] = {}
        """The newest unfinished write per group; a following one is repeated after it."""
        self._backlog: deque[Request] = deque()
        self._inflight_bytes = 0
        self._reply_bytes = 0
        """Bytes in `_out` and in the pieces of `_slots`, and what reads under way may bring."""
        self._read_bytes = FIRST_READ_BYTES
        """What one key's answer may bring: the largest of late, halved with each smaller one."""
        self._write_paused = False
        self._reading_paused = False
        self._barrier = False
        """A request that must run alone is under way."""
        self._draining = False
        """The next request must run alone: what came before it has to end first."""
        self._unfinished_windows: dict[Slot, _MultiGet] = {}
        """Long multi-gets that go on once their slot is the first and its window has left."""
        self._closing = False
        """Nothing more is executed; close when all replies are out."""
        self._pump_scheduled = False

    # -- the transport's calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.client_address = f"{peer[0]}:{peer[1]}" if peer else ""
        if not self.server.admit(self):
            transport.write(TOO_MANY_CONNECTIONS_LINE)
            transport.close()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._closed = None
        self._backlog.clear()
        self._out.clear()
        self.server.left(self)

    def eof_received(self) -> bool:
        # What was asked before the client closed its side is still answered.
        if self._backlog:
            self._backlog.append(Quit())
        else:
            self._closing = True
            self._schedule_pump()
        return True

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._pump()

    def finish(self) -> None:
        """Take nothing more in; close when every reply is out."""
        self._closing = True
        self._backlog.clear()
        self._schedule_pump()

    def abort(self) -> None:
        """Close at once."""
        transport = self._transport or self._closed
        self._transport = self._closed = None
        if transport is not None:
            transport.abort()

    @property
    def state(self) -> str:
        """A word for `stats conns`."""
        if self._closing:
            return "closing"
        return "paused" if self._reading_paused else "reading"

    def data_received(self, data: bytes) -> None:
        self._counters.bytes_read += len(data)
        if self._closing:
            return
        # Nothing may be under way that a get could overtake: a noreply write has a lane and no
        # slot, and a client that does not read has neither.
        if data[:4] == b"get " and not (
            self._slots or self._lanes or self._write_paused or self._backlog or self._barrier
        ):
            keys = self._parser.plain_gets(data)
            if keys is not None:
                self._plain_gets(keys)
                return
        requests = self._parser.feed(data)
        if self._backlog:
            self._backlog.extend(requests)
            return
        self._execute(requests)
        if self._out:
            self._flush()

    def _plain_gets(self, keys: list[bytes]) -> None:
        """Answer gets of one key each, as far as this node leads their shards under a lease.

        This is the whole data path of a client that routes by itself, so it is written out: it
        takes 1.0 us for one get, 0.6 us in a pipeline of 16, where the general way takes 1.9 and
        1.2 (python -m bench.micro.connection).
        """
        groups = self._groups
        shift = self._token_shift
        # Read after the requests' bytes: a lease that holds now held after they were sent.
        now_ns = self._monotonic_ns()
        out: list[bytes] = []
        size = 0
        for key in keys:
            group = groups.get((key_token(key) >> shift) + 1)
            if group is None or now_ns >= group.lease_until_ns:
                break
            store: Any = group.machine
            item = store.items.get(key)
            if item is None or item[0] or store.pending_flush_ms:
                break
            out.append(b"VALUE " + key + item[ITEM_DATA:] + END_LINE)
            size += len(item)
            if size > WRITE_CHUNK_BYTES:
                break
        hits = len(out)
        if hits:
            counters = self._counters
            counters.cmd_get += hits
            counters.get_hits += hits
            counters.lease_reads += hits
            if not self._out:
                reply = out[0] if hits == 1 else b"".join(out)
                counters.bytes_written += len(reply)
                self._transport.write(reply)  # type: ignore[union-attr]
            else:
                self._out.extend(out)
                self._reply_bytes += sum(map(len, out))
        if hits < len(keys):
            self._execute([Get((key,), False) for key in keys[hits:]])
            if self._out:
                self._flush()

    # -- running requests ----------------------------------------------------------------

    def _execute(self, requests: list[Request]) -> None:
        """Run requests until one has to wait; the rest goes to the backlog."""
        for position, request in enumerate(requests):
            if self._is_blocked():
                self._wait_for_room(requests[position:])
                return
            handler = _HANDLERS[type(request)]
            handler(self, request)
            if self._reply_bytes > WRITE_CHUNK_BYTES and self._out:
                self._flush()

    def _is_blocked(self) -> bool:
        return (
            self._write_paused
            or self._barrier
            or self._draining
            or self._closing
            or len(self._slots) >= SLOTS_MAX
            or self._inflight_bytes >= INFLIGHT_BYTES_MAX
            or self._reply_bytes >= REPLY_BYTES_MAX
        )

    def _wait_for_room(self, requests: list[Request]) -> None:
        if self._closing:
            return  # Nothing after quit runs.
        self._backlog.extend(requests)
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self.server.counters.reads_paused += 1
            self._transport.pause_reading()
        self._schedule_pump()  # There may be room again as soon as `_out` is flushed.

    def _schedule_pump(self) -> None:
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self.server.loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Send what is ready, then go on with the backlog as far as there is room."""
        self._pump_scheduled = False
        transport = self._transport
        if transport is None:
            return
        if self._out:
            self._flush()
        if self._unfinished_windows and not self._write_paused:
            # Windows end in any order, but only the one of the first reply may go on.
            first = self._unfinished_windows.pop(self._slots[0], None)
            if first is not None:
                first.start()
        if self._draining and not self._slots and not self._lanes:
            self._draining = False
        if self._backlog and not self._is_blocked() and len(self._slots) <= SLOTS_MAX // 2:
            requests = list(self._backlog)
            self._backlog.clear()
            self._execute(requests)
            if self._out:
                self._flush()
        if self._closing:
            if not self._slots and not self._out:
                self._transport, self._closed = None, transport
                transport.close()
        elif self._reading_paused and not self._backlog and not self._is_blocked():
            self._reading_paused = False
            transport.resume_reading()

    # -- replies -------------------------------------------------------------------------

    def _reply(self, data: bytes) -> None:
        """Answer at once, in its place."""
        self._reply_bytes += len(data)
        if self._slots:
            slot = Slot()
            slot.pieces.append(data)
            slot.done = True
            self._slots.append(slot)
        elif data:
            self._out.append(data)

    def _fill(self, slot: Slot | None, data: bytes) -> None:
        """Complete a reply, and release it with all that waited behind it."""
        if slot is not None:
            if data:
                slot.pieces.append(data)
                self._reply_bytes += len(data)
            slot.done = True
            self._release()
        if self._transport is not None:
            self._schedule_pump()

    def _release(self) -> None:
        slots = self._slots
        out = self._out
        while slots:
            head = slots[0]
            if head.pieces:
                out.extend(head.pieces)
                head.pieces.clear()
            if not head.done:
                return
            slots.popleft()

    def _reserve(self, keys: int) -> int:
        """Make room for the answers of a read of so many keys; give it back with `_came`."""
        reserved = keys * self._read_bytes
        self._reply_bytes += reserved
        return reserved

    def _came(self, reserved: int, keys: int, size: int) -> None:
        """The answers of a read that `reserved` room are here: `size` bytes for so many keys."""
        self._reply_bytes -= reserved
        self._read_bytes = max(size // keys, self._read_bytes // 2, LEAST_READ_BYTES)

    def _slot(self, noreply: bool = False) -> Slot | None:
        if noreply:
            return None
        slot = Slot()
        self._slots.append(slot)
        return slot

    def _flush(self) -> None:
        """Hand replies to the transport until it has enough."""
        transport = self._transport
        out = self._out
        if transport is None:
            out.clear()
            return
        counters = self.server.counters
        while out and not self._write_paused:
            if len(out) == 1:
                data: bytes | memoryview = out.popleft()
            else:
                size = 0
                pieces: list[bytes | memoryview] = []
                while out and size < WRITE_CHUNK_BYTES:
                    piece = out.popleft()
                    size += len(piece)
                    pieces.append(piece)
                data = b"".join(pieces)
            counters.bytes_written += len(data)
            self._reply_bytes -= len(data)
            transport.write(data)

    # -- handlers, one per kind of request -----------------------------------------------

    def _get(self, request: Get) -> None:
        if self.redirect and self._redirected(request.keys, None, noreply=False):
            return
        keys, with_cas = request
        self._counters.cmd_get += len(keys)
        if len(keys) > 1:
            _MultiGet(self, keys, with_cas).start()
            return
        group_id = self.server.group_of(keys[0])
        get = _SingleGet(self, group_id, keys, with_cas)
        self._in_lane(group_id, False, get.start)

    def _get_and_touch(self, request: GetAndTouch) -> None:
        if self.redirect and self._redirected(request.keys, None, noreply=False):
            return
        self.server.counters.cmd_touch += len(request.keys)
        _MultiTouch(self, request).start()

    def _store(self, request: Store) -> None:
        self.server.counters.cmd_set += 1
        op, key, data, exptime, unique, noreply = request
        args: tuple[object, ...]
        if op == OP_CAS:
            args = (data, exptime, unique)
        elif op in (OP_APPEND, OP_PREPEND):
            args = (data,)
        else:
            args = (data, exptime)
        self._write(op, key, args, len(key) + len(data), noreply)

    def _refused_store(self, request: RefusedStore) -> None:
        self.server.counters.store_too_large += 1
        reply = request.reply
        if request.op == OP_SET:
            # As in memcached: nobody may read what the client meant to replace.
            self._write(OP_DELETE, request.key, (), len(request.key), request.noreply, reply)
        elif not request.noreply:
            self._reply(reply)

    def _delete(self, request: Delete) -> None:
        self._write(OP_DELETE, request.key, (), len(request.key), request.noreply)

    def _arithmetic(self, request: Arithmetic) -> None:
        self._write(request.op, request.key, (request.delta,), len(request.key), request.noreply)

    def _touch(self, request: Touch) -> None:
        self.server.counters.cmd_touch += 1
        self._write(OP_TOUCH, request.key, (request.exptime,), len(request.key), request.noreply)

    def _write(
        self,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        noreply: bool,
        reply: bytes | None = None,
    ) -> None:
        if self.redirect and self._redirected((key,), reply, noreply):
            return
        slot = self._slot(noreply)
        group_id = self.server.group_of(key)
        pending = _PendingWrite(self, slot, group_id, op, key, args, size, reply)
        self._in_lane(group_id, True, pending.start)

    def _flush_all(self, request: FlushAll) -> None:
        self.server.counters.cmd_flush += 1
        self._alone(request, lambda: _FlushAllShards(self, request).start())

    def _stats(self, request: Stats) -> None:
        self.server.counters.cmd_other += 1
        self._reply(self.server.stats(request.args))

    def _version(self, request: Version) -> None:
        self.server.counters.cmd_other += 1
        self._reply(self.server.version_line)

    def _verbosity(self, request: Verbosity) -> None:
        self.server.counters.cmd_other += 1
        if not request.noreply:
            self._reply(OK_LINE)

    def _immediate(self, request: Immediate) -> None:
        if request.reply.startswith((b"ERROR", b"CLIENT_ERROR")):
            self.server.counters.protocol_errors += 1
        self._reply(request.reply)

    def _cluster(self, request: Cluster) -> None:
        self.server.counters.cmd_other += 1
        self._reply(self.server.cluster_command(self, request.args))

    def _quit(self, request: Quit) -> None:
        self._closing = True
        self._schedule_pump()

    # -- order ---------------------------------------------------------------------------

    def _in_lane(self, group_id: int, is_write: bool, start: Callable[[], None]) -> None:
        lane = self._lanes.get(group_id)
        if lane is None:
            lane = self._lanes[group_id] = Lane()
        if lane.may_start(is_write, self._leads(group_id)):
            lane.started(is_write)
            start()
        else:
            lane.wait(is_write, start)

    def _leads(self, group_id: int) -> bool:
        group = self.server.groups.get(group_id)
        return group is not None and group.is_leader

    def lane_ended(self, group_id: int, is_write: bool) -> None:
        """An operation has its outcome."""
        lane = self._lanes[group_id]
        lane.ended(is_write, self._leads(group_id))
        if not (lane.reads or lane.writes or lane.waiting):
            self._lanes.pop(group_id, None)

    def _alone(self, request: Request, start: Callable[[], None]) -> None:
        """Run a request of all shards after everything before it, and before what follows."""
        if self._slots or self._lanes:
            self._draining = True
            self._wait_for_room([request])
            return
        self._barrier = True
        start()

    def _redirected(self, keys: tuple[bytes, ...], reply: bytes | None, noreply: bool) -> bool:
        """In redirect mode: answer MOVED if any key is led elsewhere."""
        server = self.server
        for key in keys:
            group_id = server.group_of(key)
            if not self._leads(group_id):
                server.counters.redirects += 1
                if not noreply:
                    self._reply(server.moved_line(group_id))
                return True
        return False


class _PendingWrite:
    """A write of this connection, from its lane to its reply."""

    __slots__ = ("args", "connection", "group_id", "key", "op", "reply", "size", "slot", "write")

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
        self.write: Write | None = None
        connection._inflight_bytes += size + WRITE_OVERHEAD_BYTES

    def start(self) -> None:
        connection = self.connection
        last = connection._last_write
        write = connection.server.coordinator.write(
            self.group_id,
            self.op,
            self.key,
            self.args,
            self.size,
            self.done,
            last.get(self.group_id),
        )
        if not write.finished:
            self.write = last[self.group_id] = write

    def done(self, outcome: WriteOutcome) -> None:
        connection = self.connection
        connection._inflight_bytes -= self.size + WRITE_OVERHEAD_BYTES
        self.args = ()
        if self.write is not None and connection._last_write.get(self.group_id) is self.write:
            del connection._last_write[self.group_id]
        if isinstance(outcome, Failure):
            data = connection.server.failed(outcome)
        else:
            data = self._render(outcome)
        connection.lane_ended(self.group_id, True)
        connection._fill(self.slot, data)

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


class _SingleGet:
    """get and gets of one key that could not be answered on the spot."""

    __slots__ = ("connection", "group_id", "keys", "reserved", "slot", "with_cas")

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
        self.slot = connection._slot()
        self.reserved = connection._reserve(1)

    def start(self) -> None:
        """Read it, in its lane."""
        self.connection.server.coordinator.read(self.group_id, self.keys, self.done)

    def done(self, outcome: ReadOutcome) -> None:
        connection = self.connection
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
        connection._came(self.reserved, 1, len(data))
        connection.lane_ended(self.group_id, False)
        connection._fill(self.slot, data)


class _MultiGet:
    """get and gets of any number of keys over any number of shards, in windows."""

    def __init__(
        self, connection: MemcachedConnection, keys: tuple[bytes, ...], with_cas: bool
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.with_cas = with_cas
        slot = connection._slot()
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
        self.reserved = connection._reserve(len(window))
        for key in window:
            by_group.setdefault(connection.server.group_of(key), {})[key] = None
        self.pending = len(by_group)
        for group_id, keys in by_group.items():
            self._read(group_id, tuple(keys))

    def _read(self, group_id: int, keys: tuple[bytes, ...]) -> None:
        connection = self.connection

        def done(outcome: ReadOutcome) -> None:
            if isinstance(outcome, Failure):
                self.failure = outcome
            else:
                self.found.update(zip(keys, outcome, strict=True))
            connection.lane_ended(group_id, False)
            self.pending -= 1
            if self.pending == 0:
                self._window_done()

        def start() -> None:
            connection.server.coordinator.read(group_id, keys, done)

        connection._in_lane(group_id, False, start)

    def _window_done(self) -> None:
        connection = self.connection
        if self.failure is not None:
            connection._came(self.reserved, 1, 0)
            connection._fill(self.slot, connection.server.failed(self.failure))
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
        connection._came(self.reserved, len(window), size)
        connection._reply_bytes += size
        self.found.clear()
        self.position += WINDOW_KEYS
        if self.position < len(self.keys):
            connection._release()
            connection._unfinished_windows[self.slot] = self
            connection._schedule_pump()
        else:
            connection._fill(self.slot, END_LINE)


class _MultiTouch:
    """gat and gats: one write per key, answered together."""

    def __init__(self, connection: MemcachedConnection, request: GetAndTouch) -> None:
        self.connection = connection
        self.request = request
        slot = connection._slot()
        assert slot is not None
        self.slot = slot
        self.items: list[bytes | None] = [None] * len(request.keys)
        self.pending = len(request.keys)
        self.failure: Failure | None = None

    def start(self) -> None:
        for position, key in enumerate(self.request.keys):
            self._touch(position, key)

    def _touch(self, position: int, key: bytes) -> None:
        connection = self.connection
        group_id = connection.server.group_of(key)
        last = connection._last_write
        write: Write | None = None

        def done(outcome: WriteOutcome) -> None:
            if write is not None and last.get(group_id) is write:
                del last[group_id]
            if isinstance(outcome, Failure):
                self.failure = outcome
            elif type(outcome) is tuple and outcome[0] == ITEM:
                assert isinstance(outcome[1], bytes)
                self.items[position] = outcome[1]
            connection.lane_ended(group_id, True)
            self.pending -= 1
            if self.pending == 0:
                self._done()

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

        connection._in_lane(group_id, True, start)

    def _done(self) -> None:
        connection = self.connection
        if self.failure is not None:
            connection._fill(self.slot, connection.server.failed(self.failure))
            return
        counters = connection.server.counters
        pieces = self.slot.pieces
        for key, item in zip(self.request.keys, self.items, strict=True):
            if item is None:
                counters.touch_misses += 1
            else:
                counters.touch_hits += 1
                line = value_line(key, item, self.request.with_cas)
                pieces.append(line)
                connection._reply_bytes += len(line)
        connection._fill(self.slot, END_LINE)


class _FlushAllShards:
    """flush_all: one command to every shard; OK when all have it."""

    def __init__(self, connection: MemcachedConnection, request: FlushAll) -> None:
        self.connection = connection
        self.delay = request.delay
        self.slot = connection._slot(request.noreply)
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
            connection._barrier = False
            if self.failure is not None:
                connection._fill(self.slot, connection.server.failed(self.failure))
            else:
                connection._fill(self.slot, OK_LINE)


_HANDLERS: dict[type, Callable[[MemcachedConnection, Any], None]] = {
    Get: MemcachedConnection._get,
    GetAndTouch: MemcachedConnection._get_and_touch,
    Store: MemcachedConnection._store,
    RefusedStore: MemcachedConnection._refused_store,
    Delete: MemcachedConnection._delete,
    Arithmetic: MemcachedConnection._arithmetic,
    Touch: MemcachedConnection._touch,
    FlushAll: MemcachedConnection._flush_all,
    Stats: MemcachedConnection._stats,
    Version: MemcachedConnection._version,
    Verbosity: MemcachedConnection._verbosity,
    Immediate: MemcachedConnection._immediate,
    Cluster: MemcachedConnection._cluster,
    Quit: MemcachedConnection._quit,
}
