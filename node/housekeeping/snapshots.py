"""Which groups are snapshotted, and when: their logs give memory and segments back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumcache.node.errors import DiskRefused
from quorumcache.node.replica.snapshotting import KEEP_ENTRIES, snapshot_of
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.consensus.values import SnapshotMeta, SnapshotSource
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.replica.memory_room import MemoryRoom
    from quorumcache.node.storage.snapshots import SnapshotStore
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal

log = get_logger("housekeeper")

LOG_BYTES_MIN = 64 << 20
"""Where no `log-memory` is set, entries of all groups may take so much memory, or a quarter of what
the items may take if that is more; beyond it the largest logs are snapshotted first."""

HELD_FACTOR = 2
"""Where entries that no snapshot covers take this many times what all may, nothing is proposed here
until they take less: the snapshots that free them do not keep up."""

KEPT_PARTS = 64
"""Of entries that a snapshot covers, so many are kept as make one part of so many of the state: to
send more of them to a replica saves too little against a snapshot."""

REST_PASSES = 10
REST_BYTES_MIN = 64 << 10
"""A group to which nothing was applied for so many passes gives back a log of at least this
size.
"""


class Snapshots:
    """Snapshots of the groups of this node, one after the other."""

    def __init__(
        self,
        host: ReplicaHost,
        wal: Wal | MemoryWal,
        store: SnapshotStore | None,
        counters: Counters,
        *,
        memory: MemoryRoom,
        log_memory_bytes: int,
        snapshot_bytes_min: int,
    ) -> None:
        """`log_memory_bytes`: what entries of all groups may take; 0 = see `LOG_BYTES_MIN`."""
        self._host = host
        self._wal = wal
        self._store = store
        self._counters = counters
        self._memory = memory
        self._log_memory_bytes = log_memory_bytes
        self._snapshot_bytes_min = snapshot_bytes_min
        self._resting: dict[int, tuple[int, int]] = {}
        """Group to its applied index, and passes since that last moved."""
        self._kept: dict[int, int] = {}
        """Group to the index up to which a snapshot covers its log, while more of the log is kept
        for replicas that are catching up."""

    async def take_due(self) -> None:
        """Snapshot the groups whose log has grown enough, one after the other.

        Every snapshot costs the log some syncs, so under load they wait until they free a good
        piece of memory; a group that has come to rest gives back what little it holds.
        """
        self._let_go()
        pinned = set(self._wal.pinned_groups())
        least = self._snapshot_bytes_min
        in_memory_max = self.log_bytes_max
        groups = sorted(
            self._host.groups.values(), key=lambda g: g.log_bytes_since_snapshot, reverse=True
        )
        in_memory = sum(group.log.log_bytes for group in groups)
        # Only what snapshots are going to free: what is kept behind them would hold it for ever.
        to_free = sum(group.log_bytes_since_snapshot for group in groups)
        self._host.set_log_full(to_free > HELD_FACTOR * in_memory_max)
        rested = 0
        for group in groups:
            if group.is_removed or group.installing:
                continue
            if group.applied_index + 1 < group.log.first_index:
                continue  # Its leader's snapshot has come, and is installed at the next turn.
            if group.applied_index <= group.snapshot_index:
                if in_memory > in_memory_max and group.log.first_index <= group.snapshot_index:
                    in_memory -= self._free(group, group.snapshot_index)
                continue
            grown = group.log_bytes_since_snapshot
            at_rest = self._is_at_rest(group) and grown >= REST_BYTES_MIN and not rested
            if (
                grown >= max(least, group.machine.bytes_used // 2)
                or in_memory > in_memory_max
                or group.group_id in pinned
                or at_rest
            ):
                rested += at_rest
                before = group.log.log_bytes
                if not await self._snapshot(group):
                    return  # The next one would not fare better; the next pass tries again.
                if in_memory > in_memory_max and group.log.first_index <= group.snapshot_index:
                    self._free(group, group.snapshot_index)
                in_memory -= before - group.log.log_bytes

    def _free(self, group: ReplicaGroup, index: int) -> int:
        """Drop the log up to `index`, which a snapshot covers; the bytes that it took."""
        before = group.log.log_bytes
        self._compact(group, index)
        return before - group.log.log_bytes

    def forget(self, group_id: int) -> None:
        """The group has left this node."""
        self._resting.pop(group_id, None)
        self._kept.pop(group_id, None)

    def _is_at_rest(self, group: ReplicaGroup) -> bool:
        """Nothing was applied to the group for a while."""
        index, passes = self._resting.get(group.group_id, (-1, 0))
        passes = passes + 1 if index == group.applied_index else 0
        self._resting[group.group_id] = (group.applied_index, passes)
        return passes >= REST_PASSES

    async def _snapshot(self, group: ReplicaGroup) -> bool:
        """Write the group's state as of now, and drop the log that it covers. False: no room."""
        grown = group.log_bytes_since_snapshot
        meta = group.log.snapshot_meta(group.applied_index)
        if self._store is not None:
            source = await snapshot_of(self._host.loop, group)
            if group.is_removed:
                return True  # The file would come behind its deletion.
            if _has_newer(group, meta):
                return True  # The store would refuse this one, which is no failure.
            error = await self._saved(group, source)
            if error is not None:
                if not self._host.disk_trouble:  # Else somebody was told already.
                    event(log, "error", "snapshot_failed", group=group.group_id, why=error)
                return not isinstance(error, DiskRefused)
        if group.is_removed:
            return True  # The log may know nothing of the group any more, and has to stay so.
        if _has_newer(group, meta):
            return True
        self._counters.snapshots_taken += 1
        group.snapshot_index = meta.last_index
        group.log_bytes_since_snapshot -= grown
        self._wal.compacted(group.group_id, meta.last_index, meta.last_term)
        keep = KEEP_ENTRIES if len(group.log.configuration.members()) > 1 else 0
        first = group.log.first_index
        if meta.last_index - keep >= first:
            self._compact(group, meta.last_index - keep)
        kept_max = max(REST_BYTES_MIN, group.machine.bytes_used // KEPT_PARTS)
        if (
            group.log.log_bytes > min(kept_max, self._snapshot_bytes_min)
            and meta.last_index >= first
        ):
            self._compact(group, meta.last_index)
        return True

    def _compact(self, group: ReplicaGroup, index: int) -> None:
        """Drop the log up to `index`, which a snapshot covers.

        Without what is kept for replicas that are catching up, each would need another snapshot
        the moment it has one, for as long as writes go on. All groups together keep half of what
        their logs may take in memory: beyond it a replica has to wait for a quieter time.
        """
        self._kept.pop(group.group_id, None)
        groups = self._host.groups
        kept = sum(groups[other].log.log_bytes for other in self._kept if other in groups)
        group.log.compact(index, max(0, self.log_bytes_max // 2 - kept))
        if group.log.first_index <= index:
            self._kept[group.group_id] = index

    def _let_go(self) -> None:
        """Drop what was kept for a replica that has it by now, or has gone."""
        for group_id, index in list(self._kept.items()):
            group = self._host.groups.get(group_id)
            if group is None or group.log.first_index > index:
                del self._kept[group_id]
            else:
                self._compact(group, index)

    @property
    def log_bytes_max(self) -> int:
        """What the entries of all groups may take in memory."""
        return self._log_memory_bytes or max(LOG_BYTES_MIN, self._memory.memory_bytes // 4)

    async def _saved(self, group: ReplicaGroup, source: SnapshotSource) -> BaseException | None:
        """Make a snapshot durable; what kept it from being so, or None."""
        assert self._store is not None
        saved: asyncio.Future[BaseException | None] = self._host.loop.create_future()

        def done(error: BaseException | None) -> None:
            if not saved.done():  # A node that stops does not wait for it.
                saved.set_result(error)

        self._store.save(group.group_id, source.meta, source.pieces, done)
        return await saved


def _has_newer(group: ReplicaGroup, meta: SnapshotMeta) -> bool:
    """Whether a newer snapshot than this own one has come from the leader meanwhile."""
    return group.installing or group.snapshot_index >= meta.last_index
