"""What a node keeps beside its log, on a disk that loses power."""

import asyncio
from typing import Any
from zlib import crc32

import msgpack
import pytest

from quorumcache.node.consensus.values import Configuration, HardState
from quorumcache.node.errors import DiskFull, StartupError
from quorumcache.node.storage.checksum import with_checksum
from quorumcache.node.storage.local_state import (
    BIRTHS_FILE,
    MAP_FILE,
    LocalState,
    encode_births,
)
from quorumcache.ring import ClusterMap, NodeInfo, place
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk

DIRECTORY = "/data"
BIRTHS = {
    1: Configuration((1, 2, 3)),
    7: Configuration((2, 3, 4), (5,), (1, 2, 3)),
    9: Configuration(()),
    11: Configuration((2, 3, 4), (), (), 17),
}
PROMISED = HardState(6, 2)
REST = {group_id: birth for group_id, birth in BIRTHS.items() if group_id != 1}


def cluster_map(epoch: int = 1) -> ClusterMap:
    nodes = tuple(NodeInfo(n, f"n{n}", f"h{n}:1", f"h{n}:2", "", "", 1.0) for n in (1, 2, 3))
    sets = tuple(tuple(replicas) for replicas in place(nodes, 4, 3))
    return ClusterMap(
        epoch=epoch,
        cluster_id="c",
        shard_count=4,
        replication=3,
        nodes=nodes,
        replica_sets=sets,
    )


class World:
    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.disk: Any = FakeDisk(self.loop)
        self.disk.make_dirs(DIRECTORY)

    def state(self) -> LocalState:
        return LocalState(self.disk, DIRECTORY, self.loop)

    def run(self, work: Any) -> None:
        self.loop.run_until_complete(work)


def test_births_without_a_decision_are_written_as_before_there_were_any() -> None:
    births = {7: BIRTHS[7], 11: Configuration((2,), (), (), 17)}
    packed = msgpack.packb(("c", 3, {7: ((2, 3, 4), (5,), (1, 2, 3)), 11: ((2,), (), (), 17)}))
    assert encode_births(births, "c", 3) == with_checksum(packed)


def test_map_and_births_are_there_after_a_power_loss() -> None:
    world = World()
    state = world.state()
    assert state.load() is None
    world.run(state.add_births(BIRTHS))
    world.run(state.save_map(cluster_map(3)))
    world.disk.crash()
    again = world.state()
    assert again.load() == cluster_map(3)
    assert again.births == BIRTHS


def test_births_are_added_to_those_known() -> None:
    world = World()
    state = world.state()
    world.run(state.add_births({1: BIRTHS[1]}))
    world.run(state.add_births(REST))
    again = world.state()
    again.load()
    assert again.births == BIRTHS


def test_what_a_start_has_believed_the_next_one_finds_too() -> None:
    """A process died between a rename and the sync of the directory; then the power fails."""
    world = World()
    directory_syncs: list[str] = []
    sync_dir = world.disk.sync_dir
    world.disk.sync_dir = lambda path: (directory_syncs.append(path), sync_dir(path))
    read = world.disk.read
    reads: list[str] = []

    def noted(path: str) -> bytes:
        assert directory_syncs == [DIRECTORY], "believed before it was durable"
        reads.append(path)
        data: bytes = read(path)
        return data

    world.run(world.state().save_map(cluster_map()))
    world.disk.read = noted
    world.state().load()
    assert reads == [f"{DIRECTORY}/{MAP_FILE}"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00",
        b"nonsense",
        b"\x93\x01\x02\x03",
        b"\x81\x01\xc0",
        b"\x81\xa1a\x91\x01",
        b"\x81\x01\x91\xc3",
    ],
)
def test_damage_is_named_by_its_file(damage: bytes) -> None:
    """Whatever the checksum says."""
    for file in (MAP_FILE, BIRTHS_FILE):
        for checksum in (b"", crc32(damage).to_bytes(4, "big")):
            world = World()
            world.disk.write(f"{DIRECTORY}/{file}", damage + checksum)
            with pytest.raises(StartupError, match=file):
                world.state().load()


def test_every_turned_bit_is_refused() -> None:
    """Another voter of a group would be believed otherwise."""
    world = World()
    world.run(world.state().add_births(BIRTHS))
    world.run(world.state().save_map(cluster_map()))
    for file in (MAP_FILE, BIRTHS_FILE):
        path = f"{DIRECTORY}/{file}"
        for bit in range(8 * len(world.disk.read(path))):
            world.disk.flip_bit(path, bit)
            with pytest.raises(StartupError, match=file):
                world.state().load()
            world.disk.flip_bit(path, bit)
    world.state().load()


