"""Goal: the lines of `cluster txn`, and blocks of any form, cut anywhere."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import (
    Cluster,
    Immediate,
    Quit,
    Request,
    TransactionBegin,
    TransactionCommit,
    TransactionGet,
    TransactionSnapshot,
    Version,
)
from quorumcache.node.protocol.responses import (
    BAD_DATA_CHUNK_LINE,
    BAD_FORMAT_LINE,
    TOO_LARGE_LINE,
)
from quorumcache.node.protocol.transaction_lines import (
    BLOCK_BYTES_MAX,
    BLOCK_USAGE_LINE,
    BYTES_LINE,
    CHECKED_TWICE_LINE,
    EMPTY_LINE,
    GET_KEYS_LINE,
    GET_KEYS_MAX,
    ID_LINE,
    KEYS_LINE,
    LIMIT_LINE,
    LIMIT_MS,
    SNAPSHOT_KEYS_LINE,
    SNAPSHOT_LIMIT_LINE,
    USAGE_LINE,
    WRITTEN_TWICE_LINE,
    version_line,
)
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.item import fingerprint, pack_header
from quorumcache.node.store.transactions import TXN_KEYS_MAX

TXN = bytes(range(16))
HEAD = b"cluster txn commit %b 5000 " % TXN.hex().encode()
WHOLE = (
    b"check a 18446744073709551615\r\n"
    b"check b 0\r\n"
    b"present c\r\n"
    b"set a 7 -1 4\r\nx\r\ny\r\n"
    b"set d 0 0 0\r\n\r\n"
    b"delete c\r\n"
)
COMMIT = TransactionCommit(
    blake2b(TXN + (5000).to_bytes(8, "big") + WHOLE + b"\r\n", digest_size=16).digest(),
    5000,
    ((b"a", (1 << 64) - 1), (b"b", 0), (b"c", -1)),
    (
        (b"a", OP_SET, b" 7 4\r\nx\r\ny\r\n", -1),
        (b"d", OP_SET, b" 0 0\r\n\r\n", 0),
        (b"c", OP_DELETE),
    ),
    6 + 4,
)


def lines_of(block: bytes) -> bytes:
    return HEAD + b"%d\r\n%b\r\n" % (len(block), block)


def feed(data: bytes) -> list[Request]:
    return Parser().feed(data)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"cluster txn", Cluster((b"txn",))),
        (b"cluster txn begin", TransactionBegin(LIMIT_MS)),
        (b"cluster txn begin 100", TransactionBegin(100)),
        (b"cluster txn begin 60000", TransactionBegin(60_000)),
        (b"cluster txn begin 99", Immediate(LIMIT_LINE)),
        (b"cluster txn begin 60001", Immediate(LIMIT_LINE)),
        (b"cluster txn begin 1s", Immediate(LIMIT_LINE)),
        (b"cluster txn begin 100 1", Immediate(USAGE_LINE)),
        (b"cluster txn get", Immediate(USAGE_LINE)),
        (b"cluster txn get a", TransactionGet((b"a",))),
        (b"cluster txn  get b a b", TransactionGet((b"b", b"a"))),
        (b"cluster txn get " + b"k" * 251, Immediate(BAD_FORMAT_LINE)),
        (b"cluster txn get " + b"k " * (GET_KEYS_MAX + 1), Immediate(GET_KEYS_LINE)),
        (b"cluster txn snapshot", Immediate(USAGE_LINE)),
        (b"cluster txn snapshot 2000", Immediate(USAGE_LINE)),
        (b"cluster txn snapshot 2000 a", TransactionSnapshot(2000, (b"a",))),
        (b"cluster txn  snapshot 100 b a b", TransactionSnapshot(100, (b"b", b"a"))),
        (b"cluster txn snapshot 99 a", Immediate(SNAPSHOT_LIMIT_LINE)),
        (b"cluster txn snapshot 60001 a", Immediate(SNAPSHOT_LIMIT_LINE)),
        (b"cluster txn snapshot a b", Immediate(SNAPSHOT_LIMIT_LINE)),
        (b"cluster txn snapshot 100 " + b"k" * 251, Immediate(BAD_FORMAT_LINE)),
        (
            b"cluster txn snapshot 100 " + b"k " * (TXN_KEYS_MAX + 1),
            Immediate(SNAPSHOT_KEYS_LINE),
        ),
        (b"cluster txn rollback", Immediate(USAGE_LINE)),
    ],
)
def test_lines_without_a_block(line: bytes, request_: Request) -> None:
    assert feed(line + b"\r\n") == [request_]


def test_a_get_of_the_most_and_longest_keys_arrives_in_pieces() -> None:
    keys = tuple(b"%03d" % number + b"k" * 247 for number in range(GET_KEYS_MAX))
    parser = Parser()
    line = b"cluster txn get " + b" ".join(keys)
    assert parser.feed(line[:10_000]) == []
    assert parser.feed(line[10_000:] + b"\r\n") == [TransactionGet(keys)]
    keys = tuple(b"%03d" % number + b"k" * 247 for number in range(TXN_KEYS_MAX))
    line = b"cluster txn snapshot 2000 " + b" ".join(keys)
    assert parser.feed(line[:30_000]) == []
    assert parser.feed(line[30_000:] + b"\r\n") == [TransactionSnapshot(2000, keys)]
    # Other lines of such a length still end the connection.
    assert Parser().feed(b"cluster txn  get " + b"x" * 3000) == [Quit()]


def test_a_whole_commit() -> None:
    assert feed(lines_of(WHOLE) + b"version\r\n") == [COMMIT, Version()]
    spaced = lines_of(WHOLE).replace(b"cluster txn", b"cluster  txn ", 1)
    assert feed(spaced) == [COMMIT]


def txn_of(data: bytes) -> bytes:
    (request,) = feed(data)
    assert isinstance(request, TransactionCommit)
    return request.txn


def test_only_the_same_bytes_are_the_same_transaction() -> None:
    whole = lines_of(WHOLE)
    assert txn_of(whole) == txn_of(whole) != TXN
    others = [
        lines_of(WHOLE.replace(b"delete c", b"delete e")),
        lines_of(WHOLE.replace(b"check b 0", b"check b 1")),
        lines_of(WHOLE.replace(b"x\r\ny", b"x\r\nz")),
        lines_of(b"delete c\r\n" + WHOLE.removesuffix(b"delete c\r\n")),
        whole.replace(b" 5000 ", b" 5001 ", 1),
        whole.replace(TXN.hex().encode(), b"f" * 32, 1),
    ]
    assert len({txn_of(other) for other in (whole, *others)}) == 1 + len(others)


@given(st.lists(st.integers(0, len(lines_of(WHOLE))), max_size=5))
def test_a_commit_in_any_pieces(cuts: list[int]) -> None:
    data = lines_of(WHOLE)
    parser = Parser()
    assert parser.feed(b"version\r\n") == [Version()]
    found: list[Request] = []
    places = [0, *sorted(cuts), len(data)]
    for start, stop in pairwise(places):
        found += parser.feed(data[start:stop])
    assert found == [COMMIT]
    assert parser.buffered_bytes == 0


def test_the_last_line_has_a_line_end_of_its_own() -> None:
    assert feed(HEAD + b"8\r\ndelete c\r\n") == [Immediate(BLOCK_USAGE_LINE)]
    assert feed(HEAD + b"18\r\nset c 0 0 5\r\nabcde\r\n") == [Immediate(BAD_DATA_CHUNK_LINE)]


@pytest.mark.parametrize(
    ("block", "answer"),
    [
        (b"", EMPTY_LINE),
        (b"\r\n", BLOCK_USAGE_LINE),
        (b"delete a\r\n\r\ndelete b\r\n", BLOCK_USAGE_LINE),
        (b"delete\r\n", BLOCK_USAGE_LINE),
        (b"delete a b\r\n", BLOCK_USAGE_LINE),
        (b"get a\r\n", BLOCK_USAGE_LINE),
        (b"check a\r\n", BLOCK_USAGE_LINE),
        (b"check a -1\r\n", BLOCK_USAGE_LINE),
        (b"check a 18446744073709551616\r\n", BLOCK_USAGE_LINE),
        (b"present a 1\r\n", BLOCK_USAGE_LINE),
        (b"set a 0 0\r\n", BLOCK_USAGE_LINE),
        (b"set a 4294967296 0 1\r\nx\r\n", BLOCK_USAGE_LINE),
        (b"set a 0 2147483648 1\r\nx\r\n", BLOCK_USAGE_LINE),
        (b"set a 0 0 -1\r\nx\r\n", BLOCK_USAGE_LINE),
        (b"set a 0 0 2\r\nx\r\n", BAD_DATA_CHUNK_LINE),
        (b"set a 0 0 1\r\nxy\r\n", BAD_DATA_CHUNK_LINE),
        (b"set a 0 0 100\r\nx\r\n", BAD_DATA_CHUNK_LINE),
        (b"delete %b\r\n" % (b"k" * 251), BAD_FORMAT_LINE),
        (b"check a 1\r\ncheck a 1\r\n", CHECKED_TWICE_LINE),
        (b"check a 1\r\npresent a\r\n", CHECKED_TWICE_LINE),
        (b"delete a\r\nset a 0 0 1\r\nx\r\n", WRITTEN_TWICE_LINE),
        (b"".join(b"delete %d\r\n" % n for n in range(TXN_KEYS_MAX + 1)), KEYS_LINE),
        (b"set a 0 0 %d\r\n%b\r\n" % (1 << 20, bytes(1 << 20)), TOO_LARGE_LINE),
        (
            b"".join(b"set %d 0 0 500000\r\n%b\r\n" % (n, bytes(500_000)) for n in range(3)),
            BYTES_LINE,
        ),
        (bytes(BLOCK_BYTES_MAX + 1), BYTES_LINE),
    ],
)
def test_a_block_that_is_wrong_is_swallowed_and_told(block: bytes, answer: bytes) -> None:
    assert feed(lines_of(block) + b"version\r\n") == [Immediate(answer), Version()]


def test_keys_and_values_may_take_what_they_are_allowed_to() -> None:
    value = bytes(349_000)
    block = b"".join(b"set %d 0 0 %d\r\n%b\r\n" % (n, len(value), value) for n in range(3))
    (commit,) = feed(lines_of(block))
    assert type(commit) is TransactionCommit
    assert commit.size == 3 * (1 + len(value))
    # One key both checked and written is one key.
    both = b"".join(b"check %d 1\r\ndelete %d\r\n" % (n, n) for n in range(TXN_KEYS_MAX))
    (commit,) = feed(lines_of(both))
    assert type(commit) is TransactionCommit
    assert len(commit.checks) == len(commit.writes) == TXN_KEYS_MAX


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"cluster txn commit %b 5 8" % (b"0" * 31), ID_LINE),
        (b"cluster txn commit %b 5 8" % (b"g" * 32), ID_LINE),
        (b"cluster txn commit %b\t\t 5 8" % (b"0" * 30), ID_LINE),
        (b"cluster txn commit %b x 8" % (b"0" * 32), ID_LINE),
        (b"cluster txn commit %b 9223372036854775808 8" % (b"0" * 32), ID_LINE),
    ],
)
def test_a_commit_without_its_numbers_swallows_its_block(line: bytes, answer: bytes) -> None:
    data = line + b"\r\ndelete a\r\nversion\r\n"
    assert feed(data) == [Immediate(answer), Version()]


@pytest.mark.parametrize("words", [b"", b" 0 1", b" 0 1 x", b" 0 1 -2", b" 0 1 2 3"])
def test_a_commit_whose_length_nobody_knows(words: bytes) -> None:
    assert feed(b"cluster txn commit" + words + b"\r\n") == [Immediate(USAGE_LINE)]


def test_a_block_that_does_not_end_where_it_has_to() -> None:
    assert feed(HEAD + b"8\r\ndelete axx") == [Immediate(BAD_DATA_CHUNK_LINE)]


@given(st.binary(max_size=60))
def test_no_block_breaks_the_parser(block: bytes) -> None:
    (request,) = feed(lines_of(block))
    assert type(request) in (Immediate, TransactionCommit)


def test_the_line_of_an_item_shows_its_version() -> None:
    item = pack_header(0, 0, 9) + b" 5 2\r\nhi\r\n"
    assert version_line(b"k", item) == b"VALUE k 5 2 %d\r\nhi\r\n" % fingerprint(item)
