"""The log while it is written."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from quorumcache.node.clock import SystemClock
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    HardState,
    SnapshotMeta,
)
from quorumcache.node.errors import DiskFailed
from quorumcache.node.storage.snapshots import SnapshotStore
from quorumcache.node.wal.queue import FRAME_PAYLOAD_BYTES, FRAME_RECORDS_UNCOUNTED
from quorumcache.node.wal.wal import Wal, WalRecord
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.manual_loop import ManualLoop

META = Configuration((1, 2, 3))


def record(group: int, first: int, count: int = 1, *, size: int = 10, term: int = 1) -> WalRecord:
    entries = tuple(Entry(first + i, term, 0, bytes(size)) for i in range(count))
    return WalRecord(group, HardState(term, 1), entries)


class Log:
    """A log on a disk in memory, and what it called back."""

    def __init__(self, **options: int) -> None:
        self.loop = ManualLoop()
        self.disk = FakeDisk(self.loop, Random(1), survival=Nothing())
        self.steps: list[str] = []
        self.disk.before_step = self._step
        self.options = options
        self.open()

    def _step(self, step: str, path: str) -> None:
        self.steps.append(step)

    def open(self, snapshots: dict[int, SnapshotMeta] | None = None) -> dict[int, list[int]]:
        self.called: list[str] = []
        self.full: list[bool] = []
        self.failed: list[BaseException] = []
        self.wal, groups = Wal.open(
            self.disk.mount(),
            "w",
            cluster_id="c",
            node_id=1,
            loop=self.loop,
            snapshots=snapshots,
            **self.options,
        )
        self.wal.on_full = self.full.append
        self.wal.on_failed = self.failed.append
        return {group: [entry.index for entry in state.entries] for group, state in groups.items()}

    def append(self, name: str, *records: WalRecord) -> None:
        self.wal.append(list(records), lambda: self.called.append(name))

    def run(self) -> None:
        self.loop.run()

    def segments(self) -> list[str]:
        return [path[2:] for path in self.disk.paths() if path.endswith(".wal")]


@pytest.fixture
def log() -> Log:
    return Log()


def test_called_back_after_the_sync_and_not_before(log: Log) -> None:
    log.append("first", record(1, 1))
    log.run()
    log.steps.clear()
    log.append("a", record(1, 2))
    while log.called == ["first"]:
        assert "sync" not in log.steps or log.steps[-1] == "sync"
        assert log.loop.run(steps_max=1) == 1
    assert log.steps == ["write", "sync"]
    log.disk.crash()
    assert log.open() == {1: [1, 2]}


def test_what_arrives_during_a_sync_is_one_next_write(log: Log) -> None:
    log.append("a", record(1, 1))
    log.run()
    log.steps.clear()
    log.append("b", record(1, 2))
    for index in range(3, 10):
        log.append(str(index), record(1, index), record(2, index - 2))
    log.run()
    assert log.steps == ["write", "sync"] * 2
    assert log.called == ["a", "b", *map(str, range(3, 10))]
    assert log.wal.sync_count == 3


def test_append_without_records_waits_for_those_before(log: Log) -> None:
    log.append("nothing yet")
    log.run()
    assert log.called == ["nothing yet"]
    log.append("a", record(1, 1))
    log.append("empty")
    assert log.called == ["nothing yet"]
    log.run()
    assert log.called == ["nothing yet", "a", "empty"]


def test_callback_may_append(log: Log) -> None:
    def again() -> None:
        log.called.append("a")
        log.append("b", record(1, 2))

    log.wal.append([record(1, 1)], again)
    log.run()
    assert log.called == ["a", "b"]


def test_long_queue_is_cut_into_frames(log: Log) -> None:
    size = FRAME_PAYLOAD_BYTES // FRAME_RECORDS_UNCOUNTED
    log.append("first", record(1, 1))
    log.run()
    count = 2 * FRAME_RECORDS_UNCOUNTED + 10
    for index in range(2, 2 + count):
        log.append(str(index), record(1, index, size=size))
    log.run()
    assert log.wal.sync_count == 5  # Two as they found the disk idle, two full ones, the rest.
    assert log.called == ["first", *map(str, range(2, 2 + count))]
    log.disk.crash()
    assert len(log.open()[1]) == count + 1


def test_entries_that_do_not_follow_are_a_failure(log: Log) -> None:
    log.append("a", record(1, 1))
    log.run()
    log.append("b", record(1, 3))
    log.run()
    assert log.called == ["a"]
    assert len(log.failed) == 1


# --- faults


def test_full_disk_holds_the_batch_and_goes_on_by_itself() -> None:
    log = Log(retry_ms=500)
    log.append("a", record(1, 1))
    log.run()
    log.disk.capacity_bytes = sum(len(log.disk.read(path)) for path in log.disk.paths()) + 20
    size = log.wal.bytes_total
    log.append("b", record(1, 2))
    log.append("c", record(1, 3))
    log.loop.run(until=2.2)
    assert log.called == ["a"]
    assert log.full == [True]
    assert log.wal.queued_count == 1
    assert len(log.disk.read("w/0000000001.wal")) == size, "cut back to the last good offset"
    log.disk.capacity_bytes = None
    log.run()
    assert log.called == ["a", "b", "c"]
    assert log.full == [True, False]
    assert log.failed == []
    log.disk.crash()
    assert log.open() == {1: [1, 2, 3]}


def test_full_disk_while_a_segment_is_created(log: Log) -> None:
    log.disk.capacity_bytes = 130
    log.append("a", record(1, 1))
    log.loop.run(until=5.0)
    assert log.full == [True]
    log.disk.capacity_bytes = None
    log.run()
    assert log.called == ["a"]
    assert log.full == [True, False]


def test_full_disk_while_a_segment_is_created_ahead() -> None:
    """Nothing to report as long as the current one takes more."""
    log = Log(segment_bytes_max=400)
    log.append("a", record(1, 1, size=100))
    log.disk.capacity_bytes = 500
    log.run()
    assert (log.called, log.full) == (["a"], [])
    log.disk.capacity_bytes = None
    log.append("b", record(1, 2, size=200))
    log.append("c", record(1, 3))
    log.run()
    assert (log.called, log.full) == (["a", "b", "c"], [])
    assert log.segments() == ["0000000001.wal", "0000000002.wal"]


def held_without_descriptors() -> Log:
    """A log whose segment is full, and which cannot open the next one that a batch waits for."""
    log = Log(segment_bytes_max=400, retry_ms=500)
    log.append("a", record(1, 1))
    log.run()
    log.disk.descriptors_left = 0
    log.append("b", record(1, 2, size=400))
    log.append("c", record(1, 3))
    log.loop.run(until=log.loop.now + 0.1)
    assert (log.called, log.full) == (["a", "b"], [True])
    return log


@pytest.mark.parametrize("meanwhile", ["append", "mark", "room", "retry", "nothing"])
@pytest.mark.parametrize("size", [10, 250, 400])
def test_a_segment_that_was_waited_for_leaves_no_empty_one_behind(
    meanwhile: str, size: int
) -> None:
    """The descriptors are back before the log tries again by itself, and something else has the
    segment created. The later try must not create another one in front of the one that is used."""
    log = held_without_descriptors()
    log.disk.descriptors_left = 1000
    indexes = [1, 2, 3]
    match meanwhile:
        case "append":
            indexes.append(4)
            log.append("d", record(1, 4))
        case "mark":
            log.wal.forget(9, lambda: None)
        case "room":
            log.wal.make_room()
        case "retry":
            log.wal.retry()
    log.loop.run(until=log.loop.now + 0.1)
    for _ in range(3):  # Each fills the next segment to another part, before and after the retry.
        indexes.append(indexes[-1] + 1)
        log.append("more", record(1, indexes[-1], size=size))
        log.loop.run(until=log.loop.now + 0.1)
    log.run()
    assert log.full == [True, False]
    for index in range(indexes[-1] + 1, indexes[-1] + 5):
        indexes.append(index)
        log.append("more", record(1, index, size=size))
        log.run()
    assert len(log.called) == len(indexes)
    log.disk.crash(power=False)
    assert log.open() == {1: indexes}


def test_room_that_is_made_lets_go_what_is_held_and_its_timer() -> None:
    log = held_without_descriptors()
    log.disk.descriptors_left = 1000
    log.wal.make_room()
    log.loop.run(until=log.loop.now + 0.1)
    assert log.called == ["a", "b", "c"]
    log.run()
    assert log.segments() == ["0000000001.wal", "0000000002.wal"], "the third is not due yet"


def test_what_comes_while_a_batch_is_held_does_not_ask_the_disk_again() -> None:
    log = held_without_descriptors()
    refused = log.disk.opens_refused
    for index in range(4, 9):
        log.append(str(index), record(1, index))
        log.wal.forget(9, lambda: None)
        log.loop.run(until=log.loop.now + 0.02)
    assert log.disk.opens_refused == refused
    log.loop.run(until=log.loop.now + 10 * 0.5)
    assert refused < log.disk.opens_refused <= refused + 11, "one try every half second"
    log.disk.descriptors_left = 1000
    log.run()
    assert log.called == ["a", "b", "c", *"45678"]


def test_failed_sync_ends_it(log: Log) -> None:
    """Never retried: the kernel may have dropped the pages, and would call the next sync good."""
    log.append("a", record(1, 1))
    log.run()
    log.disk.failing_syncs = 1
    log.append("b", record(1, 2))
    log.append("c", record(1, 3))
    log.run()
    assert log.called == ["a"]
    assert [type(error) for error in log.failed] == [DiskFailed]
    log.append("d", record(1, 4))
    log.wal.compacted(1, 1, 1)
    log.run()
    assert log.called == ["a"]
    assert len(log.failed) == 1
    log.disk.crash()
    assert log.open() == {1: [1]}


def test_what_a_start_finds_of_a_failed_sync_survives_the_next_power_loss(log: Log) -> None:
    """The bytes are still there to read, as clean pages: a further sync alone would pass them over,
    and entries that a start has believed, and acknowledged since, would go with the power."""
    log.append("a", record(1, 1))
    log.run()
    log.disk.failing_syncs = 1
    log.append("b", record(1, 2))
    log.run()
    log.disk.crash(power=False)
    assert log.open() == {1: [1, 2]}
    log.disk.crash(power=True)
    assert log.open() == {1: [1, 2]}


def test_failed_sync_of_a_new_segment_ends_it(log: Log) -> None:
    log.disk.failing_syncs = 1
    log.append("a", record(1, 1))
    log.run()
    assert log.called == []
    assert [type(error) for error in log.failed] == [DiskFailed]


# --- segments


def save(log: Log, group: int, index: int, *, term: int = 1) -> SnapshotMeta:
    meta = SnapshotMeta(index, term, META)
    SnapshotStore(log.disk, "s").save(group, meta, (b"",), lambda error: None)
    log.run()
    return meta


def fill(log: Log, group: int, first: int, last: int) -> None:
    for index in range(first, last + 1):
        log.append(f"{group}.{index}", record(group, index, size=100))
        log.run()


def test_segments_go_when_every_group_has_a_snapshot_past_them() -> None:
    log = Log(segment_bytes_max=500)
    fill(log, 2, 1, 1)
    fill(log, 1, 1, 12)
    before = log.segments()
    assert len(before) > 3
    log.wal.compacted(1, 11, 1)
    log.run()
    assert log.segments() == before, "group 2 still needs the first one"
    log.wal.compacted(2, 1, 1)
    log.run()
    after = log.segments()
    assert 2 <= len(after) < len(before)
    log.disk.crash()
    snapshots = {1: SnapshotMeta(11, 1, META), 2: SnapshotMeta(1, 1, META)}
    assert log.open(snapshots) == {1: [12], 2: []}
    assert log.wal.queued_count == 0


def test_marks_of_removed_segments_are_kept() -> None:
    log = Log(segment_bytes_max=500)
    fill(log, 2, 1, 1)
    log.wal.compacted(2, 1, 1)
    fill(log, 1, 1, 12)
    log.wal.compacted(1, 11, 1)
    fill(log, 1, 13, 14)
    assert log.segments()[0] > "0000000002.wal"
    log.disk.crash()
    snapshots = {1: SnapshotMeta(11, 1, META), 2: SnapshotMeta(1, 1, META)}
    assert log.open(snapshots) == {1: [12, 13, 14], 2: []}
    assert log.wal.queued_count == 0, "the snapshots are no news to the log"


def test_votes_of_removed_segments_are_kept() -> None:
    log = Log(segment_bytes_max=500)
    log.append("vote", WalRecord(7, HardState(9, 3)))
    fill(log, 1, 1, 12)
    log.wal.compacted(1, 11, 1)
    log.run()
    fill(log, 1, 13, 13)
    assert "0000000001.wal" not in log.segments()
    log.disk.crash()
    _, groups = Wal.open(
        log.disk, "w", cluster_id="c", node_id=1, snapshots={1: SnapshotMeta(11, 1, META)}
    )
    assert groups[7].hard_state == HardState(9, 3)


def test_pinned_groups_are_those_that_hold_the_oldest_segment() -> None:
    log = Log(segment_bytes_max=500, wal_bytes_max=1500)
    fill(log, 2, 1, 1)
    fill(log, 3, 1, 1)
    fill(log, 1, 1, 4)
    assert log.wal.pinned_groups() == [], "the log is not too long yet"
    fill(log, 1, 5, 12)
    assert log.wal.bytes_total > 1500
    assert log.wal.pinned_groups() == [1, 2, 3]
    log.wal.compacted(1, 11, 1)
    log.wal.compacted(3, 1, 1)
    log.run()
    assert log.wal.pinned_groups() == [2]
    log.wal.compacted(2, 1, 1)
    log.run()
    assert log.wal.pinned_groups() == []


def test_forgotten_group_holds_nothing_back() -> None:
    log = Log(segment_bytes_max=500)
    fill(log, 2, 1, 1)
    fill(log, 1, 1, 12)
    log.wal.compacted(1, 11, 1)
    log.run()
    log.wal.forget(2, lambda: log.called.append("forgotten"))
    log.run()
    assert log.called[-1] == "forgotten"
    assert "0000000001.wal" not in log.segments()
    log.disk.crash()
    assert log.open({1: SnapshotMeta(11, 1, META)}) == {1: [12]}


def test_it_tells_the_hard_state_of_a_group_until_that_is_forgotten(log: Log) -> None:
    assert log.wal.hard_state(2) == HardState(0, 0)
    log.append("a", record(2, 1, term=3))
    log.run()
    log.disk.crash()
    log.open()
    assert log.wal.hard_state(2) == HardState(3, 1)
    log.wal.forget(2, lambda: None)
    log.run()
    assert log.wal.hard_state(2) == HardState(0, 0)


def test_overwritten_entries_hold_nothing_back() -> None:
    """Entries 2 to 5 of the first segment are replaced; a snapshot at 1 covers what is left."""
    log = Log(segment_bytes_max=500)
    log.append("old", record(1, 1, 5, size=100))
    log.run()
    log.append("new", record(1, 2, size=400, term=2))
    log.run()
    log.append("more", record(1, 3, size=400, term=2))
    log.append("more", record(1, 4, size=400, term=2))
    log.run()
    log.wal.compacted(1, 1, 1)
    log.append("last", WalRecord(1, HardState(3, 1)))
    log.run()
    assert "0000000001.wal" not in log.segments()
    log.disk.crash()
    assert log.open({1: SnapshotMeta(1, 1, META)}) == {1: [2, 3, 4]}


def test_entries_hold_a_segment_until_what_overwrites_them_is_durable() -> None:
    log = Log(segment_bytes_max=500)
    log.append("old", record(1, 1, 5, size=100))
    log.run()
    for term in (2, 3):
        log.append("vote", WalRecord(1, HardState(term, 1)))
        log.run()
    log.wal.compacted(1, 1, 1)  # Goes out at once, and the next one waits for it.
    log.append("new", record(1, 2, term=3))
    log.loop.run(steps_max=2)
    log.disk.failing_syncs = 1
    log.run()
    assert len(log.failed) == 1
    log.disk.crash()
    assert log.open({1: SnapshotMeta(1, 1, META)}) == {1: [2, 3, 4, 5]}


def test_segments_stay_until_the_mark_that_frees_them_is_durable() -> None:
    """A snapshot comes from a leader whose log is another. Until the log says so, only the old
    entry at its index tells that what follows here does not follow the snapshot."""
    log = Log(segment_bytes_max=500)
    log.append("old", record(1, 1, 5, size=100))
    log.run()
    log.append("follows", record(1, 6))
    log.run()
    log.append("vote", WalRecord(1, HardState(2, 0)))
    log.wal.installed(1, 5, 2)
    log.loop.run(steps_max=2)
    log.disk.failing_syncs = 1
    log.run()
    assert (log.called[-1], len(log.failed)) == ("vote", 1)
    log.disk.crash()
    assert log.open({1: SnapshotMeta(5, 2, META)}) == {1: []}


def test_log_goes_on_behind_a_snapshot_that_it_had_not_heard_of(log: Log) -> None:
    """Crash between a snapshot's rename and its mark: the start makes up for the mark."""
    log.append("a", record(1, 1, 5))
    log.run()
    snapshots = {1: SnapshotMeta(100, 3, META)}
    log.disk.crash()
    assert log.open(snapshots) == {1: []}
    log.append("b", record(1, 101, term=3))
    log.run()
    assert log.failed == []
    log.disk.crash()
    assert log.open(snapshots) == {1: [101]}


