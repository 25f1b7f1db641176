"""What each kind of request does."""

from quorumcache.node.clients.write_room import WRITE_BYTES_LIMIT
from quorumcache.node.store.commands import OP_DELETE
from quorumcache.node.store.results import DELETED
from tests.support.fake_server import Client, item, set_line, value_lines


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
    refused = b"SERVER_ERROR not done: too many writes wait on this node; retry more slowly\r\n"
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
