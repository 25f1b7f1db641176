"""The engine of a client: carries each request to its end by the deadline.

One request, from the caller's view:

    table known? --no--> ask the seeds for the map
       |
    send to the shard's believed leader (below linearizable: to its replicas in turn)
       |-- reply ------------------------------------------> done
       |-- MOVED --> learn the leader, ask there at once
       |-- not executed for certain --> next replica, after a pause, until the deadline
       |-- may have been executed --> a read or a write with a number: as above, but for a write the
                                      deadline then means `OutcomeUnknown`;
                                      a write without a number: `OutcomeUnknown`

Writes of one key have a number of this client's session in their shard (`sessions.py`), unless the
configuration says otherwise or the node does not know sessions.

A pass over the replicas is a round; within one no address is asked twice, so that two nodes that
name each other as leader do not keep a request in the air.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from router.config import ClientConfig, format_address, parse_address
from router.discovery import Sighting, first_sighting, settle
from router.errors import (
    ClientClosed,
    DeadlineExceeded,
    InvalidArgument,
    Moved,
    NotANumber,
    NotDone,
    OutcomeUnknown,
    OutOfMemory,
    RouterError,
    SessionForgotten,
    SessionGone,
    ValueTooLarge,
    WrongCluster,
)
from router.pool import Pool
from router.requests import Request, open_session
from router.retry import Backoff, Effect, may_retry
from router.routing import RoutingTable
from router.sessions import Sessions, Write

T = TypeVar("T")

ANY_NODE = -1
"""In place of a shard: a request that every node can answer."""

WINDOW = 512
"""Requests of one call for many keys under way at once; half of what one connection takes."""

TIME_LEFT_MIN_S = 0.002
"""With less than this left no further attempt is made."""

RESULTS = (ValueTooLarge, NotANumber, OutOfMemory)
"""Refusals that are a write's first result, also when they answer a repetition."""


class _Attempts:
    """The failures of one request."""

    __slots__ = ("asked", "backoff", "count", "moved", "sent_on", "trouble")

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self.asked: list[str] = []  # in vain, in this round
        self.count = 0
        self.sent_on = False  # the last failure was a redirect
        self.moved: RouterError | None = None  # the last redirect
        self.trouble: RouterError | None = None  # the last failure that was no redirect


