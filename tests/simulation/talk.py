"""One connection of a client to one node: a request, then its reply; and what a client is told of
where it runs, in the simulation as well as among real processes.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Protocol

from tests.simulation.client import UnexpectedReply


class Host(Protocol):
    """Where a client runs. `unexpected`: what the cluster may not have done, a line each."""

    name: str
    addresses: list[tuple[str, int]]
    random: Random
    unexpected: list[str]

    @property
    def now_ns(self) -> int:
        """The time of the history."""

    @property
    def is_stopping(self) -> bool:
        """The client has to come to an end."""


class Talk:
    """Raises what `client.LOST` names when the connection is lost or the node does not answer."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply_seconds: float
    ) -> None:
        self.reply_seconds = reply_seconds
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, address: tuple[str, int], *, reply_seconds: float) -> Talk:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(*address)
        return cls(reader, writer, reply_seconds)

    def send(self, request: bytes) -> None:
        """Without waiting for a reply."""
        self._writer.write(request)

    def close(self) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> bytes:
        """The first line of the reply, without its end."""
        self.send(request)
        return await self.line()

    async def line(self) -> bytes:
        async with asyncio.timeout(self.reply_seconds):
            line = await self._reader.readuntil(b"\n")
        if not line.endswith(b"\r\n"):
            raise UnexpectedReply(f"line {line!r}")
        return line[:-2]

    async def values(self, request: bytes) -> tuple[dict[bytes, tuple[bytes, int]], bytes]:
        """What was found, as (value, last number of its line), and the line that ends the reply."""
        found: dict[bytes, tuple[bytes, int]] = {}
        line = await self.ask(request)
        while line.startswith(b"VALUE "):
            words = line.split(b" ")
            async with asyncio.timeout(self.reply_seconds):
                data = await self._reader.readexactly(int(words[3]) + 2)
            found[words[1]] = (data[:-2], int(words[4]) if len(words) > 4 else 0)
            line = await self.line()
        return found, line
