"""One key of memcached as a sequential specification, written from the protocol and not from the
product.

The cas unique is the server's choice, so the model learns it: after a change it is unknown, only
larger than every one seen before; the first `gets` binds it, and from then on it must not differ
until the next change.

Time is the server's choice as well, within bounds (see `cluster_times.py`). An item with an expiry
ends at a time that is known up to an interval, and so does the wait of a delayed flush. So is the
item limit, where the nodes were restarted with another. An
operation whose own time may lie on either side of it may see either; whichever it sees is from then
on so. An item that was once seen to have ended stays gone until something is stored.

Results: reads give `("hit", value, unique, flags)` (unique 0 for a plain get, flags None where the
client is not told) or `("miss",)`; incr and decr give `("number", n)`; all others give the reply
word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

from tests.simulation import meta_model
from tests.simulation.history import INFO, SILENT, Operation
from tests.simulation.meta_model import META_KINDS, META_READS
from tests.simulation.wall_bounds import FOREVER_MS, WallBounds

UINT64 = 1 << 64
RELATIVE_SECONDS_MAX = 60 * 60 * 24 * 30
ITEM_HEADER_BYTES = 59
FLAGS_BYTES = 4
STORES = ("set", "add", "replace", "append", "prepend", "cas")
READS = ("get", "gets")
READ_AND_TOUCH = ("gat", "gats")

Interval = tuple[int, int]
"""Unix ms, both ends included: the earliest and the latest at which something happens."""


class State(NamedTuple):
    """`value` None: no item. `unique` 0: not yet seen. `floor`: the largest unique seen for this
    key. `ends`: when the item expires; None for never. `flush`: when a delayed flush runs; None
    when none is pending. `stale`: marked so; `won`: a client was told that it is to make it anew.
    """

    value: bytes | None
    unique: int
    floor: int
    flags: int = 0
    ends: Interval | None = None
    flush: Interval | None = None
    stale: bool = False
    won: bool = False


INITIAL = State(None, 0, 0)
NOTHING: tuple[State, ...] = ()
GONE: Interval = (-1, -1)
"""Of an exptime: at once."""


class Span(NamedTuple):
    """When an operation ran, by the server's stamp, and what wall clocks were ahead of that."""

    lo: int
    hi: int
    ahead: Interval = (0, 0)


class TimeBounds(Protocol):
    """See `cluster_times.py`."""

    def earliest_ms(self, begin_ns: int, end_ns: int | None) -> int: ...
    def latest_ms(self, end_ns: int | None) -> int: ...
    def wall_ahead_ms(self, begin_ns: int, end_ns: int | None) -> Interval: ...


Step = tuple[State, object]
"""The state after an operation, and its reply."""


