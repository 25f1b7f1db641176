"""Host names to addresses, without one name's look-up standing in the way of another's. Edge.

The event loops resolve names in a few threads that everything shares (uvloop: four), and do not end
a look-up that nobody waits for any more. A name whose server does not answer takes one of them for
10 seconds and more; dialed twice a second it takes all of them for ever, so that no other node can
be dialed, and a process that wants to end waits for what has piled up.

Here a look-up has a thread of its own that nobody waits for at the end, there is one at a time for
each name, and a name that was resolved before keeps its addresses while its server is silent or
away. An old address may be another node's by now: whoever dials it has to see who is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

SLOW_SECONDS: Final = 0.1
"""After it the addresses known from before are used, if there are any."""

NAMES_MAX: Final = 1024
"""Names whose addresses are remembered; beyond it the oldest is forgotten."""


class Names:
    """What host names stand for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._known: dict[str, list[str]] = {}
        self._under_way: dict[str, asyncio.Task[list[str]]] = {}

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, turn: int = 0
    ) -> None:
        """Connect to the first address of the host that answers; raises `OSError`.

        `turn` counts the attempts: each begins with another address, so that one that says nothing
        does not keep the others from being tried in time.
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

    def close(self) -> None:
        """Wait for no look-up any more."""
        for asked in self._under_way.values():
            asked.cancel()

    async def resolve(self, host: str) -> list[str]:
        """The addresses of a host, in the order in which to try them; at least one.

        Raises `OSError` if there are none. May be cancelled at any time.
        """
        if is_address(host):
            return [host]
        known = self._known.get(host)
        asked = self._under_way.get(host)
        if asked is None:
            asked = self._under_way[host] = self._loop.create_task(self._ask(host))
            asked.add_done_callback(_look_at)
        # `wait` leaves the look-up under way when this caller is cancelled or out of time.
        await asyncio.wait((asked,), timeout=None if known is None else SLOW_SECONDS)
        if asked.done() and (known is None or asked.exception() is None):
            return asked.result()
        assert known is not None
        return known

    async def _ask(self, host: str) -> list[str]:
        try:
            found = await look_up(self._loop, host)
            self._known.pop(host, None)
            while len(self._known) >= NAMES_MAX:
                del self._known[next(iter(self._known))]
            self._known[host] = found
            return found
        finally:
            del self._under_way[host]


def is_address(host: str) -> bool:
    """Whether it is an IP address, which is looked up nowhere."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False


async def look_up(loop: asyncio.AbstractEventLoop, host: str, *, flags: int = 0) -> list[str]:
    """The addresses of a name; `OSError` if there are none.

    A loop with its own way to resolve names is asked; those of asyncio and uvloop have the one that
    is described above.
    """
    kind = type(loop)
    is_usual = kind.getaddrinfo is asyncio.BaseEventLoop.getaddrinfo
    if not is_usual and not kind.__module__.startswith("uvloop"):
        infos = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))
    answer: asyncio.Future[list[str]] = loop.create_future()

    def work() -> None:
        found: list[str] = []
        error: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as caught:
            error = caught
        except ValueError as caught:  # UnicodeError too: a name that no resolver takes
            error = OSError(f"{host!r} is no name of a host ({caught})")
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


def _tell(answer: asyncio.Future[list[str]], found: list[str], error: OSError | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(found)
