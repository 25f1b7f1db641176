"""Writes from their lane to their reply: what each outcome is told as."""

import pytest

from quorumcache.node.operations.operation import Failure
from quorumcache.node.store.results import DELETED, NOT_FOUND, OK, OUT_OF_MEMORY
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
