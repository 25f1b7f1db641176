"""The meta commands in the model of one key (`model.py`), from protocol.txt and not from the
product.

Kinds, one for each use of a command that changes something of its own:

    mg    `mg k c f v`            a plain read; it wins what is stale and was not won yet
    mgN   ... N<exptime>          makes a missing item, and wins
    mgR   ... R<exptime>          wins what has less time left
    mgT   ... T<exptime>          another end
    mdI   `md k I`                stale from now on, and to be won again
    mdx   `md k x`                empty, and for ever
    msI   `ms k C<unique> I`      a cas that stores what is older than the item as stale
    msE   `ms k E<unique>`        a set that chooses its unique
    maN   `ma k v N0 J<argument>` one more, or the first number

Results: the four of `mg` give `("hit", value, unique, flags, marks)` or `("miss",)`, where marks
are the letters Z, X and W as they were told; maN gives `("number", n)`; the others their code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.history import Operation

if TYPE_CHECKING:
    from tests.simulation.model import Model, Span, State, Step

META_GETS = ("mg", "mgN", "mgR", "mgT")
META_STORES = ("msI", "msE")
META_KINDS = (*META_GETS, *META_STORES, "mdI", "mdx", "maN")
META_READS = ("mg", "mgR")
"""Those that look at a missing item and go no further."""

CLOCKS_APART_MS = 1000
"""The node that a client asks decides by its own clock that an mgR needs no look of the leader."""


def run(model: Model, view: State, operation: Operation, span: Span) -> Iterator[Step]:
    """What may happen to `view`, with the reply; of a hit only the marks, None for a miss."""
    from tests.simulation import model as rules

    kind, old = operation.kind, view.value
    if kind in META_GETS:
        yield from _got(model, view, operation, span)
        return
    if model.memory_is_limited and kind in META_STORES:
        yield rules.removed(view), "OUT_OF_MEMORY"
    if kind == "msE":
        floor = max(view.floor, operation.unique)
        for new in rules.stored(view._replace(floor=floor), operation, span):
            yield (new._replace(unique=operation.unique) if new.value is not None else new), "HD"
    elif kind == "maN":
        if old is None:
            if model.memory_is_limited:
                yield view, "OUT_OF_MEMORY"
            first = operation.argument
            fresh = rules.State(b"%d" % first, 0, view.floor, 0, None, view.flush)
            yield fresh, ("number", first)
        else:
            yield rules.counted(view, old, replace(operation, kind="incr", argument=1))
    elif old is None:
        yield view, "NF"
    elif kind == "mdI":
        yield view._replace(unique=0, stale=True, won=False), "HD"
    elif kind == "mdx":
        yield rules.State(b"", 0, view.floor, 0, None, view.flush), "HD"
    elif kind == "msI":
        yield from _invalidated(view, operation, span)
    else:
        raise ValueError(f"no rule for {kind}")


def _invalidated(view: State, operation: Operation, span: Span) -> Iterator[Step]:
    """A cas with I. The item's unique may not be known yet: then it may be any above the floor."""
    from tests.simulation import model as rules

    asked = operation.unique
    bound = rules.bound(view, asked)
    if bound is not None and asked:
        for new in rules.stored(bound, operation, span):
            yield new, "HD"
    if asked and (asked < view.unique or (not view.unique)):
        floor = max(view.floor, asked)
        data = rules.State(operation.argument, 0, floor, operation.flags, view.ends, view.flush)
        yield data._replace(stale=True, won=view.won), "HD"
    if not asked or asked > (view.unique or view.floor + 1):
        yield view, "EX"


def explained(model: Model, view: State, operation: Operation, span: Span) -> Iterator[State]:
    """States after `operation` as it was answered."""
    from tests.simulation import model as rules

    result = operation.result
    if operation.kind not in META_GETS:
        for new, reply in run(model, view, operation, span):
            if reply == result:
                yield new
    elif result[0] == "miss":
        for new, marks in run(model, view, operation, span):
            if marks is None:
                yield new
    elif view.value is None:
        for new, marks in run(model, view, operation, span):
            if marks == result[4] and result[1] == b"" and result[3] == 0:
                found = new if new.value is None else rules.bound(new, result[2])
                if found is not None:
                    yield found
    else:
        seen = rules.read(view, result[:4])
        if seen is not None:
            for new, marks in run(model, seen, operation, span):
                if marks == result[4]:
                    yield new


def _got(model: Model, view: State, operation: Operation, span: Span) -> Iterator[Step]:
    from tests.simulation import model as rules

    kind = operation.kind
    if view.value is None:
        if kind != "mgN" or model.memory_is_limited:
            yield view, None
        if kind == "mgN":
            for ends in rules.expiries(operation.exptime, span):
                fresh = rules.State(b"", 0, view.floor, 0, ends, view.flush, won=True)
                yield (rules.removed(view) if ends is rules.GONE else fresh), "W"
        return
    for is_won in _wins(view, operation, span):
        marks = "Z" * (view.won and not is_won) + "X" * view.stale + "W" * is_won
        new = view._replace(won=view.won or is_won)
        if kind == "mgT":
            for retimed in rules.retimed(new, operation.exptime, span):
                yield retimed, marks
        else:
            yield new, marks


def _wins(view: State, operation: Operation, span: Span) -> Iterator[bool]:
    if view.won:
        yield False
    elif view.stale:
        yield True
    elif operation.kind != "mgR" or view.ends is None:
        yield False
    else:
        first, last = view.ends
        bound_ms = (operation.exptime - 1) * 1000
        if first - span.hi <= bound_ms:
            yield True
        if last - span.lo > bound_ms - CLOCKS_APART_MS:
            yield False
