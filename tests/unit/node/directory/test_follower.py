"""What a node does with a map, and in which order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.consensus.values import Configuration
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.errors import DiskFailed, DiskFull, PeerError
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.peers.items import MAP_EPOCH, MAP_REPLY, MAP_REQUEST, STARTED
from quorumcache.node.storage.local_state import LocalState
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
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        host: Any = SimpleNamespace(groups={}, flush_soon=lambda: None)
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
            on_started=lambda bits: self.events.append(("started groups", bits)),
            on_fatal=self.fatal.append,
            send=lambda node_id, item: bool(self.sent.append((node_id, item))),
            alarms=Alarms(),
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


def test_nothing_starts_while_a_full_disk_takes_no_births_or_no_map() -> None:
    """The node goes on meanwhile, and tries again."""
    world = World()
    writes = 0

    async def full_at_first(path: str, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes in (1, 3):
            assert not world.groups
            raise DiskFull("no room")

    async def story() -> None:
        following = asyncio.ensure_future(world.follower.follow())
        await asyncio.sleep(10)
        following.cancel()

    world.state._write = full_at_first  # type: ignore[method-assign]
    world.follower.arrived(MAP)
    world.run(story())
    assert [*world.groups] == held(1)
    assert not world.fatal


def test_a_disk_that_fails_ends_the_node() -> None:
    world = World()

    async def fail(path: str, data: bytes) -> None:
        raise DiskFailed("broken")

    world.state._write = fail  # type: ignore[method-assign]
    world.follower.arrived(MAP)
    world.run(world.follower.adopt())
    assert not world.groups
    assert [type(error) for error in world.fatal] == [DiskFailed]


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


def test_a_node_that_is_behind_asks_and_one_that_is_ahead_answers() -> None:
    world = World()
    follower = world.follower
    follower.on_item(2, (MAP_EPOCH, 1))
    assert world.sent == [(2, (MAP_REQUEST, 0))]
    follower.on_item(2, (MAP_REPLY, MAP.to_bytes()))
    assert follower.map == MAP
    world.sent.clear()
    follower.on_item(3, (MAP_EPOCH, 1))
    follower.on_item(3, (MAP_REQUEST, 1))
    assert not world.sent
    follower.on_item(3, (MAP_REQUEST, 0))
    assert world.sent == [(3, (MAP_REPLY, MAP.to_bytes()))]


def test_maps_that_mean_nothing_here_are_the_peers_fault() -> None:
    other = record_of("a", seed=2).first_map()
    for data in (b"", other.to_bytes()):
        with pytest.raises(PeerError):
            World().follower.on_item(2, (MAP_REPLY, data))
    with pytest.raises(PeerError):
        World().follower.on_item(2, (STARTED, bytes(4096)))


def test_what_a_peer_tells_of_groups_that_have_started_is_passed_on() -> None:
    world = World()
    world.follower.on_item(2, (STARTED, b"\x09"))
    assert world.events[-1] == ("started groups", 9)


def test_a_group_that_is_being_removed_starts_when_that_is_done_and_is_born_empty() -> None:
    """Even if the map says that the group has not started: this node may have voted in it."""
    world = World()
    first, *others = held(1)
    world.state.leaving.add(first)

    async def story() -> None:
        following = asyncio.ensure_future(world.follower.follow())
        await asyncio.sleep(5)
        assert [*world.groups] == others
        await world.state.end_leaving(first)
        await asyncio.sleep(5)
        following.cancel()

    world.follower.arrived(MAP)
    world.run(story())
    assert sorted(world.groups) == [first, *others]
    assert world.groups[first] == Configuration(())
    assert not world.fatal
