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
from quorumcache.node.housekeeping.rest import Rest
from quorumcache.node.housekeeping.snapshots import Snapshots

if TYPE_CHECKING:
    from quorumcache.node.housekeeping.fitness import Fitness
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.replica.memory_room import MemoryRoom
    from quorumcache.node.settings.config import NodeConfig
    from quorumcache.node.storage.snapshots import SnapshotStore
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal


def _nothing() -> None:
    """Where nobody else needs the memory."""


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
        stand_in: Callable[[int], int],
        is_up: Callable[[int], bool],
        fitness: Fitness,
        memory: MemoryRoom,
        give_back: Callable[[], None] = _nothing,
        interval: float = 0.5,
    ) -> None:
        """`give_back`: return free memory to the system, which takes a while."""
        self._host = host
        self._interval = interval
        self._rest = Rest(counters, give_back)
        self.expiry = Expiry(host, counters, session_idle_ms=config.session_idle_ms)
        self.evictions = Evictions(host)
        self.leadership = Leadership(
            host,
            node_id=node_id,
            election_ms=config.election_ms,
            preferred_leader=preferred_leader,
            stand_in=stand_in,
            is_up=is_up,
            fitness=fitness,
        )
        self.snapshots = Snapshots(
            host,
            wal,
            snapshots,
            counters,
            memory=memory,
            log_memory_bytes=config.log_memory_bytes,
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
                self._rest.look()
                await self.snapshots.take_due()  # On a full disk, too: it is what makes room there.
