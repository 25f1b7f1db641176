"""What a node does with a map, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.consensus.values import Configuration, HardState
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.errors import DiskFailed, DiskFull, PeerError
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.peers.items import (
    ADOPTED,
    FOUNDED,
    MAP_EPOCH,
    MAP_REPLY,
    MAP_REQUEST,
    STARTED,
)
from quorumcache.node.storage.local_state import LocalState
from quorumcache.ring import ClusterMap
from tests.simulation.loop import VirtualLoop
from tests.support.clusters import with_replicas
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
        self.on_disk: set[int] = set()
        """Groups that the disk holds and that have not been started."""
        self.on_removing: Callable[[], None] = lambda: None
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
            remembered=lambda: self.on_disk,
            remove_replica=self._remove,
        )

    async def _write(self, path: str, data: bytes) -> None:
        await asyncio.sleep(0.01)
        self.events.append(("stored", path.rpartition("/")[2]))

    def _start(self, group_id: int, birth: Configuration, stands: bool) -> None:
        self.groups[group_id] = birth
        self.events.append(("started", group_id))

    async def _remove(self, group_id: int) -> None:
        """As the remover does it; it takes a moment."""
        self.groups.pop(group_id, None)
        self.on_disk.discard(group_id)
        self.events.append(("removing", group_id))
        self.on_removing()
        await self.state.begin_leaving(group_id, HardState(2, 1))
        await self.state.end_leaving(group_id)
        self.events.append(("removed", group_id))

    async def live(self, seconds: float = 5) -> None:
        """Follow the map and let go of what it takes away, for a while."""
        tasks = [
            asyncio.ensure_future(self.follower.follow()),
            asyncio.ensure_future(self.follower.let_go()),
        ]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()

    def happened(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [what for what in self.events if what[0] in kinds]

    def run(self, work: Any) -> None:
        self.loop.run_until_complete(work)


def held(node_id: int) -> list[int]:
    return [shard + 1 for shard, replicas in enumerate(MAP.replica_sets) if node_id in replicas]


def test_a_node_that_has_lost_its_map_takes_no_older_one() -> None:
    """It had a newer one, by which replicas are here that an older one wants elsewhere."""
    world = World()
    world.follower.epoch_min = MAP.epoch + 2
    for epoch in (MAP.epoch, MAP.epoch + 1):
        world.follower.arrived(replace(MAP, epoch=epoch))
        assert world.follower.map is None
    world.follower.arrived(replace(MAP, epoch=MAP.epoch + 2))
    assert world.follower.epoch == MAP.epoch + 2


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


def test_what_a_hello_told_before_is_told_again_when_the_connection_is_ready() -> None:
    """A map may have been decided meanwhile. It was told to those that were connected."""
    world = World()
    world.follower.peer_up(2)
    assert world.sent == [(2, (MAP_REQUEST, 0)), (2, (FOUNDED, 1))]
    world.sent.clear()
    world.follower.arrived(MAP)
    world.follower.peer_up(2)
    assert world.sent == [(2, (MAP_REQUEST, 1)), (2, (MAP_EPOCH, 1)), (2, (FOUNDED, 1))]


def test_a_node_that_does_not_know_that_the_founding_is_complete_does_not_say_so() -> None:
    world = World(is_complete=False)
    world.follower.peer_up(2)
    assert world.sent == [(2, (MAP_REQUEST, 0))]


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
        assert first not in world.state.births, "a restart would let it vote a second time"
        await world.state.end_leaving(first)
        await asyncio.sleep(5)
        following.cancel()

    world.follower.arrived(MAP)
    world.run(story())
    assert sorted(world.groups) == [first, *others]
    assert world.groups[first] == Configuration(())
    assert not world.fatal


# -- maps of form 2 ------------------------------------------------------------------------------

EMPTY = Configuration(())
SECOND = replace(MAP, epoch=2, form=2, directory=(1, 2, 3), started=(1 << MAP.shard_count) - 1)
"""The same placement; group 0 has moved away from node 4."""


def without(cluster_map: ClusterMap, group_id: int, node_id: int) -> ClusterMap:
    """The next epoch, in which a node does not hold a group any more."""
    rest = tuple(n for n in cluster_map.replica_sets[group_id - 1] if n != node_id)
    return with_replicas(cluster_map, group_id - 1, rest)


def test_what_a_newer_map_does_not_place_here_goes_one_replica_at_a_time() -> None:
    world = World()
    first, second, *others = held(1)
    world.groups[0] = EMPTY
    world.follower.arrived(without(without(SECOND, first, 1), second, 1))
    world.run(world.live())
    assert world.happened("removing", "removed") == []
    world.groups.update({first: EMPTY, second: EMPTY})
    world.follower.arrived(replace(world.follower.map, epoch=9))
    world.run(world.live())
    assert world.happened("removing", "removed") == [
        ("removing", first),
        ("removed", first),
        ("removing", second),
        ("removed", second),
    ]
    assert sorted(world.groups) == [0, *others]
    stored = world.events.index(("stored", "cluster.map"))
    assert stored < world.events.index(("removing", first))


def test_a_map_of_form_1_takes_nothing_away() -> None:
    world = World()
    first = held(1)[0]
    world.groups.update({0: EMPTY, first: EMPTY, 4: EMPTY})
    world.on_disk.add(3)
    world.follower.arrived(without(MAP, first, 1))
    world.run(world.live())
    assert world.happened("removing") == []
    assert {0, first, 4} <= world.groups.keys()


def test_what_is_only_on_the_disk_goes_too() -> None:
    """Also a birth with voters of a group that has no log: it would vote when it comes again."""
    world = World()
    first, second, *_ = held(1)
    world.groups[0] = EMPTY
    world.on_disk.add(first)
    world.state.births.update({first: EMPTY, second: Configuration((1, 2, 3))})
    world.follower.arrived(without(without(SECOND, first, 1), second, 1))
    world.run(world.live())
    assert world.happened("removing") == [("removing", first), ("removing", second)]
    assert world.state.births[second] == EMPTY


def test_a_group_that_comes_again_at_once_is_another_replica() -> None:
    world = World()
    first = held(1)[0]
    world.follower.arrived(SECOND)
    world.run(world.live())
    away = without(SECOND, first, 1)
    world.follower.arrived(away)

    back = replace(SECOND, epoch=away.epoch + 1)
    world.on_removing = lambda: world.follower.arrived(back)
    world.run(world.live())
    assert world.groups[first] == EMPTY
    happened = world.happened("started", "removing", "removed")
    order = [what for what in happened if what[-1] == first]
    assert order == [
        ("started", first),
        ("removing", first),
        ("removed", first),
        ("started", first),
    ]


def test_what_a_map_that_is_not_in_force_yet_wants_here_stays() -> None:
    world = World()
    first = held(1)[0]
    world.follower.arrived(SECOND)
    world.run(world.live())
    away = without(SECOND, first, 1)
    world.follower.arrived(away)

    async def story() -> None:
        await world.follower.adopt()
        world.follower.arrived(replace(SECOND, epoch=away.epoch + 1))
        await world.live()

    world.run(story())
    assert world.happened("removing") == []


def test_a_group_whose_removal_begins_while_a_map_is_stored_is_not_started() -> None:
    """Its birth is that of a replica whose votes are being forgotten."""
    world = World()
    first = held(1)[0]
    away = without(SECOND, first, 1)
    world.follower.arrived(away)
    world.run(world.follower.adopt())
    world.state.births[first] = Configuration((1, 2, 3))
    world.on_disk.add(first)
    world.follower.arrived(replace(SECOND, epoch=away.epoch + 1))

    async def story() -> None:
        adopting = asyncio.ensure_future(world.follower.adopt())
        await asyncio.sleep(0.001)
        world.follower.arrived(replace(away, epoch=away.epoch + 2))
        letting_go = asyncio.ensure_future(world.follower.let_go())
        await adopting
        assert world.state.leaving == {first}
        assert ("started", first) not in world.events
        await asyncio.sleep(1)
        letting_go.cancel()

    world.run(story())
    assert world.state.births[first] == EMPTY


def test_the_directory_starts_where_the_map_says_and_leaves_where_it_does_not() -> None:
    world = World()
    world.follower.arrived(SECOND)
    world.run(world.live())
    assert world.groups[0] == EMPTY
    assert world.state.births[0] == EMPTY
    world.follower.arrived(replace(SECOND, epoch=3, directory=(2, 3, 4)))
    world.run(world.live())
    assert 0 not in world.groups
    assert world.happened("removing") == [("removing", 0)]


def test_a_map_of_form_1_starts_no_directory() -> None:
    world = World()
    world.follower.arrived(MAP)
    world.run(world.live())
    assert 0 not in world.groups


def test_all_nodes_hear_which_map_is_in_force_here_once_it_is_stored() -> None:
    world = World()
    world.follower.arrived(MAP)
    world.run(world.follower.adopt())
    world.follower.tell_adopted()
    assert world.sent == [], "nodes before form 2 do not know the item"
    world.follower.arrived(SECOND)
    world.follower.tell_adopted()
    assert world.sent == []
    world.run(world.follower.adopt())
    assert world.sent == [(node_id, (ADOPTED, 2)) for node_id in (2, 3, 4)]
    world.sent.clear()
    world.follower.tell_adopted()
    assert world.sent == [(node_id, (ADOPTED, 2)) for node_id in (2, 3, 4)]


def test_what_others_have_adopted_is_remembered() -> None:
    world = World()
    follower = world.follower
    for node_id, epoch in ((2, 5), (3, 4), (2, 3)):
        follower.on_item(node_id, (ADOPTED, epoch))
    assert follower.adopted_by == {2: 5, 3: 4}
    asked = [(node_id, (MAP_REQUEST, 0)) for node_id in (2, 3, 2)]
    assert world.sent == asked, "each of them is newer than what is known here"
    held = follower.adopted_by
    follower.arrived(MAP.with_replica_sets([(1, 2)] * MAP.shard_count).without_node(3))
    assert held == {2: 5}, "a node that has left is forgotten"
