"""The transactions that a shard takes part in: holds of keys, prepared writes, decisions.
Replicated state.

A transaction over several shards is decided in one of them, by its *record*. The others are its
participants: they *prepare*, and hold its keys until they hear of the decision. Each step is
refused once the log of its own shard has passed the transaction's deadline, and what guards
against a step that comes late or twice is kept until then:

- a *record* (committed or aborted) answers a repeated commit, and a late one after an abort. One
  that has committed stays beyond the deadline while a participant has not resolved.
- a *finished* transaction was resolved here, so a late prepare of it holds nothing.
- a *prepared* one holds its keys for as long as it takes: only the decision ends it.

A key is held alone by the one transaction that writes it, or shared by those that check it.
`transaction_effects.py` says what the steps do, docs/transactions.md why that is right.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Final

from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.item import ITEM_DATA, block_bytes
from quorumcache.node.store.results import TXN_ABORTED, TXN_COMMITTED

TXN_KEYS_MAX: Final = 128
"""Keys that a transaction checks or writes."""
TXN_BYTES_MAX: Final = 1 << 20
"""Keys and values of a transaction together."""

PREPARED_MAX: Final = 4_096
"""Transactions of a shard that hold keys."""
PREPARED_BYTES_MAX: Final = 64 << 20
"""What their writes take: nothing of it can be evicted."""
RECORDS_MAX: Final = 65_536
"""Records and finished transactions of a shard, and the prepared ones, which will be finished."""
ABORTS_MAX: Final = RECORDS_MAX + 4_096
"""Up to here an abort still finds room for its record when nothing else does."""

PURGED_MAX: Final = 64
"""Entries that one step forgets at most: a long list would hold up the loop."""

PRESENT: Final = -1
ABSENT: Final = 0
ANY: Final = -2
"""Versions that a check may name instead of a fingerprint: any item, none, and whatever is there or
not. The last one only holds the key."""

# About what the process takes for each: places in tables, numbers, small objects.
PREPARED_BYTES: Final = 400
HOLD_BYTES: Final = 360
RECORD_BYTES: Final = 400
FINISHED_BYTES: Final = 280

Write = tuple[Any, ...]
"""`(key, OP_SET, data, exptime)` or `(key, OP_DELETE)`."""

TransactionImage = tuple[Any, ...]
"""A prepared transaction, a decision or a finished transaction as snapshots hold it:

    ( PREPARED_IMAGE, txn, record_group, deadline_ms, since_ms, checked keys, writes )
    ( RECORD_IMAGE, txn, decision, deadline_ms, since_ms, participants )
    ( FINISHED_IMAGE, txn, deadline_ms )
