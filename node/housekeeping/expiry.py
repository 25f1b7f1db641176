"""What ends by itself leaves through the log: items, delayed flushes, idle sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import (
    OP_DROP_PIECES,
    OP_EXPIRE,
    OP_SESSION_EXPIRE,
    OP_TICK,
)
from quorumcache.node.store.results import removed_items
from quorumcache.node.store.store import shard_store

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.telemetry.counters import Counters

UPLOAD_IDLE_MS = 60_000
"""A large value of which no piece has come for so long is given up, and what is there of it is
dropped. A client that is alive sends more in that time (`slow-client-ms` is as long); one whose
node was killed never will."""

EXPIRE_BATCH = 256
"""Items of one shard removed by one log entry of the sweep."""


class Expiry:
    """Sweeps the groups that this node leads. Being late costs memory: no client is shown an ended
    item.
    """

    def __init__(self, host: ReplicaHost, counters: Counters, *, session_idle_ms: int) -> None:
        self._host = host
        self._counters = counters
        self._session_idle_ms = session_idle_ms
        self._expiring: set[int] = set()
        """Groups whose last sweep is not committed yet."""

    def sweep(self) -> None:
        """Propose what is due in each group, some of it at a time."""
        for group in self._host.groups.values():
            if not group.lease_until_ns or group.group_id in self._expiring:
                continue
            machine = group.machine
            now_ms = group.now_ms()
            if machine.flush_due(now_ms):
                self._submit(group, (0, 0, 0, OP_TICK, b""))
                continue
            due = machine.due_expirations(now_ms, EXPIRE_BATCH)
            if due:
                hint = shard_store(machine).hint
                unfetched = sum(not hint(key)[0] for key, _ in due)
                self._submit(group, (0, 0, 0, OP_EXPIRE, b"", tuple(due)), unfetched)
                continue
            idle_ms = self._session_idle_ms
            old = machine.expired_sessions(now_ms, idle_ms)
            if old:
                self._submit(group, (0, 0, 0, OP_SESSION_EXPIRE, b"", tuple(old), idle_ms))
                continue
            for upload_id in machine.idle_uploads(now_ms, UPLOAD_IDLE_MS):
                drop = (0, 0, 0, OP_DROP_PIECES, b"", upload_id, UPLOAD_IDLE_MS)
                self._submit(group, drop)
                break

    def forget(self, group_id: int) -> None:
        """The group has left this node."""
        self._expiring.discard(group_id)

    def _submit(self, group: ReplicaGroup, command: tuple[object, ...], unfetched: int = 0) -> None:
        sweep = _Sweep(self._expiring, group.group_id, self._counters, unfetched)
        self._expiring.add(group.group_id)
        try:
            group.submit(command, 0, sweep)
        except BaseException:
            sweep.on_lost()  # Or the group would never be swept again.
            raise


class _Sweep:
    """Waiter of a sweep's command: whatever became of it, the group may be swept again."""

    __slots__ = ("_counters", "_expiring", "_group_id", "_unfetched")

    def __init__(
        self, expiring: set[int], group_id: int, counters: Counters, unfetched: int
    ) -> None:
        """`unfetched`: how many of the items that it removes were never hit."""
        self._unfetched = unfetched
        self._counters = counters
        self._expiring = expiring
        self._group_id = group_id

    def on_result(self, result: Result) -> None:
        removed = removed_items(result)
        self._counters.reclaimed += removed
        self._counters.expired_unfetched += min(self._unfetched, removed)
        self._expiring.discard(self._group_id)

    def on_refused(self, why: str) -> None:
        self._expiring.discard(self._group_id)

    def on_lost(self) -> None:
        self._expiring.discard(self._group_id)
