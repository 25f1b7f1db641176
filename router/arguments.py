"""Checks of what callers hand in, before anything is sent. Pure.

Every check either returns the value to use or raises `InvalidArgument` with a sentence that names
the argument. Nothing is rounded, cut or guessed: memcached counts whole seconds, so an `exptime` of
0.5 sent as 0 would never expire, and rounded up it would still not be what the caller wrote. `True`
is no number either, though Python counts it as 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import TypeVar

from quorumcache.router.errors import InvalidArgument
from quorumcache.router.levels import Bounded, Linearizable, Local, ReadLevel

C = TypeVar("C")
K = TypeVar("K")
V = TypeVar("V")

TIME_MS_MAX = 86_400_000
"""Longest time that can be set, a day; no call waits for an answer for longer."""

WORDS_BYTES_MAX = 2_000
"""Of all words of a change together: a node reads lines of 2 KiB."""

_INT32_MAX = (1 << 31) - 1
_UINT32_MAX = (1 << 32) - 1
_UINT64_MAX = (1 << 64) - 1
_LEVELS = "Linearizable(), Bounded(ms) or Local()"


def shown(value: object) -> str:
    """A value in an error message: what it is, and not all of a long one."""
    try:
        text = repr(value)
    except Exception:  # An object that cannot show itself, or a number of very many digits.
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}..."


def whole(name: str, value: object, low: int, high: int, unit: str = "") -> int:
    """`value` as an int of `[low, high]`. Takes what Python itself takes as an index."""
    try:
        number = index(value)  # type: ignore[arg-type]
    except (TypeError, AttributeError):
        number = None
    if number is None or isinstance(value, bool):
        of_what = f" of {unit}" if unit else ""
        raise InvalidArgument(f"{name} must be a whole number{of_what}, not {shown(value)}")
    if not low <= number <= high:
        raise InvalidArgument(f"{name} must be from {low} to {high}, not {shown(value)}")
    return number


def exptime_of(value: int, name: str = "exptime") -> int:
    """An exptime as memcached reads it: a signed 32-bit number of seconds."""
    return whole(name, value, -_INT32_MAX - 1, _INT32_MAX, "seconds")


def delay_of(value: int) -> int:
    """The delay of a `flush_all`."""
    return whole("delay", value, 0, _INT32_MAX, "seconds")


def flags_of(value: int) -> int:
    """Client flags: unsigned, 32 bits."""
    return whole("flags", value, 0, _UINT32_MAX)


def unsigned_of(name: str, value: int) -> int:
    """A `cas_unique` or `delta`: unsigned, 64 bits."""
    return whole(name, value, 0, _UINT64_MAX)


def timeout_of(value: int) -> int:
    """The time of one call."""
    return whole("timeout_ms", value, 1, TIME_MS_MAX, "milliseconds")


def truth_of(name: str, value: bool) -> bool:
    """A switch."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be True or False, not {shown(value)}")
    return value


def words_of(words: Sequence[str]) -> list[str]:
    """The words of a `cluster change`, which go into one line, separated by spaces."""
    if isinstance(words, str | bytes) or not isinstance(words, Sequence) or not words:
        raise InvalidArgument(f"words must be several words, such as a list, not {shown(words)}")
    for word in words:
        if not isinstance(word, str) or not word.isprintable() or not word or " " in word:
            raise InvalidArgument(f"words must be printable and without spaces, not {shown(word)}")
    size = sum(len(word.encode()) + 1 for word in words)
    if size > WORDS_BYTES_MAX:
        raise InvalidArgument(f"words must take {WORDS_BYTES_MAX} bytes at most, not {size}")
    return list(words)


def callable_of(name: str, value: C) -> C:
    """Something to call."""
    if not callable(value):
        raise InvalidArgument(f"{name} must be something to call, not {shown(value)}")
    return value


def level_of(level: ReadLevel | None, default: ReadLevel) -> ReadLevel:
    """The read level of one call; None means the configured one."""
    if level is None:
        return default
    if not isinstance(level, Linearizable | Bounded | Local):
        raise InvalidArgument(f"level must be {_LEVELS}, not {shown(level)}")
    return level


def keys_of(keys: Iterable[K]) -> list[K]:
    """The keys of a call for many, taken once. A single str or bytes would be read letter by
    letter."""
    if isinstance(keys, str | bytes | bytearray | memoryview):
        raise InvalidArgument(f"keys must be several keys, such as a list, not {shown(keys)}")
    try:
        iterator = iter(keys)
    except TypeError:
        raise InvalidArgument(
            f"keys must be several keys, such as a list, not {shown(keys)}"
        ) from None
    return list(iterator)


def items_of(values: Mapping[K, V]) -> list[tuple[K, V]]:
    """The pairs of a mapping of values by key, as they are now."""
    if not isinstance(values, Mapping):
        raise InvalidArgument(f"values must be a mapping of key to value, not {shown(values)}")
    return list(values.items())
