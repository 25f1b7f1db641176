"""Measures the memory of an item: resident bytes before and after many items, by difference.

Keys of 14 bytes (`key:0000000000`), values of 100 by default. What is counted is everything that
grows with the items: the items themselves, hash tables, allocator overhead, expiry and log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quorumcache.bench import procfs
from quorumcache.bench.cluster import Target
from quorumcache.bench.driver import LoadPlan, run_load
from quorumcache.bench.errors import TargetError
from quorumcache.bench.measure import Progress, find_routes
from quorumcache.bench.report import Table
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Of one process. `rss_empty`, `rss_full` in bytes."""

    process: str
    items: int
    rss_empty: int
    rss_full: int

    @property
    def bytes_per_item(self) -> float:
        """The difference, per item."""
        return (self.rss_full - self.rss_empty) / self.items


def measure_memory(
    target: Target,
    items: int,
    value_bytes: int,
    progress: Progress,
    fill: Callable[[int], int] | None = None,
) -> list[MemoryUse]:
    """Fill the started `target` with `items` items. Per process; with as many replicas as nodes
    every node holds every item. `fill`: stores so many items, and returns how many of them are
    missing; without it they are stored in memcached's protocol.
    """
    progress.begin(f"memory of {target.name}")
    fill = fill or _filler(target, items, value_bytes, progress)
    # Buffers, code and tables that come with the first requests are not the items'.
    fill(min(_WARM_KEYS, items))
    time.sleep(SETTLE_SECONDS)
    empty = [procfs.rss_bytes(pid) for pid in target.pids]
    misses = fill(items)
    full = rss_at_rest(target.pids)
    progress.end()
    if misses:
        raise TargetError(
            f"{target.name} lost {misses} of the items that were read back: it has too"
            " little memory for this many, use fewer --items"
        )
    names = [f"{target.name} {chr(ord('a') + n)}" for n in range(len(full))]
    if len(names) == 1:
        names = [target.name]
    new_items = max(1, items - _WARM_KEYS)
    return [
        MemoryUse(process=name, items=new_items, rss_empty=before, rss_full=after)
        for name, before, after in zip(names, empty, full, strict=True)
    ]


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


def memory_table(uses: list[MemoryUse], value_bytes: int) -> Table:
    """One row per process, and the ratio to memcached where there is one."""
    baseline = next((use for use in uses if use.process == "memcached"), None)
    rows = []
    for use in uses:
        compared = "-"
        if baseline is not None and use is not baseline and baseline.bytes_per_item > 0:
            compared = f"{use.bytes_per_item / baseline.bytes_per_item:.2f}"
        rows.append(
            (
                use.process,
                f"{use.items:,} items",
                f"{use.rss_empty / 2**20:.1f}",
                f"{use.rss_full / 2**20:.1f}",
                f"{use.bytes_per_item:.0f}",
                compared,
            )
        )
    return Table(
        title=f"Memory, 14-byte keys, {value_bytes}-byte values",
        columns=("process", "", "empty MiB", "full MiB", "bytes per item", "x memcached"),
        rows=tuple(rows),
        notes=("Resident memory, by difference; 114 bytes of each item are key and value.",)
        if value_bytes == 100
        else ("Resident memory, by difference.",),
        data={"bytes_per_item": {use.process: use.bytes_per_item for use in uses}},
    )
