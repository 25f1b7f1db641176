"""Hit ratios of a cache that is full, beside a real memcached: which of them keeps the right items?

Each trace of `traces.py` is replayed (`replay.py`) against a fresh server of each kind and memory.
Two comparisons follow: at the same memory, as it comes, and at the same number of items, which
tells the policy apart from the bytes that an item takes. For the second one memcached is measured
with a megabyte more and less than it needs for as many items, and its hit ratio is read from the
line between the two. Where values differ in size, equal numbers of items say nothing, so there is
no second comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from quorumcache.bench.cluster import MEMCACHED, Target
from quorumcache.bench.curves import Curve, Panel, curves
from quorumcache.bench.errors import TargetError
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.measure import Progress
from quorumcache.bench.replay import Replay, replay
from quorumcache.bench.report import Table
from quorumcache.bench.text_client import TextClient
from quorumcache.bench.traces import TRACES, Trace
from quorumcache.ring.size import format_size

WARM_SHARE = 0.5
"""The first part of a trace fills the cache; only the rest counts."""

BELOW_MEMCACHED_MAX = 0.5
"""Points by which a hit ratio may be below memcached's at the same number of items."""

ABOVE_WITH_SCANS_MIN = 3.0
"""Points by which it has to be above where scans are mixed in."""

TIMEOUT_SECONDS = 60.0


class Point(NamedTuple):
    """One replay. `memory_bytes`: what the server was given; `items`: what it held at the end."""

    trace: str
    server: str
    memory_bytes: int
    items: int
    evictions: int
    replay: Replay

    @property
    def hit_ratio(self) -> float:
        """In percent."""
        return self.replay.hit_ratio


class Plan(NamedTuple):
    """`keys`: popular keys of a trace; `value_bytes`: size of values where a trace has one size."""

    traces: tuple[Trace, ...]
    keys: int
    requests: int
    value_bytes: int
    seed: int


MakeTarget = Callable[[int], Target]
"""A server, not started yet, with so many bytes of memory."""

MEMORY_STEP = 1 << 20
"""memcached's memory is a whole number of these."""

STEPS_MAX = 8
"""Measurements of memcached at most for one point of ours."""


def measure_hit_ratios(
    plan: Plan,
    memories: Sequence[int],
    ours: tuple[str, MakeTarget],
    peer: MakeTarget | None,
    progress: Progress,
) -> list[Point]:
    """Replay every trace against our server (its name and maker) with each memory in bytes, and
    against `peer`, a memcached, if there is one. TargetError.
    """
    points = []
    for trace in plan.traces:

        def measured(name: str, make: MakeTarget, memory_bytes: int, trace: Trace = trace) -> Point:
            progress.begin(f"{trace.name}, {name}, {format_size(memory_bytes)}")
            return _measure(plan, trace, name, make(memory_bytes), memory_bytes, progress)

        mine = [measured(*ours, memory_bytes) for memory_bytes in memories]
        points += mine
        if peer is None:
            continue
        theirs = {m: measured(MEMCACHED, peer, m) for m in memories}
        for point in mine if not trace.has_sizes else ():
            for _ in range(STEPS_MAX):
                wanted = next_memory(point, theirs)
                if not wanted:
                    break
                theirs[wanted] = measured(MEMCACHED, peer, wanted)
        points += theirs.values()
    progress.end()
    return points


