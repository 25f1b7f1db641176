"""Words of the command line that argparse alone would not read as people mean them."""

from __future__ import annotations

import argparse

import pytest

from quorumcache.router.commands.words import seconds_of, take_value_out


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
