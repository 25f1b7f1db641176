"""Measures transactions: alone, beside a set; and many that want the same keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import Random
from typing import Any

from quorumcache.bench.cluster import Target
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.report import Table
from quorumcache.bench.tasks import Alone, Call, Together, alone, cells, together
from quorumcache.ring import shard_of
from quorumcache.router import AsyncClient

ONE_SHARD_RATIO_MAX = 1.3
TWO_SHARDS_RATIO_MAX = 3.0
"""A transaction takes at most so many times as long as a set."""

ROUNDS = 5
TASKS = 16
ACCOUNTS = (10_000, 100, 10, 2)
"""Transfers between two of so many accounts, from hardly any contention to nothing else."""

BALANCE = 1_000_000
SNAPSHOT_KEYS = 10

SET = "set"
ONE_SHARD = "1 write"
ONE_SHARD_BOTH = "1 read and 1 write of a shard"
TWO_SHARDS = "2 writes in 2 shards"
READS = f"{SNAPSHOT_KEYS} reads in {SNAPSHOT_KEYS} shards"


async def measure_transactions(
    target: Target, *, seconds: float, say: Callable[[str], None]
) -> tuple[tuple[Alone, ...], list[Together]]:
    """Measure the started `target`: each row for about `seconds`."""
    seeds = [f"{host}:{port}" for host, port in target.addresses]
    async with AsyncClient(seeds) as client:
        shards = (await client.connect()).shard_count
        keys = apart(shards, min(SNAPSHOT_KEYS, shards))
        for key in keys:
            await client.set(key, b"1")
        found = await alone(_calls(client, keys), rounds=ROUNDS, seconds=seconds / ROUNDS)
        for row in found:
            say(f"{row.what}: {row.latency.percentile(50) / 1e6:.2f} ms, {row.ratio:.2f} x a set")
        contended = []
        for accounts in ACCOUNTS:
            many = await _transfers(client, accounts, seconds)
            say(f"{many.what}: {many.per_second:,.0f}/s, {many.repeated:.2f} conflicts each")
            contended.append(many)
    return found, contended


def apart(shards: int, wanted: int) -> list[str]:
    """So many keys, no two of them in the same shard."""
    by_shard: dict[int, str] = {}
    for number in count():
        if len(by_shard) == wanted:
            return list(by_shard.values())
        key = f"bench-txn-{number}"
        by_shard.setdefault(shard_of(key.encode(), shards), key)
    raise AssertionError


def _calls(client: AsyncClient, keys: Sequence[str]) -> list[tuple[str, Call]]:
    value = bytes(100)

    async def store() -> None:
        await client.set(keys[0], value)

    async def one(tx: Any) -> None:
        await tx.set(keys[0], value)

    async def one_both(tx: Any) -> None:
        await tx.get(keys[0])
        await tx.set(keys[0], value)

    async def two(tx: Any) -> None:
        for key in keys[:2]:
            await tx.set(key, value)

    async def read(tx: Any) -> None:
        await tx.get_many(keys)

    def transacted(body: Callable[[Any], Awaitable[None]]) -> Call:
        async def call() -> None:
            await client.transact(body)

        return call

    bodies = ((ONE_SHARD, one), (ONE_SHARD_BOTH, one_both), (TWO_SHARDS, two), (READS, read))
    return [(SET, store), *((what, transacted(body)) for what, body in bodies)]


async def _transfers(client: AsyncClient, accounts: int, seconds: float) -> Together:
    random = Random(accounts)
    names = [f"bench-{accounts}-{number}" for number in range(accounts)]
    await client.set_many(dict.fromkeys(names, b"%d" % BALANCE))
    attempts = 0

    def transfer() -> Call:
        async def call() -> None:
            payer, payee = random.sample(names, 2)

            async def body(tx: Any) -> None:
                nonlocal attempts
                attempts += 1
                await tx.decr(payer, 1)
                await tx.incr(payee, 1)

            await client.transact(body)

        return call

    row = await together(
        f"transfers between {accounts:,} accounts",
        [transfer() for _ in range(TASKS)],
        lambda: attempts,
        seconds=seconds,
    )
    found = await client.get_many(names)
    total = sum(map(int, found.values()))
    if total != BALANCE * accounts:
        raise AssertionError(f"the accounts hold {total}, not {BALANCE * accounts}")
    return row


def goals(found: Sequence[Alone]) -> list[Goal]:
    """What the rows are held to."""
    ratios = {row.what: row.ratio for row in found}
    missing = float("nan")
    return [
        Goal("a transaction of one shard:", ratios.get(ONE_SHARD, missing), ONE_SHARD_RATIO_MAX),
        Goal("of two shards:", ratios.get(TWO_SHARDS, missing), TWO_SHARDS_RATIO_MAX),
    ]


def transactions_table(found: Sequence[Alone], contended: Sequence[Together]) -> Table:
    """One row per transaction."""
    rows = [
        (
            row.what,
            "1",
            *cells(row.latency, row.latency.total / 1e9),
            f"{row.ratio:.2f}",
            "-",
        )
        for row in found
    ]
    rows += [
        (
            row.what,
            str(row.tasks),
            *cells(row.latency, row.seconds),
            "-",
            f"{row.repeated:.2f}",
        )
        for row in contended
    ]
    return Table(
        title="Transactions",
        columns=(
            "transaction",
            "at a time",
            "per second",
            "p50 ms",
            "p99 ms",
            "x set",
            "conflicts",
        ),
        rows=tuple(rows),
        notes=(
            "One process calls. Conflicts: attempts beyond the first, per transaction.",
            *goal_notes(goals(found)),
        ),
        data={
            "alone": {row.what: row.latency.to_dict() for row in found},
            "ratios": {row.what: row.ratio for row in found},
            "contended": {row.what: row.latency.to_dict() for row in contended},
            "conflicts": {row.what: row.repeated for row in contended},
        },
    )
