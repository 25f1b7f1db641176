"""Tells those who watch of what the leaders on this node evict.

A line is made of what is known of an item when it is chosen, and written when the entry that
removes it is applied here: as the counters of evictions, at the leader that chose it. A victim that
was written anew in between stays, and is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorumcache.node.clients.events import ClientEvents
from quorumcache.node.replica.evicting import VictimLog
from quorumcache.node.state_machine import StateMachine
from quorumcache.node.store.item import ENDS, expires_at_ms, value_bytes
from quorumcache.node.store.store import ShardStore, shard_store


def victim_log(events: ClientEvents) -> VictimLog:
    """What a host calls with the victims of each entry while somebody watches evictions."""

    def chosen(machine: StateMachine, keys: Sequence[bytes]) -> Callable[[int], None]:
        store = shard_store(machine)
        facts = [_facts(store, key) for key in keys if key in store.items]

        def evicted(count: int) -> None:
            for key, size, was_hit, ttl_s, idle_s in facts:
                if count == len(facts) or key not in store.items:
                    events.evicted(key, size, was_hit, ttl_s, idle_s)

        return evicted

    return chosen


def _facts(store: ShardStore, key: bytes) -> tuple[bytes, int, bool, int, int]:
    """Key, bytes of the value, whether it was ever hit, seconds that it had left (-1: for ever),
    and since its last access; as of the shard's last batch.
    """
    item = store.items.get(key)
    assert item is not None
    now_ms = store.last_now_ms
    was_hit, last_access_s = store.hint(key)
    ttl_s = max(0, expires_at_ms(item) - now_ms) // 1000 if item[0] & ENDS else -1
    idle_s = max(0, now_ms // 1000 - last_access_s)
    return key, value_bytes(item), was_hit, ttl_s, idle_s