def test_a_write_that_fails_is_told() -> None:
    world = World()
    world.disk.crash()
    state = LocalState(world.disk, DIRECTORY, world.loop)
    world.disk.write_atomic = lambda path, chunks, done: done(OSError("no"))
    with pytest.raises(OSError, match="no"):
        world.run(state.save_map(cluster_map()))


def test_births_that_are_written_at_the_same_time_do_not_lose_one_another() -> None:
    world = World()
    state = world.state()

    async def both() -> None:
        await asyncio.gather(state.add_births({1: BIRTHS[1]}), state.add_births(REST))

    world.run(both())
    again = world.state()
    again.load()
    assert again.births == state.births == BIRTHS


def test_births_are_not_believed_before_they_are_durable() -> None:
    world = World()
    state = world.state()
    world.disk.write_atomic = lambda path, chunks, done: done(OSError("no"))
    with pytest.raises(OSError, match="no"):
        world.run(state.add_births(BIRTHS))
    assert state.births == {}


def test_a_node_without_a_disk_keeps_nothing() -> None:
    world = World()
    state = LocalState(None, "", world.loop)
    assert state.load() is None
    world.run(state.add_births(BIRTHS))
    world.run(state.save_map(cluster_map()))
    assert state.births == BIRTHS


def test_a_map_that_is_there_already_is_not_written_again() -> None:
    """A node with a full disk can start: it has to say so itself."""
    world = World()
    world.run(world.state().save_map(cluster_map()))
    state = world.state()
    state.load()
    writes: list[str] = []
    world.disk.write_atomic = lambda path, chunks, done: (writes.append(path), done(None))
    world.run(state.save_map(cluster_map()))
    assert writes == []
    world.run(state.save_map(cluster_map(2)))
    assert writes == [f"{DIRECTORY}/{MAP_FILE}"]


def test_births_without_room_are_written_at_the_next_try() -> None:
    """Taken for known after the first try, they would never be: a group would begin without."""
    world = World()
    state = world.state()
    world.disk.capacity_bytes = 0
    with pytest.raises(DiskFull):
        world.run(state.add_births(BIRTHS))
    assert not state.births
    world.disk.capacity_bytes = None
    world.run(state.add_births(BIRTHS))
    world.disk.crash()
    again = world.state()
    again.load()
    assert again.births == BIRTHS


def test_a_group_that_leaves_has_no_birth_and_a_start_knows_that_it_was_leaving() -> None:
    world = World()
    state = world.state()
    world.run(state.add_births(BIRTHS))
    world.run(state.begin_leaving(1, PROMISED))
    assert (state.births, state.leaving) == (REST, {1})
    world.disk.crash()
    again = world.state()
    again.load()
    assert (again.births, again.leaving) == (REST, {1})
    world.run(again.end_leaving(1))
    assert (again.births, again.leaving) == ({**REST, 1: Configuration(())}, set())
    world.disk.crash()
    last = world.state()
    last.load()
    assert (last.births, last.leaving) == (again.births, set())
    assert last.promised == {1: PROMISED}


def test_what_a_removed_replica_had_promised_is_never_forgotten() -> None:
    """A later one may be removed before it has heard of the group at all."""
    world = World()
    state = world.state()
    for promised in (PROMISED, HardState(0, 0), HardState(5, 3), HardState(7, 0)):
        world.run(state.begin_leaving(1, promised))
        world.run(state.end_leaving(1))
        world.disk.crash()
        state = world.state()
        state.load()
        assert state.promised == {1: max(promised, PROMISED)}


def test_where_no_replica_was_removed_births_have_the_form_before_removals() -> None:
    assert encode_births(BIRTHS, "c", 3, (), {}) == encode_births(BIRTHS, "c", 3)


def test_a_group_goes_on_leaving_in_whatever_is_written_meanwhile() -> None:
    """A first try without room, births of others, and the end of another one."""
    world = World()
    state = world.state()
    world.run(state.add_births({1: BIRTHS[1], 7: BIRTHS[7]}))
    world.disk.capacity_bytes = 0
    with pytest.raises(DiskFull):
        world.run(state.begin_leaving(1, PROMISED))
    world.disk.capacity_bytes = None
    world.run(state.begin_leaving(7, PROMISED))

    async def both() -> None:
        await asyncio.gather(state.end_leaving(7), state.add_births({9: BIRTHS[9]}))

    world.run(both())
    world.disk.crash()
    again = world.state()
    again.load()
    assert (again.births, again.leaving) == ({7: Configuration(()), 9: BIRTHS[9]}, {1})


def test_a_group_is_leaving_until_its_end_is_durable() -> None:
    world = World()
    state = world.state()
    world.run(state.add_births(BIRTHS))
    world.run(state.begin_leaving(1, PROMISED))
    world.disk.capacity_bytes = 0
    with pytest.raises(DiskFull):
        world.run(state.end_leaving(1))
    assert (state.births, state.leaving) == (REST, {1})
