"""Host names to addresses: a name whose server does not answer delays no other name.

The event loops of asyncio and uvloop resolve names in a small pool of threads that the whole
program shares, and a look-up goes on after its caller has given up. A name whose server does not
answer takes one thread for 10 seconds and more at each attempt to connect, and the end of
`asyncio.run` waits for all of them. Here each name has at most one look-up under way, in a daemon
thread of its own, so the program can end without it.

`node/names.py` is the same for nodes: `node` and `router` never import each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from typing import cast


class Names:
    """What host names stand for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._under_way: dict[str, asyncio.Task[list[str]]] = {}

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, turn: int = 0
    ) -> None:
        """Connect to the first address of the host that answers. `turn` counts the attempts: each
        begins with another address.

        Raises `OSError`; `ValueError` if no resolver takes the name.
        """
        found = await self.resolve(host)
        first = turn % len(found)
        failed = OSError(f"{host!r} has no address")
        for address in (*found[first:], *found[:first]):
            try:
                await self._loop.create_connection(factory, address, port)
            except OSError as error:
                failed = error
            else:
                return
        raise failed

    async def resolve(self, host: str) -> list[str]:
        """The addresses of a host; errors as of `connect`. May be cancelled at any time."""
        if _is_address(host):
            return [host]
        asked = self._under_way.get(host)
        if asked is None:
            asked = self._under_way[host] = self._loop.create_task(self._ask(host))
            asked.add_done_callback(_look_at)
        # `wait` leaves the look-up under way when this caller is cancelled or out of time.
        await asyncio.wait((asked,))
        return asked.result()

    def close(self) -> None:
        """Wait for no look-up any more."""
        for asked in self._under_way.values():
            asked.cancel()

    async def _ask(self, host: str) -> list[str]:
        try:
            return await _look_up(self._loop, host)
        finally:
            del self._under_way[host]


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False


async def _look_up(loop: asyncio.AbstractEventLoop, host: str) -> list[str]:
    """A loop with its own way to resolve names is asked; those of asyncio and uvloop have the one
    that is described above."""
    kind = type(loop)
    is_usual = kind.getaddrinfo is asyncio.BaseEventLoop.getaddrinfo
    if not is_usual and not kind.__module__.startswith("uvloop"):
        infos = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return _addresses(infos)
    answer: asyncio.Future[list[str]] = loop.create_future()

    def work() -> None:
        found: list[str] = []
        error: Exception | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = _addresses(infos)
        except (OSError, ValueError) as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(_tell, answer, found, error)

    try:
        threading.Thread(target=work, name=f"look-up of {host}", daemon=True).start()
    except RuntimeError as error:
        raise OSError(f"cannot start a thread to look up {host!r}: {error}") from error
    return await answer


def _addresses(infos: Iterable[tuple[object, ...]]) -> list[str]:
    """Each address once. A link-local one keeps its interface: without it, it leads nowhere."""
    found: dict[str, None] = {}
    for info in infos:
        address = cast(tuple[object, ...], info[4])
        scope = address[3] if len(address) == 4 else 0
        found[f"{address[0]}%{scope}" if scope else f"{address[0]}"] = None
    return list(found)


def _look_at(asked: asyncio.Task[list[str]]) -> None:
    """Every caller may have given up: then nothing else takes the error."""
    if not asked.cancelled():
        asked.exception()


def _tell(answer: asyncio.Future[list[str]], found: list[str], error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(found)
