"""The segment files of a log: the next one, and which may go. With frames: test_wal.py."""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.errors import DiskFull
from quorumcache.node.wal.chain import ROTATED_SHARE, SegmentChain
from quorumcache.node.wal.format import Mark, MarkKind
from tests.support.fake_disk import FakeDisk
from tests.support.manual_loop import ManualLoop

SEGMENT_BYTES = 2000


class Files:
    """A chain on a disk in memory."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.disk = FakeDisk(self.loop, Random(1))
        self.chain = SegmentChain(
            self.disk.mount(),
            "w",
            cluster_id="c",
            node_id=1,
            segments=[],
            last_sequence=0,
            durable_bases={},
            segment_bytes_max=SEGMENT_BYTES,
            wal_bytes_max=2000,
            random=Random(2),
        )
        self.disk.make_dirs("w")
        self.told: list[BaseException | None] = []

    def roll(self) -> None:
        self.chain.create(self.told.append)
        self.loop.run()
        assert self.chain.roll() is not None

    def write(self, size: int = 100, **last_indexes: int) -> None:
        """A frame with entries of groups: `g1=5` is group 1 up to entry 5."""
        assert self.chain.file is not None
        self.chain.file.append(bytes(size), lambda error: None)
        self.loop.run()
        segment = self.chain.frame_written()
        segment.last_indexes.update({int(name[1:]): last for name, last in last_indexes.items()})

    def compact(self, group: int, index: int) -> None:
        self.chain.marks_durable([], [Mark(group, MarkKind.COMPACTED, index, 1)])
        self.chain.remove_covered()
        self.loop.run()


@pytest.fixture
def files() -> Files:
    return Files()


def test_a_segment_counts_once_its_first_frame_is_durable(files: Files) -> None:
    assert not files.chain.takes_more()
    assert files.chain.roll() is None, "it has to be created first"
    files.roll()
    assert files.chain.takes_more()
    assert files.chain.files() == []
    files.write()
    assert files.chain.files() == ["w/0000000001.wal"]
    assert files.chain.previous_end == files.chain.bytes_total > 100


def test_one_segment_is_created_at_a_time(files: Files) -> None:
    for _ in range(3):
        files.chain.create(files.told.append)
    files.loop.run()
    assert files.told == [None]
    assert files.disk.paths() == ["w/0000000001.wal"]


def test_no_second_one_is_created_while_one_waits_for_its_first_frame(files: Files) -> None:
    """It would take the place of the first one, which would stay behind without a frame."""
    for _ in range(2):
        files.chain.create(files.told.append)
        files.loop.run()
    assert files.told == [None]
    assert files.disk.paths() == ["w/0000000001.wal"]
    assert files.chain.roll() is not None
    files.write()
    assert files.chain.files() == ["w/0000000001.wal"]


def test_a_segment_that_could_not_be_created_is_tried_under_the_same_number(files: Files) -> None:
    files.disk.capacity_bytes = 10
    files.chain.create(files.told.append)
    files.loop.run()
    assert isinstance(files.told[0], DiskFull)
    assert files.chain.spare is None
    files.disk.capacity_bytes = None
    files.roll()
    assert files.disk.paths() == ["w/0000000001.wal"]


def test_the_next_one_is_due_at_half_and_taken_when_full(files: Files) -> None:
    files.roll()
    files.write(700)
    assert not files.chain.is_half_full()
    files.write(200)
    assert files.chain.is_half_full()
    assert files.chain.takes_more()
    files.write(1000)
    assert not files.chain.takes_more()


def test_old_segments_go_once_no_group_needs_them(files: Files) -> None:
    files.roll()
    files.write(g1=5, g2=3)
    files.roll()
    files.write(g1=9)
    files.write()
    files.compact(1, 5)
    assert len(files.chain.segments) == 2, "group 2 has no snapshot"
    files.compact(2, 3)
    assert files.chain.files() == files.disk.paths() == ["w/0000000002.wal"]
    assert not files.chain.wants_removal


def test_the_one_before_stays_while_the_newest_has_one_frame(files: Files) -> None:
    files.roll()
    files.write(g1=5)
    files.roll()
    files.write()
    files.compact(1, 5)
    assert len(files.chain.segments) == 2
    assert files.chain.wants_removal
    files.write()
    files.chain.remove_covered()
    files.loop.run()
    assert len(files.chain.segments) == 1


def test_entries_that_were_overwritten_hold_nothing(files: Files) -> None:
    files.roll()
    files.write(g1=5)
    files.roll()
    files.write(g1=3)
    files.chain.marks_durable([(1, 2)], [])
    old, new = files.chain.segments
    assert old.last_indexes == {1: 2}
    assert new.last_indexes == {1: 3}, "what overwrote them counts"


def test_a_forgotten_group_has_no_snapshot_any_more(files: Files) -> None:
    files.chain.marks_durable([], [Mark(1, MarkKind.INSTALLED, 5, 1)])
    assert files.chain.durable_bases == {1: 5}
    files.chain.marks_durable([], [Mark(1, MarkKind.FORGOTTEN, 0, 0)])
    assert files.chain.durable_bases == {}


def test_who_holds_segments_back(files: Files) -> None:
    files.roll()
    files.write(g2=5, g1=4)
    files.roll()
    files.write(g3=1)
    files.roll()
    files.write(g4=1)
    assert files.chain.pinned_groups(wants_room=False) == [], "the log is short"
    assert files.chain.pinned_groups(wants_room=True) == [1, 2, 3]
    files.write(1500)
    assert files.chain.pinned_groups(wants_room=False) == [1, 2]


def test_a_segment_worth_it_is_closed_early(files: Files) -> None:
    assert not files.chain.close_early()
    files.roll()
    assert not files.chain.close_early(), f"less than one in {ROTATED_SHARE}"
    files.write(SEGMENT_BYTES // ROTATED_SHARE)
    assert files.chain.close_early(), "a spare has to be created"
    assert files.chain.takes_more(), "until it is there"
    files.chain.create(files.told.append)
    files.loop.run()
    assert not files.chain.takes_more()
    files.chain.roll()
    assert files.chain.takes_more()
