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
from quorumcache.node.store.results import (
    RESOLVED,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.store import shard_store
from quorumcache.node.store.transactions import PREPARED_MAX

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.replica.group import ReplicaGroup

PATIENCE_MS: Final = 1_000
"""Cluster time that a run has for its steps before a leader takes part."""

LOOK_MS: Final = 100
"""Time between two looks."""

RECOVERIES_MAX: Final = 64
"""Transactions that a node finishes at a time, of each group that it has to ask, or to tell for.
One that does not answer holds up none of the others."""

REST_NS: Final = 1_000_000_000
"""How long one that could not be finished rests, so that others come to their turn."""

LOOKED_AT_MAX: Final = 1_024
"""Commits of a group that are looked at for such whose turn it is."""

LATE_MS: Final = 10_000
"""Holds that are so much older than the transaction's time are told in `/health`."""

Recovered = tuple[int, bytes]
"""Group and transaction."""


class Recovery:
    """See the module docstring. `look` is called every `LOOK_MS`."""

    __slots__ = ("_coordinator", "_counters", "_resting", "_taken", "under_way")

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._counters = coordinator.counters
        self.under_way: dict[Recovered, int] = {}
        """What is being finished, and by which group it is counted."""
        self._taken: dict[int, int] = {}
        """How many are counted by each group."""
        self._resting: dict[Recovered, int] = {}
        """What could not be finished, and until when it rests, the earliest first."""

    def look(self) -> None:
        """Go on with what has stayed in the groups that this node leads."""
        now_ns = self._coordinator.clock.monotonic_ns()
        while self._resting:
            rested = next(iter(self._resting))
            if self._resting[rested] > now_ns:
                break
            del self._resting[rested]
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

    def _begin(self, group_id: int, txn: bytes, counted_by: int) -> bool:
        """Whether this one is to be finished now."""
        this = group_id, txn
        taken = self._taken.get(counted_by, 0)
        if this in self.under_way or this in self._resting or taken >= RECOVERIES_MAX:
            return False
        self.under_way[this] = counted_by
        self._taken[counted_by] = taken + 1
        return True

    def ended(self, group_id: int, txn: bytes, is_finished: bool) -> None:
        """It is finished, or is looked at again after a while."""
        this = group_id, txn
        counted_by = self.under_way.pop(this)
        left = self._taken.pop(counted_by) - 1
        if left:
            self._taken[counted_by] = left
        if is_finished:
            self._counters.transactions_recovered += 1
        else:
            self._resting[this] = self._coordinator.clock.monotonic_ns() + REST_NS

    def _ask(self, group: ReplicaGroup) -> None:
        table = shard_store(group.machine).transactions
        for txn, record_group, deadline_ms in table.undecided(
            group.now_ms(), PATIENCE_MS, PREPARED_MAX
        ):
            if self._begin(group.group_id, txn, record_group):
                _Asking(self, self._coordinator, group.group_id, txn, deadline_ms).ask(record_group)

    def _tell(self, group: ReplicaGroup) -> None:
        table = shard_store(group.machine).transactions
        for txn, deadline_ms, participants in table.unheard(
            group.now_ms(), PATIENCE_MS, LOOKED_AT_MAX
        ):
            if self._begin(group.group_id, txn, group.group_id):
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
        self._recovery.ended(self._group_id, self._txn, outcome in RESOLVED)


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
        if outcome not in RESOLVED:
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
