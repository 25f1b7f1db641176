"""Locks: taken through the log of a shard, renewed while they are held, and given back.

One acquisition, from the side of its object:

    free --acquire--> asking --LOCKED--> held --release--> free
                        |                 |
                        |                 +-- not renewed in time, or refused: lost, then free
                        +-- time over, cancelled, error: gives its place back, free

What makes it a lock is the token (fencing.py): `lost` comes in time for a process that runs, and
for one that stood still the store refuses what it does with an old token.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Final

from quorumcache.router.arguments import TIME_MS_MAX, whole
from quorumcache.router.errors import (
    ClientClosed,
    LockInUse,
    LockLost,
    LockNotHeld,
    LockTimeout,
    Refused,
    RouterError,
)
from quorumcache.router.fencing import FencingToken
from quorumcache.router.leases import RENEW_PARTS, Lease, piece_ms
from quorumcache.router.lock_keeper import LockKeeper, label_of, name_bytes
from quorumcache.router.lock_requests import (
    SHORT_WAIT_MS,
    AcquireReply,
    Mode,
    acquire,
    release,
    renew,
)
from quorumcache.router.requests import Request
from quorumcache.router.wait_pool import WAIT_PIECE_MS
from quorumcache.router.wait_turns import pause_s

TTL_MS: Final = 10_000
"""For how long a lock lasts unless its holder renews it, when nothing else is said."""

TTL_MS_MIN: Final = 100

PAUSE_PARTS: Final = 30
"""A renewal that failed is repeated after one of so many parts of the lock's time."""

LOOK_MS: Final = SHORT_WAIT_MS + 1
"""The wait of one who only asks how it stands. So it has a connection to itself as well, and what
the client has to release is not behind it."""

LATE_MAX: Final = 3
"""So often may the answer to an acquire take nearly the lock's time, before it is given up."""


def ttl_of(value: int) -> int:
    """The time of a lock."""
    return whole("ttl_ms", value, TTL_MS_MIN, TIME_MS_MAX, "milliseconds")


def wait_of(value: int | None) -> int | None:
    """How long to wait for others; None: without limit."""
    return None if value is None else whole("wait_ms", value, 0, TIME_MS_MAX, "milliseconds")


class Holding:
    """A lock that is held: renews it, and knows when it is lost."""

    def __init__(self, keeper: LockKeeper, token: FencingToken, owner: bytes, lease: Lease) -> None:
        self.token = token
        self.owner = owner
        self.lost = asyncio.Event()
        self.why = ""
        """Why it was lost; "" while it is held."""
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._renewal: asyncio.Task[None] | None = None  # under way
        self._rely_on(lease)
        keeper.held[self] = None

    @property
    def is_held(self) -> bool:
        """Whether the lock can be relied on. Looks at the clock: a process that stood still has
        not been told yet."""
        if not self.why and self._loop.time() >= self._lease.ends_at:
            self._time_is_over()
        return not self.why

    def let_go(self) -> None:
        """The client is being closed."""
        self._lose("the client was closed")

    def disown(self) -> None:
        """This process is a child of the one that holds it."""
        self.why = "it is held by the process that this one was forked from"

    def stop(self) -> None:
        """Renew it no more, and watch its time no longer."""
        self._keeper.held.pop(self, None)
        self._end.cancel()
        self._due.cancel()
        if self._renewal is not None:
            self._renewal.cancel()

    def _rely_on(self, lease: Lease) -> None:
        """If this process stood still, the lease may be an old one: then its end comes at once."""
        self._lease = lease
        self._end = self._loop.call_at(lease.ends_at, self._time_is_over)
        self._due = self._loop.call_at(lease.renew_at, self._begin)

    def _time_is_over(self) -> None:
        self._lose("it could not be renewed in time")

    def _lose(self, why: str) -> None:
        self.why = why
        self.stop()
        self.lost.set()
        # The store may hold it for a little longer: others need not wait for that.
        self._keeper.give_back(self.token.lock, self.owner, self.token.number)

    def _begin(self) -> None:
        self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        ttl_ms = self._lease.ttl_ms
        request = renew(self.token.lock, self.owner, self.token.number, ttl_ms)
        while True:
            sent_at = self._loop.time()
            until = min(sent_at + ttl_ms / RENEW_PARTS / 1000, self._lease.ends_at)
            try:
                is_held = await self._keeper.call(request, self.token.lock, until)
            except (ClientClosed, Refused) as error:
                self._lose(str(error))
                return
            except RouterError:
                await asyncio.sleep(ttl_ms / PAUSE_PARTS / 1000)
                continue
            if not is_held:
                self._lose("it had ended in the store when it was to be renewed")
                return
            self._end.cancel()
            self._rely_on(Lease(sent_at, ttl_ms))
            return


