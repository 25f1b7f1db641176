"""Goal: a directory that lacks a start that was seen is told from one that has it; nothing that a
healthy directory goes through makes it look like one that was set back.

Method: a disk in memory that loses its power before each step; a model of copies and restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.errors import BrokenDataDir, DiskFull, StartupError
from quorumcache.node.storage.start_record import (
    SEEN_FILE,
    STARTS_FILE,
    PeerStarts,
    count_start,
    encode_starts,
    read_starts,
)
from quorumcache.node.storage.starts import MARK_BYTES, MARKS_MAX, Starts
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing, PowerLoss
from tests.support.founding import disk_id

OWN, OTHER = disk_id(1), disk_id(2)


def fail(error: BaseException) -> None:
    raise AssertionError(error)


def new_disk() -> FakeDisk:
    disk = FakeDisk(VirtualLoop(), survival=Nothing())
    disk.make_dirs("d")
    disk.write(f"d/{STARTS_FILE}", encode_starts(OTHER, Starts()))
    return disk


def memory() -> PeerStarts:
    return PeerStarts(None, "", OWN, fail)


def started(count: int, starts: Starts = Starts(), seed: int = 1) -> Starts:  # noqa: B008
    random = Random(seed)
    for _ in range(count):
        starts = starts.next(random.getrandbits(63))
    return starts


def test_each_start_counts_and_leaves_its_mark() -> None:
    disk = new_disk()
    first = count_start(disk, "d", OTHER, 1)
    second = count_start(disk, "d", OTHER, 0x7000_0000_0000_0002)
    assert first == Starts(1, b"\0\0\0\1")
    assert second == Starts(2, b"\0\0\0\1\0\0\0\2")
    assert read_starts(disk, "d", OTHER) == second


def test_a_crash_while_a_start_is_counted_leaves_a_directory_that_is_believed() -> None:
    """Before any of the steps, once each. Whatever was counted and never told does no harm."""
    for steps in range(1, 12):
        disk = new_disk()
        seen = memory()
        seen.saw(OTHER, count_start(disk, "d", OTHER, 5))
        left = [steps]

        def step(
            name: str, path: str, disk: FakeDisk = disk, left: list[int] = left
        ) -> BaseException | None:
            left[0] -= 1
            if left[0] == 0:
                disk.crash(power=True)
                raise PowerLoss
            return None

        disk.before_step = step
        with contextlib.suppress(PowerLoss):
            count_start(disk, "d", OTHER, 6)
        disk.before_step = None
        starts = count_start(disk, "d", OTHER, 7)
        assert seen.why_set_back("a", "b", OTHER, starts) is None
        if left[0] > 0:
            return
    raise AssertionError("more steps than thought of")


def test_on_a_full_disk_a_start_goes_as_part_of_the_last_one() -> None:
    disk = new_disk()
    seen = memory()
    last = count_start(disk, "d", OTHER, 5)
    seen.saw(OTHER, last)
    disk.capacity_bytes = 0
    full = count_start(disk, "d", OTHER, 6)
    assert full == last
    assert seen.why_set_back("a", "b", OTHER, full) is None
    disk.capacity_bytes = None
    assert count_start(disk, "d", OTHER, 7).number == 2


@pytest.mark.parametrize("seed", range(40))
def test_no_sequence_of_crashes_and_full_disks_makes_a_healthy_directory_look_set_back(
    seed: int,
) -> None:
    """What is told is durable, also when it was written by a run that was killed before the sync
    and the disk is full since. (`step` ends what is under way, or says that there is no room.)
    """
    random = Random(seed)
    disk, seen = new_disk(), memory()
    for _ in range(25):
        left = [random.randrange(9)]
        fault = random.choice(["full", "killed", "power"])

        def step(
            name: str, path: str, left: list[int] = left, fault: str = fault
        ) -> BaseException | None:
            left[0] -= 1
            if left[0]:
                return None
            if fault == "full":
                return DiskFull("no space")
            disk.crash(power=fault == "power")
            raise PowerLoss

        disk.before_step = step
        with contextlib.suppress(PowerLoss, DiskFull):
            told = count_start(disk, "d", OTHER, random.getrandbits(63))
            if random.random() < 0.6:
                assert seen.why_set_back("a", "b", OTHER, told) is None
                seen.saw(OTHER, told)
        disk.before_step = None
        disk.crash(power=random.random() < 0.3)


@pytest.mark.parametrize("restarts", [0, 1, 2, 3, MARKS_MAX - 8])
def test_a_directory_set_back_is_refused_however_often_it_starts(restarts: int) -> None:
    seen = memory()
    copy = started(3)
    seen.saw(OTHER, started(2, copy))
    why = seen.why_set_back("a", "b", OTHER, started(restarts, copy, seed=9))
    assert why is not None
    assert "the data directory of node b" in why
    assert "Start node b with the directory as it was last, or leave it stopped" in why
    told = (
        "has a start 5 that is not the one that node a saw" if restarts >= 2 else "saw its start 5"
    )
    assert told in why


def test_a_directory_that_was_set_back_is_refused_when_its_marks_no_longer_tell() -> None:
    """A supervisor starts it for days. The right one is believed all the same."""
    seen = memory()
    copy = started(3)
    latest = started(2, copy)
    seen.saw(OTHER, latest)
    old = started(5, copy, seed=9)
    for _ in range(6):
        assert seen.why_set_back("a", "b", OTHER, old) is not None
        old = started(MARKS_MAX // 3, old, seed=10)
    assert seen.why_set_back("a", "b", OTHER, started(2 * MARKS_MAX, latest, seed=11)) is None


def test_a_healthy_directory_is_believed_however_long_it_was_not_seen() -> None:
    seen = memory()
    starts = started(2)
    seen.saw(OTHER, starts)
    for count in (0, 1, MARKS_MAX - 1, MARKS_MAX, 3 * MARKS_MAX):
        later = started(count, starts, seed=5)
        assert len(later.marks) <= MARK_BYTES * MARKS_MAX
        assert seen.why_set_back("a", "b", OTHER, later) is None


def test_a_node_that_keeps_nothing_is_believed() -> None:
    seen = memory()
    seen.saw(OTHER, Starts())
    assert seen.why_set_back("a", "b", OTHER, Starts()) is None


@given(st.lists(st.sampled_from(["start", "see", "copy", "set back"]), max_size=40))
def test_whoever_lacks_the_newest_start_that_was_seen_is_refused_and_nobody_else(
    steps: list[str],
) -> None:
    seen, random = memory(), Random(1)
    starts = copy = Starts().next(0)
    history = kept = (0,)
    newest_seen: int | None = None
    for number, step in enumerate(steps, 1):
        if step == "start":
            starts = starts.next(random.getrandbits(63))
            history = (*history, number)
        elif step == "copy":
            copy, kept = starts, history
        elif step == "set back":
            starts, history = copy, kept
        else:
            why = seen.why_set_back("a", "b", OTHER, starts)
            assert (why is None) == (newest_seen is None or newest_seen in history)
            if why is None:
                seen.saw(OTHER, starts)
                newest_seen = history[-1]


def test_what_was_seen_is_durable_and_a_full_disk_only_delays_it() -> None:
    disk = new_disk()
    seen = PeerStarts(disk, "d", OWN, fail)
    starts = started(4)
    disk.capacity_bytes = 0
    seen.saw(OTHER, started(2))
    settle(disk)
    assert not disk.exists(f"d/{SEEN_FILE}")
    disk.capacity_bytes = None
    seen.store_if_due()
    seen.saw(OTHER, starts)  # While the first is being written.
    settle(disk)
    disk.crash(power=True)
    again = PeerStarts(disk, "d", OWN, fail)
    assert again.why_set_back("a", "b", OTHER, started(3)) is not None
    assert again.why_set_back("a", "b", OTHER, starts) is None


def settle(disk: FakeDisk) -> None:
    disk.loop.run_until_complete(asyncio.sleep(1))  # type: ignore[attr-defined]


def test_files_that_are_damaged_or_of_another_directory_are_refused() -> None:
    disk = new_disk()
    with pytest.raises(BrokenDataDir, match="belongs to data directory"):
        read_starts(disk, "d", OWN)
    disk.write(f"d/{STARTS_FILE}", b"x" * 40)
    with pytest.raises(BrokenDataDir, match="checksum"):
        read_starts(disk, "d", OTHER)
    seen = PeerStarts(disk, "d", OWN, fail)
    seen.saw(OTHER, started(1))
    settle(disk)
    with pytest.raises(StartupError, match="belongs to data directory"):
        PeerStarts(disk, "d", OTHER, fail)
    disk.write(f"d/{SEEN_FILE}", b"\x93" * 40)
    with pytest.raises(StartupError, match=r"peers\.starts is damaged .* remove it"):
        PeerStarts(disk, "d", OWN, fail)
