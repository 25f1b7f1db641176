"""What a pass of the housekeeper does, and what it leaves alone while the disk is in trouble."""

import asyncio
from typing import Any

import pytest

from tests.support.housekeeping import HousekeepingWorld

WELL: dict[str, Any] = {"why": ""}
FULL: dict[str, Any] = {"why": "the disk is full"}
HANGS: dict[str, Any] = {"why": "the disk hangs", "hangs": True}

PROPOSES = ["sweep", "hand over slow", "return"]


class World(HousekeepingWorld):
    """A housekeeper whose duties say that they were called."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        keeper: Any = self.keeper
        keeper.expiry.sweep = lambda: self.done.append("sweep")
        keeper.leadership.hand_over_slow = lambda: self.done.append("hand over slow")
        keeper.leadership.return_to_preferred = lambda: self.done.append("return")
        keeper.snapshots.take_due = self._take_due
        keeper._interval = 0.0

    async def _take_due(self) -> None:
        self.done.append("snapshots")

    async def run_turns(self, turns: int = 10) -> None:
        """Let it work for some turns of the loop, and cancel it."""
        task = asyncio.ensure_future(self.keeper.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


@pytest.mark.parametrize(
    ("trouble", "duties"),
    [
        (WELL, [*PROPOSES, "snapshots"]),
        (FULL, ["snapshots"]),  # It is what makes room.
        (HANGS, []),
    ],
    ids=["well", "full", "hangs"],
)
def test_what_is_done_in_each_pass(trouble: dict[str, Any], duties: list[str]) -> None:
    world = World()
    world.host.set_disk_trouble(**trouble)
    asyncio.run(world.run_turns())
    passes = len(world.done) // len(duties) if duties else 0
    assert world.done[: passes * len(duties)] == duties * passes
    assert bool(passes > 1) == bool(duties), "again and again"


def test_a_disk_that_is_well_again_is_worked_on_again() -> None:
    world = World()

    async def story() -> None:
        world.host.set_disk_trouble(**HANGS)
        task = asyncio.ensure_future(world.keeper.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not world.done
        world.host.set_disk_trouble(**WELL)
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(story())
    assert {*PROPOSES, "snapshots"} <= set(world.done)


def test_nothing_is_done_at_once() -> None:
    """A node that starts has other things to do, and its groups have no leaders yet."""
    world = World()
    keeper: Any = world.keeper
    keeper._interval = 3600.0
    asyncio.run(world.run_turns())
    assert not world.done
