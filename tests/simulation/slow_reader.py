"""A client that asks for much and takes its time to read it.

Some never read, some stop for a while and read again shortly before or after the time at which a
node gives them up, some read on and on, a little at a time, slower than the node answers. What they
are told is in the history; what they have not read is of unknown outcome.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.client import LOST, Sent, SimulatedClient, UnexpectedReply
from tests.simulation.history import History
from tests.simulation.loop import VirtualLoop
from tests.simulation.workload import Request, Workload, WorkloadConfig

SLOW_READERS_SHARE = 0.5
"""Of the seeds, how many have such clients."""

SLOW_CLIENT_MS = (300, 800, 2_000)

PARTS_OF_THE_TIME = (0.3, 0.8, 0.95, 1.05, 1.3, 2.0)
"""When one that has stopped reads again."""

BUFFERED_BYTES = 320 << 10
"""What stays on a node, at most, while its transport does not pause it: one piece of replies and
the high-water mark."""

REQUESTS_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowReaders:
    """What is drawn for a seed. `slow_client_ms` 0: a node never closes them."""

    count: int
    slow_client_ms: int
    value_bytes: int


def draw_slow_readers(
    random: Random, *, item_bytes_max: int, memory_is_limited: bool
) -> SlowReaders | None:
    """None in many seeds."""
    if random.random() >= SLOW_READERS_SHARE:
        return None
    value_bytes = random.choice((2_000, 8_000, 20_000, 60_000))
    return SlowReaders(
        count=random.choice((1, 2, 3)),
        slow_client_ms=0 if random.random() < 0.1 else random.choice(SLOW_CLIENT_MS),
        value_bytes=min(value_bytes, item_bytes_max - 400, 2_000 if memory_is_limited else 1 << 20),
    )


def slow_keys(slow: SlowReaders) -> list[bytes]:
    """What these clients ask for; each writes to one of them."""
    return [b"slow-%d" % number for number in range(1, slow.count + 1)]


class SlowReader(SimulatedClient):
    """See the module."""

    def __init__(
        self,
        loop: VirtualLoop,
        name: str,
        addresses: list[tuple[str, int]],
        history: History,
        random: Random,
        *,
        slow: SlowReaders,
        window_bytes: int,
    ) -> None:
        workload = Workload(name, WorkloadConfig(), random)
        super().__init__(loop, name, addresses, workload, history, random, reply_seconds=8.0)
        self._slow = slow
        self._keys = slow_keys(slow)
        self._own_key = self._keys[int(name[1:]) - 1]
        self._seconds = (slow.slow_client_ms or max(SLOW_CLIENT_MS)) / 1000
        self._flood_bytes = window_bytes + BUFFERED_BYTES
        self._values_made = 0
        self.finished = 0
        """How often it read to the end what it had let wait."""

    async def _run(self) -> None:
        manners = (self._never, self._late, self._late, self._now_and_then, self._steadily)
        while not self._stopping:
            await asyncio.sleep(self.random.uniform(0.05, 0.3))
            try:
                async with asyncio.timeout(1.0):
                    # A small limit: what it does not ask for is not read.
                    reader, writer = await asyncio.open_connection(
                        *self.random.choice(self.addresses), limit=1024
                    )
            except LOST:
                continue
            self._latest.clear()
            try:
                await self.random.choice(manners)(reader, writer)
            except LOST:
                pass
            except UnexpectedReply as error:
                self.unexpected.append(str(error))
            writer.transport.abort()

    # -- manners -----------------------------------------------------------------------------------

    async def _never(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until it is closed, and a little longer: it does not notice."""
        self._stop_reading(writer)
        self.send(writer, self._flood())
        await self._sleep(3 * self._seconds + 2.0)

    async def _late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Stops once, and then reads everything."""
        self._stop_reading(writer)
        sent = self.send(writer, self._flood())
        await self._sleep(self._seconds * self.random.choice(PARTS_OF_THE_TIME))
        self._read_on(writer)
        await self._read_all(reader, sent, 0.0)

    async def _now_and_then(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Stops again and again, never for so long that it is given up."""
        sent = self.send(writer, self._flood())
        portion = max(1, len(sent) // 4)
        while sent and not self._stopping:
            self._stop_reading(writer)
            await self._sleep(self._seconds * 0.8)
            self._read_on(writer)
            await self._read_all(reader, sent[:portion], 0.0)
            del sent[:portion]

    async def _steadily(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Asks for as much as it reads, and always leaves much to read."""
        sent = self.send(writer, self._flood())
        pause = self.random.choice((0.002, 0.01, 0.03))
        end = self.loop.time() + 3 * self._seconds
        while self.loop.time() < end and not self._stopping:
            await self._read_all(reader, sent[:1], pause)
            del sent[:1]
            sent += self.send(writer, [self._get()])
        await self._read_all(reader, sent, 0.0)

    # -- parts of them -----------------------------------------------------------------------------

    @staticmethod
    def _stop_reading(writer: asyncio.StreamWriter) -> None:
        transport: Any = writer.transport
        transport.pause_reading()

    @staticmethod
    def _read_on(writer: asyncio.StreamWriter) -> None:
        transport: Any = writer.transport
        transport.resume_reading()

    def _flood(self) -> list[Request]:
        """A write, and more reads than a connection without a reader has room for."""
        random = self.random
        count = min(REQUESTS_MAX, self._flood_bytes * random.choice((1, 1, 3)) // self._size() + 4)
        requests = [self._set()]
        while len(requests) < count:
            requests.append(self._set() if random.random() < 0.01 else self._get())
        return requests

    def _get(self) -> Request:
        key = self.random.choice(self._keys) if self.random.random() < 0.1 else self._own_key
        return Request("get", key, None)

    def _set(self) -> Request:
        return Request("set", self._own_key, self._value())

    def _size(self) -> int:
        return self._slow.value_bytes

    def _value(self) -> bytes:
        self._values_made += 1
        return f"{self.name}.{self._values_made};".encode().ljust(self._size(), b"~")

    async def _read_all(self, reader: asyncio.StreamReader, sent: list[Sent], pause: float) -> None:
        async with asyncio.timeout(self.reply_seconds + pause * len(sent)):
            for request, operations in sent:
                await self.read_reply(reader, request, operations)
                if pause:
                    await asyncio.sleep(pause)
        if not pause:
            self.finished += 1

    async def _sleep(self, seconds: float) -> None:
        """But no longer than until `stop`."""
        end = self.loop.time() + seconds
        while self.loop.time() < end and not self._stopping:  # noqa: ASYNC110
            await asyncio.sleep(min(0.05, end - self.loop.time()))
