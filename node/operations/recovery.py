"""What coordinators of transactions have left behind, finished by the leaders of the groups.

A coordinator may die, or be cut off, after any step of `transactions.py`. Whoever leads a group
looks for two things that have stayed for longer than any run needs:

 - a transaction that is prepared here: the leader asks the record's group for an abort. That
   answers what was decided, and decides so unless it was: then the transaction is resolved here;
 - a commit recorded here whose participants have not all heard of it: they are told, all of them,
   and once all have heard it is forgotten.

Each group does its part by itself, so no transaction stays as long as the groups that it concerns
have their majorities. Doing any of it twice, or at two nodes at once, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import WriteOutcome
from quorumcache.node.operations.transactions import STEP_BYTES
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.commands import OP_TXN_ABORT, OP_TXN_FORGET, OP_TXN_RESOLVE
from quorumcache.node.store.results import OK, TXN_ABORTED, TXN_COMMITTED, TXN_TOO_LATE
from quorumcache.node.store.store import shard_store

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.replica.group import ReplicaGroup

PATIENCE_MS: Final = 1_000
"""Cluster time that a run has for its steps before a leader takes part."""

LOOK_MS: Final = 100
"""Time between two looks."""

RECOVERIES_MAX: Final = 256
"""Transactions that a node finishes at a time."""

LATE_MS: Final = 10_000
"""Holds that are so much older than the transaction's time are told in `/health`."""

Recovered = tuple[int, bytes]
"""Group and transaction."""


class Recovery:
    """See the module docstring. `look` is called every `LOOK_MS`."""

    __slots__ = ("_coordinator", "_counters", "under_way")

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._counters = coordinator.counters
        self.under_way: dict[Recovered, None] = {}

    def look(self) -> None:
        """Go on with what has stayed in the groups that this node leads."""
        for group in self._coordinator.host.groups.values():
            if group.lease_until_ns and group.group_id != DIRECTORY_GROUP_ID:
                table = shard_store(group.machine).transactions
                if table.prepared:
                    self._ask(group)
                if table.unresolved:
                    self._tell(group)

    def overdue(self) -> int:
        """How many transactions hold keys here, where this node leads, long after their time."""
        found = 0
        for group in self._coordinator.host.groups.values():
            if group.lease_until_ns and group.group_id != DIRECTORY_GROUP_ID:
                table = shard_store(group.machine).transactions
                if table.prepared:
                    found += table.overdue(group.now_ms(), LATE_MS)
        return found

    def _begin(self, group: ReplicaGroup, txn: bytes) -> bool:
        """Whether this one is to be finished now."""
        if (group.group_id, txn) in self.under_way or len(self.under_way) >= RECOVERIES_MAX:
            return False
        self.under_way[group.group_id, txn] = None
        return True

    def ended(self, group_id: int, txn: bytes, is_finished: bool) -> None:
        """It is finished, or is looked at again."""
        self.under_way.pop((group_id, txn), None)
        if is_finished:
            self._counters.transactions_recovered += 1

    def _ask(self, group: ReplicaGroup) -> None:
        table = shard_store(group.machine).transactions
        for txn, record_group, deadline_ms in table.undecided(
            group.now_ms(), PATIENCE_MS, RECOVERIES_MAX
        ):
            if self._begin(group, txn):
                _Asking(self, self._coordinator, group.group_id, txn, deadline_ms).ask(record_group)

    def _tell(self, group: ReplicaGroup) -> None:
        table = shard_store(group.machine).transactions
        for txn, deadline_ms, participants in table.unheard(
            group.now_ms(), PATIENCE_MS, RECOVERIES_MAX
        ):
            if self._begin(group, txn):
                _Telling(self, self._coordinator, group.group_id, txn).tell(
                    deadline_ms, participants
                )


class _Asking:
    """A prepared transaction whose decision is asked for."""

    __slots__ = ("_coordinator", "_deadline_ms", "_group_id", "_recovery", "_txn")

    def __init__(
        self,
        recovery: Recovery,
        coordinator: Coordinator,
        group_id: int,
        txn: bytes,
        deadline_ms: int,
    ) -> None:
        self._recovery = recovery
        self._coordinator = coordinator
        self._group_id = group_id
        self._txn = txn
        self._deadline_ms = deadline_ms

    def ask(self, record_group: int) -> None:
        args = (self._txn, self._deadline_ms)
        self._coordinator.write(record_group, OP_TXN_ABORT, b"", args, STEP_BYTES, self._decided)

    def _decided(self, outcome: WriteOutcome) -> None:
        if outcome not in (TXN_COMMITTED, TXN_ABORTED, TXN_TOO_LATE):
            self._recovery.ended(self._group_id, self._txn, False)
            return
        # Too late: there is no record. A commit that this group has not heard of would have one.
        args = (self._txn, self._deadline_ms, int(outcome == TXN_COMMITTED))
        self._coordinator.write(
            self._group_id, OP_TXN_RESOLVE, b"", args, STEP_BYTES, self._resolved
        )

    def _resolved(self, outcome: WriteOutcome) -> None:
        self._recovery.ended(self._group_id, self._txn, outcome == OK)


class _Telling:
    """A committed transaction whose participants are told."""

    __slots__ = ("_coordinator", "_group_id", "_left", "_recovery", "_some_failed", "_txn")

    def __init__(
        self, recovery: Recovery, coordinator: Coordinator, group_id: int, txn: bytes
    ) -> None:
        self._recovery = recovery
        self._coordinator = coordinator
        self._group_id = group_id
        self._txn = txn
        self._left = 0
        self._some_failed = False

    def tell(self, deadline_ms: int, participants: tuple[int, ...]) -> None:
        self._left = len(participants)
        args = (self._txn, deadline_ms, 1)
        for group_id in participants:
            self._coordinator.write(group_id, OP_TXN_RESOLVE, b"", args, STEP_BYTES, self._told)

    def _told(self, outcome: WriteOutcome) -> None:
        if outcome != OK:
            self._some_failed = True
        self._left -= 1
        if self._left:
            return
        if self._some_failed:
            self._recovery.ended(self._group_id, self._txn, False)
        else:
            self._coordinator.write(
                self._group_id, OP_TXN_FORGET, b"", (self._txn,), STEP_BYTES, self._forgotten
            )

    def _forgotten(self, outcome: WriteOutcome) -> None:
        self._recovery.ended(self._group_id, self._txn, not isinstance(outcome, Failure))
