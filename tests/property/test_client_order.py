"""Goal: one client that sends requests without waiting for replies gets the replies that it would
get if each request was executed before the next one is read.

Method: a connection against a scripted coordinator. Requests come in packets cut at random; the
leader of each shard is here or elsewhere, and changes; operations end one by one, each shard's in
their order, the pieces of large values slowly. The replies are compared with those of a table that
executes the requests one after the other.
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.protocol.value_blocks import ValueLimits
from quorumcache.node.store.commands import OP_PIECE, OP_STORE_PIECES
from quorumcache.node.store.results import PIECE_STAGED, STORED
from tests.support.fake_server import LEASE_NS, Client, FakeServer, Started, set_line, value_lines
from tests.support.item_tables import item_of

THERE = 2
KEYS = [b"k%d" % number for number in range(6)]


class World:
    """The client, the shards, and what its requests are to be answered."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        server = FakeServer()
        self.server = server
        server.value_limits = ValueLimits(lambda: True, large_bytes=20, piece_bytes=8)
        self.client = Client(server=server)
        self.scripted = self.client.coordinator
        self.uploads = 0
        self.scripted.sessions = SimpleNamespace(new_id=self.new_upload)
        self.pieces: dict[Any, bytes] = {}
        self.gets: list[tuple[int, tuple[Any, ...]]] = []
        """Bundles of gets that another node is to answer."""
        self.table: dict[bytes, bytes] = {}
        self.unsent = b""
        self.expected = b""
        self.answered = b""

    def new_upload(self) -> int:
        self.uploads += 1
        return self.uploads

    def group(self, group_id: int) -> Any:
        return self.server.groups[group_id]

    def found(self, key: bytes) -> bytes | None:
        items = self.group(self.server.group_of(key)).machine.items
        return item_of(items, key) if key in items else None

    # -- the client ------------------------------------------------------------------------

    def request(self) -> bytes:
        """One more, and its reply by the table."""
        random, table = self.random, self.table
        key, kind = random.choice(KEYS), random.random()
        tail = b" noreply" if random.random() < 0.5 else b""
        reply = b""
        if kind < 0.4:
            value = b"%d" % random.randrange(10**6) + b"v" * random.choice((0, 0, 20, 34))
            table[key] = value
            line, reply = set_line(key, value, noreply=bool(tail)), b"STORED\r\n"
        elif kind < 0.5:
            was_there = table.pop(key, None) is not None
            line, reply = b"delete %b%b\r\n" % (key, tail), b"DELETED\r\n"
            reply = reply if was_there else b"NOT_FOUND\r\n"
        else:
            keys = [key] if kind < 0.85 else random.sample(KEYS, 3)
            line, tail = b"get %b\r\n" % b" ".join(keys), b""
            lines = [value_lines(each, table[each]) for each in keys if each in table]
            reply = b"".join(lines) + b"END\r\n"
        self.expected += b"" if tail else reply
        return line

    def send(self) -> None:
        """Some bytes more, if the socket is read."""
        random = self.random
        if not self.unsent:
            self.unsent = b"".join(self.request() for _ in range(random.choice((1, 1, 2, 5))))
        if self.client.transport.is_reading:
            size = random.choice((len(self.unsent), random.randint(1, 60)))
            data, self.unsent = self.unsent[:size], self.unsent[size:]
            self.client.connection.data_received(data)

    # -- the shards ------------------------------------------------------------------------

    def end_one(self) -> None:
        """The oldest operation of a shard, but pieces in any order."""
        started = self.scripted.started
        if not started:
            return
        chosen = self.random.choice(started)
        if chosen.op != OP_PIECE:
            chosen = next(
                each for each in started if each.group_id == chosen.group_id and each.op != OP_PIECE
            )
        started.remove(chosen)
        chosen.end(self.outcome(chosen))

    def outcome(self, operation: Started) -> Any:
        if not operation.is_write:
            return [self.found(key) for key in operation.keys]
        (key,), args = operation.keys, operation.args
        machine = self.group(operation.group_id).machine
        if operation.op == OP_PIECE:
            self.pieces[args[0], args[1]] = args[3]  # type: ignore[assignment]
            return PIECE_STAGED
        if operation.op == OP_STORE_PIECES:
            parts = sorted(place for place in self.pieces if place[0] == args[0])
            value = b"".join(self.pieces.pop(place) for place in parts)
            self.client.put(key, value.removesuffix(b"\r\n"))
            return STORED
        command = (0, 0, 0, operation.op, key, *args)
        return machine.apply(machine.applied_index + 1, 1000, [command])[0]

    def answer_gets(self) -> None:
        if self.gets:
            node_id, item = self.gets.pop(0)
            keys = item[2][1::2]
            self.scripted.ways.answer(node_id, item, *map(self.found, keys))

    def move(self) -> None:
        """A shard has its leader here, there, or nowhere that is known."""
        group_id = self.random.choice(list(self.server.groups))
        group, ways = self.group(group_id), self.scripted.ways
        where = self.random.random()
        ways.leads[group_id] = THERE if where > 0.6 else 0
        group.is_leader = where < 0.4
        group.lease_until_ns = 0
        ways.bundles.changed(group_id)

    def step(self, *, sends: bool) -> None:
        random = self.random
        if (sends or self.unsent) and random.random() < 0.5:
            self.send()
        random.choice((self.end_one, self.end_one, self.answer_gets))()
        if random.random() < 0.05:
            self.move()
        self.server.now_ns += random.choice((0, 0, 30_000_000))
        for group in self.server.groups.values():
            if group.is_leader:
                group.lease_until_ns = self.server.now_ns + LEASE_NS
        self.gets += self.scripted.ways.turn()
        self.client.turn()
        self.answered += self.client.transport.drain()
        assert self.expected.startswith(self.answered)


@pytest.mark.parametrize("seed", range(100))
def test_replies_are_as_if_requests_were_executed_one_by_one(seed: int) -> None:
    world = World(seed)
    for _ in range(400):
        world.step(sends=True)
    for _ in range(5000):
        world.step(sends=False)
        if world.answered == world.expected:
            break
    assert world.answered == world.expected
    assert len(world.answered) > 500
