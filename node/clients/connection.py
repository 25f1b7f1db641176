"""One memcached client's connection: bytes in, requests begun, replies out.

Reading: the parser turns what arrived into requests. A get or a plain `mg` of a key whose shard
this node leads under a lease is answered on the spot; everything else goes to its handler
(`handlers.py`), which sees the client's `Conversation` and not this connection: there are the order
of the requests (`order.py`), of their replies (`replies.py`), and the bounds of both.

Bounds: while the conversation is blocked, requests wait in a backlog that is at most what one read
of the socket brought, and the socket is not read.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.forwarded_gets import forward_plain_gets
from quorumcache.node.clients.handlers import HANDLERS
from quorumcache.node.clients.plain_meta_gets import answer_plain_meta_gets
from quorumcache.node.clients.plain_sets import begin_plain_sets
from quorumcache.node.clients.pumps import READ_BYTES_MIN, REQUEST_BYTES
from quorumcache.node.clients.replies import SLOTS_MAX, WRITE_CHUNK_BYTES, Replies
from quorumcache.node.clients.routed_gets import answer_routed_gets
from quorumcache.node.clients.watch import Watch, client_address, keep_alive, listen_address
from quorumcache.node.protocol.meta_lines import GetFlags
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Get, MetaGet, Quit, Request
from quorumcache.node.protocol.responses import TOO_MANY_CONNECTIONS_LINE
from quorumcache.node.system.senders import Sender, sender_of
from quorumcache.node.telemetry.logs import event, get_logger

log = get_logger("server")


class ConnectionOwner(Protocol):
    """Keeps the connections of a node, and bounds their number."""

    def admit(self, connection: MemcachedConnection) -> bool:
        """Take a connection in. False: there are too many, and it is told so and closed."""

    def left(self, connection: MemcachedConnection) -> None:
        """A connection is gone, admitted or not."""


class MemcachedConnection(asyncio.Protocol):
    """See the module docstring."""

    __slots__ = (
        "_closed",
        "_context",
        "_counters",
        "_groups",
        "_monotonic_ns",
        "_owner",
        "_parser",
        "_put_off",
        "_reading_paused",
        "_routes",
        "_sender",
        "_transport",
        "conversation",
        "number",
        "replies",
        "watch",
    )

    def __init__(
        self, context: ClientContext, owner: ConnectionOwner, number: int, watched_ns: int
    ) -> None:
        """`number`: its name among the owner's. `watched_ns`: for how long the owner has watched
        its clients, see `look`."""
        self._context = context
        self._owner = owner
        self._counters = context.counters
        self._groups = context.quick_groups
        self._routes = context.routes
        self._monotonic_ns = context.monotonic_ns
        self.number = number
        self.replies = Replies(context, self._pump)
        self.conversation = Conversation(context, self.replies, HANDLERS, number)
        self._parser = Parser(context.item_bytes_max, context.value_limits)
        self._transport: asyncio.Transport | None = None
        """While it is read and written to. `replies.is_open` says the same."""
        self._sender: Sender | None = None
        """What the transport is written to by, as long as it is."""
        self._closed: asyncio.Transport | None = None
        """The transport once it was closed: it lives until the client has read everything."""
        self.watch = Watch(watched_ns)
        self._reading_paused = False
        self._put_off = b""
        """What was read in a turn in which all was spent already. The socket is not read then."""

    def limit_items(self, item_bytes_max: int) -> None:
        """The limit on items is another one from the next command on."""
        self._parser.limit_items(item_bytes_max)

    # -- the transport's calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        made = cast(asyncio.Transport, transport)
        self.conversation.client_address = client_address(made)
        keep_alive(made)
        if self._owner.admit(self):
            self._transport = made
            self._sender = sender_of(made)
            self.replies.is_open = True
        else:
            made.write(TOO_MANY_CONNECTIONS_LINE)
            made.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._closed = self._sender = None
        self._put_off = b""
        self.conversation.lost()
        self._owner.left(self)

    def eof_received(self) -> bool:
        # What was asked before the client closed its side is still answered.
        conversation = self.conversation
        conversation.close_reason = "normal"
        if self._put_off:
            data, self._put_off = self._put_off, b""
            self._take(data)
        conversation.end_waiting(True)  # It cannot renew a lock, nor release it.
        if conversation.backlog:
            conversation.backlog.append(Quit())
        else:
            HANDLERS[Quit](conversation, Quit())
        return True

    def pause_writing(self) -> None:
        self.replies.is_paused = True

    def resume_writing(self) -> None:
        self.replies.is_paused = False
        self.watch.taken = True
        self._pump()

    # -- the owner's calls ---------------------------------------------------------------

    @property
    def finds_leaders(self) -> bool:
        """The client is told where a shard is led, and goes there: it needs no particular node."""
        return self.conversation.settings.redirect or self.conversation.watching is not None

    def use_quick_groups(self) -> None:
        """The context's `quick_groups` are others from now on."""
        self._groups = self._context.quick_groups
        self._routes = self._context.routes

    def finish(self) -> None:
        """Take nothing more in; close when every reply is out."""
        self._put_off = b""
        self.conversation.backlog.clear()
        self.conversation.close_after_replies()

    def abort(self) -> None:
        """Close at once."""
        transport = self._transport or self._closed
        self._transport = self._closed = self._sender = None
        self.replies.is_open = False
        if transport is not None:
            transport.abort()

    @property
    def client_address(self) -> str:
        """HOST:PORT of the client, unix:/path of a socket it came by; "" if that is not known."""
        return self.conversation.client_address

    @property
    def listen_address(self) -> str:
        """HOST:PORT or unix:/path at which the client came in; "" if that is not known."""
        transport = self._transport or self._closed
        return listen_address(transport) if transport is not None else ""

    @property
    def state(self) -> str:
        """A word for `stats conns`."""
        if self.conversation.watching is not None:
            return "watch"
        if self.conversation.closing:
            return "closing"
        return "mwrite" if self._reading_paused else "read"

    @property
    def idle_seconds(self) -> int:
        """Since something came from the client, as of the owner's last look."""
        return self.watch.quiet_ns() // 1_000_000_000

    @property
    def replies_waiting(self) -> int:
        """Replies that are not complete."""
        return len(self.replies.slots)

    @property
    def partial_bytes(self) -> int:
        """Bytes of a request that is not complete."""
        return self._parser.buffered_bytes

    @property
    def unread_bytes(self) -> int:
        """Bytes of replies that are here and that the transport has not taken."""
        return self.replies.unread_bytes

    def look(self, now_ns: int, slow_ns: int, idle_ns: int) -> str:
        """Why the connection has to be closed, or "". 0 = for no such reason. Called every so
        often."""
        transport = self._transport or self._closed
        conversation, replies = self.conversation, self.replies
        waiting = 0
        if conversation.watching is not None:
            return ""  # It loses lines instead.
        if replies.is_paused and transport is not None:
            waiting = transport.get_write_buffer_size()
        lanes = conversation.order.lanes
        is_idle = not (replies.slots or lanes or conversation.backlog or replies.out or waiting)
        return self.watch.look(now_ns, waiting, is_idle, slow_ns, idle_ns)

    # -- requests --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._counters.bytes_read += len(data)
        self.watch.heard = True
        self.replies.gone_bytes = 0
        if self._put_off or (
            len(data) > READ_BYTES_MIN and not self._reading_paused and self.replies.waits()
        ):
            self._put_off += data  # Nothing was there, unless it was read before it had to stop.
            self._pause_reading()
        elif not self.conversation.closing:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Begin what a read of the socket has brought, as far as there is room."""
        replies, conversation = self.replies, self.conversation
        if data[:1] == b"g" and self._may_answer():
            data = self._answer_gets(data)
            if not data:
                return
        elif data[:4] == b"set " or self._parser.is_in_set:
            data = begin_plain_sets(conversation, self._parser, data)
            if conversation.backlog:
                self._wait_for_room([])
            if data[:1] == b"g" and self._may_answer():
                data = self._answer_gets(data)
            if not data:
                self._flush()
                return
        # Nothing may be under way that a get could overtake: a noreply write has a lane and no
        # slot, a large value that waits for its last pieces has no lane yet, and a client that does
        # not read has none of them. What only has a slot is no matter to gets of one key, which see
        # to their order themselves.
        is_get = data[:4] == b"get "
        if (is_get or (data[:3] == b"mg " and not replies.slots)) and not (
            conversation.order.lanes
            or conversation.order.draining
            or replies.is_full
            or replies.is_paused
            or conversation.backlog
            or conversation.upload is not None
            or conversation.order.barrier
            or conversation.prefixes
            or conversation.settings.staleness_ns
        ):
            if is_get:
                keys = self._parser.plain_gets(data)
                if keys is not None:
                    self._plain_gets(keys)
                    return
            else:
                plain = self._parser.plain_meta_gets(data)
                if plain is not None:
                    self._plain_meta_gets(plain[0], plain[1])
                    return
        requests = self._parser.feed(data)
        replies.made(REQUEST_BYTES * len(requests))
        if conversation.backlog:
            conversation.backlog.extend(requests)
            return
        self._execute(requests)
        self._flush()

    def _may_answer(self) -> bool:
        """Whether a get that comes now may be answered at once, if its group is not busy."""
        conversation = self.conversation
        if not self._parser.is_between or conversation.backlog or conversation.prefixes:
            return False
        if conversation.settings.staleness_ns or conversation.upload is not None:
            return False
        if self.replies.slots or conversation.order.lanes:
            return not conversation.is_blocked()
        return not (self.replies.is_paused or conversation.order.barrier)

    def _answer_gets(self, data: bytes) -> bytes:
        """Answer gets from the start of `data` on, as far as the items alone answer them, and none
        overtakes what is under way. The rest of the data."""
        replies = self.replies
        position = answer_routed_gets(self.conversation, self._routes, self._sender, data)
        if replies.out and not replies.slots:
            self._flush()
        return data[position:]

    def _plain_gets(self, keys: list[bytes]) -> None:
        """Answer gets of one key each, here or by other nodes."""
        conversation = self.conversation
        # Read after the requests' bytes: a lease that holds now held after they were sent.
        now_ns = self._monotonic_ns()
        position = 0
        while True:
            position = forward_plain_gets(conversation, self._groups, keys, position, now_ns)
            if position == len(keys):
                break
            if conversation.is_blocked():
                self._wait_for_room([Get((key,), False) for key in keys[position:]])
                break
            HANDLERS[Get](conversation, Get((keys[position],), False))
            position += 1
        self._flush()

    def _plain_meta_gets(self, keys: list[bytes], flags: GetFlags) -> None:
        """The same for `mg` lines that all have these flags, which takes as long."""
        conversation = self.conversation
        now_ns = self._monotonic_ns()
        position = size = 0
        while True:
            out: list[bytes] = []
            position, size = answer_plain_meta_gets(
                self._context, self.replies, keys, flags, position, size, now_ns, out
            )
            if out:
                self._write_now(b"".join(out))
            if position == len(keys):
                break
            if conversation.is_blocked():
                self._wait_for_room([flags.request(key) for key in keys[position:]])
                break
            HANDLERS[MetaGet](conversation, flags.request(keys[position]))
            position += 1
            if self.replies.reply_bytes > WRITE_CHUNK_BYTES and self.replies.out:
                self._flush()
        if self.replies.out:
            self._flush()

    def _write_now(self, data: bytes) -> None:
        """Send replies that nothing is before."""
        replies = self.replies
        if replies.out or self._sender is None:
            replies.reply(data)
            self._flush()
        else:
            replies.made(len(data))
            self._counters.bytes_written += len(data)
            self._sender.write(data)

    def _execute(self, requests: list[Request]) -> None:
        """Run requests until one has to wait; the rest goes to the backlog."""
        conversation, replies = self.conversation, self.replies
        for position, request in enumerate(requests):
            if conversation.is_blocked():
                self._wait_for_room(requests[position:])
                return
            replies.made(REQUEST_BYTES)
            handler = conversation.handlers[type(request)]
            handler(conversation, request)
            if replies.reply_bytes > WRITE_CHUNK_BYTES and replies.out:
                self._flush()
        if conversation.backlog:
            self._wait_for_room([])  # The last one must run alone, and cannot yet.

    def _wait_for_room(self, requests: list[Request]) -> None:
        """Keep requests until there is room for them, and do not read the socket meanwhile."""
        conversation = self.conversation
        if conversation.closing:
            return  # Nothing after quit runs.
        conversation.backlog.extend(requests)
        self._pause_reading()
        self.replies.schedule_rest()  # There may be room again as soon as `out` is flushed.

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._counters.reads_paused += 1
            self._transport.pause_reading()

    def _pump(self) -> None:
        """Send what is ready, then go on with the backlog as far as there is room."""
        transport = self._transport
        if transport is None:
            return
        replies, conversation = self.replies, self.conversation
        order = conversation.order
        replies.gone_bytes = 0
        if replies.out:
            self._flush()
        if replies.stream is not None:
            if replies.is_cut():
                event(log, "warning", "value_cut", client=self.client_address)
                self.abort()
                return
            if not replies.is_paused and replies.pull():
                self._flush()
        if conversation.unfinished is not None and not (replies.is_paused or replies.waits()):
            begin, conversation.unfinished = conversation.unfinished, None
            begin()
        if replies.has_parked:
            replies.resume_parked()
        if order.draining and not replies.slots and not order.lanes:
            order.draining = False
        if self._put_off and not replies.waits():
            data, self._put_off = self._put_off, b""
            self._take(data)
        backlog = conversation.backlog
        if backlog and not conversation.is_blocked() and len(replies.slots) <= SLOTS_MAX // 2:
            requests = list(backlog)
            backlog.clear()
            self._execute(requests)
            if replies.out:
                self._flush()
        if replies.is_spent and self._reading_paused:
            replies.schedule_rest()
        if conversation.closing:
            if not replies.slots and not replies.out:
                self._transport, self._sender, self._closed = None, None, transport
                replies.is_open = False
                transport.close()
        elif (
            self._reading_paused
            and not (backlog or self._put_off)
            # Of a client that waits for a lock it has to be noticed that it goes away.
            and (conversation.waiting is not None or not conversation.is_blocked())
        ):
            self._reading_paused = False
            transport.resume_reading()

    def _flush(self) -> None:
        """Hand replies to the transport until it has enough."""
        replies = self.replies
        sender = self._sender
        if sender is None:
            replies.out.clear()
            return
        counters = self._counters
        while replies.out and not replies.is_paused:
            data = replies.next_chunk()
            counters.bytes_written += len(data)
            sender.write(data)
