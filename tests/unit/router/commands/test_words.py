"""Words of the command line that argparse alone would not read as people mean them."""

from __future__ import annotations

import argparse

import pytest

from quorumcache.router.commands.words import (
    duration_ms_of,
    seconds_of,
    take_command_out,
    take_value_out,
)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("set k -5", "-5"),
        ("set k v", "v"),
        ("-s h:1 set k -v", "-v"),
        ("set --ttl 5 k --what", "--what"),
        ("set k --ttl 5 -x", "-x"),
        ("set k --ttl=5 -x", "-x"),
        ("set k -5 --ttl 5", "-5"),
        ("set k", None),
        ("set k --help", None),
        ("set -- k -5", None),
        ("get k -5", None),
        ("", None),
    ],
)
def test_the_word_after_the_key_is_the_value(words: str, value: str | None) -> None:
    others, found = take_value_out(words.split())
    assert found == value
    if value is None:
        assert others == words.split()
    else:
        assert others == ["VALUE" if word == value else word for word in words.split()]


def test_seconds() -> None:
    assert seconds_of("0.001") == 0.001
    assert seconds_of("86400") == 86_400
    for wrong in ("", "x", "0", "-1", "86401", "nan", "inf"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds"):
            seconds_of(wrong)


@pytest.mark.parametrize(
    ("words", "others", "command"),
    [
        ("lock n -- rm -r x", "lock n", "rm -r x"),
        ("-s h:1 lock n --ttl 5s -- a -- b", "-s h:1 lock n --ttl 5s", "a -- b"),
        ("--timeout=5 lock n -- a", "--timeout=5 lock n", "a"),
        ("lock n", "lock n", ""),
        ("lock n --", "lock n", ""),
        ("get -- -k", "get -- -k", ""),
        ("-s lock get -- k", "-s lock get -- k", ""),
        ("", "", ""),
    ],
)
def test_what_stands_behind_two_dashes_is_the_command_to_run(
    words: str, others: str, command: str
) -> None:
    assert take_command_out(words.split()) == (others.split(), command.split())


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [
        *(("0", 0), ("5", 5_000), ("250ms", 250), ("10s", 10_000), ("1m", 60_000)),
        *(("2h", 7_200_000), ("24h", 86_400_000)),
    ],
)
def test_spans_of_time(text: str, span_ms: int) -> None:
    assert duration_ms_of(text) == span_ms


@pytest.mark.parametrize(
    "text", ["", "s", "ms", "1.5s", "-1s", "5x", "5sm", "25h", "1d", "99999999999", "\u0665s"]
)
def test_what_is_no_span_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 500ms, 10s, 1m or 2h"):
        duration_ms_of(text)
