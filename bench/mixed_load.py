"""A steady load of two kinds of clients, in a thread of its own: plain ones, each connected to one
node as a memcached library is, and our own, which find the leaders.

Each client sends one request at a time, at a rate, writes and reads keys that no other writes, and
checks what it reads. What they met is kept as samples, errors and wrong reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from quorumcache.bench.errors import StartError
from quorumcache.bench.expected import Expected
from quorumcache.bench.timeline import Sample
from quorumcache.router import AsyncClient, ClientConfig, NotDone, RouterError

REQUEST_SECONDS = 15.0
RETRY_SECONDS = 0.05
STOP_SECONDS = 30.0
KEYS_PER_CLIENT = 100
PLAIN, ROUTING = "plain", "routing"
_FOREVER_NS = 1 << 62


class MixedLoad:
    """`start`, then `add_plain` and `leave` as nodes come and go, then `stop`.

    `samples`, `errors` (text and moment, by client) and `wrong` are whole after `stop`.
    """

    def __init__(self, rate: float) -> None:
        """`rate`: requests per second of one client."""
        self._interval = 1.0 / rate
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._failure: BaseException | None = None
        self.samples: list[Sample] = []
        self.errors: list[tuple[int, int, str]] = []
        """(client, moment in ns, what)."""
        self.wrong: list[tuple[int, int, bytes]] = []
        """(client, moment in ns, key) of reads that missed an acknowledged write."""
        self.present: dict[int, tuple[int, int]] = {}
        """By client, from when to when it was there."""
        self.kinds: dict[int, str] = {}
        """By client, `PLAIN` or `ROUTING`."""
        self.expected: dict[int, Expected] = {}

    def start(self) -> None:
        """Begin, without clients."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def add_plain(self, address: tuple[str, int]) -> int:
        """A client on one node; its number."""
        return self._add(PLAIN, lambda number: self._plain(number, address))

    def add_ours(self, seeds: Sequence[tuple[str, int]]) -> int:
        """A routing client; its number."""
        return self._add(ROUTING, lambda number: self._ours(number, seeds))

    def leave(self, client: int) -> None:
        """The client ends after its request. Returns when it has left."""
        self._leaving.add(client)
        self._wait(client)

    def stop(self) -> None:
        """All leave, and the thread ends. `StartError` if a client broke by a fault of ours."""
        for client in list(self._tasks):
            self._leaving.add(client)
        for client in list(self._tasks):
            self._wait(client)
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        if self._failure is not None:
            raise StartError(f"the load broke: {self._failure!r}")

    def _add(self, kind: str, make: Callable[[int], Coroutine[Any, Any, None]]) -> int:
        number = len(self.present)
        self.kinds[number] = kind
        self.present[number] = (time.monotonic_ns(), _FOREVER_NS)
        self.expected[number] = Expected()

        async def begin() -> None:
            async def run() -> None:
                try:
                    await make(number)
                except BaseException as error:
                    self._failure = self._failure or error
                    raise
                finally:
                    self.present[number] = (self.present[number][0], time.monotonic_ns())

            self._tasks[number] = asyncio.ensure_future(run())

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(STOP_SECONDS)
        return number

    def _wait(self, client: int) -> None:
        task = self._tasks.pop(client)

        async def ended() -> None:
            await asyncio.wait([task], timeout=STOP_SECONDS)
            if not task.done():
                task.cancel()

        asyncio.run_coroutine_threadsafe(ended(), self._loop).result(STOP_SECONDS + 5)

    # -- in the thread --------------------------------------------------------------------

    async def _each(
        self,
        client: int,
        write: Callable[[bytes, bytes], Awaitable[bool]],
        read: Callable[[bytes], Awaitable[bool]],
    ) -> None:
        """Writes and reads in turn, at the rate, until it is to leave."""
        expected = self.expected[client]
        due = time.monotonic()
        number = 0
        while client not in self._leaving:
            key = b"load:%d:%d" % (client, number // 2 % KEYS_PER_CLIENT)
            began_ns = time.monotonic_ns()
            if number % 2 == 0:
                value = b"%d" % number
                expected.sending(key, value)
                is_answered = await write(key, value)
            else:
                is_answered = await read(key)
            if is_answered:
                ended_ns = time.monotonic_ns()
                self.samples.append(Sample(client, ended_ns, ended_ns - began_ns))
            else:
                await asyncio.sleep(RETRY_SECONDS)
            number += 1
            due = max(due + self._interval, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _failed(self, client: int, why: str) -> bool:
        self.errors.append((client, time.monotonic_ns(), why[:160]))
        return False

    def _check(self, client: int, key: bytes, value: bytes | None) -> bool:
        if not self.expected[client].may_read(key, value):
            self.wrong.append((client, time.monotonic_ns(), key))
        return True

    async def _plain(self, client: int, address: tuple[str, int]) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        expected = self.expected[client]

        async def end() -> None:
            nonlocal streams
            if streams is not None:
                writer, streams = streams[1], None
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        async def ask(request: bytes) -> tuple[bytes, bytes | None]:
            """The first line of the reply, and the value if there is one."""
            nonlocal streams
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    if streams is None:
                        streams = await asyncio.open_connection(*address)
                    reader, writer = streams
                    writer.write(request)
                    line = await reader.readuntil(b"\r\n")
                    value = None
                    if line.startswith(b"VALUE "):
                        value = (await reader.readexactly(int(line.split()[3]) + 2))[:-2]
                        await reader.readuntil(b"\r\n")
                    return line.rstrip(), value
            except BaseException:
                await end()
                raise

        async def write(key: bytes, value: bytes) -> bool:
            try:
                line, _ = await ask(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value))
            except (OSError, EOFError, TimeoutError) as error:
                return self._failed(client, f"connection: {error!r}")
            if line == b"STORED":
                expected.stored(key, value)
                return True
            if b"not done" in line:
                expected.not_done(key, value)
            return self._failed(client, line.decode("utf-8", "replace"))

        async def read(key: bytes) -> bool:
            try:
                line, value = await ask(b"get %b\r\n" % key)
            except (OSError, EOFError, TimeoutError) as error:
                return self._failed(client, f"connection: {error!r}")
            if line != b"END" and value is None:
                return self._failed(client, line.decode("utf-8", "replace"))
            return self._check(client, key, value)

        try:
            await self._each(client, write, read)
        finally:
            await end()

    async def _ours(self, client: int, seeds: Sequence[tuple[str, int]]) -> None:
        config = ClientConfig(timeout_ms=round(1000 * REQUEST_SECONDS))
        expected = self.expected[client]
        async with AsyncClient([f"{host}:{port}" for host, port in seeds], config) as cache:

            async def write(key: bytes, value: bytes) -> bool:
                try:
                    await cache.set(key, value)
                except RouterError as error:
                    if isinstance(error, NotDone):
                        expected.not_done(key, value)
                    return self._failed(client, str(error))
                expected.stored(key, value)
                return True

            async def read(key: bytes) -> bool:
                try:
                    value = await cache.get(key)
                except RouterError as error:
                    return self._failed(client, str(error))
                return self._check(client, key, value)

            await self._each(client, write, read)
