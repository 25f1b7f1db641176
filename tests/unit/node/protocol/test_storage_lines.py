"""The line before a data block: both ways of reading it agree, and a refused one has its block."""

import pytest

from quorumcache.node.protocol.lines import LINE_BYTES_MAX
from quorumcache.node.protocol.requests import Immediate, Quit
from quorumcache.node.protocol.responses import BAD_FORMAT_LINE, ERROR_LINE
from quorumcache.node.protocol.storage_lines import (
    STORAGE_OPS,
    RefusedLine,
    StorageLine,
    parse_meta_set,
    parse_storage_line,
    parse_tail,
)
from quorumcache.node.protocol.words import SILENCE
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_PREPEND,
    OP_REPLACE,
    OP_SET,
)

BAD = Immediate(BAD_FORMAT_LINE)


def test_the_words_of_commands_with_a_block() -> None:
    """They come from the table of commands; a client's words do not change with it."""
    assert STORAGE_OPS == {
        b"set": OP_SET,
        b"add": OP_ADD,
        b"replace": OP_REPLACE,
        b"cas": OP_CAS,
        b"append": OP_APPEND,
        b"prepend": OP_PREPEND,
    }


@pytest.mark.parametrize("tail", [b"0 0 1", b"7 60 1048576", b"1 2 3 noreply", b"007 00 01"])
def test_the_short_way_reads_a_line_as_the_long_one_does(tail: bytes) -> None:
    short = parse_tail(tail)
    assert short is not None
    header, flags, exptime, length, noreply = short
    assert parse_storage_line(OP_SET, b"set key " + tail) == StorageLine(
        b"key", header, flags, exptime, 0, length, noreply
    )


@pytest.mark.parametrize(
    "tail", [b"", b"0 0", b"0  0 1", b"0 -1 1", b"+1 0 1", b"0 0 9999999999", b"0 0 1 norep"]
)
def test_the_short_way_leaves_the_unusual_to_the_long_one(tail: bytes) -> None:
    assert parse_tail(tail) is None


def test_a_cas_has_its_unique() -> None:
    line = parse_storage_line(OP_CAS, b"cas k 1 -2 3 18446744073709551615 noreply")
    assert line == StorageLine(b"k", b" 1 3\r\n", 1, -2, 2**64 - 1, 3, True)


@pytest.mark.parametrize(
    ("op", "line", "refused"),
    [
        (OP_SET, b"set k 0 0", RefusedLine(BAD, 0)),
        (OP_SET, b"set k 0 0 x", RefusedLine(BAD, 0)),
        (OP_SET, b"set k 0 0 -1", RefusedLine(BAD, 0)),
        (OP_SET, b"set k x 0 5", RefusedLine(BAD, 7)),
        (OP_SET, b"set k 0 x 5", RefusedLine(BAD, 7)),
        (OP_SET, b"set k 0 x 5 noreply", RefusedLine(SILENCE, 7)),
        (OP_SET, b"set " + b"k" * 251 + b" 0 0 5", RefusedLine(BAD, 7)),
        (OP_CAS, b"cas k 0 0 5", RefusedLine(BAD, 7)),
        (OP_CAS, b"cas k 0 0 5 x", RefusedLine(BAD, 7)),
        (OP_SET, b"set " + b"k" * LINE_BYTES_MAX, RefusedLine(Quit(), 0)),
    ],
)
def test_a_refused_line_swallows_its_block_if_its_length_is_known(
    op: int, line: bytes, refused: RefusedLine
) -> None:
    assert parse_storage_line(op, line) == refused


def test_the_block_of_a_meta_set_is_swallowed() -> None:
    assert parse_meta_set(b"ms key 5 T0") == RefusedLine(Immediate(ERROR_LINE), 7)
    for line in (b"ms key", b"ms key x", b"ms key -1", b"ms " + b"k" * LINE_BYTES_MAX + b" 5"):
        assert parse_meta_set(line).swallow == 0
