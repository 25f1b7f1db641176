"""`stats transactions`: commits that clients sent to this node, and what the shards that it leads
hold for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from quorumcache.node.admin.view import ObservedNode, shard_groups


class Held(NamedTuple):
    """What transactions hold in the shards that a node leads."""

    prepared: int = 0
    keys: int = 0
    bytes: int = 0
    records: int = 0
    unresolved: int = 0
    finished: int = 0


def held(node: ObservedNode) -> Held:
    """See `Held`. The followers of a shard hold the same."""
    tables = [
        store.transactions
        for _, group, store in shard_groups(node)
        if group.leader_id == node.node_id
    ]
    return Held(
        prepared=sum(len(table.prepared) for table in tables),
        keys=sum(len(table.holds) for table in tables),
        bytes=sum(table.bytes_used for table in tables),
        records=sum(len(table.records) for table in tables),
        unresolved=sum(len(table.unresolved) for table in tables),
        finished=sum(len(table.finished) for table in tables),
    )


def transactions(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats transactions`."""
    counters, now = node.counters, node.commits
    yield "begun", counters.transactions_begun
    yield "committed", counters.transactions_committed
    yield "conflicts", counters.transactions_conflicts
    yield "aborted", counters.transactions_aborted
    yield "in_doubt", counters.transactions_in_doubt
    yield "recovered", counters.transactions_recovered
    yield "under_way", now.under_way
    yield "resolving", now.resolving
    yield "hold_waits", counters.hold_waits
    yield "hold_waiting", now.waiting_at_holds
    found = held(node)
    yield "held:transactions", found.prepared
    yield "held:keys", found.keys
    yield "held:bytes", found.bytes
    yield "records", found.records
    yield "records:unresolved", found.unresolved
    yield "finished", found.finished
