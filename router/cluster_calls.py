"""What `AsyncClient` offers about the cluster itself: its map, its nodes, and changes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from quorumcache.ring import ClusterMap
from quorumcache.router import admin
from quorumcache.router.arguments import callable_of, truth_of, words_of
from quorumcache.router.codec import key_bytes
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.overview import Overview, observe
from quorumcache.router.routing import Route


class ClusterCalls:
    """The part of a client that is about the cluster."""

    def __init__(self, engine: Dispatcher) -> None:
        self._engine = engine

    @property
    def cluster_map(self) -> ClusterMap | None:
        """The newest map this client knows; None before it has connected."""
        table = self._engine.table
        return table.cluster_map if table else None

    async def route(self, key: str | bytes, *, timeout_ms: int | None = None) -> Route:
        """Shard, leader and replicas of a key, as this client believes; explains where it goes."""
        sent = key_bytes(key)
        return (await self._engine.start(self._engine.deadline(timeout_ms))).route(sent)

    async def overview(
        self, *, timeout_ms: int | None = None, measures_lag: bool = False
    ) -> Overview:
        """Ask every node what it sees: who is up, who leads which shard, what moves.

        `measures_lag`: also how far replicas are behind, which is a longer answer.
        """
        truth_of("measures_lag", measures_lag)
        deadline = self._engine.deadline(timeout_ms)
        table = await self._engine.start(deadline)
        return await observe(self._engine.pool, table, deadline, measures_lag)

    async def refresh(self, *, timeout_ms: int | None = None) -> ClusterMap:
        """Fetch the newest map now: a client asks for it by itself only when it meets a change.

        Raises as `connect` does; the client goes on with the map it has.
        """
        deadline = self._engine.deadline(timeout_ms)
        await self._engine.start(deadline)
        keeper = self._engine.keeper
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait((keeper.refresh_soon(urgent=True),), timeout=max(0.0, left))
        if keeper.refresh_error is not None:
            raise keeper.refresh_error
        return (await self._engine.start(deadline)).cluster_map

    async def change(
        self, words: Sequence[str], secret_of: admin.SecretOf, *, timeout_ms: int | None = None
    ) -> dict[str, Any]:
        """Change the cluster: see `admin.py`. Once it was sent it is not repeated.

        `words`: those of `cluster change`, such as ("drain", "c"). `secret_of`: gives the cluster's
        secret; it is called with the path at which the asked node keeps it on this machine, or "".
        """
        words = words_of(words)
        callable_of("secret_of", secret_of)
        deadline = self._engine.deadline(timeout_ms)
        table = await self._engine.start(deadline)
        addresses = admin.addresses_of(table.cluster_map)
        return await admin.change(self._engine.pool, addresses, words, secret_of, deadline)

    async def moves(self, *, timeout_ms: int | None = None) -> dict[str, Any]:
        """Nodes, settings and moves under way, as the first node that answers knows them."""
        deadline = self._engine.deadline(timeout_ms)
        table = await self._engine.start(deadline)
        addresses = admin.addresses_of(table.cluster_map)
        now = asyncio.get_running_loop().time
        return await admin.moves(self._engine.pool, addresses, deadline, now)
