"""Commits of transactions, by the node that a client has asked: two-phase commit over groups.

The keys of a transaction lie in any number of groups. One of them, that of the first key written,
keeps its *record*: the entry there that says `committed` or `aborted` decides, and the first one
stays. The others are *participants*. A run goes like this:

 1. prepare: each participant checks its part and holds the keys, all at the same time;
 2. commit: the record's group checks its own part, executes it and writes the record, in one entry.
    Now it is decided, and the client hears so. A transaction of one group has this step alone;
 3. resolve: each participant executes its part and releases the keys;
 4. forget: the record's group need not remember who has to hear of it any more.

Nobody waits for this node: a leader that has waited for the end of a prepared transaction for long
asks the record's group itself (`recovery.py`), which then writes `aborted` unless it has a record.
So all that a run may do is what anybody may do at any time, and what it does not know, it asks:

 - a prepare that was refused, or has no outcome: the run asks for an abort, and hears what was
   decided. Another attempt of the client, through another node, may have committed meanwhile;
 - a commit without an outcome: likewise, an abort tells. If that has none either, or comes when the
   time of the transaction is over, the outcome is unknown here;
 - participants are told what the record's group has answered, and nothing else.

Each step is refused once its group's log has passed the transaction's deadline, so a run that was
cut off for long can do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import Write, WriteOutcome
from quorumcache.node.operations.transaction_snapshots import Snapshots
from quorumcache.node.store.commands import (
    OP_SET,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.results import (
    OUT_OF_MEMORY,
    RESOLVED,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_FULL,
    TXN_PREPARED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.transaction_forms import TXN_ID_BYTES

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator

TRANSACTIONS_MAX: Final = 1_024
"""Transactions whose clients wait for a node."""

RESOLVING_MAX: Final = 4_096
"""Decided transactions whose participants a node tells. Those beyond it are left to the leaders."""

GRACE_PARTS: Final = 5
"""Of a client's time, one of so many parts is kept for asking what was decided."""

STEP_BYTES: Final = 64
"""Of a step that carries no keys."""

TOO_MANY_HERE: Final = "too many transactions are under way at this node; retry more slowly"
TOO_MANY_THERE: Final = "too many transactions are under way in a shard; retry more slowly"
LIMIT_FAR_MS: Final = 70_000
"""No `cluster txn begin` gives a deadline that is further away, whatever the clocks show."""

Check = tuple[bytes, int]
Step = tuple[object, ...]
TransactionOutcome = WriteOutcome
"""TXN_COMMITTED, TXN_ABORTED, TXN_TOO_LATE, `(TXN_CONFLICT, key)` or OUT_OF_MEMORY, or a
Failure."""


class Part:
    """What a transaction checks and writes in one group."""

    __slots__ = ("checks", "size", "writes")

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.writes: list[Step] = []
        self.size = STEP_BYTES
        """Bytes of keys and values."""

    def steps(self) -> tuple[tuple[Check, ...], tuple[Step, ...]]:
        """As a command carries them."""
        return tuple(self.checks), tuple(self.writes)


class Transactions:
    """The transactions under way at this node. See the module docstring."""

    __slots__ = ("_random", "coordinator", "counters", "resolving", "snapshots", "under_way")

    def __init__(self, coordinator: Coordinator, random: Random) -> None:
        self._random = random
        self.coordinator = coordinator
        self.counters = coordinator.counters
        self.under_way = 0
        """Whose clients wait."""
        self.resolving = 0
        """Whose participants are being told."""
        self.snapshots = Snapshots(coordinator, random)

    @property
    def waiting_at_holds(self) -> int:
        """How many operations wait here for a key that a transaction holds."""
        return self.coordinator.serving.hold_waits.count

    def begin(self, limit_ms: int) -> tuple[bytes, int]:
        """The id and the deadline, in cluster time, of a transaction that a client begins. Nothing
        of it is kept.
        """
        txn = self._random.getrandbits(8 * TXN_ID_BYTES).to_bytes(TXN_ID_BYTES, "big")
        return txn, self.coordinator.host.time.now_ms() + limit_ms

    def knows_time(self) -> bool:
        """Whether this node can tell when a transaction ends."""
        return self.coordinator.host.time.is_settled

    def is_far(self, deadline_ms: int) -> bool:
        """Whether `begin` gives no such deadline: nothing may be kept for so long."""
        time = self.coordinator.host.time
        return time.is_settled and deadline_ms > time.now_ms() + LIMIT_FAR_MS

    def commit(
        self,
        txn: bytes,
        deadline_ms: int,
        checks: tuple[Check, ...],
        writes: tuple[Step, ...],
        group_of: Callable[[bytes], int],
        done: Callable[[TransactionOutcome], None],
    ) -> None:
        """Commit a transaction; `done` hears the outcome. The same one may be committed again,
        through any node: the outcome is the same.
        """
        counters = self.counters
        counters.transactions_begun += 1
        if self.under_way >= TRANSACTIONS_MAX:
            counters.transactions_aborted += 1
            done(Failure(TOO_MANY_HERE, outcome_known=True))
            return
        self.under_way += 1
        TransactionRun(self, txn, deadline_ms, split(checks, writes, group_of), done).start()

    def ended(self, outcome: TransactionOutcome) -> None:
        """A client has its answer."""
        self.under_way -= 1
        counters = self.counters
        if outcome == TXN_COMMITTED:
            counters.transactions_committed += 1
        elif isinstance(outcome, tuple):
            counters.transactions_conflicts += 1
        elif isinstance(outcome, Failure) and not outcome.outcome_known:
            counters.transactions_in_doubt += 1
        else:
            counters.transactions_aborted += 1


