"""The seam to the file system: the `Disk` interface and its real form.

Everything durable goes through a `Disk` handed down by the node, so that the same code runs on
a disk in memory that tears writes, loses what was not synced, fills up and fails
(`tests/support/fake_disk.py`).

Two kinds of calls. Those marked *start-up* block and return a value; they are used before the
node serves anybody. All others take a `done(error)` and return at once: the work happens off
the loop, `done` runs on the loop, with None or with `DiskFull` / `DiskFailed`.

`RealDisk` owns two threads: one for appends to the log, one for everything else, so that a
snapshot of a gigabyte does not stand before an append in a queue. A plain thread that waits on
a `SimpleQueue` takes 8 microseconds per round trip and 9 of processor time; `run_in_executor` 21
and 23.

Reading order: `DiskFile`, `Disk`, `RealDisk`, `_RealFile`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Protocol

from node.errors import DataDirLocked, DiskFailed, DiskFull

Done = Callable[[BaseException | None], None]

TEMP_SUFFIX = ".tmp"
"""A file under construction. One that is found at start was left by a crash and is removed."""

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


class DiskFile(Protocol):
    """A file that only grows. It belongs to one writer."""

    path: str
    size: int
    """Bytes that were appended and synced. The file on disk may be longer: what follows `size`
    is zeros, or the rest of an append that did not finish."""

    def append(self, data: bytes, done: Done) -> None:
        """Write `data` at `size` and sync it. One at a time: the next only after `done`.

        `DiskFull`: there was no space; the file was cut back to `size`, and the same append may
        be tried again. `DiskFailed`: what is on disk is unknown, and the node has to end.
        """
        ...

    def close(self) -> None:
        """Close the file once a running append is through."""
        ...


class Disk(Protocol):
    """The files of one node. Paths are plain strings, joined with `/`."""

    def make_dirs(self, path: str) -> None:
        """Start-up: create a directory and its parents, durably."""
        ...

    def list_dir(self, path: str) -> list[str]:
        """Start-up: the names in a directory, sorted."""
        ...

    def exists(self, path: str) -> bool:
        """Start-up."""
        ...

    def read(self, path: str) -> bytes:
        """Start-up: the whole file."""
        ...

    def truncate(self, path: str, size: int) -> None:
        """Start-up: cut the file to `size` bytes and sync it, also when it has that size.

        The sync matters: what a crashed process wrote without syncing can be read, but would
        still be lost with the power.
        """
        ...

    def rewrite(self, path: str, size: int) -> None:
        """Start-up: make the first `size` bytes of a file durable, and cut off the rest.

        They are written anew, in place. A sync alone is not enough: after one that failed the
        kernel keeps the bytes as clean pages, which can be read, which a further sync passes over
        with success, and which the next power loss takes.
        Source: Rebello et al. 2020, "Can applications recover from fsync failures?"
        """
        ...

    def remove(self, path: str) -> None:
        """Start-up: remove a file, durably. One that does not exist is no error."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Start-up: write a whole file by temporary file and rename, durably."""
        ...

    def sync_dir(self, path: str) -> None:
        """Start-up: make the names in a directory durable."""
        ...

    def lock(self, path: str) -> None:
        """Start-up: take the lock file for as long as this `Disk` is open.

        Raises `DataDirLocked` with the process id that holds it.
        """
        ...

    def create(self, path: str, header: bytes, done: Done) -> DiskFile:
        """Create a file that holds `header`, durably with its name; never half of it.

        The file may be appended to after `done(None)`.
        """
        ...

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        """Replace a file by temporary file, sync, rename and sync of the directory.

        `chunks` is consumed off the loop, so it must not touch what the loop changes. After an
        error the old file is still there, whole (or, if only the last sync failed, the new one).
        """
        ...

    def unlink(self, path: str, done: Done) -> None:
        """Remove a file, durably. One that does not exist is no error."""
        ...

    def close(self) -> None:
        """Finish what was handed in, then give up the locks. Blocks for that long."""
        ...


class RealDisk:
    """The file system of this machine. `loop` is where every `done` is called."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, zero_ahead_bytes: int = ZERO_AHEAD_BYTES
    ) -> None:
        self._zeros = bytes(zero_ahead_bytes)
        self._log_worker = _Worker(loop, "quorumcache-log")
        self._background_worker = _Worker(loop, "quorumcache-disk")
        self._lock_fds: list[int] = []

    # --- start-up

    def make_dirs(self, path: str) -> None:
        if os.path.isdir(path):
            return
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
        _unlink(path)

    def write(self, path: str, data: bytes) -> None:
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
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._lock_fds.append(fd)

    # --- run time

    def create(self, path: str, header: bytes, done: Done) -> DiskFile:
        file = _RealFile(path, self._log_worker, self._zeros)
        self._background_worker.submit(lambda: file.create(header), done)
        return file

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        self._background_worker.submit(lambda: _write_whole(path, chunks), done)

    def unlink(self, path: str, done: Done) -> None:
        self._background_worker.submit(lambda: _unlink(path), done)

    def close(self) -> None:
        self._log_worker.close()
        self._background_worker.close()
        while self._lock_fds:
            os.close(self._lock_fds.pop())


class _RealFile:
    """A `DiskFile` whose appends run in the log thread.

    The fields below are handed to the thread by the queue and back by the loop's wake-up, so one
    side at a time uses them.
    """

    __slots__ = ("_data", "_done", "_fd", "_filled_bytes", "_worker", "_zeros", "path", "size")

    def __init__(self, path: str, worker: _Worker, zeros: bytes) -> None:
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
            fd = os.open(temp, flags, 0o600)
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
                if error.errno in _NO_SPACE:
                    # The sync of the next append makes the cut durable. Until then a crash may
                    # leave any part of the data there, which is a torn tail like any other.
                    os.ftruncate(self._fd, start)
                    self._filled_bytes = start
                    raise DiskFull(f"{self.path}: {error.strerror}") from error
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


class _Worker:
    """One daemon thread that runs jobs in order. Started by its first job."""

    __slots__ = ("_loop", "_name", "_queue", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._queue: SimpleQueue[tuple[Callable[[], None], Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], None], done: Done) -> None:
        """Run `work` in the thread, then `done` with its error or None on the loop."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put((work, done))

    def close(self) -> None:
        """Return when everything submitted so far has run, and the thread has ended."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        get = self._queue.get
        wake = self._loop.call_soon_threadsafe
        while (job := get()) is not None:
            work, done = job
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # Whatever it is belongs to the one who asked.
                error = raised
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody wants to know.
                wake(done, error)
            # Do not keep the last job's data alive while waiting for the next one.
            del job, work, done, error


def _ignore(error: BaseException | None) -> None:
    pass


def _classified(error: OSError, path: str) -> BaseException:
    kind = DiskFull if error.errno in _NO_SPACE else DiskFailed
    return kind(f"{path}: {error.strerror}")


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
        fd = os.open(temp, flags, 0o600)
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
        raise DiskFailed(f"{path}: {error.strerror}") from error


def _discard(path: str) -> None:
    """Remove a temporary file; if even that fails, the next start does it."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _sync_dir(path: str) -> None:
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
