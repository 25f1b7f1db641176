"""The real disk, under a temporary directory, and the log on it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    HardState,
    Snapshot,
    SnapshotMeta,
)
from quorumcache.node.errors import (
    DataDirLocked,
    DataDirLost,
    DiskFailed,
    DiskFull,
    OutOfResources,
    StartupError,
    WalCorrupt,
)
from quorumcache.node.storage.disk import Disk, DiskFile, Done
from quorumcache.node.storage.identity import lock_data_dir
from quorumcache.node.storage.log_file import ZERO_AHEAD_BYTES
from quorumcache.node.storage.real_disk import RealDisk
from quorumcache.node.storage.snapshots import SnapshotStore
from quorumcache.node.wal import Wal, WalRecord
from tests.support.log_writers import FORMS, Form

ROOT = Path(__file__).parents[4]


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), 60)

    asyncio.run(bounded())


of_each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


@asynccontextmanager
async def opened(form: Form = FORMS[-1], **options: int) -> AsyncIterator[RealDisk]:
    """With a log that makes its calls to the system by the functions of `os`."""
    loop = asyncio.get_running_loop()
    disk = RealDisk(loop, **options)
    disk._log_writer = form.make(loop, options.get("zero_ahead_bytes", ZERO_AHEAD_BYTES))
    try:
        yield disk
    finally:
        disk.close()


async def outcome(start: Callable[[Done], object]) -> BaseException | None:
    """Run one call of the disk; what it was done with."""
    future: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    start(future.set_result)
    return await future


async def created(disk: Disk, path: str, header: bytes) -> DiskFile:
    files: list[DiskFile] = []
    assert await outcome(lambda done: files.append(disk.create(path, header, done))) is None
    return files[0]


@of_each_form
@pytest.mark.parametrize("zero_ahead_bytes", [0, 4096, 256 << 10])
def test_appends_follow_the_header_and_zeros_follow_them(
    tmp_path: Path, zero_ahead_bytes: int, form: Form
) -> None:
    async def main() -> None:
        async with opened(form, zero_ahead_bytes=zero_ahead_bytes) as disk:
            file = await created(disk, f"{tmp_path}/f", b"header")
            expected = b"header"
            for size in (1, 100, 5000, 4096, 1, 300_000, 7):
                data = bytes([size % 251 + 1]) * size
                assert await outcome(lambda done, data=data: file.append(data, done)) is None
                expected += data
                assert file.size == len(expected)
                on_disk = (tmp_path / "f").read_bytes()
                assert on_disk[: file.size] == expected
                assert on_disk[file.size :].strip(b"\0") == b""
            assert sorted(os.listdir(tmp_path)) == ["f"]
            file.close()

    run(main)


def test_work_runs_in_another_thread_and_done_on_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        threads = []

        def chunks() -> Iterator[bytes]:
            threads.append(threading.current_thread())
            yield b"data"

        async with opened() as disk:
            future = asyncio.get_running_loop().create_future()

            def done(error: BaseException | None) -> None:
                threads.append(threading.current_thread())
                future.set_result(error)

            disk.write_atomic(f"{tmp_path}/f", chunks(), done)
            assert await future is None
        assert threads[0] is not threading.current_thread()
        assert threads[1] is threading.current_thread()
        assert not [thread for thread in threading.enumerate() if "quorumcache" in thread.name]

    run(main)


def test_a_new_segment_does_not_wait_for_a_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        go_on = threading.Event()

        def chunks() -> Iterator[bytes]:
            assert go_on.wait(60)
            yield b"data"

        async with opened() as disk:
            saved = asyncio.get_running_loop().create_future()
            disk.write_atomic(f"{tmp_path}/snapshot", chunks(), saved.set_result)
            try:
                file = await created(disk, f"{tmp_path}/f", b"header")
                assert not saved.done()
            finally:
                go_on.set()
            assert await saved is None
            file.close()

    run(main)


def test_a_descriptor_in_reserve_opens_the_next_segment(tmp_path: Path) -> None:
    """A process of its own, with so low a limit that it can open nothing more."""
    done = subprocess.run(
        [sys.executable, "-c", NO_DESCRIPTORS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "created\n"


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@of_each_form
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_cuts_back_and_allows_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, form: Form
) -> None:
    async def main() -> None:
        async with opened(form, zero_ahead_bytes=0) as disk:
            file = await created(disk, f"{tmp_path}/f", b"header")
            write = os.pwrite

            def half(fd: int, data: bytes, offset: int) -> int:
                monkeypatch.setattr(os, "pwrite", failing(code))
                return write(fd, data[:2], offset)

            with monkeypatch.context() as patch:
                patch.setattr(os, "pwritev", lambda fd, data, offset: half(fd, data[0], offset))
                error = await outcome(lambda done: file.append(b"data", done))
            monkeypatch.setattr(os, "pwrite", write)
            assert isinstance(error, DiskFull)
            assert (tmp_path / "f").read_bytes() == b"header"
            assert file.size == 6
            assert await outcome(lambda done: file.append(b"data", done)) is None
            assert (tmp_path / "f").read_bytes() == b"headerdata"

    run(main)


@of_each_form
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_failed_sync_is_a_failure_whatever_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, form: Form
) -> None:
    async def main() -> None:
        async with opened(form) as disk:
            file = await created(disk, f"{tmp_path}/f", b"header")
            monkeypatch.setattr(os, "fdatasync", failing(code))
            error = await outcome(lambda done: file.append(b"data", done))
            assert isinstance(error, DiskFailed)
            assert file.size == 6

    run(main)


@of_each_form
def test_failed_write_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    async def main() -> None:
        async with opened(form) as disk:
            file = await created(disk, f"{tmp_path}/f", b"header")
            monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
            monkeypatch.setattr(os, "pwritev", failing(errno.EIO))
            assert isinstance(await outcome(lambda done: file.append(b"d", done)), DiskFailed)

    run(main)


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, DiskFailed)]
)
def test_failed_create_and_replace_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    async def main() -> None:
        async with opened() as disk:
            (tmp_path / "old").write_bytes(b"old")
            monkeypatch.setattr(os, "pwrite", failing(code))
            error = await outcome(lambda done: disk.create(f"{tmp_path}/f", b"header", done))
            assert isinstance(error, kind)
            error = await outcome(lambda done: disk.write_atomic(f"{tmp_path}/old", [b"n"], done))
            assert isinstance(error, kind)
            assert os.listdir(tmp_path) == ["old"]
            assert (tmp_path / "old").read_bytes() == b"old"

    run(main)


@of_each_form
def test_order_of_writes_and_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    """No test can pull the plug on the real disk; so this holds on to what it asks the kernel."""
    calls: list[str] = []

    def recorded(name: str) -> None:
        function = getattr(os, name)

        def call(*arguments: object) -> object:
            is_dir = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            calls.append("fsync dir" if is_dir else name)
            return function(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("pwrite", "pwritev", "fsync", "fdatasync", "rename", "unlink", "ftruncate"):
        recorded(name)

    def since() -> list[str]:
        taken = list(calls)
        calls.clear()
        return taken

    async def main() -> None:
        async with opened(form, zero_ahead_bytes=8192) as disk:
            file = await created(disk, f"{tmp_path}/f", b"header")
            assert since() == ["pwrite", "fsync", "rename", "fsync dir"]
            await outcome(lambda done: file.append(bytes(100), done))
            assert since() == ["pwrite", "fdatasync"]
            await outcome(lambda done: file.append(bytes(10_000), done))
            assert since() == ["pwritev", "fdatasync"]
            await outcome(lambda done: disk.write_atomic(f"{tmp_path}/s", [b"a", b"b"], done))
            assert since() == ["pwrite", "pwrite", "fsync", "rename", "fsync dir"]
            await outcome(lambda done: disk.unlink(f"{tmp_path}/s", done))
            assert since() == ["unlink", "fsync dir"]
            disk.truncate(f"{tmp_path}/f", 5)
            assert since() == ["ftruncate", "fsync"]
            disk.make_dirs(f"{tmp_path}/a/b")
            assert since() == ["fsync dir", "fsync dir"]

    run(main)


def test_error_in_the_chunks_keeps_the_old_file(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise ValueError("no more")

    async def main() -> None:
        async with opened() as disk:
            (tmp_path / "f").write_bytes(b"old")
            error = await outcome(lambda done: disk.write_atomic(f"{tmp_path}/f", chunks(), done))
            assert isinstance(error, ValueError)
            assert os.listdir(tmp_path) == ["f"]
            assert (tmp_path / "f").read_bytes() == b"old"

    run(main)


def test_start_up_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as disk:
            directory = f"{tmp_path}/a/b"
            disk.make_dirs(directory)
            disk.make_dirs(directory)
            disk.write(f"{directory}/y", b"12345")
            disk.write(f"{directory}/x", b"")
            assert disk.list_dir(directory) == ["x", "y"]
            disk.truncate(f"{directory}/y", 2)
            assert disk.read(f"{directory}/y") == b"12"
            disk.remove(f"{directory}/x")
            disk.remove(f"{directory}/x")
            assert not disk.exists(f"{directory}/x")
            assert await outcome(lambda done: disk.unlink(f"{directory}/y", done)) is None
            assert await outcome(lambda done: disk.unlink(f"{directory}/y", done)) is None
            assert disk.list_dir(directory) == []
            disk.sync_dir(directory)

    run(main)


def test_close_finishes_what_was_handed_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as disk:
            for number in range(20):
                disk.write_atomic(f"{tmp_path}/{number}", [b"data"], lambda error: None)
        assert len(os.listdir(tmp_path)) == 20

    run(main)


def test_a_removed_directory_is_told_as_such_whichever_file_misses_it_first(tmp_path: Path) -> None:
    async def main() -> None:
        gone = f"{tmp_path}/gone/file"
        async with opened() as disk:
            for error in (
                await outcome(lambda done: disk.write_atomic(gone, [b"data"], done)),
                await outcome(lambda done: disk.create(gone, b"header", done)),
            ):
                assert isinstance(error, DataDirLost)
                assert "Bring the data directory back" in str(error)

    run(main)


def test_nothing_is_written_into_a_directory_that_is_in_the_place_of_the_locked_one(
    tmp_path: Path,
) -> None:
    """It may be another node's. What goes by names would overwrite its files, or remove them."""
    directory = tmp_path / "data"

    async def main() -> None:
        async with opened() as disk:
            lock_data_dir(disk, str(directory))
            assert await outcome(disk.probe) is None
            file = await created(disk, f"{directory}/f", b"header")
            directory.rename(tmp_path / "own")
            directory.mkdir()
            for name in ("lock", "f", "node.id"):
                (directory / name).write_bytes(b"of another node")
            path = f"{directory}/f"
            calls: list[Callable[[Done], object]] = [
                lambda done: disk.create(path, b"header", done),
                lambda done: disk.write_atomic(path, [b"data"], done),
                lambda done: disk.unlink(path, done),
                lambda done: disk.set_aside(path, 100, done),
                lambda done: disk.give_room(path, done),
                disk.probe,
            ]
            for call in calls:
                assert isinstance(await outcome(call), DataDirLost)
            starts: list[Callable[[], None]] = [
                lambda: disk.write(path, b"data"),
                lambda: disk.remove(path),
                lambda: disk.make_dirs(f"{directory}/wal"),
            ]
            for start in starts:
                with pytest.raises(DataDirLost):
                    start()
            for name in ("lock", "f", "node.id"):
                assert (directory / name).read_bytes() == b"of another node"
            assert len(os.listdir(directory)) == 3
            file.close()

    run(main)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, DiskFull), (errno.EMFILE, OutOfResources), (errno.EIO, DiskFailed)],
)
def test_a_probe_writes_the_lock_anew_and_tells_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    async def main() -> None:
        synced: list[int] = []
        async with opened() as disk:
            lock_data_dir(disk, str(tmp_path))
            before = (tmp_path / "lock").read_bytes()
            monkeypatch.setattr(os, "fdatasync", synced.append)
            assert await outcome(disk.probe) is None
            assert len(synced) == 1
            assert (tmp_path / "lock").read_bytes() == before == b"%d\n" % os.getpid()
            assert os.listdir(tmp_path) == ["lock"]
            monkeypatch.setattr(os, "fdatasync", failing(code))
            assert isinstance(await outcome(disk.probe), kind)

    run(main)


