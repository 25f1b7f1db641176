"""The file system of this machine, behind `disk.Disk`.

`RealDisk` owns five threads, each started by its first job: one for appends to the log; one for the
next segment, which the log may be waiting for; one for everything else that is written, so that a
snapshot of a gigabyte does not delay the log; one that only looks (free space, missing files) and
one that probes, so that a disk that hangs is not waited for twice. A plain thread that waits on a
`SimpleQueue` takes 8 microseconds per round trip and 9 of processor time; `run_in_executor` 21
and 23. The log's own thread is in C where that can be (`log_writer.py`).

The log's own files are in `log_file.py`, the calls to the system in `disk_calls.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Sequence

from quorumcache.node.errors import DataDirLocked, DataDirLost
from quorumcache.node.storage import disk_calls
from quorumcache.node.storage.disk import DiskFile, DiskReport, DiskSpace, Done
from quorumcache.node.storage.disk_worker import DiskWorker
from quorumcache.node.storage.log_file import ZERO_AHEAD_BYTES, LogFile
from quorumcache.node.storage.log_writer import new_log_writer
from quorumcache.node.system.descriptors import DESCRIPTORS

RESERVED_DESCRIPTORS = 6
"""Held open for the disk: the next segment, a snapshot, a directory to sync, and as many again."""


class RealDisk:
    """The file system of this machine. `loop` is where every `done` is called."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        zero_ahead_bytes: int = ZERO_AHEAD_BYTES,
        reserved_descriptors: int = RESERVED_DESCRIPTORS,
    ) -> None:
        self._zeros = bytes(zero_ahead_bytes)
        self._log_writer = new_log_writer(loop, zero_ahead_bytes)
        self._segment_worker = DiskWorker(loop, "quorumcache-segment")
        self._background_worker = DiskWorker(loop, "quorumcache-disk")
        self._watch_worker = DiskWorker(loop, "quorumcache-watch")
        self._probe_worker = DiskWorker(loop, "quorumcache-probe")
        self._locks: dict[str, int] = {}
        """Path of a lock file to its descriptor."""
        self._reserved_descriptors = reserved_descriptors
        DESCRIPTORS.fill(reserved_descriptors)

    # --- start-up

    def make_dirs(self, path: str) -> None:
        if os.path.isdir(path):
            return
        self._check_locks()
        parent = os.path.dirname(os.path.abspath(path))
        self.make_dirs(parent)
        os.mkdir(path, 0o700)
        disk_calls.sync_dir(parent)

    def list_dir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def truncate(self, path: str, size: int) -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            with disk_calls.named(path):
                os.ftruncate(fd, size)
                os.fsync(fd)
        finally:
            os.close(fd)

    def rewrite(self, path: str, size: int) -> None:
        disk_calls.rewrite(path, size)

    def remove(self, path: str) -> None:
        self._check_locks()
        disk_calls.unlink(path)

    def write(self, path: str, data: bytes) -> None:
        self._check_locks()
        disk_calls.write_whole(path, (data,))

    def sync_dir(self, path: str) -> None:
        disk_calls.sync_dir(path)

    def lock(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            words = os.pread(fd, 32, 0).split()
            os.close(fd)
            pid = int(words[0]) if words and words[0].isdigit() else 0
            raise DataDirLocked(os.path.dirname(path), pid) from None
        with contextlib.suppress(OSError):  # On a full disk the lock holds all the same.
            os.ftruncate(fd, 0)
            disk_calls.write_all(fd, disk_calls.own_line(), 0)
        self._locks[path] = fd

    def space(self, path: str) -> DiskSpace:
        return disk_calls.space(path)

    # --- run time

    def create(self, path: str, header: bytes, done: Done) -> DiskFile:
        file = LogFile(path, self._log_writer, self._zeros)
        self._segment_worker.submit(self._by_name(lambda: file.create(header)), done)
        return file

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        self._background_worker.submit(
            self._by_name(lambda: disk_calls.write_whole(path, chunks)), done
        )

    def unlink(self, path: str, done: Done) -> None:
        self._background_worker.submit(self._by_name(lambda: disk_calls.unlink(path)), done)

    def set_aside(self, path: str, size: int, done: Done) -> None:
        self._segment_worker.submit(self._by_name(lambda: disk_calls.allocate(path, size)), done)

    def give_room(self, path: str, done: Done) -> None:
        self._segment_worker.submit(self._by_name(lambda: disk_calls.unlink(path)), done)

    def probe(self, done: Done) -> None:
        paths = list(self._locks)

        def rewrite() -> None:
            for path in paths:
                disk_calls.rewrite_lock(path)

        self._probe_worker.submit(self._by_name(rewrite), done)

    def look(self, paths: Sequence[str], done: Callable[[DiskReport], None]) -> None:
        reports: list[DiskReport] = []

        def looked(error: BaseException | None) -> None:
            # What cannot be looked at is not known to be missing: no space is known, all is there.
            done(reports[0] if reports else DiskReport(DiskSpace(0, 0), "", 1 << 30))

        self._watch_worker.submit(lambda: reports.append(self._look(paths)), looked)

    def _look(self, paths: Sequence[str]) -> DiskReport:
        """Runs in the watching thread."""
        left = DESCRIPTORS.fill(self._reserved_descriptors)
        missing = self._lock_missing()
        for path in paths:
            missing = missing or ("" if disk_calls.is_there(path) else path)
        where = next(iter(self._locks), "")
        space = (
            disk_calls.space(os.path.dirname(where)) if where and not missing else DiskSpace(0, 0)
        )
        return DiskReport(space, missing, left)

    def _by_name(self, work: Callable[[], None]) -> Callable[[], None]:
        """`work` on files by their names, unless these lead into another directory by now."""

        def checked() -> None:
            self._check_locks()
            work()

        return checked

    def _check_locks(self) -> None:
        missing = self._lock_missing()
        if missing:
            raise DataDirLost(missing)

    def _lock_missing(self) -> str:
        """The path of a lock file that is gone, or is another file now; "" if there is none."""
        for path, fd in list(self._locks.items()):
            if not disk_calls.is_same_file(path, fd):
                return path
        return ""

    def close(self) -> None:
        self._log_writer.close()
        self._segment_worker.close()
        self._background_worker.close()
        for worker in (self._watch_worker, self._probe_worker):
            worker.close(wait=False)  # It may hang, and keeps nothing.
        while self._locks:
            os.close(self._locks.popitem()[1])
        DESCRIPTORS.empty()
