"""Random meta commands, to our handlers over one shard and to a real memcached: the same replies.

What 1.6.18 does not have (E, md x, mg C, ms N and s) is left out. So is what memcached does to an
item that something else still refers to, an unread reply for one: an ma then makes another item,
which is neither padded nor marked, and loses the T. Uniques differ in their numbers; they are
compared by what they are equal to.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from quorumcache.node.store.item import cas_unique
from quorumcache.node.store.store import EXPIRED, ShardStore
from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.fake_server import Client
from tests.support.wire import Wire

ROUNDS = 300
KEYS = (b"a", b"b", b"n1")
"""Numbers are under the last one, which is never stale nor won."""


class Ours:
    """A connection whose operations run on one store at once."""

    def __init__(self) -> None:
        self.store = ShardStore()
        self.client = Client()
        self.client.coordinator.answer = self._answer
        self.client.coordinator.found = lambda key: [self._look_up(key)]

    def _answer(self, operation: Any) -> Any:
        if not operation.is_write:
            return [self._look_up(key) for key in operation.keys]
        command = (0, 0, 0, operation.op, operation.keys[0], *operation.args)
        return self.store.apply(1, self.client.coordinator.now_ms, [command])[0]

    def _look_up(self, key: bytes) -> bytes | None:
        item = self.store.lookup(key, self.client.coordinator.now_ms)
        return None if item is EXPIRED else item

    def ask(self, request: bytes) -> bytes:
        self.client.send(request + b"mn\r\n")
        self.client.turn()
        reply = self.client.read()
        assert reply.endswith(b"MN\r\n"), reply
        return reply[:-4]

    def unique(self, key: bytes) -> int:
        item = self.store.items.get(key)
        return cas_unique(item) if item is not None else 0


class Theirs:
    """A connection to memcached."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def ask(self, request: bytes) -> bytes:
        self.wire.send(request + b"mn\r\n")
        reply = b""
        while not reply.endswith(b"MN\r\n"):
            reply += self.wire.exactly(1)
        return reply[:-4]

    def unique(self, key: bytes) -> int:
        words = self.ask(b"gets %b\r\n" % key).split(b"\r\n", 1)[0].split(b" ")
        return int(words[4]) if words[0] == b"VALUE" else 0


def draw(random: Random) -> tuple[bytes, str]:
    """A request, with `@` where a unique belongs; and what the unique is, relative to the item."""
    key = random.choice(KEYS)
    compare = random.choice(("equal", "lower", "higher", "zero"))
    word = random.choice((b"mg", b"mg", b"mg", b"ms", b"ms", b"md", b"ma", b"gets"))
    flags = [flag for flag in (b"k", b"Oq7", b"q") if random.random() < 0.15]
    if word == b"mg":
        flags += [flag for flag in (b"v", b"c", b"f", b"s", b"t") if random.random() < 0.4]
        if random.random() < 0.2:
            flags.append(b"T%d" % random.choice((0, 100, 500, -1)))
        if random.random() < 0.3 and key != b"n1":
            flags.append(b"N%d" % random.choice((0, 100, 300)))
        if random.random() < 0.3 and key != b"n1":
            flags.append(b"R%d" % random.choice((0, 50, 200, 1000, -1)))
    elif word == b"ms":
        value = b"%d" % random.randrange(200) if key == b"n1" else b"v%d" % random.randrange(9)
        mode = random.choice((b"", b"MS", b"ME", b"MA", b"MP", b"MR"))
        flags += [flag for flag in (mode, b"c") if flag and random.random() < 0.6]
        if random.random() < 0.4:
            flags.append(b"C@")
            if random.random() < 0.5 and key != b"n1":
                flags.append(b"I")
        if random.random() < 0.3:
            flags.append(b"T%d" % random.choice((0, 100, 500, -1)))
        if random.random() < 0.2:
            flags.append(b"F%d" % random.choice((0, 7, 2**32 - 1)))
        random.shuffle(flags)
        line = b"ms %b %d %b\r\n%b\r\n" % (key, len(value), b" ".join(flags), value)
        return line, compare
    elif word == b"md":
        if random.random() < 0.4:
            flags.append(b"C@")
        if random.random() < 0.6 and key != b"n1":
            flags.append(b"I")
        if random.random() < 0.3:
            flags.append(b"T%d" % random.choice((0, 100, 500, -1)))
    elif word == b"ma":
        key = b"n1"
        flags = [flag for flag in flags if flag != b"q"]
        flags += [flag for flag in (b"v", b"t") if random.random() < 0.5]
        for letter, numbers in ((b"D", (0, 3, 99)), (b"J", (5, 99)), (b"N", (0, 90))):
            if random.random() < 0.4:
                flags.append(letter + b"%d" % random.choice(numbers))
        if random.random() < 0.2:
            flags.append(b"C@")
    random.shuffle(flags)
    if word == b"gets":
        return b"get %b\r\n" % key, compare
    return b"%b %b %b\r\n" % (word, key, b" ".join(flags)), compare


def filled_in(request: bytes, compare: str, unique: int) -> bytes:
    number = {"equal": unique, "lower": max(unique - 1, 0), "higher": unique + 1, "zero": 0}[
        compare
    ]
    return request.replace(b"C@", b"C%d" % number)


def plain(reply: bytes) -> bytes:
    """Without the numbers of uniques, and with times to the next 10 s."""
    head, line_end, block = reply.partition(b"\r\n")
    head = re.sub(rb" c[1-9]\d*", b" c#", head)
    head = re.sub(rb" t(\d{7,})", b" t0", head)
    head = re.sub(rb" t(\d+)", lambda m: b" t%d" % ((int(m[1]) + 5) // 10 * 10), head)
    return head + line_end + block


@needs_memcached
@pytest.mark.parametrize("seed", range(6))
def test_random_commands(seed: int) -> None:
    random = Random(seed)
    with running_memcached() as port, Wire(port) as wire:
        ours, theirs = Ours(), Theirs(wire)
        asked = []
        for _ in range(ROUNDS):
            request, compare = draw(random)
            key = request.split(b" ")[1].strip()
            replies = [
                plain(side.ask(filled_in(request, compare, side.unique(key))))
                for side in (ours, theirs)
            ]
            asked.append((request, compare, replies[1]))
            assert replies[0] == replies[1], "\n".join(map(repr, asked[-14:]))
