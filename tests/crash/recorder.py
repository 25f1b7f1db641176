"""Files in memory behind the system calls that `node/storage/` makes, writing down
each change.

The recorded code is the production `RealDisk`, down to the order of its system calls: only the
module `os` that it sees is another one (`MemoryOs`), and its threads are replaced. In a recording
they are real threads that hold a baton (`BatonWorker`): each system call waits for its turn on the
loop, so the two workers of a disk interleave call by call, the same way for the same seed. In a
restart, where nothing runs beside, a job runs as a whole (`InlineWorker`).

Reading order: `MemoryFiles`, `MemoryOs`, `mounted`, the workers, `RecordedDisk`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from quorumcache.node.storage import disk_calls, log_writer, real_disk
from quorumcache.node.storage.disk import DiskSpace, Done
from quorumcache.node.storage.log_writer import PlainLogWriter
from quorumcache.node.storage.real_disk import RealDisk
from tests.crash.operations import (
    DIRECTORY,
    Create,
    MakeDir,
    Operation,
    Rename,
    Sync,
    SyncDir,
    Truncate,
    Unlink,
    Write,
    apply_data,
    apply_name,
    parent,
)

Image = dict[str, bytes | None]
"""What a disk holds: path to content, None for a directory."""


class ProcessEnded(BaseException):
    """Raised in a worker of a process that has ended: nothing it does counts any more."""


class MemoryFiles:
    """What a process sees of its files, and what it did to them."""

    def __init__(self, image: Image | None = None) -> None:
        self.names: dict[str, int] = {}
        self.contents: dict[int, bytearray] = {}
        self.log: list[Operation] = []
        """Every change since the image, in order."""
        self.read_paths: set[str] = set()
        """Files of which anything was read."""
        self.before_change: Callable[[], None] = _nothing
        """Called before every change."""
        self.pause: Callable[[], None] = _nothing
        """Called first thing in every system call that changes something."""
        self.skipped: set[str] = set()
        """Rules broken on purpose: "sync_file", "sync_data", "sync_dir" do nothing."""
        self._fds: dict[int, str | int] = {}
        self._next_fd = 3
        for path, content in sorted((image or {}).items()):
            if content is None:
                self.names[path] = DIRECTORY
            else:
                self.contents[len(self.contents)] = bytearray(content)
                self.names[path] = len(self.contents) - 1

    def change(self, operation: Operation) -> None:
        """Make one change and write it down."""
        self.before_change()
        self.log.append(operation)
        if isinstance(operation, Write | Truncate):
            apply_data(self.contents[operation.inode], operation)
        elif not isinstance(operation, Sync | SyncDir):
            apply_name(self.names, operation)

    def is_dir(self, path: str) -> bool:
        """The directory that everything is in has the path ""."""
        return not path or self.names.get(path) == DIRECTORY

    def inode(self, path: str) -> int:
        """Of a file; the errors are those of the kernel."""
        inode = self.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if inode == DIRECTORY:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        return inode

    def read(self, path: str) -> bytes:
        """The whole file."""
        self.read_paths.add(path)
        return bytes(self.contents[self.inode(path)])

    def image(self) -> Image:
        """Everything as the process sees it."""
        return {
            path: None if inode == DIRECTORY else bytes(self.contents[inode])
            for path, inode in self.names.items()
        }

    # --- descriptors

    def open(self, path: str, flags: int) -> int:
        self.pause()
        if flags & os.O_DIRECTORY:
            path = "" if path == "." else path
            if not self.is_dir(path):
                raise FileNotFoundError(errno.ENOENT, "No such directory", path)
            return self._new_fd(path)
        if path not in self.names and flags & os.O_CREAT:
            if not self.is_dir(parent(path)):
                raise FileNotFoundError(errno.ENOENT, "No such directory", path)
            inode = len(self.contents)
            self.contents[inode] = bytearray()
            self.change(Create(path, inode))
        inode = self.inode(path)
        if flags & os.O_TRUNC and self.contents[inode]:
            self.change(Truncate(inode, 0))
        if not flags & os.O_TRUNC:
            self.read_paths.add(path)  # By way of this descriptor; nobody opens it for nothing.
        return self._new_fd(inode)

    def _new_fd(self, target: str | int) -> int:
        self._next_fd += 1
        self._fds[self._next_fd] = target
        return self._next_fd

    def target(self, fd: int) -> Any:
        """The inode of a file's descriptor, the path of a directory's."""
        return self._fds[fd]

    def close(self, fd: int) -> None:
        del self._fds[fd]


class MemoryOs:
    """The part of the module `os` that the product uses for its files."""

    path: Any
    O_RDONLY, O_WRONLY, O_RDWR = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
    O_CREAT, O_TRUNC, O_CLOEXEC, O_DIRECTORY = os.O_CREAT, os.O_TRUNC, os.O_CLOEXEC, os.O_DIRECTORY

    def __init__(self, files: MemoryFiles) -> None:
        self._files = files
        self.path = _MemoryPath(files)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        return self._files.open(path, flags)

    def close(self, fd: int) -> None:
        self._files.close(fd)

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        return bytes(self._files.contents[self._files.target(fd)][offset : offset + count])

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return self.pwritev(fd, [data], offset)

    def pwritev(self, fd: int, buffers: Any, offset: int) -> int:
        self._files.pause()
        data = b"".join(bytes(buffer) for buffer in buffers)
        self._files.change(Write(self._files.target(fd), offset, data))
        return len(data)

    def ftruncate(self, fd: int, size: int) -> None:
        self._files.pause()
        self._files.change(Truncate(self._files.target(fd), size))

    def fsync(self, fd: int) -> None:
        self._files.pause()
        target = self._files.target(fd)
        if isinstance(target, str):
            if "sync_dir" not in self._files.skipped:
                self._files.change(SyncDir(target))
        elif "sync_file" not in self._files.skipped:
            self._files.change(Sync(target))

    def fdatasync(self, fd: int) -> None:
        self._files.pause()
        if "sync_data" not in self._files.skipped:
            self._files.change(Sync(self._files.target(fd)))

    def rename(self, path: str, new_path: str) -> None:
        self._files.pause()
        assert parent(path) == parent(new_path), "renames across directories are not modelled"
        self._files.change(Rename(path, new_path, self._files.inode(path)))

    replace = rename

    def unlink(self, path: str) -> None:
        self._files.pause()
        self._files.inode(path)
        self._files.change(Unlink(path))

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        self._files.pause()
        self._files.change(MakeDir(path))

    def listdir(self, path: str) -> list[str]:
        if not self._files.is_dir(path):
            raise FileNotFoundError(errno.ENOENT, "No such directory", path)
        return [os.path.basename(name) for name in self._files.names if parent(name) == path]


class _MemoryPath:
    """The part of `os.path`."""

    def __init__(self, files: MemoryFiles) -> None:
        self._files = files

    dirname = staticmethod(os.path.dirname)
    join = staticmethod(os.path.join)

    def abspath(self, path: str) -> str:
        return path

    def isdir(self, path: str) -> bool:
        return self._files.is_dir(path)

    def exists(self, path: str) -> bool:
        return path in self._files.names


@contextlib.contextmanager
def mounted(files: MemoryFiles) -> Iterator[None]:
    """All that touches files in node/storage works on `files` meanwhile."""
    modules = (disk_calls, log_writer, real_disk)
    before = disk_calls.os
    memory = MemoryOs(files)
    for module in modules:
        module.os = memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module.os = before  # type: ignore[attr-defined]


# --- workers


class InlineWorker:
    """Runs each job as a whole, on the next turn of the loop."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def submit(self, work: Callable[[], None], done: Done) -> None:
        self._loop.call_soon(lambda: done(_error_of(work)))

    def close(self) -> None:
        pass


