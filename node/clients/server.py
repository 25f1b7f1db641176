"""The memcached listener: it takes clients in, watches them, and closes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from quorumcache.node.clients.authentication import Gate, IsUser
from quorumcache.node.clients.connection import MemcachedConnection
from quorumcache.node.clients.context import REPLY_BYTES_MAX, ClientContext
from quorumcache.node.clients.forwarded_answers import ForwardedAnswers
from quorumcache.node.clients.watch import IDLE, SLOW
from quorumcache.node.system.listeners import Listener
from quorumcache.node.system.unix_sockets import UnixListener
from quorumcache.node.telemetry.logs import event, get_logger

log = get_logger("server")

LOOK_NS: Final = 250_000_000
"""Time between two looks at all connections."""

REPLY_BYTES_MIN: Final = 64 << 10
"""What a connection may hold however many there are."""

UNREAD_BYTES_MAX: Final = 256 << 20
"""Replies of all connections together that clients have not taken: connections that hold more than
REPLY_BYTES_MIN share it equally. At twice as much (many began to hold at once) those that hold the
most, and have taken nothing for STALLED_NS, are closed."""

STALLED_NS: Final = 1_000_000_000


class MemcachedServer:
    """Accepts clients, and owns their connections."""

    def __init__(
        self,
        context: ClientContext,
        *,
        connections_max: int,
        slow_client_ms: int,
        idle_timeout_ms: int,
        listen_backlog: int = 1024,
        unix_path: str = "",
        unix_mask: int = 0o700,
        is_user: IsUser | None = None,
    ) -> None:
        """`slow_client_ms`, `idle_timeout_ms`: for how long a client may take no replies, or say
        nothing; 0 = for any time. `unix_path`: of a Unix socket to listen on as well, "" = none,
        with the permissions `unix_mask`. `is_user`: whether a client may use the cache that gives
        this user and password; None = all may.
        """
        self.context = context
        self._counters = context.counters
        self._monotonic_ns = context.monotonic_ns
        self.connections: dict[int, MemcachedConnection] = {}
        self._connections_max = connections_max
        self._next_number = 1
        self._is_full = False
        """A connection was rejected since there was last room for one."""
        self._emptied = asyncio.Event()
        self._slow_ns = slow_client_ms * 1_000_000
        self._idle_ns = idle_timeout_ms * 1_000_000
        self._looked_ns = self._monotonic_ns()
        self.watched_ns = 0
        """For how long clients were watched: the time of the looks, without that in which this node
        stood still."""
        self._backlog = listen_backlog
        self._is_user = is_user
        self._listener = Listener(context.loop, "--listen")
        context.events.on_reads_watched = self._watch_reads
        context.coordinator.bundles.receiver = ForwardedAnswers()
        self._unix_listener = (
            UnixListener(context.loop, unix_path, mask=unix_mask, backlog=listen_backlog)
            if unix_path
            else None
        )

    async def start(self, addresses: Sequence[str], *, serves: bool = True) -> str:
        """Listen; the bound addresses, separated by commas, the Unix socket last. `serves` False:
        clients are refused until `serve`.
        """
        bound = await self._listener.start(
            self._new_client, addresses, serves=serves, backlog=self._backlog
        )
        if self._unix_listener is not None:
            try:
                bound.append(await self._unix_listener.start(self._new_client, serves=serves))
            except BaseException:
                self._listener.close()
                raise
        return ",".join(bound)

    async def serve(self) -> None:
        """Take clients in from now on."""
        await self._listener.serve()
        if self._unix_listener is not None:
            await self._unix_listener.serve()

    def _new_client(self) -> asyncio.Protocol:
        connection = self._new_connection()
        if self._is_user is None:
            return connection
        return Gate(connection, self._is_user, self._counters)

    def _new_connection(self) -> MemcachedConnection:
        number = self._next_number
        self._next_number += 1
        return MemcachedConnection(self.context, self, number, self.watched_ns)

    def _watch_reads(self, is_watched: bool) -> None:
        """Have all gets go the general way, which tells of them, or no longer."""
        self.context.watch_reads(is_watched)
        for connection in self.connections.values():
            connection.use_quick_groups()

    def admit(self, connection: MemcachedConnection) -> bool:
        """Take a connection in, unless there are too many."""
        counters = self._counters
        if len(self.connections) >= self._connections_max:
            counters.rejected_connections += 1
            if not self._is_full:
                self._is_full = True
                counters.connections_limit_reached += 1
            return False
        counters.total_connections += 1
        self.connections[connection.number] = connection
        counters.curr_connections = len(self.connections)
        self.context.events.connected(connection.number, connection.client_address)
        return True

    def left(self, connection: MemcachedConnection) -> None:
        """A connection is gone."""
        if self.connections.pop(connection.number, None) is not None:
            reason = connection.conversation.close_reason
            self.context.events.closed(connection.number, connection.client_address, reason)
        if len(self.connections) < self._connections_max:
            self._is_full = False
        if not self.connections:
            self._emptied.set()
        self._counters.curr_connections = len(self.connections)

    def count_dependent(self) -> int:
        """Clients that know no other node to go to. One in redirect mode is told of another node
        with its next command.
        """
        return sum(not c.finds_leaders for c in self.connections.values())

    def limit_items(self, item_bytes_max: int) -> None:
        """Clients may store items up to this limit from now on, those that are here included."""
        self.context.item_bytes_max = item_bytes_max
        for connection in self.connections.values():
            connection.limit_items(item_bytes_max)

    def stop_accepting(self) -> None:
        """No new clients."""
        self._listener.close()
        if self._unix_listener is not None:
            self._unix_listener.close()

    def close(self) -> None:
        """Close the listener, and every connection once its replies are out."""
        self.stop_accepting()
        for connection in list(self.connections.values()):
            connection.finish()

    async def wait_empty(self, seconds: float) -> None:
        """Wait until the last connection has left, but no longer than so many seconds."""
        self._emptied.clear()
        if self.connections and seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), seconds)

    def abort(self) -> None:
        """Drop every connection."""
        self.stop_accepting()
        for connection in list(self.connections.values()):
            connection.abort()

    def sweep(self) -> None:
        """Close connections that have not read, or not said, anything for too long. Called every
        few ticks."""
        elapsed_ns = self._monotonic_ns() - self._looked_ns
        if elapsed_ns < LOOK_NS:
            return
        self._looked_ns += elapsed_ns
        self.watched_ns += min(elapsed_ns, 2 * LOOK_NS)
        now_ns = self.watched_ns
        unread: list[tuple[int, int]] = []
        total = holding = 0
        for connection in list(self.connections.values()):
            why = connection.look(now_ns, self._slow_ns, self._idle_ns)
            if why:
                self._kick(connection, why)
            elif size := connection.unread_bytes:
                total += size
                holding += size > REPLY_BYTES_MIN
                if connection.watch.stalled_ns(now_ns) >= STALLED_NS:
                    unread.append((size, connection.number))
        share = UNREAD_BYTES_MAX // max(1, holding)
        self.context.reply_bytes_max = min(REPLY_BYTES_MAX, max(REPLY_BYTES_MIN, share))
        if total > 2 * UNREAD_BYTES_MAX:
            unread.sort()
            while unread and total > 2 * UNREAD_BYTES_MAX:
                size, number = unread.pop()
                total -= size
                self._kick(self.connections[number], SLOW)

    def _kick(self, connection: MemcachedConnection, why: str) -> None:
        if why == IDLE:
            connection.conversation.close_reason = "idle_timeout"
        if why == SLOW:
            self._counters.slow_clients_closed += 1
        else:
            self._counters.idle_kicks += 1
        event(
            log,
            "info" if why == IDLE else "warning",
            "client_closed",
            client=connection.client_address,
            why=why,
            unread_bytes=connection.unread_bytes,
        )
        connection.abort()
