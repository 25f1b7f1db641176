"""Measures locks: one that nobody else wants, beside a set; and one that many want."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorumcache.bench.cluster import Target
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.report import Table
from quorumcache.bench.tasks import Alone, Call, Together, alone, cells, together
from quorumcache.router import AsyncClient

LOCK_RATIO_MAX = 2.5
"""A lock that is free and its release take at most so many times as long as a set."""

ROUNDS = 5
CONTENDERS = (2, 8, 32)
"""How many want one lock at the same time."""

FREE, SET = "lock and release", "set"


async def measure_locks(
    target: Target, *, seconds: float, say: Callable[[str], None]
) -> tuple[tuple[Alone, ...], list[Together]]:
    """Measure the started `target`: each row for about `seconds`."""
    seeds = [f"{host}:{port}" for host, port in target.addresses]
    async with AsyncClient(seeds) as client:
        value = bytes(100)

        async def store() -> None:
            await client.set("bench-lock-beside", value)

        calls: list[tuple[str, Call]] = [(SET, store), (FREE, _taker(client, "bench-free"))]
        found = await alone(calls, rounds=ROUNDS, seconds=seconds / ROUNDS)
        for row in found:
            say(f"{row.what}: {row.latency.percentile(50) / 1e6:.2f} ms, {row.ratio:.2f} x a set")
        contended = []
        for count in CONTENDERS:
            takers = [_taker(client, f"bench-{count}") for _ in range(count)]
            many = await together(f"{count} want one lock", takers, lambda: 0, seconds=seconds)
            say(f"{many.what}: {many.per_second:,.0f} holders per second")
            contended.append(many)
    return found, contended


def _taker(client: AsyncClient, name: str) -> Call:
    async def take() -> None:
        async with client.lock(name):
            pass

    return take


def goals(found: Sequence[Alone]) -> list[Goal]:
    """What the rows are held to."""
    ratio = next((row.ratio for row in found if row.what == FREE), float("nan"))
    return [Goal("a free lock and its release:", ratio, LOCK_RATIO_MAX, "x a set")]


def locks_table(found: Sequence[Alone], contended: Sequence[Together]) -> Table:
    """One row per call."""
    rows = [
        (
            row.what,
            "1",
            *cells(row.latency, row.latency.total / 1e9),
            f"{row.ratio:.2f}",
        )
        for row in found
    ]
    rows += [
        (
            row.what,
            str(row.tasks),
            *cells(row.latency, row.seconds),
            "-",
        )
        for row in contended
    ]
    return Table(
        title="Locks",
        columns=("call", "at a time", "per second", "p50 ms", "p99 ms", "x set"),
        rows=tuple(rows),
        notes=(
            "One process calls. A lock that many want: from the wish to the end of the release.",
            *goal_notes(goals(found)),
        ),
        data={
            "alone": {row.what: row.latency.to_dict() for row in found},
            "ratios": {row.what: row.ratio for row in found},
            "contended": {row.what: row.latency.to_dict() for row in contended},
        },
    )