def _error_of(work: Callable[[], None]) -> BaseException | None:
    try:
        work()
    except Exception as error:
        return error
    return None


class _Job:
    """One job in a thread of its own, which goes on by one system call per `step`."""

    def __init__(self, work: Callable[[], None], done: Done) -> None:
        self.done = done
        self.error: BaseException | None = None
        self.is_finished = False
        self.is_killed = False
        self._work = work
        self._go = threading.Semaphore(0)
        self._paused = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def step(self) -> None:
        """Go on to the next system call, or to the end."""
        if not self.thread.is_alive():
            self.thread.start()
        else:
            self._go.release()
        self._paused.acquire()

    def pause(self) -> None:
        """In the thread: wait for the next `step`."""
        if not self.is_killed:
            self._paused.release()
            self._go.acquire()
        if self.is_killed:
            raise ProcessEnded

    def kill(self) -> None:
        """The process ends: the thread does nothing more."""
        self.is_killed = True
        if self.thread.is_alive():
            self._go.release()
            self.thread.join()

    def _run(self) -> None:
        _running.job = self
        try:
            self.error = _error_of(self._work)
        except ProcessEnded:
            return
        self.is_finished = True
        self._paused.release()


_running = threading.local()


def pause_for_turn() -> None:
    """For `MemoryFiles.pause`: a call from a job waits for its turn, one from the loop does not."""
    job: _Job | None = getattr(_running, "job", None)
    if job is not None:
        job.pause()