def test_segment_stays_until_the_newest_one_has_two_frames() -> None:
    """Nothing vouches for the very last frame: with a head in it, it must not be all there is."""
    log = Log(segment_bytes_max=300)
    log.append("a", record(1, 1, size=300))
    log.run()
    log.wal.compacted(1, 1, 1)
    log.run()
    assert log.segments()[:2] == ["0000000001.wal", "0000000002.wal"]
    log.append("b", WalRecord(1, HardState(2, 1)))
    log.run()
    assert log.segments()[0] == "0000000002.wal"


def test_installed_snapshot_lets_the_log_go_on_behind_it(log: Log) -> None:
    log.append("a", record(1, 1, 5))
    log.wal.installed(1, 100, 3)
    log.append("b", record(1, 101, term=3))
    log.run()
    log.disk.crash()
    assert log.open({1: SnapshotMeta(100, 3, META)}) == {1: [101]}


def test_log_goes_on_after_a_start_in_a_segment_of_its_own(log: Log) -> None:
    log.append("a", record(1, 1))
    log.run()
    log.open()
    log.append("b", record(1, 2))
    log.run()
    assert log.segments() == ["0000000001.wal", "0000000002.wal"]
    assert log.open() == {1: [1, 2]}


def test_first_start_leaves_a_segment_before_anything_else(log: Log) -> None:
    """So that an empty directory beside snapshots always means a lost log."""
    assert log.segments() == ["0000000001.wal"]
    save(log, 1, 5)
    log.disk.crash()
    metas = {group: found.meta for group, found in SnapshotStore(log.disk, "s").load_all().items()}
    assert log.open(metas) == {}
    assert log.wal.orphan_snapshots == [1]


