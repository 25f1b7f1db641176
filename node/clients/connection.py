"""One memcached client's connection: bytes in, operations started, replies out in request order.

Reading: the parser turns what arrived into requests. A get of a key whose shard this node leads
under a lease is answered on the spot; everything else takes a slot in the reply queue and runs as
an operation of the coordinator, in the lanes of `lanes.py`. This file is about bytes,
order and bounds; what each kind of request does is in `handlers.py`, and a request while it
is under way in `retrievals.py` and `writes.py`.

Bounds (nothing here grows with what a client sends and does not read):
 - at most SLOTS_MAX replies, INFLIGHT_BYTES_MAX bytes of values to write and the
   `reply_bytes_max` of `server.py` of answers are under way; beyond that, and while the client
   does not read its replies, requests wait in a backlog that is at most what one read of the
   socket brought, and the socket is not read;
 - an answer that comes while so many bytes of others wait is dropped and asked for again once
   the client has taken some: what a read brings is not known before;
 - a retrieval of many keys runs alone, in windows (`retrievals.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from quorumcache.node.clients.handlers import HANDLERS, Handlers
from quorumcache.node.clients.lanes import Lane
from quorumcache.node.clients.retrievals import Windows
from quorumcache.node.clients.watch import Watch, keep_alive
from quorumcache.node.clients.writes import WRITE_BYTES_MIN, WriteRoom
from quorumcache.node.operations.operation import Read, Write
from quorumcache.node.operations.read_levels import LINEARIZABLE_NS
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import (
    Get,
    Once,
    Quit,
    Request,
)
from quorumcache.node.protocol.responses import (
    END_LINE,
    TOO_MANY_CONNECTIONS_LINE,
)
from quorumcache.node.store.item import ITEM_DATA
from quorumcache.ring import key_token

if TYPE_CHECKING:
    from quorumcache.node.clients.server import MemcachedServer

SLOTS_MAX: Final = 1024
"""Replies of one connection that are not complete yet."""

INFLIGHT_BYTES_MAX: Final = 8 << 20
"""Bytes of keys and values of one connection's unfinished writes, with an overhead for each."""

FIRST_READ_BYTES: Final = 32 << 10
"""What a read under way is reckoned to bring until answers tell how large values are."""

LEAST_READ_BYTES: Final = 256
"""The least that a read under way is reckoned to bring."""

PARKED_READ_BYTES: Final = 256 << 10
"""What a read is reckoned to bring, at the least, once an answer had to be dropped."""

WRITE_CHUNK_BYTES: Final = 256 << 10
"""Replies are handed to the transport in pieces of about this size, so that a client that does not
read costs this much and the transport's own bound."""


