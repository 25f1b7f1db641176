"""What a meta command that is a write answers and counts, by what its group has said."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.clients.meta_writes import MetaWrite
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.store.item import WON, pack_header
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
from tests.unit.node.clients.test_meta_requests import counted, item

OOM = b"SERVER_ERROR out of memory storing object\r\n"


def written(line: bytes, result: Any) -> tuple[Client, bytes]:
    client = Client()
    client.send(line)
    client.coordinator.take().end(result)
    client.turn()
    return client, client.read()


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


def test_it_is_bounded_like_every_write() -> None:
    assert issubclass(MetaWrite, PendingWrite)
    client = Client()
    client.send(b"ms k 5\r\nabcde\r\n")
    inflight = client.connection.conversation.inflight_bytes
    assert inflight == client.server.write_room.taken_bytes > 5
    client.coordinator.take().end(STORED)
    assert client.connection.conversation.inflight_bytes == 0


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
