"""The line before a data block: both ways of reading it agree, and a refused one has its block."""

import pytest

from quorumcache.node.protocol.lines import LINE_BYTES_MAX
from quorumcache.node.protocol.meta_flags import (
    BAD_KEY_LINE,
    BAD_TOKEN_LINE,
    DUPLICATE_FLAG_LINE,
    INVALID_FLAG_LINE,
    OPAQUE_TOO_LONG_LINE,
    TOO_MANY_WORDS_LINE,
)
from quorumcache.node.protocol.requests import Immediate, MetaReply, MetaSet, Quit
from quorumcache.node.protocol.responses import BAD_DATA_CHUNK_LINE, BAD_FORMAT_LINE
from quorumcache.node.protocol.storage_lines import (
    MODE_OF_SET_LINE,
    STORAGE_OPS,
    MetaSetLine,
    RefusedLine,
    StorageLine,
    finished_meta_set,
    parse_meta_set,
    parse_storage_line,
    parse_tail,
    plain_meta_set,
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


def meta(line: bytes) -> MetaSet:
    parsed = parse_meta_set(line)
    assert type(parsed) is MetaSetLine
    assert parsed.length == 5
    return parsed.request


def test_a_meta_set_with_everything() -> None:
    assert meta(b"ms a 5 q T1 N2 C3 E4 I F6 c k s O7 t v x D1 P") == MetaSet(
        *(b"a", OP_SET, b" 6 5\r\n", 6, 1, 2, 3, 4, True),
        reply=MetaReply(b"cksO", b"7", b"a", False, True),
    )
    assert meta(b"ms Zm9v 5 b") == MetaSet(
        *(b"foo", OP_SET, b" 0 5\r\n", 0, None, None, None, None, False),
        reply=MetaReply(b"", b"", b"Zm9v", True, False),
    )


@pytest.mark.parametrize(
    ("mode", "op"),
    [
        *((b"", OP_SET), (b"MS", OP_SET), (b"ME", OP_ADD), (b"MR", OP_REPLACE)),
        *((b"MA", OP_APPEND), (b"MP", OP_PREPEND), (b"MSx", OP_SET), (b"MA5", OP_APPEND)),
    ],
)
def test_modes_of_a_meta_set(mode: bytes, op: int) -> None:
    """Only the first letter counts. What extends a value has it bare, and its flags apart."""
    request = meta(b"ms a 5 F3 " + mode)
    assert request.mode == op
    assert request.flags == 3
    assert request.data == (b"" if op in (OP_APPEND, OP_PREPEND) else b" 3 5\r\n")


@pytest.mark.parametrize("mode", [b"M", b"Ms", b"MX", b"MC", b"MI", b"M\xff", b"M0"])
def test_bad_modes_of_a_meta_set(mode: bytes) -> None:
    refused = RefusedLine(Immediate(MODE_OF_SET_LINE), 7)
    assert parse_meta_set(b"ms a 5 q " + mode) == refused


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        (b"ms", RefusedLine(BAD, 0)),
        (b"ms key", RefusedLine(BAD, 0)),
        (b"ms key x", RefusedLine(BAD, 0)),
        (b"ms key -1", RefusedLine(BAD, 0)),
        (b"ms key S5", RefusedLine(BAD, 0)),
        (b"ms " + b"k" * 251 + b" x", RefusedLine(BAD, 0)),
        (b"ms " + b"k" * LINE_BYTES_MAX + b" 5", RefusedLine(Quit(), 0)),
        (b"ms " + b"k" * 251 + b" 5", RefusedLine(BAD, 7)),
        (b"ms key 5 Fx", RefusedLine(BAD, 7)),
        (b"ms key 5 Tx q", RefusedLine(Immediate(BAD_TOKEN_LINE), 7)),
        (b"ms key 5 c c", RefusedLine(Immediate(DUPLICATE_FLAG_LINE), 7)),
        (b"ms key 5 noreply", RefusedLine(Immediate(INVALID_FLAG_LINE), 7)),
        (b"ms key 5 b", RefusedLine(Immediate(BAD_KEY_LINE), 7)),
        (b"ms key 5 O" + b"x" * 32, RefusedLine(Immediate(OPAQUE_TOO_LONG_LINE), 7)),
        (b"ms key 5" + b" c" * 17, RefusedLine(Immediate(DUPLICATE_FLAG_LINE), 7)),
        (b"ms key 5" + b" c" * 18, RefusedLine(Immediate(TOO_MANY_WORDS_LINE), 7)),
        (b"ms key 5 MX Tx", RefusedLine(Immediate(BAD_TOKEN_LINE), 7)),
    ],
)
def test_a_refused_meta_set_swallows_its_block_if_its_length_is_known(
    line: bytes, refused: RefusedLine
) -> None:
    assert parse_meta_set(line) == refused
    assert plain_meta_set(line.split(b" ", 2)) is None


@pytest.mark.parametrize(
    "tail",
    [
        *(b"5", b"5 T0", b"5  q ", b"007 MA N3 F7 c", b"5 T0 C9 E8 I s k c q", b"5 O1", b"0 O k"),
        *(b"5 T60 O12345 q", b"5 MO", b"5 LO1"),
    ],
)
def test_the_short_way_reads_a_meta_set_as_the_long_one_does(tail: bytes) -> None:
    line = b"ms key " + tail
    short = plain_meta_set(line.split(b" ", 2))
    if b"MO" in tail:
        assert short is None
        return
    assert type(short) is MetaSetLine
    assert type(short.request) is MetaSet
    assert short == parse_meta_set(line)


@pytest.mark.parametrize("block", [b"abcde\r\n", b"\r\n\r\n\n\r\n"])
def test_a_meta_set_is_finished_by_its_block(block: bytes) -> None:
    request = meta(b"ms a 5 F1")
    data = request.data + block
    assert finished_meta_set(request, data) == request._replace(data=data)
    request = meta(b"ms a 5 MA")
    assert finished_meta_set(request, block) == request._replace(data=block[:-2])


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"xx", b"\n\r"])
def test_a_block_without_its_end_is_no_meta_set(end: bytes) -> None:
    for mode in (b"S", b"A"):
        request = meta(b"ms a 5 q M" + mode)
        refusal = finished_meta_set(request, request.data + b"abcde" + end)
        assert refusal == Immediate(BAD_DATA_CHUNK_LINE)