def test_unusable_directory_is_a_startup_error(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_bytes(b"")
        async with opened() as disk:
            with pytest.raises(StartupError, match=r"data directory .* is no directory"):
                lock_data_dir(disk, f"{tmp_path}/file/below")
            (tmp_path / "unmounted").symlink_to(tmp_path / "nowhere")
            with pytest.raises(StartupError, match="mount the disk"):
                lock_data_dir(disk, f"{tmp_path}/unmounted")
            (tmp_path / "mixed" / "lock").mkdir(parents=True)
            with pytest.raises(StartupError, match=r"mixed: Is a directory \(.*/lock\)"):
                lock_data_dir(disk, f"{tmp_path}/mixed")

    run(main)


# --- one process per data directory

NO_DESCRIPTORS = """
import asyncio, os, resource, sys
from quorumcache.node.storage.real_disk import RealDisk

async def main():
    loop = asyncio.get_running_loop()
    disk = RealDisk(loop)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass
    done = loop.create_future()
    disk.create(sys.argv[1] + "/f", b"header", done.set_result)
    error = await done
    print(error or "created", flush=True)
    os._exit(0)

asyncio.run(main())
"""

HOLD = """
import asyncio, sys
from quorumcache.node.storage.real_disk import RealDisk
from quorumcache.node.errors import DataDirLocked
from quorumcache.node.storage.identity import lock_data_dir
from quorumcache.node.storage.log_file import ZERO_AHEAD_BYTES
loop = asyncio.new_event_loop()
disk = RealDisk(loop)
try:
    lock_data_dir(disk, sys.argv[1])
    print("locked", flush=True)
    sys.stdin.read()
except DataDirLocked as error:
    print(error, flush=True)
disk.close()
loop.close()
"""


def hold(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(directory)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def test_second_process_is_told_which_one_holds_the_directory(tmp_path: Path) -> None:
    async def main() -> None:
        with hold(tmp_path) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            async with opened() as disk:
                with pytest.raises(DataDirLocked, match=f"in use by process {other.pid}:") as told:
                    lock_data_dir(disk, str(tmp_path))
                assert told.value.pid == other.pid
                # A killed process leaves its file, and no lock.
                other.kill()
                other.wait(30)
                lock_data_dir(disk, str(tmp_path))
                with hold(tmp_path) as third:
                    assert third.stdout is not None
                    assert f"in use by process {os.getpid()}:" in third.stdout.readline()
                    assert third.wait(30) == 0

    run(main)


# --- the log on it


def record(index: int) -> WalRecord:
    return WalRecord(1, HardState(1, 1), (Entry(index, 1, 0, b"x" * 100),))


@of_each_form
def test_log_and_snapshots_on_real_files(tmp_path: Path, form: Form) -> None:
    directory = f"{tmp_path}/wal"

    def open_wal(disk: Disk) -> tuple[Wal, list[int], SnapshotStore]:
        store = SnapshotStore(disk, f"{tmp_path}/snapshots")
        metas = {group: found.meta for group, found in store.load_all().items()}
        wal, groups = Wal.open(
            disk,
            directory,
            cluster_id="c",
            node_id=1,
            snapshots=metas,
            segment_bytes_max=2000,
        )
        return wal, [entry.index for entry in groups[1].entries] if groups else [], store

    async def main() -> None:
        async with opened(form) as disk:
            wal, recovered, store = open_wal(disk)
            assert recovered == []
            for index in range(1, 101):
                future = asyncio.get_running_loop().create_future()
                wal.append([record(index)], lambda future=future: future.set_result(None))
                await future
            meta = SnapshotMeta(90, 1, Configuration((1, 2, 3)))
            assert await outcome(lambda done: store.save(1, meta, (b"state",), done)) is None
            wal.compacted(1, 90, 1)
            await outcome(lambda done: wal.append([], lambda: done(None)))
            for _ in range(10):  # Behind each removal of a segment comes the next one.
                await outcome(lambda done: disk.unlink(f"{tmp_path}/none", done))
            await wal.close()
        assert len(os.listdir(directory)) < 5
        async with opened(form) as disk:
            _, recovered, store = open_wal(disk)
            assert recovered == list(range(91, 101))
            assert store.load_all() == {1: Snapshot(meta, b"state")}
        paths = [Path(directory, name) for name in sorted(os.listdir(directory))]
        damaged = [path for path in paths if any(path.read_bytes()[128:])][-1]
        data = bytearray(damaged.read_bytes())
        data[140] ^= 1
        damaged.write_bytes(data)
        async with opened(form) as disk:
            with pytest.raises(WalCorrupt) as told:
                open_wal(disk)
            assert told.value.file == str(damaged)
            assert told.value.offset == 128

    run(main)
