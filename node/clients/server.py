"""The memcached listener, and what its connections share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from quorumcache.node.admin.stats import stats_reply
from quorumcache.node.clients.cluster_words import cluster_command, moved_line
from quorumcache.node.clients.connection import MemcachedConnection
from quorumcache.node.clients.failures import failure_line
from quorumcache.node.clients.watch import IDLE, SLOW
from quorumcache.node.clients.writes import WriteRoom
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.failure import Failure
from quorumcache.node.protocol.responses import version_line
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.system.listeners import Listener
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.node.version import WIRE_VERSION
from quorumcache.ring import key_token

if TYPE_CHECKING:
    from quorumcache.node.node import Node


log = get_logger("server")

LOOK_NS: Final = 250_000_000
"""Time between two looks at all connections."""

REPLY_BYTES_MAX: Final = 4 << 20
"""Bytes of answers of one connection that wait for their turn, or for the transport. One more may
exceed it."""

REPLY_BYTES_MIN: Final = 64 << 10
"""What a connection may hold however many there are."""

UNREAD_BYTES_MAX: Final = 256 << 20
"""Replies of all connections together that clients have not taken: connections that hold more than
REPLY_BYTES_MIN share it equally. At twice as much (many began to hold at once) those that hold the
most, and have taken nothing for STALLED_NS, are closed."""

STALLED_NS: Final = 1_000_000_000


class MemcachedServer:
    """Accepts clients, and is what a connection knows of its node."""

    def __init__(self, node: Node, coordinator: Coordinator) -> None:
        config = node.config
        self.node = node
        self.loop = node.loop
        self.coordinator = coordinator
        self.counters = node.counters
        self.groups: Mapping[int, ReplicaGroup] = node.host.groups
        self.monotonic_ns: Callable[[], int] = node.clock.monotonic_ns
        self.shard_count = config.shards
        self.token_shift = 64 - (config.shards.bit_length() - 1)
        """shard = key_token(key) >> token_shift; group = shard + 1."""
        self.item_bytes_max = config.item_bytes_max
        self.version_line = version_line(WIRE_VERSION)
        self.connections: dict[int, MemcachedConnection] = {}
        self._connections_max = config.connections_max
        self._next_number = 1
        self._is_full = False
        """A connection was rejected since there was last room for one."""
        self._emptied = asyncio.Event()
        self._slow_ns = config.slow_client_ms * 1_000_000
        self._idle_ns = config.idle_timeout_ms * 1_000_000
        self._looked_ns = self.monotonic_ns()
        self.watched_ns = 0
        """For how long clients were watched: the time of the looks, without that in which this node
        stood still."""
        self.reply_bytes_max = REPLY_BYTES_MAX
        """The present share of each connection in UNREAD_BYTES_MAX."""
        self.write_room = WriteRoom()
        self._listener = Listener(self.loop, "--listen")

    async def start(self, addresses: Sequence[str]) -> str:
        """Listen; the bound addresses, separated by commas."""
        return ",".join(await self._listener.start(self._new_connection, addresses, backlog=1024))

    def _new_connection(self) -> MemcachedConnection:
        number = self._next_number
        self._next_number += 1
        return MemcachedConnection(self, number)

    def admit(self, connection: MemcachedConnection) -> bool:
        """Take a connection in, unless there are too many."""
        counters = self.counters
        if len(self.connections) >= self._connections_max:
            counters.rejected_connections += 1
            if not self._is_full:
                self._is_full = True
                counters.listen_disabled_num += 1
            return False
        counters.total_connections += 1
        self.connections[connection.number] = connection
        counters.curr_connections = len(self.connections)
        return True

    def left(self, connection: MemcachedConnection) -> None:
        """A connection is gone."""
        self.connections.pop(connection.number, None)
        if len(self.connections) < self._connections_max:
            self._is_full = False
        if not self.connections:
            self._emptied.set()
        self.counters.curr_connections = len(self.connections)

    def stop_accepting(self) -> None:
        """No new clients."""
        self._listener.close()

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
        elapsed_ns = self.monotonic_ns() - self._looked_ns
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
                if connection.stalled_ns(now_ns) >= STALLED_NS:
                    unread.append((size, connection.number))
        share = UNREAD_BYTES_MAX // max(1, holding)
        self.reply_bytes_max = min(REPLY_BYTES_MAX, max(REPLY_BYTES_MIN, share))
        if total > 2 * UNREAD_BYTES_MAX:
            unread.sort()
            while unread and total > 2 * UNREAD_BYTES_MAX:
                size, number = unread.pop()
                total -= size
                self._kick(self.connections[number], SLOW)

    def _kick(self, connection: MemcachedConnection, why: str) -> None:
        if why == SLOW:
            self.counters.slow_clients_closed += 1
        else:
            self.counters.idle_kicks += 1
        event(
            log,
            "info" if why == IDLE else "warning",
            "client_closed",
            client=connection.client_address,
            why=why,
            unread_bytes=connection.unread_bytes,
        )
        connection.abort()

    # -- for connections -----------------------------------------------------------------

    def group_of(self, key: bytes) -> int:
        """Group of the key's shard."""
        return (key_token(key) >> self.token_shift) + 1

    def failed(self, failure: Failure) -> bytes:
        """The reply for an operation that has no result."""
        if failure.outcome_known:
            self.counters.requests_failed += 1
        else:
            self.counters.requests_unknown += 1
        return failure_line(failure)

    def note_binary_client(self, client_address: str) -> None:
        """Count a client of memcached's binary protocol; log the first one."""
        if not self.counters.since_start("binary_clients"):
            event(log, "warning", "binary_client", client=client_address)
        self.counters.binary_clients += 1

    def stats(self, args: tuple[bytes, ...]) -> bytes:
        """Reply to `stats`."""
        return stats_reply(self.node, args)

    def cluster_command(self, connection: MemcachedConnection, args: tuple[bytes, ...]) -> bytes:
        """Reply to a command of the word `cluster`."""
        return cluster_command(self.node, connection, args)

    def moved_line(self, group_id: int) -> bytes:
        """Where a key's leader is, for a client that routes by itself."""
        return moved_line(self.node, self.coordinator, group_id)
