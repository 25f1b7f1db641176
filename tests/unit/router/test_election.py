"""Elections against the scripted cluster: one leader at a time, and a deposed one is refused."""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.router import AsyncClient, InvalidArgument, LockLost, StaleFence
from tests.support.virtual_clients import VirtualWorld, virtual


def test_one_leads_at_a_time_and_all_see_who() -> None:
    async def main(world: VirtualWorld) -> None:
        watcher = world.client()
        assert await watcher.leader("jobs") is None
        first, second = (world.client().campaign("jobs", name) for name in ("web-1", "web-2"))
        token = await first.acquire()
        waiting = asyncio.ensure_future(second.acquire())
        await asyncio.sleep(3)
        leader = await watcher.leader("jobs")
        assert leader is not None
        assert leader == ("web-1", token)
        await first.resign()
        later = await waiting
        assert later > token
        assert await watcher.leader("jobs") == ("web-2", later)
        await second.resign()
        assert await watcher.leader("jobs") is None

    virtual(main)


def test_what_a_deposed_leader_does_is_refused() -> None:
    async def main(world: VirtualWorld) -> None:
        old, new = world.client(), world.client()
        campaign = old.campaign("jobs", ttl_ms=1_000)

        async def lead() -> None:
            async with campaign as token:
                await old.set("state", b"old", fence=token)
                world.cluster.locks.give_away(b"jobs")
                async with new.campaign("jobs") as later:
                    await new.set("state", b"new", fence=later)
                with pytest.raises(StaleFence):
                    await old.set("state", b"old", fence=token)
                await campaign.lost.wait()

        with pytest.raises(LockLost, match="the leadership jobs was lost"):
            await lead()
        assert world.cluster.items[b"state"][1] == b"new"

    virtual(main)


def test_bad_candidates() -> None:
    with pytest.raises(InvalidArgument, match="candidate must be printable"):
        AsyncClient(["h:1"]).campaign("jobs", "a b")
