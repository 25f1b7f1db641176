"""Writes from their lane to their reply: what each outcome is told as."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
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


def test_a_flush_all_that_one_shard_did_not_do_is_in_doubt() -> None:
    client = Client()
    client.send(b"flush_all\r\n")
    first, *others = client.coordinator.started
    client.coordinator.started.clear()
    first.end(Failure("no leader", outcome_known=True))
    for flush in others:
        flush.end(OK)
    client.turn()
    assert client.read() == b"SERVER_ERROR outcome unknown: no leader\r\n"


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
