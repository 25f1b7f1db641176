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
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from quorumcache.router.arguments import timeout_of
from quorumcache.router.attempts import Attempts
from quorumcache.router.config import ClientConfig, seed_addresses
from quorumcache.router.errors import (
    ClientClosed,
    Moved,
    NotDone,
    OutcomeUnknown,
    Refused,
    RouterError,
    SessionForgotten,
    SessionGone,
    WrongCluster,
    WrongEventLoop,
)
from quorumcache.router.forks import watch
from quorumcache.router.identities import Identities
from quorumcache.router.levels import Linearizable, ReadLevel
from quorumcache.router.map_keeper import MapKeeper
from quorumcache.router.pool import Pool
from quorumcache.router.requests import Request, open_session
from quorumcache.router.retry import RESULTS, Effect, may_retry
from quorumcache.router.routing import RoutingTable
from quorumcache.router.sessions import ClientSessions, ClientWrite
from quorumcache.router.transaction_requests import TransactionRequest
from quorumcache.router.wait_pool import WaitPool

T = TypeVar("T")

_READ, _WRITE = Effect.READ, Effect.WRITE
"""Once for all: to look a member of an enum up takes several times as long."""

ANY_NODE = -1
"""In place of a shard: a request that every node can answer."""


class Dispatcher:
    """Routing table, connections and retries of one client. Bound to the loop of its first use."""

    def __init__(self, seeds: Iterable[str], config: ClientConfig, random: Random) -> None:
        self.seeds = seed_addresses(seeds)
        self.config = config
        self._random = random
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Pool | None = None
        self._wait_pool: WaitPool | None = None  # opened by the first request that waits
        self._keeper: MapKeeper | None = None
        self._sessions = ClientSessions(self._open_session)
        self.identities = Identities()  # of transactions
        self._is_closed = False
        self._turn = 0  # counts calls that any replica may answer
        # After a fork: what belongs to the parent process. It is kept, since the end of such
        # objects would disturb the parent's event loop.
        self._inherited: list[
            tuple[asyncio.AbstractEventLoop, Pool, WaitPool | None, MapKeeper, ClientSessions]
        ] = []
        self._table: RoutingTable | None = None  # to start from, after a fork
        watch(self)

    @property
    def pool(self) -> Pool:
        """The connections."""
        if self._pool is None or self._is_closed:
            raise ClientClosed("the client is closed")
        return self._pool

    @property
    def _waiting(self) -> WaitPool:
        """The connections of requests whose answers nodes keep back."""
        if self._wait_pool is None:
            loop, _ = self._loop, self.pool
            assert loop is not None
            self._wait_pool = WaitPool(loop, self.config, self._random)
        return self._wait_pool

    @property
    def keeper(self) -> MapKeeper:
        """What is known of the cluster."""
        if self._keeper is None or self._is_closed:
            raise ClientClosed("the client is closed")
        return self._keeper

    @property
    def is_closed(self) -> bool:
        """Whether calls are refused, and those under way end."""
        return self._is_closed

    @property
    def table(self) -> RoutingTable | None:
        """The newest routing table; None before the first was fetched."""
        return self._keeper.table if self._keeper is not None else self._table

    def deadline(self, timeout_ms: int | None) -> float:
        """Loop time at which a call that starts now has to end. Every call begins here; the first
        one binds the client to its loop.
        """
        loop = _running_loop()
        if loop is not self._loop:
            self._bind(loop)
        if self._is_closed:
            raise ClientClosed("the client is closed")
        timeout_ms = self.config.timeout_ms if timeout_ms is None else timeout_of(timeout_ms)
        return loop.time() + timeout_ms / 1000

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise WrongEventLoop(
                "this client was first used in another event loop: make one client per loop"
                " (each asyncio.run is a new loop)"
            )
        if any(loop is inherited for inherited, *_ in self._inherited):
            raise WrongEventLoop(
                "this event loop was made before the fork, and the parent process uses it: run"
                " the calls of the child in a new one (asyncio.run)"
            )
        if self._is_closed:
            raise ClientClosed("the client is closed")
        self._loop = loop
        self._pool = Pool(loop, self.config, self._random)
        self._keeper = MapKeeper(self._pool, self.seeds, self.config, self._random, self._table)

    def forked(self) -> None:
        """This is the child process now: leave sockets and sessions to the parent, start anew."""
        self.identities.forget()
        loop, pool, waiting, keeper = self._loop, self._pool, self._wait_pool, self._keeper
        if loop is None or pool is None or keeper is None:
            return
        self._inherited.append((loop, pool, waiting, keeper, self._sessions))
        self._table = keeper.table
        self._loop = self._pool = self._wait_pool = self._keeper = None
        self._sessions = ClientSessions(self._open_session)
        pool.disown()
        if waiting is not None:
            waiting.disown()

    async def start(self, deadline: float, once: bool = False) -> RoutingTable:
        """The routing table; fetched from the seeds at the first call.

        `once`: one pass over the seeds, instead of trying until the deadline.
        """
        return await self.keeper.start(deadline, once)

    async def call_key(self, key: bytes, request: Request[T], timeout_ms: int | None) -> T:
        """Carry one request to the leader of the shard of a valid key."""
        deadline = self.deadline(timeout_ms)
        keeper = self._keeper
        assert keeper is not None
        table = keeper.table or await keeper.start(deadline)
        shard = table.shard_of(key)
        if request.any_replica:
            return await self.attempt(request, shard, deadline)
        if request.is_fenced:
            return await self.call(request, shard, deadline)
        write = None
        if request.effect is _WRITE and self.config.sessions:
            write = ClientWrite(self._sessions, shard, request)
        # Nearly all calls end here, so that one coroutine carries them: the first attempt.
        try:
            failed: tuple[RouterError, str] | None = None
            connection = self.pool.ready(table.leader(shard))
            if connection is not None and (
                write is None or not connection.knows_sessions or write.number()
            ):
                sent = request if write is None else write.request
                if connection.has_room(len(sent.data)):
                    until = self.attempt_deadline(request, write, 0, deadline)
                    try:
                        return await connection.submit(sent, until, True)
                    except RouterError as error:
                        failed = error, connection.address
            return await self.attempt(request, shard, deadline, None, write, failed)
        finally:
            if write is not None:
                write.end()

    async def call(self, request: Request[T], shard: int, deadline: float) -> T:
        """Carry one request to the leader of `shard`, or to any node (`ANY_NODE`)."""
        write = self.write(request, shard)
        try:
            return await self.attempt(request, shard, deadline, None, write)
        finally:
            if write is not None:
                write.end()

    async def close(self) -> None:
        """End all requests and connections; idempotent."""
        loop = _running_loop()
        if self._loop is not None and loop is not self._loop:
            raise WrongEventLoop("this client was first used in another event loop: close it there")
        self._is_closed = True
        await self._sessions.close()
        if self._keeper is not None:
            await self._keeper.close()
        for pool in (self._pool, self._wait_pool):
            if pool is not None:
                await pool.close()

    def write(self, request: Request[T], shard: int) -> ClientWrite[T] | None:
        """What numbers a request, if it is one that can have a number."""
        if request.effect is _WRITE and shard != ANY_NODE and self.config.sessions:
            return ClientWrite(self._sessions, shard, request)
        return None

    async def _open_session(self, shard: int) -> int:
        return await self.call(open_session(shard), shard, self.deadline(None))

    def attempts(self) -> Attempts:
        """Of a call whose first attempt has failed."""
        return Attempts(self.config, self._random)

    async def attempt(
        self,
        request: Request[T],
        shard: int,
        deadline: float,
        attempts: Attempts | None = None,
        write: ClientWrite[Any] | None = None,
        failed: tuple[RouterError, str] | None = None,
    ) -> T:
        """Make attempts until one has a result. An error says what all of them together did.

        `failed`: how the first one failed, and the address it went to, if it was made already.
        """
        try:
            if failed is not None:
                error, address = failed
                attempts = await self._after(
                    error, request, shard, address, attempts, write, deadline
                )
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
        attempts: Attempts | None,
        write: ClientWrite[Any] | None,
    ) -> T:
        keeper = self.keeper
        pool = self._waiting if request.is_alone else self.pool
        sent = request
        while True:
            address = ""
            try:
                table = keeper.table or await keeper.start(deadline)
                address = self.target(table, shard, attempts, request)
                connection = pool.ready(address) or await pool.acquire(address, deadline)
                if isinstance(request, TransactionRequest) and not connection.knows_transactions:
                    raise Refused(f"{address}: a node of an older version, without transactions")
                if request.is_fenced and not connection.knows_locks:
                    raise Refused(f"{address}: a node of an older version, without fences")
                if write is not None and write.needs_session:
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
                until = self.attempt_deadline(request, write, count, deadline)
                return await connection.submit(sent, until, True)
            except RouterError as error:
                if not address:
                    raise
                attempts = await self._after(
                    error, request, shard, address, attempts, write, deadline
                )

    async def _after(
        self,
        error: RouterError,
        request: Request[T],
        shard: int,
        address: str,
        attempts: Attempts | None,
        write: ClientWrite[Any] | None,
        deadline: float,
    ) -> Attempts:
        """What follows a failed attempt: the end of the call, or a pause before the next."""
        self.judge(error, request, write)
        if self._is_closed:
            raise ClientClosed("the client was closed") from error
        keeper = self.keeper
        if isinstance(keeper.refresh_error, WrongCluster):
            raise keeper.refresh_error from error
        attempts = attempts or self.attempts()
        self.learn(error, shard, address, attempts)
        table = keeper.table
        elsewhere = table is None or bool(table.target(max(shard, 0), attempts.asked))
        if not elsewhere:
            attempts.asked.clear()
        await attempts.pause(error, elsewhere, deadline)
        return attempts

    def judge(
        self, error: RouterError, request: Request[T], write: ClientWrite[Any] | None
    ) -> None:
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

    def target(
        self, table: RoutingTable, shard: int, attempts: Attempts | None, request: Request[T]
    ) -> str:
        """The address of the next attempt."""
        asked = attempts.asked if attempts else ()
        if shard != ANY_NODE:
            if request.any_replica and not (attempts and attempts.sent_on):
                self._turn += 1
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

    def read_targets(
        self, table: RoutingTable, shards: Sequence[int], level: ReadLevel
    ) -> Sequence[str] | Mapping[int, str]:
        """By shard: the address for the first attempt of one read of keys of all these `shards`.

        Where any replica may answer, keys that fit in one line go to as few nodes as can answer,
        other ones for each call; more keys go to all nodes.
        """
        if isinstance(level, Linearizable):
            return table.leaders
        self._turn += 1
        nodes = table.addresses
        is_spread = len(shards) > self.config.keys_per_get_max
        targets: dict[int, str] = {}
        for shard in dict.fromkeys(shards):
            start = (self._turn + shard if is_spread else self._turn) % len(nodes)
            replicas = table.replicas(shard)
            order = [address for address in (*nodes[start:], *nodes[:start]) if address in replicas]
            at_hand = (address for address in order if self.pool.is_at_hand(address))
            targets[shard] = next(at_hand, table.leader(shard))
        return targets

    def _replica(self, table: RoutingTable, shard: int, asked: Sequence[str]) -> str:
        """A replica that was not asked in vain in this round, each in its turn; "": there is none.

        Those with an open connection come first: no read waits for one that is down.
        """
        replicas = table.replicas(shard)
        start = self._turn % len(replicas)
        first = ""
        for address in (*replicas[start:], *replicas[:start]):
            if address not in asked:
                if self.pool.is_at_hand(address):
                    return address
                first = first or address
        return first

    def attempt_deadline(
        self, request: Request[T], write: ClientWrite[Any] | None, count: int, deadline: float
    ) -> float:
        """Until when one attempt waits before the next is made elsewhere; a write without a number
        is not sent twice.
        """
        if request.effect is _READ:
            first_ms = self.config.read_attempt_ms + request.wait_ms
        elif write is not None and write.is_numbered:
            first_ms = self.config.write_attempt_ms + request.wait_ms
        else:
            return deadline
        assert self._loop is not None
        until = self._loop.time() + (first_ms << min(count, 16) if count else first_ms) / 1000
        return until if until < deadline else deadline

    def learn(self, error: RouterError, shard: int, address: str, attempts: Attempts) -> None:
        """Take from a failure what it says about the cluster."""
        attempts.note(error, address)
        keeper = self.keeper
        table = keeper.table
        if table is None or isinstance(error, SessionForgotten):
            return
        if isinstance(error, Moved):
            if error.shard == shard:
                table.moved(shard, address, error.address)
            if error.epoch > table.cluster_map.epoch or error.shard != shard:
                keeper.refresh_soon(prefer=address)
            elif not error.address:
                keeper.refresh_soon()
        elif error.refresh_map:
            keeper.refresh_soon()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongEventLoop(
            "no event loop runs in this process; after a fork the child has to start a new one, as"
            " asyncio.run does"
        ) from None
