"""What the clients ask: seeded operations on one hot key per shard, with values that tell who wrote
them.

Keys change every few seconds (*generations*): what stayed of unknown outcome does not pile up on
one key, and every key's history is short enough to be decided at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from quorumcache.ring import shard_of

REGISTER_KINDS = {
    "get": 28,
    "gets": 14,
    "set": 22,
    "add": 5,
    "replace": 4,
    "append": 6,
    "prepend": 2,
    "cas": 12,
    "delete": 7,
}
COUNTER_KINDS = {"get": 30, "gets": 4, "incr": 40, "decr": 12, "set": 6, "add": 8}
COUNTERS_EVERY = 4
"""Each fourth shard has a counter instead of a register."""
LONG_VALUES = 0.01
LONG_VALUE_BYTES = 20_000
GENERATION_S = 6.0


@dataclass(slots=True)
class Request:
    """One operation to do; `unique` only for cas."""

    kind: str
    key: bytes
    argument: bytes | int | None
    unique: int = 0


def hot_keys(generation: int, shards: int) -> list[bytes]:
    """A key for each shard, in order of the shards; `-c` in it is a counter."""
    keys = []
    for shard in range(shards):
        kind = b"c" if is_counter(shard) else b"r"
        salt = 0
        while shard_of(key := b"g%d-%b%d-%d" % (generation, kind, shard, salt), shards) != shard:
            salt += 1
        keys.append(key)
    return keys


def is_counter(shard: int) -> bool:
    return shard % COUNTERS_EVERY == COUNTERS_EVERY - 1


class Keys:
    """The hot keys of now, and of all generations so far."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.generation = -1
        self.used: list[bytes] = []
        self.now: list[bytes] = []

    def at(self, seconds: float) -> list[bytes]:
        """The keys to use `seconds` after the begin."""
        generation = int(seconds / GENERATION_S)
        if generation > self.generation:
            self.generation = generation
            self.now = hot_keys(generation, self.shards)
            self.used += self.now
        return self.now


class Workload:
    """The operations of one client. It remembers the uniques it has seen, to use them in cas."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.random = random
        self._uniques: dict[bytes, int] = {}
        self._values_made = 0

    def saw_unique(self, key: bytes, unique: int) -> None:
        self._uniques[key] = unique

    def request(self, keys: list[bytes]) -> Request:
        """An operation on one of `keys`, the hot keys in order of the shards."""
        random = self.random
        shard = random.randrange(len(keys))
        key = keys[shard]
        table = COUNTER_KINDS if is_counter(shard) else REGISTER_KINDS
        kind = random.choices(list(table), list(table.values()))[0]
        if kind in ("get", "gets", "delete"):
            return Request(kind, key, None)
        if kind in ("incr", "decr"):
            # From 1: an operation that changes nothing would tell nothing.
            return Request(kind, key, random.randrange(1, 1000))
        if is_counter(shard):
            return Request(kind, key, b"%d" % random.randrange(1_000_000))
        if kind == "cas":
            return Request(kind, key, self.value(), self._uniques.get(key, 1))
        return Request(kind, key, self.value(short=kind in ("append", "prepend")))

    def value(self, *, short: bool = False) -> bytes:
        """A value that nobody else writes."""
        self._values_made += 1
        value = f"{self.name}.{self._values_made};".encode()
        if not short and self.random.random() < LONG_VALUES:
            value += b"." * self.random.randrange(LONG_VALUE_BYTES)
        return value


def encode(request: Request) -> bytes:
    """The request as memcached text."""
    kind, key, argument = request.kind.encode(), request.key, request.argument
    if argument is None:
        return b"%b %b\r\n" % (kind, key)
    if isinstance(argument, int):
        return b"%b %b %d\r\n" % (kind, key, argument)
    unique = b" %d" % request.unique if request.kind == "cas" else b""
    return b"%b %b 0 0 %d%b\r\n%b\r\n" % (kind, key, len(argument), unique, argument)
