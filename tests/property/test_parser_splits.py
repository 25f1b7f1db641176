"""The parser gives the same requests however the bytes are cut, never raises, and stays small."""

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorumcache.node.protocol.lines import RETRIEVAL_LINE_BYTES_MAX
from quorumcache.node.protocol.parser import UNFINISHED_LINE_BYTES_MAX, Parser
from quorumcache.node.protocol.requests import Get, Quit, Request, Store
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_PREPEND,
    OP_REPLACE,
    OP_SET,
)

ITEM_BYTES_MAX = 2000
"""A small limit, so that the generated values lie on both sides of it."""

OPS = {
    b"set": OP_SET,
    b"add": OP_ADD,
    b"replace": OP_REPLACE,
    b"append": OP_APPEND,
    b"prepend": OP_PREPEND,
    b"cas": OP_CAS,
}

key_bytes = st.sampled_from(
    [bytes([byte]) for byte in range(256) if byte not in (0x20, 0x0A, 0x0D, 0x80)]
)
keys = st.lists(key_bytes, min_size=1, max_size=12).map(b"".join) | st.just(b"k" * 250)
odd_keys = keys | st.just(b"k" * 251) | st.just(b"noreply")
values = st.binary(max_size=40) | st.sampled_from(
    [b"x" * 1600, b"x" * 1940, b"x" * 2500, b"\r\n" * 9, b"get a\r\n"]
)
numbers = st.sampled_from(
    [b"0", b"1", b"-1", b"007", b"+5", b"x", b"", b"4294967296", b"2592001", b"9" * 30, b"-0"]
)
ends = st.sampled_from([b"\r\n", b"\n"])
spaces = st.sampled_from([b" ", b" ", b" ", b"  ", b"   "])
tails = st.sampled_from([b"", b"", b" noreply", b" ", b" extra noreply", b" noreply x"])


@st.composite
def storage(draw: st.DrawFn) -> bytes:
    value = draw(values)
    length = b"%d" % len(value) if draw(st.integers(0, 9)) else draw(numbers)
    words = [draw(st.sampled_from(list(OPS))), draw(odd_keys), draw(numbers), draw(numbers), length]
    if words[0] == b"cas":
        words.append(draw(numbers))
    block_end = b"\r\n" if draw(st.integers(0, 9)) else draw(st.sampled_from([b"\n", b"xx", b""]))
    return draw(spaces).join(words) + draw(tails) + draw(ends) + value + block_end


@st.composite
def line(draw: st.DrawFn) -> bytes:
    commands = [b"get", b"gets", b"gat", b"gats", b"delete", b"incr", b"decr", b"touch", b"GET"]
    commands += [b"flush_all", b"verbosity", b"version", b"stats", b"cluster", b"mg", b"", b"x"]
    commands += [b"cluster once", b"cluster once 4611686018427387905"]
    words = [draw(st.sampled_from(commands))]
    words += draw(st.lists(odd_keys | numbers, max_size=4))
    return draw(spaces).join(words) + draw(tails) + draw(ends)


streams = st.lists(storage() | line() | st.binary(max_size=8), max_size=12).map(b"".join)


def parse(pieces: list[bytes]) -> list[Request]:
    parser = Parser(ITEM_BYTES_MAX)
    return [request for piece in pieces for request in parser.feed(piece)]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


def unfinished_lines_are_short(data: bytes) -> bool:
    return max(map(len, data.split(b"\n"))) <= UNFINISHED_LINE_BYTES_MAX


@settings(max_examples=200, deadline=None)
@given(streams.filter(unfinished_lines_are_short), st.lists(st.integers(0, 1 << 16), max_size=20))
@example(b"set a 0 0 1\r\n1\r\nget a\r\n", list(range(22)))
def test_any_split_gives_the_same_requests(data: bytes, cuts: list[int]) -> None:
    whole = parse([data])
    assert parse(cut(data, cuts)) == whole
    assert parse([data[at : at + 1] for at in range(len(data))]) == whole


