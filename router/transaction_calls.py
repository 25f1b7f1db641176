"""The calls of a client that begin a transaction, or take a snapshot.

A transaction that only reads comes through when nobody changes its keys between its reads and its
commit. Where others do so all the time, `transact` has a node hold the keys for a moment: the next
run of its function finds them read.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from quorumcache.router.arguments import callable_of, keys_of, shown
from quorumcache.router.codec import keys_bytes
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    RouterError,
    TransactionTooLarge,
    TransactionTooLong,
)
from quorumcache.router.transaction_requests import (
    LIMIT_MS_MIN,
    TXN_KEYS_MAX,
    Read,
    snapshot,
)
from quorumcache.router.transactions import LIMIT_MS, Transaction

T = TypeVar("T")
K = TypeVar("K", str, bytes)

SNAPSHOT_MS: Final = 2_000
"""How long a node tries to hold the keys of a snapshot. It is asked again after that."""

LOST_MAX: Final = 3
"""So many conflicts of runs that wrote nothing, and the next run begins with a snapshot."""


class TransactionCalls:
    """The calls of a client that begin a transaction."""

    _engine: Dispatcher

    def transaction(
        self, *, limit_ms: int = LIMIT_MS, timeout_ms: int | None = None
    ) -> Transaction:
        """`async with client.transaction() as tx`: all that is done with `tx` happens at the end of
        the block, or nothing does. An exception gives it up.

        Raises `Conflict` at the end if somebody else changed what was read. `limit_ms` (100 to
        60,000): the time from its first call to its commit. `timeout_ms` bounds each call.
        """
        return Transaction(self._engine, limit_ms, timeout_ms)

    async def transact(
        self,
        fn: Callable[[Transaction], Awaitable[T]],
        *,
        limit_ms: int = LIMIT_MS,
        timeout_ms: int | None = None,
    ) -> T:
        """Run `await fn(tx)` as one transaction; returns its result.

        After a `Conflict` it is run again, after a random pause, until the deadline of the call:
        then `DeadlineExceeded`. So `fn` must do nothing that may not be repeated. An exception of
        `fn` gives the transaction up and is passed on, unless what `fn` had read was of different
        moments: then it is run again, too.

        Where `fn` only reads, and others change its keys all the time, a node holds the keys for a
        moment after some conflicts, so that a run comes through.
        """
        callable_of("fn", fn)
        engine = self._engine
        until = engine.deadline(timeout_ms)
        attempts = engine.attempts()
        conflict: Conflict | None = None
        now = asyncio.get_running_loop().time
        seen: dict[bytes, Read] | None = None
        lost = 0
        while True:
            began_at = now()
            transaction = Transaction(engine, limit_ms, None, until, seen)
            seen = None
            try:
                return await _attempt(transaction, fn)
            except DeadlineExceeded as error:
                if conflict is None:
                    raise
                raise DeadlineExceeded(f"{error}; and before: {conflict}") from conflict
            except Conflict as error:
                conflict = error
                # Whoever met here meets again if both wait equally long: the pause is drawn.
                # One that cannot end in time is not begun: its outcome would be unknown.
                await attempts.pause(error, False, until - 2 * (now() - began_at))
                if not transaction.has_written:
                    lost += 1
                    if lost >= LOST_MAX:
                        seen = await _seen(engine, transaction.keys_read, until)

    async def snapshot(self, keys: Iterable[K], *, timeout_ms: int | None = None) -> dict[K, bytes]:
        """The values that those `keys` that exist had at one moment, by key as given, in their
        order: 128 at most, of any shards. Others may change them all the time: their writes wait
        for it. Raises `DeadlineExceeded` if that cannot be had in time.
        """
        given = keys_of(keys)
        if not given:
            raise InvalidArgument("keys must name one key at least")
        sent = keys_bytes(given)
        engine = self._engine
        until = engine.deadline(timeout_ms)
        found = await _snapshot(engine, tuple(dict.fromkeys(sent)), until)
        if found is None:  # Nodes of an older version.
            left_ms = max(1, int(1000 * (until - asyncio.get_running_loop().time())))
            return await self.transact(lambda tx: tx.get_many(given), timeout_ms=left_ms)
        values = [found[key].value for key in sent]
        return {key: value for key, value in zip(given, values, strict=True) if value is not None}


async def _seen(
    engine: Dispatcher, keys: tuple[bytes, ...], until: float
) -> dict[bytes, Read] | None:
    """What the keys hold at one moment, if a node can tell. If not, the run reads them itself."""
    try:
        return await _snapshot(engine, keys, until) if keys else None
    except RouterError:
        return None


async def _snapshot(
    engine: Dispatcher, keys: tuple[bytes, ...], until: float
) -> dict[bytes, Read] | None:
    """The same; None: the nodes do not know how to."""
    if len(keys) > TXN_KEYS_MAX:
        raise TransactionTooLarge(f"a snapshot has {TXN_KEYS_MAX} keys at most, not {len(keys)}")
    table = await engine.start(until)
    left_ms = int(1000 * (until - asyncio.get_running_loop().time()))
    request = snapshot(keys, max(LIMIT_MS_MIN, min(SNAPSHOT_MS, left_ms)))
    return await engine.attempt(request, table.shard_of(keys[0]), until)


async def _attempt(transaction: Transaction, fn: Callable[[Transaction], Awaitable[T]]) -> T:
    """Run `fn` in the transaction, and commit it."""
    transaction.open()
    try:
        started = fn(transaction)
        if not inspect.isawaitable(started):
            raise InvalidArgument(f"fn must be an async function: it returned {shown(started)}")
        result = await started
    except (Conflict, DeadlineExceeded, TransactionTooLong):
        await transaction.abandon()
        raise
    except Exception:
        await transaction.abandon()
        if not await transaction.is_snapshot():
            raise Conflict(None) from None
        raise
    except BaseException:
        await transaction.abandon()
        raise
    await transaction.commit()
    return result
