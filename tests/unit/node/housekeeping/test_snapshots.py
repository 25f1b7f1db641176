"""When groups are snapshotted, and what of their logs is dropped."""

import asyncio
from typing import Any

import pytest

from quorumcache.node.errors import DiskFull
from quorumcache.node.replica.snapshotting import KEEP_ENTRIES
from quorumcache.node.store.commands import OP_SET
from tests.support.housekeeping import DATA, OpenGroup
from tests.support.housekeeping import HousekeepingWorld as World
from tests.support.scripted_log import FakeSnapshots

MS = 1_000_000


@pytest.fixture(autouse=True)
def _open_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.scripted_log.ReplicaGroup", OpenGroup)


def grow(world: World, group_id: int = 1, index: int = 1000, size: int = 2000) -> None:
    group = world.groups[group_id]
    world.store(group_id).apply(index, 1000, [(0, 0, 0, OP_SET, b"k", DATA, 0)])
    group.applied_index = index
    group.log_bytes_since_snapshot = size


def snapshot(world: World, error: BaseException | None = None, during: Any = None) -> None:
    """One pass, on a real loop; the disk answers with `error`."""

    async def run() -> None:
        world.host.loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(world.keeper.snapshots.take_due())
        saves: FakeSnapshots = world.snapshots
        while not task.done():
            await asyncio.sleep(0)
            if saves.saving:
                if during is not None:
                    during()
                saves.end(error)
        task.result()

    asyncio.run(run())


def test_a_log_that_has_grown_is_snapshotted_marked_and_dropped() -> None:
    world = World(1, 2)
    grow(world)
    snapshot(world)
    assert world.told() == [("save", 1, 1000), ("compacted", 1, 1000)]
    assert world.logs[1].compacted == [1000 - KEEP_ENTRIES]
    group = world.groups[1]
    assert (group.snapshot_index, group.log_bytes_since_snapshot) == (1000, 0)
    snapshot(world)
    assert world.told() == []


def test_what_is_kept_for_those_who_catch_up_is_bounded_and_let_go() -> None:
    """All groups together keep half of what logs may take; what is not needed any more goes."""
    world = World(1, 2)
    first, second = world.logs[1], world.logs[2]
    first.is_needed = True
    first.log_bytes = 100 << 20
    grow(world)
    snapshot(world)
    grow(world, 2)
    snapshot(world)
    half = (1 << 30) // 4 // 2
    assert (first.keep_bytes[0], second.keep_bytes[0]) == (half, half - first.log_bytes)
    del first.compacted[:]
    snapshot(world)
    assert first.compacted == [1000], "the whole, as it is large"
    first.is_needed = False
    snapshot(world)
    snapshot(world)
    assert len(first.compacted) == 2
    assert second.compacted == [1000 - KEEP_ENTRIES]


def test_a_small_log_is_left_alone_unless_it_pins_old_segments() -> None:
    world = World(1)
    grow(world, size=10)
    snapshot(world)
    assert world.told() == []
    world.wal.pinned = [1]
    snapshot(world)
    assert world.told() == [("save", 1, 1000), ("compacted", 1, 1000)]


def test_without_room_nothing_is_dropped() -> None:
    world = World(1)
    grow(world)
    snapshot(world, DiskFull("no space"))
    assert world.told() == [("save", 1, 1000)]
    assert world.logs[1].compacted == []
    assert world.groups[1].snapshot_index == 0


def test_a_snapshot_of_the_leader_that_came_meanwhile_wins() -> None:
    for newer in ("installing", "installed"):
        world = World(1)
        grow(world)
        group = world.groups[1]

        def arrive(group: Any = group, newer: str = newer) -> None:
            if newer == "installing":
                group.installing = True
            else:
                group.snapshot_index = 2000

        snapshot(world, during=arrive)
        assert world.told() == [("save", 1, 1000)]
        assert world.logs[1].compacted == []


