"""Host names to addresses, without one name's look-up standing in the way of others.

The event loops of asyncio and uvloop resolve names in a few threads that the whole program shares,
and do not end a look-up that nobody waits for any more: a name whose server does not answer takes
one of them for 10 seconds and more at each attempt to connect, and the end of `asyncio.run` waits
for all of them. Here a look-up has a thread of its own that nobody waits for at the end, and there
is one at a time for each name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable


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
        return list(dict.fromkeys(str(info[4][0]) for info in infos))
    answer: asyncio.Future[list[str]] = loop.create_future()

    def work() -> None:
        found: list[str] = []
        error: Exception | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, ValueError) as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(_tell, answer, found, error)

    try:
        threading.Thread(target=work, name=f"look-up of {host}", daemon=True).start()
    except RuntimeError as error:
        raise OSError(f"no thread to look {host!r} up ({error})") from error
    return await answer


def _look_at(asked: asyncio.Task[list[str]]) -> None:
    """All who waited may have gone."""
    if not asked.cancelled():
        asked.exception()


def _tell(answer: asyncio.Future[list[str]], found: list[str], error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(found)
