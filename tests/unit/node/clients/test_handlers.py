"""What each kind of request does."""

from typing import get_args

import pytest

from quorumcache.node.clients.command_prefixes import ONCE_KIND_LINE
from quorumcache.node.clients.handlers import (
    HANDLERS,
    HANDLERS_BEHIND_PREFIX,
    WRITE_HANDLERS,
)
from quorumcache.node.clients.operator_words import PROOFS_WRONG_MAX
from quorumcache.node.clients.write_room import WRITE_BYTES_LIMIT
from quorumcache.node.protocol.requests import Request
from quorumcache.node.store.commands import OP_DELETE, OP_FLUSH
from quorumcache.node.store.results import DELETED
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from tests.support.fake_server import SHARDS, Client, item, set_line, value_lines

SESSION = CLIENT_SESSION_MIN + 1


def test_writes_beyond_the_limit_are_refused_in_their_place_among_the_replies() -> None:
    client = Client()
    room = client.server.write_room
    client.send(b"gets k\r\n")
    get = client.coordinator.take()
    room.taken_bytes = 2 * WRITE_BYTES_LIMIT
    client.send(set_line(b"k2") + set_line(b"k2", noreply=True) + b"delete k2\r\nversion\r\n")
    assert not client.coordinator.started
    get.end([item()])
    client.turn()
    refused = (
        b"SERVER_ERROR not done: this node has too many unfinished writes; retry more slowly\r\n"
    )
    assert client.read() == value_lines(b"k").replace(b"1\r\n", b"1 7\r\n", 1) + (
        b"END\r\n" + refused * 2 + b"VERSION 1\r\n"
    )
    assert room.taken_bytes == 2 * WRITE_BYTES_LIMIT
    assert client.server.counters.writes_refused == 3


def test_a_refused_set_deletes_the_old_value_before_the_reply() -> None:
    client = Client()
    client.send(b"set k 0 0 2000000\r\n" + b"v" * 2_000_000 + b"\r\n")
    delete = client.coordinator.take()
    assert delete.op == OP_DELETE
    assert client.read() == b""
    delete.end(DELETED)
    client.turn()
    assert client.read() == b"SERVER_ERROR object too large for cache\r\n"


def test_an_operators_words_are_answered_in_their_place_among_the_replies() -> None:
    client = Client()
    client.send(b"cluster moves\r\nversion\r\ncluster change pause\r\n")
    [(words, moves), (change_words, change)] = client.server.asked
    assert (words, change_words) == ((b"moves",), (b"change", b"pause"))
    assert client.read() == b""
    change(b"CLIENT_ERROR refused: no\r\n")
    client.turn()
    assert client.read() == b""
    moves(b"MOVES 2\r\n{}\r\n")
    client.turn()
    assert client.read() == (b"MOVES 2\r\n{}\r\nVERSION 1\r\nCLIENT_ERROR refused: no\r\n")
    assert client.server.counters.protocol_errors == 1


def test_the_answer_to_a_client_that_has_gone_is_dropped() -> None:
    client = Client()
    client.send(b"cluster change drain b\r\n")
    [(_, change)] = client.server.asked
    client.connection.connection_lost(None)
    change(b"CHANGE 2\r\n{}\r\n")


def test_a_client_whose_proofs_are_wrong_is_let_go() -> None:
    client = Client()
    for number in range(1, PROOFS_WRONG_MAX + 1):
        client.connection.conversation.settings.wrong_proofs = number
        client.send(b"cluster auth 00\r\nversion\r\n")
        client.server.asked.pop()[1](b"CLIENT_ERROR no\r\n")
        client.turn()
    told = b"CLIENT_ERROR no\r\nVERSION 1\r\n" * (PROOFS_WRONG_MAX - 1)
    assert client.read() == told + b"CLIENT_ERROR no\r\n"
    assert client.connection.conversation.closing


def test_every_kind_of_request_has_a_handler_also_behind_a_prefix() -> None:
    kinds = set(get_args(Request))
    assert set(HANDLERS) == kinds
    assert set(HANDLERS_BEHIND_PREFIX) == kinds
    assert set(WRITE_HANDLERS) < kinds


def test_an_identity_is_for_the_next_command_only() -> None:
    client = Client()
    client.lead_all()
    client.send(b"cluster once %d 5 4\r\n" % SESSION + set_line(b"k") + set_line(b"k"))
    first, second = client.coordinator.started
    assert first.identity == (SESSION, 5, 4)
    assert second.identity is None
    client.coordinator.end_all()
    client.turn()
    assert client.read() == b"STORED\r\n" * 2


def test_what_can_have_no_identity_is_not_executed_after_one() -> None:
    client = Client()
    client.send(b"cluster once %d 5 4\r\nget k\r\nflush_all noreply\r\n" % SESSION)
    assert [started.op for started in client.coordinator.started] == [OP_FLUSH] * SHARDS
    assert client.read() == ONCE_KIND_LINE
    assert client.server.counters.protocol_errors == 1


def test_a_session_is_opened_where_there_is_such_a_shard() -> None:
    client = Client()
    client.send(b"cluster session open %d\r\n" % (SHARDS - 1))
    opening = client.coordinator.take()
    assert opening.group_id == SHARDS
    opening.end(SESSION)
    client.turn()
    assert client.read() == b"SESSION %d %d\r\n" % (SHARDS - 1, SESSION)
    client.send(b"cluster session open %d\r\n" % SHARDS)
    assert not client.coordinator.started
    assert client.read() == b"OK\r\n"  # What `cluster_words.py` says, which is not here.


def test_the_words_of_stats_and_cluster_are_those_that_were_handed_in() -> None:
    client = Client()
    client.server.stats = lambda args: b" ".join((b"stats of", *args)) + b"\r\n"
    client.server.cluster = lambda settings, args: b"CLIENT_ERROR " + args[0] + b"\r\n"
    client.send(b"stats a b\r\ncluster mop\r\n")
    assert client.read() == b"stats of a b\r\nCLIENT_ERROR mop\r\n"
    counters = client.server.counters
    assert (counters.cmd_other, counters.protocol_errors) == (2, 1)


@pytest.mark.parametrize(
    ("request_bytes", "commands"),
    [
        (set_line(b"k"), (1, 0, 0, 0)),
        (b"gets k k2\r\n", (0, 2, 0, 0)),
        (b"gat 0 k k2 k3\r\n", (0, 0, 3, 0)),
        (b"touch k 0\r\n", (0, 0, 1, 0)),
        (b"flush_all\r\n", (0, 0, 0, 1)),
        (b"delete k\r\n", (0, 0, 0, 0)),
    ],
)
def test_commands_are_counted_when_they_are_begun(
    request_bytes: bytes, commands: tuple[int, ...]
) -> None:
    client = Client()
    client.send(request_bytes)
    assert client.coordinator.started
    counters = client.server.counters
    counted = (counters.cmd_set, counters.cmd_get, counters.cmd_touch, counters.cmd_flush)
    assert counted == commands
