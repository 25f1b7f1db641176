"""Regular work of a node on its groups: snapshots, expiry, delayed flushes, old sessions, leaders.

Everything here proposes through the log or rests on what the log has committed; being late with any
of it costs memory or balance, never correctness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumcache.node.housekeeping.evictions import Evictions
from quorumcache.node.housekeeping.expiry import Expiry
from quorumcache.node.housekeeping.leadership import Leadership
from quorumcache.node.housekeeping.snapshots import Snapshots

if TYPE_CHECKING:
    from quorumcache.node.housekeeping.fitness import Fitness
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.settings.config import NodeConfig
    from quorumcache.node.storage.snapshots import SnapshotStore
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal


class Housekeeper:
    """One pass per `interval` seconds over all groups."""

    def __init__(
        self,
        *,
        node_id: int,
        config: NodeConfig,
        host: ReplicaHost,
        wal: Wal | MemoryWal,
        snapshots: SnapshotStore | None,
        counters: Counters,
        preferred_leader: Callable[[int], int],
        is_up: Callable[[int], bool],
        fitness: Fitness,
        interval: float = 0.5,
    ) -> None:
        self._host = host
        self._interval = interval
        self.expiry = Expiry(host, counters, session_idle_ms=config.session_idle_ms)
        self.evictions = Evictions(host)
        self.leadership = Leadership(
            host,
            node_id=node_id,
            election_ms=config.election_ms,
            preferred_leader=preferred_leader,
            is_up=is_up,
            fitness=fitness,
        )
        self.snapshots = Snapshots(
            host,
            wal,
            snapshots,
            counters,
            memory_bytes=config.memory_bytes,
            snapshot_bytes_min=config.snapshot_bytes_min,
        )

    def forget(self, group_id: int) -> None:
        """The group has left this node: one of the same number that comes later is another."""
        self.expiry.forget(group_id)
        self.evictions.forget(group_id)
        self.leadership.forget(group_id)
        self.snapshots.forget(group_id)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if not self._host.disk_trouble:
                self.expiry.sweep()
                self.evictions.sweep()
                self.leadership.hand_over_slow()
                self.leadership.return_to_preferred()
            if not self._host.disk_hangs:
                await self.snapshots.take_due()  # On a full disk, too: it is what makes room there.
