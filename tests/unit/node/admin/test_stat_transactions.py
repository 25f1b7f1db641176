"""Goal: `stats transactions` tells of this node's commits, and of what its shards hold."""

from __future__ import annotations

from quorumcache.node.admin.stat_transactions import held
from quorumcache.node.admin.stats import stats_reply
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.results import TXN_ABORTED, TXN_COMMITTED
from quorumcache.node.store.transactions import Prepared
from tests.support.fake_node import FakeNode


def told(node: FakeNode) -> dict[str, str]:
    reply = stats_reply(node, (b"transactions",)).decode()
    assert reply.endswith("END\r\n")
    return dict(line.split()[1:] for line in reply.splitlines()[:-1])


def test_what_a_node_tells() -> None:
    node = FakeNode()
    node.counters.transactions_begun = 9
    node.counters.transactions_committed = 4
    node.counters.transactions_conflicts = 3
    node.counters.transactions_aborted = 2
    node.counters.transactions_in_doubt = 1
    node.counters.transactions_recovered = 6
    node.counters.hold_waits = 7
    node.commits.under_way = 5
    node.commits.resolving = 8
    node.commits.waiting_at_holds = 10
    # Shard 1 is led here, shard 0 is not: its leader tells of it.
    for shard in (0, 1):
        table = node.store(shard).transactions
        write = (b"k", OP_SET, b" 0 1\r\nx\r\n", 0)
        table.hold(b"1" * 16, Prepared(1, 5_000, 1_000, (b"read",), (write, (b"d", OP_DELETE))))
        table.decide(b"2" * 16, TXN_COMMITTED, 5_000, 1_000, (3,))
        table.decide(b"3" * 16, TXN_ABORTED, 5_000, 1_000)
        table.finish(b"4" * 16, 5_000, 1_000)
    assert told(node) == {
        "begun": "9",
        "committed": "4",
        "conflicts": "3",
        "aborted": "2",
        "in_doubt": "1",
        "recovered": "6",
        "under_way": "5",
        "resolving": "8",
        "hold_waits": "7",
        "hold_waiting": "10",
        "held:transactions": "1",
        "held:keys": "3",
        "held:bytes": str(held(node).bytes),
        "records": "2",
        "records:unresolved": "1",
        "finished": "1",
    }
    assert held(node).bytes > 0
