"""Is a history of one key linearizable? Answers ok, illegal, or unknown when the search grew too
large.

Just-in-time linearization: walk along the history and keep the set of *configurations* that are
still possible. A configuration is a state of the model, which pending operations have taken effect
in it, and which operations of unknown outcome were used. Nothing takes effect before it must: when
an operation returns, every configuration in which it has not yet taken effect is extended by every
sequence of pending operations that ends with it.

Operations of unknown outcome owe us nothing, so of two configurations that are otherwise equal the
one that used fewer of them can do all that the other can: only the smallest are kept.

An operation that changes nothing, a read above all, takes effect as soon as it fits: the state is
the same with it and without it, so nothing is left out by that.

Of those that ask for the same (increments by one, above all) the one that was invoked first is used
first. Nothing is left out by that: where a later one was used before an earlier one, the two may
change places, as both were invoked by then, and the stamps of a log never go back.

Most of them never matter, and trying them all at every step is what makes a long history slow. So
the first walk is *sparing*: it lets one take effect only where nothing else explains a result. What
it finds legal is legal, since it looks at fewer orders and not at other ones. Where it is stuck it
goes back a little and tries more from there, then further back; only the search that tries
everything from the beginning says that a history is illegal.

Sources: Wing and Gong 1993; Lowe 2017, "Testing for linearizability" (just-in-time linearization).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tests.simulation.history import EVERY_KEY, INFO, OK, History, Operation, show_key
from tests.simulation.meta_model import META_KINDS
from tests.simulation.model import INITIAL, NOTHING, PLAIN, STORES, Model, State

LEGAL = "ok"
ILLEGAL = "illegal"
UNKNOWN = "unknown"

CONFIGURATIONS_MAX = 1_000_000

IDLE_WORDS = ("NOT_STORED", "NOT_FOUND", "EXISTS", "NON_NUMERIC", "NF", "EX")

MARK_EVERY_EVENTS = 40
"""Distance of the places to which a sparing walk may go back."""

UNBOUNDED = 1 << 30

SPARING_CONFIGURATIONS_MAX = 200
"""What a sparing walk keeps from one return to the next."""

STEPS_BACK = (1, 4, 16, 64)
"""How many such places it goes back, one try after the other."""

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

    @property
    def key(self) -> bytes:
        """The key, of which a flush_all says nothing."""
        keys = [operation.key for operation in self.window if operation.key != EVERY_KEY]
        return keys[0] if keys else EVERY_KEY

    def describe(self) -> str:
        if self.kind != ILLEGAL or self.culprit is None:
            return f"{self.kind} after {self.explored} configurations"
        lines = [f"key {show_key(self.key)} is not linearizable; before the window:"]
        lines += [f"  possible state: {state}" for state in self.states[:8]]
        for operation in self.window:
            mark = ">>" if operation is self.culprit else "  "
            lines.append(f"{mark}{operation.describe()}")
        return "\n".join(lines)


class SearchTooLarge(Exception):
    """More configurations than the bound."""


def check_history(history: History, model: Model = PLAIN) -> dict[bytes, Verdict]:
    """A verdict for each key, in order of first use."""
    return {key: check_key(operations, model) for key, operations in history.by_key().items()}


def check_key(
    operations: Sequence[Operation],
    model: Model = PLAIN,
    *,
    initial: Sequence[State] = (INITIAL,),
    configurations_max: int = CONFIGURATIONS_MAX,
) -> Verdict:
    """Check the operations of one key (all outcomes but "fail")."""
    explored = _sparing_walk(operations, model, initial, configurations_max)
    if explored:
        return Verdict(LEGAL, explored=explored)
    # Where it is stuck, the answer is nearly always near: this one need not be as patient.
    verdict = _search(operations, model, initial, configurations_max // 4)
    if verdict.kind == ILLEGAL:
        _shrink(verdict, model, configurations_max)
    return verdict


def _sparing_walk(
    operations: Sequence[Operation],
    model: Model,
    initial: Sequence[State],
    configurations_max: int,
) -> int:
    """How many configurations a walk looked at that explains everything; 0 if it is stuck."""
    search = _Search(model, configurations_max)
    search.explored = 1
    configurations: Configurations = {(state, 0): [0] for state in initial}
    events = _events(operations)
    search.leave_out = _never_seen(operations)
    marks = [search.mark(0, configurations)]
    for position, (_, is_return, operation) in enumerate(events):
        if not is_return:
            search.invoke(operation)
            continue
        try:
            configurations = search.linearize(_thinned(configurations), operation, 0)
            for back in STEPS_BACK:
                if configurations:
                    break
                del marks[max(1, len(marks) - back + 1) :]
                configurations = search.again(marks[-1], events, position)
        except SearchTooLarge:
            return 0
        if not configurations:
            return 0
        if position - marks[-1].position >= MARK_EVERY_EVENTS:
            marks.append(search.mark(position + 1, configurations))
    return search.explored


def _search(
    operations: Sequence[Operation],
    model: Model,
    initial: Sequence[State],
    configurations_max: int,
) -> Verdict:
    """Try everything."""
    search = _Search(model, configurations_max)
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


def may_explain(operation: Operation, target: Operation) -> bool:
    """Whether an operation of unknown outcome is likely to be what `target` shows.

    Only a guess, for a sparing walk. What a read shows is told by the value.
    """
    kind, result = operation.kind, target.result
    if kind in META_KINDS:
        return True
    if result[0] == "hit" and target.outcome == OK:
        if kind in STORES:
            return operation.argument in result[1]
        if kind in ("incr", "decr"):
            return bool(result[1].strip().isdigit())
        return kind in ("touch", "gat", "gats") and operation.exptime >= 0
    if result[0] == "miss":
        return kind in ("delete", "flush_all") or operation.exptime != 0
    return True


def _never_seen(operations: Sequence[Operation]) -> set[int]:
    """Numbers of the stores of unknown outcome whose value is in nothing that was read: most likely
    they never ran, or left no trace. (A number may show in what was counted from there.)
    """
    values = {o.result[1]: None for o in operations if o.outcome == OK and o.result[0] == "hit"}
    seen = b"\n".join(values)
    return {
        o.number
        for o in operations
        if o.kind in STORES and o.argument not in seen and not o.argument.isdigit()
    }


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


@dataclass(slots=True)
class _Mark:
    """A place in the events to which a walk may come back."""

    position: int
    configurations: Configurations
    pending: dict[int, Operation]
    bits: dict[int, int]
    unknown_count: int


class _Search:
    """Pending operations by bit, and the extension of configurations."""

    def __init__(self, model: Model, configurations_max: int) -> None:
        self.pending: dict[int, Operation] = {}
        self.unknown: list[Operation] = []
        self._equals: list[int] = []
        """Of each of these the mask of the last one before it that asks for the same; 0: none."""
        self.explored = 0
        self.leave_out: set[int] = set()
        """Operations of unknown outcome that are not tried at depth 0."""
        self._successors = model.successors
        self._bits: dict[int, int] = {}
        self._configurations_max = configurations_max

    def invoke(self, operation: Operation) -> None:
        if operation.outcome == INFO:
            self._equals.append(self._last_equal(operation))
            self.unknown.append(operation)
            return
        bit = 1
        while bit in self.pending:
            bit <<= 1
        self.pending[bit] = operation
        self._bits[operation.number] = bit

    def _last_equal(self, operation: Operation) -> int:
        asked = _asked(operation)
        for index in reversed(range(len(self.unknown))):
            if _asked(self.unknown[index]) == asked:
                return 1 << index
        return 0

    def mark(self, position: int, configurations: Configurations) -> _Mark:
        """Remember where the walk is: before event `position`."""
        copied = {key: list(masks) for key, masks in configurations.items()}
        return _Mark(position, copied, dict(self.pending), dict(self._bits), len(self.unknown))

    def again(
        self, mark: _Mark, events: list[tuple[int, bool, Operation]], position: int
    ) -> Configurations:
        """Go back to `mark` and try more from there up to the event `position`."""
        self.pending, self._bits = dict(mark.pending), dict(mark.bits)
        del self.unknown[mark.unknown_count :], self._equals[mark.unknown_count :]
        configurations = mark.configurations
        for _, is_return, operation in events[mark.position : position + 1]:
            if not is_return:
                self.invoke(operation)
            else:
                # An empty set stays empty, and the pending operations are as they have to be.
                configurations = self.linearize(_thinned(configurations), operation, 1)
        return configurations

    def linearize(
        self, configurations: Configurations, target: Operation, depth: int = UNBOUNDED
    ) -> Configurations:
        """All configurations in which `target`, which returns now, has taken effect.

        But with a `depth` only those that use up to as many further operations of unknown outcome,
        or one or two more if there would be none: a part, and never empty without need.
        """
        # Replies of a connection come in order, so `target.after` has returned before. Whatever is
        # pending behind something pending has to wait for it.
        blocked_by = {bit: self._bits.get(op.after, 0) for bit, op in self.pending.items()}
        target_bit = self._bits.pop(target.number)
        del self.pending[target_bit]
        target_is_blind = is_blind(target)
        target_is_idle = is_idle(target)
        pending = [(bit, operation, is_blind(operation)) for bit, operation in self.pending.items()]
        idle = [(bit, o, blocked_by[bit]) for bit, o in self.pending.items() if is_idle(o)]
        candidates = [
            (1 << index, operation, is_blind(operation), self._equals[index])
            for index, operation in enumerate(self.unknown)
            if depth or (operation.number not in self.leave_out and may_explain(operation, target))
        ]
        until_ns = target.returned_ns
        successors = self._successors
        level = 0
        """How many further operations of unknown outcome have been used."""
        after: Configurations = {}
        seen: Configurations = {}
        queue: list[tuple[int, int, State, int, int, bool]] = []

        def reach(state: State, done: int, used: int, overwritable: bool) -> None:
            # In order of invocation, so what an operation has to wait for is looked at before it.
            for bit, operation, before in idle:
                if done & bit or done & before != before:
                    continue
                if successors(state, operation, until_ns) == (state,):
                    done |= bit
                    overwritable = False
            # Fewest unknown operations first: what used more is then mostly dropped at once.
            if _add(seen, state, done, used):
                self.explored += 1
                count = used.bit_count()
                heappush(queue, (count, self.explored, state, done, used, overwritable))

        for (state, done), masks in configurations.items():
            for used in masks:
                if done & target_bit:
                    _add(after, state, done & ~target_bit, used)
                else:
                    reach(state, done, used, False)
        waiting: list[tuple[State, int, int, bool]] = []
        while queue:
            if self.explored > self._configurations_max:
                raise SearchTooLarge
            _, _, state, done, used, overwritable = heappop(queue)
            if used in seen[state, done]:
                fits = NOTHING
                if not (overwritable and target_is_blind):
                    fits = successors(state, target, until_ns)
                    for next_state in fits:
                        _add(after, next_state, done, used)
                if not (target_is_idle and fits == (state,)):
                    waiting.append((state, done, used, overwritable))
                    for bit, operation, blind in pending:
                        before = blocked_by[bit]
                        if done & bit or done & before != before or (overwritable and blind):
                            continue
                        for next_state in successors(state, operation, until_ns):
                            reach(next_state, done | bit, used, False)
            if queue or (after and level >= depth) or level >= depth + 2:
                continue
            level += 1
            # What needs one more operation of unknown outcome comes after all that needs none.
            for state, done, used, overwritable in waiting:
                if used not in seen[state, done]:
                    continue
                for mask, operation, blind, before in candidates:
                    if used & mask or used & before != before:
                        continue
                    if not (overwritable and blind):
                        for next_state in successors(state, operation, until_ns):
                            reach(next_state, done, used | mask, operation.kind != "flush_all")
            waiting.clear()
        return after


def _asked(operation: Operation) -> tuple[object, ...]:
    """What an operation of the key asks for."""
    o = operation
    return o.kind, o.argument, o.unique, o.exptime, o.flags


def is_blind(operation: Operation) -> bool:
    """Whether it leaves the same state whatever the item was.

    An operation of unknown outcome directly before such a one is of no use: leaving it out comes to
    the same. But for a flush, which may replace a delayed one.
    """
    kind = operation.kind
    return kind == "set" or (kind == "flush_all" and operation.exptime <= 0)


def is_idle(operation: Operation) -> bool:
    """Whether what it was told says that it changed nothing, whatever the item was.

    Where such an operation fits and leaves the state as it is, it may as well take effect at once.
    Nothing is left out by that: whatever order has it later is as good without it there.
    """
    if operation.outcome != OK:
        return False
    if operation.is_read:
        return True
    result = operation.result
    return result == ("miss",) or result in IDLE_WORDS


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


def _thinned(configurations: Configurations) -> Configurations:
    """Of each state one way to reach it, and of too many states those that used the least."""
    thin = {key: [min(masks, key=int.bit_count)] for key, masks in configurations.items()}
    if len(thin) > SPARING_CONFIGURATIONS_MAX:
        least = sorted(thin.items(), key=lambda item: item[1][0].bit_count())
        thin = dict(least[:SPARING_CONFIGURATIONS_MAX])
    return thin


def _shrink(verdict: Verdict, model: Model, configurations_max: int) -> None:
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
        again = _search(without, model, verdict.states, configurations_max)
        if again.kind == ILLEGAL and again.culprit is culprit:
            needed = without
    verdict.window = needed
