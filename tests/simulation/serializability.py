"""Is a history of transactions over many keys strictly serializable? Answers ok, illegal, or
unknown when the search grew too large.

It is, if there is one order of all transactions in which each reads what those before it have left,
and in which each that had ended before another one began stands before it. A plain command is a
transaction of one key. One of unknown outcome may stand anywhere after its beginning, or nowhere.

The search goes forward from the empty store and tries who may come next. Three things keep it
short, and leave nothing out:

- What writes nothing comes as soon as it fits: whatever order has it later is as good with it here.
- A value that was written once only is not written over while somebody has yet to read it: it can
  never come back. Where values are unique, this leaves hardly a choice.
- Where it has been with the same transactions done and the same values, it need not be again.

Of those of unknown outcome a read tells that they took effect, if their values are unique. If
nobody has read any, they are left out: whoever reads their keys reads what others wrote later.

Sources: Papadimitriou 1979 (the problem is NP-complete); Wing and Gong 1993 (the search); Tan,
Zhao, Mu, Walfish 2020, "Cobra" (what unique values tell).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.simulation.history import FAIL, INFO, OK, show_key

LEGAL = "ok"
ILLEGAL = "illegal"
UNKNOWN = "unknown"

STEPS_MAX = 300_000

PRESENT = b"<present>"
"""Of a read: the key was there, whatever its value."""
NEVER = 1 << 62

Value = bytes | None
"""None: there is no item."""


@dataclass(slots=True)
class Transaction:
    """What one client did at once. `reads`: what it saw, or what had to be true for its writes;
    `writes`: what it left. Positions are in the history's total order, times are virtual ns."""

    number: int
    client: str
    kind: str = "transact"
    reads: dict[bytes, Value] = field(default_factory=dict)
    writes: dict[bytes, Value] = field(default_factory=dict)
    outcome: str = INFO
    result: str = ""
    """What the client was told, for the reader."""
    invoked: int = 0
    returned: int = NEVER
    invoked_ns: int = 0
    returned_ns: int | None = None

    def describe(self) -> str:
        begin = f"{self.invoked_ns / 1e9 - 1000:9.4f}"
        end = "   never" if self.returned_ns is None else f"{self.returned_ns / 1e9 - 1000:8.4f}"
        words = [f"{show_key(key)}={_show(value)}" for key, value in self.reads.items()]
        words += [f"{show_key(key)}:={_show(value)}" for key, value in self.writes.items()]
        result = self.result or ("unknown" if self.outcome == INFO else self.outcome)
        what = " ".join(words) or "nothing"
        return f"[{begin} {end}] #{self.number:<5} {self.client:<4} {self.kind} {what} -> {result}"


def _show(value: Value) -> str:
    return "none" if value is None else value.decode("ascii", "backslashreplace")


class Transactions:
    """Collects transactions. Positions, not times, define what happened before what."""

    def __init__(self) -> None:
        self.all: list[Transaction] = []
        self._position = 0

    def invoke(self, client: str, kind: str = "transact", *, now_ns: int = 0) -> Transaction:
        """Its reads and writes are filled in by the caller. Until it ends, it may have happened."""
        self._position += 1
        transaction = Transaction(
            len(self.all) + 1, client, kind, invoked=self._position, invoked_ns=now_ns
        )
        self.all.append(transaction)
        return transaction

    def ok(self, transaction: Transaction, result: str = "", *, now_ns: int = 0) -> None:
        self._finish(transaction, OK, result, now_ns)

    def fail(self, transaction: Transaction, result: str = "", *, now_ns: int = 0) -> None:
        """It has certainly changed nothing, and what it read is not claimed to belong together."""
        self._finish(transaction, FAIL, result, now_ns)

    def _finish(self, transaction: Transaction, outcome: str, result: str, now_ns: int) -> None:
        assert transaction.returned == NEVER, f"{transaction} finished twice"
        self._position += 1
        transaction.outcome, transaction.result = outcome, result
        transaction.returned, transaction.returned_ns = self._position, now_ns

    def counts(self) -> dict[str, int]:
        counts = {OK: 0, FAIL: 0, INFO: 0}
        for transaction in self.all:
            counts[transaction.outcome] += 1
        return counts


