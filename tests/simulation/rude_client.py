"""A client without manners: half requests, garbage, floods that nobody reads, values that are too
large.

It writes to keys of its own and believes nothing that it is told; the run fails when a node does
(an exception that nobody handled, an invariant, a shard that does not serve any more).
"""

from __future__ import annotations

import asyncio

from tests.simulation.client import LOST
from tests.simulation.program import Program

LARGE_BYTES = 20_000
TOO_LARGE_BYTES = 1_200_000
WORDS = (
    b"get",
    b"set",
    b"cas",
    b"incr",
    b"cluster",
    b"mg",
    b"k",
    b"0",
    b"-1",
    b"99999999999",
    b"\r\n",
)


class RudeClient(Program):
    """One misdeed after the other until `stop()`."""

    async def _run(self) -> None:
        misdeeds = (
            *(self._half, self._garbage, self._words, self._flood, self._too_large),
            *(self._never_read, self._idle),
        )
        while not self._stopping:
            await asyncio.sleep(self.random.uniform(0.05, 0.5))
            writer = None
            try:
                async with asyncio.timeout(3.0):
                    reader, writer = await asyncio.open_connection(
                        *self.random.choice(self.addresses)
                    )
                    await self.random.choice(misdeeds)(reader, writer)
            except LOST:
                pass
            if writer is not None:
                if self.random.random() < 0.5:
                    writer.transport.abort()
                else:
                    writer.close()

    async def _half(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = b"set rude 0 0 100\r\n" + b"x" * 100 + b"\r\n"
        writer.write(request[: self.random.randrange(1, len(request))])
        await asyncio.sleep(self.random.random() * 0.1)

    async def _garbage(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.random.randbytes(self.random.randrange(1, 3000)))
        await reader.read(1000)

    async def _words(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Almost requests."""
        words = self.random.choices(WORDS, k=self.random.randrange(1, 30))
        writer.write(b" ".join(words) + b"\r\n")
        await reader.read(1000)

    async def _flood(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """More replies than anybody would buffer, and nobody reads them."""
        writer.transport.pause_reading()
        writer.write(b"set rude 0 0 %d\r\n%b\r\n" % (LARGE_BYTES, b"x" * LARGE_BYTES))
        for _ in range(self.random.randrange(1, 10)):
            writer.write(b"get rude\r\n" * self.random.randrange(1, 20))
            await asyncio.sleep(self.random.random() * 0.2)

    async def _never_read(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Large values of all keys, asked for over and over, and left to the node."""
        writer.transport.pause_reading()
        for _ in range(20):
            writer.write(b"get rude rude-2 rude-3 register-0\r\n" * self.random.randrange(1, 100))
            await asyncio.sleep(0.1)

    async def _idle(self, _: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        """Connections, as many as the node takes, over which nothing is asked."""
        address = self.random.choice(self.addresses)
        writers = []
        try:
            for _ in range(self.random.choice((5, 20, 60))):
                writers.append((await asyncio.open_connection(*address))[1])
            await asyncio.sleep(self.random.random() * 2)
        finally:
            for writer in writers:
                writer.close()

    async def _too_large(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = b"set rude 0 0 %d\r\n" % TOO_LARGE_BYTES
        writer.write(header + b"x" * TOO_LARGE_BYTES + b"\r\n")
        await reader.read(1000)