def test_every_split_in_two_of_a_long_stream() -> None:
    data = (
        b"set a 1 2 3\r\nabc\r\nget a b  c \ngets a\r\ncas a 0 0 2 77 noreply\r\nxy\r\n"
        b"append a 0 0 1\r\nz\r\nset a x 0 2\r\nab\r\nset a 0 0 x\r\nset a 0 0 2\r\nabcversion\r\n"
        b"set big 0 0 2100\r\n" + b"y" * 2100 + b"\r\n"
        b"incr a 5\r\n\r\n  \r\ngat 5 a\r\nquit\r\nget a\r\n"
    )
    whole = parse([data])
    assert len(whole) == 15
    assert whole[-1] == Quit()
    for at in range(len(data) + 1):
        assert parse([data[:at], data[at:]]) == whole


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_garbage_never_raises_and_memory_is_bounded(pieces: list[bytes]) -> None:
    parser = Parser(ITEM_BYTES_MAX)
    for piece in pieces:
        parser.feed(piece)
        assert parser.buffered_bytes <= UNFINISHED_LINE_BYTES_MAX + ITEM_BYTES_MAX
        assert parser.buffered_bytes == 0 or not parser.closed


gets = st.sampled_from(
    [b"get a\r\n", b"get %b\r\n" % (b"k" * 250), b"get \x80\r\r\n", b"get a\rb\r\n"]
)
near_gets = st.sampled_from(
    [
        *(b"get \r\n", b"get a b\r\n", b"get a \r\n", b"get  a\r\n", b"get a\n", b"\r\n", b"get a"),
        *(b"get", b" ", b"a", b"\r", b"\n", b"gets a\r\n", b"quit\r\n", b"get a\r\nb c\r\n"),
        b"get %b\r\n" % (b"k" * 251),
    ]
)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(gets | near_gets, max_size=5).map(b"".join), st.sampled_from([b"", b"get x", b"\r\n"])
)
def test_the_short_cut_for_plain_gets_agrees(rest: bytes, before: bytes) -> None:
    """`plain_gets` gives the keys of what `feed` would make plain gets of, or nothing."""
    data = b"get " + rest
    parser = Parser(ITEM_BYTES_MAX)
    parser.feed(before)
    keys = parser.plain_gets(data)
    if keys is None:
        return
    assert parser.feed(data) == [Get((key,), False) for key in keys]
    assert parser.buffered_bytes == 0


def test_the_short_cut_for_plain_gets_is_taken() -> None:
    parser = Parser()
    assert parser.plain_gets(b"get a\r\n") is None, "the first bytes of a connection are looked at"
    parser.feed(b"version\r\n")
    assert parser.plain_gets(b"get a\r\nget bc\r\n") == [b"a", b"bc"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"get ", b"gets ", b"gat ", b"gat 0 ", b"set ", b"x", b"cluster ", b"\x00"]),
    st.binary(min_size=1, max_size=300).filter(lambda data: b"\n" not in data),
)
def test_a_line_without_an_end_is_bounded(start: bytes, piece: bytes) -> None:
    parser = Parser(ITEM_BYTES_MAX)
    parser.feed(start)
    piece *= 400
    requests: list[Request] = []
    for _ in range(2 + RETRIEVAL_LINE_BYTES_MAX // len(piece)):
        requests += parser.feed(piece)
        assert parser.buffered_bytes <= RETRIEVAL_LINE_BYTES_MAX
        if parser.closed:
            break
    assert requests == [Quit()]
    assert parser.buffered_bytes == 0
    assert parser.feed(b"\nget a\r\n") == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(OPS)), keys, st.integers(0, 2**32 - 1), values)
        | st.lists(keys, min_size=1, max_size=3),
        max_size=10,
    )
)
def test_well_formed_commands_come_out_as_they_went_in(
    commands: list[tuple[bytes, bytes, int, bytes] | list[bytes]],
) -> None:
    data = b""
    expected: list[Request] = []
    for command in commands:
        if isinstance(command, list):
            data += b"get " + b" ".join(command) + b"\r\n"
            expected.append(Get(tuple(command), False))
            continue
        word, key, flags, value = command
        if len(value) > 1600:
            value = value[:1600]
        unique = b" 9" if word == b"cas" else b""
        data += b"%b %b %d 60 %d%b\r\n%b\r\n" % (word, key, flags, len(value), unique, value)
        if word in (b"append", b"prepend"):
            expected.append(Store(OPS[word], key, value, 0, 0, False))
        else:
            wire = b" %d %d\r\n%b\r\n" % (flags, len(value), value)
            expected.append(Store(OPS[word], key, wire, 60, 9 if unique else 0, False))
    if data[:1] != b"\x80":
        assert parse([data]) == expected
