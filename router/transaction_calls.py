"""`transaction` and `transact`: how a client begins transactions, and repeats them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

from quorumcache.router.arguments import callable_of, shown
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    TransactionTooLong,
)
from quorumcache.router.transactions import LIMIT_MS, Transaction

T = TypeVar("T")


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
        """
        callable_of("fn", fn)
        engine = self._engine
        until = engine.deadline(timeout_ms)
        attempts = engine.attempts()
        conflict: Conflict | None = None
        now = asyncio.get_running_loop().time
        while True:
            began_at = now()
            transaction = Transaction(engine, limit_ms, None, until)
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
