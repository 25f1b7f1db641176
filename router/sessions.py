"""Exactly once: the sessions of a client, one per shard, and the numbers of its writes.

A session is opened through the log of its shard (`cluster session open`), so that the shard
remembers which of its sequences were executed, and with which result. A write that is sent again
under the same number, to whichever node, is then executed once or answered from memory. With each
write goes the floor: the lowest number that may still be sent again; what lies below it the shard
may forget.

    no session --- first write ---> opening ----> open --- "session gone" ---> no session
                   (later ones wait)   |           |
                                       +- failed   +- more than SESSION_WRITES_MAX numbers above the
                                          (no         floor: writes wait until the floor rises
                                          session)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, TypeVar

from quorumcache.router.codec import encode_once
from quorumcache.router.errors import NotDone, RouterError
from quorumcache.router.requests import Request

T = TypeVar("T")

SESSION_WRITES_MAX: Final = 4_096
"""From the floor of a session to its newest write, at most. A shard remembers 16,384 answers of a
session, and would begin to forget some that are still wanted."""


class ClientSession:
    """A session that the shard knows, and the writes under way in it."""

    __slots__ = ("next_sequence", "outstanding", "session_id")

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.next_sequence = 1
        self.outstanding: dict[int, None] = {}
        """Numbers of the writes whose callers still wait, lowest first."""

    @property
    def floor(self) -> int:
        """The lowest number that may still be sent again."""
        for sequence in self.outstanding:
            return sequence
        return self.next_sequence

    @property
    def room(self) -> int:
        """How many numbers it has left to give before the floor rises."""
        return SESSION_WRITES_MAX - (self.next_sequence - self.floor)

    def take(self) -> int:
        """The number of a new write; the caller has looked at `room`."""
        sequence = self.next_sequence
        self.next_sequence += 1
        self.outstanding[sequence] = None
        return sequence


class ClientWrite(Generic[T]):
    """One write, from its caller's call to its end, over all attempts."""

    __slots__ = ("_sequence", "_session", "doubt", "plain", "request", "sessions", "shard")
    needs_session = True
    """Whether only a node that knows sessions executes it once."""

    def __init__(self, sessions: ClientSessions, shard: int, request: Request[T]) -> None:
        self.sessions = sessions
        self.shard = shard
        self.plain = request
        self.request = request
        """What goes over the wire: with its number, once it has one."""
        self.doubt: RouterError | None = None
        """Why an attempt under the present number may have been executed; None: none can."""
        self._session: ClientSession | None = None
        self._sequence = 0

    @property
    def is_numbered(self) -> bool:
        return self._session is not None

    def number(self) -> bool:
        """Give it a number, if there is a session with room."""
        session = self.sessions.ready(self.shard)
        if session is None:
            return False
        self._session = session
        self._sequence = session.take()
        prefix = encode_once(session.session_id, self._sequence, session.floor)
        plain = self.plain
        self.request = Request(prefix + plain.data, plain.decode, plain.effect)
        return True

    def session_gone(self) -> None:
        """The shard does not know the number's session, or not any more: use it no longer. Without
        a doubt about earlier attempts the write may take another number.
        """
        assert self._session is not None
        self.sessions.drop(self.shard, self._session)
        if self.doubt is None:
            self.end()

    def end(self) -> None:
        """Its number is not sent again."""
        session, self._session = self._session, None
        if session is not None:
            session.outstanding.pop(self._sequence, None)
            self.request = self.plain
        self.sessions.wake(self.shard)


class OwnIdentity(ClientWrite[T]):
    """A write whose bytes carry its identity, so that it needs no number of a session."""

    __slots__ = ()
    needs_session = False

    def __init__(self, shard: int, request: Request[T]) -> None:
        self.shard = shard
        self.plain = self.request = request
        self.doubt = None

    @property
    def is_numbered(self) -> bool:
        return True

    def end(self) -> None:
        """Nothing was taken."""


class ClientSessions:
    """All sessions of one client. `open_session` opens one in a shard and gives its id, or raises
    a `RouterError`.
    """

    def __init__(self, open_session: Callable[[int], Coroutine[Any, Any, int]]) -> None:
        self._open_session = open_session
        self._by_shard: dict[int, ClientSession] = {}
        self._opening: dict[int, asyncio.Task[int]] = {}
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        """Writes that wait until a session that is open has room."""

    def ready(self, shard: int) -> ClientSession | None:
        """The session of a shard, if it is open and has room."""
        session = self._by_shard.get(shard)
        return session if session is not None and session.room > 0 else None

    async def wait(self, shard: int, deadline: float) -> None:
        """Wait until there may be a session with room, and open it if there is none.

        Raises `NotDone` if there is none by the deadline (loop time), or if it cannot be opened.
        """
        loop = asyncio.get_running_loop()
        left = max(0.0, deadline - loop.time())
        session = self._by_shard.get(shard)
        if session is None:
            # `wait` leaves the opening alone when this caller is cancelled or out of time: it
            # serves the others, too.
            opening = self._opening.get(shard) or self._start_opening(shard)
            await asyncio.wait((opening,), timeout=left)
            if not opening.done():
                raise NotDone(f"no session for shard {shard} in time")
            self._opened(shard, opening)  # It may have ended in this very turn.
            error = None if opening.cancelled() else opening.exception()
            if error is not None:
                raise NotDone(f"no session for shard {shard}: {error}") from error
        elif session.room <= 0:
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.setdefault(shard, deque()).append(turn)
            try:
                await asyncio.wait((turn,), timeout=left)
            except BaseException:
                if turn.done():
                    self.wake(shard)  # The turn goes to the next one.
                turn.cancel()
                raise
            if not turn.done():
                turn.cancel()
                why = f"{SESSION_WRITES_MAX} writes under way"
                raise NotDone(f"no room in the session of shard {shard} ({why}) in time")

    def wake(self, shard: int) -> None:
        """A write of the shard has ended: if that has raised the floor, others may go, first come,
        first served.
        """
        waiting = self._waiting.get(shard)
        if waiting is None:
            return
        session = self._by_shard.get(shard)
        count = len(waiting) if session is None else session.room
        while waiting and count > 0:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1
        if not waiting:
            del self._waiting[shard]

    def drop(self, shard: int, session: ClientSession) -> None:
        """Give no more numbers of a session that the shard does not know."""
        if self._by_shard.get(shard) is session:
            del self._by_shard[shard]
            self.wake(shard)

    async def close(self) -> None:
        """End what is being opened."""
        openings = list(self._opening.values())
        for opening in openings:
            opening.cancel()
        if openings:
            await asyncio.wait(openings)

    def _start_opening(self, shard: int) -> asyncio.Task[int]:
        opening = asyncio.get_running_loop().create_task(self._open_session(shard))
        self._opening[shard] = opening
        opening.add_done_callback(partial(self._opened, shard))
        return opening

    def _opened(self, shard: int, opening: asyncio.Task[int]) -> None:
        if self._opening.get(shard) is not opening:
            return
        del self._opening[shard]
        # Asking for the error also marks it as seen: all who waited may have gone.
        if not opening.cancelled() and opening.exception() is None:
            self._by_shard[shard] = ClientSession(opening.result())
