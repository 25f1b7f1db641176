"""Connections by address: which one to use (pure), and opening and closing them.

An address is in one of these states, seen from a caller:

    unknown --- first use ---> opening --- handshake done ---> open
                                  |                             |
    pausing <---- failed ---------+                             +-- broken, silent: not used any
       |  (callers fail at once with the last error)                more; the next use opens anew
       +--- pause over, next use ---> opening
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from quorumcache.ring.errors import AddressError
from quorumcache.ring.names import Names
from quorumcache.router.config import ClientConfig, node_address, unix_path
from quorumcache.router.connection import Connection
from quorumcache.router.errors import (
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    NodeBusy,
    NotACluster,
    NotDone,
    OutcomeUnknown,
    PasswordNeeded,
    Refused,
    ReplyTimeout,
    RouterError,
)
from quorumcache.router.requests import knows_locks, knows_sessions, redirect_on, store
from quorumcache.router.retry import Backoff
from quorumcache.router.transaction_requests import knows_transactions

UNAUTHENTICATED = "unauthenticated"
"""How a node's answer ends that wants a password first."""

CLOSE_TIMEOUT_MS = 1_000
"""How long `close` lets connections say good-bye before it stops waiting."""


class Choice(NamedTuple):
    """`position`: the connection to use, -1 for none. `open_another`: one more is wanted."""

    position: int
    open_another: bool


def choose(loads: Sequence[int], is_opening: bool, count_max: int, load_high: int) -> Choice:
    """Which of the open connections to one node takes the next request. Pure.

    `loads`: requests without a reply, by connection. The least loaded one is taken; another one
    is opened when there is none, or when even that one has `load_high` and fewer than `count_max`
    are open.
    """
    if not loads:
        return Choice(-1, not is_opening)
    index = min(range(len(loads)), key=loads.__getitem__)
    wants_more = loads[index] >= load_high and len(loads) < count_max
    return Choice(index, wants_more and not is_opening)


class Peer:
    """What the pool knows of one address."""

    __slots__ = ("address", "backoff", "error", "open", "opening", "retry_at")

    def __init__(self, address: str) -> None:
        self.address = address
        self.open: list[Connection] = []
        self.opening: asyncio.Task[None] | None = None
        self.backoff: Backoff | None = None  # None after a success
        self.error: NotDone | None = None  # of the last attempt to connect
        self.retry_at = 0.0  # loop time; until then callers get `error` at once


