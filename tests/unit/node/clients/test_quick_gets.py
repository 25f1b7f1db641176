"""Gets that are answered on the spot, by themselves or among other requests, and those that are
not."""

from typing import Any

import pytest

from quorumcache.node.clients.quick_gets import KEYS_MAX
from quorumcache.node.clients.replies import WRITE_CHUNK_BYTES
from quorumcache.node.store.item import ENDS, PIECES, STALE, WON, pack_header
from quorumcache.node.store.results import STORED
from tests.support.fake_server import (
    LEASE_NS,
    Client,
    FakeGroup,
    item,
    keys_of,
    set_line,
    value_lines,
)
from tests.support.item_tables import item_of

NOW_MS = 2000
"""The time of the fake groups."""

AMONG_OTHERS = pytest.mark.parametrize("before", [b"", b"version\r\n"], ids=["alone", "among"])


def leading_client(**values: bytes) -> Client:
    """A client of a node that leads all shards, which hold these items. It has sent a request: the
    short cut is not taken by the very first one.
    """
    client = Client()
    client.lead_all()
    for key, value in values.items():
        client.put(key.encode(), value)
    client.send(b"version\r\n")
    assert client.read() == b"VERSION 1\r\n"
    return client


def store_of(client: Client, key: bytes) -> Any:
    return client.server.groups[client.server.group_of(key)].machine


@AMONG_OTHERS
def test_gets_are_answered_on_the_spot_while_the_lease_lasts_and_not_after(before: bytes) -> None:
    client = leading_client(k=b"x", l=b"yy")
    head = b"VERSION 1\r\n" if before else b""
    k, both = value_lines(b"k"), value_lines(b"k") + value_lines(b"l", b"yy")
    client.server.now_ns = LEASE_NS - 1
    for data, answer in (
        (b"get k\r\n", k + b"END\r\n"),
        (b"get n\r\n", b"END\r\n"),
        (b"get k n l\r\n", both + b"END\r\n"),
        (b"get k k\r\n", k + k + b"END\r\n"),
        (b"get n n\r\n", b"END\r\n"),
        (b"get k\r\nget n\r\nget l\r\n", k + b"END\r\nEND\r\n" + both[len(k) :] + b"END\r\n"),
    ):
        client.send(before + data)
        assert client.coordinator.started == []
        assert client.read() == head + answer
    counters = client.server.counters
    assert (counters.cmd_get, counters.get_hits, counters.get_misses) == (12, 7, 5)
    assert counters.lease_reads == 8, "one for each get"
    client.server.now_ns = LEASE_NS
    client.send(before + b"get k\r\nget k l\r\n")
    assert client.read() == head
    assert client.coordinator.started
    assert counters.cmd_get == 15


@AMONG_OTHERS
def test_gets_with_uniques_are_answered_on_the_spot(before: bytes) -> None:
    client = leading_client(k=b"x", l=b"yy")
    store_of(client, b"k").items.put(b"k", pack_header(0, 0, 77) + b" 5 1\r\nx\r\n", 1)
    client.send(before + b"gets k\r\ngets n k\r\n")
    assert client.coordinator.started == []
    answer = b"VALUE k 5 1 77\r\nx\r\nEND\r\n"
    assert client.read() == (b"VERSION 1\r\n" if before else b"") + answer + answer


@AMONG_OTHERS
@pytest.mark.parametrize("bits", [ENDS, WON, STALE, ENDS | STALE | WON])
@pytest.mark.parametrize("line", [b"get k\r\n", b"get n k\r\n"])
def test_what_has_an_expiry_or_is_stale_is_answered_on_the_spot_while_it_lives(
    bits: int, line: bytes, before: bytes
) -> None:
    client = leading_client()
    head = b"VERSION 1\r\n" if before else b""
    store = store_of(client, b"k")
    store.items.put(
        b"k", pack_header(bits, NOW_MS + 1 if bits & ENDS else 0, 7) + b" 0 1\r\nx\r\n", 1
    )
    client.send(before + line)
    assert client.coordinator.started == []
    assert client.read() == head + value_lines(b"k") + b"END\r\n"
    store.items.put(b"k", pack_header(ENDS, NOW_MS, 7) + b" 0 1\r\nx\r\n", 1)
    client.send(before + line)
    assert client.read() == head
    assert client.coordinator.started, "its removal has to be logged first"


@AMONG_OTHERS
def test_what_is_in_pieces_goes_the_general_way(before: bytes) -> None:
    client = leading_client()
    store_of(client, b"k").items.put(b"k", pack_header(PIECES, 0, 7) + b" 0 1\r\n" + bytes(8), 1)
    client.send(before + b"get k\r\n")
    assert client.coordinator.started


@pytest.mark.parametrize("line", [b"get k\r\n", b"gets k\r\n", b"get k n\r\n"])
def test_a_hit_is_noted(line: bytes) -> None:
    client = leading_client(k=b"x")
    for before in (b"", b"version\r\n"):
        store = store_of(client, b"k")
        store.items.put(b"e", pack_header(ENDS, NOW_MS + 1, 7) + b" 0 1\r\nx\r\n", 1)
        client.put(b"k", b"x")
        assert store.hint(b"k")[0] is False
        client.send(before + line)
        assert store.hint(b"k")[0] is True
        client.read()


