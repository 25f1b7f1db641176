"""Plain `mg` lines: answered on the spot, as gets are, or left to their handler."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clients.replies import WRITE_CHUNK_BYTES
from quorumcache.node.store.item import ENDS, PIECES, STALE, WON, pack_header
from tests.support.fake_server import LEASE_NS, Client, keys_of
from tests.support.item_tables import item_of

NOW_MS = 2000
"""The time of the fake groups."""


def test_a_plain_meta_get_is_answered_on_the_spot_while_the_lease_lasts_and_not_after() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.put(b"l", b"yy")
    client.greet()
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


@pytest.mark.parametrize("bits", [ENDS, STALE, PIECES, ENDS | WON])
@pytest.mark.parametrize("line", [b"mg k v\r\n", b"mg k\r\n", b"mg k q k\r\n", b"mg k v O7\r\n"])
def test_a_plain_meta_get_of_what_is_not_plain_is_left_to_the_coordinator(
    bits: int, line: bytes
) -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    store = client.server.groups[client.server.group_of(b"k")].machine
    data = b" 0 1\r\n" + bytes(8) if bits & PIECES else b" 0 1\r\nx\r\n"
    store.items.put(b"k", pack_header(bits, 1000 if bits & ENDS else 0, 7) + data, 1)
    client.greet()
    client.send(line)
    assert client.read() == b""
    assert [read.keys for read in client.coordinator.meta_reads] == [(b"k",)]


def test_uses_are_noted_unless_the_client_wants_none() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.greet()
    noted: list[bytes] = []
    group: Any = client.server.groups[client.server.group_of(b"k")]
    group.machine = SimpleNamespace(peek=group.machine.peek, note_hit=noted.append)
    client.send(b"mg k v u\r\n")
    assert noted == []
    client.send(b"mg k v\r\nmg k v\r\n")
    assert noted == [b"k", b"k"]
    client.read()


@pytest.mark.parametrize("before", [b"", b"mn\r\n"])
def test_what_lives_or_was_won_is_answered_on_the_spot(before: bytes) -> None:
    """Alone, and among other requests."""
    client = Client()
    client.lead_all()
    for key, bits in ((b"e", ENDS), (b"w", WON), (b"x", ENDS | STALE | WON), (b"z", STALE | WON)):
        store = client.server.groups[client.server.group_of(key)].machine
        ends_ms = NOW_MS + 9001 if bits & ENDS else 0
        store.items.put(key, pack_header(bits, ends_ms, 7) + b" 3 1\r\nv\r\n", 1)
    client.greet()
    answers = {
        b"mg e v\r\n": b"VA 1\r\nv\r\n",
        b"mg e t s f\r\n": b"HD t10 s1 f3\r\n",
        b"mg w v\r\n": b"VA 1 Z\r\nv\r\n",
        b"mg x t v\r\n": b"VA 1 t10 Z X\r\nv\r\n",
        b"mg z k O12\r\n": b"HD kz O12 Z X\r\n",
        b"mg bWlzcw== b k\r\n": b"EN kbWlzcw== b\r\n",
        b"mg e u\r\n": b"HD\r\n",
        b"mg nothing q\r\n": b"",
    }
    for line, answer in answers.items():
        client.send(before + line)
        assert client.coordinator.meta_reads == [], line
        assert client.read() == (b"MN\r\n" if before else b"") + answer
    counters = client.server.counters
    assert (counters.cmd_get, counters.get_hits, counters.get_misses) == (8, 6, 2)
    assert counters.lease_reads == 8


def test_the_use_before_this_one_is_told_on_the_spot() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.greet()
    for answer in (b"HD h0 l1\r\n", b"HD h1 l1\r\n"):
        client.send(b"mg k h l\r\n")
        assert client.coordinator.meta_reads == []
        assert client.read() == answer


@pytest.mark.parametrize("flags", [b"T5", b"N5", b"R5", b"v k T5"])
def test_what_may_change_an_item_goes_the_general_way(flags: bytes) -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.greet()
    client.send(b"mg k %b\r\n" % flags)
    assert client.coordinator.meta_reads or client.coordinator.started
    assert client.read() == b""


@pytest.mark.parametrize("last", [b"", b"mn\r\n"])
@pytest.mark.parametrize("quiet", [b"", b" q"])
def test_replies_keep_their_order_around_what_goes_the_general_way(
    quiet: bytes, last: bytes
) -> None:
    client = Client()
    client.lead_all()
    (b,) = keys_of(client.server, 1, 1)
    a, c, d, missing = keys_of(client.server, 2, 4)
    for key in (a, b, c, d):
        client.put(key, b"v")
    group: Any = client.server.groups[1]
    group.lease_until_ns = 0
    client.greet()
    line = b"mg %b v k" + quiet + b"\r\n"
    client.send(b"".join(line % key for key in (a, b, c, missing, d)) + last)

    def found(key: bytes) -> bytes:
        return b"VA 1 k%b\r\nv\r\n" % key

    assert client.read() == found(a), "what comes behind waits for the read of b"
    for read in client.coordinator.meta_reads:
        (key,) = read.keys
        read.finish([client.server.groups[client.server.group_of(key)].machine.items.get(key)])
    client.turn()
    nothing = b"" if quiet else b"EN k%b\r\n" % missing
    ended = b"MN\r\n" if last else b""
    assert client.read() == found(b) + found(c) + nothing + found(d) + ended


@pytest.mark.parametrize("write", [b"ms k 1 q\r\ny\r\n", b"set k 0 0 1 noreply\r\ny\r\n"])
def test_a_get_waits_for_a_write_that_came_before_it(write: bytes) -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.greet()
    client.send(write + b"mg k v\r\n")
    client.send(b"mg k v\r\n")
    assert client.read() == b""
    assert client.coordinator.meta_reads == [], "it may not be read before the write has ended"
    assert client.server.counters.lease_reads == 0


def test_plain_meta_gets_of_much_are_cut_into_pieces() -> None:
    client = Client(high=1 << 30)
    client.lead_all()
    client.put(b"k", b"v" * (WRITE_CHUNK_BYTES // 2))
    client.greet()
    client.send(b"mg k v\r\n" * 10)
    assert client.read().count(b"VA ") == 10


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    client = Client(high=10_000)
    client.lead_all()
    client.put(b"k", b"v" * 1000)
    client.greet()
    sent = 0
    while client.transport.is_reading:
        client.send(b"mg k v\r\n")
        sent += 1
        assert sent < 100, "replies pile up without a bound"
    assert len(client.transport.unread) < 20_000
    store = client.server.groups[client.server.group_of(b"k")].machine
    client.coordinator.found = lambda key: [item_of(store.items, key)]
    assert client.read() == b"VA 1000\r\n%b\r\n" % (b"v" * 1000) * sent
    assert client.transport.is_reading


def test_while_reads_are_watched_all_go_the_general_way() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    client.greet()
    client.server.watch_reads(True)
    client.send(b"mg k v\r\n")
    assert [read.keys for read in client.coordinator.meta_reads] == [(b"k",)]
