"""One key of memcached as a sequential specification, written from the protocol and not from the
product.

The cas unique is the server's choice, so the model learns it: after a change it is unknown, only
larger than every one seen before; the first `gets` binds it, and from then on it must not differ
until the next change.

Results: reads give `("hit", value, unique)` (unique 0 for a plain get) or `("miss",)`; incr and
decr give `("number", n)`; all others give the reply word.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.history import INFO, Operation

UINT64 = 1 << 64


class State(NamedTuple):
    """`value` None: no item. `unique` 0: not yet seen. `floor`: the largest unique seen for this
    key.
    """

    value: bytes | None
    unique: int
    floor: int


INITIAL = State(None, 0, 0)
NOTHING: tuple[State, ...] = ()


def successors(state: State, operation: Operation) -> tuple[State, ...]:
    """The states in which `operation` may leave `state`; none when its result contradicts the
    state.

    For an operation of unknown outcome only those that differ from `state`: having no effect is the
    same as not having run.
    """
    if operation.outcome == INFO:
        return _effects(state, operation)
    kind, result = operation.kind, operation.result
    if kind in ("get", "gets"):
        return _read(state, result)
    if kind == "cas":
        return _cas(state, operation)
    value, reply = _run(state.value, operation)
    if reply != result:
        return NOTHING
    return (state,) if value is _UNCHANGED else (_changed(state, value),)


_UNCHANGED = b"<unchanged>"


def _changed(state: State, value: bytes | None) -> State:
    return State(value, 0, state.floor)


def _bound(state: State, unique: int) -> State | None:
    """`state` with its unique known to be `unique`, or None when it cannot be."""
    if state.unique:
        return state if state.unique == unique else None
    return State(state.value, unique, unique) if unique > state.floor else None


def _read(state: State, result: tuple[object, ...]) -> tuple[State, ...]:
    if state.value is None:
        return (state,) if result == ("miss",) else NOTHING
    if result[0] != "hit" or result[1] != state.value:
        return NOTHING
    unique = result[2]
    if not unique:
        return (state,)
    assert isinstance(unique, int)
    bound = _bound(state, unique)
    return NOTHING if bound is None else (bound,)


def _cas(state: State, operation: Operation) -> tuple[State, ...]:
    result = operation.result
    if state.value is None:
        return (state,) if result == "NOT_FOUND" else NOTHING
    if result == "STORED":
        bound = _bound(state, operation.unique)
        return NOTHING if bound is None else (_changed(bound, operation.argument),)
    if result == "EXISTS" and state.unique != operation.unique:
        return (state,)
    return NOTHING


def _effects(state: State, operation: Operation) -> tuple[State, ...]:
    if operation.kind in ("get", "gets"):
        return NOTHING
    if operation.kind == "cas":
        bound = None if state.value is None else _bound(state, operation.unique)
        return NOTHING if bound is None else (_changed(bound, operation.argument),)
    value, _ = _run(state.value, operation)
    return NOTHING if value is _UNCHANGED else (_changed(state, value),)


def _run(old: bytes | None, operation: Operation) -> tuple[bytes | None, object]:
    """The new value (`_UNCHANGED` when nothing was written) and the reply."""
    kind, argument = operation.kind, operation.argument
    if kind == "set":
        return argument, "STORED"
    if kind == "add":
        return (argument, "STORED") if old is None else (_UNCHANGED, "NOT_STORED")
    if kind == "delete":
        return (_UNCHANGED, "NOT_FOUND") if old is None else (None, "DELETED")
    if kind in ("replace", "append", "prepend"):
        if old is None:
            return _UNCHANGED, "NOT_STORED"
        new = {"replace": argument, "append": old + argument, "prepend": argument + old}[kind]
        return new, "STORED"
    if kind in ("incr", "decr"):
        return _count(old, kind, argument)
    raise ValueError(f"no rule for {kind}")


def _count(old: bytes | None, kind: str, delta: int) -> tuple[bytes | None, object]:
    if old is None:
        return _UNCHANGED, "NOT_FOUND"
    digits = old.rstrip(b" ")
    if not digits.isdigit() or int(digits) >= UINT64:
        return _UNCHANGED, "NON_NUMERIC"
    number = int(digits)
    number = (number + delta) % UINT64 if kind == "incr" else max(0, number - delta)
    # A result that is not longer than the old text is written in place and padded.
    return str(number).encode().ljust(len(old)), ("number", number)
