"""What the client offers about locks: the state of one, and the time of every kind."""

from __future__ import annotations

import asyncio

from quorumcache.router import LockState
from tests.support.virtual_clients import VirtualWorld, virtual


def test_the_state_of_a_lock() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        assert await client.lock_state("l") == LockState((), ())
        async with client.lock("l", 5_000, owner="web-1") as token:
            waiting = [
                asyncio.ensure_future(world.client().lock("l", owner=f"w-{number}").acquire())
                for number in range(2)
            ]
            await asyncio.sleep(2)
            state = await client.lock_state(b"l")
            (holder,) = state.holders
            assert holder.owner.startswith("web-1-")
            assert (holder.token, holder.mode) == (token.number, "exclusive")
            assert 0 < holder.left_ms <= 5_000
            assert [waiter.place for waiter in state.waiters] == [1, 2]
            assert sorted(waiter.owner[:4] for waiter in state.waiters) == ["w-0-", "w-1-"]
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    virtual(main)


def test_to_make_an_object_sends_nothing() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        client.lock("l")
        client.read_write_lock("l").writer()
        client.semaphore("l", 3)
        client.barrier("l", 3)
        client.campaign("l")
        assert not any(node.log for node in world.cluster.nodes)

    virtual(main)
