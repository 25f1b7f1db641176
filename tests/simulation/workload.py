"""What the simulated clients ask: seeded operations on a few hot keys, with values that tell who
wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

REGISTER_KINDS = (
    ("get", 30),
    ("gets", 12),
    ("set", 22),
    ("add", 6),
    ("replace", 5),
    ("append", 4),
    ("prepend", 2),
    ("cas", 12),
    ("delete", 7),
)
COUNTER_KINDS = (("incr", 40), ("decr", 12), ("get", 30), ("gets", 4), ("set", 6), ("add", 8))
LONG_VALUE_BYTES = 20_000


@dataclass(slots=True, kw_only=True)
class WorkloadConfig:
    """`pause_seconds` is the mean time a client thinks between batches."""

    registers: int = 5
    counters: int = 2
    pause_seconds: float = 0.02
    pipeline_max: int = 4
    long_values: float = 0.02


@dataclass(slots=True)
class Request:
    """One operation to do; `unique` only for cas."""

    kind: str
    key: bytes
    argument: bytes | int | None
    unique: int = 0


class Workload:
    """The operations of one client. It remembers the uniques it has seen, to use them in cas."""

    def __init__(self, name: str, config: WorkloadConfig, random: Random) -> None:
        self.name = name
        self.config = config
        self.random = random
        self._uniques: dict[bytes, int] = {}
        self._values_made = 0

    def keys(self) -> list[bytes]:
        return all_keys(self.config)

    def saw_unique(self, key: bytes, unique: int) -> None:
        self._uniques[key] = unique

    def batch(self) -> list[Request]:
        """One to `pipeline_max` requests that go out together."""
        count = 1
        if self.random.random() < 0.2:
            count = self.random.randint(1, self.config.pipeline_max)
        return [self._request() for _ in range(count)]

    def _request(self) -> Request:
        random, config = self.random, self.config
        number = random.randrange(config.registers + config.counters)
        if number >= config.registers:
            key = b"counter-%d" % (number - config.registers)
            kind = _draw(random, COUNTER_KINDS)
            if kind in ("incr", "decr"):
                return Request(kind, key, random.randrange(0, 12))
            if kind in ("set", "add"):
                return Request(kind, key, b"%d" % random.randrange(1000))
            return Request(kind, key, None)
        key = b"register-%d" % number
        kind = _draw(random, REGISTER_KINDS)
        if kind in ("get", "gets", "delete"):
            return Request(kind, key, None)
        if kind == "cas":
            return Request(kind, key, self._value(), self._uniques.get(key, 1))
        return Request(kind, key, self._value(short=kind in ("append", "prepend")))

    def _value(self, *, short: bool = False) -> bytes:
        self._values_made += 1
        value = f"{self.name}.{self._values_made};".encode()
        if not short and self.random.random() < self.config.long_values:
            value += b"." * self.random.randrange(LONG_VALUE_BYTES)
        return value


def all_keys(config: WorkloadConfig) -> list[bytes]:
    registers = [b"register-%d" % number for number in range(config.registers)]
    return registers + [b"counter-%d" % number for number in range(config.counters)]


def _draw(random: Random, table: tuple[tuple[str, int], ...]) -> str:
    point = random.randrange(sum(weight for _, weight in table))
    for word, weight in table:
        point -= weight
        if point < 0:
            return word
    raise AssertionError("unreachable")