class _Asking:
    """An acquire under way: a place in a queue, perhaps, or a lock of which it has not heard."""

    def __init__(self, keeper: LockKeeper, name: bytes, owner: bytes) -> None:
        self.is_known = False
        """Whether the store may know of it."""
        self.request: asyncio.Task[AcquireReply] | None = None
        """The last one that was sent."""
        self._keeper = keeper
        self._name = name
        self._owner = owner
        keeper.held[self] = None

    async def answer(self, request: Request[AcquireReply], deadline: float) -> AcquireReply:
        """Ask the store. The request goes on if this call is cancelled."""
        self._check_open()
        self.request = self._keeper.send(request, self._name, deadline)
        reply = await asyncio.shield(self.request)
        self._check_open()
        return reply

    def _check_open(self) -> None:
        if self._keeper.is_closing:
            raise ClientClosed("the client is closed")

    def let_go(self) -> None:
        """The client is being closed. What a request under way takes is given back as well."""
        self.give_back(self.request)

    def disown(self) -> None:
        """The parent process goes on with it."""

    def give_back(self, after: asyncio.Task[AcquireReply] | None = None) -> None:
        """The caller does not want it any more."""
        self._keeper.give_back(self._name, self._owner, after=after)

    def end(self) -> None:
        """It has an outcome."""
        self._keeper.held.pop(self, None)


