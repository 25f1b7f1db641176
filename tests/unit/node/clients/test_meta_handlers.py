"""How each meta command begins: as a read or as a write, under which identity, and counted how."""

from __future__ import annotations

import pytest

from quorumcache.node.clients.meta_handlers import TOO_MANY_WRITES
from quorumcache.node.clients.write_room import WRITE_BYTES_LIMIT
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
)
from quorumcache.node.store.results import DELETED, NUMBER, STORED
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from tests.support.fake_server import Client

WRITES = {
    b"ms k 1\r\na\r\n": OP_META_SET,
    b"md k\r\n": OP_META_DELETE,
    b"ma k\r\n": OP_META_ARITHMETIC,
    b"mg k T5\r\n": OP_META_GET,
}
READS = (b"mg k\r\n", b"mg k N5 R3 v\r\n", b"mg k T5 h\r\n", b"me k\r\n")


@pytest.mark.parametrize(("line", "op"), WRITES.items())
def test_writes(line: bytes, op: int) -> None:
    client = Client()
    client.send(line)
    assert client.coordinator.take().op == op
    assert not client.coordinator.meta_reads


@pytest.mark.parametrize("line", READS)
def test_reads(line: bytes) -> None:
    client = Client()
    client.send(line)
    assert not client.coordinator.started
    assert len(client.coordinator.meta_reads) == 1


@pytest.mark.parametrize("line", [*WRITES, *READS[:3]])
def test_with_an_identity_all_of_them_are_writes(line: bytes) -> None:
    """So that a repetition hears what the first attempt was told."""
    client = Client()
    session = CLIENT_SESSION_MIN + 1
    client.send(b"cluster once %d 5 3\r\n" % session + line)
    assert client.coordinator.take().identity == (session, 5, 3)


@pytest.mark.parametrize("line", [b"me k\r\n", b"mn\r\n"])
def test_what_takes_no_identity(line: bytes) -> None:
    client = Client()
    client.send(b"cluster once %d 5 3\r\n" % CLIENT_SESSION_MIN + line)
    client.turn()
    assert client.read().startswith(b"CLIENT_ERROR once: it may go before")
    assert not client.coordinator.meta_reads


@pytest.mark.parametrize("line", [*WRITES, *READS])
def test_in_redirect_mode_the_client_is_sent_to_the_leader(line: bytes) -> None:
    client = Client()
    client.connection.conversation.settings.redirect = True
    client.send(line)
    client.turn()
    assert client.read().startswith(b"MOVED ")
    client.lead_all()
    client.send(line)
    client.turn()
    assert client.server.counters.redirects == 1


def test_no_hint_is_asked_for_before_all_nodes_know_that_question() -> None:
    client = Client()
    client.coordinator.host.may_use_new_ops = False
    client.coordinator.found = lambda key: [None]
    client.send(b"mg k R3 h\r\n")
    client.turn()
    assert client.read() == b"EN\r\n"
    assert [read.asks for read in client.coordinator.meta_reads] == [0]


def test_there_is_a_limit_on_unfinished_writes() -> None:
    client = Client()
    client.server.write_room.taken_bytes = 2 * WRITE_BYTES_LIMIT
    client.send(b"md k q\r\n")
    client.turn()
    assert client.read() == f"SERVER_ERROR not done: {TOO_MANY_WRITES}\r\n".encode()
    assert client.server.counters.writes_refused == 1


def test_a_refused_ms_of_any_mode_deletes_the_old_value_before_the_reply() -> None:
    for mode in (b"", b" ME", b" MA"):
        client = Client()
        client.send(b"ms k 2000000 q%b\r\n" % mode + b"v" * 2_000_000 + b"\r\n")
        delete = client.coordinator.take()
        assert (delete.op, client.read()) == (OP_DELETE, b"")
        delete.end(DELETED)
        client.turn()
        assert client.read() == b"SERVER_ERROR object too large for cache\r\n"
        counters = client.server.counters
        assert (counters.store_too_large, counters.cmd_set) == (1, 0)


def test_what_is_counted_when_a_command_begins() -> None:
    client = Client()
    client.send(
        b"mg k\r\nmg k N1\r\nmg k T1\r\nmg k T1 h\r\nme k\r\nmn\r\nms k 1\r\na\r\nmd k\r\nma k\r\n"
    )
    client.connection.conversation.settings.staleness_ns = 5
    client.send(b"mg k\r\n")
    client.connection.conversation.settings.staleness_ns = ANY_STALENESS_NS
    client.send(b"mg k\r\nmg k T1\r\n")
    counters = client.server.counters
    assert (counters.cmd_get, counters.cmd_touch, counters.cmd_meta) == (4, 3, 1)
    assert (counters.cmd_get_bounded, counters.cmd_get_local, counters.cmd_set) == (1, 1, 1)
    assert counters.cmd_other == 1


def test_replies_come_in_the_order_of_the_requests() -> None:
    client = Client()
    client.lead_all()
    client.send(b"ms a 1\r\na\r\nmd b\r\nma c v\r\nmg a q\r\nmn\r\n")
    for started, result in zip(
        client.coordinator.started, (STORED, DELETED, (NUMBER, 7)), strict=True
    ):
        started.end(result)
    client.turn()
    [read] = client.coordinator.meta_reads
    assert client.read() == b"HD\r\nHD\r\nVA 1\r\n7\r\n"
    read.finish([None])
    client.turn()
    assert client.read() == b"MN\r\n"
    assert client.server.counters.incr_hits == 1