class Dispatcher:
    """Routing table, connections and retries of one client. Bound to the loop of its first use."""

    def __init__(self, seeds: Sequence[str], config: ClientConfig, random: Random) -> None:
        if not seeds or isinstance(seeds, str):
            raise InvalidArgument('seeds must be a list of "host:port", with at least one')
        self.seeds = tuple(format_address(*parse_address(seed)) for seed in seeds)
        self.config = config
        self.table: RoutingTable | None = None
        self._random = random
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Pool | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_error: RouterError | None = None
        self._refreshed_at = 0.0  # loop time at which the last refresh ended
        self._sessions = Sessions(self._open_session)
        self._is_closed = False
        self._turn = 0  # counts reads that any replica may answer

    @property
    def pool(self) -> Pool:
        """The connections."""
        if self._pool is None or self._is_closed:
            raise ClientClosed("the client is closed")
        return self._pool

    def deadline(self, timeout_ms: int | None) -> float:
        """Loop time at which a call that starts now has to end. Every call begins here; the first
        one binds the client to its loop.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        if self._is_closed:
            raise ClientClosed("the client is closed")
        if timeout_ms is None:
            timeout_ms = self.config.timeout_ms
        elif timeout_ms <= 0:
            raise InvalidArgument(f"timeout_ms must be above 0, not {timeout_ms}")
        return loop.time() + timeout_ms / 1000

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise InvalidArgument("a client belongs to the event loop that used it first")
        self._loop = loop
        self._pool = Pool(loop, self.config, self._random)
        self._refreshed_at = loop.time() - self.config.refresh_pause_ms / 1000

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    async def start(self, deadline: float, once: bool = False) -> RoutingTable:
        """The routing table; fetched from the seeds at the first call.

        `once`: one pass over the seeds, instead of trying until the deadline.
        """
        attempts: _Attempts | None = None
        known: RouterError | None = None  # the last reason why there is no map yet
        while self.table is None:
            refreshing = self._refresh_soon(urgent=True)
            left = deadline - self._now()
            await asyncio.wait((refreshing,), timeout=max(0.0, left))
            if refreshing.done() and not refreshing.cancelled():
                refreshing.result()  # a bug in there must not look like silence
            error = self._refresh_error
            if self.table is not None or error is None:
                if self.table is None and left <= 0:
                    why = known or f"no answer from {', '.join(self.seeds)}"
                    raise DeadlineExceeded(f"no cluster map in time: {why}") from known
                continue
            if once or not may_retry(Effect.READ, error):
                raise error
            known = error
            attempts = attempts or self._attempts()
            await self._pause(attempts, error, False, deadline)
        return self.table

    async def call(self, request: Request[T], shard: int, deadline: float) -> T:
        """Carry one request to the leader of `shard`, or to any node (`ANY_NODE`)."""
        return await self._run(request, shard, deadline)

    async def fan_out(
        self, requests: Sequence[tuple[int, Request[T]]], deadline: float
    ) -> list[T | RouterError]:
        """Carry many (shard, request) at once; results and errors in the order of `requests`."""
        results: list[T | RouterError] = []
        for start in range(0, len(requests), WINDOW):
            results += await self._window(requests[start : start + WINDOW], deadline)
        return results

    async def close(self) -> None:
        """End all requests and connections; idempotent."""
        self._is_closed = True
        await self._sessions.close()
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait((self._refreshing,))
        if self._pool is not None:
            await self._pool.close()

    async def _window(
        self, requests: Sequence[tuple[int, Request[T]]], deadline: float
    ) -> list[T | RouterError]:
        """Send what can go at once without a task each; what can not, or fails, gets its own."""
        table = self.table or await self.start(deadline)
        pool = self.pool
        futures: list[tuple[int, str, asyncio.Future[T]]] = []
        writes: dict[int, Write[Any]] = {}
        results: dict[int, T | RouterError] = {}
        late: list[tuple[int, _Attempts | None]] = []
        try:
            for index, (shard, request) in enumerate(requests):
                write = self._write(request, shard)
                if write is not None:
                    writes[index] = write
                address = self._target(table, shard, None, request)
                connection = pool.ready(address)
                if connection is None or (
                    write is not None and connection.knows_sessions and not write.number()
                ):
                    late.append((index, None))
                    continue
                sent = request if write is None else write.request
                if not connection.has_room(len(sent.data)):
                    late.append((index, None))
                    continue
                until = self._attempt_deadline(request, write, 0, deadline)
                futures.append((index, address, connection.submit(sent, until)))
            for index, address, future in futures:
                shard, request = requests[index]
                write = writes.get(index)
                try:
                    results[index] = await future
                except RouterError as error:
                    try:
                        self._judge(error, request, write)
                    except RouterError as verdict:
                        results[index] = verdict
                    else:
                        attempts = self._attempts()
                        self._learn(error, shard, address, attempts)
                        late.append((index, attempts))
                        continue
                if write is not None:
                    write.end()  # Others may be waiting for room in the session.
            if late:
                outcomes = [
                    self._outcome(requests[index], deadline, attempts, writes.get(index))
                    for index, attempts in late
                ]
                ended = await asyncio.gather(*outcomes)
                results.update(zip((index for index, _ in late), ended, strict=True))
        finally:
            settle(*(future for _, _, future in futures))
            for write in writes.values():
                write.end()
        return [results[index] for index in range(len(requests))]

    async def _outcome(
        self,
        call: tuple[int, Request[T]],
        deadline: float,
        attempts: _Attempts | None,
        write: Write[Any] | None,
    ) -> T | RouterError:
        shard, request = call
        try:
            return await self._attempt(request, shard, deadline, attempts, write)
        except RouterError as error:
            return error
        finally:
            if write is not None:
                write.end()

    async def _run(self, request: Request[T], shard: int, deadline: float) -> T:
        write = self._write(request, shard)
        try:
            return await self._attempt(request, shard, deadline, None, write)
        finally:
            if write is not None:
                write.end()

    def _write(self, request: Request[T], shard: int) -> Write[T] | None:
        """What numbers a request, if it is one that can have a number."""
        if request.effect is Effect.WRITE and shard != ANY_NODE and self.config.sessions:
            return Write(self._sessions, shard, request)
        return None

    async def _open_session(self, shard: int) -> int:
        return await self._run(open_session(shard), shard, self.deadline(None))

    async def _attempt(
        self,
        request: Request[T],
        shard: int,
        deadline: float,
        attempts: _Attempts | None,
        write: Write[Any] | None,
    ) -> T:
        """Make attempts until one has a result. An error says what all of them together did."""
        try:
            return await self._attempts_until(request, shard, deadline, attempts, write)
        except RouterError as error:
            doubt = write.doubt if write is not None else None
            if doubt is None or not error.outcome_known or isinstance(error, RESULTS):
                raise
            # The last attempt did nothing, but an earlier one may have.
            raise OutcomeUnknown(f"{doubt}; and then: {error}") from error

    async def _attempts_until(
        self,
        request: Request[T],
        shard: int,
        deadline: float,
        attempts: _Attempts | None,
        write: Write[Any] | None,
    ) -> T:
        pool = self.pool
        sent = request
        while True:
            address = ""
            try:
                table = self.table or await self.start(deadline)
                address = self._target(table, shard, attempts, request)
                connection = pool.ready(address) or await pool.acquire(address, deadline)
                if write is not None:
                    if connection.knows_sessions and not write.is_numbered and not write.number():
                        await self._sessions.wait(shard, deadline)
                        continue  # Much may have changed meanwhile.
                    if write.is_numbered and not connection.knows_sessions:
                        if write.doubt is not None:
                            raise NotDone(f"{address} does not know sessions")
                        write.end()  # It goes there without a number, once.
                    sent = write.request
                if not connection.has_room(len(sent.data)):
                    await connection.room(len(sent.data), deadline)
                count = attempts.count if attempts else 0
                until = self._attempt_deadline(request, write, count, deadline)
                return await connection.submit(sent, until)
            except RouterError as error:
                if not address:
                    raise
                self._judge(error, request, write)
                if self._is_closed:
                    raise ClientClosed("the client was closed") from error
                if isinstance(self._refresh_error, WrongCluster):
                    raise self._refresh_error from error
                attempts = attempts or self._attempts()
                self._learn(error, shard, address, attempts)
                elsewhere = bool(table.target(max(shard, 0), attempts.asked))
                if not elsewhere:
                    attempts.asked.clear()
                await self._pause(attempts, error, elsewhere, deadline)

    def _judge(self, error: RouterError, request: Request[T], write: Write[Any] | None) -> None:
        """Raise if `error` is the end of the call; note what it says about the write's number."""
        effect = request.effect
        if write is not None and write.is_numbered:
            effect = Effect.NUMBERED_WRITE
            if isinstance(error, SessionForgotten | SessionGone):
                write.session_gone()
                if write.doubt is not None:
                    raise SessionGone(f"{write.doubt}; and then: {error}") from error
            elif not error.outcome_known:
                write.doubt = error
        if not may_retry(effect, error):
            raise error

    def _target(
        self, table: RoutingTable, shard: int, attempts: _Attempts | None, request: Request[T]
    ) -> str:
        asked = attempts.asked if attempts else ()
        if shard != ANY_NODE:
            if request.any_replica and not (attempts and attempts.sent_on):
                address = self._replica(table, shard, asked)
                if address:
                    return address
            return table.target(shard, asked) or table.leader(shard)
        pool = self.pool
        left = [address for address in table.addresses if address not in asked]
        for address in left:
            if pool.is_open(address):
                return address
        return left[0] if left else table.addresses[0]

    def _replica(self, table: RoutingTable, shard: int, asked: Sequence[str]) -> str:
        """A replica that was not asked in vain in this round, each in its turn; "": there is none.

        Those with an open connection come first: no read waits for one that is down.
        """
        self._turn += 1
        replicas = table.replicas(shard)
        start = self._turn % len(replicas)
        first = ""
        for address in (*replicas[start:], *replicas[:start]):
            if address not in asked:
                if self.pool.is_at_hand(address):
                    return address
                first = first or address
        return first

    def _attempt_deadline(
        self, request: Request[T], write: Write[Any] | None, count: int, deadline: float
    ) -> float:
        """Until when one attempt waits before the next is made elsewhere; a write without a number
        is not sent twice.
        """
        if request.effect is Effect.READ:
            first_ms = self.config.read_attempt_ms
        elif write is not None and write.is_numbered:
            first_ms = self.config.write_attempt_ms
        else:
            return deadline
        patience_ms = first_ms << min(count, 16)
        return min(deadline, self._now() + patience_ms / 1000)

    def _attempts(self) -> _Attempts:
        config = self.config
        return _Attempts(Backoff(self._random, config.backoff_first_ms, config.backoff_max_ms))

    def _learn(self, error: RouterError, shard: int, address: str, attempts: _Attempts) -> None:
        """Take from a failure what it says about the cluster."""
        attempts.count += 1
        if isinstance(error, SessionForgotten):
            attempts.trouble = error
            return  # The node is the right one.
        attempts.sent_on = isinstance(error, Moved)
        if isinstance(error, Moved):
            attempts.moved = error
        else:
            attempts.trouble = error
        if address not in attempts.asked:
            attempts.asked.append(address)
        table = self.table
        if table is None:
            return
        if isinstance(error, Moved):
            if error.shard == shard:
                table.moved(shard, address, error.address)
            if error.epoch > table.cluster_map.epoch or error.shard != shard:
                self._refresh_soon(prefer=address)
            elif not error.address:
                self._refresh_soon()
        elif error.refresh_map:
            self._refresh_soon()

    async def _pause(
        self, attempts: _Attempts, error: RouterError, elsewhere: bool, deadline: float
    ) -> None:
        """Wait before the next attempt, or end the call when its time is over."""
        left = deadline - self._now()
        if left < TIME_LEFT_MIN_S:
            reasons = [attempts.moved, attempts.trouble]
            why = "; ".join(str(reason) for reason in reasons if reason is not None)
            raise DeadlineExceeded(f"not done in time: {why or error}") from error
        pause = attempts.backoff.pause_ms(error, elsewhere) / 1000
        if pause:
            # Near the end, spend half of what is left: a last attempt is still worth it.
            await asyncio.sleep(min(pause, left / 2))

    def _refresh_soon(self, prefer: str = "", urgent: bool = False) -> asyncio.Task[None]:
        """Fetch map and leaders in the background: one fetch at a time, with a pause in between."""
        task = self._refreshing
        if task is not None and not task.done():
            return task
        loop = asyncio.get_running_loop()
        next_at = self._refreshed_at + self.config.refresh_pause_ms / 1000
        delay = 0.0 if urgent else max(0.0, next_at - loop.time())
        self._refreshing = loop.create_task(self._refresh(prefer, delay))
        return self._refreshing

    async def _refresh(self, prefer: str, delay: float) -> None:
        loop = asyncio.get_running_loop()
        config = self.config
        if delay:
            await asyncio.sleep(delay)
        self._refresh_error = None
        known_epoch = self.table.cluster_map.epoch if self.table else 0
        try:
            sighting = await first_sighting(
                self.pool,
                self._whom_to_ask(prefer),
                known_epoch,
                loop.time() + 2 * config.connect_timeout_ms / 1000,
                config.hedge_ms,
            )
            self._install(sighting)
        except RouterError as error:
            self._refresh_error = error
        finally:
            self._refreshed_at = loop.time()

    def _whom_to_ask(self, prefer: str) -> list[str]:
        """All known addresses, the likeliest to answer first; otherwise in random order, so that
        many clients do not all ask the same node."""
        table = self.table
        seeds = list(self.seeds)
        self._random.shuffle(seeds)
        if table is None:
            return seeds
        nodes = list(table.addresses)
        self._random.shuffle(nodes)
        nodes.sort(key=lambda address: not self.pool.is_open(address))
        return list(dict.fromkeys([prefer, *nodes, *seeds] if prefer else [*nodes, *seeds]))

    def _install(self, sighting: Sighting) -> None:
        found = sighting.cluster_map
        table = self.table
        if found is None:
            pass
        elif table is None:
            self.table = RoutingTable(found)
        elif found.cluster_id != table.cluster_map.cluster_id:
            raise WrongCluster(
                f"{sighting.address} belongs to cluster {found.cluster_id}, this client to "
                f"{table.cluster_map.cluster_id}: make a new client for the other cluster"
            )
        elif found.epoch > table.cluster_map.epoch:
            self.table = table.succeed(found)
            self.pool.retain((*self.table.addresses, *self.seeds))
        if self.table is not None:
            self.table.learn_leaders(sighting.leaders)
