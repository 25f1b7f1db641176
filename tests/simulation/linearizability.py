"""Is a history of one key linearizable? Answers ok, illegal, or unknown when the search grew too
large.

Just-in-time linearization: walk along the history and keep the set of *configurations* that are
still possible. A configuration is a state of the model, which pending operations have taken effect
in it, and which operations of unknown outcome were used. Nothing takes effect before it must: when
an operation returns, every configuration in which it has not yet taken effect is extended by every
sequence of pending operations that ends with it.

Operations of unknown outcome owe us nothing, so of two configurations that are otherwise equal the
one that used fewer of them can do all that the other can: only the smallest are kept, and they do
not make the search explode.

Sources: Wing and Gong 1993; Lowe 2017, "Testing for linearizability" (just-in-time linearization).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tests.simulation.history import INFO, OK, History, Operation
from tests.simulation.model import INITIAL, State, successors

LEGAL = "ok"
ILLEGAL = "illegal"
UNKNOWN = "unknown"

CONFIGURATIONS_MAX = 200_000

Configurations = dict[tuple[State, int], list[int]]
"""(state, pending operations done as a bit mask) -> minimal masks of unknown-outcome operations
used.
"""


@dataclass(slots=True)
class Verdict:
    """`culprit` is the operation whose return could not be explained, `window` what it is about."""

    kind: str
    culprit: Operation | None = None
    window: list[Operation] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    explored: int = 0

    def describe(self) -> str:
        if self.kind != ILLEGAL or self.culprit is None:
            return f"{self.kind} after {self.explored} configurations"
        lines = [f"key {self.culprit.key.decode()} is not linearizable; before the window:"]
        lines += [f"  possible state: {state}" for state in self.states[:8]]
        for operation in self.window:
            mark = ">>" if operation is self.culprit else "  "
            lines.append(f"{mark}{operation.describe()}")
        return "\n".join(lines)


class SearchTooLarge(Exception):
    """More configurations than the bound."""


def check_history(history: History) -> dict[bytes, Verdict]:
    """A verdict for each key, in order of first use."""
    return {key: check_key(operations) for key, operations in history.by_key().items()}


def check_key(
    operations: Sequence[Operation],
    *,
    initial: Sequence[State] = (INITIAL,),
    configurations_max: int = CONFIGURATIONS_MAX,
) -> Verdict:
    """Check the operations of one key (all outcomes but "fail")."""
    verdict = _search(operations, initial, configurations_max)
    if verdict.kind == ILLEGAL:
        _shrink(verdict, configurations_max)
    return verdict


def _search(
    operations: Sequence[Operation], initial: Sequence[State], configurations_max: int
) -> Verdict:
    search = _Search(configurations_max)
    configurations: Configurations = {(state, 0): [0] for state in initial}
    quiet_states = list(initial)
    window: list[Operation] = []
    for _, is_return, operation in _events(operations):
        if not is_return:
            search.invoke(operation)
            window.append(operation)
            continue
        try:
            configurations = search.linearize(configurations, operation)
        except SearchTooLarge:
            return Verdict(UNKNOWN, operation, explored=search.explored)
        if not configurations:
            window = [w for w in window if w.outcome == OK or w.invoked < (operation.returned or 0)]
            return Verdict(ILLEGAL, operation, window, quiet_states, search.explored)
        if not search.pending:
            # Nothing is in between: a failure after this needs nothing from before it.
            quiet_states = list(dict.fromkeys(state for state, _ in configurations))
            window = list(search.unknown)
    return Verdict(LEGAL, explored=search.explored)


def _events(operations: Sequence[Operation]) -> list[tuple[int, bool, Operation]]:
    events = []
    for operation in operations:
        if operation.outcome == INFO:
            if not operation.is_read:
                events.append((operation.invoked, False, operation))
        else:
            assert operation.returned is not None
            events.append((operation.invoked, False, operation))
            events.append((operation.returned, True, operation))
    events.sort(key=lambda event: event[0])
    return events


class _Search:
    """Pending operations by bit, and the extension of configurations."""

    def __init__(self, configurations_max: int) -> None:
        self.pending: dict[int, Operation] = {}
        self.unknown: list[Operation] = []
        self.explored = 0
        self._bits: dict[int, int] = {}
        self._configurations_max = configurations_max

    def invoke(self, operation: Operation) -> None:
        if operation.outcome == INFO:
            self.unknown.append(operation)
            return
        bit = 1
        while bit in self.pending:
            bit <<= 1
        self.pending[bit] = operation
        self._bits[operation.number] = bit

    def linearize(self, configurations: Configurations, target: Operation) -> Configurations:
        """All configurations in which `target`, which returns now, has taken effect."""
        # Replies of a connection come in order, so `target.after` has returned before. Whatever is
        # pending behind something pending has to wait for it.
        bits = self._bits
        blocked_by = {bit: bits.get(op.after, 0) for bit, op in self.pending.items()}
        target_bit = bits.pop(target.number)
        after: Configurations = {}
        seen: Configurations = {}
        queue: list[tuple[int, int, State, int, int]] = []

        def reach(state: State, done: int, used: int) -> None:
            # Fewest unknown operations first: what used more is then mostly dropped at once.
            if _add(seen, state, done, used):
                self.explored += 1
                heappush(queue, (used.bit_count(), self.explored, state, done, used))

        for (state, done), masks in configurations.items():
            for used in masks:
                if done & target_bit:
                    _add(after, state, done & ~target_bit, used)
                else:
                    reach(state, done, used)
        while queue:
            if self.explored > self._configurations_max:
                raise SearchTooLarge
            _, _, state, done, used = heappop(queue)
            if used not in seen[state, done]:
                continue
            for next_state in successors(state, target):
                _add(after, next_state, done, used)
            for bit, operation in self.pending.items():
                before = blocked_by[bit]
                if bit != target_bit and not done & bit and done & before == before:
                    for next_state in successors(state, operation):
                        reach(next_state, done | bit, used)
            for index, operation in enumerate(self.unknown):
                if not used >> index & 1:
                    for next_state in successors(state, operation):
                        reach(next_state, done, used | 1 << index)
        del self.pending[target_bit]
        return after


def _add(configurations: Configurations, state: State, done: int, used: int) -> bool:
    """Add a configuration unless one that used a subset is there; drop supersets of it."""
    masks = configurations.get((state, done))
    if masks is None:
        configurations[state, done] = [used]
        return True
    for mask in masks:
        if mask & used == mask:
            return False
    masks[:] = [mask for mask in masks if mask & used != used]
    masks.append(used)
    return True


def _shrink(verdict: Verdict, configurations_max: int) -> None:
    """Leave out of the window what the failure does not need.

    Only reads and operations of unknown outcome are tried: leaving out an acknowledged write could
    turn a legal window into an illegal one.
    """
    culprit = verdict.culprit
    assert culprit is not None
    needed = list(verdict.window)
    for operation in list(needed):
        if operation is culprit or not (operation.is_read or operation.outcome == INFO):
            continue
        without = [kept for kept in needed if kept is not operation]
        again = _search(without, verdict.states, configurations_max)
        if again.kind == ILLEGAL and again.culprit is culprit:
            needed = without
    verdict.window = needed
