"""Which values of a caller are taken as they are, and the sentence for each of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.router import arguments
from quorumcache.router.arguments import TIME_MS_MAX
from quorumcache.router.errors import InvalidArgument
from quorumcache.router.levels import LINEARIZABLE, Bounded, Local

INT32, UINT32, UINT64 = 2**31 - 1, 2**32 - 1, 2**64 - 1


class Index:
    """A number of another library."""

    def __index__(self) -> int:
        return 7


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")


RANGES: list[tuple[Callable[[Any], int], str, int, int]] = [
    (arguments.exptime_of, "exptime", -INT32 - 1, INT32),
    (arguments.delay_of, "delay", 0, INT32),
    (arguments.flags_of, "flags", 0, UINT32),
    (lambda value: arguments.unsigned_of("delta", value), "delta", 0, UINT64),
    (arguments.timeout_of, "timeout_ms", 1, TIME_MS_MAX),
]
NAMES = [name for _, name, _, _ in RANGES]


@pytest.mark.parametrize(("check", "name", "low", "high"), RANGES, ids=NAMES)
def test_a_number_goes_from_its_first_to_its_last_value(
    check: Callable[[Any], int], name: str, low: int, high: int
) -> None:
    assert [check(low), check(high)] == [low, high]
    for value in (low - 1, high + 1):
        with pytest.raises(InvalidArgument, match=f"^{name} must be from {low} to {high}, not "):
            check(value)


@pytest.mark.parametrize(("check", "name", "low", "high"), RANGES, ids=NAMES)
def test_what_is_no_whole_number_is_not_made_one(
    check: Callable[[Any], int], name: str, low: int, high: int
) -> None:
    for value in (1.0, 0.5, "1", b"1", None, True, False, [1]):
        with pytest.raises(InvalidArgument, match=f"^{name} must be a whole number"):
            check(value)
    found = check(Index())
    assert (found, type(found)) == (7, int)


def test_the_unit_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"a whole number of seconds, not 0\.5"):
        arguments.exptime_of(0.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="a whole number of milliseconds, not 'soon'"):
        arguments.timeout_of("soon")  # type: ignore[arg-type]


def test_a_switch_is_true_or_false_and_nothing_like_it() -> None:
    assert [arguments.truth_of("once", value) for value in (True, False)] == [True, False]
    for value in (1, 0, None, "no"):
        with pytest.raises(InvalidArgument, match=r"^once must be True or False, not "):
            arguments.truth_of("once", value)  # type: ignore[arg-type]


def test_a_read_level_is_the_calls_or_the_configured_one() -> None:
    assert arguments.level_of(None, LINEARIZABLE) is LINEARIZABLE
    assert arguments.level_of(Bounded(5), Local()) == Bounded(5)
    wrong: Any
    for wrong in ("local", Local, 5):
        with pytest.raises(InvalidArgument, match=r"^level must be Linearizable\(\), Bounded"):
            arguments.level_of(wrong, LINEARIZABLE)


def test_keys_are_taken_once_and_in_their_order() -> None:
    drawn = iter(["b", "a", "b"])
    assert arguments.keys_of(drawn) == ["b", "a", "b"]
    assert arguments.keys_of(drawn) == []


@pytest.mark.parametrize("one", ["key", b"key", bytearray(b"key"), memoryview(b"key")])
def test_one_key_is_not_read_letter_by_letter(one: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^keys must be several keys, such as a list, not "):
        arguments.keys_of(one)


def test_what_cannot_be_iterated_is_no_keys() -> None:
    nothing: Any = 5
    with pytest.raises(InvalidArgument, match="several keys, such as a list, not 5") as caught:
        arguments.keys_of(nothing)
    assert caught.value.__cause__ is None


def test_items_are_those_of_the_moment_of_the_call() -> None:
    values = {"a": b"1"}
    items = arguments.items_of(values)
    values["b"] = b"2"
    assert items == [("a", b"1")]
    pairs: Any = [("a", b"1")]
    with pytest.raises(InvalidArgument, match=r"^values must be a mapping of key to value"):
        arguments.items_of(pairs)


def test_a_message_shows_no_megabytes_and_never_fails_itself() -> None:
    assert arguments.shown("x" * 100) == "'" + "x" * 79 + "..."
    assert arguments.shown(Unshowable()) == "a value of type Unshowable"
    assert arguments.shown(10**10_000) == "a value of type int"
    with pytest.raises(InvalidArgument, match="a value of type int"):
        arguments.flags_of(10**10_000)
