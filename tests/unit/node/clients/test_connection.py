"""One client connection against a scripted coordinator and a transport moved by hand."""

from random import Random

import pytest

from quorumcache.node.clients.replies import SLOTS_MAX, WRITE_CHUNK_BYTES
from quorumcache.node.clients.windows import WINDOW_KEYS
from quorumcache.node.protocol.responses import TOO_MANY_CONNECTIONS_LINE
from quorumcache.node.protocol.value_blocks import ValueLimits
from quorumcache.node.store.commands import OP_FLUSH, OP_STORE_PIECES
from quorumcache.node.store.item import pack_header
from quorumcache.node.store.results import OK, PIECE_STAGED, STORED
from tests.support.fake_server import (
    LEASE_NS,
    Client,
    FakeServer,
    item,
    keys_of,
    set_line,
    value_lines,
)


def test_a_plain_get_is_answered_on_the_spot_while_the_lease_lasts_and_not_after() -> None:
    """The clock is read after the request came, and a leader without a lease asks first."""
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.greet()
    client.server.now_ns = LEASE_NS - 1
    client.send(b"get k\r\n")
    assert client.coordinator.started == []
    assert client.read() == value_lines(b"k") + b"END\r\n"
    client.server.now_ns = LEASE_NS
    client.send(b"get k\r\n")
    assert client.read() == b""
    assert client.coordinator.take().keys == (b"k",)


@pytest.mark.parametrize("trouble", ["may have ended", "a flush is due"])
def test_a_plain_get_of_what_may_be_gone_is_left_to_the_coordinator(trouble: str) -> None:
    """It removes what has ended through the log before it tells the miss."""
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    store = client.server.groups[client.server.group_of(b"k")].machine
    if trouble == "a flush is due":
        store.pending_flush_ms = 1000
        store.look_at_gate()
    else:
        store.items.put(b"k", pack_header(1, 1000, 7) + b" 0 1\r\nx\r\n", 1)
    client.greet()
    client.send(b"get k\r\n")
    assert client.read() == b""
    client.coordinator.take().end([None])
    client.turn()
    assert client.read() == b"END\r\n"


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    client = Client(high=10_000)
    client.lead_all()
    client.put(b"k", b"v" * 1000)
    client.send(b"version\r\n")  # The short cut for gets is not taken by the very first request.
    assert client.read() == b"VERSION 1\r\n"
    sent = 0
    while client.transport.is_reading:
        client.send(b"get k\r\n")
        sent += 1
        assert sent < 100, "replies pile up without a bound"
    assert len(client.transport.unread) < 20_000
    answer = value_lines(b"k", b"v" * 1000) + b"END\r\n"
    client.coordinator.answer = lambda read: [item(b"v" * 1000)]
    assert client.read() == answer * sent
    assert client.transport.is_reading


@pytest.mark.parametrize("seed", range(10))
def test_however_it_was_paused_everything_is_answered_in_the_end(seed: int) -> None:
    random = Random(seed)
    client = Client(high=random.choice((100, 10_000, 1 << 20)))
    if random.random() < 0.5:
        client.lead_all()
    value = b"v" * random.choice((10, 5000))
    requests = [
        (set_line(b"k%d" % random.randrange(50), value), b"STORED\r\n"),
        (set_line(b"k%d" % random.randrange(50), value, noreply=True), b""),
        (b"get k%d\r\n" % random.randrange(50), b"END\r\n"),
        (b"get " + b" ".join(b"m%d" % n for n in range(150)) + b"\r\n", b"END\r\n"),
        (b"flush_all\r\n", b"OK\r\n"),
        (b"version\r\n", b"VERSION 1\r\n"),
    ]
    data = expected = received = b""
    for _ in range(300):
        request, reply = random.choices(requests, (5, 5, 5, 1, 1, 2))[0]
        data += request
        expected += reply
    for _ in range(100_000):
        if data and client.transport.is_reading:
            cut = random.randrange(1, 5000)
            client.send(data[:cut])
            data = data[cut:]
        if random.random() < 0.5:
            received += client.transport.drain()
        client.turn()
        started = client.coordinator.started
        if started:
            one = started.pop(random.randrange(len(started)))
            done = OK if one.op == OP_FLUSH else STORED
            one.end(done if one.is_write else [None] * len(one.keys))
            client.turn()
        elif not data and not client.transport.unread:
            break
    assert received + client.read() == expected
    assert client.transport.is_reading


