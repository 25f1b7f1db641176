"""Reply bytes."""

import pytest

from quorumcache.node.protocol import responses
from quorumcache.node.protocol.responses import (
    moved,
    not_done,
    outcome_unknown,
    render,
    value_line,
    value_of,
)
from quorumcache.node.store import results
from quorumcache.node.store.item import pack_header, wire_data


@pytest.mark.parametrize(
    ("result", "reply"),
    [
        (results.STORED, b"STORED\r\n"),
        (results.NOT_STORED, b"NOT_STORED\r\n"),
        (results.EXISTS, b"EXISTS\r\n"),
        (results.NOT_FOUND, b"NOT_FOUND\r\n"),
        (results.DELETED, b"DELETED\r\n"),
        (results.TOUCHED, b"TOUCHED\r\n"),
        (results.OK, b"OK\r\n"),
        (
            results.NON_NUMERIC,
            b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        (results.TOO_LARGE, b"SERVER_ERROR object too large for cache\r\n"),
        ((results.NUMBER, 0), b"0\r\n"),
        ((results.NUMBER, 2**64 - 1), b"18446744073709551615\r\n"),
    ],
)
def test_render(result: results.Result, reply: bytes) -> None:
    assert render(result) == reply


def test_lost_sessions_leave_the_outcome_open() -> None:
    assert render(results.SESSION_GONE).startswith(b"SERVER_ERROR outcome unknown: ")
    assert render(results.STALE_SEQUENCE).startswith(b"SERVER_ERROR outcome unknown: ")


def test_value_lines() -> None:
    item = pack_header(1, 99, 42) + wire_data(7, b"a\r\nb")
    assert value_line(b"key", item, False) == b"VALUE key 7 4\r\na\r\nb\r\n"
    assert value_line(b"key", item, True) == b"VALUE key 7 4 42\r\na\r\nb\r\n"
    assert value_of(b"key", (results.ITEM, item), True) == value_line(b"key", item, True)
    assert value_of(b"key", results.NOT_FOUND, True) == b""


def test_lines_of_the_cluster() -> None:
    assert not_done("no leader") == b"SERVER_ERROR not done: no leader\r\n"
    assert outcome_unknown("lost") == b"SERVER_ERROR outcome unknown: lost\r\n"
    assert moved(3, 7, 2, "host:1") == b"MOVED 3 7 2 host:1\r\n"
    assert moved(3, 7, 0, "") == b"MOVED 3 7 0 -\r\n"


def test_every_fixed_line_is_one_line() -> None:
    lines = [getattr(responses, name) for name in dir(responses) if name.endswith("_LINE")]
    assert len(lines) > 10
    for line in lines:
        assert line.endswith(b"\r\n")
        assert line.count(b"\n") == 1
