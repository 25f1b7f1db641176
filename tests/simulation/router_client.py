"""A simulated program that uses the client library: several tasks share one `AsyncClient`.

What the library promises goes into the history as it says it: `NotDone` is certainly not done,
`OutcomeUnknown` stays unknown, everything else is a result.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from router.client import AsyncClient
from router.config import ClientConfig
from router.errors import NotANumber, NotDone, OutcomeUnknown, PartialFailure, RouterError
from tests.simulation.history import History, Operation
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process
from tests.simulation.workload import Request, Workload


class RouterProgram:
    """Has the face of `SimulatedClient`: `start`, `stop`, `unexpected`."""

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
        self.timeout_ms = int(reply_seconds * 1000)
        self.process = Process(loop, name, host=name)
        self.unexpected: list[str] = []
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self.process.spawn(self._run(), name=self.name)

    async def stop(self) -> None:
        self._stopping = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        seeds = [f"{host}:{port}" for host, port in self.addresses]
        config = ClientConfig(
            timeout_ms=self.timeout_ms,
            sessions=self.random.random() < 0.85,
            write_attempt_ms=self.random.choice((50, 200, 1_000)),
        )
        client = AsyncClient(seeds, config, random=Random(self.random.random()))
        workers = self.random.randint(1, 3)
        await asyncio.gather(*(self._work(client) for _ in range(workers)))
        await client.close()

    async def _work(self, client: AsyncClient) -> None:
        while not self._stopping:
            await self._do(client, self.workload.batch()[0])
            await asyncio.sleep(self.random.expovariate(1 / self.workload.config.pause_seconds))

    async def _do(self, client: AsyncClient, request: Request) -> None:
        operation = self.history.invoke(
            self.name,
            request.kind,
            request.key,
            request.argument,
            unique=request.unique,
            now_ns=self.loop.now_ns,
        )
        try:
            result = await self._call(client, request)
        except NotANumber:
            result = "NON_NUMERIC"
        except NotDone as error:
            self.history.fail(operation, repr(error), now_ns=self.loop.now_ns)
            return
        except OutcomeUnknown as error:
            if operation.is_read:
                self._complain(operation, error)
            return
        except RouterError as error:
            self._complain(operation, error)
            return
        self.history.ok(operation, result, now_ns=self.loop.now_ns)

    def _complain(self, operation: Operation, error: RouterError) -> None:
        self.unexpected.append(f"{operation.describe()}: {error!r}")

    async def _call(self, client: AsyncClient, request: Request) -> Any:
        kind, key, argument = request.kind, request.key, request.argument
        if kind == "get":
            if self.random.random() < 0.3:
                try:
                    value = (await client.get_many([key])).get(key)
                except PartialFailure as failure:
                    raise failure.errors[key] from failure
            else:
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
