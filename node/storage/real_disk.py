"""The file system of this machine, behind `node.disk.Disk`.

`RealDisk` owns five threads, each started by its first job: one for appends to the log; one for the
next segment, which the log may be waiting for; one for everything else that is written, so that a
snapshot of a gigabyte stands in nobody's way; one that only looks (free space, missing files) and
one that probes, so that a disk that hangs is not waited for twice. A plain thread that waits on a
`SimpleQueue` takes 8 microseconds per round trip and 9 of processor time; `run_in_executor` 21
and 23.

Some descriptors are held in reserve (`system/descriptors.py`): when the process has run out of
them, what the disk opens takes one of those.

Reading order: `RealDisk`, `_RealFile`, then the functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Sequence

from quorumcache.node.errors import (
    DataDirLocked,
    DataDirLost,
    DiskFailed,
    DiskFull,
    OutOfResources,
    StorageError,
)
from quorumcache.node.storage.disk import TEMP_SUFFIX, DiskFile, DiskReport, DiskSpace, Done
from quorumcache.node.storage.disk_worker import DiskWorker
from quorumcache.node.system.descriptors import DESCRIPTORS

ZERO_AHEAD_BYTES = 256 << 10
"""How far `_RealFile` fills a file with zeros ahead of its end, in bytes.

A sync after overwriting written blocks takes 0.13 ms on ext4, one after growing the file
0.20 ms, because the latter has to commit the journal too. Unwritten blocks from `fallocate`
gain little (0.17 ms): turning them into written ones is a journal commit as well.
"""

_SYNC_EVERY_BYTES = 8 << 20
# A large background file is synced piece by piece: on ext4 one flood of dirty pages would hold
# up the log's own syncs for as long as it takes to write all of it.

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_NO_RESOURCES = frozenset({*_NO_DESCRIPTORS, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})

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
        self._log_worker = DiskWorker(loop, "quorumcache-log")
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
        _sync_dir(parent)

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
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def rewrite(self, path: str, size: int) -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            offset = 0
            while offset < size:
                data = os.pread(fd, min(_SYNC_EVERY_BYTES, size - offset), offset)
                if not data:
                    break
                _write_all(fd, data, offset)
                offset += len(data)
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        self._check_locks()
        _unlink(path)

    def write(self, path: str, data: bytes) -> None:
        self._check_locks()
        _write_whole(path, (data,))

    def sync_dir(self, path: str) -> None:
        _sync_dir(path)

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
            _write_all(fd, _own_line(), 0)
        self._locks[path] = fd

    def space(self, path: str) -> DiskSpace:
        return _space(path)

    # --- run time

    def create(self, path: str, header: bytes, done: Done) -> DiskFile:
        file = _RealFile(path, self._log_worker, self._zeros)
        self._segment_worker.submit(self._by_name(lambda: file.create(header)), done)
        return file

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        self._background_worker.submit(self._by_name(lambda: _write_whole(path, chunks)), done)

    def unlink(self, path: str, done: Done) -> None:
        self._background_worker.submit(self._by_name(lambda: _unlink(path)), done)

    def set_aside(self, path: str, size: int, done: Done) -> None:
        self._segment_worker.submit(self._by_name(lambda: _allocate(path, size)), done)

    def give_room(self, path: str, done: Done) -> None:
        self._segment_worker.submit(self._by_name(lambda: _unlink(path)), done)

    def probe(self, done: Done) -> None:
        paths = list(self._locks)

        def rewrite() -> None:
            for path in paths:
                _rewrite_lock(path)

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
            missing = missing or ("" if _is_there(path) else path)
        where = next(iter(self._locks), "")
        space = _space(os.path.dirname(where)) if where and not missing else DiskSpace(0, 0)
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
            if not _is_same_file(path, fd):
                return path
        return ""

    def close(self) -> None:
        self._log_worker.close()
        self._segment_worker.close()
        self._background_worker.close()
        for worker in (self._watch_worker, self._probe_worker):
            worker.close(wait=False)  # It may hang, and keeps nothing.
        while self._locks:
            os.close(self._locks.popitem()[1])
        DESCRIPTORS.empty()


class _RealFile:
    """A `DiskFile` whose appends run in the log thread.

    The fields below are handed to the thread by the queue and back by the loop's wake-up, so one
    side at a time uses them.
    """

    __slots__ = ("_data", "_done", "_fd", "_filled_bytes", "_worker", "_zeros", "path", "size")

    def __init__(self, path: str, worker: DiskWorker, zeros: bytes) -> None:
        self.path = path
        self.size = 0
        self._worker = worker
        self._zeros = zeros
        self._fd = -1
        self._filled_bytes = 0
        # Where the zeros end. Invariant: size <= _filled_bytes, once an append has run.
        self._data = b""
        self._done: Done | None = None
        # The append under way; None between appends.

    def append(self, data: bytes, done: Done) -> None:
        assert self._done is None, "one append at a time"
        assert self._fd >= 0, "appended to before it was created, or after it was closed"
        self._data = data
        self._done = done
        self._worker.submit(self._append, self._finished)

    def close(self) -> None:
        self._worker.submit(self._close, _ignore)

    def create(self, header: bytes) -> None:
        """Runs in the background thread, before the loop knows of the file."""
        temp = self.path + TEMP_SUFFIX
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = -1
        try:
            fd = _open(temp, flags)
            _write_all(fd, header + self._zeros, 0)
            os.fsync(fd)
            os.rename(temp, self.path)
            _sync_dir(os.path.dirname(self.path))
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            _discard(temp)
            raise _classified(error, self.path) from error
        self.size = len(header)
        self._filled_bytes = self.size + len(self._zeros)
        self._fd = fd

    def _append(self) -> None:
        data = self._data
        start = self.size
        end = start + len(data)
        try:
            try:
                if end <= self._filled_bytes:
                    _write_all(self._fd, data, start)
                else:
                    self._filled_bytes = self._append_and_fill(data, start)
            except OSError as error:
                if error.errno in _NO_SPACE or error.errno in _NO_RESOURCES:
                    # The sync of the next append makes the cut durable. Until then a crash may
                    # leave any part of the data there, which is a torn tail like any other.
                    os.ftruncate(self._fd, start)
                    self._filled_bytes = start
                    raise _classified(error, self.path) from error
                raise
            # An error of the sync is never "full": some pages may be written, some dropped, and
            # a second sync would report success for the dropped ones.
            os.fdatasync(self._fd)
        except OSError as error:
            raise DiskFailed(f"{self.path}: {error.strerror}") from error

    def _append_and_fill(self, data: bytes, start: int) -> int:
        """Write `data` and zeros behind it in one call; return where the zeros end."""
        end = start + len(data)
        # Whole blocks: the next fill must not share a block with this one.
        zeros_count = len(self._zeros) - end % 4096 if self._zeros else 0
        zeros = memoryview(self._zeros)[: max(0, zeros_count)]
        written = os.pwritev(self._fd, (data, zeros), start)
        if written < len(data):
            _write_all(self._fd, memoryview(data)[written:], start + written)
            return end
        # Not all of the zeros went in: good enough, the next append tries again.
        return start + written

    def _finished(self, error: BaseException | None) -> None:
        done = self._done
        assert done is not None
        self._done = None
        if error is None:
            self.size += len(self._data)
        self._data = b""
        done(error)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _ignore(error: BaseException | None) -> None:
    pass


def _classified(error: OSError, path: str) -> StorageError:
    """What an error means that came before anything was kept."""
    text = f"{path}: {error.strerror}"
    if error.errno in _NO_SPACE:
        return DiskFull(text)
    if error.errno == errno.ENOENT:  # The directory, or a file of it, was there at the start.
        return DataDirLost(path)
    return OutOfResources(text) if error.errno in _NO_RESOURCES else DiskFailed(text)


def _open(path: str, flags: int) -> int:
    """Open a file, if need be with a descriptor from the reserve."""
    while True:
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS or not DESCRIPTORS.give_one():
                raise


def _space(path: str) -> DiskSpace:
    found = os.statvfs(path or ".")
    free_bytes, total_bytes = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if not found.f_files:  # A file system that makes inodes as they are needed.
        return DiskSpace(free_bytes, total_bytes)
    return DiskSpace(free_bytes, total_bytes, found.f_favail)


def _own_line() -> bytes:
    """What the lock file holds: this process's id, for people."""
    return b"%d\n" % os.getpid()


