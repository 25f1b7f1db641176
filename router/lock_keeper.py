"""What all locks of one client share: their owner words, their requests, and what goes on behind.

Nothing that the store may still hold for somebody who has gone is left to its time limit if it can
be helped: a place in a queue, or a lock, is given back by a task of the keeper, also when the call
that took it was cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine
from random import Random
from typing import Any, Final, Protocol, TypeVar

from quorumcache.router.arguments import shown
from quorumcache.router.codec import key_bytes
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.errors import InvalidArgument, InvalidKey, RouterError
from quorumcache.router.forks import watch
from quorumcache.router.lock_requests import release
from quorumcache.router.requests import Request
from quorumcache.router.wait_turns import WaitTurns

T = TypeVar("T")

LABEL_BYTES_MAX: Final = 80
"""Of what a caller calls itself; an owner word of the wire has 100 bytes at most."""

FAREWELL_S: Final = 1.0
"""How long `close` waits for locks to be given back. The store ends what is left in time."""


class Held(Protocol):
    """Something that the store holds for this client."""

    def let_go(self) -> None:
        """The client is being closed: give it back."""

    def disown(self) -> None:
        """This is the child process after a fork: it belongs to the parent. Touch no loop."""


class LockKeeper:
    """One for each client."""

    def __init__(self, engine: Dispatcher, random: Random) -> None:
        self.engine = engine
        self.held: dict[Held, None] = {}
        """What the store holds for this client now, oldest first."""
        self.turns = WaitTurns()
        self.is_closing = False
        """Nothing is taken any more, also not by a request that was sent before."""
        self._random = random
        self._requests: dict[asyncio.Task[Any], None] = {}
        self._farewells: dict[asyncio.Task[Any], None] = {}
        watch(self)

    def owner_word(self, label: str) -> bytes:
        """The name of one acquisition, which no other one has."""
        return f"{label or default_label()}-{self._random.getrandbits(64):016x}".encode()

    async def call(self, request: Request[T], name: bytes, deadline: float) -> T:
        """Carry a request to the shard of the lock."""
        table = await self.engine.start(deadline)
        return await self.engine.call(request, table.shard_of(name), deadline)

    def send(self, request: Request[T], name: bytes, deadline: float) -> asyncio.Task[T]:
        """The same, and it goes on when its caller has gone."""
        return _begin(self.call(request, name, deadline), self._requests)

    def give_back(
        self, name: bytes, owner: bytes, token: int = 0, after: asyncio.Task[Any] | None = None
    ) -> None:
        """Give back, in the background, a lock or a place in its queue.

        `after`: a request for it whose caller has gone. What it brings about is given back as well.
        """
        if not self.engine.is_closed:
            _begin(self._give_back(name, owner, token, after), self._farewells)

    async def close(self) -> None:
        """Give back what is held, and what is being asked for, within a short time."""
        self.is_closing = True
        for held in list(self.held):
            held.let_go()
        if self._farewells:
            await asyncio.wait(list(self._farewells), timeout=FAREWELL_S)
        for task in list(self._farewells):
            task.cancel()

    def forked(self) -> None:
        """Called in a child process: what is held is the parent's."""
        for held in self.held:
            held.disown()
        self.held = {}
        self.turns = WaitTurns()
        self._requests, self._farewells = {}, {}
        # From here on the parent's would draw the same owner words.
        self._random = Random(os.getpid() << 64 | self._random.getrandbits(64))

    async def _give_back(
        self, name: bytes, owner: bytes, token: int, after: asyncio.Task[Any] | None
    ) -> None:
        await self._try_release(name, owner, token)
        if after is not None:
            await asyncio.wait((after,))
            await self._try_release(name, owner, token)

    async def _try_release(self, name: bytes, owner: bytes, token: int) -> None:
        with contextlib.suppress(RouterError):  # It ends by itself when its time is over.
            await self.call(release(name, owner, token), name, self.engine.deadline(None))


def _begin(work: Coroutine[Any, Any, T], tasks: dict[asyncio.Task[Any], None]) -> asyncio.Task[T]:
    """Start it as a task that stands in `tasks` until it has ended."""
    task = asyncio.get_running_loop().create_task(work)
    tasks[task] = None

    def ended(_: asyncio.Task[T]) -> None:
        tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # Whoever waits for it is told; there may be nobody.

    task.add_done_callback(ended)
    return task


def name_bytes(name: str | bytes) -> bytes:
    """The name of a lock as it goes over the wire."""
    try:
        return key_bytes(name)
    except InvalidKey as error:
        raise InvalidKey(f"the name of a lock is written as a key: {error}") from None


def default_label() -> str:
    """This process: host and process id."""
    host = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-"
        for letter in socket.gethostname()
    )
    return f"{host[:60]}-{os.getpid()}"


def label_of(name: str, value: str) -> str:
    """How a caller calls itself, as others see it; "" for host and process id."""
    if (
        not isinstance(value, str)
        or " " in value
        or not (value.isprintable() or not value)
        or len(value.encode("utf-8", "replace")) > LABEL_BYTES_MAX
        or not _is_utf8(value)
    ):
        raise InvalidArgument(
            f"{name} must be printable and without spaces, of {LABEL_BYTES_MAX} bytes at most, not"
            f" {shown(value)}"
        )
    return value


def label_in(owner: str) -> str:
    """The label of an owner word."""
    return owner.rpartition("-")[0] or owner


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
