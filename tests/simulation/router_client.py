"""A simulated program that uses the client library: several tasks share one `AsyncClient`.

What the library promises goes into the history as it says it: `NotDone` is certainly not done,
`OutcomeUnknown` stays unknown, everything else is a result.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from quorumcache.router.client import AsyncClient
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import (
    NotANumber,
    NotDone,
    OutcomeUnknown,
    OutOfMemory,
    PartialFailure,
    RouterError,
    ValueTooLarge,
)
from tests.simulation.history import History, Operation
from tests.simulation.loop import VirtualLoop
from tests.simulation.meta_model import META_KINDS
from tests.simulation.model import READS
from tests.simulation.program import Program
from tests.simulation.workload import Request, Workload


class RouterProgram(Program):
    """See the module."""

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
        self.timeout_ms = int(reply_seconds * 1000)

    async def _run(self) -> None:
        config = ClientConfig(
            timeout_ms=self.timeout_ms,
            sessions=self.random.random() < 0.85,
            write_attempt_ms=self.random.choice((50, 200, 1_000)),
        )
        client = AsyncClient(self.seeds, config, random=Random(self.random.random()))
        workers = self.random.randint(1, 3)
        await asyncio.gather(*(self._work(client) for _ in range(workers)))
        await client.close()

    async def _work(self, client: AsyncClient) -> None:
        while not self._stopping:
            request = self.workload.batch(self.loop.now_ns)[0]
            if request.kind == "flush_all":  # The library takes no delay that is over.
                request.exptime = max(0, request.exptime)
            if request.kind in META_KINDS:  # The library has none of them.
                request.kind, request.argument = "get", None
            if request.kind in ("gat", "gats"):  # The library has neither.
                request.kind = "get" if request.kind == "gat" else "gets"
            if request.kind == "get" and (request.more_keys or self.random.random() < 0.3):
                await self._get_many(client, request)
            else:
                await self._do(client, request)
            await asyncio.sleep(self.random.expovariate(1 / self.workload.config.pause_seconds))

    def _invoke(self, request: Request, key: bytes) -> Operation:
        takes_exptime = request.kind not in READS
        return self.history.invoke(
            self.name,
            request.kind,
            key,
            request.argument,
            unique=request.unique,
            exptime=request.exptime if takes_exptime else 0,
            flags=request.flags,
            now_ns=self.loop.now_ns,
        )

    async def _get_many(self, client: AsyncClient, request: Request) -> None:
        """One read for each key; each may fail by itself."""
        operations = [self._invoke(request, key) for key in request.keys]
        errors: dict[str | bytes, RouterError] = {}
        values: dict[bytes, bytes] = {}
        try:
            values = await client.get_many(request.keys)
        except PartialFailure as failure:
            errors = failure.errors
            values = {key: value for key, value in failure.values.items() if type(key) is bytes}
        except RouterError as error:
            errors = dict.fromkeys(request.keys, error)
        for operation in operations:
            error = errors.get(operation.key)
            if error is None:
                value = values.get(operation.key)
                result = ("miss",) if value is None else ("hit", value, 0, None)
                self.history.ok(operation, result, now_ns=self.loop.now_ns)
            else:
                self._failed(operation, error)

    async def _do(self, client: AsyncClient, request: Request) -> None:
        operation = self._invoke(request, request.key)
        try:
            result = await self._call(client, request)
        except NotANumber:
            result = "NON_NUMERIC"
        except ValueTooLarge:
            result = "TOO_LARGE"
        except OutOfMemory as error:
            if request.kind != "set":
                self._failed(operation, error)
                return
            result = "OUT_OF_MEMORY"  # What it was meant to replace is gone.
        except RouterError as error:
            self._failed(operation, error)
            return
        self.history.ok(operation, result, now_ns=self.loop.now_ns)

    def _failed(self, operation: Operation, error: RouterError) -> None:
        if isinstance(error, NotDone):
            self.history.fail(operation, repr(error), now_ns=self.loop.now_ns)
        elif operation.is_read or not isinstance(error, OutcomeUnknown):
            self.unexpected.append(f"{operation.describe()}: {error!r}")

    async def _call(self, client: AsyncClient, request: Request) -> Any:
        kind, key, argument = request.kind, request.key, request.argument
        exptime, flags = request.exptime, request.flags
        if kind == "get":
            value = await client.get(key)
            return ("miss",) if value is None else ("hit", value, 0, None)
        if kind == "gets":
            item = await client.gets(key)
            if item is None:
                return ("miss",)
            self.workload.saw_unique(key, item.cas_unique)
            return ("hit", item.value, item.cas_unique, item.flags)
        if kind == "delete":
            return "DELETED" if await client.delete(key) else "NOT_FOUND"
        if kind == "touch":
            return "TOUCHED" if await client.touch(key, exptime) else "NOT_FOUND"
        if kind == "flush_all":
            await client.flush_all(exptime)
            return "OK"
        if isinstance(argument, int):
            method = client.incr if kind == "incr" else client.decr
            number = await method(key, argument)
            return "NOT_FOUND" if number is None else ("number", number)
        assert argument is not None
        if kind == "set":
            await client.set(key, argument, exptime=exptime, flags=flags)
            return "STORED"
        if kind == "cas":
            cas = client.cas(key, argument, request.unique, exptime=exptime, flags=flags)
            return (await cas).name
        if kind in ("append", "prepend"):
            stored = await getattr(client, kind)(key, argument)
        else:
            store = client.add if kind == "add" else client.replace
            stored = await store(key, argument, exptime=exptime, flags=flags)
        return "STORED" if stored else "NOT_STORED"
