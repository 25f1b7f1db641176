"""Reads below linearizable, and the check of what they were told.

Each key has one writer, which waits for one write to end before it begins the next; so it is known
which values had been replaced for good when a read began. Readers ask at a bound, or locally, by
the client library and by plain connections to any node. Rules, with t the virtual time:

    bounded   the value was current at some moment of [invoked - bound, returned]: it was not
              replaced for good before that, by a write that was acknowledged, and its own write had
              begun by the end of it
    local     the value, or its absence, was written at some time before the read returned

A flush_all of anybody else makes every key absent, at some time after it was sent. A write of
unknown outcome may take effect at any later time, so nothing replaces it for good. One that
certainly was not done may never be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from quorumcache.router.client import AsyncClient
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import NotDone, OutcomeUnknown, OutOfMemory, RouterError
from quorumcache.router.levels import Bounded, Local, ReadLevel
from tests.simulation.client import LOST, TOO_MANY_CONNECTIONS
from tests.simulation.loop import VirtualLoop
from tests.simulation.program import Program

FAIL, INFO, OK = "fail", "info", "ok"
BOUNDS_MS = (20, 60, 120, 300, 1000)
RATE_ERROR_PPM = 10_000
"""A bound is measured by a replica's clock, which may go slower than the true time."""


@dataclass(slots=True)
class Write:
    """`value` None: a delete. `returned_ns` None: no answer came."""

    value: bytes | None
    invoked_ns: int
    returned_ns: int | None = None
    outcome: str = INFO


@dataclass(slots=True)
class Read:
    """`bound_ns` None: local."""

    key: str
    bound_ns: int | None
    invoked_ns: int
    value: bytes | None = None
    returned_ns: int = 0
    how: str = ""

    def describe(self) -> str:
        level = "local" if self.bound_ns is None else f"bounded {self.bound_ns / 1e6:g} ms"
        begin, end = self.invoked_ns / 1e9 - 1000, self.returned_ns / 1e9 - 1000
        return f"[{begin:.4f} {end:.4f}] {self.how} get {self.key} {level} -> {self.value!r}"


@dataclass(slots=True)
class StaleHistory:
    """Writes by key, each key's in order; reads that were answered."""

    writes: dict[str, list[Write]] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)


def check(
    history: StaleHistory,
    flushes_ns: Iterable[int] = (),
    *,
    memory_is_limited: bool = False,
    may_evict: bool = False,
) -> list[str]:
    """What no replica may have told, a line each. `flushes_ns`: when a flush_all was sent.

    `memory_is_limited`: any write may have been refused, and have removed the value before it.
    `may_evict`: any value may have gone at any time, so a miss says nothing.
    """
    problems = []
    if memory_is_limited:
        writes = (write for of_key in history.writes.values() for write in of_key)
        flushes_ns = [*flushes_ns, *(write.invoked_ns for write in writes)]
    flushes = [Write(None, at_ns) for at_ns in flushes_ns]
    for read in history.reads:
        if may_evict and read.value is None:
            continue
        why = why_wrong(read, [*history.writes.get(read.key, ()), *flushes])
        if why:
            problems.append(f"{read.describe()}: {why}")
    return problems


def why_wrong(read: Read, writes: Sequence[Write]) -> str:
    """Why nobody may have answered this, or nothing."""
    absent = Write(None, -1, -1, OK)  # before the first write
    possible = [
        write
        for write in (absent, *writes)
        if write.value == read.value
        and write.outcome != FAIL
        and write.invoked_ns <= read.returned_ns
    ]
    if not possible:
        return "nobody has written that"
    if read.bound_ns is None:
        return ""
    bound_ns = read.bound_ns * (1_000_000 + RATE_ERROR_PPM) // 1_000_000
    begin_ns = read.invoked_ns - bound_ns
    latest_ns = 0
    for write in reversed(possible):  # The last ones explain most reads.
        at_ns = _replaced_ns(write, writes)
        if at_ns is None or at_ns >= begin_ns:
            return ""
        latest_ns = max(latest_ns, at_ns)
    return f"replaced {(read.invoked_ns - latest_ns) / 1e6:.1f} ms before it was asked for"


def _replaced_ns(write: Write, writes: Iterable[Write]) -> int | None:
    """Latest moment at which the value can still have been current; None if there is no end."""
    if write.outcome != OK or write.returned_ns is None:
        return None
    later = [
        other.returned_ns
        for other in writes
        if other.outcome == OK
        and other.returned_ns is not None
        and other.invoked_ns >= write.returned_ns
        and other is not write
    ]
    return min(later, default=None)


