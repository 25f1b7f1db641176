"""Plain sets that come together are begun as if they had come one by one."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clients.replies import SLOTS_MAX
from quorumcache.node.clients.set_reader import new_set_reader
from quorumcache.node.clients.write_room import (
    INFLIGHT_BYTES_MAX,
    TOO_MANY_WRITES,
    WRITE_BYTES_LIMIT,
    WRITE_OVERHEAD_BYTES,
)
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.results import DELETED, NOT_FOUND, STORED
from tests.support.fake_server import SHARDS, Client, set_line


class Reader:
    """The reader of plain sets, which notes what it has found; or one that finds none."""

    def __init__(self, is_blind: bool = False) -> None:
        self._reader = new_set_reader(SHARDS)
        self._is_blind = is_blind
        self.sets = 0

    def read(self, data: bytes, start: int, value_bytes_max: int) -> Any:
        """See `SetReader`."""
        found = None if self._is_blind else self._reader.read(data, start, value_bytes_max)
        self.sets += 0 if found is None else len(found[0]) // 4
        return found


def client_of(reader: Reader, **more: Any) -> Client:
    client = Client(**more)
    client.server.set_reader = reader
    client.greet()
    return client


def test_sets_of_one_read_are_begun_at_once_and_answered_in_their_order() -> None:
    reader = Reader()
    client = client_of(reader)
    client.lead_all()
    client.coordinator.deadline = 77
    client.send(set_line(b"a") + set_line(b"b", b"", noreply=True) + set_line(b"c"))
    assert reader.sets == 3
    started = client.coordinator.started
    assert [(one.op, one.keys) for one in started] == [
        (OP_SET, (key,)) for key in (b"a", b"b", b"c")
    ]
    assert [one.args for one in started] == [
        (b" 0 1\r\nx\r\n", 0),
        (b" 0 0\r\n\r\n", 0),
        (b" 0 1\r\nx\r\n", 0),
    ]
    assert client.server.counters.cmd_set == 3
    assert client.connection.conversation.silent_writes == 1
    started[2].end(Failure("why", outcome_known=True))
    started[1].end(STORED)
    client.turn()
    assert client.read() == b""
    started[0].end(STORED)
    client.turn()
    assert client.read() == b"STORED\r\nSERVER_ERROR not done: why\r\n"
    assert client.connection.conversation.silent_writes == 0
    assert client.server.write_room.taken_bytes == 0
    assert client.server.counters.total_items == 2


def test_sets_of_a_key_follow_each_other() -> None:
    """At the leader they are submitted one after the other; elsewhere the second one waits."""
    client = client_of(Reader())
    client.lead_all()
    client.send(set_line(b"a") + set_line(b"a"))
    first, second = client.coordinator.started
    assert second.after is first
    client = client_of(Reader())
    client.send(set_line(b"a") + set_line(b"a"))
    client.coordinator.deadline = 99
    client.coordinator.take().end(STORED)
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"STORED\r\n" * 2


def test_what_stands_behind_a_prefix_is_no_plain_set() -> None:
    reader = Reader()
    client = client_of(reader)
    client.send(b"cluster once 4611686018427387905 7 1\r\n")
    client.send(set_line(b"a"))
    assert reader.sets == 0
    assert client.coordinator.take().identity == (4611686018427387905, 7, 1)


def test_a_client_that_routes_by_itself_is_redirected() -> None:
    reader = Reader()
    client = client_of(reader)
    client.connection.conversation.settings.redirect = True
    client.send(set_line(b"a"))
    assert reader.sets == 0
    assert client.coordinator.started == []


def test_sets_that_find_no_room_wait_and_the_socket_is_not_read() -> None:
    reader = Reader()
    client = client_of(reader)
    client.lead_all()
    client.send(set_line(b"a") * (SLOTS_MAX + 2) + b"version\r\n")
    assert reader.sets == SLOTS_MAX + 2
    assert len(client.coordinator.started) == SLOTS_MAX
    assert not client.transport.is_reading
    assert client.server.counters.cmd_set == SLOTS_MAX
    while client.coordinator.started:
        client.coordinator.end_all()
        client.turn()
    assert client.read() == b"STORED\r\n" * (SLOTS_MAX + 2) + b"VERSION 1\r\n"
    assert client.server.counters.cmd_set == SLOTS_MAX + 2
    assert client.transport.is_reading


def test_no_set_overtakes_what_waits_for_room() -> None:
    """There is room again before those that wait have heard of it, and one more read comes."""
    client = client_of(Reader())
    client.lead_all()
    client.send(set_line(b"a") * SLOTS_MAX + set_line(b"b")[:-2])
    assert client.transport.is_reading
    client.send(b"\r\n" + set_line(b"c"))
    assert not client.transport.is_reading
    first = client.coordinator.started.pop(0)
    first.end(STORED)
    client.connection.data_received(set_line(b"d"))
    keys = [first.keys[0]]
    while client.coordinator.started:
        keys += [started.keys[0] for started in client.coordinator.started]
        client.coordinator.end_all()
        client.turn()
    assert keys == [b"a"] * SLOTS_MAX + [b"b", b"c", b"d"]


def test_a_set_that_comes_in_parts_and_those_behind_it_are_begun() -> None:
    data = set_line(b"a", b"x" * 30) + set_line(b"b") + set_line(b"c") + b"version\r\n"
    for cut in range(1, len(data)):
        reader = Reader()
        client = client_of(reader)
        client.lead_all()
        client.send(data[:cut])
        client.send(data[cut:])
        assert [one.keys for one in client.coordinator.started] == [(b"a",), (b"b",), (b"c",)]
        client.coordinator.end_all()
        client.turn()
        assert client.read() == b"STORED\r\n" * 3 + b"VERSION 1\r\n"
        assert reader.sets >= 2


def test_silent_sets_are_bounded_by_what_they_take() -> None:
    client = client_of(Reader())
    client.lead_all()
    size = 1 + len(b" 0 1\r\nx\r\n") + WRITE_OVERHEAD_BYTES
    count = -(-INFLIGHT_BYTES_MAX // size)
    client.send(set_line(b"a", noreply=True) * (count + 5))
    assert len(client.coordinator.started) == count
    assert len(client.connection.conversation.backlog) == 5


def test_at_the_limit_of_the_node_each_set_is_refused() -> None:
    client = client_of(Reader())
    client.server.write_room.taken_bytes = 2 * WRITE_BYTES_LIMIT
    client.send(set_line(b"a") + set_line(b"a", noreply=True))
    client.turn()
    assert client.read() == b"SERVER_ERROR not done: %b\r\n" % TOO_MANY_WRITES.encode()
    assert client.server.counters.writes_refused == 2
    assert client.coordinator.started == []


def test_those_who_watch_are_told() -> None:
    client = client_of(Reader())
    told: list[Any] = []
    events: Any = SimpleNamespace(is_on=True, wrote=lambda *what: told.append(what))
    client.server.events = events
    client.send(set_line(b"a"))
    client.coordinator.end_all(STORED)
    number = client.connection.conversation.number
    assert told == [(number, OP_SET, b"a", (b" 0 1\r\nx\r\n", 0), STORED)]


@pytest.mark.parametrize("seed", range(20))
def test_pipelines_are_answered_as_without_the_reader(seed: int) -> None:
    """Sets among other requests, cut anywhere, with any outcomes and a client that reads little."""

    def talk(reader: Reader) -> tuple[bytes, list[Any], int]:
        random = Random(seed)
        client = client_of(reader, high=random.choice((100, 1 << 20)))
        if random.random() < 0.7:
            client.lead_all()
        data = b""
        for _ in range(40):
            key = b"k%d" % random.randrange(12)
            data += random.choice(
                (
                    b"get %b\r\n" % key,
                    b"set %b 0 0 3\r\nlonger\r\n" % key,
                    b"add %b 0 0 1\r\nx\r\n" % key,
                    b"cluster once 4611686018427387905 %d 1\r\n" % random.randrange(1, 9),
                    b"version\r\n",
                )
            )
            for _ in range(random.randrange(20)):
                key = b"k%d" % random.randrange(12)
                value = b"v" * random.randrange(20)
                data += set_line(key, value, noreply=random.random() < 0.3)
        received, seen = b"", []
        while data or client.coordinator.started or client.transport.unread:
            if data and client.transport.is_reading:
                cut = random.choice((20, 500, 2000))
                client.send(data[:cut])
                data = data[cut:]
            if random.random() < 0.6:
                received += client.transport.drain()
            client.turn()
            started = client.coordinator.started
            if started and random.random() < 0.8:
                one = started.pop(random.randrange(min(4, len(started))))
                seen.append((one.op, one.keys, one.args, one.identity, one.after is None))
                outcome = random.choice((STORED, STORED, DELETED, NOT_FOUND))
                one.end(outcome if one.is_write else [None] * len(one.keys))
            client.turn()
        received += client.read()
        assert client.server.write_room.taken_bytes == 0
        return received, seen, client.server.counters.cmd_set

    reader = Reader()
    assert talk(reader) == talk(Reader(is_blind=True))
    assert reader.sets > 10
