"""What a meta command answers and counts, by what was read or what its group has said."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import OP_META_GET
from quorumcache.node.store.item import ENDS, STALE, WON, item_cost, pack_header
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    META_COUNTED,
    META_HIT,
    META_MADE,
    META_MARKED,
    META_NUMBER_MADE,
    META_STORED,
    META_WON,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OUT_OF_MEMORY,
    STORED,
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


def written(line: bytes, result: Any) -> tuple[Client, bytes]:
    client = Client()
    client.send(line)
    client.coordinator.take().end(result)
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


def test_a_write_that_failed_is_told_as_one() -> None:
    client = Client()
    client.coordinator.found = lambda key: [None]
    client.send(b"mg k N5\r\n")
    client.coordinator.take().end(Failure("slow", outcome_known=False))
    client.turn()
    assert client.read() == b"SERVER_ERROR outcome unknown: slow\r\n"
    assert not counted(client)


@pytest.mark.parametrize(
    ("line", "result", "reply", "counts"),
    [
        (b"mg k T5\r\n", (META_HIT, bytes(8) + item()[:-3]), b"HD\r\n", {"touch_hits": 1}),
        (
            b"mg k T5 t N3 v\r\n",
            (META_MADE, bytes(8) + item(WON, 3)),
            b"VA 1 t-1 W\r\nx\r\n",
            {"touch_hits": 1, "total_items": 1},
        ),
        (b"mg k T5 k\r\n", NOT_FOUND, b"EN kk\r\n", {"touch_misses": 1}),
        (b"mg k T5 N1\r\n", OUT_OF_MEMORY, b"EN\r\n", {"touch_misses": 1}),
        (b"ms k 1 k Oq\r\na\r\n", STORED, b"HD kk Oq\r\n", {"total_items": 1}),
        (b"ms k 1 q\r\na\r\n", STORED, b"", {"total_items": 1}),
        (b"ms k 1 s c\r\na\r\n", (META_STORED, item()), b"HD s1 c7\r\n", {"total_items": 1}),
        (
            b"ms k 1 MA s c\r\na\r\n",
            (META_STORED, pack_header(0, 0, 9) + b" 0 12\r\n"),
            b"HD s12 c9\r\n",
            {"total_items": 1},
        ),
        (b"ms k 1 s c MR\r\na\r\n", NOT_STORED, b"NS s1 c0\r\n", {}),
        (b"ms k 2 s c C5 MA\r\nab\r\n", EXISTS, b"EX s2 c0\r\n", {}),
        (b"ms k 1 C7\r\na\r\n", STORED, b"HD\r\n", {"cas_hits": 1, "total_items": 1}),
        (b"ms k 1 C7 q\r\na\r\n", EXISTS, b"EX\r\n", {"cas_badval": 1}),
        (b"ms k 1 C7 MR\r\na\r\n", NOT_FOUND, b"NF\r\n", {"cas_misses": 1}),
        (b"ms k 1\r\na\r\n", OUT_OF_MEMORY, OOM, {}),
        (b"ms k 1\r\na\r\n", DELETED, OOM, {}),
        (b"ms k 1\r\na\r\n", NOT_FOUND, OOM, {}),
        (b"md k k\r\n", DELETED, b"HD kk\r\n", {"delete_hits": 1}),
        (b"md k q\r\n", DELETED, b"", {"delete_hits": 1}),
        (b"md k x\r\n", DELETED, b"HD\r\n", {"delete_hits": 1, "total_items": 1}),
        (b"md k I\r\n", META_MARKED, b"HD\r\n", {}),
        (b"md k q Oa\r\n", NOT_FOUND, b"NF Oa\r\n", {"delete_misses": 1}),
        (b"md k q C3\r\n", EXISTS, b"EX\r\n", {"delete_misses": 1}),
        (b"ma k v\r\n", (NUMBER, 12), b"VA 2\r\n12\r\n", {"incr_hits": 1}),
        (b"ma k MD\r\n", (NUMBER, 12), b"HD\r\n", {"decr_hits": 1}),
        (b"ma k v q\r\n", (NUMBER, 12), b"", {"incr_hits": 1}),
        (
            b"ma k t c T9 v\r\n",
            (META_COUNTED, (1_004_000).to_bytes(8, "big") + item(0, 9)[:17] + b"12"),
            b"VA 2 t4 c7\r\n12\r\n",
            {"incr_hits": 1},
        ),
        (
            b"ma k N9 J5 v t\r\n",
            (META_NUMBER_MADE, bytes(8) + item(0, 9)[:17] + b"5"),
            b"VA 1 t9\r\n5\r\n",
            {"total_items": 1},
        ),
        (b"ma k k MD\r\n", NOT_FOUND, b"NF kk\r\n", {"decr_misses": 1}),
        (b"ma k C5\r\n", EXISTS, b"EX\r\n", {}),
        (
            b"ma k q\r\n",
            NON_NUMERIC,
            b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            {},
        ),
        (b"ma k N5\r\n", OUT_OF_MEMORY, OOM, {}),
    ],
)
def test_writes(line: bytes, result: Any, reply: bytes, counts: dict[str, int]) -> None:
    client, said = written(line, result)
    assert said == reply
    assert counted(client) == counts


def test_me() -> None:
    found = item(left_s=9)
    client, said = read(b"me k\r\nme k\r\n", found, (1, 42))
    size = item_cost(b"k", found)
    line = b"ME k exp=9 la=42 cas=7 fetch=yes cls=1 size=%d\r\n" % size
    assert (said, counted(client)) == (line * 2, {})
    client, said = read(b"me k\r\n", item(STALE))
    assert said.startswith(b"ME k exp=-1 la=0 cas=7 fetch=no "), "it wins nothing"
    assert read(b"me k\r\n", None)[1] == b"EN\r\n"


def test_results_of_another_command_under_the_same_identity_break_nothing() -> None:
    """A client that repeats another command than it has sent first hears what that one did."""
    for line in (b"set k 0 0 1\r\na\r\n", b"incr k 1\r\n", b"touch k 1\r\n", b"delete k\r\n"):
        for result in ((META_STORED, item()), (META_WON, bytes(8) + item()), META_MARKED):
            _, said = written(line, result)
            assert said.endswith(b"\r\n")
    for line in (b"ms k 1\r\na\r\n", b"md k\r\n", b"ma k\r\n", b"mg k T1\r\n"):
        for result in (STORED, DELETED, (NUMBER, 5), (META_STORED, item()), META_MARKED):
            _, said = written(line, result)
            assert said.endswith(b"\r\n")
