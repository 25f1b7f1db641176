"""What a node does with a map, and in which order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from node.consensus.api import Configuration
from node.directory.follower import MapFollower
from node.errors import DiskFull
from node.founding.progress import FoundingProgress
from node.local_state import LocalState
from tests.simulation.loop import VirtualLoop
from tests.support.founding import member_of, record_of

RECORD = record_of("a", "b", "c", "d")
MAP = RECORD.first_map()


class World:
    """Node 1 of four. `events`: what happened, in order."""

    def __init__(self, *, is_complete: bool = True) -> None:
        self.loop = VirtualLoop()
        self.events: list[tuple[Any, ...]] = []
        self.fatal: list[BaseException] = []
        host: Any = SimpleNamespace(groups={})
        self.groups = host.groups
        self.state = LocalState(None, "", self.loop)
        self.state._write = self._write  # type: ignore[method-assign]
        self.founding = FoundingProgress(
            member_of(RECORD, 1, is_complete=is_complete),
            disk=None,
            directory="",
            on_complete=lambda: None,
            on_failed=self.fatal.append,
        )
        self.follower = MapFollower(
            founding=self.founding,
            local_state=self.state,
            host=host,
            on_map=lambda cluster_map: self.events.append(("map", cluster_map.epoch)),
            start_replica=self._start,
            on_fatal=self.fatal.append,
        )

    async def _write(self, path: str, data: bytes) -> None:
        await asyncio.sleep(0.01)
        self.events.append(("stored", path.rpartition("/")[2]))

    def _start(self, group_id: int, birth: Configuration, stands: bool) -> None:
        self.groups[group_id] = birth
        self.events.append(("started", group_id))

    def run(self, work: Any) -> None:
        self.loop.run_until_complete(work)


def held(node_id: int) -> list[int]:
    return [shard + 1 for shard, replicas in enumerate(MAP.replica_sets) if node_id in replicas]


def test_births_then_the_map_are_stored_before_any_replica_starts() -> None:
    world = World()
    world.follower.arrived(MAP)
    world.run(world.follower.adopt())
    assert world.events == [
        ("map", 1),
        ("stored", "groups.born"),
        ("stored", "cluster.map"),
        *(("started", group_id) for group_id in held(1)),
    ]
    for group_id, birth in world.groups.items():
        assert birth == Configuration(MAP.founding_sets[group_id - 1])


def test_nothing_starts_when_the_births_cannot_be_stored() -> None:
    world = World()

    async def fail(path: str, data: bytes) -> None:
        raise DiskFull("no room")

    world.state._write = fail  # type: ignore[method-assign]
    world.follower.arrived(MAP)
    world.run(world.follower.adopt())
    assert not world.groups
    assert [type(error) for error in world.fatal] == [DiskFull]


def test_a_new_replica_of_a_started_group_is_born_empty_and_an_old_one_as_it_was() -> None:
    world = World()
    first, *others = held(1)
    old = Configuration((1, 2), (3,))
    world.state.births[first] = old
    started = MAP.with_started(range(MAP.shard_count))
    world.follower.arrived(started)
    world.run(world.follower.adopt())
    assert world.groups == {first: old, **dict.fromkeys(others, Configuration(()))}
    assert world.state.births == world.groups


def test_no_replica_starts_before_the_founding_is_complete() -> None:
    world = World(is_complete=False)

    async def story() -> None:
        world.follower.arrived(MAP)
        adopting = asyncio.ensure_future(world.follower.adopt())
        await asyncio.sleep(1)
        assert world.events == [("map", 1)]
        world.founding.accepted(2, is_complete=True)
        await adopting

    world.run(story())
    assert [*world.groups] == held(1)


def test_older_maps_are_not_adopted() -> None:
    world = World()
    world.follower.arrived(MAP.with_started((0,)))
    world.follower.arrived(MAP)
    assert world.follower.epoch == 2
    world.run(world.follower.adopt())
    world.events.clear()
    world.run(world.follower.adopt())
    assert world.events == []
