"""What a client knows of its cluster, and how it finds out: the map, the leaders, fetches of both.

One fetch runs at a time, in the background, with a pause after it; all calls that need news wait
for the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from quorumcache.router.attempts import Attempts
from quorumcache.router.config import ClientConfig
from quorumcache.router.discovery import Sighting, first_sighting
from quorumcache.router.errors import DeadlineExceeded, RouterError, WrongCluster
from quorumcache.router.pool import Pool
from quorumcache.router.retry import Effect, may_retry
from quorumcache.router.routing import RoutingTable


class MapKeeper:
    """The routing table of one client, on the loop of `pool`."""

    def __init__(
        self,
        pool: Pool,
        seeds: Sequence[str],
        config: ClientConfig,
        random: Random,
        table: RoutingTable | None,
    ) -> None:
        self.table = table
        self.refresh_error: RouterError | None = None
        """Why the last fetch failed; None if it did not."""
        self._pool = pool
        self._seeds = seeds
        self._config = config
        self._random = random
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -config.refresh_pause_ms / 1000 + asyncio.get_running_loop().time()
        """Loop time at which the last fetch ended."""

    async def start(self, deadline: float, once: bool = False) -> RoutingTable:
        """The routing table; fetched from the seeds at the first call.

        `once`: one pass over the seeds, instead of trying until the deadline.
        """
        attempts: Attempts | None = None
        known: RouterError | None = None  # the last reason why there is no map yet
        while self.table is None:
            refreshing = self.refresh_soon(urgent=True)
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait((refreshing,), timeout=max(0.0, left))
            if refreshing.done() and not refreshing.cancelled():
                refreshing.result()  # a bug in there must not look like silence
            error = self.refresh_error
            if self.table is not None or error is None:
                if self.table is None and left <= 0:
                    why = known or f"no answer from {', '.join(self._seeds)}"
                    raise DeadlineExceeded(f"no cluster map in time: {why}") from known
                continue
            if once or not may_retry(Effect.READ, error):
                raise error
            known = error
            attempts = attempts or Attempts(self._config, self._random)
            await attempts.pause(error, False, deadline)
        return self.table

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait((self._refreshing,))

    def refresh_soon(self, prefer: str = "", urgent: bool = False) -> asyncio.Task[None]:
        """Fetch map and leaders in the background: one fetch at a time, with a pause in between."""
        task = self._refreshing
        if task is not None and not task.done():
            return task
        loop = asyncio.get_running_loop()
        next_at = self._refreshed_at + self._config.refresh_pause_ms / 1000
        delay = 0.0 if urgent else max(0.0, next_at - loop.time())
        self._refreshing = loop.create_task(self._refresh(prefer, delay))
        return self._refreshing

    async def _refresh(self, prefer: str, delay: float) -> None:
        loop = asyncio.get_running_loop()
        config = self._config
        if delay:
            await asyncio.sleep(delay)
        self.refresh_error = None
        known_epoch = self.table.cluster_map.epoch if self.table else 0
        try:
            sighting = await first_sighting(
                self._pool,
                self._whom_to_ask(prefer),
                known_epoch,
                loop.time() + 2 * config.connect_timeout_ms / 1000,
                config.hedge_ms,
            )
            self._install(sighting)
        except RouterError as error:
            self.refresh_error = error
        finally:
            self._refreshed_at = loop.time()

    def _whom_to_ask(self, prefer: str) -> list[str]:
        """All known addresses, the likeliest to answer first; otherwise in random order, so that
        many clients do not all ask the same node."""
        table = self.table
        seeds = list(self._seeds)
        self._random.shuffle(seeds)
        if table is None:
            return seeds
        nodes = list(table.addresses)
        self._random.shuffle(nodes)
        nodes.sort(key=lambda address: not self._pool.is_open(address))
        return list(dict.fromkeys([prefer, *nodes, *seeds] if prefer else [*nodes, *seeds]))

    def _install(self, sighting: Sighting) -> None:
        found = sighting.cluster_map
        table = self.table
        if found is None:
            pass
        elif table is None:
            self.table = RoutingTable(found)
        elif found.cluster_id != table.cluster_map.cluster_id:
            raise WrongCluster(
                f"{sighting.address} belongs to cluster {found.cluster_id}, this client to "
                f"{table.cluster_map.cluster_id}: make a new client for the other cluster"
            )
        elif found.epoch > table.cluster_map.epoch:
            self.table = table.succeed(found)
            self._pool.retain((*self.table.addresses, *self._seeds))
        if self.table is not None:
            self.table.learn_leaders(sighting.leaders)
