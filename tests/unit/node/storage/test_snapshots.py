"""Snapshot files."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import pytest

from quorumcache.node.consensus.values import Configuration, Snapshot, SnapshotMeta
from quorumcache.node.errors import (
    DiskFailed,
    DiskFull,
    SnapshotCorrupt,
    StorageError,
    WrongDataDir,
)
from quorumcache.node.storage.snapshots import SnapshotStore, decode_snapshot, encode_snapshot
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.manual_loop import ManualLoop

META = SnapshotMeta(10, 3, Configuration((1, 2), (3,), (1, 4)))
NEWER = SnapshotMeta(20, 4, Configuration((1, 2)))
PATH = "d/s/000005.snapshot"


@pytest.fixture
def loop() -> ManualLoop:
    return ManualLoop()


@pytest.fixture
def disk(loop: ManualLoop) -> FakeDisk:
    return FakeDisk(loop, survival=Nothing())


@pytest.fixture
def store(disk: FakeDisk) -> SnapshotStore:
    store = SnapshotStore(disk, "d/s")
    assert store.load_all() == {}
    return store


def save(
    store: SnapshotStore, loop: ManualLoop, meta: SnapshotMeta, data: bytes
) -> list[BaseException | None]:
    results: list[BaseException | None] = []
    store.save(5, meta, (data,), results.append)
    assert results == []
    loop.run()
    return results


def test_saved_snapshots_are_loaded(store: SnapshotStore, loop: ManualLoop) -> None:
    assert save(store, loop, META, b"data") == [None]
    store.save(6, NEWER, (b"",), lambda error: None)
    loop.run()
    assert store.load_all() == {5: Snapshot(META, b"data"), 6: Snapshot(NEWER, b"")}


def test_a_decision_is_kept_and_the_file_without_one_is_the_old_one(
    store: SnapshotStore, loop: ManualLoop
) -> None:
    decided = NEWER._replace(configuration=Configuration((1, 2), (), (), 17))
    save(store, loop, decided, b"")
    assert store.load_all() == {5: Snapshot(decided, b"")}
    meta_bytes = msgpack.packb((5, 10, 3, ((1, 2), (3,), (1, 4)), ""))
    assert meta_bytes in b"".join(encode_snapshot(5, META, (b"data",)))


def test_chunks_are_consumed_later(store: SnapshotStore, loop: ManualLoop) -> None:
    """So that encoding can run off the loop."""
    consumed = []

    def chunks() -> Iterator[bytes]:
        for chunk in (b"one ", b"", b"two"):
            consumed.append(chunk)
            yield chunk

    store.save(5, META, chunks(), lambda error: None)
    assert consumed == []
    loop.run()
    assert store.load_all()[5].data == b"one two"


def test_crash_before_every_step_leaves_the_old_or_the_new_one(loop: ManualLoop) -> None:
    for step in range(1, 5):
        for survivors in (0, 1, 9):
            disk = FakeDisk(loop, survival=Nothing())
            disk.survival.names = lambda count, n=survivors: min(n, count)  # type: ignore[method-assign]
            store = SnapshotStore(disk, "d/s")
            save(store, loop, META, b"old")
            first = disk.steps

            def crash(name: str, path: str, disk: FakeDisk = disk, at: int = first + step) -> None:
                if disk.steps == at:
                    disk.crash()

            disk.before_step = crash
            results = save(store, loop, NEWER, b"new")
            disk.before_step = None
            found = SnapshotStore(disk, "d/s").load_all()[5]
            assert results == []
            assert found in (Snapshot(META, b"old"), Snapshot(NEWER, b"new"))
            assert disk.paths() == [PATH], "nothing unfinished is left"


def test_confirmed_snapshot_survives_power_loss(
    store: SnapshotStore, loop: ManualLoop, disk: FakeDisk
) -> None:
    save(store, loop, META, b"data")
    disk.crash()
    assert store.load_all() == {5: Snapshot(META, b"data")}


def test_loaded_snapshot_survives_power_loss(loop: ManualLoop, disk: FakeDisk) -> None:
    """A process died between rename and sync of the directory; the next one has read the file."""
    store = SnapshotStore(disk, "d/s")

    def die(name: str, path: str) -> None:
        if name == "sync_dir":
            disk.crash(power=False)

    disk.before_step = die
    assert save(store, loop, META, b"data") == []
    disk.before_step = None
    assert store.load_all() == {5: Snapshot(META, b"data")}
    disk.crash()
    assert store.load_all() == {5: Snapshot(META, b"data")}


def test_full_disk_keeps_the_old_one_and_allows_another_try(
    store: SnapshotStore, loop: ManualLoop, disk: FakeDisk
) -> None:
    save(store, loop, META, b"old")
    disk.capacity_bytes = 150
    (error,) = save(store, loop, NEWER, bytes(200))
    assert isinstance(error, DiskFull)
    assert store.load_all() == {5: Snapshot(META, b"old")}
    disk.capacity_bytes = None
    assert save(store, loop, NEWER, bytes(200)) == [None]
    assert store.load_all() == {5: Snapshot(NEWER, bytes(200))}


def test_older_snapshot_does_not_replace_a_newer_one(
    store: SnapshotStore, loop: ManualLoop, disk: FakeDisk
) -> None:
    """A node encodes its own state at 10 while one at 20 comes from the leader and overtakes it."""
    results: list[BaseException | None] = []
    store.save(5, NEWER, (b"new",), results.append)
    store.save(5, META, (b"old",), results.append)
    assert results == []
    loop.run()
    assert results[0] is None
    assert isinstance(results[1], StorageError)
    again = SnapshotStore(disk, "d/s")
    assert again.load_all() == {5: Snapshot(NEWER, b"new")}
    (error,) = save(again, loop, META, b"old")
    assert isinstance(error, StorageError)


def test_older_snapshot_may_follow_a_newer_one_that_failed(
    store: SnapshotStore, loop: ManualLoop, disk: FakeDisk
) -> None:
    disk.capacity_bytes = 150
    results: list[BaseException | None] = []
    for index in (20, 30):
        meta = NEWER._replace(last_index=index)
        store.save(5, meta, (bytes(200),), results.append)
    loop.run()
    assert [type(error) for error in results] == [DiskFull, DiskFull]
    assert save(store, loop, META, b"old") == [None]


def test_failed_sync_is_told(store: SnapshotStore, loop: ManualLoop, disk: FakeDisk) -> None:
    disk.failing_syncs = 1
    (error,) = save(store, loop, META, b"data")
    assert isinstance(error, DiskFailed)


def test_delete(store: SnapshotStore, loop: ManualLoop, disk: FakeDisk) -> None:
    save(store, loop, META, b"data")
    results: list[BaseException | None] = []
    store.delete(5, results.append)
    store.delete(6, results.append)
    loop.run()
    assert results == [None, None]
    disk.crash()
    assert store.load_all() == {}


def test_every_damaged_bit_is_refused(
    store: SnapshotStore, loop: ManualLoop, disk: FakeDisk
) -> None:
    save(store, loop, META, b"data")
    for bit in range(8 * len(disk.read(PATH))):
        disk.flip_bit(PATH, bit)
        with pytest.raises((SnapshotCorrupt, WrongDataDir), match=PATH):
            store.load_all()
        disk.flip_bit(PATH, bit)


def test_every_cut_is_refused() -> None:
    data = b"".join(encode_snapshot(5, META, (b"data",)))
    for end in range(len(data)):
        with pytest.raises(SnapshotCorrupt):
            decode_snapshot(data[:end], "f")
    with pytest.raises(SnapshotCorrupt):
        decode_snapshot(data + b"\0", "f")


def test_file_under_another_groups_name_is_refused(store: SnapshotStore, disk: FakeDisk) -> None:
    disk.put("d/s/000009.snapshot", b"".join(encode_snapshot(5, META, ())))
    with pytest.raises(SnapshotCorrupt, match="of group 5"):
        store.load_all()


def test_other_files_are_left_alone(store: SnapshotStore, disk: FakeDisk) -> None:
    disk.put("d/s/README", b"hello")
    assert store.load_all() == {}
    assert disk.read("d/s/README") == b"hello"