class Slot:
    """The place of one reply in the order of replies."""

    __slots__ = ("done", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.done = False


class Parked:
    """A read whose answer was dropped, and the place of its reply."""

    __slots__ = ("read", "slot")

    def __init__(self, slot: Slot, read: Read) -> None:
        self.slot = slot
        self.read = read


class MemcachedConnection(asyncio.Protocol):
    """See the module docstring."""

    __slots__ = (
        "_backlog",
        "_closed",
        "_closing",
        "_counters",
        "_draining",
        "_groups",
        "_lanes",
        "_monotonic_ns",
        "_out",
        "_parked",
        "_parser",
        "_pump_scheduled",
        "_read_bytes",
        "_reading_paused",
        "_slots",
        "_token_shift",
        "_transport",
        "_watch",
        "_write_paused",
        "barrier",
        "client_address",
        "handlers",
        "inflight_bytes",
        "last_read",
        "last_write",
        "number",
        "once",
        "redirect",
        "reply_bytes",
        "reserved_bytes",
        "server",
        "staleness_ns",
        "unfinished",
        "write_room",
    )

    def __init__(self, server: MemcachedServer, number: int) -> None:
        self.server = server
        self._counters = server.counters
        self._groups = server.groups
        self._token_shift = server.token_shift
        self._monotonic_ns = server.monotonic_ns
        self.write_room: WriteRoom = server.write_room
        self.number = number
        self.client_address = ""
        self.redirect = False
        """Answer misrouted keys with MOVED instead of forwarding them."""
        self.handlers: Handlers = HANDLERS
        """What to do with the next request: others while `once` waits for its command."""
        self.once: Once | None = None
        """The identity that the client gave to its next command."""
        self.staleness_ns: int = LINEARIZABLE_NS
        """How old an answer to a read may be (`operations/read_levels.py`)."""
        self._parser = Parser(item_bytes_max=server.item_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Transport | None = None
        """The transport once it was closed: it lives until the client has read everything."""
        self._slots: deque[Slot] = deque()
        self._out: deque[bytes | memoryview] = deque()
        self._lanes: dict[int, Lane] = {}
        self.last_write: dict[int, Write] = {}
        """The newest unfinished write per group; a following one is repeated after it."""
        self.last_read: dict[int, Read] = {}
        """The newest unfinished read per group; a following one's answer is never older."""
        self._backlog: deque[Request] = deque()
        self.inflight_bytes: int = 0
        self.reply_bytes = 0
        """Bytes in `_out` and in the pieces of `_slots`, and what reads under way may bring."""
        self.reserved_bytes = 0
        """Of those: what reads under way may bring."""
        self._parked: deque[Parked] = deque()
        """Reads whose answer was dropped for lack of room, in order of dropping."""
        self._watch = Watch(server.watched_ns)
        self._read_bytes = FIRST_READ_BYTES
        """What one key's answer may bring: the largest of late, halved with each smaller one."""
        self._write_paused = False
        self._reading_paused = False
        self.barrier = False
        """A request that must run alone is under way."""
        self._draining = False
        """The next request must run alone: what came before it has to end first."""
        self.unfinished: Windows | None = None
        """A long retrieval, which runs alone, and goes on when its last window has left."""
        self._closing = False
        """Nothing more is executed; close when all replies are out."""
        self._pump_scheduled = False

    # -- the transport's calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.client_address = f"{peer[0]}:{peer[1]}" if peer else ""
        keep_alive(transport)
        if not self.server.admit(self):
            transport.write(TOO_MANY_CONNECTIONS_LINE)
            transport.close()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._closed = None
        self._backlog.clear()
        self._out.clear()
        self.unfinished = None
        for parked in self._parked:
            parked.read.parked = False  # Nobody waits for it: its deadline ends it.
        self._parked.clear()
        self.server.left(self)

    def eof_received(self) -> bool:
        # What was asked before the client closed its side is still answered.
        if self._backlog:
            self._backlog.append(Quit())
        else:
            self._closing = True
            self.schedule_pump()
        return True

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._watch.taken = True
        self._pump()

    def finish(self) -> None:
        """Take nothing more in; close when every reply is out."""
        self._closing = True
        self._backlog.clear()
        self.schedule_pump()

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
        self._watch.heard = True
        if self._closing:
            return
        # Nothing may be under way that a get could overtake: a noreply write has a lane and no
        # slot, and a client that does not read has neither.
        if data[:4] == b"get " and not (
            self._slots
            or self._lanes
            or self._write_paused
            or self._backlog
            or self.barrier
            or self.once
            or self.staleness_ns
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
        """Answer gets of one key each, on the spot where this node leads their shards by a lease.

        This is the whole data path of a client that routes by itself, so it is written out: it
        takes 1.0 us for one get, 0.6 us in a pipeline of 16, where the general way takes 1.9 and
        1.2.
        """
        groups = self._groups
        shift = self._token_shift
        slots = self._slots
        # Read after the requests' bytes: a lease that holds now held after they were sent.
        now_ns = self._monotonic_ns()
        out: list[bytes] = []
        size = hits = misses = 0
        for position, key in enumerate(keys):
            group = groups.get((key_token(key) >> shift) + 1)
            if (
                group is not None
                and now_ns < group.lease_until_ns
                and size < WRITE_CHUNK_BYTES
                and len(slots) < SLOTS_MAX
            ):
                store: Any = group.machine
                item = store.items.get(key)
                if item is None:
                    misses += 1
                    reply = END_LINE
                elif item[0] or store.pending_flush_ms:
                    reply = b""
                else:
                    hits += 1
                    reply = b"VALUE " + key + item[ITEM_DATA:] + END_LINE
                    size += len(reply)
                if reply:
                    if slots:
                        self.reply(reply)
                    else:
                        out.append(reply)
                    continue
            if out:
                self._write_now(out)
                out = []
            if self._is_blocked():
                self._wait_for_room([Get((later,), False) for later in keys[position:]])
                break
            HANDLERS[Get](self, Get((key,), False))
        counters = self._counters
        counters.cmd_get += hits + misses
        counters.get_hits += hits
        counters.get_misses += misses
        counters.lease_reads += hits + misses
        if out:
            self._write_now(out)
        elif self._out:
            self._flush()

    def _write_now(self, replies: list[bytes]) -> None:
        """Send replies that nothing is before."""
        if self._out:
            self._out.extend(replies)
            self.reply_bytes += sum(map(len, replies))
            self._flush()
            return
        data = replies[0] if len(replies) == 1 else b"".join(replies)
        self._counters.bytes_written += len(data)
        self._transport.write(data)  # type: ignore[union-attr]

    # -- running requests ----------------------------------------------------------------

    def _execute(self, requests: list[Request]) -> None:
        """Run requests until one has to wait; the rest goes to the backlog."""
        for position, request in enumerate(requests):
            if self._is_blocked():
                self._wait_for_room(requests[position:])
                return
            handler = self.handlers[type(request)]
            handler(self, request)
            if self.reply_bytes > WRITE_CHUNK_BYTES and self._out:
                self._flush()

    def _is_blocked(self) -> bool:
        return (
            self._write_paused
            or self.barrier
            or self._draining
            or self._closing
            or len(self._slots) >= SLOTS_MAX
            or self.inflight_bytes >= INFLIGHT_BYTES_MAX
            or (
                self.inflight_bytes >= WRITE_BYTES_MIN
                and self.write_room.is_short(self.inflight_bytes)
            )
            or self.reply_bytes >= self.server.reply_bytes_max
        )

    def _wait_for_room(self, requests: list[Request]) -> None:
        if self._closing:
            return  # Nothing after quit runs.
        self._backlog.extend(requests)
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self.server.counters.reads_paused += 1
            self._transport.pause_reading()
        self.schedule_pump()  # There may be room again as soon as `_out` is flushed.

    def schedule_pump(self) -> None:
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
        if self.unfinished is not None and not self._write_paused:
            unfinished, self.unfinished = self.unfinished, None
            unfinished.start()
        if self._parked:
            self._resume_parked()
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

    def reply(self, data: bytes) -> None:
        """Answer at once, in its place."""
        self.reply_bytes += len(data)
        if self._slots:
            slot = Slot()
            slot.pieces.append(data)
            slot.done = True
            self._slots.append(slot)
        elif data:
            self._out.append(data)

    def fill(self, slot: Slot | None, data: bytes) -> None:
        """Complete a reply, and release it with all that waited behind it."""
        if slot is not None:
            self.reply_bytes += len(data)
            slots = self._slots
            if slots[0] is slot and not slot.pieces:
                # It is its turn: the detour of its pieces would be for nothing.
                slots.popleft()
                if data:
                    self._out.append(data)
                if slots and (slots[0].done or slots[0].pieces):
                    self.release()
            else:
                if data:
                    slot.pieces.append(data)
                slot.done = True
                self.release()
        if self._transport is not None:
            self.schedule_pump()

    def release(self) -> None:
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

    def reserve(self, keys: int) -> int:
        """Make room for the answers of a read of so many keys; give it back with `_came`."""
        reserved = keys * self._read_bytes
        self.reply_bytes += reserved
        self.reserved_bytes += reserved
        return reserved

    def came(self, reserved: int, keys: int, size: int) -> None:
        """The answers of a read that `reserved` room are here: `size` bytes for so many keys."""
        self.reply_bytes -= reserved
        self.reserved_bytes -= reserved
        self._read_bytes = max(size // keys, self._read_bytes // 2, LEAST_READ_BYTES)

    @property
    def unread_bytes(self) -> int:
        """Bytes of replies that are here and that the transport has not taken."""
        return self.reply_bytes - self.reserved_bytes

    @property
    def has_parked(self) -> bool:
        """Answers were dropped, and the client has not made room for them yet."""
        return bool(self._parked)

    def has_room(self, slot: Slot) -> bool:
        """May an answer for this slot be kept? If it is its turn it may as soon as the client takes
        replies: all that is here waits for it."""
        unread_bytes = self.reply_bytes - self.reserved_bytes
        return (
            unread_bytes == 0  # The common case, without a look at the server.
            or unread_bytes < self.server.reply_bytes_max
            or self._is_next(slot)
        )

    def _is_next(self, slot: Slot) -> bool:
        return (
            not (self._write_paused or self._out) and bool(self._slots) and self._slots[0] is slot
        )

    def park(self, slot: Slot, read: Read) -> None:
        """An answer was dropped for lack of room: read again once there is some."""
        self._read_bytes = max(self._read_bytes, PARKED_READ_BYTES)
        if self._transport is None:
            read.parked = False
            return
        self.server.counters.answers_dropped += 1
        self._parked.append(Parked(slot, read))
        self.schedule_pump()  # Meanwhile it may be its turn.

    def _resume_parked(self) -> None:
        """Read again what was dropped, as much as there is room for."""
        room = self.server.reply_bytes_max - self.unread_bytes
        waiting, self._parked = self._parked, deque()
        for parked in waiting:
            if room > 0 or self._is_next(parked.slot):
                room -= self._read_bytes
                parked.read.unpark()
            else:
                self._parked.append(parked)

    def look(self, now_ns: int, slow_ns: int, idle_ns: int) -> str:
        """Why the connection has to be closed, or "". 0 = for no such reason. Called every so
        often."""
        transport = self._transport or self._closed
        waiting = 0
        if self._write_paused and transport is not None:
            waiting = transport.get_write_buffer_size()
        is_idle = not (self._slots or self._lanes or self._backlog or self._out or waiting)
        return self._watch.look(now_ns, waiting, is_idle, slow_ns, idle_ns)

    def stalled_ns(self, now_ns: int) -> int:
        """For how long the client has taken none of what waits for it."""
        return self._watch.stalled_ns(now_ns)

    def take_slot(self, noreply: bool = False) -> Slot | None:
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
            self.reply_bytes -= len(data)
            transport.write(data)

    # -- order ---------------------------------------------------------------------------

    def in_lane(self, group_id: int, is_write: bool, start: Callable[[int], None]) -> None:
        """`start` hears the deadline of a request that had to wait; 0 = it begins now."""
        lane = self._lanes.get(group_id)
        if lane is None:
            lane = self._lanes[group_id] = Lane()
        if lane.may_start(is_write, is_write and self._leads(group_id)):
            lane.started(is_write)
            start(0)
        else:
            deadline_ns = self.server.coordinator.deadline_ns()
            lane.wait(is_write, lambda: start(deadline_ns))

    def _leads(self, group_id: int) -> bool:
        group = self.server.groups.get(group_id)
        return group is not None and group.is_leader

    def _is_fresh(self, group_id: int, staleness_ns: int) -> bool:
        group = self.server.groups.get(group_id)
        return group is not None and self.server.coordinator.serving.is_fresh(group, staleness_ns)

    def close_after_replies(self) -> None:
        """Run nothing more; close when all replies are out."""
        self._closing = True
        self.schedule_pump()

    def lane_ended(self, group_id: int, is_write: bool) -> None:
        """An operation has its outcome."""
        lane = self._lanes[group_id]
        lane.ended(is_write, lane.waiting is not None and self._leads(group_id))
        if not (lane.reads or lane.writes or lane.waiting):
            self._lanes.pop(group_id, None)

    def alone(self, request: Request) -> bool:
        """May a request that must run alone begin? If not it waits for what is before it, and is
        handled anew. If so nothing behind it begins until it has given `barrier` back.
        """
        if self._slots or self._lanes:
            self._draining = True
            self._wait_for_room([request])
            return False
        self.barrier = True
        return True

    def redirected(
        self, keys: tuple[bytes, ...], noreply: bool, staleness_ns: int = LINEARIZABLE_NS
    ) -> bool:
        """In redirect mode: answer MOVED if any key is led elsewhere, unless the answer may be so
        old that the replica here can give it.
        """
        server = self.server
        for key in keys:
            group_id = server.group_of(key)
            if staleness_ns and self._is_fresh(group_id, staleness_ns):
                continue
            if self.redirected_group(group_id, noreply):
                return True
        return False

    def redirected_group(self, group_id: int, noreply: bool = False) -> bool:
        """In redirect mode: answer MOVED if the group is led elsewhere."""
        if self._leads(group_id):
            return False
        self.server.counters.redirects += 1
        if not noreply:
            self.reply(self.server.moved_line(group_id))
        return True