class Pool:
    """All connections of one client."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: ClientConfig, random: Random
    ) -> None:
        self._loop = loop
        self._config = config
        self._random = random
        self._peers: dict[str, Peer] = {}
        self._all: list[Connection] = []  # open ones and those that still owe replies
        self._is_closed = False
        self._names = Names(loop)
        self._turn = 0
        self._load_high = max(1, config.inflight_requests_max // 2)

    def ready(self, address: str) -> Connection | None:
        """An open connection, or None if `acquire` has to wait for one."""
        peer = self._peers.get(address)
        if peer is None or not peer.open:
            return None
        if len(peer.open) == 1 and self._config.connections_per_node == 1:
            return peer.open[0]
        return self._pick(peer)

    def is_open(self, address: str) -> bool:
        """Whether a connection to this address is open now."""
        peer = self._peers.get(address)
        return peer is not None and bool(peer.open)

    def opened(self, address: str) -> Sequence[Connection]:
        """The connections to this address that are open now."""
        peer = self._peers.get(address)
        return peer.open if peer is not None else ()

    def trouble(self, address: str) -> NotDone | None:
        """Why the last attempt to connect to this address failed; None after a success."""
        peer = self._peers.get(address)
        return peer.error if peer is not None else None

    def is_at_hand(self, address: str) -> bool:
        """Whether a connection to this address is open now. If not, one is opened in the background
        unless that has failed just now: for callers that can do without it now, and would use it
        later.
        """
        if self._is_closed:
            return False
        peer = self._peers.setdefault(address, Peer(address))
        if peer.open:
            return True
        if peer.opening is None and (peer.error is None or self._loop.time() >= peer.retry_at):
            self._start_opening(peer)
        return False

    async def acquire(self, address: str, deadline: float) -> Connection:
        """A usable connection, opened if need be. `NotDone` errors tell why there is none."""
        if self._is_closed:
            raise ClientClosed("the client is closed")
        peer = self._peers.setdefault(address, Peer(address))
        connection = self._pick(peer)
        if connection is not None:
            return connection
        if peer.opening is None:
            if peer.error is not None and self._loop.time() < peer.retry_at:
                raise _again(peer.error)
            self._start_opening(peer)
        opening = peer.opening
        assert opening is not None
        # `wait` leaves the attempt running when this caller is cancelled or out of time: it
        # serves the others, too.
        left = deadline - self._loop.time()
        await asyncio.wait((opening,), timeout=max(0.0, left))
        connection = self._pick(peer)
        if connection is not None:
            return connection
        if opening.done() and peer.error is not None:
            raise _again(peer.error)
        raise ConnectFailed(address, "no connection in time")

    def retain(self, addresses: Iterable[str]) -> None:
        """Close, when idle, the connections to all other addresses."""
        kept = set(addresses)
        for address, peer in list(self._peers.items()):
            if address not in kept and peer.opening is None:
                for connection in list(peer.open):
                    connection.retire()
                del self._peers[address]

    async def close(self) -> None:
        """Close everything, for good. Requests under way end as for a broken connection."""
        self._is_closed = True
        self._names.close()
        openings = [peer.opening for peer in self._peers.values() if peer.opening is not None]
        for opening in openings:
            opening.cancel()
        if openings:
            await asyncio.wait(openings)
        connections = list(self._all)
        for connection in connections:
            connection.abort("the client was closed")
        self._peers.clear()
        if connections:
            closed = [connection.closed for connection in connections]
            await asyncio.wait(closed, timeout=CLOSE_TIMEOUT_MS / 1000)

    def disown(self) -> None:
        """Called in a child process after a fork: the parent goes on with these connections."""
        try:
            harmless = os.open(os.devnull, os.O_RDWR)
        except OSError:
            # No descriptor is free, or there is no such file. Then the child keeps its copies of
            # the sockets until it ends; it uses none of them all the same.
            return
        for connection in self._all:
            connection.disown(harmless)
        os.close(harmless)

    def _pick(self, peer: Peer) -> Connection | None:
        loads = [connection.load for connection in peer.open]
        limit = self._config.connections_per_node
        index, open_another = choose(loads, peer.opening is not None, limit, self._load_high)
        if index < 0:
            return None
        if open_another and self._loop.time() >= peer.retry_at:
            self._start_opening(peer)
        return peer.open[index]

    def _start_opening(self, peer: Peer) -> None:
        peer.opening = self._loop.create_task(self._open(peer))

    async def _open(self, peer: Peer) -> None:
        """One attempt to connect; the result is in `peer.open` or in `peer.error`."""
        try:
            connection = await self._connect(peer.address)
        except Exception as caught:
            error = caught if isinstance(caught, NotDone) else _bug(peer.address, caught)
            if peer.backoff is None:
                config = self._config
                peer.backoff = Backoff(self._random, config.backoff_first_ms, config.backoff_max_ms)
            peer.error = error
            peer.retry_at = self._loop.time() + peer.backoff.pause_ms(error, False) / 1000
        else:
            peer.error = peer.backoff = None
            if connection.is_usable:
                peer.open.append(connection)
            else:
                peer.error = ConnectFailed(peer.address, connection.lost_why)
        finally:
            peer.opening = None

    async def _connect(self, address: str) -> Connection:
        """Dial and say `cluster redirect on`: nothing else is sent to a stranger. Then ask whether
        the node knows sessions, transactions and locks."""
        config = self._config
        deadline = self._loop.time() + config.connect_timeout_ms / 1000
        connection = Connection(address, self._loop, config, self._drop)
        try:
            path = unix_path(address)
            host, port = ("", 0) if path else node_address(address)
            async with asyncio.timeout_at(deadline):
                self._turn += 1
                if path:
                    await self._loop.create_unix_connection(lambda: connection, path)
                else:
                    await self._names.connect(lambda: connection, host, port, self._turn)
                self._all.append(connection)
                connection.closed.add_done_callback(lambda _: self._all.remove(connection))
                await self._introduce(connection, deadline)
                questions = (knows_transactions(), knows_locks())
                asked = [connection.submit(question, deadline) for question in questions]
                if config.sessions:
                    asked.append(connection.submit(knows_sessions(), deadline))
                known = await asyncio.gather(*asked)
                connection.knows_transactions, connection.knows_locks = known[:2]
                connection.knows_sessions = config.sessions and known[2]
        except TimeoutError:
            connection.abort("connecting took too long")
            why = f"no answer within {config.connect_timeout_ms} ms"
            raise ConnectFailed(address, why) from None
        except AddressError as error:
            raise ConnectFailed(address, str(error)) from error
        except OSError as error:
            raise ConnectFailed(address, describe(error)) from error
        except RouterError as error:
            connection.abort("the handshake failed")
            raise self._handshake_error(address, error) from error
        except BaseException:
            connection.abort("the attempt to connect was cancelled")
            raise
        return connection

    async def _introduce(self, connection: Connection, deadline: float) -> None:
        """Say `cluster redirect on`, and before it a password to a node that asks for one. One that
        asks for none would store it as a value.
        """
        try:
            await connection.submit(redirect_on(), deadline)
            return
        except Refused as error:
            if not str(error).endswith(UNAUTHENTICATED):
                raise
        address, credentials = connection.address, self._config.credentials
        if not credentials:
            raise PasswordNeeded(address, "none was given")
        token = credentials.replace(":", " ", 1).encode()
        try:
            await connection.submit(store(b"set", b"auth", token, 0, 0), deadline)
        except Refused as error:
            raise PasswordNeeded(address, "those that were given are wrong") from error
        await connection.submit(redirect_on(), deadline)

    def _handshake_error(self, address: str, error: RouterError) -> NotDone:
        if isinstance(error, PasswordNeeded):
            return error
        if isinstance(error, NodeBusy):
            return NodeBusy(address)
        if isinstance(error, Refused):
            return NotACluster(address, str(error).rpartition(": ")[2])
        if isinstance(error, ConnectionLost):
            return ConnectFailed(address, error.why)
        if isinstance(error, OutcomeUnknown):
            if isinstance(error, ReplyTimeout):
                why = f"no answer within {self._config.connect_timeout_ms} ms"
                return ConnectFailed(address, why)
            return NotACluster(address, str(error))
        return ConnectFailed(address, str(error))

    def _drop(self, connection: Connection) -> None:
        peer = self._peers.get(connection.address)
        if peer is not None and connection in peer.open:
            peer.open.remove(connection)


def describe(error: OSError) -> str:
    """A failed dial in a few words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if error.errno is not None and error.errno > 0 and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    text = error.strerror or str(error) or type(error).__name__
    return f"cannot connect ({text})"


def _bug(address: str, error: Exception) -> NotDone:
    """An unexpected error, for the requests that wait: silence would look like a slow node."""
    failed = ConnectFailed(address, f"internal error: {error!r}")
    failed.__cause__ = error
    return failed


def _again(error: NotDone) -> NotDone:
    """A fresh instance for each caller: one that is raised twice grows its traceback for ever."""
    copy = error.__class__.__new__(error.__class__)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    return copy
