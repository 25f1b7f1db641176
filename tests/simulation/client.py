"""A simulated client: plain memcached text over one connection at a time, every answer written into
the history.

It trusts nothing: a reply line that the protocol does not have is an error of the run. What it was
not told stays of unknown outcome, and only a line that says so makes a request certainly not done.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from tests.simulation.history import History, Operation
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process
from tests.simulation.workload import Request, Workload

NOT_DONE = b"SERVER_ERROR not done: "
OUTCOME_UNKNOWN = b"SERVER_ERROR outcome unknown: "
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value"
WORDS = {b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED"}
LOST = (OSError, EOFError, TimeoutError)


class UnexpectedReply(Exception):
    """The node said what no memcached says."""


class SimulatedClient:
    """Runs its workload against the addresses until `stop()`."""

    def __init__(
        self,
        loop: VirtualLoop,
        name: str,
        addresses: list[tuple[str, int]],
        workload: Workload,
        history: History,
        random: Random,
        *,
        reply_seconds: float,
    ) -> None:
        self.loop = loop
        self.name = name
        self.addresses = addresses
        self.workload = workload
        self.history = history
        self.random = random
        self.reply_seconds = reply_seconds
        self.process = Process(loop, name, host=name)
        self.unexpected: list[str] = []
        self.sticky = random.random() < 0.5  # stays with its node while that answers
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self.process.spawn(self._run(), name=self.name)

    async def stop(self) -> None:
        """Finish the batch under way."""
        self._stopping = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping:
            host, port = self.random.choice(self.addresses)
            try:
                async with asyncio.timeout(1.0):
                    reader, writer = await asyncio.open_connection(host, port)
            except LOST:
                await asyncio.sleep(self.random.random() * 0.2)
                continue
            try:
                await self._use(reader, writer)
            except LOST:
                pass
            except UnexpectedReply as error:
                self.unexpected.append(str(error))
            writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._stopping:
            await self.run_batch(reader, writer, self.workload.batch())
            await asyncio.sleep(self.random.expovariate(1 / self.workload.config.pause_seconds))
            if not self.sticky and self.random.random() < 0.02:
                return

    async def run_batch(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[Request]
    ) -> list[Operation]:
        """Send the requests together and read their replies; the unanswered stay unknown."""
        operations: list[Operation] = []
        latest: dict[bytes, int] = {}
        for request in requests:
            operation = self.history.invoke(
                self.name,
                request.kind,
                request.key,
                request.argument,
                unique=request.unique,
                after=latest.get(request.key, 0),
                now_ns=self.loop.now_ns,
            )
            latest[request.key] = operation.number
            operations.append(operation)
        writer.write(b"".join(encode(request) for request in requests))
        async with asyncio.timeout(self.reply_seconds):
            for operation in operations:
                await self._read_reply(reader, operation)
        return operations

    async def _read_reply(self, reader: asyncio.StreamReader, operation: Operation) -> None:
        line = await self._read_line(reader)
        now_ns = self.loop.now_ns
        if line.startswith(NOT_DONE):
            self.history.fail(operation, line.decode(), now_ns=self.loop.now_ns)
        elif line.startswith(OUTCOME_UNKNOWN):
            if operation.is_read:
                raise UnexpectedReply(f"{operation.describe()}: {line!r} to a read")
        elif operation.is_read:
            result = await self._read_values(reader, line, operation)
            self.history.ok(operation, result, now_ns=self.loop.now_ns)
        elif line in WORDS:
            self.history.ok(operation, line.decode(), now_ns=now_ns)
        elif line == NON_NUMERIC and operation.kind in ("incr", "decr"):
            self.history.ok(operation, "NON_NUMERIC", now_ns=now_ns)
        elif line.isdigit() and operation.kind in ("incr", "decr"):
            self.history.ok(operation, ("number", int(line)), now_ns=now_ns)
        else:
            raise UnexpectedReply(f"{operation.describe()}: {line!r}")

    async def _read_values(
        self, reader: asyncio.StreamReader, line: bytes, operation: Operation
    ) -> Any:
        if line == b"END":
            return ("miss",)
        words = line.split(b" ")
        expected = 5 if operation.kind == "gets" else 4
        if words[0] != b"VALUE" or words[1] != operation.key or len(words) != expected:
            raise UnexpectedReply(f"{operation.describe()}: {line!r}")
        data = await reader.readexactly(int(words[3]) + 2)
        end = await self._read_line(reader)
        if not data.endswith(b"\r\n") or end != b"END":
            raise UnexpectedReply(f"{operation.describe()}: {line!r}, then {end!r}")
        unique = int(words[4]) if operation.kind == "gets" else 0
        if unique:
            self.workload.saw_unique(operation.key, unique)
        return ("hit", data[:-2], unique)

    @staticmethod
    async def _read_line(reader: asyncio.StreamReader) -> bytes:
        line = await reader.readuntil(b"\n")
        if not line.endswith(b"\r\n"):
            raise UnexpectedReply(f"line {line!r}")
        return line[:-2]


def encode(request: Request) -> bytes:
    kind, key, argument = request.kind.encode(), request.key, request.argument
    if argument is None:
        return b"%b %b\r\n" % (kind, key)
    if isinstance(argument, int):
        return b"%b %b %d\r\n" % (kind, key, argument)
    unique = b" %d" % request.unique if request.kind == "cas" else b""
    return b"%b %b 0 0 %d%b\r\n%b\r\n" % (kind, key, len(argument), unique, argument)