def test_one_that_was_overtaken_while_it_was_encoded_is_not_written() -> None:
    """The store would refuse it, and an error would be told."""
    for newer in ("installing", "installed"):
        world = World(1)
        grow(world)
        group = world.groups[1]

        async def run(world: World = world, group: Any = group, newer: str = newer) -> None:
            world.host.loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(world.keeper.snapshots.take_due())
            await asyncio.sleep(0)
            if newer == "installing":
                group.installing = True
            else:
                group.snapshot_index = 2000
            for _ in range(10):
                await asyncio.sleep(0)
            assert task.done()

        asyncio.run(run())
        assert world.told() == []
        assert world.logs[1].compacted == []


def test_a_group_whose_leader_has_just_sent_a_snapshot_makes_none() -> None:
    """The log begins behind it from the moment it has come, the state follows in the next turn."""
    world = World(1)
    grow(world)
    world.logs[1].first_index = 2001
    snapshot(world)
    assert world.told() == []
    assert world.logs[1].compacted == []


def test_what_was_applied_while_it_was_written_counts_for_the_next() -> None:
    world = World(1)
    grow(world)
    group = world.groups[1]

    def applied() -> None:
        group.log_bytes_since_snapshot += 300

    snapshot(world, during=applied)
    assert group.log_bytes_since_snapshot == 300


def test_a_snapshot_that_ends_after_its_node_has_stopped_disturbs_nobody() -> None:
    world = World(1)
    grow(world)
    unhandled: list[Any] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        world.host.loop = loop
        task = asyncio.ensure_future(world.keeper.snapshots.take_due())
        saves: FakeSnapshots = world.snapshots
        for _ in range(1000):
            if saves.saving:
                break
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        loop.call_soon(saves.end)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert unhandled == []
    assert world.groups[1].snapshot_index == 0


def test_the_memory_of_the_log_has_a_setting_of_its_own_or_follows_that_of_items() -> None:
    world = World(1)
    snapshots = world.keeper.snapshots
    assert snapshots.log_bytes_max == (1 << 30) // 4
    world.memory.memory_bytes = 100 << 20
    assert snapshots.log_bytes_max == 64 << 20
    snapshots._log_memory_bytes = 5 << 20
    assert snapshots.log_bytes_max == 5 << 20


def test_beyond_its_memory_the_largest_logs_are_snapshotted_and_at_twice_as_much_it_is_held() -> (
    None
):
    world = World(1, 2)
    world.keeper.snapshots._log_memory_bytes = 10 << 20
    world.logs[1].log_bytes = 8 << 20
    world.logs[2].log_bytes = 4 << 20
    grow(world, size=100)
    snapshot(world)
    assert world.told() == [("save", 1, 1000), ("compacted", 1, 1000)]
    assert not world.host.log_is_full
    world.logs[2].log_bytes = 22 << 20
    grow(world, 2, size=21 << 20)
    snapshot(world)
    assert world.host.log_is_full
    snapshot(world)
    assert not world.host.log_is_full, "the snapshot was taken"


def test_what_is_kept_behind_snapshots_holds_nothing_up() -> None:
    """It goes when the budget is short."""
    world = World(1, 2)
    world.keeper.snapshots._log_memory_bytes = 1 << 10
    for group_id in (1, 2):
        grow(world, group_id, size=10)
    snapshot(world)
    for group_id in (1, 2):
        world.logs[group_id].log_bytes = 60 << 10
        del world.logs[group_id].compacted[:]
    snapshot(world)
    assert not world.host.log_is_full
    assert [world.logs[n].compacted[-1] for n in (1, 2)] == [1000, 1000]


def test_few_entries_are_kept_behind_the_snapshot_of_a_small_state() -> None:
    world = World(1)
    world.logs[1].log_bytes = 60 << 10
    grow(world)
    world.keeper.snapshots._snapshot_bytes_min = 1 << 20
    world.groups[1].log_bytes_since_snapshot = 2 << 20
    snapshot(world)
    assert world.logs[1].compacted == [1000 - KEEP_ENTRIES]
    grow(world, index=2000, size=2 << 20)
    world.logs[1].log_bytes = 70 << 10
    snapshot(world)
    assert world.logs[1].compacted[-1] == 2000, "more than 64 KiB and than 1/64 of the state"
