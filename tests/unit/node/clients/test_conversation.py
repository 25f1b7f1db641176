"""One client as its requests see it: what must run alone, and what is answered with MOVED."""

from typing import Any

import pytest

from quorumcache.node.operations.read_levels import ANY_STALENESS_NS, LINEARIZABLE_NS
from quorumcache.node.protocol.requests import FlushAll
from quorumcache.node.store.commands import OP_FLUSH
from quorumcache.node.store.results import OK, STORED
from tests.support.fake_server import (
    SHARDS,
    Client,
    FakeServer,
    item,
    keys_of,
    set_line,
    value_lines,
)


def test_a_get_waits_for_flush_all_noreply() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"old")
    store: Any = client.server.groups[client.server.group_of(b"k")].machine
    client.send(b"flush_all noreply\r\n")
    assert [o.op for o in client.coordinator.started] == [OP_FLUSH] * SHARDS
    client.send(b"get k\r\n")
    assert client.read() == b""
    client.coordinator.end_all(OK)
    store.drop_all()
    client.turn()
    client.turn()
    assert client.read() == b"END\r\n"


def test_flush_all_runs_alone() -> None:
    client = Client()
    client.send(set_line(b"a") + b"flush_all\r\n" + set_line(b"b"))
    client.coordinator.take().end(STORED)
    client.turn()
    flushes = list(client.coordinator.started)
    assert [o.op for o in flushes] == [OP_FLUSH] * SHARDS
    client.coordinator.started.clear()
    for flush in flushes[:-1]:
        flush.end(OK)
    client.turn()
    assert not client.coordinator.started
    assert client.read() == b"STORED\r\n"
    flushes[-1].end(OK)
    client.turn()
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"OK\r\nSTORED\r\n"
    assert client.transport.is_reading


def test_in_redirect_mode_what_is_led_elsewhere_is_moved_and_not_done() -> None:
    client = Client()
    client.send(b"cluster redirect on\r\n")
    client.server.groups[client.server.group_of(b"k")].lead()
    (other,) = keys_of(client.server, client.server.group_of(b"k") % SHARDS + 1, 1)
    shard = client.server.group_of(other) - 1
    moved = b"MOVED 1 %d 2 host:1\r\n" % shard
    client.send(
        b"get %b\r\n" % other + set_line(other) + set_line(other, noreply=True)
        + b"get k %b\r\n" % other + set_line(b"k")
    )  # fmt: skip
    write = client.coordinator.take()
    assert write.keys == (b"k",)
    write.end(STORED)
    client.turn()
    assert client.read() == b"OK\r\n" + moved * 3 + b"STORED\r\n"


def test_what_was_chosen_holds_for_one_client() -> None:
    server = FakeServer()
    client, other = Client(server=server), Client(server=server)
    client.send(b"cluster redirect on\r\ncluster read local\r\n")
    assert client.connection.conversation.settings.redirect
    assert client.connection.conversation.settings.staleness_ns == ANY_STALENESS_NS
    assert not other.connection.conversation.settings.redirect
    assert other.connection.conversation.settings.staleness_ns == LINEARIZABLE_NS


@pytest.mark.parametrize("noreply", [False, True])
def test_stats_tell_of_all_that_came_before_them_and_of_nothing_behind(noreply: bool) -> None:
    client = Client()
    counters = client.server.counters
    client.server.stats = lambda args: b"%d %d\r\n" % (counters.total_items, counters.get_hits)
    client.send(
        set_line(b"a", noreply=noreply)
        + b"get a\r\nstats\r\n"
        + set_line(b"a")
        + b"stats\r\nversion\r\n"
    )
    assert [operation.is_write for operation in client.coordinator.started] == [True]
    client.coordinator.take().end(STORED)
    client.turn()
    client.coordinator.take().end([item()])
    client.turn()
    client.coordinator.take().end(STORED)
    client.turn()
    replies = client.read().removeprefix(b"" if noreply else b"STORED\r\n")
    assert replies.startswith(value_lines(b"a") + b"END\r\n1 1\r\nSTORED\r\n2 1\r\nVERSION ")


def test_a_request_that_must_run_alone_waits_and_is_handled_anew() -> None:
    conversation = Client().connection.conversation
    flush = FlushAll(0, False)
    slot = conversation.replies.take_slot()
    assert not conversation.alone(flush)
    assert list(conversation.backlog) == [flush]
    assert conversation.is_blocked()
    conversation.replies.fill(slot, b"")
    conversation.order.draining = False  # As the connection does.
    assert not conversation.is_blocked()
    assert conversation.alone(flush)
    assert conversation.is_blocked(), "nothing behind it may begin"
    conversation.ended_alone()
    assert not conversation.is_blocked()


def test_a_request_that_cannot_run_alone_yet_stops_the_reading_though_nothing_follows_it() -> None:
    client = Client()
    client.send(set_line(b"k") + b"flush_all\r\n")
    assert not client.transport.is_reading
    assert client.server.counters.reads_paused == 1
    client.coordinator.take().end(STORED)
    client.turn()
    client.coordinator.end_all(OK)
    client.turn()
    assert client.read() == b"STORED\r\nOK\r\n"
    assert client.transport.is_reading


@pytest.mark.parametrize(("fence", "reply"), [(b"mn", b"MN\r\n"), (b"version", b"VERSION ")])
def test_a_fence_is_answered_when_writes_without_reply_are_done(fence: bytes, reply: bytes) -> None:
    """Other clients can see them then, as behind the same reply of a memcached."""
    client = Client()
    (other,) = keys_of(client.server, client.server.group_of(b"k") % SHARDS + 1, 1)
    client.send(
        set_line(b"k", noreply=True) + set_line(other, noreply=True) + fence + b"\r\nget k\r\n"
    )
    first, second = client.coordinator.started
    client.coordinator.started.clear()
    first.end(STORED)
    client.turn()
    assert client.read() == b""
    second.end(STORED)
    client.turn()
    assert client.read().startswith(reply)
    client.coordinator.take().end([item()])
    client.turn()
    assert client.read() == value_lines(b"k") + b"END\r\n"
    assert client.transport.is_reading


def test_a_fence_does_not_wait_for_writes_that_are_answered() -> None:
    """They have their place before it, and what follows it may begin at once."""
    client = Client()
    (other,) = keys_of(client.server, client.server.group_of(b"k") % SHARDS + 1, 1)
    client.send(set_line(b"k") + b"mn\r\n" + set_line(other))
    assert len(client.coordinator.started) == 2
    client.coordinator.end_all(STORED)
    client.turn()
    assert client.read() == b"STORED\r\nMN\r\nSTORED\r\n"


@pytest.mark.parametrize("ends_by", ["quit", "end of file"])
def test_a_client_that_ends_is_closed_when_its_writes_without_reply_are_done(ends_by: str) -> None:
    client = Client()
    client.send(set_line(b"k", noreply=True) + (b"quit\r\nget k\r\n" if ends_by == "quit" else b""))
    if ends_by != "quit":
        assert client.connection.eof_received()
    client.turn()
    assert not client.transport.closed
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.transport.closed
    assert not client.coordinator.started
    assert client.connection.conversation.close_reason == "normal"


def test_a_lost_client_leaves_nothing_behind() -> None:
    client = Client()
    client.send(set_line(b"k") + b"flush_all\r\nversion\r\n")
    conversation = client.connection.conversation
    assert conversation.backlog
    conversation.lost()
    assert not conversation.backlog
    assert conversation.unfinished is None
    assert not conversation.replies.is_open
