"""Transactions over any keys: all of it happens at one moment, or nothing.

    open: reads at the leaders, with the version of each key -----+
          writes are kept here                                    |  now and then cluster txn begin,
    commit: `check` lines for what was read, the writes  <--------+  beside the first read
       |-- COMMITTED --> done
       |-- CONFLICT ---> somebody changed what was read: run it again (`transact` does)
       |-- no answer --> the same commit through another node; it is executed once

Nothing is held in the cluster before the commit, so a client that dies in the middle leaves nothing
behind, and no two transactions wait for each other here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self, TypeVar

from quorumcache.router.arguments import (
    keys_of,
    timeout_of,
    truth_of,
    unsigned_of,
    whole,
)
from quorumcache.router.codec import key_bytes, keys_bytes
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.errors import (
    ConditionFailed,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    NestedTransaction,
    OutcomeUnknown,
    RouterError,
    TransactionEnded,
    TransactionTooLong,
)
from quorumcache.router.sessions import OwnIdentity
from quorumcache.router.transaction_draft import Draft
from quorumcache.router.transaction_requests import (
    GET_KEYS_MAX,
    LIMIT_MS_MAX,
    LIMIT_MS_MIN,
    Begun,
    Read,
    TransactionRequest,
    begin,
    commit,
    look,
    read,
    set_lines,
)

T = TypeVar("T")
K = TypeVar("K", str, bytes)

LIMIT_MS: Final = 5_000
"""How long a transaction may take from its first call to its commit, unless it says otherwise."""

QUICK_S: Final = 0.1
"""After more time the answer to a begin tells the cluster's time too badly for others."""

_NEW, _OPEN, _ENDED = range(3)