class BatonWorker:
    """Runs jobs in order; each system call is a timer of the loop, after a random delay."""

    def __init__(self, loop: Any, random: Random) -> None:
        self._loop = loop
        self._random = random
        self._queue: deque[_Job] = deque()
        self._is_killed = False

    def submit(self, work: Callable[[], None], done: Done) -> None:
        self._queue.append(_Job(work, done))
        if len(self._queue) == 1:
            self._loop.call_later(self._random.random(), self._step)

    def _step(self) -> None:
        if self._is_killed:
            return
        job = self._queue[0]
        job.step()
        if job.is_finished:
            self._queue.popleft()
            self._loop.call_soon(self._call_done, job)
        if self._queue:
            self._loop.call_later(self._random.random(), self._step)

    def _call_done(self, job: _Job) -> None:
        if not self._is_killed:
            job.done(job.error)

    def kill(self) -> None:
        """The process ends, in the middle of whatever it does."""
        self._is_killed = True
        if self._queue:
            self._queue[0].kill()

    def close(self) -> None:
        pass


class RecordedDisk(RealDisk):
    """The production disk on files in memory. To be used while they are `mounted`."""

    def __init__(
        self,
        files: MemoryFiles,
        loop: Any,
        *,
        zero_ahead_bytes: int = 0,
        random: Random | None = None,
    ) -> None:
        """With `random`, jobs run beside the loop, in an order drawn from it."""
        super().__init__(loop, zero_ahead_bytes=zero_ahead_bytes, reserved_descriptors=0)
        self.files = files
        self.loop = loop
        self.zero_ahead_bytes = zero_ahead_bytes
        self._workers: list[Any] = []
        for _ in range(3):
            self._workers.append(
                InlineWorker(loop) if random is None else BatonWorker(loop, random)
            )
        log_worker, self._segment_worker, self._background_worker = self._workers
        self._log_writer = PlainLogWriter(log_worker, zero_ahead_bytes)

    def mount(self) -> RecordedDisk:
        """As `FakeDisk` has it: the disk as one process sees it."""
        return self

    def kill(self) -> None:
        """End the process that uses this disk, not the power."""
        for worker in self._workers:
            worker.kill()

    def read(self, path: str) -> bytes:
        return self.files.read(path)

    def space(self, path: str) -> DiskSpace:
        return DiskSpace(0, 0)

    def lock(self, path: str) -> None:
        """Nothing: `flock` ends with the process, and what the file holds is for people."""


def _nothing() -> None:
    pass
