"""Regular work of a node on its groups: snapshots, expiry, delayed flushes, old sessions, leaders.

Everything here proposes through the log or rests on what the log has committed; being late with any
of it costs memory or balance, never correctness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.values import PeerStatus, Role, Snapshot
from quorumcache.node.errors import DiskRefused
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import OP_EXPIRE, OP_SESSION_EXPIRE, OP_TICK
from quorumcache.node.store.results import removed_items
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.config import NodeConfig
    from quorumcache.node.storage.snapshots import SnapshotStore
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal

log = get_logger("housekeeper")

EXPIRE_BATCH = 256
"""Items of one shard removed by one log entry of the sweep."""

KEEP_ENTRIES = 256
"""Entries kept in memory behind a snapshot, for followers that are a little behind."""

LOG_BYTES_MIN = 64 << 20
"""Entries of all groups may take so much memory, or a quarter of what the items may take if that is
more; beyond it the largest logs are snapshotted first."""

REST_PASSES = 10
REST_BYTES_MIN = 64 << 10
"""A group to which nothing was applied for so many passes gives back a log of at least this
size.
"""

TRANSFERS_AT_ONCE_MAX = 4
"""Leaderships handed to their preferred nodes per pass, so that a returning node is not flooded."""

STEADY_PASSES = 3
"""A preferred leader gets its shard back when it has kept up for so many passes."""

RETURN_DOUBLINGS_MAX = 5
"""After each hand-back that failed, twice as many passes as before, so often (48 s): every attempt
keeps writes waiting for an election timeout, and may cost a term."""

SLOW_PASSES = 3
"""A leader that has had no lease for so many passes, though all voters answer, has slow links."""

SLOW_REST_PASSES = 20
"""After it has handed a group over for that, it keeps it for so many passes, and twice as many each
further time: if all links are slow, no other would lead better."""
SLOW_DOUBLINGS_MAX = 6


class Housekeeper:
    """One pass per `interval` seconds over all groups."""

    def __init__(
        self,
        *,
        node_id: int,
        config: NodeConfig,
        loop: asyncio.AbstractEventLoop,
        host: ReplicaHost,
        wal: Wal | MemoryWal,
        snapshots: SnapshotStore | None,
        counters: Counters,
        preferred_leader: Callable[[int], int],
        is_up: Callable[[int], bool],
        interval: float = 0.5,
    ) -> None:
        self._node_id = node_id
        self._config = config
        self._loop = loop
        self._host = host
        self._wal = wal
        self._snapshots = snapshots
        self._counters = counters
        self._preferred_leader = preferred_leader
        self._is_up = is_up
        self._interval = interval
        self._steady: dict[int, int] = {}
        """Group led here to the passes for which its preferred leader has kept up."""
        self._returned: dict[int, int] = {}
        """Group to how often it was handed to its preferred leader, which did not lead it since."""
        self._slow: dict[int, int] = {}
        """Group led here to the passes for which its leader has been too slow; less than 0 while it
        is kept all the same."""
        self._handed_over: dict[int, int] = {}
        """Group to how often it was handed over because of slow links."""
        self._resting: dict[int, tuple[int, int]] = {}
        """Group to its applied index, and passes since that last moved."""
        self._expiring: set[int] = set()
        """Groups whose last sweep is not committed yet."""
        self._kept: dict[int, int] = {}
        """Group to the index up to which a snapshot covers its log, while more of the log is kept
        for replicas that are catching up."""

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if not self._host.disk_trouble:
                self._sweep()
                self._hand_over_slow()
                self._return_leaders()
            if not self._host.disk_hangs:
                await self._snapshot_due()  # On a full disk, too: it is what makes room there.

    # -- expiry ------------------------------------------------------------------------

    def _sweep(self) -> None:
        for group in self._host.groups.values():
            store = group.machine
            if not group.lease_until_ns or not isinstance(store, ShardStore):
                continue
            if group.group_id in self._expiring:
                continue
            now_ms = group.now_ms()
            if store.flush_due(now_ms):
                self._submit(group, (0, 0, 0, OP_TICK, b""))
                continue
            due = store.due_expirations(now_ms, EXPIRE_BATCH)
            if due:
                self._submit(group, (0, 0, 0, OP_EXPIRE, b"", tuple(due)))
                continue
            idle_ms = self._config.session_idle_ms
            old = store.expired_sessions(now_ms, idle_ms)
            if old:
                self._submit(group, (0, 0, 0, OP_SESSION_EXPIRE, b"", tuple(old), idle_ms))

    def _submit(self, group: ReplicaGroup, command: tuple[object, ...]) -> None:
        sweep = _Sweep(self._expiring, group.group_id, self._counters)
        self._expiring.add(group.group_id)
        try:
            group.submit(command, 0, sweep)
        except BaseException:
            sweep.on_lost()  # Or the group would never be swept again.
            raise

    # -- leaders -----------------------------------------------------------------------

    def _hand_over_slow(self) -> None:
        """Give away what is led here over links too slow for a lease: every read and write takes
        several of their round trips, while other voters may be close to each other.
        """
        for group_id, group in self._host.groups.items():
            passes = self._slow.get(group_id, 0)
            if passes < 0:
                self._slow[group_id] = passes + 1
                continue
            if group.log.role is not Role.LEADER or group.has_lease():
                self._slow.pop(group_id, None)
                continue
            status = group.log.progress()
            others = [v for v in group.log.configuration.voters if v != self._node_id]
            if len(others) < 2 or not all(
                v in status and status[v].recent_active and self._is_up(v) for v in others
            ):
                self._slow.pop(group_id, None)  # Its links are not slow, but cut.
                continue
            self._slow[group_id] = passes + 1
            if passes + 1 >= SLOW_PASSES:
                times = self._handed_over.get(group_id, 0)
                self._handed_over[group_id] = min(times + 1, SLOW_DOUBLINGS_MAX)
                self._slow[group_id] = -(SLOW_REST_PASSES << times)
                target = max(others, key=lambda v: (status[v].match_index, -v))
                event(log, "info", "slow_leader", group=group_id, to=target)
                self.transfer(group, target)

    def _is_near(self, status: PeerStatus) -> bool:
        """Do its answers come soon enough for a lease?"""
        age_ns = self._host.clock.monotonic_ns() - status.echo_ns
        return age_ns < self._config.election_ms * 1_000_000

    def _return_leaders(self) -> None:
        """Hand shards back to their preferred leaders once these have kept up for a while."""
        transfers = 0
        for group_id, group in self._host.groups.items():
            if group.log.role is not Role.LEADER or group_id == 0:
                self._steady.pop(group_id, None)
                if group.log.leader_id:
                    self._returned.pop(group_id, None)
                continue
            wanted = self._preferred_leader(group_id)
            if not self._is_up(wanted):
                self._returned.pop(group_id, None)  # It comes back as another, perhaps mended.
            log_ = group.log
            status = log_.progress().get(wanted) if wanted != self._node_id else None
            if (
                status is None
                or wanted not in log_.configuration.voters
                or not self._is_up(wanted)
                or not status.recent_active
                or not self._is_near(status)
                or status.match_index + KEEP_ENTRIES < log_.last_index
            ):
                self._steady.pop(group_id, None)
                continue
            passes = self._steady[group_id] = self._steady.get(group_id, 0) + 1
            times = self._returned.get(group_id, 0)
            if passes > STEADY_PASSES << times and transfers < TRANSFERS_AT_ONCE_MAX:
                transfers += 1
                self._returned[group_id] = min(times + 1, RETURN_DOUBLINGS_MAX)
                self._steady.pop(group_id, None)
                self.transfer(group, wanted)

    def transfer(self, group: ReplicaGroup, to: int) -> None:
        """Begin to hand leadership over; nothing happens if it cannot be."""
        try:
            group.log.transfer_leadership(to)
            group.update_lease()  # Gone at once: no read may follow the successor's TimeoutNow.
        except ConsensusError as error:
            event(log, "debug", "transfer_refused", group=group.group_id, to=to, why=error)
        self._host.mark_dirty(group)

    # -- snapshots ---------------------------------------------------------------------

    async def _snapshot_due(self) -> None:
        """Snapshot the groups whose log has grown enough, one after the other.

        Every snapshot costs the log some syncs, so under load they wait until they free a good
        piece of memory; a group that has come to rest gives back what little it holds.
        """
        self._let_go()
        pinned = set(self._wal.pinned_groups())
        least = self._config.snapshot_bytes_min
        in_memory_max = self._log_bytes_max()
        groups = sorted(
            self._host.groups.values(), key=lambda g: g.log_bytes_since_snapshot, reverse=True
        )
        in_memory = sum(group.log.log_bytes for group in groups)
        rested = 0
        for group in groups:
            if group.installing or group.applied_index <= group.snapshot_index:
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
                in_memory -= before - group.log.log_bytes

    def _is_at_rest(self, group: ReplicaGroup) -> bool:
        """Nothing was applied to the group for a while."""
        index, passes = self._resting.get(group.group_id, (-1, 0))
        passes = passes + 1 if index == group.applied_index else 0
        self._resting[group.group_id] = (group.applied_index, passes)
        return passes >= REST_PASSES

    async def _snapshot(self, group: ReplicaGroup) -> bool:
        """Write the group's state as of now, and drop the log that it covers. False: no room."""
        machine = group.machine
        meta = group.log.snapshot_meta(group.applied_index)
        grown = group.log_bytes_since_snapshot
        if self._snapshots is not None:
            view = machine.view()
            chunks: list[bytes] = []
            for chunk in machine.encode_view(view):
                chunks.append(chunk)
                await asyncio.sleep(0)
            error = await self._saved(group, Snapshot(meta, b"".join(chunks)))
            if error is not None:
                if not self._host.disk_trouble:  # Else somebody was told already.
                    event(log, "error", "snapshot_failed", group=group.group_id, why=error)
                return not isinstance(error, DiskRefused)
        if group.installing or group.snapshot_index >= meta.last_index:
            return True  # A newer one came from the leader meanwhile.
        self._counters.snapshots_taken += 1
        group.snapshot_index = meta.last_index
        group.log_bytes_since_snapshot -= grown
        self._wal.compacted(group.group_id, meta.last_index, meta.last_term)
        keep = KEEP_ENTRIES if len(group.log.configuration.members()) > 1 else 0
        first = group.log.first_index
        if meta.last_index - keep >= first:
            self._compact(group, meta.last_index - keep)
        if group.log.log_bytes > self._config.snapshot_bytes_min and meta.last_index >= first:
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
        group.log.compact(index, max(0, self._log_bytes_max() // 2 - kept))
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

    def _log_bytes_max(self) -> int:
        return max(LOG_BYTES_MIN, self._config.memory_bytes // 4)

    async def _saved(self, group: ReplicaGroup, snapshot: Snapshot) -> BaseException | None:
        """Make a snapshot durable; what kept it from being so, or None."""
        assert self._snapshots is not None
        saved: asyncio.Future[BaseException | None] = self._loop.create_future()

        def done(error: BaseException | None) -> None:
            if not saved.done():  # A node that stops does not wait for it.
                saved.set_result(error)

        self._snapshots.save(group.group_id, snapshot, done)
        return await saved


class _Sweep:
    """Waiter of a sweep's command: whatever became of it, the group may be swept again."""

    __slots__ = ("_counters", "_expiring", "_group_id")

    def __init__(self, expiring: set[int], group_id: int, counters: Counters) -> None:
        self._counters = counters
        self._expiring = expiring
        self._group_id = group_id

    def on_result(self, result: Result) -> None:
        self._counters.reclaimed += removed_items(result)
        self._expiring.discard(self._group_id)

    def on_refused(self, why: str) -> None:
        self._expiring.discard(self._group_id)

    def on_lost(self) -> None:
        self._expiring.discard(self._group_id)
