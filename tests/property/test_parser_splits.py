"""The parser gives the same requests however the bytes are cut, never raises, and stays small."""

import sys
from itertools import pairwise

import pytest
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
    commands += [b"watch", b"lru_crawler", b"lru tune", b"slabs", b"cache_memlimit", b"shutdown"]
    commands += [b"cluster once", b"cluster once 4611686018427387905", b"mn", b"me"]
    words = [draw(st.sampled_from(commands))]
    words += draw(st.lists(odd_keys | numbers, max_size=4))
    return draw(spaces).join(words) + draw(tails) + draw(ends)


flag_letters = st.sampled_from([bytes([byte]) for byte in b"bcfhklqstuvxCDEFIJLMNOPRT"])
flag_words = (
    flag_letters
    | st.builds(bytes.__add__, flag_letters, numbers | st.just(b"S") | st.just(b"abc"))
    | st.sampled_from([b"O" + b"o" * 31, b"O" + b"o" * 32, b"L" * 50, b"\xff", b"\x00", b"Z"])
)
encoded_keys = odd_keys | st.sampled_from([b"Zm9v", b"Zm8=", b"Zg==", b"Z", b"Zm9v*", b"===="])


@st.composite
def meta(draw: st.DrawFn) -> bytes:
    command = draw(st.sampled_from([b"mg", b"ms", b"md", b"ma", b"me"]))
    words = [command, draw(encoded_keys)]
    value = b""
    if command == b"ms":
        value = draw(values)
        words.append(b"%d" % len(value) if draw(st.integers(0, 9)) else draw(numbers))
        value += b"\r\n" if draw(st.integers(0, 9)) else draw(st.sampled_from([b"\n", b"xx"]))
    words += draw(st.lists(flag_words, max_size=6, unique_by=lambda word: word[0]))
    if not draw(st.integers(0, 9)):
        words += draw(st.lists(flag_words, max_size=20))
    return draw(spaces).join(words) + draw(ends) + value


streams = st.lists(storage() | line() | meta() | st.binary(max_size=8), max_size=12).map(b"".join)


def parse(pieces: list[bytes]) -> list[Request]:
    parser = Parser(ITEM_BYTES_MAX)
    return [request for piece in pieces for request in parser.feed(piece)]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


def unfinished_lines_are_short(data: bytes) -> bool:
    return max(map(len, data.split(b"\n"))) <= UNFINISHED_LINE_BYTES_MAX


def parse_finishing_sets(pieces: list[bytes]) -> list[Request]:
    parser = Parser(ITEM_BYTES_MAX)
    found: list[Request] = []
    for piece in pieces:
        rest = piece
        if parser.is_in_set:
            requests, rest = parser.finish_set(piece)
            found += requests
            assert parser.is_between or not rest
        found += parser.feed(rest)
    return found


@settings(max_examples=200, deadline=None)
@given(streams.filter(unfinished_lines_are_short), st.lists(st.integers(0, 1 << 16), max_size=20))
@example(b"set a 0 0 1\r\n1\r\nget a\r\n", list(range(22)))
@example(b"stats\r\nset a 0 0 1\r\n1\r\n", list(range(26)))
def test_what_is_finished_apart_gives_the_same_requests(data: bytes, cuts: list[int]) -> None:
    assert parse_finishing_sets(cut(data, cuts)) == parse([data])


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
        b"ms a 2 MA T0 q\r\nxy\r\nms a 2 c c\r\nab\r\nms Zm9v 2 b O1\r\nabmn\r\n"
        b"ms big 2100 k\r\n" + b"y" * 2100 + b"\r\nmg a v O9\r\nmg  Zm9v b k\r\n"
        b"incr a 5\r\n\r\n  \r\ngat 5 a\r\nquit\r\nget a\r\n"
    )
    whole = parse([data])
    assert len(whole) == 22
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


