"""The client's reply parser gives the same replies however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.router.codec import Reply, ReplyParser

LINES = st.sampled_from(
    [
        b"STORED\r\n",
        b"END\r\n",
        b"NOT_FOUND\r\n",
        b"17\r\n",
        b"SERVER_ERROR not done: no leader\r\n",
        b"MOVED 1 2 3 127.0.0.1:11211\r\n",
        b"MAP 7 unchanged\r\n",
        b"LEADER 1 2 3\r\nLEADER 2 2 1\r\nEND\r\n",
        b"NODE 1 n1 h:1 h:2 - - 1 up\r\nEND\r\n",
    ]
)
BLOCKS = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"\r\n", b"END\r\n", b"VALUE a 0 1\r\n"])
)
MAPS = st.builds(lambda data: b"MAP 7 %d\r\n%b\r\n" % (len(data), data), BLOCKS)
HITS = st.lists(
    st.builds(
        lambda data, cas: b"VALUE k 3 %d%b\r\n%b\r\n" % (len(data), cas, data),
        BLOCKS,
        st.sampled_from([b"", b" 5"]),
    ),
    max_size=3,
).map(lambda hits: b"".join(hits) + b"END\r\n")
GARBAGE = st.sampled_from([b"", b"what\r\n", b"VALUE k\r\n", b"VALUE k 0 2\r\nabc\r\n", b"MAP\r\n"])
STREAMS = st.builds(
    lambda parts, garbage, tail: b"".join(parts) + garbage + b"".join(tail),
    st.lists(st.one_of(LINES, MAPS, HITS), max_size=6),
    GARBAGE,
    st.lists(LINES, max_size=2),
)


def parse(pieces: list[bytes]) -> tuple[list[Reply], str | None]:
    parser = ReplyParser()
    replies = [reply for piece in pieces for reply in parser.feed(piece)]
    return replies, parser.broken


@given(STREAMS)
@settings(max_examples=300, deadline=None)
def test_byte_by_byte_equals_whole(stream: bytes) -> None:
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    assert parse(pieces) == parse([stream])


@given(STREAMS, st.lists(st.integers(min_value=0, max_value=200), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_cut_equals_whole(stream: bytes, cuts: list[int]) -> None:
    at = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[lo:hi] for lo, hi in pairwise(at)]
    assert parse(pieces) == parse([stream])


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_never_raise(stream: bytes) -> None:
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    assert parse(pieces) == parse([stream])
