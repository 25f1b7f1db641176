"""How locks and their tokens meet expiry, flush_all, read levels, eviction and moves: the table of
docs/locks.md, against real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientConfig,
    FencingToken,
    InvalidArgument,
    Local,
    StaleFence,
)
from tests.support.command_line import quorumcache
from tests.support.processes import Cluster, NodeProcess, running_cluster, running_node
from tests.support.wire import Wire

DEADLINE_S = 240
HOUR_MS = 3_600_000


def with_client(seeds: list[str], story: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(DEADLINE_S),
            AsyncClient(seeds, ClientConfig(timeout_ms=60_000)) as client,
        ):
            await story(client)

    asyncio.run(main())


def seeds_of(cluster: Cluster) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in cluster]


async def two_tokens(client: AsyncClient, name: str, key: str) -> tuple[FencingToken, FencingToken]:
    """Of a holder before, and of one after it that has been at the key."""
    async with client.lock(name) as old:
        await client.set(key, b"old", fence=old)
    async with client.lock(name) as new:
        await client.get(key, fence=new)
    return old, new


def test_an_item_ends_and_what_is_known_of_tokens_stays(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        old, new = await two_tokens(client, "m-expiry", "m-ends")
        await client.set("m-ends", b"short", exptime=-1, fence=new)
        assert await client.get("m-ends") is None
        with pytest.raises(StaleFence):
            await client.add("m-ends", b"late", fence=old)
        assert await client.add("m-ends", b"again", fence=new)
        assert await client.delete("m-ends", fence=new)
        with pytest.raises(StaleFence):
            await client.set("m-ends", b"late", fence=old)

    with_client(seeds_of(cluster), story)


def test_flush_all_leaves_locks_queues_and_tokens(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        old, new = await two_tokens(client, "m-flush", "m-flushed")
        lock = client.lock("m-flush")
        await lock.acquire()
        waiting = asyncio.ensure_future(client.lock("m-flush").acquire())
        while not (await client.lock_state("m-flush")).waiters:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await client.flush_all()
        assert await client.get("m-flushed") is None
        state = await client.lock_state("m-flush")
        assert (len(state.holders), len(state.waiters)) == (1, 1)
        with pytest.raises(StaleFence):
            await client.set("m-flushed", b"late", fence=old)
        await client.set("m-flushed", b"new", fence=new)
        assert lock.is_held
        await lock.release()
        assert await waiting > new

    with_client(seeds_of(cluster), story)


def test_a_read_behind_a_fence_is_never_old(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        async with (
            AsyncClient(seeds_of(cluster), ClientConfig(read_level=Local())) as local,
            client.lock("m-level") as token,
        ):
            for number in range(40):
                await client.set("m-read", b"%d" % number, fence=token)
                assert await local.get("m-read", fence=token) == b"%d" % number
            with pytest.raises(InvalidArgument):
                await local.get("m-read", fence=token, level=Local())

    with_client(seeds_of(cluster), story)


def test_a_key_with_the_name_of_a_lock_is_another_thing(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        async with client.lock("m-name") as token:
            assert await client.get("m-name") is None
            await client.set("m-name", b"1", fence=token)
            assert await client.delete("m-name")
            assert [holder.token for holder in (await client.lock_state("m-name")).holders] == [
                token.number
            ]

    with_client(seeds_of(cluster), story)


def evictions(node: NodeProcess) -> int:
    with Wire(node.port) as wire:
        wire.send(b"stats\r\n")
        found = 0
        while (line := wire.line()) != b"END\r\n":
            if line.startswith(b"STAT evictions "):
                found = int(line.split()[2])
    return found


def test_a_lock_is_not_evicted(tmp_path: Path) -> None:
    with running_node(tmp_path, "-m", "16") as node:

        async def story(client: AsyncClient) -> None:
            old, new = await two_tokens(client, "m-evict", "m-guarded")
            lock = client.lock("m-evict", HOUR_MS)
            token = await lock.acquire()
            number = 0
            while not evictions(node):
                values = {f"fill-{number + n}": bytes(10_000) for n in range(200)}
                await client.set_many(values)
                number += 200
            (holder,) = (await client.lock_state("m-evict")).holders
            assert holder.token == token.number
            with pytest.raises(StaleFence):
                await client.set("m-guarded", b"late", fence=old)
            await client.set("m-guarded", b"new", fence=new)
            await lock.release()

        with_client([f"127.0.0.1:{node.port}"], story)


def test_locks_and_tokens_go_along_when_their_shards_move(tmp_path: Path) -> None:
    """The node that leads them leaves the cluster; the lock is held all the time."""
    with running_cluster(tmp_path, nodes=4, shards=4) as cluster:

        async def story(client: AsyncClient) -> None:
            old, new = await two_tokens(client, "m-move", "m-moved")
            lock = client.lock("m-move", HOUR_MS)
            token = await lock.acquire()
            waiting = asyncio.ensure_future(client.lock("m-move").acquire())
            leader = await asyncio.to_thread(cluster.leader_of, b"m-move", seen_by="a")
            seeds = [f"127.0.0.1:{node.port}" for node in cluster.others(leader)]
            drained = await quorumcache("--timeout", "60", "node", "drain", leader, seeds=seeds)
            assert drained.code == 0, drained
            await client.refresh()
            (holder,) = (await client.lock_state("m-move")).holders
            assert holder.token == token.number
            assert lock.is_held
            with pytest.raises(StaleFence):
                await client.set("m-moved", b"late", fence=old)
            await client.set("m-moved", b"new", fence=new)
            await lock.release()
            assert await waiting > token

        with_client(seeds_of(cluster), story)
