"""What the simulated clients ask: seeded operations on a few hot keys, with values that tell who
wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.simulation.history import EVERY_KEY

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
    ("incr", 1),
)
COUNTER_KINDS = (("incr", 40), ("decr", 12), ("get", 30), ("gets", 4), ("set", 6), ("add", 8))
EXPIRING_KINDS = (("touch", 10), ("gat", 6), ("gats", 4), ("get", 12), ("gets", 4), ("set", 10))
"""What is asked now and then instead, for every key, in a run with expiry."""

META_KINDS = (
    *(("mg", 30), ("mgN", 14), ("mgR", 12), ("mgT", 6), ("mdI", 14), ("mdx", 3), ("msI", 6)),
    *(("msE", 4), ("delete", 4), ("set", 8), ("gets", 4)),
)
"""What is asked instead where clients use the meta commands; see `meta_model.py`."""
META_COUNTER_KINDS = (*META_KINDS, ("maN", 40))

LONG_VALUE_BYTES = 20_000
OVERSIZE_LIMIT_MAX = 64 << 10
"""Values of a larger limit would only be slow."""

WALL_ORIGIN_SECONDS = 1_800_000_000
"""What the nodes' wall clocks show at virtual time 0, nearly."""

STORES_WITH_EXPTIME = ("set", "add", "replace", "cas")
SILENT_KINDS = (*STORES_WITH_EXPTIME, "append", "prepend", "incr", "decr", "delete", "touch")
"""Kinds that take noreply."""


@dataclass(slots=True, kw_only=True)
class WorkloadConfig:
    """`pause_seconds` is the mean time a client thinks between batches.

    Shares of the requests: `expiring` carry an exptime or change one, `flushes` are a flush_all,
    `silent` say noreply (of the writes), `many` ask for several keys (of the reads), `oversize`
    are too large for `item_bytes_max` or nearly so (of the values), `reads` are a plain get in any
    case: what is hardly ever written leaves a shard without news of the time. `meta` are meta
    commands (of the others).
    """

    registers: int = 5
    counters: int = 2
    pause_seconds: float = 0.02
    pipeline_max: int = 4
    long_values: float = 0.02
    expiring: float = 0.0
    flushes: float = 0.0
    silent: float = 0.0
    many: float = 0.0
    oversize: float = 0.0
    reads: float = 0.0
    meta: float = 0.0
    item_bytes_max: int = 1 << 20


def draw_workload(random: Random, item_bytes_max: int) -> WorkloadConfig:
    """A seed's mixture. A share of 0 is frequent: what is always mixed hides what is rare."""
    return WorkloadConfig(
        registers=random.choice((1, 2, 3, 4, 5, 5, 12, 40)),
        counters=random.randint(1, 2),
        pause_seconds=random.choice((0.002, 0.008, 0.03)),
        expiring=random.choice((0.0, 0.1, 0.4)),
        flushes=random.choice((0.0, 0.0, 0.002, 0.01)),
        silent=random.choice((0.0, 0.0, 0.1, 0.3)),
        many=random.choice((0.0, 0.1, 0.3)),
        long_values=random.choice((0.0, 0.02, 0.02, 0.3)),
        oversize=random.choice((0.0, 0.05, 0.1)),
        reads=random.choice((0.0, 0.0, 0.8)),
        meta=random.choice((0.0, 0.2, 0.6)),
        item_bytes_max=item_bytes_max,
    )


@dataclass(slots=True)
class Request:
    """One command to send; `unique` only for cas. `more_keys`: of a retrieval, besides `key`."""

    kind: str
    key: bytes
    argument: bytes | int | None
    unique: int = 0
    exptime: int = 0
    flags: int = 0
    noreply: bool = False
    more_keys: list[bytes] = field(default_factory=list)

    @property
    def keys(self) -> list[bytes]:
        return [self.key, *self.more_keys]


