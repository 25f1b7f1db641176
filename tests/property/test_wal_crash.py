"""One life of a log, with a crash before every step of the disk and everything that may survive,
and with every single bit turned over."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from quorumcache.node.errors import SnapshotCorrupt, WalCorrupt, WrongDataDir
from quorumcache.node.wal import queue
from quorumcache.node.wal.format import SEGMENT_HEADER_BYTES
from tests.support.fake_disk import FakeDisk, Nothing, PowerLoss, Survival, sectors
from tests.support.log_host import LogHost
from tests.support.manual_loop import ManualLoop


class Stop(Exception):
    """Ends a life at the step where it is to crash."""


class Prefix(Survival):
    """Of every unsynced write the first bytes survive; of the name changes all, or none."""

    def __init__(self, byte_count: int, has_names: bool) -> None:
        super().__init__(Random(0))
        self.byte_count = byte_count
        self.has_names = has_names

    def pieces(self, offset: int, data: bytes) -> list[tuple[int, bytes]]:
        return [(offset, data[: self.byte_count])]

    def cut(self) -> bool:
        return self.has_names

    def names(self, count: int) -> int:
        return count if self.has_names else 0


class WithoutSector(Survival):
    """Of every unsynced write one sector is lost: the disk has reordered them."""

    def __init__(self, lost: int) -> None:
        super().__init__(Random(0))
        self.lost = lost

    def pieces(self, offset: int, data: bytes) -> list[tuple[int, bytes]]:
        pieces = sectors(offset, data)
        del pieces[self.lost : self.lost + 1]
        return pieces

    def names(self, count: int) -> int:
        return count


def live(host: LogHost, loop: ManualLoop) -> Iterator[int]:
    """All there is: several groups, segments, overwrites, both kinds of snapshots, a farewell.

    Yields whenever everything handed in is durable.
    """
    host.start()
    host.append(1, 2)
    host.append(2)
    yield loop.run()
    host.vote(1)
    host.overwrite(1, 1, 2)
    host.append(2, 3)
    loop.run(2)
    host.snapshot(1, 1)
    host.append(1)
    yield loop.run()
    host.install(2, 4)
    host.append(1, 2)
    yield loop.run()
    host.append(2, 2)
    host.snapshot(2)
    host.snapshot(1)
    yield loop.run()
    host.install(1, -1)
    yield loop.run()
    host.append(1)
    host.forget(2)
    yield loop.run()
    host.append(2)
    yield loop.run()
    host.append(2)
    yield loop.run()


def life_until(
    step: int, *, zero_ahead_bytes: int = 0, payload_bytes: int = 10
) -> tuple[FakeDisk, LogHost]:
    """Disk and host as they are right before the given step; step 0 is the end."""
    loop = ManualLoop()
    disk = FakeDisk(loop, survival=Nothing(), zero_ahead_bytes=zero_ahead_bytes)
    host = LogHost(disk, loop, segment_bytes_max=400)
    host.payload_bytes = payload_bytes

    def before_step(name: str, path: str) -> None:
        if disk.steps == step:
            raise Stop

    disk.before_step = before_step
    try:
        for _ in live(host, loop):
            pass
    except Stop:
        pass
    else:
        assert step == 0, "there are not so many steps"
    disk.before_step = None
    return disk, host


def step_count() -> int:
    return life_until(0)[0].steps


def unsynced_bytes_max(disk: FakeDisk) -> int:
    return max(
        (len(data or b"") for inode in disk.inodes() for _, data in inode.unsynced), default=0
    )


def outcomes(disk: FakeDisk) -> Iterator[Survival]:
    """Everything that may be left of the one write that is under way."""
    byte_count = unsynced_bytes_max(disk)
    for has_names in (False, True):
        for count in range(byte_count + 1):
            yield Prefix(count, has_names)


def restart(disk: FakeDisk, host: LogHost, survival: Survival, *, power: bool = True) -> LogHost:
    copy = disk.copy(ManualLoop(), survival)
    copy.crash(power=power)
    again = host.copy(copy)
    again.start()
    return again


def test_crash_before_every_step_with_every_prefix_of_the_unsynced_write() -> None:
    """The restart must find a state between all that was durable and all that was handed in."""
    images = 0
    for step in range(1, step_count() + 1):
        disk, host = life_until(step)
        restart(disk, host, Nothing(), power=False)
        for survival in outcomes(disk):
            restart(disk, host, survival)
            images += 1
    assert images > 1000


def test_crash_between_frames_of_what_was_handed_in_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every item has a frame and a sync of its own: what is told of a batch too early is lost."""
    in_one_frame = step_count()
    # A compiled module has these built in: then this is the life of the other tests.
    monkeypatch.setattr(queue, "FRAME_PAYLOAD_BYTES", 1)
    monkeypatch.setattr(queue, "FRAME_RECORDS_UNCOUNTED", 0)
    steps = step_count()
    assert steps > in_one_frame or not queue.__file__.endswith(".py")
    for step in range(1, steps + 1):
        disk, host = life_until(step)
        restart(disk, host, Nothing())


