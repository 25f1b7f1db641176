"""One pipelined connection to one node.

Requests of one loop turn leave in one write; replies come in request order. The life of a request:

    submit -> unsent -> (flush: bytes handed to the socket) -> sent -> reply
                 |                                               |
                 +-- broken, cancelled, late: NotSent            +-- broken: ConnectionLost
                     (it never leaves)                               late: ReplyTimeout

A cancelled or late request that was sent keeps its place in the queue until its reply came, so that
no reply is ever handed to another caller. Bytes that fit no request end the connection. A read that
needs another level than the one in force is preceded by a line that changes it.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

from quorumcache.router.codec import Line, Reply, ReplyParser, encode_cluster
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import BadReply, ConnectionLost, NotSent, ReplyTimeout, RouterError
from quorumcache.router.levels import Linearizable
from quorumcache.router.requests import Request, level_taken

T = TypeVar("T")

TIMER_SLACK_S = 1e-6
"""A loop may fire a timer this much early; without slack it would be set again and again."""


class _Pending:
    """A request on its way. `data` is dropped once it was handed to the socket."""

    __slots__ = ("data", "deadline", "decode", "future", "level", "size")

    def __init__(
        self,
        data: bytes,
        decode: Callable[[Reply], Any],
        future: asyncio.Future[Any],
        deadline: float,
        level: bytes,
    ) -> None:
        self.data = data
        self.level = level  # that has to be in force for it; empty if none matters
        self.decode = decode
        self.future = future
        self.deadline = deadline
        self.size = len(data)


class Connection(asyncio.Protocol):
    """Use `ready`, `has_room`, `submit`, `room`, `retire`, `abort`; the rest is the loop's."""

    __slots__ = (
        "_bytes",
        "_config",
        "_flush_due",
        "_granted",
        "_granted_bytes",
        "_is_paused",
        "_level",
        "_loop",
        "_lost",
        "_on_unusable",
        "_parser",
        "_quiet_since",
        "_sent",
        "_stall_s",
        "_timer",
        "_timer_at",
        "_transport",
        "_unsent",
        "_waiting",
        "address",
        "closed",
        "is_usable",
        "knows_locks",
        "knows_sessions",
        "knows_transactions",
        "lost_why",
    )

    def __init__(
        self,
        address: str,
        loop: asyncio.AbstractEventLoop,
        config: ClientConfig,
        on_unusable: Callable[[Connection], None],
    ) -> None:
        self.address = address
        self.is_usable = True  # False for ever once broken, silent for too long, or retired
        self.knows_sessions = False  # whether the node takes numbered writes; the pool asks it
        self.knows_transactions = False  # the same for transactions
        self.knows_locks = False  # and for locks and fences
        self.lost_why = ""  # why the connection ended
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._config = config
        self._stall_s = config.stall_ms / 1000
        self._on_unusable = on_unusable
        self._parser = ReplyParser(config.value_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[_Pending] = []
        self._sent: deque[_Pending] = deque()
        self._bytes = 0  # request bytes of _unsent and _sent
        # Callers that wait for a place, with the size of their request.
        self._waiting: deque[tuple[asyncio.Future[bool], int]] = deque()
        self._granted = 0  # places given to callers that have not submitted yet
        self._granted_bytes = 0
        self._flush_due = False
        self._is_paused = False
        self._level = Linearizable.words  # in force after all that was sent; a node's default
        # The moment since which replies are owed and nothing was heard.
        self._quiet_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    # What the pool and the dispatcher use.

    @property
    def load(self) -> int:
        """Requests without a reply."""
        return len(self._unsent) + len(self._sent)

    def has_room(self, size: int) -> bool:
        """Whether a request of `size` bytes may be submitted now."""
        return not self._waiting and self._fits(size)

    def submit(
        self, request: Request[T], deadline: float, at_once: bool = False
    ) -> asyncio.Future[T]:
        """Queue a request; the future ends by `deadline` (loop time) at the latest.

        The caller has checked `is_usable` and `has_room` in this loop turn. Cancelling the future
        is always safe. `at_once`: if the connection is idle, the bytes leave now and not at the end
        of the loop turn. That saves a caller who works alone a turn; requests of others that come
        in the same turn still leave together.
        """
        loop = self._loop
        future: asyncio.Future[T] = loop.create_future()
        data, level = request.data, request.level
        self._bytes += len(data)
        if self._sent or self._unsent:
            at_once = False
        else:
            self._quiet_since = loop.time()
        transport = self._transport
        if (
            at_once
            and transport is not None
            and not self._is_paused
            and not self._flush_due
            and (not level or level == self._level)
            and not transport.is_closing()
        ):
            pending = _Pending(b"", request.decode, future, deadline, level)
            pending.size = len(data)
            self._sent.append(pending)
            transport.write(data)
        else:
            self._unsent.append(_Pending(data, request.decode, future, deadline, level))
            if not self._flush_due and not self._is_paused:
                self._flush_due = True
                loop.call_soon(self._flush)
        wake_at = self._quiet_since + self._stall_s
        if deadline < wake_at:
            wake_at = deadline
        if wake_at < self._timer_at:
            self._arm(wake_at)
        return future

    async def room(self, size: int, deadline: float) -> None:
        """Wait, in order of arrival, for a place for a request of `size` bytes.

        The place is the caller's until the end of this loop turn: it has to `submit` at once.
        """
        if self.is_usable and self.has_room(size):
            return
        if self.is_usable:
            turn: asyncio.Future[bool] = self._loop.create_future()
            self._waiting.append((turn, size))
            timer = self._loop.call_at(deadline, _give_up, turn, self.address)
            try:
                is_granted = await turn
            except BaseException:
                if turn.done() and not turn.cancelled() and turn.exception() is None:
                    # Cancelled after the place was granted: it goes to the next one.
                    self._give_back(turn.result(), size)
                    self._wake()
                raise
            finally:
                timer.cancel()
            self._give_back(is_granted, size)
            if is_granted and self.is_usable:
                return
        raise NotSent(self.address, self.lost_why or "the connection went silent")

    def retire(self) -> None:
        """Take no further requests; close as soon as no caller waits for a reply any more."""
        self._become_unusable()
        self._close_if_idle()

    def disown(self, harmless: int) -> None:
        """Called in a child process after a fork: let go of the socket, of which both have a copy,
        without a word to the node, to the event loop or to those who wait.

        Its descriptor becomes a copy of `harmless` and stays taken: the objects around it still
        believe that it is theirs, and will close it.
        """
        socket = self._transport.get_extra_info("socket") if self._transport is not None else None
        descriptor = socket.fileno() if socket is not None else -1
        if descriptor >= 0:
            os.dup2(harmless, descriptor, inheritable=False)

    def abort(self, why: str) -> None:
        """End the connection now."""
        self.lost_why = self.lost_why or why
        self._become_unusable()
        if self._transport is not None:
            self._transport.abort()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        replies = self._parser.feed(data)
        sent = self._sent
        for reply in replies:
            if not sent:
                self._unasked(reply)
                return
            pending = sent.popleft()
            self._bytes -= pending.size
            future = pending.future
            if future.done():
                continue  # cancelled or late: its reply is dropped here
            try:
                result = pending.decode(reply)
            except BadReply as error:
                future.set_exception(error)
                self.abort(f"a malformed reply from the node ({error})")
                return
            except RouterError as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        if self._parser.broken is not None:
            self.abort(f"a malformed reply from the node ({self._parser.broken})")
            return
        self._quiet_since = self._loop.time()
        if self._waiting:
            self._wake()
        if not self.is_usable:
            self._close_if_idle()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost_why = self.lost_why or (
            f"the connection broke ({exc})" if exc else "the node closed the connection"
        )
        self._become_unusable()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in self._sent:
            if not pending.future.done():
                pending.future.set_exception(ConnectionLost(self.address, self.lost_why))
        for pending in self._unsent:
            if not pending.future.done():
                pending.future.set_exception(NotSent(self.address, self.lost_why))
        self._sent.clear()
        self._unsent.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    # Inside.

    def _flush(self) -> None:
        """Hand what is unsent to the socket; what has no waiter any more is never sent."""
        self._flush_due = False
        transport = self._transport
        if self._is_paused or transport is None or transport.is_closing():
            return
        parts = []
        for pending in self._unsent:
            if pending.future.done():
                self._bytes -= pending.size
                continue
            if pending.level and pending.level != self._level:
                parts.append(self._change_level(pending.level))
            parts.append(pending.data)
            pending.data = b""
            self._sent.append(pending)
        self._unsent.clear()
        if parts:
            transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._waiting:
            self._wake()

    def _change_level(self, level: bytes) -> bytes:
        """The line that puts a read level in force for what is sent after it.

        Decided as bytes leave, so that no request that is dropped before can change the level of
        another.
        """
        self._level = level
        future: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(_look_at)
        self._sent.append(_Pending(b"", level_taken, future, math.inf, b""))
        return encode_cluster("read", level.decode())

    def _fits(self, size: int) -> bool:
        count = len(self._unsent) + len(self._sent) + self._granted
        return not count or (
            count < self._config.inflight_requests_max
            and self._bytes + self._granted_bytes + size <= self._config.inflight_bytes_max
        )

    def _wake(self) -> None:
        """Grant free places to waiting callers, first come, first served."""
        while self._waiting:
            turn, size = self._waiting[0]
            if not turn.done():
                if not self._fits(size):
                    return
                self._granted += 1
                self._granted_bytes += size
                turn.set_result(True)
            self._waiting.popleft()

    def _give_back(self, is_granted: bool, size: int) -> None:
        if is_granted:
            self._granted -= 1
            self._granted_bytes -= size

    def _unasked(self, reply: Reply) -> None:
        said = reply.text.decode("utf-8", "replace")[:60] if isinstance(reply, Line) else "a block"
        self.abort(f"the node sent {said!r} without a request")

    def _become_unusable(self) -> None:
        if not self.is_usable:
            return
        self.is_usable = False
        for turn, _ in self._waiting:
            if not turn.done():
                turn.set_result(False)
        self._waiting.clear()
        self._on_unusable(self)

    def _close_if_idle(self) -> None:
        waited_for = any(
            pending.deadline < math.inf and not pending.future.done()
            for pending in (*self._sent, *self._unsent)
        )  # No caller waits for the answer to a change of level, which has no deadline.
        if not waited_for and self._transport is not None:
            self.lost_why = self.lost_why or "the connection was retired"
            self._transport.abort()

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        """One timer serves all deadlines of the connection, and the watch for silence."""
        now = self._loop.time() + TIMER_SLACK_S
        self._timer = None
        self._timer_at = math.inf
        earliest = math.inf
        for pending in self._sent:
            if not pending.future.done():
                if pending.deadline <= now:
                    pending.future.set_exception(ReplyTimeout(self.address))
                else:
                    earliest = min(earliest, pending.deadline)
        for pending in self._unsent:
            if not pending.future.done():
                if pending.deadline <= now:
                    pending.future.set_exception(NotSent(self.address, "no time left to send"))
                else:
                    earliest = min(earliest, pending.deadline)
        silent_at = self._quiet_since + self._stall_s
        if self._sent or self._unsent:
            if now >= silent_at:
                self._become_unusable()
                silent_at = now + self._stall_s
            earliest = min(earliest, silent_at)
        if not self.is_usable:
            self._close_if_idle()
        if earliest < math.inf:
            self._arm(earliest)


def _look_at(future: asyncio.Future[None]) -> None:
    """It has no waiter: its error is told to the requests behind it."""
    if not future.cancelled():
        future.exception()


def _give_up(turn: asyncio.Future[bool], address: str) -> None:
    if not turn.done():
        turn.set_exception(NotSent(address, "no room on the connection in time"))
