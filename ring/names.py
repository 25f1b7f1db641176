"""Host names to addresses: a name whose server does not answer delays no other name. Edge.

The event loops resolve names in a small pool of threads that the whole process shares (uvloop:
four), and a look-up goes on after its caller has given up. A name whose server does not answer
takes one thread for 10 seconds and more. Dialed twice a second, it soon takes all of them: no other
node can be dialed, and a process that ends waits for all the look-ups that have piled up.

Here each name has at most one look-up under way, in a daemon thread of its own, so the process can
end without it.

Nodes and clients both use it. It is the one place of `ring` that touches the network, so
`ring/__init__.py` leaves it out: code that only places keys loads no event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Final, cast

SLOW_SECONDS: Final = 0.1
"""After it the addresses known from before are used, if there are any."""

NAMES_MAX: Final = 1024
"""Names whose addresses are remembered; beyond it the oldest is forgotten."""


class Names:
    """What host names stand for.

    `remembers`: a name that was resolved before keeps its addresses while its server does not
    answer. An old address may belong to another node by now, so this is for callers whose
    connections begin with a check of who answers: nodes do, by the hello.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, remembers: bool = False) -> None:
        self._loop = loop
        self._remembers = remembers
        self._known: dict[str, list[str]] = {}
        self._under_way: dict[str, asyncio.Task[list[str]]] = {}

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, turn: int = 0
    ) -> None:
        """Connect to the first address of the host that answers; raises `OSError`.

        `turn` counts the attempts: each begins with another address, so that one that does not
        answer cannot use up the time of every attempt.
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
        if known is not None and (not asked.done() or isinstance(asked.exception(), OSError)):
            return known
        return asked.result()

    async def _ask(self, host: str) -> list[str]:
        try:
            found = await look_up(self._loop, host)
            if not self._remembers:
                return found
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
        return _addresses(infos)
    answer: asyncio.Future[list[str]] = loop.create_future()

    def work() -> None:
        found: list[str] = []
        error: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
            found = _addresses(infos)
        except OSError as caught:
            error = caught
        except ValueError as caught:  # UnicodeError too: a name that no resolver takes
            error = OSError(f"{host!r} is not a host name ({caught})")
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


def _tell(answer: asyncio.Future[list[str]], found: list[str], error: OSError | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(found)