class Model:
    """The rules, for a cluster with this item limit and these clocks.

    `item_limits`: the item limits that a leader may have had, in bytes.
    `memory_is_limited`: any set may find that there is no room, and then removes the old value.
    `may_evict`: any item may be gone at any moment, and then it stays gone.
    `keeps_silent_writes`: a write with noreply that nothing delayed was certainly executed. (It may
    be dropped when its session ends in the middle of its repetition, which takes a jump of a clock
    as long as a session may be idle.)
    """

    def __init__(
        self,
        *,
        item_limits: Collection[int] = (1 << 20,),
        memory_is_limited: bool = False,
        may_evict: bool = False,
        walls: TimeBounds | None = None,
        keeps_silent_writes: bool = True,
    ) -> None:
        self.limits = sorted({*item_limits})
        self.memory_is_limited = memory_is_limited
        self.may_evict = may_evict
        self.walls = walls or WallBounds()
        self.keeps_silent_writes = keeps_silent_writes
        self._spans: dict[int, tuple[Operation, Span]] = {}

    def successors(
        self, state: State, operation: Operation, until_ns: int | None = None
    ) -> tuple[State, ...]:
        """The states in which `operation` may leave `state`; none when its result contradicts the
        state.

        For an operation of unknown outcome only those that differ from `state` by its effect:
        having no effect is the same as not having run. It runs before `until_ns`.
        """
        span = self.span(operation)
        lo, hi, _ = span
        views = (state,)
        if state.ends is not None or state.flush is not None:
            last = hi if until_ns is None else min(hi, self.walls.latest_ms(until_ns))
            views = tuple(_views(state, operation, lo, last))
        if self.may_evict and state.value is not None:
            evicted = [removed(view) for view in views if view.value is not None]
            views = tuple(dict.fromkeys((*views, *evicted)))
        after: list[State] = []
        if operation.outcome == INFO:
            for view in views:
                if operation.kind not in READS:
                    after += [new for new, _ in self._run(view, operation, span) if new != view]
        elif operation.result == SILENT:
            if not self.keeps_silent_writes:
                after.append(state)
            for view in views:
                after += [new for new, _ in self._run(view, operation, span)]
        else:
            for view in views:
                after += self._explained(view, operation, span)
        return tuple(dict.fromkeys(after)) if len(after) > 1 else tuple(after)

    def span(self, operation: Operation) -> Span:
        """The earliest and the latest time that the leader can have stamped on an operation."""
        known = self._spans.get(operation.number)
        if known is not None and known[0] is operation:
            return known[1]
        end_ns = operation.returned_ns
        span = Span(
            self.walls.earliest_ms(operation.invoked_ns, end_ns),
            self.walls.latest_ms(end_ns),
            self.walls.wall_ahead_ms(operation.invoked_ns, end_ns),
        )
        self._spans[operation.number] = (operation, span)
        return span

    def is_too_large(self, operation: Operation, limit: int) -> bool:
        """Refused before anybody looks at the key."""
        if operation.kind not in STORES:
            return False
        flags = 0 if operation.kind in ("append", "prepend") else operation.flags
        return not _fits(operation.key, flags, len(operation.argument), limit)

    def _explained(self, view: State, operation: Operation, span: Span) -> Iterator[State]:
        """States after `operation` as it was answered."""
        kind, result = operation.kind, operation.result
        if kind in META_KINDS:
            yield from meta_model.explained(self, view, operation, span)
        elif kind in READS or kind in READ_AND_TOUCH:
            seen = read(view, result)
            if seen is None:
                return
            if kind in READS or seen.value is None:
                yield seen
            else:
                yield from retimed(seen, operation.exptime, span)
        elif kind == "cas" and result == "STORED":
            known = None if view.value is None else bound(view, operation.unique)
            if known is not None and not self.is_too_large(operation, max(self.limits)):
                yield from stored(known, operation, span)
        else:
            for new, reply in self._run(view, operation, span):
                if reply == result:
                    yield new

    def _run(self, view: State, operation: Operation, span: Span) -> Iterator[Step]:
        """What may happen, with its reply: once for every choice the server has."""
        if operation.kind in META_KINDS:
            yield from meta_model.run(self, view, operation, span)
            return
        for limit in self.limits:
            yield from self._run_within(view, operation, span, limit)

    def _run_within(
        self, view: State, operation: Operation, span: Span, limit: int
    ) -> Iterator[Step]:
        kind, old = operation.kind, view.value
        if kind == "set" and not self.is_too_large(operation, limit):
            # A repetition of what another node refused for its size hears this as well.
            was_refused = self.is_too_large(operation, self.limits[0])
            if self.memory_is_limited or was_refused:
                yield removed(view), "OUT_OF_MEMORY"
        if self.is_too_large(operation, limit):
            # As in memcached: nobody may read what a set was meant to replace.
            yield (removed(view) if kind == "set" else view), "TOO_LARGE"
        elif kind == "set" or (kind == "add" and old is None):
            yield from _replies(stored(view, operation, span), "STORED")
        elif kind == "flush_all":
            yield from _replies(_flushed(view, operation.exptime, span), "OK")
        elif kind == "add":
            yield view, "NOT_STORED"
        elif old is None:
            yield view, "NOT_STORED" if kind in ("replace", "append", "prepend") else "NOT_FOUND"
        elif kind == "replace":
            yield from _replies(stored(view, operation, span), "STORED")
        elif kind in ("append", "prepend"):
            argument = operation.argument
            value = old + argument if kind == "append" else argument + old
            if _fits(operation.key, view.flags, len(value), limit):
                yield _rewritten(view, value), "STORED"
            else:
                yield view, "NOT_STORED"
        elif kind == "cas":
            known = bound(view, operation.unique)
            if known is not None:
                yield from _replies(stored(known, operation, span), "STORED")
            if view.unique != operation.unique:
                yield view, "EXISTS"
        elif kind == "delete":
            yield removed(view), "DELETED"
        elif kind in ("incr", "decr"):
            yield counted(view, old, operation)
        elif kind == "touch" or kind in READ_AND_TOUCH:
            yield from _replies(retimed(view, operation.exptime, span), "TOUCHED")
        else:
            raise ValueError(f"no rule for {kind}")


