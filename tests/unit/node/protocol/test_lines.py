"""One command line without a block: what it asks, and what hides an answer."""

import pytest

from quorumcache.node.protocol.lines import (
    LINE_BYTES_MAX,
    ONCE_FLOOR_ERROR,
    ONCE_SEQUENCE_ERROR,
    ONCE_SESSION_ERROR,
    ONCE_WORDS_ERROR,
    RETRIEVAL_LINE_BYTES_MAX,
    parse_line,
    split_words,
)
from quorumcache.node.protocol.requests import (
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    Once,
    Quit,
    Request,
    Stats,
)
from quorumcache.node.protocol.responses import (
    BAD_FORMAT_LINE,
    DELETE_USAGE_LINE,
    ERROR_LINE,
    INVALID_DELTA_LINE,
    INVALID_EXPTIME_LINE,
)
from quorumcache.node.protocol.words import SILENCE
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN


def parsed(line: bytes) -> Request:
    return parse_line(line, len(line) + 2)


def test_words_stand_between_spaces_only() -> None:
    assert split_words(b" get  a\tb ") == [b"get", b"a\tb"]


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"get a b", Get((b"a", b"b"), False)),
        (b"gats 7 a", GetAndTouch(7, (b"a",), True)),
        (b"delete a", Delete(b"a", False)),
        (b"delete noreply", Delete(b"noreply", False)),
        (b"delete a 0 noreply", Delete(b"a", True)),
        (b"delete a 5", Immediate(DELETE_USAGE_LINE)),
        (b"delete a 0 0", Immediate(DELETE_USAGE_LINE)),
        (b"delete a 5 noreply", SILENCE),
        (b"flush_all -1", FlushAll(-1, False)),
        (b"stats items now", Stats((b"items", b"now"))),
        (b"cluster map", Cluster((b"map",))),
        (b"quit", Quit()),
        (b"GET / HTTP/1.1", Quit()),
        (b"nothing of the kind", Immediate(ERROR_LINE)),
        (b" get a", Immediate(ERROR_LINE)),
        (b"xx", Immediate(ERROR_LINE)),
        (b"x", Immediate(BAD_FORMAT_LINE)),
        (b"", Immediate(BAD_FORMAT_LINE)),
        (b"gat x a", Immediate(INVALID_EXPTIME_LINE)),
        (b"incr a x", Immediate(INVALID_DELTA_LINE)),
    ],
)
def test_lines(line: bytes, request_: Request) -> None:
    assert parsed(line) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"delete " + b"k" * 251,
        b"incr a x",
        b"touch a x",
        b"flush_all x",
        b"verbosity x",
        b"no such command",
    ],
)
def test_noreply_hides_an_error(line: bytes) -> None:
    assert parsed(line) != SILENCE
    assert type(parsed(line)) is Immediate
    assert parsed(line + b" noreply") == SILENCE


def test_only_a_retrieval_may_be_long() -> None:
    key = b" " + b"k" * 99
    many = b"get" + key * (LINE_BYTES_MAX // len(key) + 1)
    assert type(parsed(many)) is Get
    assert parsed(b"stats" + many[3:]) == Quit()
    assert parsed(b"get" + key * (RETRIEVAL_LINE_BYTES_MAX // len(key) + 1)) == Quit()


@pytest.mark.parametrize(
    ("words", "once"),
    [
        (b"%d 1 1" % CLIENT_SESSION_MIN, Once(CLIENT_SESSION_MIN, 1, 1, b"")),
        (b"%d 5 0" % (2**63 - 1), Once(2**63 - 1, 5, 0, b"")),
        (b"1 1", Once(0, 0, 0, ONCE_WORDS_ERROR)),
        (b"%d 1 1" % (CLIENT_SESSION_MIN - 1), Once(0, 0, 0, ONCE_SESSION_ERROR)),
        (b"%d 1 1" % 2**63, Once(0, 0, 0, ONCE_SESSION_ERROR)),
        (b"%d 0 0" % CLIENT_SESSION_MIN, Once(0, 0, 0, ONCE_SEQUENCE_ERROR)),
        (b"%d +1 0" % CLIENT_SESSION_MIN, Once(0, 0, 0, ONCE_SEQUENCE_ERROR)),
        (b"%d 1 2" % CLIENT_SESSION_MIN, Once(0, 0, 0, ONCE_FLOOR_ERROR)),
    ],
)
def test_an_identity_is_whole_or_refused(words: bytes, once: Once) -> None:
    assert parsed(b"cluster once " + words) == once