def test_a_plain_get_of_much_is_cut_into_pieces() -> None:
    client = Client(high=1 << 30)
    client.lead_all()
    client.put(b"k", b"v" * (WRITE_CHUNK_BYTES // 2))
    client.coordinator.answer = lambda read: [item(b"v" * (WRITE_CHUNK_BYTES // 2))]
    client.send(b"version\r\n")
    client.send(b"get k\r\n" * 10)
    assert client.read().count(b"END\r\n") == 10


def test_quit_answers_what_came_before_and_nothing_after() -> None:
    client = Client()
    client.send(set_line(b"k") + b"quit\r\nversion\r\n")
    assert not client.transport.closed
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"STORED\r\n"
    assert client.transport.closed


def test_eof_answers_what_was_asked() -> None:
    client = Client()
    keys = keys_of(client.server, 1, 2 * WINDOW_KEYS)
    client.send(b"get " + b" ".join(keys) + b"\r\n")
    assert client.connection.conversation.close_reason == "error"
    assert client.connection.eof_received()
    assert client.connection.conversation.close_reason == "normal", "as memcached calls it"
    client.turn()
    for _ in range(2):
        client.coordinator.take().end([None] * WINDOW_KEYS)
        client.turn()
    assert client.read() == b"END\r\n"
    assert client.transport.closed


def test_eof_does_not_forget_what_waits_for_room() -> None:
    client = Client()
    client.send(b"gets k\r\n" * (SLOTS_MAX + 10))
    assert client.connection.eof_received()
    replies = b""
    for _ in range(5):
        client.coordinator.end_all()
        client.turn()
        replies += client.read()
    assert replies == b"END\r\n" * (SLOTS_MAX + 10)
    assert client.transport.closed


def test_a_lost_connection_sends_nothing_and_its_operations_end() -> None:
    client = Client()
    client.send(set_line(b"k") * 3)
    client.connection.connection_lost(None)
    for _ in range(3):
        client.coordinator.end_all()
        client.turn()
    assert not client.transport.unread
    assert not client.coordinator.started


def test_the_server_can_cut_a_closing_connection_whose_client_does_not_read() -> None:
    client = Client()
    client.send(b"version\r\nquit\r\n")
    assert client.transport.closed
    client.connection.abort()
    assert client.transport.aborted


def test_one_client_too_many_is_told_so() -> None:
    client = Client(full=True)
    assert client.transport.closed
    assert bytes(client.transport.unread) == TOO_MANY_CONNECTIONS_LINE


@pytest.mark.parametrize("noreply", [False, True])
@pytest.mark.parametrize("line", [b"get k\r\n", b"gets k\r\n", b"get k n\r\n", b"mg k v\r\n"])
def test_no_get_overtakes_a_large_value_whose_last_pieces_are_under_way(
    line: bytes, noreply: bool
) -> None:
    """It has no lane before they have ended, and without a reply no slot either."""
    server = FakeServer()
    server.value_limits = ValueLimits(lambda: True, large_bytes=8, piece_bytes=8)
    client = Client(server=server)
    client.lead_all()
    client.put(b"k", b"old")
    client.greet()
    data = set_line(b"k", b"v" * 20, noreply=noreply)
    for part in (data[:-14], data[-14:-6]):  # The socket brings it piece by piece.
        client.send(part)
        piece = client.coordinator.take()
        server.now_ns += 100_000_000  # So slow that the next piece does not wait for it.
        piece.end(PIECE_STAGED)
        client.turn()
    client.send(data[-6:])
    last = client.coordinator.take()
    client.send(line)
    assert client.read() == b""
    last.end(PIECE_STAGED)
    client.turn()
    assert [started.op for started in client.coordinator.started] == [OP_STORE_PIECES]
    assert client.read() == b""
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read().startswith(b"" if noreply else b"STORED\r\n")
