"""Retrievals of several keys: one after the other, a window of keys at a time, one reply."""

from quorumcache.node.clients.windows import WINDOW_KEYS
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.results import STORED
from tests.support.fake_server import Client, item, keys_of, set_line, value_lines

NOT_DONE = Failure("no leader", outcome_known=True)


LOST = Failure("no answer", outcome_known=False)


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
