"""`stats locks`: our own section, in the form of memcached's.

Locks are told by the node that leads their shard, so the sum over all nodes counts each once.
"""

from __future__ import annotations

from collections.abc import Iterator

from quorumcache.node.admin.view import ObservedNode, shard_groups

_COUNTERS = (
    "locks_acquired",
    "locks_released",
    "lock_waits_over",
    "lock_leases_ended",
    "fences_refused",
)


def locks(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats locks`."""
    count = holders = waiters = fenced = guarded = newest = 0
    for _, group, store in shard_groups(node):
        if group.leader_id == node.node_id:
            count += len(store.locks)
            holders += store.locks.holders
            waiters += store.locks.waiters
            fenced += len(store.fences.seen)
            guarded += len(store.fences.guards)
            newest = max(newest, store.locks.last_token)
    yield "locks", count
    yield "lock_holders", holders
    yield "lock_waiters", waiters
    yield "lock_waits_kept", node.lock_waits_kept
    yield "newest_token", newest
    yield "fenced_locks", fenced
    yield "guarded_keys", guarded
    for name in _COUNTERS:
        yield name, getattr(node.counters, name)
