"""Retrievals of several keys: one after the other, a window of keys at a time, one reply."""

import pytest

from quorumcache.node.clients.retrievals import WINDOW_KEYS
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.results import ITEM, NOT_FOUND, STORED
from tests.support.fake_server import Client, item, keys_of, set_line, value_lines

NOT_DONE = Failure("no leader", outcome_known=True)


LOST = Failure("no answer", outcome_known=False)


@pytest.mark.parametrize(
    ("outcomes", "reply"),
    [
        ((NOT_DONE, NOT_DONE), b"SERVER_ERROR not done: no leader\r\n"),
        (((ITEM, item()), NOT_DONE), b"SERVER_ERROR outcome unknown: no leader\r\n"),
        ((NOT_DONE, (ITEM, item())), b"SERVER_ERROR outcome unknown: no leader\r\n"),
        ((NOT_FOUND, NOT_DONE), b"SERVER_ERROR outcome unknown: no leader\r\n"),
        ((LOST, NOT_DONE), b"SERVER_ERROR outcome unknown: no answer\r\n"),
        ((NOT_DONE, LOST), b"SERVER_ERROR outcome unknown: no answer\r\n"),
    ],
)
def test_a_gat_of_several_keys_is_not_done_only_if_none_is(
    outcomes: tuple[object, object], reply: bytes
) -> None:
    client = Client()
    keys = [keys_of(client.server, shard, 1)[0] for shard in (1, 2)]
    client.send(b"gat 10 %b %b\r\n" % tuple(keys))
    started = list(client.coordinator.started)
    client.coordinator.started.clear()
    for operation, outcome in zip(started, outcomes, strict=True):
        operation.end(outcome)
    client.turn()
    assert client.read() == reply


def test_two_long_multi_gets_run_one_after_the_other() -> None:
    client = Client()
    for shard in (1, 2):
        client.send(b"get " + b" ".join(keys_of(client.server, shard, 2 * WINDOW_KEYS)) + b"\r\n")
    for _ in range(4):
        client.coordinator.take().end([None] * WINDOW_KEYS)
        client.turn()
    assert client.read() == b"END\r\nEND\r\n"
    assert client.server.counters.cmd_get == 4 * WINDOW_KEYS


def test_a_long_multi_get_never_sees_what_was_sent_behind_it() -> None:
    client = Client()
    keys = keys_of(client.server, 1, WINDOW_KEYS + 1)
    client.send(b"get " + b" ".join(keys) + b"\r\n" + set_line(keys[-1]))
    for count in (WINDOW_KEYS, 1):
        read = client.coordinator.take()
        assert len(read.keys) == count
        assert not client.coordinator.started
        read.end([None] * count)
        client.turn()
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"END\r\nSTORED\r\n"


def test_a_long_gat_touches_a_window_at_a_time_and_before_what_was_sent_behind_it() -> None:
    client = Client()
    keys = keys_of(client.server, 1, 2 * WINDOW_KEYS)
    client.send(b"gat 10 " + b" ".join(keys) + b"\r\ndelete " + keys[-1] + b"\r\n")
    touched: list[bytes] = []
    while len(touched) < len(keys):
        started = list(client.coordinator.started)
        client.coordinator.started.clear()
        assert 0 < len(started) <= WINDOW_KEYS
        for operation in started:
            touched += operation.keys
            operation.end((ITEM, item()))
        client.turn()
    assert touched == keys
    assert client.read() == b"".join(map(value_lines, keys)) + b"END\r\n"
    assert client.coordinator.take().keys == (keys[-1],)
    assert client.server.counters.touch_hits == len(keys)


def test_a_long_gat_that_fails_late_is_of_unknown_outcome() -> None:
    client = Client()
    keys = keys_of(client.server, 1, WINDOW_KEYS + 1)
    client.send(b"gat 10 " + b" ".join(keys) + b"\r\nversion\r\n")
    while client.coordinator.started:
        operation = client.coordinator.started.pop(0)
        if operation.keys == (keys[-1],):
            operation.end(Failure("no leader", outcome_known=True))
        else:
            operation.end(NOT_FOUND)
        client.turn()
    assert client.read() == b"SERVER_ERROR outcome unknown: no leader\r\nVERSION 1\r\n"


def test_the_next_window_waits_until_the_client_reads() -> None:
    client = Client(high=1000)
    keys = keys_of(client.server, 1, 3 * WINDOW_KEYS)
    client.send(b"get " + b" ".join(keys) + b"\r\n")
    for _ in range(2):
        read = client.coordinator.take()
        assert len(read.keys) == WINDOW_KEYS
        read.end([item(b"y" * 100)] * WINDOW_KEYS)
        client.turn()
        assert not client.coordinator.started
        assert client.read().count(b"VALUE") == WINDOW_KEYS
    client.coordinator.take().end([None] * WINDOW_KEYS)
    client.turn()
    assert client.read() == b"END\r\n"


def test_a_key_named_twice_is_answered_twice_and_read_once() -> None:
    client = Client()
    client.send(b"get k k\r\n")
    read = client.coordinator.take()
    assert read.keys == (b"k",)
    read.end([item()])
    client.turn()
    assert client.read() == value_lines(b"k") * 2 + b"END\r\n"


def test_a_multi_get_whose_shard_fails_is_one_error() -> None:
    client = Client()
    client.send(b"get a b c d e f g\r\nversion\r\n")
    first, *others = client.coordinator.started
    client.coordinator.started.clear()
    first.end(Failure("no leader", outcome_known=True))
    for read in others:
        read.end([item()] * len(read.keys))
    client.turn()
    assert client.read() == b"SERVER_ERROR not done: no leader\r\nVERSION 1\r\n"
