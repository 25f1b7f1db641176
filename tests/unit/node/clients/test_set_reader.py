"""What each form of the reader of plain sets promises: examples, and random bytes beside the other
form and beside what the general parser makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorumcache.node.clients.set_reader import (
    FIELDS,
    PlainSetReader,
    SetReader,
    new_set_reader,
)
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Request, Store
from quorumcache.node.store.commands import OP_SET
from quorumcache.ring import shard_of
from tests.support.native_core import native

SHARDS = 64
VALUE_BYTES_MAX = 900
ITEM_BYTES_MAX = 2000

FORMS: dict[str, Callable[[int], SetReader]] = {"plain": PlainSetReader}
if sets := native("client_sets"):
    FORMS["native_sets"] = sets.SetReader

forms = pytest.mark.parametrize("form", FORMS)


def read(form: str, data: bytes, start: int = 0) -> tuple[list[Request], int]:
    """The requests that the fields stand for, and the position behind them."""
    found = FORMS[form](SHARDS).read(data, start, VALUE_BYTES_MAX)
    if found is None:
        return [], start
    fields, end = found
    assert fields
    assert len(fields) % FIELDS == 0
    requests: list[Request] = []
    for at in range(0, len(fields), FIELDS):
        key, args, group_id, noreply = fields[at : at + FIELDS]
        assert type(args) is tuple
        assert type(noreply) is bool
        assert group_id == shard_of(key, SHARDS) + 1
        requests.append(Store(OP_SET, key, args[0], args[1], 0, noreply))
    return requests, end


def parsed(data: bytes) -> list[Request]:
    """By the general way, behind a first command."""
    parser = Parser(ITEM_BYTES_MAX)
    parser.feed(b"version\r\n")
    return parser.feed(data)


@forms
def test_a_run_of_plain_sets_is_taken_whole(form: str) -> None:
    data = b"set a 0 0 1\r\nx\r\nset b 00007 9 0 noreply\r\n\r\nset c 999999999 1 4\r\n\r\n\r\n\r\n"
    requests, end = read(form, data)
    assert end == len(data)
    assert requests == [
        Store(OP_SET, b"a", b" 0 1\r\nx\r\n", 0, 0, False),
        Store(OP_SET, b"b", b" 7 0\r\n\r\n", 9, 0, True),
        Store(OP_SET, b"c", b" 999999999 4\r\n\r\n\r\n\r\n", 1, 0, False),
    ]
    assert parsed(data) == requests
    first = data.index(b"set b")
    assert read(form, data, first) == (requests[1:], end)


@forms
@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"get a\r\n",
        b"set",
        b"add a 0 0 1\r\nx\r\n",
        b"set a 0 0 1\r\nx\r",
        b"set a 0 0 1\r\nxy\r\n",
        b"set a 0 0 1\nx\r\n",
        b"set a 0 0 1 \r\nx\r\n",
        b"set a 0 0 1 norepl\r\nx\r\n",
        b"set a 0 0 1 noreply noreply\r\nx\r\n",
        b"set a 0 0 -1\r\n",
        b"set a 0 -1 1\r\nx\r\n",
        b"set a +1 0 1\r\nx\r\n",
        b"set a 1234567890 0 1\r\nx\r\n",
        b"set a 0 0 1234567890\r\nx\r\n",
        b"set  0 0 1\r\nx\r\n",
        b"set a\n 0 0 1\r\nx\r\n",
        b"set %b 0 0 1\r\nx\r\n" % (b"k" * 251),
        b"set a 0 0 901\r\n%b\r\n" % (b"v" * 901),
    ],
)
def test_it_stops_before_whatever_is_not_plain(form: str, rest: bytes) -> None:
    assert read(form, rest) == ([], 0)
    plain = b"set %b 1 2 900 noreply\r\n%b\r\n" % (b"k" * 250, b"v" * 900)
    requests, end = read(form, plain + rest)
    assert end == len(plain)
    assert requests == parsed(plain)


@forms
def test_no_byte_beyond_the_data_is_looked_at(form: str) -> None:
    data = b"set key 12 34 56 noreply\r\n" + b"v" * 56 + b"\r\n"
    for end in range(len(data)):
        assert read(form, data[:end]) == ([], 0)
    assert read(form, data)[1] == len(data)


@forms
def test_impossible_arguments_are_refused(form: str) -> None:
    for shards in (0, 3, 8192):
        with pytest.raises(ValueError, match=f"{shards} shards"):
            FORMS[form](shards)
    reader = FORMS[form](1)
    for start in (-1, 4):
        with pytest.raises(ValueError, match=f"start {start} in 3 bytes"):
            reader.read(b"set", start, 10)
    with pytest.raises(ValueError, match="values of -1 bytes"):
        reader.read(b"set", 0, -1)
    with pytest.raises(TypeError):
        reader.read("set", 0, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("shards", [1, 2, 64, 4096])
def test_the_forms_agree_on_groups(shards: int) -> None:
    data = b"".join(b"set key-%d 0 0 0\r\n\r\n" % number for number in range(200))
    for make in FORMS.values():
        found = make(shards).read(data, 0, 10)
        assert found is not None
        groups = found[0][2::FIELDS]
        assert groups == [shard_of(b"key-%d" % number, shards) + 1 for number in range(200)]


def test_this_process_has_a_reader() -> None:
    assert new_set_reader(4).read(b"set a 0 0 0\r\n\r\n", 0, 0) is not None


words = st.sampled_from(
    [b"0", b"1", b"3", b"007", b"-1", b"x", b"", b"999999999", b"1234567890", b"900", b"901"]
)
keys = st.binary(min_size=1, max_size=4) | st.sampled_from([b"k" * 250, b"k" * 251, b"k" * 17])
values = st.binary(max_size=3) | st.sampled_from([b"\r\n\n", b"v" * 900, b"v" * 901, b"set"])


@st.composite
def plain(draw: st.DrawFn) -> bytes:
    """Mostly a plain set, with a fault now and then."""
    value = draw(values)
    rarely = draw(st.integers(0, 15))
    command = b"set" if rarely != 1 else draw(st.sampled_from([b"add", b"SET", b"cas", b"se"]))
    length = b"%d" % len(value) if rarely != 2 else draw(words)
    tail = draw(st.sampled_from([b"", b"", b" noreply"]))
    tail = tail if rarely != 3 else draw(st.sampled_from([b" ", b" x", b" noreply ", b"  noreply"]))
    end = b"\r\n" if rarely != 4 else draw(st.sampled_from([b"\n", b"\r", b"", b"\r\r\n"]))
    space = b" " if rarely != 5 else b"  "
    numbers = st.sampled_from([b"0", b"5", b"123456789"]) if rarely != 6 else words
    line = space.join([command, draw(keys), draw(numbers), draw(numbers), length]) + tail + end
    return line + value + (b"\r\n" if rarely != 7 else draw(st.sampled_from([b"\n", b"", b"xx"])))


@settings(max_examples=400, deadline=None)
@given(st.lists(plain(), max_size=6).map(b"".join), st.integers(0, 1 << 16))
@example(b"set \r 0 0 0\r\n\r\n", 0)
@example(b"set a\r 0 0 0\r\n\r\n", 0)
def test_it_makes_of_a_set_what_the_parser_makes(data: bytes, cut: int) -> None:
    data = data[: len(data) - cut % 8] if cut & 1 else data
    requests, end = read("plain", data)
    assert parsed(data)[: len(requests)] == requests
    assert parsed(data[:end]) == requests
    rest = parsed(data[end:])
    assert parsed(data) == requests + rest
    if rest and type(rest[0]) is Store and rest[0].op == OP_SET and data[end:].startswith(b"set "):
        line = data[end:].partition(b"\n")[0]
        assert not _is_plain(line), "a plain set was left"
    for form in FORMS:
        assert read(form, data) == (requests, end)


def _is_plain(line: bytes) -> bool:
    """Whether the line of a set has nothing unusual."""
    parts = line.split(b" ")
    if len(parts) not in (5, 6) or not line.endswith(b"\r"):
        return False
    numbers: list[Any] = [*parts[2:4], parts[4].removesuffix(b"\r")]
    return (
        all(word.isdigit() and len(word) < 10 for word in numbers)
        and int(numbers[2]) <= VALUE_BYTES_MAX
        and (len(parts) == 5 or parts[5] == b"noreply\r")
    )