@dataclass(slots=True)
class Verdict:
    """`why` says it in lines, if the history is illegal."""

    kind: str
    why: list[str] = field(default_factory=list)
    steps: int = 0

    def describe(self) -> str:
        return "\n".join(self.why) or f"{self.kind} after {self.steps} steps"


def check_transactions(
    transactions: Sequence[Transaction],
    initial: Mapping[bytes, Value] | None = None,
    *,
    steps_max: int = STEPS_MAX,
) -> Verdict:
    """`initial`: values that are there before the first one."""
    initial = dict(initial or {})
    strange = _read_from_nobody(transactions, initial)
    if strange:
        return Verdict(ILLEGAL, strange)
    return _Search(transactions, initial).run(steps_max)


def _read_from_nobody(
    transactions: Sequence[Transaction], initial: Mapping[bytes, Value]
) -> list[str]:
    """Values that were read, and that nobody can have left before."""
    writers: dict[tuple[bytes, Value], Transaction] = {}
    for transaction in transactions:
        for key, value in transaction.writes.items():
            before = writers.get((key, value))
            if before is None or before.outcome == FAIL:
                writers[key, value] = transaction
    for transaction in transactions:
        if transaction.outcome != OK:
            continue
        for key, value in transaction.reads.items():
            if value in (None, PRESENT) or initial.get(key) == value:
                continue
            writer = writers.get((key, value))
            if writer is None:
                why = "which nobody wrote"
            elif writer.outcome == FAIL:
                why = "of one that changed nothing"
            elif writer.invoked > transaction.returned:
                why = "of one that began later"
            else:
                continue
            lines = [f"a value was read {why}: {show_key(key)}={_show(value)}"]
            lines += [other.describe() for other in (writer, transaction) if other is not None]
            return lines
    return []


