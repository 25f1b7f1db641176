"""Plain `mg` lines: answered on the spot, as gets are, or left to their handler."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clients.replies import WRITE_CHUNK_BYTES
from quorumcache.node.store.item import ENDS, STALE, WON, pack_header
from tests.support.fake_server import LEASE_NS, Client


def greet(client: Client) -> None:
    """The short cut is not taken by the very first request of a connection."""
    client.send(b"version\r\n")
    assert client.read() == b"VERSION 1\r\n"


def test_a_plain_meta_get_is_answered_on_the_spot_while_the_lease_lasts_and_not_after() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.put(b"l", b"yy")
    greet(client)
    client.server.now_ns = LEASE_NS - 1
    for data, answer in (
        (b"mg k\r\n", b"HD\r\n"),
        (b"mg k v\r\n", b"VA 1\r\nx\r\n"),
        (b"mg k v\r\nmg n v\r\nmg l v\r\n", b"VA 1\r\nx\r\nEN\r\nVA 2\r\nyy\r\n"),
        (b"mg k v q\r\nmg n v q\r\nmg l v q\r\n", b"VA 1\r\nx\r\nVA 2\r\nyy\r\n"),
        (b"mg l t k s v f\r\nmg n t k s v f\r\n", b"VA 2 t-1 kl s2 f0\r\nyy\r\nEN kn\r\n"),
        (b"mg n k q\r\n", b""),
        (b"mg n q\r\n", b""),
    ):
        client.send(data)
        assert client.coordinator.meta_reads == []
        assert client.read() == answer
    client.send(b"mg k c\r\n")
    unique = int(client.read()[4:])
    client.send(b"mg k v C%d\r\nmg k v C%d\r\n" % (unique, unique))
    assert client.read() == b"HD\r\n" * 2
    client.send(b"mg k v C%d\r\n" % (unique + 1))
    assert client.read() == b"VA 1\r\nx\r\n"
    counters = client.server.counters
    assert (counters.cmd_get, counters.get_hits, counters.get_misses) == (16, 11, 5)
    client.server.now_ns = LEASE_NS
    client.send(b"mg k v\r\n")
    assert client.read() == b""
    assert [read.keys for read in client.coordinator.meta_reads] == [(b"k",)]


@pytest.mark.parametrize("bits", [ENDS, STALE, WON])
@pytest.mark.parametrize("line", [b"mg k v\r\n", b"mg k\r\n", b"mg k q k\r\n"])
def test_a_plain_meta_get_of_what_is_not_plain_is_left_to_the_coordinator(
    bits: int, line: bytes
) -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    store = client.server.groups[client.server.group_of(b"k")].machine
    store.items[b"k"] = pack_header(bits, 1000, 7) + b" 0 1\r\nx\r\n"
    greet(client)
    client.send(line)
    assert client.read() == b""
    assert [read.keys for read in client.coordinator.meta_reads] == [(b"k",)]


def test_uses_are_noted_unless_the_client_wants_none() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    greet(client)
    noted: list[bytes] = []
    group: Any = client.server.groups[client.server.group_of(b"k")]
    group.machine = SimpleNamespace(peek=group.machine.peek, note_hit=noted.append)
    client.send(b"mg k v u\r\n")
    assert noted == []
    client.send(b"mg k v\r\nmg k v\r\n")
    assert noted == [b"k", b"k"]
    client.read()


@pytest.mark.parametrize("quiet", [b"", b" q"])
def test_replies_keep_their_order_around_what_goes_the_general_way(quiet: bytes) -> None:
    client = Client()
    client.lead_all()
    for key in (b"a", b"b", b"c", b"d"):
        client.put(key, key)
    store = client.server.groups[client.server.group_of(b"b")].machine
    store.items[b"b"] = pack_header(ENDS, 1 << 40, 7) + b" 0 1\r\nb\r\n"
    greet(client)
    line = b"mg %b v k" + quiet + b"\r\n"
    client.send(b"".join(line % key for key in (b"a", b"b", b"c", b"missing", b"d")))
    replies = b"VA 1 ka\r\na\r\n"
    assert client.read() == replies, "what comes behind waits for the read of b"
    (read,) = client.coordinator.meta_reads
    read.finish([store.items[b"b"]])
    client.turn()
    missing = b"" if quiet else b"EN kmissing\r\n"
    found = b"VA 1 kb\r\nb\r\n"
    assert client.read() == found + b"VA 1 kc\r\nc\r\n" + missing + b"VA 1 kd\r\nd\r\n"


def test_plain_meta_gets_of_much_are_cut_into_pieces() -> None:
    client = Client(high=1 << 30)
    client.lead_all()
    client.put(b"k", b"v" * (WRITE_CHUNK_BYTES // 2))
    store = client.server.groups[client.server.group_of(b"k")].machine
    client.coordinator.found = lambda key: [store.items[key]]
    greet(client)
    client.send(b"mg k v\r\n" * 10)
    assert client.read().count(b"VA ") == 10
    assert len(client.coordinator.meta_reads) >= 7, "the rest goes the general way"


def test_while_reads_are_watched_all_go_the_general_way() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    greet(client)
    client.server.quick_groups = {}
    client.send(b"mg k v\r\n")
    assert [read.keys for read in client.coordinator.meta_reads] == [(b"k",)]
