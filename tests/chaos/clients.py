"""The clients: real connections, every answer written into the history.

- `TextClient`: memcached text, one batch at a time, to one node until the connection is lost.
- `Reader`: gets that do not wait for each other, always to the same node. When that node stands
  still they gather in its socket, asked after what happened elsewhere: the first to see a leader
  that believes in a lease that has run out.
- `Program`: the project's own client library, as a program uses it.

They trust nothing: a reply that the protocol does not have is an error of the run. What they were
not told stays of unknown outcome, and only a line that says so makes a request certainly not done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from quorumcache.router.client import AsyncClient
from quorumcache.router.errors import NotANumber, NotDone, OutcomeUnknown, RouterError
from tests.chaos.workload import Keys, Request, Workload, encode
from tests.simulation.history import History, Operation

NOT_DONE = b"SERVER_ERROR not done: "
OUTCOME_UNKNOWN = b"SERVER_ERROR outcome unknown: "
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value"
WORDS = {b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED"}
LOST = (OSError, EOFError, TimeoutError)

CONNECT_S = 1.0
REPLY_S = 8.0
"""Above the nodes' request timeout of 5 s, so that their verdict comes before we give up."""
RECONNECT_S = 0.2
PAUSE_S = 0.04
PIPELINE_MAX = 4
READ_EVERY_S = 0.02
READS_PENDING_MAX = 24
"""More would tell nothing new and make the search long. They are spread over about 6 s: the more
are pending, the longer until the next.
"""

TIME_ORIGIN_NS = 1_000_000_000_000
"""Histories print their times from here."""


class UnexpectedReply(Exception):
    """The node said what no memcached says."""


