"""A client of transactions and locks that uses the project's own library, as programs do.

Each run of a transaction's function is a transaction of its own in the history: one that is run
again was refused before. What the library says is believed, and judged: `Conflict` and every other
`NotDone` mean that nothing has happened, `OutcomeUnknown` that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from quorumcache.router.client import AsyncClient
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import (
    LockLost,
    LockNotHeld,
    NotDone,
    OutcomeUnknown,
    RouterError,
    StaleFence,
)
from quorumcache.router.fencing import FencingToken
from quorumcache.router.transactions import Transaction as OpenTransaction
from tests.simulation.dealings import OPENING, Dealings, balance
from tests.simulation.serializability import PRESENT, Transaction, Value
from tests.simulation.talk import Host

TALLY = b"tally"
"""A number that is only counted up."""
TTLS_MS = (300, 1_000, 5_000)


class Run:
    """One run of a transaction's function: what it does, and the note of it."""

    def __init__(self, tx: OpenTransaction, record: Transaction) -> None:
        self.tx = tx
        self.record = record

    async def get(self, *keys: bytes) -> list[Value]:
        found = await self.tx.get_many(keys)
        values = [found.get(key) for key in keys]
        self.record.reads |= dict(zip(keys, values, strict=True))
        return values

    async def set(self, key: bytes, value: bytes) -> None:
        await self.tx.set(key, value)
        self.record.writes[key] = value


Work = Callable[[Run], Awaitable[None]]