class StaleReaders(Program):
    """A program with a writer and a reader per key, and a reader over plain connections."""

    def __init__(
        self, loop: VirtualLoop, name: str, addresses: list[tuple[str, int]], random: Random
    ) -> None:
        super().__init__(loop, name, addresses, random)
        self.history = StaleHistory()
        self.keys = [f"{name}-{number}" for number in range(random.randint(1, 3))]
        self.pause_seconds = random.choice((0.005, 0.02, 0.05))

    async def _run(self) -> None:
        config = ClientConfig(timeout_ms=self.random.choice((300, 1000, 3000)))
        client = AsyncClient(self.seeds, config, random=Random(self.random.random()))
        await asyncio.gather(
            *(self._write(client, key) for key in self.keys),
            *(self._read(client) for _ in self.keys),
            self._read_plainly(),
        )
        await client.close()

    async def _pause(self) -> None:
        await asyncio.sleep(self.random.expovariate(1 / self.pause_seconds))

    async def _write(self, client: AsyncClient, key: str) -> None:
        writes = self.history.writes.setdefault(key, [])
        while not self._stopping:
            is_delete = self.random.random() < 0.1
            value = None if is_delete else b"%d" % len(writes)
            write = Write(value, self.loop.now_ns)
            writes.append(write)
            try:
                if value is None:
                    await client.delete(key)
                else:
                    await client.set(key, value)
                write.outcome = OK
            except OutOfMemory:
                write.value, write.outcome = None, OK  # The value before it is gone.
            except NotDone:
                write.outcome = FAIL
            except OutcomeUnknown:
                pass
            write.returned_ns = self.loop.now_ns
            await self._pause()

    def _begin(self, how: str) -> Read:
        bound_ms = self.random.choice((None, None, *BOUNDS_MS))
        bound_ns = None if bound_ms is None else bound_ms * 1_000_000
        return Read(self.random.choice(self.keys), bound_ns, self.loop.now_ns, how=how)

    def _end(self, read: Read, value: bytes | None) -> None:
        read.value = value
        read.returned_ns = self.loop.now_ns
        self.history.reads.append(read)

    async def _read(self, client: AsyncClient) -> None:
        while not self._stopping:
            read = self._begin("library")
            level: ReadLevel = (
                Local() if read.bound_ns is None else Bounded(read.bound_ns // 1_000_000)
            )
            try:
                if self.random.random() < 0.5:
                    self._end(read, await client.get(read.key, level=level))
                else:
                    item = await client.gets(read.key, level=level)
                    self._end(read, None if item is None else item.value)
            except NotDone:
                pass
            except RouterError as error:
                self.unexpected.append(f"{read.describe()}: {error!r}")
            await self._pause()

    async def _read_plainly(self) -> None:
        """Any node, without redirects: what it has no replica of comes from another node."""
        while not self._stopping:
            await self._pause()
            try:
                async with asyncio.timeout(1.0):
                    reader, writer = await asyncio.open_connection(
                        *self.random.choice(self.addresses)
                    )
            except LOST:
                continue
            try:
                async with asyncio.timeout(2.0):
                    for _ in range(self.random.randrange(30)):
                        await self._read_once(reader, writer)
            except LOST:
                pass
            writer.close()

    async def _read_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = self._begin("plain")
        bound_ns = read.bound_ns
        level = b"local" if bound_ns is None else b"bounded %d" % (bound_ns // 1_000_000)
        writer.write(b"cluster read %b\r\nget %b\r\n" % (level, read.key.encode()))
        taken = await reader.readuntil(b"\r\n")
        if taken[:-2] == TOO_MANY_CONNECTIONS:
            raise ConnectionRefusedError(taken.decode())
        line = await reader.readuntil(b"\r\n")
        if line.startswith(b"VALUE "):
            data = await reader.readexactly(int(line.split()[3]) + 2)
            line = await reader.readuntil(b"\r\n")
            self._end(read, data[:-2])
        elif line == b"END\r\n":
            self._end(read, None)
        if taken != b"OK\r\n" or not line.startswith((b"END", b"SERVER_ERROR not done")):
            self.unexpected.append(f"{read.describe()}: {taken!r} {line!r}")
