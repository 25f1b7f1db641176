"""Turns of those that wait for locks: who is nearest comes first, and no turn is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from quorumcache.router.wait_turns import (
    FAR_PAUSE_S,
    NEAR_PAUSE_S,
    NEAR_PLACE,
    WaitTurns,
    pause_s,
)

LONG_S = 600.0


def begin(work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
    return asyncio.get_running_loop().create_task(work)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_free_turn_is_taken_at_once() -> None:
    async def main() -> None:
        turns = WaitTurns(2)
        assert await turns.take(5, 0.0)
        assert await turns.take(9, 0.0)
        assert not await turns.take(1, 0.0)
        turns.leave()
        assert await turns.take(7, 0.0)

    asyncio.run(main())


def test_the_nearest_comes_first_and_then_who_came_first() -> None:
    async def main() -> None:
        turns = WaitTurns(1)
        assert await turns.take(1, 0.0)
        order: list[str] = []

        async def wait(name: str, place: int) -> bool:
            taken = await turns.take(place, LONG_S)
            order.append(name)
            return taken

        tasks = []
        for name, place in (("far", 9), ("near", 2), ("as near", 2), ("next", 1)):
            tasks.append(begin(wait(name, place)))
            await settle()
        for _ in tasks:
            turns.leave()
            await settle()
        assert order == ["next", "near", "as near", "far"]
        assert all([await task for task in tasks])

    asyncio.run(main())


def test_who_has_a_turn_goes_on_with_it_unless_another_is_nearer() -> None:
    async def main() -> None:
        turns = WaitTurns(1)
        assert await turns.take(3, 0.0)
        far = begin(turns.take(9, LONG_S))
        await settle()
        assert await turns.take(3, 0.0, has_turn=True)
        assert not far.done()
        near = begin(turns.take(2, LONG_S))
        await settle()
        assert not await turns.take(3, 0.0, has_turn=True)
        assert await near
        turns.leave()
        assert await far

    asyncio.run(main())


def test_who_waits_no_more_takes_no_turn_along() -> None:
    async def main() -> None:
        turns = WaitTurns(1)
        assert await turns.take(1, 0.0)
        assert not await turns.take(1, 0.001)
        cancelled = begin(turns.take(1, LONG_S))
        await settle()
        cancelled.cancel()
        await settle()
        late = begin(turns.take(1, LONG_S))
        await settle()
        turns.leave()
        late.cancel()  # It has the turn, and does not know yet.
        await settle()
        assert late.cancelled()
        assert await turns.take(9, 0.0)

    asyncio.run(main())


def test_pauses() -> None:
    assert pause_s(NEAR_PLACE + 1, 100, LONG_S) == FAR_PAUSE_S
    assert pause_s(1, 60_000, LONG_S) == NEAR_PAUSE_S
    assert pause_s(1, 300, LONG_S) == 0.1
    assert pause_s(1, 60_000, 0.25) == pause_s(99, 60_000, 0.25) == 0.25
