"""Requests as bytes, and replies out of bytes."""

from __future__ import annotations

import pytest

from quorumcache.router.codec import (
    LINE_BYTES_MAX,
    Line,
    Listing,
    MapReply,
    ReplyParser,
    Value,
    Values,
    encode_arithmetic,
    encode_cluster,
    encode_delete,
    encode_flush_all,
    encode_get,
    encode_store,
    encode_touch,
    key_bytes,
)
from quorumcache.router.errors import InvalidArgument, InvalidKey


def test_requests() -> None:
    assert encode_get((b"a",)) == b"get a\r\n"
    assert encode_get((b"a", b"b"), with_cas=True) == b"gets a b\r\n"
    assert encode_store(b"set", b"a", b"x\r\ny", 7, -1) == b"set a 7 -1 4\r\nx\r\ny\r\n"
    assert encode_store(b"cas", b"a", b"", 0, 0, 9) == b"cas a 0 0 0 9\r\n\r\n"
    assert encode_delete(b"a") == b"delete a\r\n"
    assert encode_arithmetic(b"incr", b"a", (1 << 64) - 1) == b"incr a 18446744073709551615\r\n"
    assert encode_touch(b"a", 60) == b"touch a 60\r\n"
    assert encode_flush_all(0) == b"flush_all\r\n"
    assert encode_flush_all(5) == b"flush_all 5\r\n"
    assert encode_cluster("map", "3") == b"cluster map 3\r\n"


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="cas_unique"):
        encode_store(b"cas", b"a", b"", 0, 0, -1)
    with pytest.raises(InvalidArgument, match="delta"):
        encode_arithmetic(b"decr", b"a", 1 << 64)
    with pytest.raises(InvalidArgument, match="exptime"):
        encode_touch(b"a", -(1 << 31) - 1)
    with pytest.raises(InvalidArgument, match="flags"):
        encode_store(b"set", b"a", b"", -1, 0)


def test_keys() -> None:
    """memcached's rule: 1 to 250 bytes, anything but space, CR and LF."""
    assert key_bytes("é") == b"\xc3\xa9"
    assert key_bytes(b"\x00\t\xff") == b"\x00\t\xff"
    assert key_bytes("x" * 250) == b"x" * 250
    for bad in ("", "x" * 251, "a b", "a\n", "a\r", "\udc80"):
        with pytest.raises(InvalidKey):
            key_bytes(bad)
    with pytest.raises(InvalidKey, match="int"):
        key_bytes(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"STORED\r\n", Line(b"STORED")),
        (b"12\r\n", Line(b"12")),
        (b"END\r\n", Values(())),
        (b"SERVER_ERROR not done: x\r\n", Line(b"SERVER_ERROR not done: x")),
        (b"VALUE a 1 2\r\n\r\n\r\nEND\r\n", Values((Value(b"a", 1, b"\r\n", 0),))),
        (b"VALUE a 0 0 77\r\n\r\nEND\r\n", Values((Value(b"a", 0, b"", 77),))),
        (b"VALUE a 0 1\r\nx\r\nSERVER_ERROR x\r\n", Line(b"SERVER_ERROR x")),
        (b"MAP 3 unchanged\r\n", MapReply(3, None)),
        (b"MAP 3 4\r\nEND\r\r\n", MapReply(3, b"END\r")),
        (b"LEADER 0 1 2\r\nLEADER 1 1 3\r\nEND\r\n", Listing((b"LEADER 0 1 2", b"LEADER 1 1 3"))),
        (b"MOVED 1 2 3 h:1\r\n", Line(b"MOVED 1 2 3 h:1")),
    ],
)
def test_replies(data: bytes, reply: object) -> None:
    parser = ReplyParser()
    assert parser.feed(data) == [reply]
    assert parser.broken is None


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"VALUE a 0\r\n",
        b"VALUE a 0 x\r\n",
        b"VALUE a 0 -1\r\n",
        b"VALUE a 0 999999999999\r\n",
        b"VALUE a 0 1\r\nxy\r\n",
        b"VALUE a 0 1\r\nx\r\nSTORED\r\n",
        b"LEADER 1 1 1\r\nSTORED\r\n",
        b"LEADER 1 1 1\r\nVALUE a 0 1\r\n",
        b"MAP x 1\r\n",
        b"MAP 1\r\n",
        b"x" * (LINE_BYTES_MAX + 2),
        b"SERVER_ERROR " + b"x" * LINE_BYTES_MAX + b"\r\n",
    ],
)
def test_garbage_is_named_and_ends_the_stream(data: bytes) -> None:
    """What came before the garbage still counts; nothing after it does."""
    parser = ReplyParser()
    assert parser.feed(b"STORED\r\n" + data) == [Line(b"STORED")]
    assert parser.broken
    assert parser.feed(b"STORED\r\n") == []


def test_a_big_value_in_small_pieces() -> None:
    value = bytes(1_000_000)
    stream = b"VALUE a 0 %d\r\n%b\r\nEND\r\n" % (len(value), value)
    parser = ReplyParser()
    replies = []
    for start in range(0, len(stream), 100):
        replies += parser.feed(stream[start : start + 100])
    assert replies == [Values((Value(b"a", 0, value, 0),))]
