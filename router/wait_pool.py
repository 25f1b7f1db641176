"""Connections for requests whose answers a node keeps back: those that wait for a lock, and commits
of transactions.

Replies come in the order of the requests. On the connection that all calls share, one that waits a
second would hold up all that were sent after it. So each such request has a connection to itself
while it waits, up to `WAIT_CONNECTIONS_MAX` to a node; more of them take turns.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Final

from quorumcache.router.arguments import TIME_MS_MAX
from quorumcache.router.config import ClientConfig
from quorumcache.router.connection import Connection
from quorumcache.router.errors import ConnectFailed
from quorumcache.router.pool import Peer, Pool

WAIT_CONNECTIONS_MAX: Final = 16
"""To one node."""

WAIT_PIECE_MS: Final = 1_000
"""Longest time for which a request asks a node to keep its answer back. Whoever waits longer asks
again: a node that has stopped is noticed, and the request's number in its session is soon free."""


class WaitPool(Pool):
    """All such connections of one client."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: ClientConfig, random: Random
    ) -> None:
        alone = replace(
            config,
            connections_per_node=WAIT_CONNECTIONS_MAX,
            inflight_requests_max=1,
            stall_ms=min(TIME_MS_MAX, config.stall_ms + WAIT_PIECE_MS),
        )
        super().__init__(loop, alone, random)

    def ready(self, address: str) -> Connection | None:
        """A connection that nobody uses now, or None if `acquire` has to wait for one."""
        for connection in self.opened(address):
            if connection.has_room(0):
                return connection
        return None

    async def acquire(self, address: str, deadline: float) -> Connection:
        """A connection that nobody uses now. When there are no more to be had: the next one in
        turn, whose users wait for each other (`Connection.room`)."""
        while True:
            try:
                return await super().acquire(address, deadline)
            except ConnectFailed:
                # One was opened, and another caller was faster: wait for the next.
                if self.trouble(address) is not None or self._loop.time() >= deadline:
                    raise

    def _pick(self, peer: Peer) -> Connection | None:
        for connection in peer.open:
            if connection.has_room(0):
                return connection
        if len(peer.open) < WAIT_CONNECTIONS_MAX:
            return None
        self._turn += 1
        return peer.open[self._turn % len(peer.open)]
