"""Writes from their lane to their reply: what each outcome is told as."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import Write
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    NOT_FOUND,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    STORED,
    TOUCHED,
)
from tests.support.fake_server import Client, set_line


def test_a_write_begins_with_all_that_an_operation_has() -> None:
    """Its fields are written out: one that its bases get later must not be forgotten."""
    client = Client()
    client.send(set_line(b"k"))
    (write,) = client.coordinator._writes
    plain = Write(write.owner, write.group_id, write.deadline_ns, *_of(write), write.identity)
    names = [name for kind in Write.__mro__[:-1] for name in kind.__slots__]  # type: ignore[attr-defined]
    assert len(names) > 20
    for name in names:
        assert getattr(write, name) == getattr(plain, name), name


def _of(write: Any) -> tuple[int, bytes, tuple[object, ...], int]:
    return write.op, write.key, write.args, write.size


@pytest.mark.parametrize(
    ("outcomes", "reply"),
    [
        ("kkkk", b"OK\r\n"),
        ("nkkk", b"outcome unknown: 3 of 4 shards were flushed, 1 was not: no leader 0"),
        ("kknn", b"outcome unknown: 2 of 4 shards were flushed, 2 were not: no leader 2"),
        ("kkku", b"outcome unknown: 3 of 4 shards were flushed, 1 is in doubt: lost 3"),
        (
            "nuku",
            b"outcome unknown: 1 of 4 shards was flushed, 1 was not and 2 are in doubt: lost 1",
        ),
        (
            "unuu",
            b"outcome unknown: 0 of 4 shards were flushed, 1 was not and 3 are in doubt: lost 0",
        ),
        ("nnnn", b"not done: no shard was flushed: no leader 0"),
    ],
)
def test_a_flush_all_tells_how_far_it_came(outcomes: str, reply: bytes) -> None:
    client = Client()
    client.send(b"flush_all\r\n")
    started = list(client.coordinator.started)
    client.coordinator.started.clear()
    for number, (flush, outcome) in enumerate(zip(started, outcomes, strict=True)):
        if outcome == "k":
            flush.end(OK)
        else:
            why = "no leader" if outcome == "n" else "lost"
            flush.end(Failure(f"{why} {number}", outcome_known=outcome == "n"))
    client.turn()
    assert client.read() == (reply if reply == b"OK\r\n" else b"SERVER_ERROR " + reply + b"\r\n")
    counters = client.server.counters
    assert counters.cmd_flush == 1
    assert counters.requests_failed == (outcomes == "nnnn")
    assert counters.requests_unknown == ("k" in outcomes and outcomes != "kkkk") + (
        outcomes == "unuu"
    )


def test_a_flush_all_that_is_not_allowed_is_refused_and_counted() -> None:
    client = Client()
    client.server.flush_enabled = False
    client.send(b"flush_all\r\nflush_all 5 noreply\r\nflush_all 7\r\nversion\r\n")
    refused = b"CLIENT_ERROR flush_all not allowed\r\n"
    assert client.read() == refused * 2 + b"VERSION 1\r\n"
    assert client.coordinator.started == []
    assert client.server.counters.cmd_flush == 3


@pytest.mark.parametrize("result", [OUT_OF_MEMORY, DELETED, NOT_FOUND])
def test_a_set_that_ran_as_a_delete_is_out_of_memory(result: int) -> None:
    client = Client()
    client.send(set_line(b"k"))
    client.coordinator.take().end(result)
    client.turn()
    assert client.read().startswith(b"SERVER_ERROR out of memory")


def test_a_failed_noreply_write_says_nothing() -> None:
    client = Client()
    client.send(set_line(b"k", noreply=True) + b"version\r\n")
    client.coordinator.take().end(Failure("why", outcome_known=True))
    client.turn()
    assert client.read() == b"VERSION 1\r\n"


@pytest.mark.parametrize(
    ("line", "result", "reply", "counter"),
    [
        (set_line(b"k"), STORED, b"STORED\r\n", "total_items"),
        (b"cas k 0 0 1 7\r\nx\r\n", STORED, b"STORED\r\n", "cas_hits"),
        (b"cas k 0 0 1 7\r\nx\r\n", EXISTS, b"EXISTS\r\n", "cas_badval"),
        (b"cas k 0 0 1 7\r\nx\r\n", NOT_FOUND, b"NOT_FOUND\r\n", "cas_misses"),
        (b"delete k\r\n", DELETED, b"DELETED\r\n", "delete_hits"),
        (b"delete k\r\n", NOT_FOUND, b"NOT_FOUND\r\n", "delete_misses"),
        (b"touch k 9\r\n", TOUCHED, b"TOUCHED\r\n", "touch_hits"),
        (b"touch k 9\r\n", NOT_FOUND, b"NOT_FOUND\r\n", "touch_misses"),
        (b"incr k 1\r\n", (NUMBER, 8), b"8\r\n", "incr_hits"),
        (b"incr k 1\r\n", NOT_FOUND, b"NOT_FOUND\r\n", "incr_misses"),
        (b"decr k 1\r\n", (NUMBER, 6), b"6\r\n", "decr_hits"),
        (b"decr k 1\r\n", NOT_FOUND, b"NOT_FOUND\r\n", "decr_misses"),
    ],
)
def test_a_result_is_told_and_counted(line: bytes, result: Any, reply: bytes, counter: str) -> None:
    client = Client()
    client.send(line)
    assert getattr(client.server.counters, counter) == 0
    client.coordinator.take().end(result)
    client.turn()
    assert client.read() == reply
    assert getattr(client.server.counters, counter) == 1
