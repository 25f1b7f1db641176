"""What a node does about its disk: room set aside, writes that hang, files that are gone."""

import asyncio
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.consensus.values import Entry
from quorumcache.node.errors import DataDirLost, DiskFailed, OutOfResources
from quorumcache.node.housekeeping.disk_keeper import (
    FILES_LOW,
    HANG_ELECTIONS,
    PROBE_IDLE_NS,
    SLOW_ELECTIONS,
    DiskKeeper,
)
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.disk_space import plan_space
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.wal import Wal, WalRecord
from quorumcache.node.wal.format import HardState
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk
from tests.support.scripted_log import ManualClock

TOTAL_BYTES = 16 << 20
CONFIG = NodeConfig(data_dir="d")


class FakeHost:
    def __init__(self) -> None:
        self.stopped = False
        self.trouble: list[str] = []

    def set_disk_trouble(self, why: str, *, hangs: bool = False) -> None:
        if why != (self.trouble[-1] if self.trouble else ""):
            self.trouble.append(why)


class World:
    """A keeper over a real log on a disk in memory. Time is the loop's."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.disk: Any = FakeDisk(self.loop)
        self.disk.total_bytes = TOTAL_BYTES
        self.disk.make_dirs("d")
        self.disk.lock("d/lock")
        self.clock = ManualClock()
        self.host: Any = FakeHost()
        self.alarms = Alarms()
        self.counters = Counters()
        self.lost: list[BaseException] = []
        self.plan = plan_space(
            TOTAL_BYTES, segment_bytes_max=64 << 20, wal_bytes_max=1 << 30, memory_bytes=1 << 20
        )
        self.wal, _ = Wal.open(
            self.disk,
            "d/wal",
            cluster_id="c",
            node_id=1,
            clock=self.clock,
            loop=self.loop,
            segment_bytes_max=self.plan.segment_bytes_max,
        )
        self.keeper = DiskKeeper(
            config=CONFIG,
            clock=self.clock,
            disk=self.disk,
            plan=self.plan,
            wal=self.wal,
            host=self.host,
            alarms=self.alarms,
            counters=self.counters,
            on_slow=self._slow,
            on_lost=self.lost.append,
        )
        self.wal.on_full = self.keeper.refused
        self.wal.on_failed = self.lost.append
        self.durable = 0
        self.written = 0
        self.slow_ticks = 0
        self.keeper.start()
        self.write()
        self.wait(0.1)

    def _slow(self) -> None:
        self.slow_ticks += 1

    def write(self) -> None:
        def done() -> None:
            self.durable += 1

        self.written += 1
        self.wal.append([WalRecord(1, HardState(self.written, 1))], done)

    def wait(self, seconds: float, step: float = 0.05) -> None:
        """Time passes, in ticks."""
        end_ns = self.clock.ns + int(seconds * 1e9)
        while self.clock.ns < end_ns:
            self.clock.ns += int(step * 1e9)
            self.keeper.tick()
            self.loop.run_until_complete(_sleep(step))

    def raised(self) -> list[str]:
        return [alarm.name for alarm in self.alarms.raised()]


def test_a_write_that_takes_an_election_timeout_is_told_in_every_tick_and_is_no_hang() -> None:
    """Others then take over without a pause. One of 200 ms is nothing to tell."""
    world = World()
    world.disk.delay = lambda random: 0.1  # Write and sync take it each.
    world.write()
    world.wait(0.5, step=0.01)
    assert world.slow_ticks == 0
    world.disk.delay = lambda random: 0.5
    world.write()
    world.wait(SLOW_ELECTIONS * CONFIG.election_ms / 1000 - 0.02, step=0.01)
    assert world.slow_ticks == 0
    world.wait(0.1, step=0.01)
    assert 7 <= world.slow_ticks <= 10
    world.wait(1.0, step=0.01)
    told = world.slow_ticks
    assert world.durable == world.written
    world.wait(1.0, step=0.01)
    assert world.slow_ticks == told
    assert (world.host.trouble, world.raised()) == ([], ["disk_small"])


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_a_write_that_hangs_is_told_and_ends_by_itself() -> None:
    world = World()
    hang_s = HANG_ELECTIONS * CONFIG.election_ms / 1000
    world.disk.delay = lambda random: 4.0
    world.write()
    world.wait(hang_s - 0.1)
    assert world.host.trouble == []
    world.wait(0.3)
    assert world.host.trouble == ["the disk of the node does not answer"]
    assert "disk_slow" in world.raised()
    world.disk.delay = lambda random: 0.0
    world.wait(10.0)
    assert world.durable == world.written
    assert world.host.trouble[-1] == ""
    assert "disk_slow" not in world.raised()


def test_a_disk_that_hangs_is_told_though_nothing_is_written() -> None:
    world = World()
    world.wait(100.0, step=0.25)  # Probes that are answered tell nothing.
    assert (world.host.trouble, world.raised()) == ([], ["disk_small"])
    world.disk.delay = lambda random: 20.0  # Write and sync take it each.
    world.wait(PROBE_IDLE_NS / 1e9 + 2.0)
    assert world.host.trouble == ["the disk of the node does not answer"]
    assert "disk_slow" in world.raised()
    assert world.wal.waiting_since_ns == 0
    assert world.keeper.waiting_since_ns > 0
    world.disk.delay = lambda random: 0.0
    world.wait(42.0, step=0.25)
    assert world.host.trouble[-1] == ""
    assert "disk_slow" not in world.raised()
    assert world.keeper.waiting_since_ns == 0
    assert world.lost == []


def test_only_a_log_that_rests_has_the_disk_probed() -> None:
    world = World()
    probes = count_probes(world)
    for _ in range(20):
        world.wait(PROBE_IDLE_NS / 1e9 / 4, step=0.25)
        world.write()
    assert probes == []
    world.wait(3.5 * PROBE_IDLE_NS / 1e9, step=0.25)
    assert len(probes) == 3


def test_a_probe_for_which_there_is_no_room_is_no_hang_and_one_that_fails_ends_the_node() -> None:
    world = World()
    probes = count_probes(world)
    paths = world.disk.paths()
    world.disk.capacity_bytes = world.disk.used_bytes()
    world.wait(1.1 * PROBE_IDLE_NS / 1e9, step=0.25)
    assert len(probes) == 1
    assert (world.host.trouble, world.lost) == ([], [])
    assert world.disk.aside == {"d/reserve": world.plan.reserve_bytes}
    world.disk.capacity_bytes = None
    world.wait(PROBE_IDLE_NS / 1e9, step=0.25)
    assert len(probes) == 2
    assert world.disk.paths() == paths, "a probe leaves nothing behind"
    world.disk.failing_syncs = 1
    world.wait(PROBE_IDLE_NS / 1e9, step=0.25)
    assert [type(error) for error in world.lost] == [DiskFailed]


def count_probes(world: World) -> list[int]:
    """When the disk was probed, from now on."""
    probes: list[int] = []
    probe = world.disk.probe

    def counted(done: Any) -> None:
        probes.append(world.clock.ns)
        probe(done)

    world.disk.probe = counted
    return probes


def test_a_full_disk_gives_its_reserve_up_and_is_full_until_it_has_it_again() -> None:
    world = World()
    assert world.disk.aside == {"d/reserve": world.plan.reserve_bytes}
    world.disk.capacity_bytes = world.disk.used_bytes()
    world.write()
    world.wait(0.5)
    assert world.durable == world.written, "the reserve makes room for the log"
    assert world.host.trouble == ["the disk of the node is full"]
    assert "disk_full" in world.raised()
    assert world.wal.wants_room
    world.wait(3.0)
    assert world.disk.aside == {}, "there is no room for it yet"
    assert world.host.trouble == ["the disk of the node is full"]
    world.disk.capacity_bytes = None
    world.wait(2.5)
    assert world.host.trouble[-1] == ""
    assert world.disk.aside == {"d/reserve": world.plan.reserve_bytes}
    assert "disk_full" not in world.raised()
    assert world.lost == []


def test_a_disk_without_inodes_is_told_as_what_it_is() -> None:
    """It refuses new files as a full one does, with plenty of bytes free."""
    world = World()
    world.disk.files_left = FILES_LOW - 1
    world.wait(1.5)
    assert sentence(world, "disk_low").endswith("take a disk with more inodes")
    world.disk.files_left = 0
    world.disk.capacity_bytes = world.disk.used_bytes()
    world.write()
    world.wait(1.5)
    assert "is out of inodes" in sentence(world, "disk_full")
    assert "Remove files" in sentence(world, "disk_full")
    world.disk.files_left = FILES_LOW  # More than that again, and still few.
    world.disk.capacity_bytes = None
    world.wait(2.5)
    assert world.raised() == ["disk_low", "disk_small"]
    world.disk.files_left = 2 * FILES_LOW
    world.wait(2.5)
    assert world.raised() == ["disk_small"]


def sentence(world: World, name: str) -> str:
    [found] = [alarm.sentence for alarm in world.alarms.raised() if alarm.name == name]
    return found


def test_no_descriptor_for_the_next_segment_is_no_broken_disk() -> None:
    world = World()
    world.disk.descriptors_left = 0
    world.wal._chain.spare = None
    world.wal._chain._segment_bytes_max = 1
    world.write()
    world.wait(2.0)
    assert world.durable < world.written
    assert isinstance(world.wal.held_why, OutOfResources)
    assert "no file descriptor" in world.host.trouble[-1]
    assert world.lost == []
    world.disk.descriptors_left = 1000
    world.wait(2.5)
    assert world.durable == world.written
    assert world.host.trouble[-1] == ""
    assert "descriptors_low" not in world.raised()


@pytest.mark.parametrize("what", ["d/lock", "d/wal", "d"])
def test_what_is_removed_under_the_node_ends_it(what: str) -> None:
    world = World()
    world.wait(3.0)
    assert world.lost == []
    world.disk.lose(what)
    world.wait(2.5)
    assert world.lost
    assert isinstance(world.lost[0], DataDirLost)


def test_what_waits_for_the_disk_is_counted_and_given_back() -> None:
    world = World()
    assert world.wal.queued_bytes == 0
    world.disk.delay = lambda random: 1.0
    world.write()
    record = WalRecord(2, None, (Entry(1, 1, 0, b"x" * 1000),))
    world.wal.append([record], lambda: None)
    assert world.wal.queued_bytes == 1000
    world.disk.delay = lambda random: 0.0
    world.wait(5.0)
    assert world.wal.queued_bytes == 0


def test_a_segment_is_closed_early_and_goes_when_room_is_wanted() -> None:
    world = World()
    world.wal._chain._segment_bytes_max = 1000
    for _ in range(5):
        world.write()
        world.wait(0.1)
    before = world.wal.files()
    world.wal.wants_room = True
    world.wal.make_room()
    world.wait(0.1)
    world.write()
    world.wait(1.5)
    assert world.wal.files() != before
    world.wal.settle()
    world.wait(1.5)
    assert world.durable == world.written
    assert world.lost == []
