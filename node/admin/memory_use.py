"""What a node's memory is, by what it counts itself.

Beside it a process has the interpreter, buffers, and what allocators keep: nobody counts those.
"""

from __future__ import annotations

from dataclasses import dataclass

from quorumcache.node.admin.view import ObservedNode, shard_groups
from quorumcache.node.store.item_table import slab_free_bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all replicas of one node, in bytes."""

    items: int
    tables: int
    """All of them: those of the next two lines, the order of eviction, the index of ends, locks,
    fences, transactions."""
    index: int
    """From keys to items."""
    sessions: int
    """What tells a write that comes again."""
    retired: int
    """Items that have gone and are not freed yet."""
    free: int
    """Room that slabs keep for items to come; of the whole process."""
    log: int
    """Entries of the log."""


def memory_of(node: ObservedNode) -> Memory:
    """As of now; of the tables beside index and sessions, as of their last look."""
    items = tables = index = sessions = retired = 0
    for _, _, store in shard_groups(node):
        items += store.bytes_used
        tables += store.memory_bytes - store.bytes_used
        index += store.items.memory_bytes
        sessions += store.sessions.memory_bytes
        retired += store.retired_bytes
    log = sum(group.log.log_bytes for group in node.host.groups.values())
    return Memory(items, tables, index, sessions, retired, slab_free_bytes(), log)