def split(
    checks: tuple[Check, ...], writes: tuple[Step, ...], group_of: Callable[[bytes], int]
) -> dict[int, Part]:
    """What each group has to do. The group of the record comes first, whoever asks: that of the
    first write, or of the first check if nothing is written.
    """
    parts: dict[int, Part] = {}
    for write in writes:
        key = write[0]
        assert isinstance(key, bytes)
        part = parts.setdefault(group_of(key), Part())
        part.writes.append(write)
        part.size += len(key)
        if write[1] == OP_SET:
            data = write[2]
            assert isinstance(data, bytes)
            part.size += len(data)
    for check in checks:
        part = parts.setdefault(group_of(check[0]), Part())
        part.checks.append(check)
        part.size += len(check[0])
    return parts


class TransactionRun:
    """One attempt to commit a transaction, from its first step until its client has the outcome and
    its participants have heard of it.
    """

    __slots__ = (
        "_commit_until_ns",
        "_deadline_ms",
        "_decision",
        "_done",
        "_holding",
        "_in_doubt",
        "_is_aborting",
        "_parts",
        "_reason",
        "_record_group",
        "_telling",
        "_transactions",
        "_txn",
        "_unheard",
        "_until_ns",
        "_waiting",
    )

    def __init__(
        self,
        transactions: Transactions,
        txn: bytes,
        deadline_ms: int,
        parts: dict[int, Part],
        done: Callable[[TransactionOutcome], None],
    ) -> None:
        """`parts`: the record's group first."""
        self._transactions = transactions
        self._txn = txn
        self._deadline_ms = deadline_ms
        self._parts = parts
        self._record_group = next(iter(parts))
        self._done: Callable[[TransactionOutcome], None] | None = done
        coordinator = transactions.coordinator
        self._until_ns = coordinator.deadline_ns()
        """Until when the client waits."""
        self._commit_until_ns = self._until_ns - coordinator.timeout_ms * 1_000_000 // GRACE_PARTS
        """Until when the run tries to commit."""
        self._waiting = 0
        """Prepares that have no outcome."""
        self._holding: list[int] = []
        """Participants that hold its keys, as far as this run can tell."""
        self._reason: TransactionOutcome = TXN_ABORTED
        """Why it cannot commit."""
        self._is_aborting = False
        self._in_doubt = False
        """A commit of this run may have been executed, or may still be."""
        self._decision = 0
        """What the record's group has answered: TXN_COMMITTED, TXN_ABORTED or TXN_TOO_LATE."""
        self._telling = 0
        """Resolutions without an outcome."""
        self._unheard = False
        """A participant was not told, or may not have heard."""

    # -- prepare -----------------------------------------------------------------------------

    def start(self) -> None:
        """Take the first step."""
        others = [group_id for group_id in self._parts if group_id != self._record_group]
        if not others:
            self._commit()
            return
        self._waiting = len(others)
        for group_id in others:
            part = self._parts[group_id]
            args = (self._txn, self._record_group, self._deadline_ms, *part.steps())
            prepared = partial(self._prepared, group_id)
            until_ns = self._commit_until_ns
            self._write(group_id, OP_TXN_PREPARE, args, part.size, prepared, until_ns)
            if self._is_aborting:
                return

    def _prepared(self, group_id: int, outcome: WriteOutcome) -> None:
        self._waiting -= 1
        if outcome == TXN_PREPARED or (isinstance(outcome, Failure) and not outcome.outcome_known):
            self._holding.append(group_id)
            if self._decision:
                self._tell()  # It was decided before this one was done.
        if outcome != TXN_PREPARED:
            self._abort(outcome)
        elif not self._waiting and not self._is_aborting:
            self._commit()

    # -- decide ------------------------------------------------------------------------------

    def _commit(self) -> None:
        part = self._parts[self._record_group]
        participants = tuple(group for group in self._parts if group != self._record_group)
        args = (self._txn, self._deadline_ms, participants, *part.steps())
        self._write(
            self._record_group,
            OP_TXN_COMMIT,
            args,
            part.size,
            self._committed,
            self._commit_until_ns,
        )

    def _committed(self, outcome: WriteOutcome) -> None:
        if outcome in (TXN_COMMITTED, TXN_ABORTED, TXN_TOO_LATE):
            assert isinstance(outcome, int)
            self._decided(outcome, outcome)
        elif _is_conflict(outcome):
            self._decided(TXN_ABORTED, outcome)  # So says its record from now on.
        else:
            self._in_doubt = isinstance(outcome, Failure) and not outcome.outcome_known
            self._abort(outcome)

    def _abort(self, reason: WriteOutcome) -> None:
        """It cannot commit by this run, or may have: have it decided, and hear what was."""
        if self._is_aborting or self._decision:
            return
        self._is_aborting = True
        self._reason = _as_outcome(reason)
        args = (self._txn, self._deadline_ms)
        until_ns = self._until_ns
        self._write(self._record_group, OP_TXN_ABORT, args, STEP_BYTES, self._aborted, until_ns)

    def _aborted(self, outcome: WriteOutcome) -> None:
        if outcome == TXN_COMMITTED:
            self._decided(TXN_COMMITTED, TXN_COMMITTED)
        elif outcome == TXN_ABORTED:
            self._decided(TXN_ABORTED, self._reason_if_aborted())
        elif outcome == TXN_TOO_LATE:
            # No record, and none can come any more. But one may have been there and have gone.
            self._decided(TXN_TOO_LATE, self._reason if self._in_doubt else TXN_TOO_LATE)
        else:
            # Not decided as far as this run knows. Whoever holds keys is freed by its leader.
            self._answer(self._reason if self._in_doubt else self._not_done())

    def _reason_if_aborted(self) -> TransactionOutcome:
        reason = self._reason
        if isinstance(reason, Failure):
            return Failure(reason.why, outcome_known=True)
        return TXN_ABORTED if reason == TXN_TOO_LATE else reason

    def _not_done(self) -> TransactionOutcome:
        """This run has not committed. Whether another has is not known here."""
        reason = self._reason
        if isinstance(reason, Failure):
            return Failure(reason.why, outcome_known=True)
        return Failure("the transaction's shard has not said what was decided", outcome_known=True)

    def _decided(self, decision: int, outcome: TransactionOutcome) -> None:
        self._decision = decision
        self._answer(outcome)
        self._tell()

    def _answer(self, outcome: TransactionOutcome) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._transactions.ended(outcome)
            done(outcome)

    # -- resolve -----------------------------------------------------------------------------

    def _tell(self) -> None:
        """Tell those that hold its keys what was decided."""
        holding, self._holding = self._holding, []
        transactions = self._transactions
        if not holding:
            return
        if not self._telling:
            if transactions.resolving >= RESOLVING_MAX:
                self._unheard = True
                return
            transactions.resolving += 1
        self._telling += len(holding)
        committed = int(self._decision == TXN_COMMITTED)
        args = (self._txn, self._deadline_ms, committed)
        for group_id in holding:
            self._write(group_id, OP_TXN_RESOLVE, args, STEP_BYTES, self._told)

    def _told(self, outcome: WriteOutcome) -> None:
        if outcome not in RESOLVED:
            self._unheard = True
        self._telling -= 1
        if self._telling:
            return
        self._transactions.resolving -= 1
        # Of what another attempt has committed, this run does not know who has heard of it.
        if self._decision == TXN_COMMITTED and not self._unheard and not self._is_aborting:
            self._write(self._record_group, OP_TXN_FORGET, (self._txn,), STEP_BYTES, _ignore)

    # -- the log -----------------------------------------------------------------------------

    def _write(
        self,
        group_id: int,
        op: int,
        args: tuple[object, ...],
        size: int,
        done: Callable[[WriteOutcome], None],
        deadline_ns: int = 0,
    ) -> Write:
        coordinator = self._transactions.coordinator
        return coordinator.write(group_id, op, b"", args, size, done, None, None, deadline_ns)


def _is_conflict(outcome: WriteOutcome) -> bool:
    return isinstance(outcome, tuple) and outcome[0] == TXN_CONFLICT


def _as_outcome(reason: WriteOutcome) -> TransactionOutcome:
    """What a client hears if a step has ended so, and nothing was committed."""
    if isinstance(reason, Failure) or _is_conflict(reason):
        return reason
    if reason in (OUT_OF_MEMORY, TXN_TOO_LATE):
        return reason
    if reason == TXN_FULL:
        return Failure(TOO_MANY_THERE, outcome_known=True)
    return Failure(f"a shard has answered {reason!r:.40} to a step", outcome_known=True)


def _ignore(outcome: WriteOutcome) -> None:
    """If the record's group does not hear of it, its leader finds out by itself."""