def _fits(key: bytes, flags: int, value_bytes: int, limit: int) -> bool:
    flags_bytes = FLAGS_BYTES if flags else 0
    return ITEM_HEADER_BYTES + len(key) + flags_bytes + value_bytes <= limit


PLAIN = Model()
"""memcached's default item limit, and one perfect clock that shows virtual time."""


# -- time ------------------------------------------------------------------------------------------


def _views(state: State, operation: Operation, lo: int, hi: int) -> Iterator[State]:
    """What an operation that runs between `lo` and `hi` may find: a flush may have run by then, and
    the item may have ended.
    """
    flush, ends = state.flush, state.ends
    if flush is not None:
        if state.value is None and operation.kind in (*READS, *META_READS):
            yield state  # A read that finds nothing moves nothing: the flush still waits.
            return
        if hi >= flush[0]:
            yield State(None, 0, state.floor)
        if lo >= flush[1]:
            return
    if ends is None or lo < ends[1]:
        yield state
    if ends is not None and hi >= ends[0]:
        yield removed(state)


def expiries(exptime: int, span: Span) -> Iterator[Interval | None]:
    """What an exptime means to a command that runs within `span`: an interval, None for never,
    GONE.
    """
    if exptime == 0:
        yield None
    elif exptime < 0:
        yield GONE
    elif exptime <= RELATIVE_SECONDS_MAX:
        yield _later(exptime, span)
    else:
        first, last = _unix(exptime, span)
        if span.lo < last:
            yield first, last
        if span.hi >= first:
            yield GONE


def _later(seconds: int, span: Span) -> Interval:
    return span.lo + seconds * 1000, min(FOREVER_MS, span.hi + seconds * 1000)


def _unix(seconds: int, span: Span) -> Interval:
    """A Unix time, as a stamp."""
    return seconds * 1000 - span.ahead[1], seconds * 1000 - span.ahead[0]


def _flushed(view: State, delay: int, span: Span) -> Iterator[State]:
    if delay <= 0:
        yield State(None, 0, view.floor)
    elif delay <= RELATIVE_SECONDS_MAX:
        yield view._replace(flush=_later(delay, span))
    else:
        first, last = _unix(delay, span)
        if span.lo < last:
            yield view._replace(flush=(first, last))
        if span.lo <= last and first <= span.hi:
            yield State(None, 0, view.floor)
        if span.hi > first:
            yield view._replace(flush=None)


# -- changes ---------------------------------------------------------------------------------------


def _replies(states: Iterator[State], reply: str) -> Iterator[Step]:
    for state in states:
        yield state, reply


def stored(view: State, operation: Operation, span: Span) -> Iterator[State]:
    for ends in expiries(operation.exptime, span):
        if ends is GONE:
            yield removed(view)
        else:
            yield State(operation.argument, 0, view.floor, operation.flags, ends, view.flush)


def retimed(view: State, exptime: int, span: Span) -> Iterator[State]:
    """A new expiry; value, flags and unique stay."""
    for ends in expiries(exptime, span):
        yield removed(view) if ends is GONE else view._replace(ends=ends)


def _rewritten(view: State, value: bytes) -> State:
    """A new value; flags and expiry stay."""
    return State(value, 0, view.floor, view.flags, view.ends, view.flush)


def removed(view: State) -> State:
    return State(None, 0, view.floor, 0, None, view.flush)


def bound(state: State, unique: int) -> State | None:
    """`state` with its unique known to be `unique`, or None when it cannot be."""
    if state.unique:
        return state if state.unique == unique else None
    return state._replace(unique=unique, floor=unique) if unique > state.floor else None


def read(view: State, result: tuple[object, ...]) -> State | None:
    """The state with what a read has told of it, or None when it tells something else."""
    if view.value is None:
        return view if result[0] == "miss" else None
    if result[0] != "hit" or result[1] != view.value:
        return None
    if len(result) > 3 and result[3] is not None and result[3] != view.flags:
        return None
    unique = result[2]
    assert isinstance(unique, int)
    return bound(view, unique) if unique else view


def counted(view: State, old: bytes, operation: Operation) -> Step:
    digits = old.rstrip(b" ")
    if not digits.isdigit() or int(digits) >= UINT64:
        return view, "NON_NUMERIC"
    number, delta = int(digits), operation.argument
    number = (number + delta) % UINT64 if operation.kind == "incr" else max(0, number - delta)
    # A result that is not longer than the old text is written in place and padded.
    new = _rewritten(view, str(number).encode().ljust(len(old)))
    return new._replace(stale=view.stale, won=view.won), ("number", number)