def test_a_hit_of_what_has_an_expiry_is_noted() -> None:
    client = leading_client(k=b"x")
    store = store_of(client, b"k")
    noted: list[bytes] = []
    store.items.put(b"k", pack_header(ENDS, NOW_MS + 1, 7) + b" 0 1\r\nx\r\n", 1)

    class Noting(type(store)):  # type: ignore[misc]
        __slots__ = ()

        def note_hit(self, key: bytes) -> None:
            noted.append(key)

    group: Any = client.server.groups[client.server.group_of(b"k")]
    group.machine = Noting()
    group.machine.items.put(b"k", item_of(store.items, b"k"), 1)
    client.send(b"get k\r\n")
    client.send(b"get k n\r\n")
    assert noted == [b"k", b"k"]


def test_replies_keep_their_order_around_what_goes_the_general_way() -> None:
    client = leading_client()
    (b,) = keys_of(client.server, 1, 1)
    a, c, missing = keys_of(client.server, 2, 3)
    for key in (a, b, c):
        client.put(key, b"v")
    group: Any = client.server.groups[1]
    group.lease_until_ns = 0
    client.send(b"get %b\r\nget %b\r\nget %b\r\nget %b\r\n" % (a, b, c, missing))
    assert client.read() == value_lines(a, b"v") + b"END\r\n", "the others wait for the read of b"
    (read,) = client.coordinator.started
    assert read.keys == (b,)
    read.end([item_of(store_of(client, b).items, b)])
    client.turn()
    others = value_lines(b, b"v") + b"END\r\n" + value_lines(c, b"v") + b"END\r\n" + b"END\r\n"
    assert client.read() == others


@pytest.mark.parametrize("line", [b"get k\r\n", b"get k n\r\n", b"gets k\r\n"])
@pytest.mark.parametrize("write", [b"ms k 1 q\r\ny\r\n", b"set k 0 0 1 noreply\r\ny\r\n"])
def test_a_get_waits_for_a_write_that_came_before_it(write: bytes, line: bytes) -> None:
    client = leading_client(k=b"x")
    client.send(write + line)
    client.send(line)
    assert client.read() == b""
    assert client.server.counters.lease_reads == 0


@pytest.mark.parametrize("noreply", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_gets_do_not_wait_for_writes_of_other_shards_but_for_those_of_their_own(
    noreply: bool, together: bool
) -> None:
    client = leading_client()
    (written,), (other,) = keys_of(client.server, 1, 1), keys_of(client.server, 2, 1)
    for key in (written, other):
        client.put(key, b"v")
    gets = b"get %b\r\nget %b\r\nget %b\r\n" % (other, other, written)
    requests = [set_line(written, b"w", noreply=noreply), gets]
    for data in [b"".join(requests)] if together else requests:
        client.send(data)
    write, *reads = client.coordinator.started
    assert write.is_write
    assert [read.keys for read in reads] in ([], [(written,)]), "it may be begun behind the write"
    assert client.server.counters.lease_reads == 2
    hits = (value_lines(other, b"v") + b"END\r\n") * 2
    assert client.read() == (hits if noreply else b"")
    write.end(STORED)
    client.turn()
    client.coordinator.started[1].end([item(b"w")])
    client.turn()
    head = b"" if noreply else b"STORED\r\n" + hits
    assert client.read() == head + value_lines(written, b"w") + b"END\r\n"


def test_a_replica_that_came_anew_is_read_and_not_the_one_before_it() -> None:
    client = leading_client(k=b"old")
    client.send(b"get k\r\n")
    assert client.read() == value_lines(b"k", b"old") + b"END\r\n"
    groups: Any = client.server.groups
    group_id = client.server.group_of(b"k")
    before = groups.pop(group_id)
    before.lease_until_ns = 0
    before.machine.retire()
    client.send(b"get k\r\n")
    assert client.coordinator.take().keys == (b"k",)
    client = Client(server=client.server)
    groups[group_id] = FakeGroup()
    groups[group_id].lead()
    client.put(b"k", b"new")
    client.greet()
    client.send(b"get k\r\n")
    assert client.read() == value_lines(b"k", b"new") + b"END\r\n"


def test_only_those_keys_of_a_get_go_the_general_way_that_have_to() -> None:
    client = leading_client()
    (a,), (b,) = keys_of(client.server, 1, 1), keys_of(client.server, 2, 1)
    group: Any = client.server.groups[2]
    group.lease_until_ns = 0
    client.send(b"get %b %b\r\n" % (a, b))
    assert [read.keys for read in client.coordinator.started] == [(b,)]
    assert client.read() == b""


def test_what_is_much_is_answered_as_well() -> None:
    half = WRITE_CHUNK_BYTES // 2
    client = leading_client(k=b"v" * half, l=b"w" * half)
    client.send(b"get k l\r\n")
    both = value_lines(b"k", b"v" * half) + value_lines(b"l", b"w" * half)
    assert client.read() == both + b"END\r\n"
    client = leading_client()
    client.send(b"get" + b" k" * KEYS_MAX + b"\r\n")
    assert client.read() == b"END\r\n"
    client.send(b"get" + b" k" * (KEYS_MAX + 1) + b"\r\n")
    assert client.read() == b"END\r\n"


def test_plain_gets_of_much_are_cut_into_pieces() -> None:
    client = leading_client(k=b"v" * (WRITE_CHUNK_BYTES // 2))
    store = store_of(client, b"k")
    client.coordinator.found = lambda key: [item_of(store.items, key)]
    client.send(b"get k\r\n" * 10)
    assert client.read().count(b"VALUE ") == 10


@AMONG_OTHERS
def test_while_reads_are_watched_all_go_the_general_way(before: bytes) -> None:
    client = leading_client(k=b"x")
    client.server.watch_reads(True)
    for connection in [client.connection]:
        connection.use_quick_groups()
    client.send(before + b"get k\r\n")
    assert [read.keys for read in client.coordinator.started] == [(b"k",)]