def test_what_waits_for_the_next_segment_is_counted(log: Log) -> None:
    """A disk that hangs there is as slow as one that hangs at a write: what waits has a bound."""
    log.disk.delay = lambda random: 1.0
    for index in range(1, 4):
        log.append(str(index), record(1, index, size=1000))
    assert log.wal.queued_bytes == 3000
    log.loop.run(until=10.0)
    assert log.called == ["1", "2", "3"]
    assert log.wal.queued_bytes == 0


# --- the end


def test_close_waits_for_what_was_appended() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        disk = FakeDisk(loop)
        wal, _ = Wal.open(disk, "w", cluster_id="c", node_id=1, clock=SystemClock())
        called: list[int] = []
        seconds: list[float] = []
        wal.observe_sync = seconds.append
        for index in range(1, 6):
            wal.append([record(1, index)], lambda index=index: called.append(index))
        await wal.close()
        assert called == [1, 2, 3, 4, 5]
        assert len(seconds) == wal.sync_count == 1
        assert seconds[0] >= 0

    asyncio.run(asyncio.wait_for(main(), 30))


def test_close_does_not_wait_for_a_full_disk() -> None:
    async def main() -> None:
        disk = FakeDisk(asyncio.get_running_loop())
        wal, _ = Wal.open(disk, "w", cluster_id="c", node_id=1, retry_ms=1)
        disk.capacity_bytes = 200
        called: list[str] = []
        full = asyncio.Event()
        wal.on_full = lambda is_full: full.set()
        wal.append([record(1, 1)], lambda: called.append("a"))
        await full.wait()
        await wal.close()
        assert called == []

    asyncio.run(asyncio.wait_for(main(), 30))