class Transaction:
    """Made by `AsyncClient.transact` and `AsyncClient.transaction`.

    Reads are repeatable, and see what the transaction itself has written. What it read may be of
    different moments until its commit, which refuses it then; so trust what you have read once the
    commit is done. Several tasks may use it at once.

    Every write sets the item's expiry anew: `exptime` counts from the commit.
    """

    def __init__(
        self,
        engine: Dispatcher,
        limit_ms: int,
        timeout_ms: int | None,
        until: float | None = None,
        seen: Mapping[bytes, Read] | None = None,
    ) -> None:
        """`until`: loop time at which all of it has to end; None: each call has `timeout_ms`.
        `seen`: what keys held at one moment after the call began. They need not be read.
        """
        self._engine = engine
        self._limit_ms = whole("limit_ms", limit_ms, LIMIT_MS_MIN, LIMIT_MS_MAX, "milliseconds")
        self._timeout_ms = None if timeout_ms is None else timeout_of(timeout_ms)
        self._until = until
        self._state = _NEW
        self._begin: asyncio.Task[Begun] | None = None
        self._begun: Begun | None = None  # who it is, if that needed no question
        self._ends_at = 0.0  # loop time before which the commit has to leave, once begun
        self._draft = Draft(seen)
        self._outer: Transaction | None = None

    @property
    def keys_read(self) -> tuple[bytes, ...]:
        """The keys that it has read so far, as bytes."""
        return tuple(self._draft.reads)

    @property
    def has_written(self) -> bool:
        """Whether it changes anything at its commit."""
        return bool(self._draft.writes)

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return self._state == _OPEN

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self.is_open:
            await self.commit()
        else:
            await self.abandon()

    def open(self) -> None:
        """From here on it takes calls, and no other one of this client may begin in this task."""
        if self._state != _NEW:
            raise TransactionEnded("a transaction is used once: make another one")
        outer = _current.get()
        while outer is not None and not outer.is_open:
            outer = outer._outer
        self._outer = outer
        while outer is not None:
            if outer.is_open and outer._engine is self._engine:
                raise NestedTransaction(
                    "a transaction begins inside of another one: do all of it in the outer one"
                )
            outer = outer._outer
        self._engine.deadline(self._timeout_ms)  # Is this the client's loop, and is it open?
        self._state = _OPEN
        _current.set(self)

    async def get(self, key: str | bytes) -> bytes | None:
        """The value of `key`, or None. A value above 1 MiB is refused: `TransactionTooLarge`."""
        sent = key_bytes(key)
        return (await self._views((sent,)))[0]

    async def get_many(self, keys: Iterable[K]) -> dict[K, bytes]:
        """The values of those `keys` that exist, by key as given, in their order."""
        given = keys_of(keys)
        if not given:
            raise InvalidArgument("keys must name one key at least")
        views = await self._views(keys_bytes(given))
        found = zip(given, views, strict=True)
        return {key: value for key, value in found if value is not None}

    async def present(self, key: str | bytes) -> bool:
        """Whether `key` holds anything. Unlike a `get`, a change of its value is no conflict."""
        sent = key_bytes(key)
        return (await self._views((sent,), exact=False))[0] is not None

    async def require(self, key: str | bytes, present: bool = True) -> None:
        """Raise `ConditionFailed` unless `key` is there, or with `present=False` is not; and let
        the commit see to it that this still holds then.
        """
        truth_of("present", present)
        if await self.present(key) is not present:
            raise ConditionFailed(key_bytes(key), "is not there" if present else "is there")

    async def set(
        self, key: str | bytes, value: bytes, *, exptime: int = 0, flags: int = 0
    ) -> None:
        """Store `value` at the commit."""
        sent = key_bytes(key)
        self._must_be_open()
        self._draft.put(sent, value, flags, exptime)
        self._start_for(sent)

    async def add(
        self, key: str | bytes, value: bytes, *, exptime: int = 0, flags: int = 0
    ) -> bool:
        """Store only if the key does not exist; False if it does."""
        return await self._put_if(key, value, flags, exptime, wanted=False)

    async def replace(
        self, key: str | bytes, value: bytes, *, exptime: int = 0, flags: int = 0
    ) -> bool:
        """Store only if the key exists; False if it does not."""
        return await self._put_if(key, value, flags, exptime, wanted=True)

    async def delete(self, key: str | bytes) -> bool:
        """Remove the key at the commit; False if it does not exist."""
        sent = key_bytes(key)
        if not await self.present(sent):
            return False
        self._draft.remove(sent)
        return True

    async def incr(self, key: str | bytes, delta: int = 1, *, exptime: int = 0) -> int | None:
        """Add to an unsigned 64-bit decimal, wrapping at 2**64: the new number, or None if the key
        does not exist. Raises `NotANumber`. Unlike the client's `incr` it sets the expiry anew.
        """
        return await self._count(key, unsigned_of("delta", delta), exptime)

    async def decr(self, key: str | bytes, delta: int = 1, *, exptime: int = 0) -> int | None:
        """As `incr`, downwards; stops at 0."""
        return await self._count(key, -unsigned_of("delta", delta), exptime)

    async def commit(self) -> None:
        """Make all of it happen, and end the transaction. Raises `Conflict`, other `NotDone`
        errors, or `OutcomeUnknown` if no node could tell in time.
        """
        self._must_be_open()
        self._end()
        try:
            if self._draft.needs_commit:
                await self._commit()
        finally:
            await self._forget_begin()

    async def abandon(self) -> None:
        """End the transaction; nothing of it happens."""
        if self._state == _OPEN:
            self._end()
        await self._forget_begin()

    async def is_snapshot(self) -> bool:
        """After its end: whether all that was read held at one moment; True also if nobody can tell
        now. What was written is dropped.
        """
        self._draft.drop_writes()
        if not self._draft.needs_commit:
            return True
        try:
            await self._commit()
        except Conflict:
            return False
        except RouterError:
            return True
        finally:
            await self._forget_begin()
        return True

    # Inside.

    def _must_be_open(self) -> None:
        if self._state == _NEW:
            raise TransactionEnded("the transaction has not begun: use `async with`")
        if self._state == _ENDED:
            raise TransactionEnded("the transaction has ended")

    def _end(self) -> None:
        self._state = _ENDED
        if _current.get() is self:
            _current.set(self._outer)

    async def _views(self, keys: Sequence[bytes], exact: bool = True) -> list[bytes | None]:
        """What the transaction sees of keys. `exact`: their values count, not only whether they
        are there."""
        self._must_be_open()
        unread = self._draft.unread(keys)
        if unread:
            await self._load(unread, exact)
            self._must_be_open()  # It may have ended while this read was on its way.
        return [self._draft.see(key, exact) for key in keys]

    async def _load(self, keys: Sequence[bytes], exact: bool) -> None:
        """Read keys at the leaders of their shards."""
        engine = self._engine
        until = self._call_until()
        table = await engine.start(until)
        by_shard: dict[int, list[bytes]] = {}
        for key in keys:
            by_shard.setdefault(table.shard_of(key), []).append(key)
        self._start(next(iter(by_shard)))
        requests = [
            (shard, read(part[at : at + GET_KEYS_MAX]) if exact else look(part[at]))
            for shard, part in by_shard.items()
            for at in range(0, len(part), GET_KEYS_MAX)
        ]
        calls = [self._call(request, shard, until) for shard, request in requests]
        for found in [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls):
            self._draft.note(found)

    async def _call(self, request: TransactionRequest[T], shard: int, until: float) -> T:
        now = asyncio.get_running_loop().time
        if now() >= self._ends_at:
            raise self._too_long()
        try:
            return await self._engine.call(request, shard, min(until, self._ends_at))
        except DeadlineExceeded as error:
            if self._ends_at < until:
                raise self._too_long() from error
            raise

    def _start(self, shard: int) -> None:
        """Take an identity, or ask for one beside whatever comes next. Its time counts from here,
        so it ends here before it ends in the cluster."""
        if self._begin is None and self._begun is None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            self._ends_at = now + self._limit_ms / 1000
            self._begun = self._engine.identities.take(self._limit_ms, now)
            if self._begun is None:
                self._begin = loop.create_task(self._ask(shard))

    async def _ask(self, shard: int) -> Begun:
        now = asyncio.get_running_loop().time
        asked_at = now()
        begun = await self._call(begin(self._limit_ms), shard, self._call_until())
        if now() - asked_at < QUICK_S:
            self._engine.identities.learn(begun, self._limit_ms, now())
        return begun

    def _start_for(self, key: bytes) -> None:
        """The same for a write that sends nothing yet."""
        table = self._engine.table
        if table is not None:
            self._start(table.shard_of(key))

    def _too_long(self) -> TransactionTooLong:
        return TransactionTooLong(
            f"the transaction took longer than its limit of {self._limit_ms} ms"
        )

    def _call_until(self) -> float:
        """Loop time at which a call that starts now has to end."""
        if self._until is not None:
            return self._until
        return self._engine.deadline(self._timeout_ms)

    async def _put_if(
        self, key: str | bytes, value: bytes, flags: int, exptime: int, wanted: bool
    ) -> bool:
        sent = key_bytes(key)
        set_lines(sent, value, flags, exptime)  # What is wrong with them is said before any read.
        if await self.present(sent) is not wanted:
            return False
        self._draft.put(sent, value, flags, exptime)
        return True

    async def _count(self, key: str | bytes, delta: int, exptime: int) -> int | None:
        sent = key_bytes(key)
        set_lines(sent, b"", 0, exptime)
        await self._views((sent,))
        return self._draft.count(sent, delta, exptime)

    async def _commit(self) -> None:
        engine = self._engine
        block = self._draft.block()
        until = self._call_until()
        table = await engine.start(until)
        shard = table.shard_of(self._draft.first_key)
        self._start(shard)
        try:
            await self._send(block, shard, until)
        except TransactionTooLong:
            engine.identities.forget()
            if self._begun is None:
                raise
            # Nothing was done. It may be later than was believed here: once more, as a node says.
            self._begun, self._begin = None, asyncio.create_task(self._ask(shard))
            await self._send(block, shard, until)

    async def _send(self, block: bytes, shard: int, until: float) -> None:
        begun = self._begun
        if begun is None:
            assert self._begin is not None
            begun = await self._begin
        if asyncio.get_running_loop().time() >= self._ends_at:
            raise self._too_long()
        request = commit(begun, block)
        try:
            await self._engine.attempt(request, shard, until, None, OwnIdentity(shard, request))
        except OutcomeUnknown as error:
            if self._draft.writes:
                raise
            # It would have changed nothing.
            raise DeadlineExceeded(f"what was read could not be checked: {error}") from error

    async def _forget_begin(self) -> None:
        task, self._begin = self._begin, None
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # Seen: whoever needed it has been told.


_current: ContextVar[Transaction | None] = ContextVar("quorumcache_transaction", default=None)
"""The transaction that this task is in."""