def test_crash_with_lost_sectors_in_the_middle_of_a_write() -> None:
    """Frames of several sectors, files filled with zeros ahead; each sector in turn is lost."""
    for step in range(1, step_count() + 1):
        disk, host = life_until(step, zero_ahead_bytes=900, payload_bytes=700)
        for lost in range(unsynced_bytes_max(disk) // 512 + 1):
            restart(disk, host, WithoutSector(lost))


def test_crash_before_every_step_of_a_recovery() -> None:
    """A second crash while the first one is being repaired; then a third start, which must find
    what the second might have believed."""
    for step in range(1, step_count() + 1):
        disk, host = life_until(step)
        for first in (Nothing(), Prefix(25, True), Prefix(1 << 20, True)):
            repair = 1
            while crash_in_recovery(disk, host, first, repair):
                repair += 1


def crash_in_recovery(disk: FakeDisk, host: LogHost, first: Survival, repair: int) -> bool:
    copy = disk.copy(ManualLoop(), first)
    copy.crash()

    def before_step(name: str, path: str) -> None:
        if copy.steps == repair:
            copy.crash()

    copy.before_step = before_step
    try:
        host.copy(copy).start()
        return False
    except PowerLoss:
        copy.before_step = None
        host.copy(copy).start()
        return True


def test_what_a_start_has_believed_survives_the_next_power_loss() -> None:
    """A process dies with bytes written and not synced. The next one reads them, so it must make
    them durable: then the power fails, with everything unsynced lost."""
    for step in range(1, step_count() + 1):
        disk, host = life_until(step)
        copy = disk.copy(ManualLoop(), Nothing())
        copy.crash(power=False)
        again = host.copy(copy)
        again.start()
        copy.crash()
        again.start()


def test_every_bit_turned_over_is_refused_or_harmless() -> None:
    """The only synced frame that a flipped bit may take away is the very last one, which nothing
    written later vouches for. Everything else is refused, or changes nothing."""
    refused = harmless = lost = 0
    for disk, host in quiet_moments():
        newest = max(path for path in disk.paths() if path.endswith(".wal") and in_use(disk, path))
        for path in disk.paths():
            for bit in range(8 * len(disk.read(path))):
                copy = disk.copy(ManualLoop(), Nothing())
                copy.flip_bit(path, bit)
                try:
                    host.copy(copy).start()
                except (WalCorrupt, SnapshotCorrupt, WrongDataDir):
                    refused += 1
                except AssertionError:
                    assert path == newest, (path, bit)
                    lost += 1
                    again = host.copy(copy)
                    again.durable_count = host.durable_before_last_sync
                    again.start()
                else:
                    harmless += 1
    assert refused > 20 * lost > 0
    # Not every turned bit has to show: the last frame may hold nothing but a mark, which the
    # snapshot repeats. In a file that was created ahead, zeros may turn into a torn tail.
    assert refused > 20 * harmless


def quiet_moments() -> list[tuple[FakeDisk, LogHost]]:
    """Moments of the life at which everything handed in is durable."""
    loop = ManualLoop()
    disk = FakeDisk(loop, survival=Nothing())
    host = LogHost(disk, loop, segment_bytes_max=400)
    moments = []
    for _ in live(host, loop):
        copy = disk.copy(ManualLoop(), Nothing())
        moments.append((copy, host.copy(copy)))
    return moments


def in_use(disk: FakeDisk, path: str) -> bool:
    return any(disk.read(path)[SEGMENT_HEADER_BYTES:])


def test_life_ends_as_planned() -> None:
    """The life above does all that it says: several segments, removal, both snapshots."""
    disk, host = life_until(0)
    segments = [path for path in disk.paths() if path.endswith(".wal")]
    assert segments[0] != "d/wal/0000000001.wal"
    assert len(segments) >= 2
    assert host.durable_count == len(host.items)
    assert not host.failed