class Workload:
    """The operations of one client. It remembers the uniques it has seen, to use them in cas."""

    def __init__(self, name: str, config: WorkloadConfig, random: Random) -> None:
        self.name = name
        self.config = config
        self.random = random
        self._keys = all_keys(config)
        self._uniques: dict[bytes, int] = {}
        self._values_made = 0

    def keys(self) -> list[bytes]:
        return all_keys(self.config)

    def saw_unique(self, key: bytes, unique: int) -> None:
        self._uniques[key] = unique

    def batch(self, now_ns: int = 0) -> list[Request]:
        """One to `pipeline_max` requests that go out together, `now_ns` of virtual time."""
        count = 1
        if self.random.random() < 0.2:
            count = self.random.randint(1, self.config.pipeline_max)
        return [self._request(now_ns // 1_000_000_000) for _ in range(count)]

    def _request(self, now_seconds: int) -> Request:
        random, config = self.random, self.config
        if config.flushes and random.random() < config.flushes:
            delay = 0 if random.random() < 0.4 else self._exptime(now_seconds)
            return Request("flush_all", EVERY_KEY, None, exptime=delay)
        number = random.randrange(len(self._keys))
        key = self._keys[number]
        if config.reads and random.random() < config.reads:
            return Request("get", key, None)
        if config.meta and random.random() < config.meta:
            return self._meta_request(key, number >= config.registers, now_seconds)
        expires = config.expiring and random.random() < config.expiring
        if expires:
            kind = _draw(random, EXPIRING_KINDS)
        else:
            kind = _draw(random, REGISTER_KINDS if number < config.registers else COUNTER_KINDS)
        request = Request(kind, key, self._argument(kind, number >= config.registers))
        if kind == "cas":
            request.unique = self._uniques.get(key, 1)
        if kind in ("touch", "gat", "gats") or (expires and kind in STORES_WITH_EXPTIME):
            request.exptime = self._exptime(now_seconds)
        if kind in STORES_WITH_EXPTIME and random.random() < 0.1:
            request.flags = random.choice((1, 7, 2**32 - 1))
        if config.silent and kind in SILENT_KINDS:
            request.noreply = random.random() < config.silent
        if config.many and kind in ("get", "gets", "gat", "gats") and random.random() < config.many:
            others = [other for other in self._keys if other != key]
            request.more_keys = random.sample(others, random.randint(0, len(others)))
        return request

    def _meta_request(self, key: bytes, is_counter: bool, now_seconds: int) -> Request:
        random = self.random
        kind = _draw(random, META_COUNTER_KINDS if is_counter else META_KINDS)
        request = Request(kind, key, None)
        if kind == "mgR":
            request.exptime = random.choice((1, 2, 3, 60, 4000))
        elif kind in ("mgN", "mgT"):
            request.exptime = self._exptime(now_seconds)
        elif kind == "maN":
            request.argument = random.randrange(1000)
        elif kind in ("msI", "msE", "set"):
            self._values_made += 1
            value = f"{self.name}.{self._values_made};".encode()
            request.argument = b"%d" % random.randrange(1000) if is_counter else value
            request.exptime = random.choice((0, 0, 2, 4))
        if kind == "msI":
            request.unique = self._uniques.get(key, 1) - random.choice((0, 0, 1))
        elif kind == "msE":
            request.unique = self._uniques.get(key, 1) + random.choice((1, 1000, 10**6))
        return request

    def _argument(self, kind: str, is_counter: bool) -> bytes | int | None:
        random = self.random
        if kind in ("incr", "decr"):
            return random.randrange(0, 12)
        if kind in ("append", "prepend"):
            return self._value(short=True)
        if kind not in STORES_WITH_EXPTIME:
            return None
        if not is_counter:
            return self._value()
        if random.random() < 0.05:
            return random.choice((b"", b"12 ", b"018", b"-1", b"18446744073709551612"))
        return b"%d" % random.randrange(1000)

    def _exptime(self, now_seconds: int) -> int:
        """Mostly short; sometimes a Unix time, sometimes a past one."""
        choice = self.random.random()
        if choice < 0.7:
            return self.random.randint(1, 3)
        if choice < 0.8:
            return 0
        if choice < 0.85:
            return self.random.choice((-1, -1000))
        return WALL_ORIGIN_SECONDS + now_seconds + self.random.randint(-1, 3)

    def _value(self, *, short: bool = False) -> bytes:
        self._values_made += 1
        value = f"{self.name}.{self._values_made};".encode()
        config, random = self.config, self.random
        limited = config.item_bytes_max <= OVERSIZE_LIMIT_MAX
        if config.oversize and limited and random.random() < config.oversize:
            length = config.item_bytes_max - random.randrange(400)
            return value.ljust(random.choice((length, length // 2, 2 * length)), b"#")
        if short and config.oversize and limited and random.random() < 4 * config.oversize:
            return value.ljust(random.randrange(config.item_bytes_max), b"+")
        if not short and random.random() < config.long_values:
            value += b"." * random.randrange(min(LONG_VALUE_BYTES, config.item_bytes_max - 1000))
        elif not short and random.random() < 0.05:
            value += random.randbytes(random.randrange(40))  # Line ends and zeros, too.
        return value


def all_keys(config: WorkloadConfig) -> list[bytes]:
    """Registers first. One register has a key as long as a key may be, one a binary key."""
    registers = [b"register-%d" % number for number in range(config.registers)]
    if len(registers) > 2:
        registers[1] = b"register-1".ljust(250, b"~")
    if len(registers) > 3:
        registers[2] = b"register-2\x00\t\x01\x80\xff"
    return registers + [b"counter-%d" % number for number in range(config.counters)]


def _draw(random: Random, table: tuple[tuple[str, int], ...]) -> str:
    point = random.randrange(sum(weight for _, weight in table))
    for word, weight in table:
        point -= weight
        if point < 0:
            return word
    raise AssertionError("unreachable")
