"""What `run` measures beside the named workloads: locks and transactions, by their names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quorumcache.bench import locks, transactions
from quorumcache.bench.cluster import Target
from quorumcache.bench.goals import Goal
from quorumcache.bench.report import Table

LOCKS, TRANSACTIONS = "locks", "transactions"
CONTENDED = {
    LOCKS: "locks that are free, beside a set, and locks that many want",
    TRANSACTIONS: "transactions alone, beside a set, and many that want the same keys",
}
"""Only the flags of the cluster and the measured time count for them."""


def measure_contended(
    name: str, target: Target, *, seconds: float, say: Callable[[str], None]
) -> tuple[Table, list[Goal]]:
    """Measure one of CONTENDED on the started `target`: each row for about `seconds`."""
    if name == LOCKS:
        found, many = asyncio.run(locks.measure_locks(target, seconds=seconds, say=say))
        return locks.locks_table(found, many), locks.goals(found)
    measuring = transactions.measure_transactions(target, seconds=seconds, say=say)
    found, many = asyncio.run(measuring)
    return transactions.transactions_table(found, many), transactions.goals(found)
