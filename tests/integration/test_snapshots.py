"""Snapshots of a real cluster, of keys that transactions change without a pause."""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random

from quorumcache.router import AsyncClient, ClientConfig, Transaction
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

HANGS_S = 8 * DEADLINE_S
CONFIG = ClientConfig(timeout_ms=int(1000 * HANGS_S))
"""A transfer that meets others all the time comes through sooner or later: of 30 attempts, each of
which takes seconds on a busy machine, all may lose. So no call has a deadline before all of it has.
"""
LIMIT_MS = 60_000
ACCOUNTS = [f"never-resting:{number}" for number in range(20)]
TASKS = 20
EACH = 1_000
SUMS = 5
"""So many of each kind have to come through."""


async def transfer(source: str, target: str, tx: Transaction) -> None:
    found = await tx.get_many([source, target])
    await tx.set(source, b"%d" % (int(found[source]) - 1))
    await tx.set(target, b"%d" % (int(found[target]) + 1))


def test_sums_over_accounts_that_never_rest(cluster: Cluster) -> None:
    """Each read-only transaction gets its turn, and each sum is right."""

    async def main() -> None:
        seeds = [f"127.0.0.1:{node.port}" for node in cluster]
        async with (
            AsyncClient(seeds, CONFIG, random=Random(1)) as client,
            AsyncClient(seeds, CONFIG, random=Random(2)) as reader,
        ):
            await client.set_many(dict.fromkeys(ACCOUNTS, b"%d" % EACH))
            moved = wanted = 0
            rested = asyncio.Event()
            stop = asyncio.Event()

            async def move_on(random: Random) -> None:
                nonlocal moved
                while not stop.is_set():
                    move = partial(transfer, *random.sample(ACCOUNTS, 2))
                    await client.transact(move, limit_ms=LIMIT_MS)
                    moved += 1
                    if moved >= wanted:
                        rested.set()

            async def sum_of_all(tx: Transaction) -> int:
                return sum(map(int, (await tx.get_many(ACCOUNTS)).values()))

            tasks = [asyncio.create_task(move_on(Random(number))) for number in range(TASKS)]
            try:
                async with asyncio.timeout(HANGS_S):
                    for _ in range(SUMS):
                        total = await reader.transact(sum_of_all, limit_ms=LIMIT_MS)
                        assert total == EACH * len(ACCOUNTS)
                        found = await reader.snapshot(ACCOUNTS)
                        assert sum(map(int, found.values())) == EACH * len(ACCOUNTS)
                        wanted = moved + TASKS
                        rested.clear()
                        await rested.wait()  # Those who write come through as well.
            finally:
                stop.set()
                await asyncio.gather(*tasks)

    asyncio.run(main())
