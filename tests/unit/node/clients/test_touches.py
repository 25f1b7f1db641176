"""gat and gats of several keys: what is touched when, and what is told of a failure."""

import pytest

from quorumcache.node.clients.windows import WINDOW_KEYS
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.results import ITEM, NOT_FOUND
from tests.support.fake_server import Client, item, keys_of, value_lines

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