meta_gets = st.sampled_from(
    [
        *(b"mg a v\r\n", b"mg %b v\r\n" % (b"k" * 250), b"mg \x80\r v\r\n", b"mg a\rb v\r\n"),
        *(b"mg a\r\n", b"mg b\r\n", b"mg a v k\r\n", b"mg bc v k\r\n", b"mg a q  t\r\n"),
        *(b"mg v v\r\n", b"mg mg v\r\n", b"mg a v \r\n"),
    ]
)
near_meta_gets = st.sampled_from(
    [
        *(b"mg \r\n", b"mg a b c\r\n", b"mg a \r\n", b"mg  a v\r\n", b"mg a v\n", b"\r\n", b"mg"),
        *(b" ", b"a", b"\r", b"\n", b"v\r\n", b"mg a v v\r\n", b"mg a T5\r\n", b"mg a v O1\r\n"),
        *(b"mg Zm9v b\r\n", b"mgx a v\r\n", b"mg a R5\r\n", b"mg a N5\r\n", b"quit\r\n"),
        b"mg %b v\r\n" % (b"k" * 251),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    meta_gets | near_meta_gets | meta(),
    st.lists(meta_gets | near_meta_gets, max_size=3),
    st.integers(1, 3),
    st.sampled_from([b"", b"get x", b"\r\n"]),
)
@example(b"mg a v\r\n", [b"mg a k\r\n"], 1, b"\r\n")
@example(b"mg a v\r\n", [b"mg a k v\r\n"], 1, b"\r\n")
@example(b"mg a\r\n", [b"mg a v\r\n"], 1, b"\r\n")
def test_the_short_cut_for_plain_meta_gets_agrees(
    first: bytes, rest: list[bytes], times: int, before: bytes
) -> None:
    """`plain_meta_gets` gives keys and flags of what `feed` would make of them, or nothing."""
    data = first * times + b"".join(rest)
    if not data.startswith(b"mg "):
        return
    parser = Parser(ITEM_BYTES_MAX)
    parser.feed(before)
    plain = parser.plain_meta_gets(data)
    if plain is None:
        return
    keys, flags = plain
    assert parser.feed(data) == [flags.request(key) for key in keys]
    assert parser.buffered_bytes == 0


def test_the_short_cut_for_plain_meta_gets_is_taken() -> None:
    parser = Parser()
    assert parser.plain_meta_gets(b"mg a v\r\n") is None, "a connection's first bytes are looked at"
    parser.feed(b"version\r\n")
    for tail in (b"", b" v", b" k v f c", b" q t s", b" v u", b" v C7"):
        plain = parser.plain_meta_gets(b"mg a%b\r\nmg bc%b\r\n" % (tail, tail))
        assert plain is not None
        assert plain[0] == [b"a", b"bc"]
        assert plain[1].with_value == (b"v" in tail)
    for tail in (b" T5", b" v R5", b" v N5", b" v O5", b" b", b" h", b" v l", b" v v", b" x y"):
        assert parser.plain_meta_gets(b"mg aaaa%b\r\n" % tail) is None


def calls_of(pieces: list[bytes]) -> int:
    """How many functions, Python's and C's, parsing the pieces calls."""
    parser = Parser(ITEM_BYTES_MAX)
    count = 0

    def tell(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(tell)
    try:
        for piece in pieces:
            parser.feed(piece)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    "unit",
    [
        *(
            b"mg key v k\r\n",
            b"mg key v O12345\r\n",
            b"mg key v v\r\n",
            b"ms k 9 Tx\r\n\r\n\r\n\r\n\r\n",
        ),
        b"ms k 40 T0 c\r\n%b\r\nmd k q\r\nma k N0\r\nmn\r\n" % (b"x" * 40),
        b"mg key" + b" v" * 500 + b"\r\n",
        b"ma " + b"k" * 1500 + b"\r\n",
    ],
)
def test_work_is_linear_in_the_bytes_received(unit: bytes, size: int) -> None:
    """Ten times the bytes cost about ten times the calls, however they are cut."""
    if Parser.feed.__class__.__name__ != "function":
        pytest.skip("calls inside a compiled module are not seen")
    few, many = unit * (4 + 60 // len(unit)), unit * (4 + 60 // len(unit)) * 10

    def cut_evenly(data: bytes) -> list[bytes]:
        return [data[at : at + size] for at in range(0, len(data), size)]

    calls_of(cut_evenly(few))  # Fills the caches.
    assert calls_of(cut_evenly(many)) <= 12 * calls_of(cut_evenly(few)) + 50


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
