"""The language of `quorumcache txn`: what each line means, and what is wrong with it."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.router import InvalidArgument
from quorumcache.router.commands.script import Step, parse_script, split_words


def test_every_verb() -> None:
    script = b"""
# a comment, and a blank line

get a b
set a 1
set b 'two words' ttl=60 flags=7
add c "" flags=1
  replace d "quo\\"ted" ttl=-1\r
delete e
incr f
decr g 18446744073709551615
check h 'it is'
present i
absent j#k
"""
    assert parse_script(script) == (
        Step(4, "get", (b"a", b"b")),
        Step(5, "set", (b"a",), b"1"),
        Step(6, "set", (b"b",), b"two words", 60, 7),
        Step(7, "add", (b"c",), b"", 0, 1),
        Step(8, "replace", (b"d",), b'quo"ted', -1),
        Step(9, "delete", (b"e",)),
        Step(10, "incr", (b"f",)),
        Step(11, "decr", (b"g",), delta=(1 << 64) - 1),
        Step(12, "check", (b"h",), b"it is"),
        Step(13, "present", (b"i",)),
        Step(14, "absent", (b"j#k",)),
    )


@given(st.text("ab'\"\\ \t#\u00e9\xa0", max_size=20))
def test_words_are_those_of_a_shell(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        with pytest.raises(ValueError, match="not closed"):
            split_words(text)
    else:
        assert split_words(text) == expected


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_value_of_a_megabyte_costs_no_time(quote: str) -> None:
    """Some milliseconds of the processor; `shlex` took half a minute."""
    value = "x" * (1 << 20)
    began = time.process_time()
    (step,) = parse_script(f"set k {quote}{value}{quote}".encode())
    assert step.value == value.encode()
    assert time.process_time() - began < 10


def test_any_bytes_are_kept() -> None:
    (step,) = parse_script(b"set \xff\xfe '\x80 \xc3\xa9'")
    assert (step.keys, step.value) == ((b"\xff\xfe",), b"\x80 \xc3\xa9")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("gets a", "'gets' is none of get, set,"),
        ("''", "'' is none of"),
        ("get", "it must be: get KEY..."),
        ("set a", "it must be: set KEY VALUE"),
        ("set a 1 2", "it must be: set"),
        ("set a 1 ttl=", "it must be: set"),
        ("set a 1 ttl=x", "it must be: set"),
        ("set a 1 ttl=1.5", "it must be: set"),
        ("set a 1 color=3", "it must be: set"),
        ("set a 1 ttl=99999999999", "ttl must be from"),
        ("set a 1 flags=-1", "flags must be from"),
        ("add a 1 ttl=" + "9" * 400, "it must be: add"),
        ("delete a b", "it must be: delete KEY"),
        ("incr a 1 2", "it must be: incr"),
        ("incr a one", "it must be: incr"),
        ("incr a -1", "N must be from 0"),
        ("decr a 18446744073709551616", "N must be from 0"),
        ("check a", "it must be: check KEY VALUE"),
        ("check a 1 ttl=3", "it must be: check KEY VALUE"),
        ("present", "it must be: present KEY"),
        ("absent a b", "it must be: absent KEY"),
        ("get 'a b'", "the key 'a b' contains a space"),
        ("get " + "k" * 251, "the key has 251 bytes"),
        ("get ''", "the key is empty"),
        ("set a 'open", "a quotation is not closed"),
        ("set a open\\", "a quotation is not closed"),
    ],
)
def test_a_wrong_line_is_named(line: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as met:
        parse_script(f"get a\n\n{line}\nget b\n".encode())
    assert str(met.value).startswith("line 3: ")
    assert text in str(met.value)


@pytest.mark.parametrize("script", [b"", b"\n\r\n", b"# nothing\n"])
def test_an_empty_script(script: bytes) -> None:
    with pytest.raises(InvalidArgument, match="there is no command in it"):
        parse_script(script)
