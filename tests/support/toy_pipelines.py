"""Clients of a toy cluster that send writes of one shard without waiting for their answers.

Each write puts the client's next number at the end of its key's value. A key belongs to one client,
so what was executed, and in which order, is the value. Transactions of others hold the keys now and
then, and leaders are too busy now and then.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quorumcache.node.clients.order import GroupLane, RequestOrder
from quorumcache.node.consensus.values import Entry, EntryKind
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import Write, WriteOutcome
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.store.commands import OP_APPEND, OP_SET, OP_TXN_PREPARE, OP_TXN_RESOLVE
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.results import STORED
from tests.support.item_tables import item_of
from tests.support.toy_cluster import GROUP, NODES, ToyCluster, ToyNode

CLIENTS_PER_NODE = 2
DEADLINE_MS = 10_000_000


class PipelinedWrite:
    """One write of a client, from its lane to its outcome."""

    def __init__(self, client: PipelineClient, lane: GroupLane, number: int) -> None:
        self.client, self.lane, self.number = client, lane, number
        self.write: Write | None = None

    def start(self, deadline_ns: int) -> None:
        client, lane = self.client, self.lane
        args = (b"%d " % self.number,)
        started = client.node.coordinator.write(
            GROUP, OP_APPEND, client.key, args, 10, self.done, lane.last_write, None, deadline_ns
        )
        if not started.finished:
            self.write = lane.last_write = started

    def done(self, outcome: WriteOutcome) -> None:
        client, lane = self.client, self.lane
        lane.ended_write(self.write)
        client.outcomes[self.number] = outcome
        if not isinstance(outcome, Failure):
            client.order.answered(lane)
        client.order.ended(lane, True)


class PipelineClient:
    """One client of a node. Its writes have numbers in the order in which it sends them."""

    def __init__(self, node: ToyNode, number: int) -> None:
        self.node = node
        self.key = b"key-%d" % number
        context: Any = SimpleNamespace(
            coordinator=node.coordinator, leads=lambda group_id: node.group.is_leader
        )
        self.order = RequestOrder(context)
        self.sent = 0
        self.outcomes: dict[int, WriteOutcome] = {}

    def send(self) -> None:
        lane = self.order.lane_of(GROUP)
        self.order.begin(lane, True, PipelinedWrite(self, lane, self.sent).start)
        self.sent += 1

    def check(self, executed: list[int]) -> None:
        """`executed`: the numbers that its value shows."""
        assert sorted(self.outcomes) == list(range(self.sent)), "a write has no outcome"
        assert executed == sorted(set(executed)), f"{self.key!r}: {executed} in this order"
        for number, outcome in self.outcomes.items():
            if isinstance(outcome, Failure):
                assert not outcome.outcome_known or number not in executed, f"{number} was done"
            else:
                assert outcome == STORED
                assert number in executed, f"{number} was not done"


class PipelineCluster(ToyCluster):
    """See the module."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.clients = [
            PipelineClient(node, 10 * node.node_id + number)
            for node in self.nodes.values()
            for number in range(CLIENTS_PER_NODE)
        ]
        found = [(0, 0, 0, OP_SET, each.key, wire_data(0, b" "), 0) for each in self.clients]
        self.entries.append(Entry(2, 0, int(EntryKind.NORMAL), encode_batch(1000, found)))
        self.committed = 2
        self.transactions = 0
        self.prepared: list[bytes] = []
        self.busy = self.random.choice((0.0, 0.0, 0.1))

    # -- what may happen -------------------------------------------------------------------------

    def send(self) -> None:
        """A client sends some writes at once."""
        client = self.random.choice(self.clients)
        for _ in range(self.random.choice((1, 2, 5, 12))):
            client.send()

    def turn(self) -> None:
        """A node's turn ends."""
        self.nodes[self.random.choice(NODES)].end_turn()

    def _step(self, op: int, txn: bytes, *args: Any) -> None:
        self.started += 1
        node = self.nodes[self.random.choice(NODES)]
        node.coordinator.write(GROUP, op, b"", (txn, *args), 10, self._stepped)

    def _stepped(self, outcome: WriteOutcome) -> None:
        self.started -= 1

    def hold(self) -> None:
        """A transaction asks to hold the key of a client."""
        self.transactions += 1
        txn = self.transactions.to_bytes(16, "big")
        self.prepared.append(txn)
        key = self.random.choice(self.clients).key
        write = (key, OP_SET, wire_data(0, b"never"), 0)
        self._step(OP_TXN_PREPARE, txn, 9, DEADLINE_MS, (), (write,))

    def free(self) -> None:
        """One is given up."""
        if self.prepared:
            txn = self.prepared.pop(self.random.randrange(len(self.prepared)))
            self._step(OP_TXN_RESOLVE, txn, DEADLINE_MS, 0)

    def settle(self) -> None:
        self.busy = 0.0
        while self.prepared:
            self.free()
        super().settle()

    def unfinished(self) -> int:
        return super().unfinished() + sum(each.sent - len(each.outcomes) for each in self.clients)

    # -- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        table = self.nodes[1].group.machine.items  # type: ignore[attr-defined]
        for client in self.clients:
            shown = item_of(table, client.key).split(b"\r\n")[1]
            client.check([int(number) for number in shown.split()])
