"""What the small client makes of replies: whole ones, split ones, errors, and none at all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumcache.bench.errors import TargetError
from quorumcache.bench.text_client import ConnectionBroken, TextClient, Topology
from quorumcache.ring import ClusterMap, NodeInfo, place
from tests.support.tiny_memcached import TinyMemcached

NODES = tuple(NodeInfo(n, f"n{n}", f"h:{n}", f"h:{n + 10}", "", "", 1.0) for n in (1, 2, 3))
MAP = ClusterMap(1, "test", 4, 3, NODES, place(NODES, 4, 3))
MAP_REPLY = b"MAP 1 %d\r\n%b\r\n" % (len(MAP.to_bytes()), MAP.to_bytes())
LONG = 60.0


@contextlib.contextmanager
def answering(replies: dict[bytes, bytes]) -> Iterator[TextClient]:
    """A client of a server that answers these lines so, and others as memcached does."""
    with TinyMemcached(replies.get) as server, TextClient(server.address, LONG) as client:
        yield client


@contextlib.contextmanager
def saying(*pieces: bytes) -> Iterator[TextClient]:
    """A client of a server that says this, a piece at a time, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with TextClient(listener.getsockname(), LONG) as client:
                yield client
        finally:
            thread.join(LONG)


def test_what_is_set_is_got() -> None:
    with answering({}) as client:
        assert client.set(b"k", b"a\r\nEND\r\nb") == b"STORED"
        assert client.get(b"k") == (b"a\r\nEND\r\nb", b"")
        assert client.get(b"other") == (None, b"")
        assert client.version() == "tiny"


def test_of_many_keys_those_that_are_there_are_got() -> None:
    with answering({}) as client:
        client.set_many([(b"k%d" % n, b"v%d" % n) for n in range(3)])
        assert client.get_many([b"k0", b"other", b"k2"]) == {b"k0": b"v0", b"k2": b"v2"}
        assert client.get_many([b"other"]) == {}
    why = pytest.raises(TargetError, match="get of 2 keys: SERVER_ERROR not now")
    with saying(b"VALUE a 0 1\r\nx\r\nSERVER_ERROR not now\r\n") as client, why:
        client.get_many([b"a", b"b"])


def test_an_error_is_no_miss() -> None:
    with answering({b"get k": b"SERVER_ERROR not done\r\n"}) as client:
        assert client.get(b"k") == (None, b"SERVER_ERROR not done")


def test_a_reply_may_come_in_any_pieces() -> None:
    reply = b"VALUE k 0 5\r\na\r\nbc\r\nEND\r\n"
    with saying(*(reply[at : at + 1] for at in range(len(reply)))) as client:
        assert client.get(b"k") == (b"a\r\nbc", b"")


def test_a_value_without_its_end_is_nonsense() -> None:
    with (
        answering({b"get k": b"VALUE k 0 1\r\nx\r\nVALUE j 0 1\r\ny\r\nEND\r\n"}) as client,
        pytest.raises(TargetError, match="END is missing"),
    ):
        client.get(b"k")


@pytest.mark.parametrize("said", [(), (b"VALUE k 0 5\r\nab",), (b"EN",)])
def test_a_reply_that_breaks_off_leaves_the_outcome_unknown(said: tuple[bytes, ...]) -> None:
    with saying(*said) as client, pytest.raises(ConnectionBroken):
        client.get(b"k")


def test_silence_ends_with_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = TextClient(listener.getsockname(), 0.05)
        with client, pytest.raises(ConnectionBroken, match="no reply in time"):
            client.get(b"k")