def next_memory(point: Point, theirs: Mapping[int, Point]) -> int:
    """With which memory memcached is measured next, so that a point of ours has a neighbour of
    about as many items on both sides; 0 = it has. `theirs`: by their memory, one at least.
    """
    low = max((m for m, p in theirs.items() if p.items <= point.items), default=0)
    high = min((m for m, p in theirs.items() if p.items >= point.items and m >= low), default=0)
    low_items = theirs[low].items if low else 0
    if high:
        if high - low <= MEMORY_STEP:
            return 0
        share = (point.items - low_items) / max(1, theirs[high].items - low_items)
        wanted = min(low + int((high - low) * share), high - 1)
    else:
        if not theirs[low].evictions:
            return 0  # It has all that was asked for.
        wanted = low * point.items // max(1, low_items) + MEMORY_STEP
    wanted = max(low // MEMORY_STEP + 1, wanted // MEMORY_STEP) * MEMORY_STEP
    return wanted if wanted not in theirs else 0


def _measure(
    plan: Plan, trace: Trace, name: str, target: Target, memory_bytes: int, progress: Progress
) -> Point:
    random = Random(f"{plan.seed}/{trace.name}")
    numbers = trace.keys(plan.keys, plan.requests, random)
    with target, TextClient(target.addresses[0], TIMEOUT_SECONDS) as client:
        found = replay(
            client,
            numbers,
            lambda number: trace.value_bytes(number, plan.value_bytes),
            warm_requests=int(plan.requests * WARM_SHARE),
            on_batch=lambda done: progress("requests", done, 0),
        )
        stats = dict(line.split(b" ")[1:3] for line in client.lines(b"stats"))
    return Point(
        trace.name,
        name,
        memory_bytes,
        int(stats[b"curr_items"]),
        int(stats[b"evictions"]),
        found,
    )


def ratio_at(points: Sequence[Point], items: int) -> float:
    """The hit ratio of a server at so many items, in percent, between its neighbouring points.

    Beyond its last point it is that one's; below its first one, from 0 items and no hits on.
    TargetError when there is no point.
    """
    if not points:
        raise TargetError("nothing was measured to compare with")
    low_items, low_ratio = 0, 0.0
    for point in sorted(points, key=lambda p: p.items):
        if point.items >= items:
            share = (items - low_items) / max(1, point.items - low_items)
            return low_ratio + share * (point.hit_ratio - low_ratio)
        low_items, low_ratio = point.items, point.hit_ratio
    return low_ratio


def compare(points: Sequence[Point]) -> list[tuple[Point, float | None, float | None]]:
    """Each point that is not memcached's, with memcached's hit ratio at the same memory and at the
    same number of items; None where memcached was not measured, or sizes differ.
    """
    with_sizes = {trace.name for trace in TRACES if trace.has_sizes}
    found = []
    for point in points:
        if point.server == MEMCACHED:
            continue
        peers = [p for p in points if p.server == MEMCACHED and p.trace == point.trace]
        same = [p.hit_ratio for p in peers if p.memory_bytes == point.memory_bytes]
        found.append(
            (
                point,
                same[0] if same else None,
                ratio_at(peers, point.items) if peers and point.trace not in with_sizes else None,
            )
        )
    return found


def goals(points: Sequence[Point], traces: Sequence[Trace]) -> list[Goal]:
    """The promises, for each point that can be compared."""
    with_scans = {trace.name for trace in traces if trace.has_scans}
    found = []
    for point, _, same_items in compare(points):
        if same_items is None:
            continue
        least = ABOVE_WITH_SCANS_MIN if point.trace in with_scans else -BELOW_MEMCACHED_MAX
        what = f"{point.trace}, {format_size(point.memory_bytes)}: above memcached by"
        ahead = point.hit_ratio - same_items
        found.append(Goal(what, ahead, least, "points", is_least=True))
    return found


def hit_ratio_table(points: Sequence[Point], plan: Plan) -> Table:
    """One row per trace and memory."""
    rows = []
    for point, same_memory, same_items in compare(points):
        peers = [
            p
            for p in points
            if p.server == MEMCACHED
            and p.trace == point.trace
            and p.memory_bytes == point.memory_bytes
        ]
        rows.append(
            (
                point.trace,
                format_size(point.memory_bytes),
                f"{point.items:,}",
                f"{peers[0].items:,}" if peers else "-",
                f"{point.hit_ratio:.2f}",
                _difference(point, same_items),
                _difference(point, same_memory),
                str(point.replay.refused),
                str(point.replay.wrong),
            )
        )
    notes = [
        f"{plan.requests:,} requests per trace, {plan.keys:,} popular keys,"
        f" {plan.value_bytes}-byte values but in `sizes`; hits of the last"
        f" {1 - WARM_SHARE:.0%}. Points are percent of all gets.",
    ]
    found = goals(points, plan.traces)
    if found:
        notes += goal_notes(found)
    return Table(
        title="Hit ratio",
        columns=(
            "trace", "memory", "items", "memcached items", "hits %", "points above, same items",
            "points above, same memory", "refused", "wrong",
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        data={
            "points": [
                {
                    "trace": p.trace,
                    "server": p.server,
                    "memory_bytes": p.memory_bytes,
                    "items": p.items,
                    "evictions": p.evictions,
                    "hit_ratio": p.hit_ratio,
                }
                for p in points
            ]
        },
    )  # fmt: skip


def _difference(point: Point, other: float | None) -> str:
    return "-" if other is None else f"{point.hit_ratio - other:+.2f}"


def hit_ratio_picture(points: Sequence[Point], command: str) -> str:
    """Hit ratio over items held, a panel for each trace and a curve for each server; SVG."""
    panels = []
    for trace in dict.fromkeys(point.trace for point in points):
        by_server: dict[str, list[tuple[float, float]]] = {}
        for point in points:
            if point.trace == trace:
                by_server.setdefault(point.server, []).append((point.items, point.hit_ratio))
        panels.append(
            Panel(trace, tuple(Curve(name, tuple(sorted(at))) for name, at in by_server.items()))
        )
    return curves(
        "Hit ratio", panels, note=command, x_name="items held at the end", y_name="hits, %"
    )
