"""A simulated client: plain memcached text over one connection at a time, every answer written into
the history.

It trusts nothing: a reply line that the protocol does not have is an error of the run. What it was
not told stays of unknown outcome, and only a line that says so makes a request certainly not done.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from tests.simulation.history import SILENT, History, Operation
from tests.simulation.loop import VirtualLoop
from tests.simulation.meta_model import META_KINDS
from tests.simulation.meta_words import encode_meta, read_meta
from tests.simulation.model import READS, STORES
from tests.simulation.program import Program
from tests.simulation.workload import Request, Workload

NOT_DONE = b"SERVER_ERROR not done: "
OUTCOME_UNKNOWN = b"SERVER_ERROR outcome unknown: "
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value"
TOO_LARGE = b"SERVER_ERROR object too large for cache"
OUT_OF_MEMORY = b"SERVER_ERROR out of memory storing object"
TOO_MANY_CONNECTIONS = b"ERROR Too many open connections"
WORDS = {
    "set": (b"STORED",),
    "add": (b"STORED", b"NOT_STORED"),
    "replace": (b"STORED", b"NOT_STORED"),
    "append": (b"STORED", b"NOT_STORED"),
    "prepend": (b"STORED", b"NOT_STORED"),
    "cas": (b"STORED", b"EXISTS", b"NOT_FOUND"),
    "delete": (b"DELETED", b"NOT_FOUND"),
    "incr": (b"NOT_FOUND",),
    "decr": (b"NOT_FOUND",),
    "touch": (b"TOUCHED", b"NOT_FOUND"),
    "flush_all": (b"OK",),
}
RETRIEVALS = ("get", "gets", "gat", "gats")
WITH_UNIQUE = ("gets", "gats")
LOST = (OSError, EOFError, TimeoutError)

Sent = tuple[Request, list[Operation]]


class UnexpectedReply(Exception):
    """The node said what no memcached says."""


class SimulatedClient(Program):
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
        super().__init__(loop, name, addresses, random)
        self.workload = workload
        self.history = history
        self.reply_seconds = reply_seconds
        self.silent_ns = 0
        """A node tries a request for longer than this before it gives it up."""
        self.sticky = random.random() < 0.5  # stays with its node while that answers
        self._latest: dict[bytes, int] = {}
        """The last operation on a key over the present connection."""
        self._silent: dict[bytes, list[Operation]] = {}
        """Writes with noreply over the present connection that nothing tells of yet."""

    async def _run(self) -> None:
        while not self._stopping:
            host, port = self.random.choice(self.addresses)
            try:
                async with asyncio.timeout(1.0):
                    reader, writer = await asyncio.open_connection(host, port)
            except LOST:
                await asyncio.sleep(self.random.random() * 0.2)
                continue
            self._latest.clear()
            self._silent.clear()
            try:
                await self._use(reader, writer)
            except LOST:
                pass
            except UnexpectedReply as error:
                self.unexpected.append(str(error))
            writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._stopping:
            await self.run_batch(reader, writer, self.workload.batch(self.loop.now_ns))
            await asyncio.sleep(self.random.expovariate(1 / self.workload.config.pause_seconds))
            if not self.sticky and self.random.random() < 0.02:
                return

    async def run_batch(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[Request]
    ) -> list[Operation]:
        """Send the requests together and read their replies; the unanswered stay unknown.

        Answers the operations in order: one for each key of each request.
        """
        sent = self.send(writer, requests)
        async with asyncio.timeout(self.reply_seconds):
            for request, operations in sent:
                if not request.noreply:
                    await self.read_reply(reader, request, operations)
        return [operation for _, operations in sent for operation in operations]

    def send(self, writer: asyncio.StreamWriter, requests: list[Request]) -> list[Sent]:
        """Send the requests together; each with its operations, one for each key."""
        sent = [(request, self._invoke(request)) for request in requests]
        writer.write(b"".join(encode(request) for request in requests))
        return sent

    def _invoke(self, request: Request) -> list[Operation]:
        operations = []
        for key in request.keys:
            operation = self.history.invoke(
                self.name,
                request.kind,
                key,
                request.argument,
                unique=request.unique,
                exptime=request.exptime,
                flags=request.flags,
                after=self._latest.get(key, 0),
                now_ns=self.loop.now_ns,
            )
            self._latest[key] = operation.number
            if request.noreply:
                self._silent.setdefault(key, []).append(operation)
            operations.append(operation)
        return operations

    async def read_reply(
        self, reader: asyncio.StreamReader, request: Request, operations: list[Operation]
    ) -> None:
        """Note what the next reply, the one to `request`, tells of its operations."""
        line = await self._read_line(reader)
        retrieves = request.kind in RETRIEVALS
        if line.startswith(NOT_DONE):
            for operation in operations:
                self.history.fail(operation, line.decode(), now_ns=self.loop.now_ns)
        elif line == TOO_MANY_CONNECTIONS:
            raise ConnectionRefusedError(line.decode())
        elif line == OUT_OF_MEMORY and request.kind in STORES:
            if request.kind == "set":  # What it was meant to replace is gone.
                self._ok(operations[0], "OUT_OF_MEMORY")
            else:
                self.history.fail(operations[0], line.decode(), now_ns=self.loop.now_ns)
        elif line.startswith(OUTCOME_UNKNOWN):
            if request.kind in READS:
                raise UnexpectedReply(f"{operations[0].describe()}: {line!r} to a read")
        elif request.kind in META_KINDS:
            found = await read_meta(reader, request.kind, line)
            if found is None:
                raise UnexpectedReply(f"{operations[0].describe()}: {line!r}")
            if found[0] == "hit":
                self.workload.saw_unique(request.key, found[2])
            self._ok(operations[0], found)
        elif retrieves:
            hits, end = await self._read_values(reader, line, request)
            for operation in operations:
                if end == b"END":
                    self._ok(operation, hits.get(operation.key, ("miss",)))
                elif request.kind in READS:
                    self.history.fail(operation, end.decode(), now_ns=self.loop.now_ns)
        else:
            result = _result(request.kind, line)
            if result is None:
                raise UnexpectedReply(f"{operations[0].describe()}: {line!r}")
            if result == "TOO_LARGE" and request.kind != "set":
                # Told before it came to its turn: nothing is known of those before it.
                self.history.ok(operations[0], result, now_ns=self.loop.now_ns)
            else:
                self._ok(operations[0], result)

    def _ok(self, operation: Operation, result: Any) -> None:
        """Note a result, and that silent writes to the same key before it have run.

        The node runs them in order, so the later answer says that each has ended. Only one that
        was given up after the node's time for a request can have ended without running.
        """
        now_ns = self.loop.now_ns
        for silent in self._silent.pop(operation.key, ()):
            if silent.invoked < operation.invoked and now_ns - silent.invoked_ns < self.silent_ns:
                self.history.ok(silent, SILENT, now_ns=now_ns)
        self.history.ok(operation, result, now_ns=now_ns)

    async def _read_values(
        self, reader: asyncio.StreamReader, line: bytes, request: Request
    ) -> tuple[dict[bytes, Any], bytes]:
        """The hits by key, which come in the order of the request, and the last line.

        Long retrievals are answered window by window, so an error may stand behind values: then
        nothing is said of the other keys, and of a gat it is not known what it touched.
        """
        asked = iter(request.keys)
        with_unique = request.kind in WITH_UNIQUE
        hits: dict[bytes, Any] = {}
        fails = NOT_DONE if request.kind in READS else OUTCOME_UNKNOWN
        while line != b"END" and not (hits and line.startswith(fails)):
            words = line.split(b" ")
            if words[0] != b"VALUE" or len(words) != (5 if with_unique else 4):
                raise UnexpectedReply(f"{request}: {line!r}")
            if words[1] not in asked:  # Takes from `asked` up to the key.
                raise UnexpectedReply(f"{request}: {line!r}, which is not the turn of this key")
            data = await reader.readexactly(int(words[3]) + 2)
            if not data.endswith(b"\r\n"):
                raise UnexpectedReply(f"{request}: {line!r}, then {data!r}")
            unique = int(words[4]) if with_unique else 0
            if unique:
                self.workload.saw_unique(words[1], unique)
            hits[words[1]] = ("hit", data[:-2], unique, int(words[2]))
            line = await self._read_line(reader)
        return hits, line

    @staticmethod
    async def _read_line(reader: asyncio.StreamReader) -> bytes:
        line = await reader.readuntil(b"\n")
        if not line.endswith(b"\r\n"):
            raise UnexpectedReply(f"line {line!r}")
        return line[:-2]


def _result(kind: str, line: bytes) -> Any:
    """What a reply line means to a request that is no retrieval; None if it is no reply to it."""
    if line in WORDS.get(kind, ()):
        return line.decode()
    if kind in STORES and line == TOO_LARGE:
        return "TOO_LARGE"
    if kind in ("incr", "decr"):
        if line == NON_NUMERIC:
            return "NON_NUMERIC"
        if line.isdigit():
            return ("number", int(line))
    return None


def encode(request: Request) -> bytes:
    """The bytes of a request."""
    if request.kind in META_KINDS:
        return encode_meta(request)
    kind, argument = request.kind.encode(), request.argument
    noreply = b" noreply" if request.noreply else b""
    keys = b" ".join(request.keys)
    if request.kind == "flush_all":
        delay = b" %d" % request.exptime if request.exptime else b""
        return b"flush_all%b%b\r\n" % (delay, noreply)
    if request.kind in ("gat", "gats"):
        return b"%b %d %b\r\n" % (kind, request.exptime, keys)
    if request.kind == "touch":
        return b"touch %b %d%b\r\n" % (keys, request.exptime, noreply)
    if argument is None:
        return b"%b %b%b\r\n" % (kind, keys, noreply)
    if isinstance(argument, int):
        return b"%b %b %d%b\r\n" % (kind, keys, argument, noreply)
    unique = b" %d" % request.unique if request.kind == "cas" else b""
    numbers = b"%d %d %d" % (request.flags, request.exptime, len(argument))
    return b"%b %b %b%b%b\r\n%b\r\n" % (kind, keys, numbers, unique, noreply, argument)
