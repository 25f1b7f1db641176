"""Room for unfinished writes: of one connection, and of all of them together."""

from quorumcache.node.clients.write_room import (
    INFLIGHT_BYTES_MAX,
    WRITE_BYTES_LIMIT,
    WRITE_BYTES_MAX,
    WRITE_BYTES_MIN,
    WRITE_OVERHEAD_BYTES,
)
from quorumcache.node.store.results import STORED
from tests.support.fake_server import Client, set_line


def test_noreply_writes_are_bounded_by_count_too() -> None:
    client = Client()
    client.lead_all()
    count = INFLIGHT_BYTES_MAX // WRITE_OVERHEAD_BYTES + 1000
    client.send(set_line(b"k", b"", noreply=True) * count)
    assert len(client.coordinator.started) < count
    assert not client.transport.is_reading
    for _ in range(3):
        client.coordinator.end_all()
        client.turn()
    assert client.transport.is_reading
    assert client.connection.conversation.inflight_bytes == 0


def test_many_clients_share_the_room_for_unfinished_writes() -> None:
    first = Client()
    room = first.server.write_room
    others = WRITE_BYTES_MAX - (8 << 20)
    room.taken_bytes = others  # Of clients that are not looked at here.
    value = b"v" * (1 << 18)
    data = set_line(b"k", value, noreply=True) * 40
    clients = [Client(server=first.server) for _ in range(20)]
    for client in clients:
        client.lead_all()
        client.send(data)
        assert not client.transport.is_reading
    assert WRITE_BYTES_MAX - (1 << 20) < room.taken_bytes < WRITE_BYTES_MAX + 20 * len(value)
    assert clients[0].connection.conversation.inflight_bytes < INFLIGHT_BYTES_MAX * 2 // 3
    # Who has little under way goes on, whatever the others have.
    first.send(set_line(b"k", b"v" * (WRITE_BYTES_MIN // 4)) * 2 + b"version\r\n")
    assert first.transport.is_reading
    # What is under way counts until it has ended, also when its client has gone.
    taken = room.taken_bytes
    for client in clients:
        client.connection.connection_lost(None)
    assert room.taken_bytes == taken
    first.coordinator.end_all()
    first.turn()
    assert room.taken_bytes == others
    assert first.read() == b"STORED\r\n" * 2 + b"VERSION 1\r\n"


def test_a_client_that_waits_for_the_room_of_others_goes_on_when_its_own_writes_end() -> None:
    client = Client()
    client.lead_all()
    room = client.server.write_room
    room.taken_bytes = WRITE_BYTES_MAX  # Others have it all.
    value = b"v" * WRITE_BYTES_MIN
    client.send(set_line(b"k", value, noreply=True) * 3 + b"version\r\n")
    for _ in range(3):
        assert not client.transport.is_reading
        assert client.read() == b""
        client.coordinator.take().end(STORED)
        client.turn()
    assert client.read() == b"VERSION 1\r\n"
    assert client.transport.is_reading
    assert room.taken_bytes == WRITE_BYTES_MAX


def test_large_writes_are_refused_before_small_ones() -> None:
    client = Client()
    client.lead_all()
    client.server.write_room.taken_bytes = WRITE_BYTES_LIMIT
    client.send(set_line(b"large", b"v" * WRITE_BYTES_MIN) + set_line(b"small"))
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == (
        b"SERVER_ERROR not done: this node has too many unfinished writes; retry more slowly\r\n"
        b"STORED\r\n"
    )


def test_writes_of_big_values_are_bounded_by_bytes() -> None:
    client = Client()
    client.lead_all()
    value = b"v" * (1 << 19)
    client.send(set_line(b"k", value) * 20)
    assert len(client.coordinator.started) == INFLIGHT_BYTES_MAX // len(value)
    replies = b""
    while client.coordinator.started:
        client.coordinator.started.pop(0).end(STORED)
        client.turn()
        replies += client.read()
    assert replies == b"STORED\r\n" * 20
    assert client.transport.is_reading
