"""Whether the data directory is still the one that the node works in."""

from collections.abc import Callable, Sequence
from typing import Any

from quorumcache.node.errors import DataDirLost
from quorumcache.node.housekeeping.data_dir_watch import LOOK_NS, DataDirWatch
from quorumcache.node.storage.disk import DiskReport, DiskSpace
from tests.support.scripted_log import ManualClock

SPACE = DiskSpace(1 << 30, 1 << 30)


class World:
    """A watch whose looks the test answers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.stopped = False
        self.present = ["d/identity", "d/wal/1"]
        self.looks: list[tuple[list[str], Callable[[DiskReport], None]]] = []
        self.lost: list[BaseException] = []
        self.reports: list[DiskReport] = []
        me: Any = self
        self.watch = DataDirWatch(
            clock=self.clock,
            disk=me,
            host=me,
            files=lambda: self.present,
            on_lost=self.lost.append,
            on_report=self.reports.append,
        )

    def look(self, paths: Sequence[str], done: Callable[[DiskReport], None]) -> None:
        self.looks.append(([*paths], done))

    def answer(self, missing: str = "") -> None:
        _, done = self.looks.pop(0)
        done(DiskReport(SPACE, missing, 100))


def test_looks_keep_their_distance_and_never_overlap() -> None:
    world = World()
    world.watch.tick()
    world.watch.tick()
    assert [paths for paths, _ in world.looks] == [["d/identity", "d/wal/1"]]
    world.clock.ns = 5 * LOOK_NS
    world.watch.tick()
    assert len(world.looks) == 1, "the disk has not answered yet"
    world.answer()
    world.watch.tick()
    assert len(world.looks) == 1
    world.answer()
    world.clock.ns = 6 * LOOK_NS - 1
    world.watch.tick()
    assert world.looks == []
    world.clock.ns += 1
    world.watch.tick()
    assert len(world.looks) == 1
    assert len(world.reports) == 2
    assert world.lost == []


def test_a_missing_file_ends_the_node_and_is_named() -> None:
    world = World()
    world.watch.tick()
    world.answer("d/wal/1")
    (error,) = world.lost
    assert isinstance(error, DataDirLost)
    assert "d/wal/1" in str(error)
    assert world.reports == []


def test_a_directory_that_was_replaced_ends_the_node() -> None:
    """The disk names what is no longer the same although nobody asked for it: the lock."""
    world = World()
    world.watch.tick()
    world.answer("d/lock")
    assert len(world.lost) == 1


def test_what_the_node_removed_itself_during_a_look_is_not_missing() -> None:
    world = World()
    world.watch.tick()
    world.present = ["d/identity", "d/wal/2"]
    world.answer("d/wal/1")
    assert world.lost == []
    assert len(world.reports) == 1


def test_an_answer_after_the_stop_is_ignored() -> None:
    world = World()
    world.watch.tick()
    world.stopped = True
    world.answer("d/wal/1")
    assert (world.lost, world.reports) == ([], [])