class LibraryUser:
    """See the module."""

    def __init__(self, host: Host, dealings: Dealings, *, pause_seconds: float) -> None:
        self.host = host
        self.random = host.random
        self.dealings = dealings
        self.pause_seconds = pause_seconds
        self._made = 0

    async def run(self) -> None:
        """Until its host stops."""
        config = ClientConfig(timeout_ms=self.random.choice((500, 2_000, 8_000)))
        seeds = [f"{host}:{port}" for host, port in self.host.addresses]
        client = AsyncClient(seeds, config, random=Random(self.random.random()))
        await asyncio.gather(*(self._work(client) for _ in range(self.random.randint(1, 2))))
        await client.close()

    async def _work(self, client: AsyncClient) -> None:
        jobs = (self._transfer, self._snapshot, self._mix, self._tally, self._lock)
        while not self.host.is_stopping:
            try:
                await self.random.choice(jobs)(client)
            except NotDone:
                pass
            except RouterError as error:
                if not isinstance(error, OutcomeUnknown):
                    self.host.unexpected.append(f"{self.host.name}: {error!r}")
            await asyncio.sleep(self.random.expovariate(1 / self.pause_seconds))

    def _value(self, word: str = "") -> bytes:
        self._made += 1
        return f"{word} {self.host.name}.{self._made}".strip().encode()

    # -- transactions ------------------------------------------------------------------------------

    async def _transact(self, client: AsyncClient, kind: str, work: Work) -> Transaction:
        """By `transact`, or by a block. Raises what the library raises."""
        history, host = self.dealings.history, self.host
        runs: list[Transaction] = []

        async def fn(tx: OpenTransaction) -> None:
            if runs:
                history.fail(runs[-1], "it is run again", now_ns=host.now_ns)
            runs.append(history.invoke(host.name, kind, now_ns=host.now_ns))
            await work(Run(tx, runs[-1]))

        limit_ms = self.random.choice((200, 1_000, 5_000))
        try:
            if self.random.random() < 0.5:
                await client.transact(fn, limit_ms=limit_ms)
            else:
                async with client.transaction(limit_ms=limit_ms) as tx:
                    await fn(tx)
        except NotDone as error:
            if runs:
                history.fail(runs[-1], repr(error), now_ns=host.now_ns)
            raise
        history.ok(runs[-1], now_ns=host.now_ns)
        return runs[-1]

    async def _transfer(self, client: AsyncClient) -> None:
        source, target = self.random.sample(self.dealings.accounts, 2)
        amount = self.random.randint(1, 20)

        async def move(run: Run) -> None:
            old, other = await run.get(source, target)
            if old is None or other is None:
                for key in self.dealings.accounts:
                    run.record.reads[key] = None
                    if not await run.tx.add(key, opening := self._value(str(OPENING))):
                        run.record.reads[key] = PRESENT
                        continue
                    run.record.writes[key] = opening
                return
            await run.set(source, self._value(str(balance(old) - amount)))
            await run.set(target, self._value(str(balance(other) + amount)))

        await self._transact(client, "transfer", move)

    async def _snapshot(self, client: AsyncClient) -> None:
        async def look(run: Run) -> None:
            await run.get(*self.dealings.accounts)

        record = await self._transact(client, "snapshot", look)
        wrong = self.dealings.wrong_sum(record.reads)
        if wrong:
            self.host.unexpected.append(f"{self.host.name}: {wrong}")

    async def _mix(self, client: AsyncClient) -> None:
        registers = self.dealings.registers
        read = self.random.sample(registers, self.random.randint(1, len(registers)))
        written = self.random.sample(registers, self.random.randint(0, len(registers)))
        removes = self.random.random() < 0.1

        async def mix(run: Run) -> None:
            await run.get(*read)
            for key in written:
                await run.set(key, self._value())
            if removes and await run.tx.present(read[0]):
                await run.tx.delete(read[0])
                run.record.writes[read[0]] = None

        await self._transact(client, "mix", mix)

    async def _tally(self, client: AsyncClient) -> None:
        async def count(run: Run) -> None:
            (old,) = await run.get(TALLY)
            if old is None:
                await run.set(TALLY, b"1")
            else:
                await run.tx.incr(TALLY)
                run.record.writes[TALLY] = b"%d" % (int(old) + 1)

        await self._transact(client, "tally", count)

    # -- locks -------------------------------------------------------------------------------------

    async def _lock(self, client: AsyncClient) -> None:
        name = self.random.choice(self.dealings.locks)
        ttl_ms = self.random.choice(TTLS_MS)
        lock = client.lock(name, ttl_ms)
        self._made += 1
        owner = f"{self.host.name}.{self._made}".encode()
        # The library gives a lock back a little before its time, where it could not renew it.
        ask = self.dealings.ask("acquire", self.host, name, owner, ttl_ms=ttl_ms // 2)
        try:
            token = await lock.acquire(wait_ms=self.random.choice((0, 300, 2_000)))
        except RouterError as error:
            if error.outcome_known:
                self._end(ask.record, repr(error))
            raise
        ask.token = token.number
        self._end(ask.record, str(token.number))
        for _ in range(self.random.randint(0, 3)):
            await self._section(client, name, token)
        given_back = self.dealings.ask("release", self.host, name, owner)
        try:
            await lock.release()
        except (LockNotHeld, LockLost):
            self.dealings.counts["locks_lost"] += 1
        self._end(given_back.record, "released")

    async def _section(self, client: AsyncClient, name: bytes, token: FencingToken) -> None:
        """As `LockClient` does it."""
        key = self.random.choice(self.dealings.guarded(name))
        history, host = self.dealings.history, self.host
        section = history.invoke(host.name, "section", now_ns=host.now_ns)
        read = history.invoke(host.name, "read", now_ns=host.now_ns)
        try:
            old = await client.get(key, fence=token)
        except RouterError as error:
            for record in (section, read):
                history.fail(record, repr(error), now_ns=host.now_ns)
            self._count_stale(error)
            raise
        read.reads = section.reads = {key: old}
        history.ok(read, now_ns=host.now_ns)
        self.dealings.executed(name, key, token.number, read)
        if self.random.random() < 0.2:
            await asyncio.sleep(self.random.random() * 2)
        value = self._value(str(token.number))
        section.writes = {key: value}
        write = history.invoke(host.name, "fenced", now_ns=host.now_ns)
        try:
            await client.set(key, value, fence=token)
        except NotDone as error:
            for record in (section, write):
                history.fail(record, repr(error), now_ns=host.now_ns)
            self._count_stale(error)
            raise
        for record in (section, write):
            history.ok(record, now_ns=host.now_ns)
        self.dealings.executed(name, key, token.number, write)

    def _count_stale(self, error: RouterError) -> None:
        self.dealings.counts["fences_stale"] += isinstance(error, StaleFence)

    def _end(self, record: Transaction, text: str) -> None:
        self.dealings.history.ok(record, text, now_ns=self.host.now_ns)
