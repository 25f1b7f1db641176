"""Leases of locks that are over leave through the log, and those who wait for the locks move up.

Being late costs time of those who wait. It never lets two hold a lock: who holds it is decided in
the log, by the log's time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, Result
from quorumcache.node.store.commands import OP_LOCK_EXPIRE, own_command
from quorumcache.node.store.results import removed_items
from quorumcache.node.store.store import shard_store

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.telemetry.counters import Counters

LOOK_MS: Final = 100
"""Time between two looks at all groups."""

EXPIRE_BATCH: Final = 256
"""Locks of one shard whose leases end by one log entry."""


class Leases:
    """Looks after the groups that this node leads."""

    def __init__(
        self, host: ReplicaHost, counters: Counters, on_ended: Callable[[int, bytes], None]
    ) -> None:
        """`on_ended` hears the group and the name of each lock whose leases were looked at."""
        self._host = host
        self._counters = counters
        self._on_ended = on_ended
        self._expiring: set[int] = set()
        """Groups whose last command is not committed yet."""

    def look(self) -> None:
        """Propose the end of what is over in each group, some of it at a time."""
        if self._host.disk_trouble:
            return
        for group_id, group in self._host.groups.items():
            if (
                not group.lease_until_ns
                or group_id == DIRECTORY_GROUP_ID
                or group_id in self._expiring
            ):
                continue
            locks = shard_store(group.machine).locks
            if locks:
                names = locks.due(group.now_ms(), EXPIRE_BATCH)
                if names:
                    self._submit(group, tuple(names))

    def forget(self, group_id: int) -> None:
        """The group has left this node."""
        self._expiring.discard(group_id)

    def ended(self, group_id: int, names: tuple[bytes, ...], leases: int) -> None:
        """A command was applied, and has ended so many leases."""
        self._counters.lock_leases_ended += leases
        self._expiring.discard(group_id)
        for name in names:
            self._on_ended(group_id, name)

    def _submit(self, group: ReplicaGroup, names: tuple[bytes, ...]) -> None:
        group_id = group.group_id
        self._expiring.add(group_id)
        try:
            group.submit(
                own_command(OP_LOCK_EXPIRE, names),
                sum(map(len, names)),
                _Expiring(self, group_id, names),
            )
        except BaseException:
            self.forget(group_id)  # Or its locks would never be looked at again.
            raise


class _Expiring:
    """Waiter of such a command: whatever became of it, the group may be looked at again."""

    __slots__ = ("_group_id", "_leases", "_names")

    def __init__(self, leases: Leases, group_id: int, names: tuple[bytes, ...]) -> None:
        self._leases = leases
        self._group_id = group_id
        self._names = names

    def on_result(self, result: Result) -> None:
        self._leases.ended(self._group_id, self._names, removed_items(result))

    def on_refused(self, why: str) -> None:
        self._leases.forget(self._group_id)

    def on_lost(self) -> None:
        self._leases.forget(self._group_id)
