"""Goal: `transact` comes to an end among others who change what it reads; a snapshot is of one
moment.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from quorumcache.router import AsyncClient, ClientConfig, Transaction
from tests.support.fake_cluster import FakeCluster, run

PATIENT = ClientConfig(
    timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000, write_attempt_ms=10_000
)

Story = Callable[[FakeCluster, AsyncClient], Coroutine[Any, Any, None]]


def play(story: Story) -> None:
    """Run a story with a cluster that knows transactions, and a client of it."""

    async def main() -> None:
        async with (
            FakeCluster(transactions=True) as cluster,
            AsyncClient(cluster.seeds, PATIENT, random=Random(1)) as client,
        ):
            await story(cluster, client)

    run(main())


def test_a_function_that_only_reads_is_run_again_until_nobody_comes_between() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        keys = [cluster.key_of(0), cluster.key_of(1)]
        runs = 0

        async def look(tx: Transaction) -> list[bytes]:
            nonlocal runs
            runs += 1
            found = await tx.get_many(keys)
            if runs < 3:
                for key in keys:
                    await client.set(key, b"%d" % runs)
            return list(found.values())

        assert await client.transact(look) == [b"2", b"2"]
        assert runs == 3

    play(story)
