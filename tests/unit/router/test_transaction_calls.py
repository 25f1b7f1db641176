"""Goal: `transact` comes to an end among others who change what it reads; a snapshot is of one
moment.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientConfig,
    InvalidArgument,
    Transaction,
    TransactionTooLarge,
)
from quorumcache.router.transaction_calls import LOST_MAX
from tests.support.fake_cluster import FakeCluster, Fault, run

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


async def disturb(client: AsyncClient, keys: list[str], number: int) -> None:
    """Others change the keys."""
    for key in keys:
        await client.set(key, b"%d" % number)


def snapshots_sent(cluster: FakeCluster) -> list[list[bytes]]:
    lines = [line.split() for node in cluster.nodes for line in node.log]
    return [words[3:] for words in lines if words[1:3] == [b"txn", b"snapshot"]]


def commits_sent(cluster: FakeCluster) -> int:
    lines = [line for node in cluster.nodes for line in node.log]
    return sum(line.startswith(b"cluster txn commit") for line in lines)


@pytest.mark.parametrize("knows", [True, False])
def test_after_some_conflicts_a_run_that_only_reads_begins_with_a_snapshot(knows: bool) -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        assert cluster.transactions is not None
        cluster.transactions.knows_snapshots = knows
        keys = [cluster.key_of(0), cluster.key_of(1)]
        runs = 0

        async def look(tx: Transaction) -> list[bytes]:
            nonlocal runs
            runs += 1
            found = await tx.get_many(keys)
            if knows or runs <= LOST_MAX + 2:  # Each time somebody comes between.
                await disturb(client, keys, runs)
            return list(found.values())

        values = await client.transact(look)
        assert values == [b"%d" % (runs - 1)] * 2
        assert runs == (LOST_MAX + 1 if knows else LOST_MAX + 3)
        sent = snapshots_sent(cluster)
        assert sent[0] == [b"2000", *(key.encode() for key in keys)]
        assert len(sent) == (1 if knows else 3)
        assert commits_sent(cluster) == runs - knows, "what was seen at one moment needs none"

    play(story)


@pytest.mark.parametrize("writes", [False, True])
def test_a_run_that_does_more_than_look_at_its_snapshot_is_checked(writes: bool) -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        keys = [cluster.key_of(0), cluster.key_of(1)]
        other = cluster.key_of(2)
        runs = 0

        async def look(tx: Transaction) -> bytes | None:
            nonlocal runs
            runs += 1
            found = await tx.get_many(keys)
            if runs <= LOST_MAX + 1:
                await disturb(client, keys, runs)
            if runs > LOST_MAX and writes:
                await tx.set(other, b"new")
            elif runs > LOST_MAX:
                await tx.get(other)
            return found.get(keys[0])

        assert await client.transact(look) == b"%d" % (LOST_MAX + 1)
        assert runs == LOST_MAX + 2
        assert len(snapshots_sent(cluster)) == (1 if writes else 2)
        assert await client.get(other) == (b"new" if writes else None)

    play(story)


def test_conflicts_of_those_that_write_ask_for_no_snapshot() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        keys = [cluster.key_of(0), cluster.key_of(1)]
        runs = 0

        async def move(tx: Transaction) -> None:
            nonlocal runs
            runs += 1
            await tx.get_many(keys)
            await tx.set(keys[0], b"moved")
            if runs < 2 * LOST_MAX:
                await disturb(client, keys, runs)

        await client.transact(move)
        assert snapshots_sent(cluster) == []

    play(story)


def test_a_snapshot_that_cannot_be_had_is_done_without() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        assert cluster.transactions is not None
        key, large = cluster.key_of(0), cluster.key_of(1)
        cluster.transactions.large.add(large.encode())
        runs = 0

        async def look(tx: Transaction) -> bool:
            nonlocal runs
            runs += 1
            await tx.get(key)
            if runs <= LOST_MAX:
                await client.set(key, b"%d" % runs)
            return await tx.present(large)

        assert await client.transact(look)
        assert runs == LOST_MAX + 1
        assert len(snapshots_sent(cluster)) == 1

    play(story)


@pytest.mark.parametrize("knows", [True, False])
def test_a_snapshot_of_many_keys(knows: bool) -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        assert cluster.transactions is not None
        cluster.transactions.knows_snapshots = knows
        one, two, missing = (cluster.key_of(shard) for shard in (0, 1, 2))
        await client.set(one, b"1")
        await client.set(two, b"2")
        found = await client.snapshot([two, missing, one, two])
        assert list(found.items()) == [(two, b"2"), (one, b"1")]
        assert await client.snapshot([one.encode()]) == {one.encode(): b"1"}
        assert commits_sent(cluster) == (0 if knows else 1)
        with pytest.raises(InvalidArgument):
            await client.snapshot([])
        with pytest.raises(TransactionTooLarge):
            await client.snapshot([f"key-{number}" for number in range(129)])
        cluster.transactions.large.add(one.encode())
        with pytest.raises(TransactionTooLarge):
            await client.snapshot([one, two])

    play(story)


def test_a_node_that_could_not_take_it_is_asked_again() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        key = cluster.key_of(0)
        await client.set(key, b"1")
        fault = Fault(b"cluster txn snapshot", b"SERVER_ERROR not done: no snapshot\r\n")
        cluster.leader_node(key).faults.append(fault)
        assert await client.snapshot([key]) == {key: b"1"}
        assert len(snapshots_sent(cluster)) == 2

    play(story)
