"""Generated traces of key requests for measuring hit ratios, each from a seed. Pure.

A trace is an endless-looking, finite sequence of key numbers. The value of a key has one size for
its whole life, given by `value_bytes`. The kinds follow what the literature on cache eviction
replays: skewed popularity (zipf), the same with scans mixed in, a loop larger than the cache, a
working set that moves, and sizes that differ (Yang et al., "FIFO queues are all you need for cache
eviction", SOSP 2023, sections 2 and 5).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate
from random import Random
from typing import NamedTuple

from quorumcache.bench.errors import WorkloadError

SCAN_EVERY = 20_000
"""Requests of `scan-mixed` between two scans."""
SCAN_LENGTH = 10_000
"""Keys of a scan. None of them is asked for again."""
SHIFTS = 20
"""How often the working set of `shifting` moves in a trace."""
LARGE_SHARE = 10
"""One key of so many has a large value in `sizes`."""
SMALL_BYTES = (50, 1_000)
LARGE_BYTES = (8_000, 64_000)
"""Sizes in `sizes`, inclusive."""

_SCAN_FIRST_KEY = 1 << 32
"""Keys of scans lie beyond all others."""


class Trace(NamedTuple):
    """A named kind of trace."""

    name: str
    description: str
    keys: Callable[[int, int, Random], Iterator[int]]
    """Key numbers: of the number of popular keys, the number of requests and a seeded Random."""
    has_sizes: bool = False
    """Whether values differ in size; else all have the size that the user chose."""
    has_scans: bool = False

    def value_bytes(self, key: int, common_bytes: int) -> int:
        """Size of the value of key number `key`."""
        if not self.has_sizes:
            return common_bytes
        random = Random(key)
        low, high = LARGE_BYTES if random.randrange(LARGE_SHARE) == 0 else SMALL_BYTES
        return random.randint(low, high)


def _zipf_draw(keys: int, exponent: float, random: Random) -> Callable[[], int]:
    cumulative = list(accumulate((rank + 1) ** -exponent for rank in range(keys)))
    total, last, uniform = cumulative[-1], keys - 1, random.random
    return lambda: min(bisect(cumulative, uniform() * total), last)


def _zipf(exponent: float) -> Callable[[int, int, Random], Iterator[int]]:
    def keys(count: int, requests: int, random: Random) -> Iterator[int]:
        draw = _zipf_draw(count, exponent, random)
        return (draw() for _ in range(requests))

    return keys


def _scan_mixed(count: int, requests: int, random: Random) -> Iterator[int]:
    draw = _zipf_draw(count, 1.0, random)
    made, fresh = 0, _SCAN_FIRST_KEY
    while made < requests:
        for _ in range(min(SCAN_EVERY, requests - made)):
            yield draw()
        made += SCAN_EVERY
        for _ in range(max(0, min(SCAN_LENGTH, requests - made))):
            yield fresh
            fresh += 1
        made += SCAN_LENGTH


def _loop(count: int, requests: int, random: Random) -> Iterator[int]:
    length = max(1, count // 8)
    return (number % length for number in range(requests))


def _shifting(count: int, requests: int, random: Random) -> Iterator[int]:
    draw = _zipf_draw(count, 1.0, random)
    phase = max(1, requests // SHIFTS)
    step = max(1, count // SHIFTS)
    return (draw() + step * (number // phase) for number in range(requests))


TRACES = (
    Trace("zipf-0.8", "popularity falls slowly", _zipf(0.8)),
    Trace("zipf-1.0", "popularity as on the web", _zipf(1.0)),
    Trace("zipf-1.2", "few keys are very popular", _zipf(1.2)),
    Trace("scan-mixed", "zipf-1.0, a third of the requests are scans", _scan_mixed, has_scans=True),
    Trace("loop", "an eighth of the keys, over and over in one order", _loop),
    Trace("shifting", f"zipf-1.0 whose popular keys change {SHIFTS} times", _shifting),
    Trace("sizes", "zipf-1.0, one value of ten is large", _zipf(1.0), has_sizes=True),
)


def find_traces(names: str) -> tuple[Trace, ...]:
    """Those of a list of names separated by commas; "" = all. WorkloadError names a wrong one."""
    if not names:
        return TRACES
    by_name = {trace.name: trace for trace in TRACES}
    found = []
    for name in names.split(","):
        trace = by_name.get(name.strip())
        if trace is None:
            raise WorkloadError(f"no trace {name.strip()!r}; there are: {', '.join(by_name)}")
        found.append(trace)
    return tuple(found)