def _rewrite_lock(path: str) -> None:
    """A write and a sync that change nothing."""
    try:
        fd = _open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write_all(fd, _own_line(), 0)
            os.fdatasync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _classified(error, path) from error


def _is_there(path: str) -> bool:
    """False only if the file is certainly gone."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno not in _GONE
    return True


def _is_same_file(path: str, fd: int) -> bool:
    """Whether `path` still names the file that `fd` has open."""
    try:
        named, held = os.stat(path), os.fstat(fd)
    except OSError as error:
        return error.errno not in _GONE
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _allocate(path: str, size: int) -> None:
    """A file of `size` bytes that really take room. All or nothing."""
    try:
        fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
    except OSError as error:
        _discard(path)
        raise _classified(error, path) from error


def _write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]


def _write_whole(path: str, chunks: Iterable[bytes]) -> None:
    temp = path + TEMP_SUFFIX
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        fd = _open(temp, flags)
        try:
            offset = synced = 0
            for chunk in chunks:
                _write_all(fd, chunk, offset)
                offset += len(chunk)
                if offset - synced >= _SYNC_EVERY_BYTES:
                    os.fdatasync(fd)
                    synced = offset
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temp, path)
        _sync_dir(os.path.dirname(path))
    except OSError as error:
        _discard(temp)
        raise _classified(error, path) from error
    except BaseException:
        _discard(temp)
        raise


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
        _sync_dir(os.path.dirname(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _classified(error, path) from error


def _discard(path: str) -> None:
    """Remove a temporary file; if even that fails, the next start does it."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _sync_dir(path: str) -> None:
    fd = _open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
