"""What is asked for: keys, values, mixes of operations, all from a seed.

A `Workload` says how often which operation, on which keys, with values how large. `build_tape`
turns it into a `Tape`: a list of ready request bytes with the reply that each must get. Connections
run around their tape, so that the load costs no time for random numbers or formatting.

The size and bytes of a value follow from its key (and the seed), never from the moment of writing.
So every reply to a get is known beforehand, one comparison checks all of its bytes, and a value
that belongs to another key is an error and not a hit. Pure.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple, Self

from quorumcache.bench.errors import WorkloadError

GET, SET, INCR, DELETE = range(4)
OPERATIONS = ("get", "set", "incr", "delete")

KEYS_MAX = 10_000_000
VALUE_BYTES_MAX = 64 << 20
CONNECTIONS_MAX = 10_000
DEPTH_MAX = 4096
TAPE_LENGTH_MIN = 1 << 14
TAPE_LENGTH_MAX = 1 << 19
# Bound of the request and reply bytes that one load process prepares.
TAPE_BYTES_MAX = 256 << 20
_PATTERN_STEPS = 4093  # different starts of values within the common pattern; prime
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One named load. Call `validate()` before use.

    `get`, `set`, `incr`, `delete`: shares of the operations, any scale, not all 0. `incr` has its
    own keys (`ctr:...`), the others share theirs (`key:...`). `keys`: how many of each.
    `distribution`: `uniform`, or `zipf` (key number n is asked for in proportion to 1 /
    (n + 1) ** zipf_exponent). `value_bytes_min`..`value_bytes_max`: inclusive; sizes are uniform
    over the keys. `depth`: requests in flight on one connection. `rate`: requests per second over
    all connections for an open loop; 0 = closed loop. `arrivals` (open loop): `poisson` or
    `constant`. `fill`: write all keys first.
    """

    name: str = "custom"
    description: str = ""
    get: float = 0.0
    set: float = 0.0
    incr: float = 0.0
    delete: float = 0.0
    keys: int = 10_000
    distribution: str = "uniform"
    zipf_exponent: float = 0.99
    value_bytes_min: int = 100
    value_bytes_max: int = 100
    connections: int = 50
    depth: int = 1
    rate: float = 0.0
    arrivals: str = "poisson"
    fill: bool = True

    def validate(self) -> Self:
        """Itself, or WorkloadError that names the wrong field and its value."""
        shares = self.shares()
        if any(not 0 <= share < 1e9 for share in shares) or not any(shares):
            raise WorkloadError(
                f"{self.name}: the shares of {', '.join(OPERATIONS)} must be 0 or more, and one of"
                f" them above 0, not {', '.join(f'{share:g}' for share in shares)}"
            )
        self._in_range("keys", self.keys, 1, KEYS_MAX)
        self._in_range("connections", self.connections, 1, CONNECTIONS_MAX)
        self._in_range("depth", self.depth, 1, DEPTH_MAX)
        self._in_range("value_bytes_min", self.value_bytes_min, 0, VALUE_BYTES_MAX)
        low = self.value_bytes_min
        self._in_range("value_bytes_max", self.value_bytes_max, low, VALUE_BYTES_MAX)
        self._in_range("rate", self.rate, 0, 1e8)
        self._in_range("zipf_exponent", self.zipf_exponent, 0, 10)
        if self.distribution not in ("uniform", "zipf"):
            raise WorkloadError(
                f"{self.name}: distribution {self.distribution!r} is not uniform or zipf"
            )
        if self.arrivals not in ("poisson", "constant"):
            raise WorkloadError(
                f"{self.name}: arrivals {self.arrivals!r} is not poisson or constant"
            )
        return self

    def _in_range(self, field: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            raise WorkloadError(f"{self.name}: {field} {value:g} is not in {low:g}..{high:g}")

    def shares(self) -> tuple[float, ...]:
        """Shares in the order of OPERATIONS."""
        return (self.get, self.set, self.incr, self.delete)

    def summary(self) -> str:
        """One line for people: `get 90 %, set 10 %; 10000 keys, zipf 0.99; ...`."""
        total = sum(self.shares())
        mix = ", ".join(
            f"{name} {100 * share / total:g} %"
            for name, share in zip(OPERATIONS, self.shares(), strict=True)
            if share
        )
        sizes = f"{self.value_bytes_min}"
        if self.value_bytes_max != self.value_bytes_min:
            sizes += f"-{self.value_bytes_max}"
        keys = f"{self.keys} keys, {self.distribution}"
        if self.distribution == "zipf":
            keys += f" {self.zipf_exponent:g}"
        loop = f"open loop {self.rate:g}/s {self.arrivals}" if self.rate else "closed loop"
        return (
            f"{mix}; {keys}; {sizes}-byte values; {self.connections} connections,"
            f" depth {self.depth}, {loop}"
        )

    def with_changes(self, **changes: Any) -> Self:
        """A copy with other fields, not yet validated."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; WorkloadError for unknown fields and wrong types."""
        checked: dict[str, Any] = {}
        name = str(data.get("name", "custom"))
        for field, value in data.items():
            if field not in cls.__dataclass_fields__:
                raise WorkloadError(f"{name}: no such field: {field}")
            default = cls.__dataclass_fields__[field].default
            wanted = type(default)
            if wanted is float and type(value) is int:
                value = float(value)
            if type(value) is not wanted:
                raise WorkloadError(f"{name}: {field} = {value!r} is not of type {wanted.__name__}")
            checked[field] = value
        return cls(**checked).validate()


class Tape(NamedTuple):
    """A loop of requests. All three have the same length, at least 1.

    `replies[i]`: the whole reply that `requests[i]` gets when all is well, b"" when it cannot be
    known (a counter). `kinds[i]`: GET, SET, INCR or DELETE.
    """

    requests: list[bytes]
    replies: list[bytes]
    kinds: bytes


class Encoder:
    """Requests and expected replies of one workload, from the workload and the seed alone."""

    def __init__(self, workload: Workload, seed: int) -> None:
        self._low = workload.value_bytes_min
        self._spread = workload.value_bytes_max - workload.value_bytes_min + 1
        self._seed = seed & _MASK
        letters = b"abcdefghijklmnopqrstuvwxyz012345"
        block = bytes(Random(f"pattern/{seed}").choices(letters, k=8192))
        size = workload.value_bytes_max + _PATTERN_STEPS
        self._pattern = (block * (size // len(block) + 1))[:size]

    @staticmethod
    def key(index: int) -> bytes:
        """14 bytes: `key:` and ten digits."""
        return b"key:%010d" % index

    @staticmethod
    def counter_key(index: int) -> bytes:
        """14 bytes: `ctr:` and ten digits."""
        return b"ctr:%010d" % index

    def value_bytes(self, index: int) -> int:
        """Size of the value of key number `index`."""
        return self._low + _mixed(index ^ self._seed) % self._spread

    def value(self, index: int) -> bytes:
        """The value of key number `index`: always the same bytes."""
        start = _mixed(index + self._seed + 1) % _PATTERN_STEPS
        return self._pattern[start : start + self.value_bytes(index)]

    def pair(self, kind: int, index: int) -> tuple[bytes, bytes]:
        """Request and expected reply of one operation."""
        if kind == GET:
            key, value = self.key(index), self.value(index)
            reply = b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)
            return b"get %b\r\n" % key, reply
        if kind == SET:
            value = self.value(index)
            request = b"set %b 0 0 %d\r\n%b\r\n" % (self.key(index), len(value), value)
            return request, b"STORED\r\n"
        if kind == INCR:
            return b"incr %b 1\r\n" % self.counter_key(index), b""
        return b"delete %b\r\n" % self.key(index), b"DELETED\r\n"

    def fill_pair(self, kind: int, index: int) -> tuple[bytes, bytes]:
        """The write that makes a later operation of `kind` find its key."""
        if kind == INCR:
            return b"set %b 0 0 1\r\n0\r\n" % self.counter_key(index), b"STORED\r\n"
        return self.pair(SET, index)


def key_of(kind: int, index: int) -> bytes:
    """The key that an operation of `kind` on key number `index` names."""
    return Encoder.counter_key(index) if kind == INCR else Encoder.key(index)


def fill_kinds(workload: Workload) -> list[int]:
    """Which key spaces the workload touches, as kinds for `Encoder.fill_pair`."""
    return [SET] * bool(workload.get or workload.set or workload.delete) + [INCR] * bool(
        workload.incr
    )


def key_chooser(
    workload: Workload, keys: Sequence[int], random: Random
) -> Callable[[int], list[int]]:
    """A function of a count that draws that many of `keys` by the workload's distribution.

    `keys` are key numbers, ascending. With zipf a key keeps the weight it has among all keys, so a
    node's keys taken alone are as uneven as they are within the whole.
    """
    if workload.distribution == "uniform":
        return lambda count: random.choices(keys, k=count)
    cumulative = list(accumulate((key + 1) ** -workload.zipf_exponent for key in keys))
    total, last = cumulative[-1], len(keys) - 1

    def draw(count: int) -> list[int]:
        uniform = random.random
        return [keys[min(bisect(cumulative, uniform() * total), last)] for _ in range(count)]

    return draw


def tape_length(workload: Workload, key_count: int) -> int:
    """How many requests a tape holds: several rounds over few keys, bounded for many or large."""
    bytes_each = workload.value_bytes_max + 64
    wanted = max(TAPE_LENGTH_MIN, min(4 * key_count, TAPE_LENGTH_MAX))
    return max(256, min(wanted, TAPE_BYTES_MAX // bytes_each))


def build_tape(
    workload: Workload,
    seed: int,
    stream: str,
    keys_by_kind: Mapping[int, Sequence[int]],
    *,
    length: int | None = None,
) -> Tape:
    """The tape of one stream of requests.

    `stream` names it (process and node): streams of one seed differ, the same stream is always the
    same. `keys_by_kind`: for each kind with a share above 0, the key numbers that may be asked for;
    kinds whose list is empty are left out. WorkloadError when nothing is left.
    """
    random = Random(f"{seed}/{workload.name}/{stream}")
    shares = [
        share if keys_by_kind.get(kind) else 0.0 for kind, share in enumerate(workload.shares())
    ]
    if not any(shares):
        raise WorkloadError(f"{workload.name}: no keys for stream {stream}")
    key_count = max(len(keys_by_kind.get(kind, ())) for kind in range(len(shares)))
    count = length or tape_length(workload, key_count)
    kinds = random.choices(range(len(shares)), weights=shares, k=count)
    encoder = Encoder(workload, seed)
    drawn: dict[int, Iterator[int]] = {}
    for kind, share in enumerate(shares):
        if share:
            choose = key_chooser(workload, keys_by_kind[kind], random)
            drawn[kind] = iter(choose(kinds.count(kind)))
    pairs: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # equal requests share their bytes
    requests: list[bytes] = []
    replies: list[bytes] = []
    for kind in kinds:
        which = (kind, next(drawn[kind]))
        pair = pairs.get(which)
        if pair is None:
            pair = pairs[which] = encoder.pair(*which)
        requests.append(pair[0])
        replies.append(pair[1])
    return Tape(requests, replies, bytes(kinds))


def arrival_gaps_ns(workload: Workload, rate: float, random: Random) -> Iterator[int]:
    """Endless gaps between intended starts, in nanoseconds, for `rate` requests per second."""
    gap = 1e9 / rate
    if workload.arrivals == "constant":
        position = 0
        while True:  # from the count, so that rounding does not add up
            position += 1
            yield int(position * gap) - int((position - 1) * gap)
    while True:
        yield int(random.expovariate(1.0) * gap)


def _mixed(number: int) -> int:
    """SplitMix64's finisher: neighbouring numbers give unrelated ones."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
