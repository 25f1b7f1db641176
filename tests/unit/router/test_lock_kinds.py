"""Read-write locks and semaphores against the scripted cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorumcache.router import AsyncClient, InvalidArgument, LockTimeout
from tests.support.virtual_clients import VirtualWorld, virtual


def test_readers_together_writers_alone_in_order_of_arrival() -> None:
    async def main(world: VirtualWorld) -> None:
        events: list[str] = []

        async def reads(name: str) -> None:
            async with world.client().read_write_lock("rw").reader():
                events.append(f"+{name}")
                await asyncio.sleep(2)
                events.append(f"-{name}")

        async def writes(name: str) -> None:
            async with world.client().read_write_lock("rw").writer():
                events.append(f"+{name}")
                await asyncio.sleep(2)
                events.append(f"-{name}")

        works = []
        for work, name in ((reads, "a"), (reads, "b"), (writes, "w"), (reads, "c"), (reads, "d")):
            works.append(asyncio.ensure_future(work(name)))
            await asyncio.sleep(0.1)
        await asyncio.gather(*works)
        assert events[:6] == ["+a", "+b", "-a", "-b", "+w", "-w"]
        assert sorted(events[6:8]) == ["+c", "+d"]

    virtual(main)


def test_a_readers_token_is_no_fence_and_a_writers_is() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        lock = client.read_write_lock("rw")
        async with lock.reader() as reader:
            with pytest.raises(InvalidArgument, match="readers of a read-write lock"):
                await client.set("k", b"1", fence=reader)
        async with lock.writer() as writer:
            await client.set("k", b"1", fence=writer)
        assert world.cluster.items[b"k"][1] == b"1"

    virtual(main)


def test_each_call_makes_another_object() -> None:
    lock = AsyncClient(["h:1"]).read_write_lock("rw")
    assert lock.reader() is not lock.reader()
    assert lock.name == b"rw"


def test_a_semaphore_has_so_many_permits() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        semaphores = [client.semaphore("s", 3) for _ in range(5)]
        tokens = [await semaphore.acquire() for semaphore in semaphores[:3]]
        assert len({token.number for token in tokens}) == 3
        with pytest.raises(LockTimeout, match="the semaphore s is not free"):
            await semaphores[3].acquire(wait_ms=0)
        waiting = asyncio.ensure_future(semaphores[4].acquire())
        await asyncio.sleep(1)
        await semaphores[1].release()
        await waiting
        with pytest.raises(InvalidArgument, match="of a semaphore"):
            await client.delete("k", fence=waiting.result())
        for semaphore in (semaphores[0], semaphores[2], semaphores[4]):
            await semaphore.release()

    virtual(main)


@pytest.mark.parametrize("permits", [0, -1, 1_025, 1.5, True, None, "3"])
def test_bad_numbers_of_permits(permits: Any) -> None:
    with pytest.raises(InvalidArgument, match="permits must be"):
        AsyncClient(["h:1"]).semaphore("s", permits)


def test_bad_times_are_told_when_the_lock_is_made() -> None:
    with pytest.raises(InvalidArgument, match="ttl_ms"):
        AsyncClient(["h:1"]).read_write_lock("rw", 5)
    with pytest.raises(InvalidArgument, match="owner"):
        AsyncClient(["h:1"]).read_write_lock("rw", owner="a b")
