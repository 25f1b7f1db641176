"""Replays a trace against one server, as an application does: get, and on a miss set.

One connection asks for a batch of keys, then stores those that were missing, and so on. The order
of the requests is the trace's but for the stores, which come at the end of their batch. Every value
that comes back is compared with what belongs to its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from quorumcache.bench.errors import TargetError
from quorumcache.bench.text_client import TextClient

BATCH = 64
"""Requests in one batch: small beside any cache that is measured."""

_PATTERN = bytes(range(33, 127)) * 1024


@dataclass(slots=True)
class Replay:
    """What came of it. `hits`, `requests`: of the second part of the trace, which counts."""

    requests: int = 0
    hits: int = 0
    refused: int = 0
    """Stores that the server did not take, over the whole trace."""
    wrong: int = 0
    """Values that do not belong to their key, over the whole trace."""

    @property
    def hit_ratio(self) -> float:
        """In percent."""
        return 100 * self.hits / self.requests if self.requests else 0.0


def key_of(number: int) -> bytes:
    """The key that stands for a number."""
    return b"key:%010d" % number


def value_of(number: int, size: int) -> bytes:
    """The value of `size` bytes that belongs to the key of a number."""
    start = number % 4093
    whole, part = divmod(size, len(_PATTERN) - 4093)
    return _PATTERN[start : start + len(_PATTERN) - 4093] * whole + _PATTERN[start : start + part]


def replay(
    client: TextClient,
    numbers: Iterable[int],
    value_bytes: Callable[[int], int],
    *,
    warm_requests: int,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Replay:
    """Replay a whole trace. The first `warm_requests` fill the cache and do not count.

    `on_batch` hears how many requests are done. TargetError for a reply that is none.
    """
    found = Replay()
    rest = iter(numbers)
    done = 0
    while batch := list(islice(rest, BATCH)):
        counts = done >= warm_requests
        missing: dict[int, None] = {}
        for number, value in zip(batch, client.get_each(map(key_of, batch)), strict=True):
            if value is None:
                missing[number] = None
                continue
            found.hits += counts
            found.wrong += value != value_of(number, value_bytes(number))
        if counts:
            found.requests += len(batch)
        stores = [(key_of(n), value_of(n, value_bytes(n))) for n in missing]
        for line in client.set_each(stores):
            if line != b"STORED":
                if not line.startswith(b"SERVER_ERROR"):
                    raise TargetError(f"set: {line.decode('utf-8', 'replace')}")
                found.refused += 1
        done += len(batch)
        on_batch(done)
    return found