"""

PREPARED_IMAGE: Final = 0
RECORD_IMAGE: Final = 1
FINISHED_IMAGE: Final = 2

_IMAGE_FORMS: Final[dict[int, tuple[type, ...]]] = {
    PREPARED_IMAGE: (int, bytes, int, int, int, tuple, tuple),
    RECORD_IMAGE: (int, bytes, int, int, int, tuple),
    FINISHED_IMAGE: (int, bytes, int),
}
_WRITE_FORMS: Final = {OP_SET: (bytes, int, bytes, int), OP_DELETE: (bytes, int)}


class Hold:
    """Who holds a key. Invariant: one `writer`, or `readers`, and never both."""

    __slots__ = ("readers", "writer")

    def __init__(self) -> None:
        self.writer = b""
        """The transaction that is to write the key."""
        self.readers: set[bytes] = set()
        """Those that have checked it."""


class Prepared:
    """What a participant knows of a transaction that is not decided, as far as it knows."""

    __slots__ = ("checked", "cost", "deadline_ms", "record_group", "since_ms", "writes")

    def __init__(
        self,
        record_group: int,
        deadline_ms: int,
        since_ms: int,
        checked: tuple[bytes, ...],
        writes: tuple[Write, ...],
    ) -> None:
        self.record_group = record_group
        """The group that decides."""
        self.deadline_ms = deadline_ms
        self.since_ms = since_ms
        """Cluster time of the prepare."""
        self.checked = checked
        """Keys that it holds shared."""
        self.writes = writes
        """They take effect if it commits. Their keys are held alone."""
        self.cost = writes_cost(writes)
        """What they add to `bytes_used`: no less than their items will."""


class Record:
    """A decision."""

    __slots__ = ("deadline_ms", "decision", "participants", "since_ms")

    def __init__(
        self, decision: int, deadline_ms: int, since_ms: int, participants: tuple[int, ...]
    ) -> None:
        self.decision = decision
        """TXN_COMMITTED or TXN_ABORTED. Never changes."""
        self.deadline_ms = deadline_ms
        self.since_ms = since_ms
        """Cluster time of the decision."""
        self.participants = participants
        """Groups that have to hear of a commit, until all of them have resolved."""


def writes_cost(writes: tuple[Write, ...]) -> int:
    """What writes take while they are prepared. At least what their items cost."""
    cost = 0
    for write in writes:
        cost += block_bytes(len(write[0]))
        if write[1] == OP_SET:
            cost += block_bytes(ITEM_DATA + len(write[2]))
    return cost


def writes_bytes(image: TransactionImage) -> int:
    """About what the writes of an image take in a snapshot: nothing else in it is large."""
    if image[0] != PREPARED_IMAGE:
        return 0
    writes: tuple[Write, ...] = image[6]
    return writes_cost(writes)


class TransactionTable:
    """All that a shard knows of transactions."""

    __slots__ = ("_ends", "bytes_used", "finished", "holds", "prepared", "records", "unresolved")

    def __init__(self) -> None:
        self.holds: dict[bytes, Hold] = {}
        """By key: what the transactions in `prepared` hold. Always the same dict."""
        self.prepared: dict[bytes, Prepared] = {}
        """In the order of their prepares."""
        self.records: dict[bytes, Record] = {}
        self.unresolved: dict[bytes, Record] = {}
        """Those that have participants, in the order of their decisions."""
        self.finished: dict[bytes, int] = {}
        """Transactions that were resolved here, and their deadlines."""
        self.bytes_used = 0
        """Sum of the `cost` of `prepared`."""
        self._ends: list[tuple[int, bytes]] = []
        """A heap of the deadlines of `records` and `finished`. An entry that is gone may still have
        its place."""

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.prepared) + len(self.records) + len(self.finished)

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process, without the writes of prepared
        transactions.
        """
        return (
            len(self.prepared) * PREPARED_BYTES
            + len(self.holds) * HOLD_BYTES
            + len(self.records) * RECORD_BYTES
            + len(self.finished) * FINISHED_BYTES
        )

    # -- holds -----------------------------------------------------------------------------------

    def has_room(self, cost: int) -> bool:
        """Whether one more transaction may prepare, whose writes take `cost`, or commit."""
        return (
            len(self) < RECORDS_MAX
            and len(self.prepared) < PREPARED_MAX
            and self.bytes_used + cost <= PREPARED_BYTES_MAX
        )

    def is_written(self, key: bytes) -> bool:
        """Whether a transaction holds the key that is to write it."""
        hold = self.holds.get(key)
        return hold is not None and bool(hold.writer)

    def keys_of(self, txn: bytes) -> tuple[bytes, ...]:
        """The keys that a transaction holds."""
        prepared = self.prepared.get(txn)
        if prepared is None:
            return ()
        return prepared.checked + tuple([write[0] for write in prepared.writes])

    def hold(self, txn: bytes, prepared: Prepared) -> None:
        """Hold the keys of a transaction; nobody holds one of them in conflict."""
        self.prepared[txn] = prepared
        self.bytes_used += prepared.cost
        for key in prepared.checked:
            self._held(key).readers.add(txn)
        for write in prepared.writes:
            self._held(write[0]).writer = txn

    def _held(self, key: bytes) -> Hold:
        hold = self.holds.get(key)
        if hold is None:
            hold = self.holds[key] = Hold()
        return hold

    def release(self, txn: bytes) -> Prepared | None:
        """End the holds of a transaction; what was prepared, None if nothing was."""
        prepared = self.prepared.pop(txn, None)
        if prepared is None:
            return None
        self.bytes_used -= prepared.cost
        holds = self.holds
        for key in prepared.checked:
            hold = holds.get(key)
            if hold is not None:
                hold.readers.discard(txn)
                if not hold.readers:
                    del holds[key]
        for write in prepared.writes:
            holds.pop(write[0], None)
        return prepared

    # -- what guards against late steps ----------------------------------------------------------

    def decide(
        self,
        txn: bytes,
        decision: int,
        deadline_ms: int,
        now_ms: int,
        participants: tuple[int, ...] = (),
    ) -> None:
        """Write the record of a transaction that has none."""
        self._record(txn, Record(decision, deadline_ms, now_ms, participants))

    def _record(self, txn: bytes, record: Record) -> None:
        self.records[txn] = record
        if record.participants:
            self.unresolved[txn] = record
        heappush(self._ends, (record.deadline_ms, txn))

    def finish(self, txn: bytes, deadline_ms: int, now_ms: int) -> None:
        """A transaction is resolved here: until its deadline a late prepare is refused. After that
        it is refused anyway.
        """
        if now_ms < deadline_ms and txn not in self.finished:
            self.finished[txn] = deadline_ms
            heappush(self._ends, (deadline_ms, txn))

    def forget(self, txn: bytes, now_ms: int) -> None:
        """All participants of a transaction have resolved."""
        record = self.unresolved.pop(txn, None)
        if record is not None:
            record.participants = ()
            if record.deadline_ms <= now_ms:
                del self.records[txn]

    def purge(self, now_ms: int) -> None:
        """Forget what has served its time, PURGED_MAX entries at most, in the order of their
        deadlines.
        """
        ends = self._ends
        records, finished = self.records, self.finished
        left = PURGED_MAX
        while left > 0 and ends and ends[0][0] <= now_ms:
            txn = heappop(ends)[1]
            record = records.get(txn)
            # `forget` removes one that is kept here.
            if record is not None and record.deadline_ms <= now_ms and not record.participants:
                del records[txn]
                left -= 1
            deadline_ms = finished.get(txn)
            if deadline_ms is not None and deadline_ms <= now_ms:
                del finished[txn]
                left -= 1

    # -- for the leader, which sees to it that nothing stays --------------------------------------

    def undecided(self, now_ms: int, patience_ms: int, limit: int) -> list[tuple[bytes, int, int]]:
        """Up to `limit` transactions that have been prepared for `patience_ms`, the oldest first:
        `(txn, record group, deadline_ms)`.
        """
        return [
            (txn, prepared.record_group, prepared.deadline_ms)
            for txn, prepared in islice(self._waiting(now_ms - patience_ms), limit)
        ]

    def _waiting(self, since_ms: int) -> Iterator[tuple[bytes, Prepared]]:
        for txn, prepared in self.prepared.items():
            if prepared.since_ms > since_ms:
                break
            yield txn, prepared

    def unheard(
        self, now_ms: int, patience_ms: int, limit: int
    ) -> list[tuple[bytes, int, tuple[int, ...]]]:
        """Up to `limit` transactions that were committed `patience_ms` ago, and whose participants
        have not all resolved, the oldest first: `(txn, deadline_ms, participants)`.
        """
        found: list[tuple[bytes, int, tuple[int, ...]]] = []
        for txn, record in self.unresolved.items():
            if record.since_ms > now_ms - patience_ms or len(found) >= limit:
                break
            found.append((txn, record.deadline_ms, record.participants))
        return found

    def overdue(self, now_ms: int, late_ms: int) -> int:
        """How many transactions hold keys that should have ended `late_ms` ago."""
        return sum(
            [prepared.deadline_ms + late_ms <= now_ms for prepared in self.prepared.values()]
        )

    # -- snapshots -------------------------------------------------------------------------------

    def images(self) -> tuple[TransactionImage, ...]:
        """The whole table as plain values, in its order."""
        images: list[TransactionImage] = []
        for txn, waits in self.prepared.items():
            times = (waits.deadline_ms, waits.since_ms)
            images.append(
                (PREPARED_IMAGE, txn, waits.record_group, *times, waits.checked, waits.writes)
            )
        images += [
            (RECORD_IMAGE, txn, made.decision, made.deadline_ms, made.since_ms, made.participants)
            for txn, made in self.records.items()
        ]
        images += [(FINISHED_IMAGE, txn, ends_ms) for txn, ends_ms in self.finished.items()]
        return tuple(images)

    def add(self, image: TransactionImage) -> None:
        """Take in an entry of a snapshot, behind those that are there. Raises ValueError."""
        kind = image[0] if image else None
        if type(kind) is not int or tuple(map(type, image)) != _IMAGE_FORMS.get(kind):
            raise ValueError("an invalid transaction")
        txn: bytes = image[1]
        if kind == PREPARED_IMAGE:
            self._add_prepared(txn, image)
        elif kind == RECORD_IMAGE:
            decision, deadline_ms, since_ms, participants = image[2:]
            if (
                txn in self.records
                or decision not in (TXN_COMMITTED, TXN_ABORTED)
                or (participants and decision != TXN_COMMITTED)
                or not all(type(group) is int for group in participants)
            ):
                raise ValueError("an invalid record of a transaction")
            self._record(txn, Record(decision, deadline_ms, since_ms, participants))
        else:
            if txn in self.finished:
                raise ValueError("a transaction that is finished twice")
            self.finished[txn] = image[2]
            heappush(self._ends, (image[2], txn))

    def _add_prepared(self, txn: bytes, image: TransactionImage) -> None:
        record_group, deadline_ms, since_ms, checked, writes = image[2:]
        if txn in self.prepared or not (checked or writes):
            raise ValueError("an invalid prepared transaction")
        for write in writes:
            if (
                type(write) is not tuple
                or len(write) < 2
                or type(write[1]) is not int
                or tuple(map(type, write)) != _WRITE_FORMS.get(write[1])
                or write[0] in self.holds
            ):
                raise ValueError("an invalid write of a transaction")
        for key in checked:
            if type(key) is not bytes or self.is_written(key):
                raise ValueError("an invalid check of a transaction")
        self.hold(txn, Prepared(record_group, deadline_ms, since_ms, checked, writes))