class Session:
    """What all clients of a run share."""

    def __init__(self, history: History, shards: int, began_ns: int) -> None:
        self.history = history
        self.keys = Keys(shards)
        self.began_ns = began_ns
        self.stopping = asyncio.Event()
        self.unexpected: list[str] = []

    def now_ns(self) -> int:
        return time.monotonic_ns() - self.began_ns + TIME_ORIGIN_NS

    def hot_keys(self) -> list[bytes]:
        return self.keys.at((time.monotonic_ns() - self.began_ns) / 1e9)

    def invoke(self, client: str, request: Request, after: int = 0) -> Operation:
        return self.history.invoke(
            client,
            request.kind,
            request.key,
            request.argument,
            unique=request.unique,
            after=after,
            now_ns=self.now_ns(),
        )

    def ok(self, operation: Operation, result: Any) -> None:
        self.history.ok(operation, result, now_ns=self.now_ns())

    def fail(self, operation: Operation, why: str) -> None:
        self.history.fail(operation, why, now_ns=self.now_ns())

    async def pause(self, seconds: float) -> None:
        """Sleep, or until all are told to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


class Wire:
    """One connection, and what its replies mean."""

    def __init__(self, session: Session, reader: asyncio.StreamReader, saw: Callable[..., None]):
        self._session = session
        self._reader = reader
        self._saw_unique = saw

    async def reply(self, operation: Operation) -> None:
        """Read the reply to `operation`, the next in order, into the history."""
        line = await self._line()
        if line.startswith(NOT_DONE):
            self._session.fail(operation, line.decode())
        elif line.startswith(OUTCOME_UNKNOWN):
            if operation.is_read:
                raise UnexpectedReply(f"{operation.describe()}: {line!r} to a read")
        elif operation.is_read:
            self._session.ok(operation, await self._value(line, operation))
        elif line in WORDS:
            self._session.ok(operation, line.decode())
        elif line == NON_NUMERIC and operation.kind in ("incr", "decr"):
            self._session.ok(operation, "NON_NUMERIC")
        elif line.isdigit() and operation.kind in ("incr", "decr"):
            self._session.ok(operation, ("number", int(line)))
        else:
            raise UnexpectedReply(f"{operation.describe()}: {line!r}")

    async def _value(self, line: bytes, operation: Operation) -> Any:
        if line == b"END":
            return ("miss",)
        words = line.split(b" ")
        expected = 5 if operation.kind == "gets" else 4
        if words[:2] != [b"VALUE", operation.key] or len(words) != expected:
            raise UnexpectedReply(f"{operation.describe()}: {line!r}")
        data = await self._reader.readexactly(int(words[3]) + 2)
        end = await self._line()
        if not data.endswith(b"\r\n") or end != b"END":
            raise UnexpectedReply(f"{operation.describe()}: {line!r}, then {end!r}")
        unique = int(words[4]) if operation.kind == "gets" else 0
        if unique:
            self._saw_unique(operation.key, unique)
        return ("hit", data[:-2], unique)

    async def _line(self) -> bytes:
        line = await self._reader.readuntil(b"\n")
        if not line.endswith(b"\r\n"):
            raise UnexpectedReply(f"line {line!r}")
        return line[:-2]


class Connected:
    """Connects, and again when the connection is lost, until told to stop."""

    def __init__(
        self, session: Session, name: str, addresses: list[tuple[str, int]], random: Random
    ) -> None:
        self.session = session
        self.name = name
        self.addresses = addresses
        self.random = random
        self.workload = Workload(name, random)

    async def run(self) -> None:
        """Until the session stops. Connections are lost at any point: that is what it is for."""
        while not self.session.stopping.is_set():
            host, port = self.random.choice(self.addresses)
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, writer = await asyncio.open_connection(host, port)
            except LOST:
                await self.session.pause(self.random.random() * RECONNECT_S)
                continue
            try:
                await self.use(Wire(self.session, reader, self.workload.saw_unique), writer)
            except LOST:
                await self.session.pause(self.random.random() * RECONNECT_S)
            except UnexpectedReply as error:
                self.session.unexpected.append(f"{self.name}: {error}")
            finally:
                writer.transport.abort()

    async def use(self, wire: Wire, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    def invoke(self, request: Request, latest: dict[bytes, int]) -> Operation:
        """`latest`: number of the last operation by key on this connection."""
        operation = self.session.invoke(self.name, request, latest.get(request.key, 0))
        latest[request.key] = operation.number
        return operation


class TextClient(Connected):
    """One batch of requests after another; stays with its node or changes it now and then."""

    async def use(self, wire: Wire, writer: asyncio.StreamWriter) -> None:
        while not self.session.stopping.is_set():
            keys = self.session.hot_keys()
            count = self.random.randint(1, PIPELINE_MAX) if self.random.random() < 0.2 else 1
            requests = [self.workload.request(keys) for _ in range(count)]
            await self.batch(wire, writer, requests)
            await self.session.pause(self.random.expovariate(1 / PAUSE_S))
            if self.random.random() < 0.02:
                return

    async def batch(
        self, wire: Wire, writer: asyncio.StreamWriter, requests: list[Request]
    ) -> list[Operation]:
        """Send the requests together and read their replies; the unanswered stay unknown."""
        latest: dict[bytes, int] = {}
        operations = [self.invoke(request, latest) for request in requests]
        writer.write(b"".join(encode(request) for request in requests))
        async with asyncio.timeout(REPLY_S):
            for operation in operations:
                await wire.reply(operation)
        return operations


class Reader(Connected):
    """Gets, whether the ones before are answered or not."""

    async def use(self, wire: Wire, writer: asyncio.StreamWriter) -> None:
        pending: deque[Operation] = deque()
        asking = asyncio.create_task(self._ask(pending, writer))
        try:
            while pending or not self.session.stopping.is_set():
                if pending:
                    async with asyncio.timeout(REPLY_S):
                        await wire.reply(pending[0])
                    pending.popleft()
                else:
                    await self.session.pause(READ_EVERY_S / 2)
        finally:
            asking.cancel()
            await asyncio.wait({asking})
        if not asking.cancelled():
            asking.result()

    async def _ask(self, pending: deque[Operation], writer: asyncio.StreamWriter) -> None:
        latest: dict[bytes, int] = {}
        while not self.session.stopping.is_set():
            if len(pending) < READS_PENDING_MAX:
                request = Request("get", self.random.choice(self.session.hot_keys()), None)
                pending.append(self.invoke(request, latest))
                writer.write(encode(request))
            await self.session.pause(READ_EVERY_S * (1 + len(pending)))


class Program:
    """Some tasks that share one client of our library."""

    WORKERS = 2

    def __init__(
        self, session: Session, name: str, addresses: list[tuple[str, int]], random: Random
    ) -> None:
        self.session = session
        self.name = name
        self.seeds = [f"{host}:{port}" for host, port in addresses]
        self.random = random
        self.workload = Workload(name, random)

    async def run(self) -> None:
        """Until the session stops."""
        client = AsyncClient(self.seeds, random=Random(self.random.random()))
        async with asyncio.TaskGroup() as group:
            for _ in range(self.WORKERS):
                group.create_task(self._work(client))
        await client.close()

    async def _work(self, client: AsyncClient) -> None:
        while not self.session.stopping.is_set():
            await self._do(client, self.workload.request(self.session.hot_keys()))
            await self.session.pause(self.random.expovariate(1 / PAUSE_S))

    async def _do(self, client: AsyncClient, request: Request) -> None:
        """What the library promises goes into the history as it says it."""
        operation = self.session.invoke(self.name, request)
        try:
            result = await self._call(client, request)
        except NotANumber:
            result = "NON_NUMERIC"
        except NotDone as error:
            self.session.fail(operation, repr(error))
            return
        except OutcomeUnknown as error:
            if operation.is_read:
                self._complain(operation, error)
            return
        except RouterError as error:
            self._complain(operation, error)
            return
        self.session.ok(operation, result)

    def _complain(self, operation: Operation, error: RouterError) -> None:
        self.session.unexpected.append(f"{operation.describe()}: {error!r}")

    async def _call(self, client: AsyncClient, request: Request) -> Any:
        kind, key, argument = request.kind, request.key, request.argument
        if kind == "get":
            value = await client.get(key)
            return ("miss",) if value is None else ("hit", value, 0)
        if kind == "gets":
            item = await client.gets(key)
            if item is None:
                return ("miss",)
            self.workload.saw_unique(key, item.cas_unique)
            return ("hit", item.value, item.cas_unique)
        if kind == "delete":
            return "DELETED" if await client.delete(key) else "NOT_FOUND"
        if isinstance(argument, int):
            method = client.incr if kind == "incr" else client.decr
            number = await method(key, argument)
            return "NOT_FOUND" if number is None else ("number", number)
        assert argument is not None
        if kind == "set":
            await client.set(key, argument)
            return "STORED"
        if kind == "cas":
            return (await client.cas(key, argument, request.unique)).name
        stored = await getattr(client, kind)(key, argument)
        return "STORED" if stored else "NOT_STORED"
