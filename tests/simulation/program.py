"""What all programs of a simulated world have in common: a process, a name, and a task of work."""

from __future__ import annotations

import asyncio
from random import Random

from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process


class Program:
    """A process on a host of its own name that works until `stop()`. `unexpected`: what the cluster
    may not have done, a line each."""

    def __init__(
        self, loop: VirtualLoop, name: str, addresses: list[tuple[str, int]], random: Random
    ) -> None:
        self.loop = loop
        self.name = name
        self.addresses = addresses
        self.random = random
        self.process = Process(loop, name, host=name)
        self.unexpected: list[str] = []
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def seeds(self) -> list[str]:
        """The addresses, as users write them."""
        return [f"{host}:{port}" for host, port in self.addresses]

    @property
    def now_ns(self) -> int:
        """Virtual time."""
        return self.loop.now_ns

    @property
    def is_stopping(self) -> bool:
        """It was told to stop."""
        return self._stopping

    def start(self) -> None:
        self._task = self.process.spawn(self._run(), name=self.name)

    async def stop(self) -> None:
        """Wait until the work under way is done."""
        self._stopping = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        """Work until `_stopping`."""
        raise NotImplementedError
