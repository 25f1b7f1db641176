"""A barrier against the scripted cluster: nobody goes on before all are there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorumcache.router import AsyncClient, InvalidArgument, LockTimeout
from tests.support.virtual_clients import VirtualWorld, virtual


def test_all_go_on_when_the_last_has_come_round_after_round() -> None:
    async def main(world: VirtualWorld) -> None:
        arrived, passed = [0], [0]

        async def party(number: int) -> None:
            barrier = world.client().barrier("b", 4)
            for round_ in range(1, 4):
                await asyncio.sleep(number * 3)
                arrived[0] += 1
                await barrier.wait()
                assert arrived[0] >= 4 * round_
                passed[0] += 1

        await asyncio.gather(*map(party, range(4)))
        assert arrived == passed == [12]
        await asyncio.sleep(5)
        assert world.cluster.locks.records == {}

    virtual(main)


def test_one_who_gave_up_does_not_count() -> None:
    async def main(world: VirtualWorld) -> None:
        barrier = world.client().barrier("b", 2)
        with pytest.raises(LockTimeout, match="the barrier b was not free"):
            await barrier.wait(wait_ms=500)
        cancelled = asyncio.ensure_future(barrier.wait())
        await asyncio.sleep(1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await asyncio.sleep(1)
        first = asyncio.ensure_future(barrier.wait())
        await asyncio.sleep(20)
        assert not first.done()
        await world.client().barrier("b", 2).wait()
        await first

    virtual(main)


def test_one_client_may_be_all_parties() -> None:
    async def main(world: VirtualWorld) -> None:
        barrier = world.client().barrier("b", 3)
        await asyncio.wait_for(asyncio.gather(*(barrier.wait() for _ in range(3))), 5)

    virtual(main)


@pytest.mark.parametrize("parties", [0, 1_025, None, 2.0])
def test_bad_numbers_of_parties(parties: Any) -> None:
    with pytest.raises(InvalidArgument, match="parties must be"):
        AsyncClient(["h:1"]).barrier("b", parties)
