"""Measures the memory of an item: resident bytes before and after many items, by difference.

Keys of 14 bytes (`key:0000000000`), values of 100 by default. What is counted is everything that
grows with the items, and of that the parts which the server counts itself (`memory_parts.py`). Two
looks: when the last item is stored, and when the process has come to rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quorumcache.bench import procfs
from quorumcache.bench.cluster import Target
from quorumcache.bench.driver import LoadPlan, run_load
from quorumcache.bench.errors import TargetError
from quorumcache.bench.measure import Progress, find_routes
from quorumcache.bench.memory_parts import Parts, parts_of
from quorumcache.bench.workload import Workload

SETTLE_SECONDS = 2.0
REST_LOOKS = 20
REST_LOOKS_MAX = 120
"""A target is at rest when its resident memory has not fallen for so many looks, `SETTLE_SECONDS`
apart. A node at rest takes a snapshot every half second and then gives back what that has freed, so
the memory of 64 shards falls late and all at once. No more looks than the second."""
FALL_BYTES = 1 << 20
"""Less is no fall."""
_WARM_KEYS = 1000


class Look(NamedTuple):
    """At one process, in bytes. `parts`: None of a server that tells none."""

    rss: int
    parts: Parts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Of one process. `items`: how many came between the look `empty` and the two others."""

    process: str
    items: int
    empty: Look
    stored: Look
    """When the last item was stored."""
    settled: Look
    """At rest."""


def measure_memory(
    target: Target,
    items: int,
    value_bytes: int,
    progress: Progress,
    fill: Callable[[int], int] | None = None,
) -> list[MemoryUse]:
    """Fill the started `target` with `items` items. Per process; with as many replicas as nodes
    every node holds every item. `fill`: stores so many items, and returns how many of them are
    missing; without it they are stored in memcached's protocol, and in that the server is asked for
    what it counts.
    """
    progress.begin(f"memory of {target.name}")
    is_asked = fill is None
    fill = fill or _filler(target, items, value_bytes, progress)
    # Buffers, code and tables that come with the first requests are not the items'.
    fill(min(_WARM_KEYS, items))
    time.sleep(SETTLE_SECONDS)
    empty = _look(target, is_asked)
    misses = fill(items)
    stored = _look(target, is_asked)
    rss_at_rest(target.pids)
    settled = _look(target, is_asked)
    progress.end()
    if misses:
        raise TargetError(
            f"{target.name} lost {misses} of the items that were read back: it has too"
            " little memory for this many, use fewer --items"
        )
    names = [f"{target.name} {chr(ord('a') + n)}" for n in range(len(empty))]
    if len(names) == 1:
        names = [target.name]
    new_items = max(1, items - _WARM_KEYS)
    return [
        MemoryUse(process=name, items=new_items, empty=first, stored=second, settled=third)
        for name, first, second, third in zip(names, empty, stored, settled, strict=True)
    ]


def _look(target: Target, is_asked: bool) -> list[Look]:
    """At each process."""
    rss = [procfs.rss_bytes(pid) for pid in target.pids]
    if not is_asked:
        return [Look(resident) for resident in rss]
    told = map(parts_of, target.addresses)
    return [Look(resident, parts) for resident, parts in zip(rss, told, strict=True)]


def _filler(
    target: Target, items: int, value_bytes: int, progress: Progress
) -> Callable[[int], int]:
    workload = Workload(
        name="memory",
        get=1.0,
        keys=items,
        value_bytes_min=value_bytes,
        value_bytes_max=value_bytes,
        connections=1,
    ).validate()
    routes = find_routes(target.addresses, "auto")

    def fill(keys: int) -> int:
        plan = LoadPlan(
            workload=workload.with_changes(keys=keys),
            routes=routes,
            warmup_seconds=0.1,
            seconds=0.5 if keys < items else 2.0,
        )
        return run_load(plan, (), progress).misses

    return fill


def rss_at_rest(pids: Sequence[int]) -> list[int]:
    """Resident memory of each process, once that of all has not fallen for some time."""
    least, looks = 0, 0
    for _ in range(REST_LOOKS_MAX):
        time.sleep(SETTLE_SECONDS)
        found = sum(procfs.rss_bytes(pid) for pid in pids)
        looks += 1
        if not least or found < least - FALL_BYTES:
            least, looks = found, 0
        elif looks >= REST_LOOKS:
            break
    return [procfs.rss_bytes(pid) for pid in pids]