def test_a_call_that_waits_is_interrupted_from_another_thread() -> None:
    asked = threading.Event()
    go_on = threading.Event()

    def hook(line: bytes) -> bytes | None:
        asked.set()
        go_on.wait(LONG)
        return None

    with TinyMemcached(hook) as server, TextClient(server.address, LONG) as client:
        broken: list[Exception] = []

        def ask() -> None:
            try:
                client.get(b"k")
            except ConnectionBroken as error:
                broken.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(LONG)
        client.interrupt()
        thread.join(LONG)
        go_on.set()
        assert len(broken) == 1
        client.close()
        client.interrupt()  # Too late: nothing happens.


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
    with pytest.raises(ConnectionBroken, match=f"cannot connect to {host}:{port}: "):
        TextClient((host, port), LONG)


def test_lines_end_at_end_and_an_error_among_them_is_raised() -> None:
    with answering({b"stats": b"STAT a 1\r\nSTAT b 2\r\nEND\r\n", b"no": b"ERROR\r\n"}) as client:
        assert client.lines(b"stats") == [b"STAT a 1", b"STAT b 2"]
        with pytest.raises(TargetError, match="no: ERROR"):
            client.lines(b"no")


def test_a_topology_is_the_map_and_who_leads() -> None:
    """A shard that nobody leads is 0; one that the map does not have yet is passed over."""
    leaders = b"LEADER 0 5 2\r\nLEADER 2 5 2\r\nLEADER 3 1 3\r\nLEADER 9 1 1\r\nEND\r\n"
    with answering({b"cluster map": MAP_REPLY, b"cluster leaders": leaders}) as client:
        found = client.topology()
    assert found == Topology(MAP, (2, 0, 2, 3), (5, 0, 5, 1))
    assert (found.led_by(2), found.led_by(1)) == ([0, 2], [])


@pytest.mark.parametrize(
    ("leaders", "terms", "name", "is_led"),
    [
        ((1, 2, 3, 1), (4, 1, 1, 2), "n1", True),
        ((1, 2, 0, 1), (4, 1, 1, 2), "n1", False),  # Not known.
        ((1, 2, 3, 1), (4, 1, 0, 2), "n1", False),  # A guess: its replica has not started.
        ((1, 2, 3, 1), (0, 0, 0, 0), "n4", True),  # It has no replica.
        ((1, 2, 3, 1), (4, 1, 1, 2), "other", False),
    ],
)
def test_a_leader_that_a_node_guesses_before_its_replica_has_started_is_none(
    leaders: tuple[int, ...], terms: tuple[int, ...], name: str, is_led: bool
) -> None:
    nodes = (*NODES, NodeInfo(4, "n4", "h:4", "h:14", "", "", 1.0))
    cluster_map = ClusterMap(1, "test", 4, 3, nodes, place(NODES, 4, 3))
    assert Topology(cluster_map, leaders, terms).is_led(name) == is_led


def test_what_is_no_cluster_has_no_topology() -> None:
    with answering({}) as client:
        assert client.cluster_map() is None
        assert client.topology() is None


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ({b"cluster map": b"MAP 1 3\r\nabc\r\n"}, "cluster map: "),
        ({b"cluster map": b"MAP 1 x\r\n"}, "no size in"),
        ({b"cluster map": MAP_REPLY, b"cluster leaders": b"LEADER 1\r\nEND\r\n"}, "LEADER 1"),
        ({b"cluster map": MAP_REPLY, b"cluster leaders": b"who\r\nEND\r\n"}, "who"),
    ],
)
def test_nonsense_about_the_cluster_is_shown(replies: dict[bytes, bytes], why: str) -> None:
    with answering(replies) as client, pytest.raises(TargetError, match=why):
        client.topology()


def test_a_unix_socket_is_spoken_to_as_a_port_is(tmp_path: Path) -> None:
    path = str(tmp_path / "q.sock")
    with TinyMemcached(path=path) as server, TextClient(server.address, LONG) as client:
        assert client.set(b"k", b"v") == b"STORED"
        assert client.get(b"k") == (b"v", b"")
    gone = str(tmp_path / "gone.sock")
    with pytest.raises(ConnectionBroken, match=f"cannot connect to unix:{gone}: "):
        TextClient((f"unix:{gone}", 0), LONG)
