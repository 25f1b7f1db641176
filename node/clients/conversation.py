"""One client, as its requests see it: its replies, their order, and what it has chosen.

Requests know this and never the socket. The connection (`connection.py`) feeds it with requests and
sends its replies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from quorumcache.node.clients.context import ClientContext, ClientSettings
from quorumcache.node.clients.order import RequestOrder
from quorumcache.node.clients.replies import Replies
from quorumcache.node.operations.read_levels import LINEARIZABLE_NS
from quorumcache.node.protocol.lock_requests import Fence
from quorumcache.node.protocol.requests import Once, Request


class UploadRoom:
    """A large value that is being received, as its conversation sees it (`uploads.py`).

    A class and no `Protocol`: mypyc reads the attributes of a class directly.
    """

    __slots__ = ("is_ended", "is_full")

    def __init__(self) -> None:
        self.is_full: bool = False
        """Must the next piece, or the next request, wait?"""
        self.is_ended = False
        """All of it has come from the client."""

    def piece(self, piece: bytes) -> None:
        """The next piece has arrived."""
        raise NotImplementedError

    def drop(self) -> None:
        """The rest does not come: nothing may be stored, and nothing be left."""
        raise NotImplementedError


class Prefixes:
    """What a client has sent before its next command (`command_prefixes.py`)."""

    __slots__ = ("fence", "once")

    def __init__(self) -> None:
        self.once: Once | None = None
        self.fence: Fence | None = None


class Conversation:
    """See the module docstring."""

    __slots__ = (
        "backlog",
        "client_address",
        "close_reason",
        "closing",
        "context",
        "coordinator",
        "counters",
        "fence",
        "handlers",
        "inflight_bytes",
        "number",
        "order",
        "prefixes",
        "replies",
        "settings",
        "silent_writes",
        "unfinished",
        "upload",
        "waiting",
        "watching",
    )

    def __init__(
        self, context: ClientContext, replies: Replies, handlers: Handlers, number: int = 0
    ) -> None:
        """`number`: the connection's, for those who watch what clients do."""
        self.context = context
        self.number = number
        self.coordinator = context.coordinator
        self.counters = context.counters
        self.replies = replies
        self.order = RequestOrder(context)
        self.settings = ClientSettings()
        self.client_address = ""
        self.handlers: Handlers = handlers
        """What to do with the next request: others while a prefix waits for its command."""
        self.prefixes: Prefixes | None = None
        """Of the next command, if it has any."""
        self.fence: Fence | None = None
        """Of the command that is being begun, if it has one."""
        self.inflight_bytes: int = 0
        """Of this client's unfinished writes, see `write_room.py`."""
        self.silent_writes: int = 0
        """Unfinished writes without a reply, for which no later reply waits by itself."""
        self.backlog: deque[Request] = deque()
        """Requests that wait until there is room. Bound: what one read of the socket brought."""
        self.unfinished: Callable[[], None] | None = None
        """Begins the next window of a long retrieval, once its last one has left."""
        self.upload: UploadRoom | None = None
        """The large value that is being received; None also if it is received to no effect."""
        self.closing = False
        """Nothing more is executed; close when all replies are out."""
        self.watching: Callable[[], None] | None = None
        """Of a client that watches, and gets nothing else any more: ends it."""
        self.waiting: Callable[[bool], None] | None = None
        """Of a client that waits for a lock: ends the wait. Whether the client is gone is told."""
        self.close_reason = "error"
        """Why the connection ends, in the words of `events.py`; "error" until it says `quit`."""

    def is_blocked(self) -> bool:
        """Must the next request wait?"""
        order = self.order
        return (
            self.replies.is_paused
            or order.barrier
            or order.draining
            or self.closing
            or self.replies.is_full
            or self.replies.is_spent
            or self.context.write_room.is_short(self.inflight_bytes)
            or (self.upload is not None and self.upload.is_full)
        )

    def alone(self, request: Request, once: Once | None = None) -> bool:
        """May a request that must run alone begin? If not, it waits until all requests before it
        have ended, and is then handled again, behind its `once`. If so, no later one begins until
        it calls `ended_alone`.
        """
        if self.behind_all(request, once):
            self.order.barrier = True
            return True
        return False

    def behind_silent_writes(self, request: Request) -> bool:
        """May a request begin whose reply tells that all before it was executed? If not, it waits
        until all requests before it have ended, and is then handled again.
        """
        if self.silent_writes:
            self._wait(request)
            return False
        return True

    def behind_all(self, request: Request, once: Once | None = None) -> bool:
        """May a request begin whose effect must not come before that of any other one? If not, it
        waits until all requests before it have ended, and is then handled again, behind its `once`.
        """
        if not self.replies.slots and not self.order.lanes:
            return True
        if once is not None:
            self.backlog.append(once)
        self._wait(request)
        return False

    def _wait(self, request: Request) -> None:
        self.order.draining = True
        self.backlog.append(request)

    def ended_alone(self) -> None:
        """The request that ran alone has ended."""
        self.order.barrier = False

    def close_after_replies(self) -> None:
        """Run nothing more; close when all replies are out."""
        self.closing = True
        self._end_watching()
        self.end_waiting(False)
        self.replies.schedule_pump()

    def end_waiting(self, is_gone: bool) -> None:
        """Wait for a lock no longer. `is_gone`: the client will not hear of it."""
        if self.waiting is not None:
            end, self.waiting = self.waiting, None
            end(is_gone)

    def _end_watching(self) -> None:
        if self.watching is not None:
            end, self.watching = self.watching, None
            end()

    def lost(self) -> None:
        """The client is gone. Its operations end by themselves."""
        self.backlog.clear()
        self.unfinished = None
        if self.upload is not None:
            if not self.upload.is_ended:
                self.upload.drop()
            self.upload = None
        self._end_watching()
        self.end_waiting(True)
        self.replies.lost()

    # -- clients that route by themselves ----------------------------------------------------

    def redirected(
        self, keys: tuple[bytes, ...], noreply: bool, staleness_ns: int = LINEARIZABLE_NS
    ) -> bool:
        """In redirect mode: answer MOVED if any key is led elsewhere, unless the answer may be so
        old that the replica here can give it.
        """
        context = self.context
        for key in keys:
            group_id = context.group_of(key)
            if staleness_ns and context.is_fresh(group_id, staleness_ns):
                continue
            if self.redirected_group(group_id, noreply):
                return True
        return False

    def redirected_group(self, group_id: int, noreply: bool = False) -> bool:
        """In redirect mode: answer MOVED if the group is led elsewhere."""
        if self.context.leads(group_id):
            return False
        self.counters.redirects += 1
        if not noreply:
            self.replies.reply(self.context.moved_line(group_id))
        return True


Handlers = dict[type, Callable[[Conversation, Any], None]]
"""What each kind of request does, by the type of the request."""