class _Search:
    """`required`: the transactions that need a place; the others may have one."""

    def __init__(self, transactions: Sequence[Transaction], initial: Mapping[bytes, Value]) -> None:
        required, optional = _sorted_out(transactions, initial)
        needed = {transaction.number for transaction in required}
        self._all = sorted((*required, *optional), key=lambda t: t.invoked)
        self._is_required = [t.number in needed for t in self._all]
        self._count = len(self._all)
        self._by_return = sorted(range(self._count), key=self._return_of)
        self._rank = {number: rank for rank, number in enumerate(self._by_return)}
        self._first = 0
        """Of those by their return, all before this one have a place."""
        keys = {key for t in self._all for key in (*t.reads, *t.writes)}
        self._state: dict[bytes, Value] = {key: initial.get(key) for key in sorted(keys)}
        self._once = _written_once(self._all, self._state)
        """Values that were written once only, as (key, value)."""
        self._readers: Counter[tuple[bytes, Value]] = Counter()
        """How many that need a place, and have none yet, read a value."""
        for number, transaction in enumerate(self._all):
            if self._is_required[number]:
                self._readers.update(transaction.reads.items())
        self._done = 0
        self._needed = sum(self._is_required)
        self._order: list[int] = []
        self._undo: list[list[tuple[bytes, Value]]] = []
        self._best: list[int] = []
        """The longest order that was found."""

    def run(self, steps_max: int) -> Verdict:
        seen: set[tuple[int, tuple[Value, ...]]] = set()
        stack = [self._choices()]
        steps = 0
        while stack:
            if self._needed == 0:
                return Verdict(LEGAL, steps=steps)
            number = next(stack[-1], -1)
            if number < 0:
                stack.pop()
                if stack:
                    self._take_back()
                continue
            steps += 1
            if steps > steps_max:
                return Verdict(UNKNOWN, steps=steps)
            self._put(number)
            if len(self._order) > len(self._best):
                self._best = list(self._order)
            place = (self._done, tuple(self._state.values()))
            if place in seen:
                self._take_back()
                continue
            seen.add(place)
            stack.append(self._choices())
        return (
            Verdict(ILLEGAL, self._tell(), steps) if self._needed else Verdict(LEGAL, steps=steps)
        )

    def _choices(self) -> Iterator[int]:
        """Who may come next: of those that write nothing the first alone, else all. Those that
        need no place come last."""
        fitting = [number for number in self._open() if self._fits(number)]
        for number in fitting:
            if not self._all[number].writes:
                return iter((number,))
        fitting.sort(key=lambda i: (not self._is_required[i], self._all[i].returned))
        return iter(fitting)

    def _open(self) -> Iterator[int]:
        """Those without a place that began before any other one without a place had ended."""
        while self._first < self._count and self._done >> self._by_return[self._first] & 1:
            self._first += 1
        end = NEVER
        if self._first < self._count:
            end = self._return_of(self._by_return[self._first])
        left = ~self._done & ((1 << self._count) - 1)
        while left:
            bit = left & -left
            number = bit.bit_length() - 1
            if self._all[number].invoked > end:
                return
            yield number
            left ^= bit

    def _return_of(self, number: int) -> int:
        return self._all[number].returned if self._is_required[number] else NEVER

    def _fits(self, number: int) -> bool:
        return not self._obstacle(number)

    def _obstacle(self, number: int) -> str:
        """Why it cannot come next, in words; "" if it can."""
        transaction = self._all[number]
        for key, value in transaction.reads.items():
            there = self._state[key]
            if there is None if value == PRESENT else there != value:
                return f"read {show_key(key)}={_show(value)}, and there is {_show(there)}"
        own = self._is_required[number]
        for key in transaction.writes:
            there = self._state[key]
            if (key, there) in self._once:
                left = self._readers[key, there]
                left -= own and transaction.reads.get(key) == there
                if left:
                    return f"would replace {show_key(key)}={_show(there)}, which others read"
        return ""

    def _put(self, number: int) -> None:
        transaction = self._all[number]
        self._done |= 1 << number
        if self._is_required[number]:
            self._needed -= 1
            self._readers.subtract(transaction.reads.items())
        self._undo.append([(key, self._state[key]) for key in transaction.writes])
        self._state.update(transaction.writes)
        self._order.append(number)

    def _take_back(self) -> None:
        number = self._order.pop()
        self._state.update(self._undo.pop())
        self._done &= ~(1 << number)
        self._first = min(self._first, self._rank[number])
        if self._is_required[number]:
            self._needed += 1
            self._readers.update(self._all[number].reads.items())

    def _tell(self) -> list[str]:
        """How far the longest order came, and why none of those at its end could be the next."""
        while self._order:
            self._take_back()
        for number in self._best:
            self._put(number)
        lines = ["no order explains what was read; the longest ends with"]
        lines += [f"  {self._all[number].describe()}" for number in self._best[-6:]]
        lines.append("and none of these can come next:")
        for number in self._open():
            if self._is_required[number]:
                lines.append(f"  {self._all[number].describe()}")
                lines.append(f"      {self._obstacle(number) or 'can, but leads nowhere'}")
        return lines


def _sorted_out(
    transactions: Sequence[Transaction], initial: Mapping[bytes, Value]
) -> tuple[list[Transaction], list[Transaction]]:
    """Those that need a place, and those that may have one. The rest changes nothing."""
    known = [t for t in transactions if t.outcome == OK]
    unknown = [t for t in transactions if t.outcome == INFO and t.writes]
    once = _written_once((*known, *unknown), initial)
    required, seen = known, {item for t in known for item in t.reads.items()}
    new = known
    while new:
        # What one of them has read tells of another one.
        new = [t for t in unknown if any(i in once and i in seen for i in t.writes.items())]
        unknown = [t for t in unknown if t not in new]
        required = [*required, *new]
        seen.update(item for t in new for item in t.reads.items())
    optional: list[Transaction] = []
    new = required
    while new:
        new = [t for t in unknown if any(_may_show(item, seen) for item in t.writes.items())]
        unknown = [t for t in unknown if t not in new]
        optional += new
        seen.update(item for t in new for item in t.reads.items())
    return required, optional


def _may_show(write: tuple[bytes, Value], seen: set[tuple[bytes, Value]]) -> bool:
    """Whether somebody has read what a write may have left."""
    key, value = write
    return write in seen or (value is not None and (key, PRESENT) in seen)


def _written_once(
    transactions: Sequence[Transaction], state: Mapping[bytes, Value]
) -> frozenset[tuple[bytes, Value]]:
    """Keys with values that tell who wrote them. That there is none tells nothing."""
    counts = Counter(item for t in transactions for item in t.writes.items())
    counts.update(state.items())
    return frozenset(i for i, count in counts.items() if count == 1 and i[1] is not None)
