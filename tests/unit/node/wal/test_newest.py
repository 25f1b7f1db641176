"""Goal: the note of the newest segment is whole, is never ahead of the log, and what it names is
missed when it is gone.
"""

from random import Random

import pytest

from quorumcache.node.consensus.values import HardState
from quorumcache.node.errors import DiskFailed, DiskFull, WalCorrupt, WrongDataDir
from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.newest import (
    NEWEST_FILE,
    NewestNote,
    NewestSegment,
    encode_newest,
    read_newest,
)
from quorumcache.node.wal.wal import Wal
from tests.support.fake_disk import FakeDisk
from tests.support.manual_loop import ManualLoop

NEWEST = NewestSegment(17, 0xABCDEF)


@pytest.fixture
def disk() -> FakeDisk:
    disk = FakeDisk(ManualLoop())
    disk.make_dirs("d/wal")
    return disk


def test_it_is_read_as_written_and_every_damaged_bit_is_refused(disk: FakeDisk) -> None:
    path = f"d/{NEWEST_FILE}"
    disk.put(path, encode_newest(NEWEST))
    assert read_newest(disk, "d") == NEWEST
    for bit in range(8 * len(encode_newest(NEWEST))):
        disk.flip_bit(path, bit)
        with pytest.raises(WrongDataDir, match=r"damaged log\.newest"):
            read_newest(disk, "d")
        disk.flip_bit(path, bit)


class Writes:
    """A disk of which the test says when a write is done."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.done: list = []

    def write_atomic(self, path, chunks, done) -> None:  # type: ignore[no-untyped-def]
        self.written.append(b"".join(chunks))
        self.done.append(done)


def test_one_write_is_under_way_and_the_last_segment_counts() -> None:
    disk, failed = Writes(), []
    note = NewestNote(disk, "d", failed.append)  # type: ignore[arg-type]
    for sequence in (1, 2, 3):
        note.begun(sequence, 7)
    assert disk.written == [encode_newest(NewestSegment(1, 7))]
    disk.done.pop()(None)
    assert disk.written[1:] == [encode_newest(NewestSegment(3, 7))]
    disk.done.pop()(None)
    assert not disk.done
    assert not failed


def test_a_full_disk_lets_the_note_lag_and_a_broken_one_ends_the_node() -> None:
    disk, failed = Writes(), []
    note = NewestNote(disk, "d", failed.append)  # type: ignore[arg-type]
    note.begun(1, 7)
    disk.done.pop()(DiskFull("full"))
    assert not failed
    note.begun(2, 7)
    assert disk.written[-1] == encode_newest(NewestSegment(2, 7))
    error = DiskFailed("broken")
    disk.done.pop()(error)
    assert failed == [error]


def written_log(disk: FakeDisk) -> list[NewestSegment]:
    """A log whose first segment holds one record; what it told of its segments."""
    begun: list[NewestSegment] = []
    wal, _ = Wal.open(disk, "d/wal", cluster_id="c", node_id=1, loop=disk.loop, random=Random(1))
    wal.on_segment = lambda sequence, salt: begun.append(NewestSegment(sequence, salt))
    wal.append([WalRecord(1, HardState(1, 0))], lambda: None)
    assert not begun, "told before it is durable"
    disk.loop.run()
    wal.append([WalRecord(1, HardState(2, 0))], lambda: None)
    disk.loop.run()
    return begun


def test_a_segment_is_told_of_once_when_its_first_frame_is_durable(disk: FakeDisk) -> None:
    begun = written_log(disk)
    assert [newest.sequence for newest in begun] == [1]
    Wal.open(disk, "d/wal", cluster_id="c", node_id=1, newest=begun[0], loop=disk.loop)


@pytest.mark.parametrize(
    ("by", "told"), [((1, 0), "is missing or holds no whole frame"), ((0, 1), "set back")]
)
def test_a_log_that_does_not_hold_the_noted_segment_is_refused(
    disk: FakeDisk, by: tuple[int, int], told: str
) -> None:
    begun = written_log(disk)[0]
    noted = NewestSegment(begun.sequence + by[0], begun.salt + by[1])
    with pytest.raises(WalCorrupt, match=told):
        Wal.open(disk, "d/wal", cluster_id="c", node_id=1, newest=noted, loop=disk.loop)