class Lock:
    """A lock by name, for one holder at a time. `client.lock(name)` makes it.

    `async with lock as token:` takes it, renews it, gives it back, and raises `LockLost` at its end
    if it was lost meanwhile. An object is held once at a time, and is not reentrant; each task
    uses its own.
    """

    _WHAT = "the lock"

    def __init__(
        self,
        keeper: LockKeeper,
        name: str | bytes,
        mode: Mode,
        *,
        ttl_ms: int = TTL_MS,
        wait_ms: int | None = None,
        owner: str = "",
    ) -> None:
        self.name = name_bytes(name)
        self._keeper = keeper
        self._mode = mode
        self._ttl_ms = ttl_of(ttl_ms)
        self._wait_ms = wait_of(wait_ms)
        self._label = label_of("owner", owner)
        self._holding: Holding | None = None
        self._is_asking = False
        self._lost = asyncio.Event()  # of no acquisition: never set

    @property
    def token(self) -> FencingToken | None:
        """The token, while the lock can be relied on."""
        holding = self._holding
        return holding.token if holding is not None and holding.is_held else None

    @property
    def is_held(self) -> bool:
        """Whether the lock is held, and can be relied on."""
        return self.token is not None

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock that is held now can be relied on no longer; another event for each
        acquisition. It is set before the store gives the lock to another, if this process runs."""
        return self._holding.lost if self._holding is not None else self._lost

    async def __aenter__(self) -> FencingToken:
        return await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        holding = self._holding
        if holding is None:
            return  # The block has released it.
        if holding.is_held:
            try:
                await self.release()
                return
            except LockNotHeld as refused:
                holding.why = str(refused)
            except RouterError:
                return  # The work is done, and the store ends the lock in time.
        self._holding = None
        if error is None:
            raise LockLost(f"{self._WHAT} {_text(self.name)} was lost: {holding.why}")

    async def acquire(
        self, *, wait_ms: int | None = None, timeout_ms: int | None = None
    ) -> FencingToken:
        """Take the lock, in the order in which callers came.

        `wait_ms`: how long to wait while others hold it; 0: not at all; None: as the lock was made,
        without limit if nothing was said. `LockTimeout` when that is over. `timeout_ms` is, as with
        every call, how long the cluster may take to answer.
        """
        wait_ms = self._wait_ms if wait_ms is None else wait_of(wait_ms)
        self._keeper.engine.deadline(timeout_ms)
        if self._is_asking or (self._holding is not None and self._holding.is_held):
            held = "is being acquired" if self._is_asking else "is held already"
            raise LockInUse(
                f"{self._WHAT} {_text(self.name)} {held} by this object, which is not reentrant;"
                " another task uses an object of its own"
            )
        self._holding = None
        self._is_asking = True
        try:
            self._holding = await self._take(wait_ms, timeout_ms)
        finally:
            self._is_asking = False
        return self._holding.token

    async def release(self, *, timeout_ms: int | None = None) -> None:
        """Give the lock back. `LockNotHeld`: it is not held by this object, or not any more."""
        deadline = self._keeper.engine.deadline(timeout_ms)
        holding, self._holding = self._holding, None
        what = f"{self._WHAT} {_text(self.name)}"
        if holding is None:
            raise LockNotHeld(f"{what} is not held by this object")
        if not holding.is_held:
            raise LockNotHeld(f"{what} was lost: {holding.why}")
        holding.stop()
        request = release(self.name, holding.owner, holding.token.number)
        # It goes on if this call is cancelled: whoever waits need not wait for the lock's time.
        given_back = self._keeper.send(request, self.name, deadline)
        if not await asyncio.shield(given_back):
            raise LockNotHeld(f"{what} had ended before it was released")

    async def _take(self, wait_ms: int | None, timeout_ms: int | None) -> Holding:
        turns, has_turn = self._keeper.turns, False
        owner = self._keeper.owner_word(self._label)
        asking = _Asking(self._keeper, self.name, owner)
        try:
            loop = asyncio.get_running_loop()
            until = math.inf if wait_ms is None else loop.time() + wait_ms / 1000
            wait_now_ms = 0 if wait_ms == 0 else SHORT_WAIT_MS
            late = 0
            while True:
                sent_at = loop.time()
                deadline = self._keeper.engine.deadline(timeout_ms) + wait_now_ms / 1000
                request = acquire(self.name, owner, self._ttl_ms, wait_now_ms, self._mode)
                reply = await asking.answer(request, deadline)
                now = loop.time()
                lease = Lease(sent_at, self._ttl_ms)
                if reply.token and now < lease.ends_at:
                    token = FencingToken(self.name, reply.token, self._mode.shared)
                    return Holding(self._keeper, token, owner, lease)
                # An answer that took nearly the lock's time is of no use; to ask again renews it.
                late += bool(reply.token)
                asking.is_known = asking.is_known or bool(reply.token or reply.place)
                if late == LATE_MAX or (now >= until and not reply.token):
                    raise LockTimeout(self._too_late(reply, wait_ms))
                if not reply.token:
                    # A node that does not keep its answer back is not asked without a pause.
                    early_s = (wait_now_ms / 2) / 1000 - (now - sent_at)
                    await asyncio.sleep(max(0.0, early_s))
                    pause = pause_s(reply.place, self._ttl_ms, until - now)
                    had_turn, has_turn = has_turn, False
                    has_turn = await turns.take(reply.place, pause, has_turn=had_turn)
                left_ms = (until - loop.time()) * 1000 if has_turn else LOOK_MS
                wait_now_ms = piece_ms(self._ttl_ms, left_ms, WAIT_PIECE_MS)
        except RouterError as error:
            if asking.is_known or not error.outcome_known:
                asking.give_back()
            raise
        except BaseException:
            asking.give_back(after=asking.request)
            raise
        finally:
            asking.end()
            if has_turn:
                turns.leave()

    def _too_late(self, reply: AcquireReply, wait_ms: int | None) -> str:
        what = f"{self._WHAT} {_text(self.name)}"
        if reply.token:
            return f"{what} lasts {self._ttl_ms} ms, and the answers take longer"
        if wait_ms == 0:
            return f"{what} is not free"
        place = f"; place {reply.place} in the queue" if reply.place else ""
        return f"{what} was not free within {wait_ms} ms{place}"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
