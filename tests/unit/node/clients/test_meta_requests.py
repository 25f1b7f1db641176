"""What a meta command answers and counts, by what was read or what its group has said."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import OP_META_GET
from quorumcache.node.store.item import ENDS, STALE, WON, item_cost, pack_header
from quorumcache.node.store.results import (
    META_MADE,
    META_WON,
)
from tests.support.fake_server import Client

OOM = b"SERVER_ERROR out of memory storing object\r\n"


def item(bits: int = 0, left_s: int = 0, value: bytes = b"x") -> bytes:
    ends = 1_000_000 + left_s * 1000 if left_s else 0
    bits |= ENDS if ends else 0
    return pack_header(bits, ends, 7) + b" 3 %d\r\n%b\r\n" % (len(value), value)


def read(line: bytes, found: bytes | None, hint: Any = None) -> tuple[Client, bytes]:
    client = Client()
    client.coordinator.found = lambda key: [found]
    client.coordinator.hint = hint
    client.send(line)
    client.turn()
    return client, client.read()


def counted(client: Client) -> dict[str, int]:
    counters = client.server.counters
    names = ("get", "touch", "delete", "incr", "decr", "cas")
    ends = ("hits", "misses", "badval")
    known = [
        f"{name}_{end}" for name in names for end in ends if hasattr(counters, f"{name}_{end}")
    ]
    values = {name: getattr(counters, name) for name in (*known, "total_items")}
    return {name: value for name, value in values.items() if value}


@pytest.mark.parametrize(
    ("line", "found", "reply"),
    [
        (b"mg k v\r\n", item(), b"VA 1\r\nx\r\n"),
        (b"mg k c f s t h l k Oq\r\n", item(left_s=9), b"HD c7 f3 s1 t9 h1 l42 kk Oq\r\n"),
        (b"mg k v C7\r\n", item(), b"HD\r\n"),
        (b"mg k v C8\r\n", item(), b"VA 1\r\nx\r\n"),
        (b"mg k v\r\n", item(STALE | WON), b"VA 1 Z X\r\nx\r\n"),
        (b"mg k R30 N5\r\n", item(WON, 9), b"HD Z\r\n"),
        (b"mg k R9 N5\r\n", item(0, 9), b"HD\r\n"),
        (b"mg k R9\r\n", item(), b"HD\r\n"),
    ],
)
def test_hits_that_stay_reads(line: bytes, found: bytes, reply: bytes) -> None:
    client, said = read(line, found, (1, 42))
    assert said == reply
    assert counted(client) == {"get_hits": 1}


def test_misses() -> None:
    client, said = read(b"mg k k Oq v\r\nmg k q\r\nmg k T5 l\r\n", None)
    assert said == b"EN kk Oq\r\nEN\r\n"
    assert counted(client) == {"get_misses": 2, "touch_misses": 1}


@pytest.mark.parametrize(
    ("line", "found", "args"),
    [
        (b"mg k N5 v\r\n", None, (b"Nv", 0, 5, 0, 0)),
        (b"mg k v\r\n", item(STALE), (b"v", 0, 0, 0, 0)),
        (b"mg k R10\r\n", item(0, 9), (b"R", 0, 0, 10, 0)),
        (b"mg k T5 h\r\n", item(), (b"T", 5, 0, 0, 0)),
    ],
)
@pytest.mark.parametrize("staleness_ns", [0, 5])
def test_reads_that_become_writes(
    line: bytes, found: bytes | None, args: tuple[object, ...], staleness_ns: int
) -> None:
    """At every read level: only the leader's log can name the one who wins."""
    client = Client()
    client.connection.conversation.settings.staleness_ns = staleness_ns
    client.coordinator.found = lambda key: [found]
    client.send(line)
    write = client.coordinator.take()
    assert (write.op, write.args, write.identity) == (OP_META_GET, args, None)
    client.turn()
    assert client.read() == b""
    write.end((META_WON, bytes(8) + item(STALE | WON)))
    client.turn()
    assert client.read().endswith((b" X W\r\n", b" X W\r\nx\r\n"))
    assert not client.connection.conversation.order.lanes


def test_what_n_has_made_was_not_used_though_an_item_was_found_that_has_ended_since() -> None:
    client = Client()
    client.coordinator.found = lambda key: [item()]
    client.coordinator.hint = (1, 42)
    client.send(b"mg k T9 N5 h l\r\n")
    client.coordinator.take().end((META_MADE, bytes(8) + item(WON)))
    client.turn()
    assert client.read() == b"HD h0 l0 W\r\n"


def test_a_write_that_failed_is_told_as_one() -> None:
    client = Client()
    client.coordinator.found = lambda key: [None]
    client.send(b"mg k N5\r\n")
    client.coordinator.take().end(Failure("slow", outcome_known=False))
    client.turn()
    assert client.read() == b"SERVER_ERROR outcome unknown: slow\r\n"
    assert not counted(client)


def test_me() -> None:
    found = item(left_s=9)
    client, said = read(b"me k\r\nme k\r\n", found, (1, 42))
    size = item_cost(b"k", found)
    line = b"ME k exp=9 la=42 cas=7 fetch=yes cls=1 size=%d\r\n" % size
    assert (said, counted(client)) == (line * 2, {})
    client, said = read(b"me k\r\n", item(STALE))
    assert said.startswith(b"ME k exp=-1 la=0 cas=7 fetch=no "), "it wins nothing"
    assert read(b"me k\r\n", None)[1] == b"EN\r\n"


@pytest.mark.parametrize("line", [b"mg k s t\r\n", b"me k\r\n"])
@pytest.mark.parametrize("target", [0, 2])
def test_what_another_node_sends_for_a_short_reply_counts_as_it_came(
    line: bytes, target: int
) -> None:
    """Or a client that asks for the sizes of large values has a thousand of them under way."""
    client = Client()
    large = bytes(1_000_000)
    for _ in range(3):
        client.send(line)
        (asked,) = client.coordinator.meta_reads
        client.coordinator.meta_reads.clear()
        asked.target = target
        asked.finish([item(value=large)])
        client.turn()
        assert len(client.read()) < 200
    assert (client.connection.replies.expected_bytes > len(large)) == (target != 0)
