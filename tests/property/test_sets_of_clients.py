"""Goal: a client whose plain sets take the short way gets what it gets without it, in every order
of events.

Method: two connections hear the same bytes, cut anywhere: sets among requests that are refused,
change how later ones run, or have to run alone. Limits change meanwhile, room runs out, replies are
not read, answers come in any order, and the client leaves. One connection takes no short way.
Replies, operations, events and what is under way are equal.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from quorumcache.node.clients import connection
from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.plain_sets import begin_plain_sets
from quorumcache.node.clients.write_room import WRITE_BYTES_LIMIT, WRITE_BYTES_MAX
from quorumcache.node.operations.failure import Failure
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.store.results import DELETED, NOT_FOUND, STORED
from tests.support.fake_server import Client, set_line

LINES = (
    b"get %b\r\n",
    b"get %b k9 k8\r\n",
    b"mn\r\n%.0b",
    b"version\r\n%.0b",
    b"flush_all\r\n%.0b",
    b"SET %b 0 0 1\r\n",
    b"set %b 0 0 3\r\nlonger\r\n",
    b"set %b 0 0 3\r\nab\r\n",
    b"set %b 0 0 5 noreply\r\nabcdefg\r\n",
    b"set %b 0 0 2000000\r\nvvvvvvvv",
    b"set %b 0 0 9999 noreply\r\n" + b"z" * 9999 + b"\r\n",
    b"set %b 0 -1 1\r\nx\r\n",
    b"set  %b 0 0 1\r\nx\r\n",
    b"set %b 0 0 1\nx\r\n",
    b"set %b 4294967296 0 1\r\nx\r\n",
    b"set %.0b",
    b"s%.0b",
    b"add %b 0 0 1\r\nx\r\n",
    b"ms %b 3\r\nabc\r\n",
    b"delete %b noreply\r\n",
    b"cluster once 4611686018427387905 7 1\r\n%.0b",
    b"cluster fence %b 5\r\n",
    b"cluster consistency any\r\n%.0b",
)


class Told:
    """Whoever watches: it notes each event."""

    is_on = True

    def __init__(self) -> None:
        self.all: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *what, **more: self.all.append((name, what, more))


def pipeline(random: Random) -> bytes:
    data = b""
    for _ in range(random.choice((5, 30))):
        data += random.choice(LINES) % (b"k%d" % random.randrange(6))
        for _ in range(random.randrange(20)):
            value = b"v" * random.choice((0, 1, 20, 1000))
            data += set_line(b"k%d" % random.randrange(12), value, noreply=random.random() < 0.3)
    return data + (b"quit\r\n" + set_line(b"a") * 3 if random.random() < 0.3 else b"")


class Talk:
    """One client."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.client = client = Client(high=random.choice((100, 1000, 1 << 20)))
        if random.random() < 0.8:
            client.greet()
        if random.random() < 0.7:
            client.lead_all()
        self.told: Any = Told()
        if random.random() < 0.3:
            client.server.events = self.told
        self.data = pipeline(random)
        self.received = b""
        self.seen: list[Any] = []

    def hear(self) -> None:
        if self.data and self.client.transport.is_reading:
            cut = self.random.choice((1, 7, 20, 500, 2000, 20000))
            self.client.connection.data_received(self.data[:cut])
            self.data = self.data[cut:]
        elif self.client.connection.conversation.closing:
            self.data = b""

    def disturb(self) -> None:
        client, chance = self.client, self.random.random()
        room = client.server.write_room
        if chance < 0.03:
            client.connection.limit_items(self.random.choice((1 << 20, 1000, 5000)))
        elif chance < 0.06:
            sizes = (WRITE_BYTES_MAX, WRITE_BYTES_LIMIT, 2 * WRITE_BYTES_LIMIT)
            taken = self.random.choice(sizes)
            room.taken_bytes += taken
            self.hear()
            room.taken_bytes -= taken
            client.connection.replies.schedule_pump()
        elif chance < 0.08:
            settings = client.connection.conversation.settings
            settings.redirect = not settings.redirect
        elif chance < 0.085 and self.data:
            self.data = b""
            client.connection.connection_lost(None)
        elif chance < 0.09 and self.data and client.transport.is_reading:
            self.data = b""
            client.connection.eof_received()

    def end_one(self) -> None:
        started = self.client.coordinator.started
        if started and self.random.random() < 0.8:
            one = started.pop(self.random.randrange(min(4, len(started))))
            self.seen.append((one.op, one.keys, one.args, one.identity, one.after is None))
            failure = Failure("why", outcome_known=False)
            outcome = self.random.choice((STORED, STORED, DELETED, NOT_FOUND, failure))
            one.end(outcome if one.is_write else [None] * len(one.keys))

    def run(self) -> tuple[Any, ...]:
        client = self.client
        while self.data or client.coordinator.started or client.transport.unread:
            self.hear()
            if self.random.random() < 0.8:
                client.turn()
            self.disturb()
            if self.random.random() < 0.6:
                self.received += client.transport.drain()
            client.turn()
            self.end_one()
            client.turn()
        self.received += client.read()
        conversation, counters = client.connection.conversation, client.server.counters
        left = conversation.inflight_bytes, client.server.write_room.taken_bytes
        counted = counters.cmd_set, counters.writes_refused, counters.store_too_large
        assert left == (0, 0)
        assert conversation.silent_writes == 0
        return self.received, self.seen, self.told.all, counted, conversation.closing


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_the_short_way_of_sets_is_not_seen(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def short(conversation: Conversation, parser: Parser, data: bytes) -> bytes:
        nonlocal taken
        rest = begin_plain_sets(conversation, parser, data)
        taken += len(data) - len(rest)
        return rest

    for seed in range(first, first + 10):
        monkeypatch.setattr(connection, "begin_plain_sets", short)
        found = Talk(seed).run()
        monkeypatch.setattr(connection, "begin_plain_sets", lambda _, __, data: data)
        assert Talk(seed).run() == found
    assert taken > 10_000
