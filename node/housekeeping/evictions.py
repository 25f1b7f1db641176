"""Evicts where a shard takes more than its share and no write comes along to say so.

The share has become smaller: another shard grows, a node of the replica set has less memory than
before its restart, or an operator has lowered it. Writes carry their own victims
(`replica/evicting.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.replica.evicting import EvictionWaiter, entry_bytes, excess, memory_ahead

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.state_machine import Eviction, Result


class Evictions:
    """Sweeps the groups that this node leads."""

    def __init__(self, host: ReplicaHost) -> None:
        self._host = host
        self._evicting: set[int] = set()
        """Groups whose last entry of victims is not committed yet."""

    def sweep(self) -> None:
        """Propose victims in each group that takes more than its share."""
        for group in self._host.groups.values():
            group.machine.tick(group.now_ms())
            if group.lease_until_ns and group.group_id not in self._evicting:
                self.go_on(group)

    def go_on(self, group: ReplicaGroup) -> None:
        """Propose one entry of victims, if the group has too much. The next one follows when it was
        applied: so a shard shrinks as fast as its log allows, and never has two of them under way.
        """
        if not group.evicts:
            return
        over = memory_ahead(group.machine, group.growing_bytes) - group.share_bytes
        if over > 0 and self._host.borrow is not None:
            self._host.borrow(group, over)  # The nodes may not have seen yet what it holds.
        eviction = excess(group.machine, group.share_bytes, group.growing_bytes)
        if eviction is None:
            return
        waiter = _Sweep(self, group, eviction)
        self._evicting.add(group.group_id)
        try:
            group.submit(eviction.command, entry_bytes(eviction), waiter)
        except BaseException:
            waiter.on_lost()  # Or the group would never be swept again.
            raise

    def ended(self, group: ReplicaGroup) -> None:
        """The last entry of the group is applied, refused or lost."""
        self._evicting.discard(group.group_id)

    def forget(self, group_id: int) -> None:
        """The group has left this node."""
        self._evicting.discard(group_id)


class _Sweep(EvictionWaiter):
    """Waiter of a sweep's victims: whatever became of them, the group may be swept again."""

    __slots__ = ("_evictions", "_group")

    def __init__(self, evictions: Evictions, group: ReplicaGroup, eviction: Eviction) -> None:
        super().__init__(group.machine, group.host.counters, eviction, group.host.victim_log)
        self._group = group
        self._evictions = evictions

    def on_result(self, result: Result) -> None:
        super().on_result(result)
        self._evictions.ended(self._group)
        self._evictions.go_on(self._group)

    def on_refused(self, why: str) -> None:
        super().on_refused(why)
        self._evictions.ended(self._group)

    def on_lost(self) -> None:
        super().on_lost()
        self._evictions.ended(self._group)
