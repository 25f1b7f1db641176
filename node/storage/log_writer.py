"""What writes the log, beside the loop: the `LogWriter` of a disk.

In the compiled form it is a thread in C (`core/log_writer_thread.c`), which takes no lock of
Python; here is its twin, a thread of Python. It also takes the place of the other where the system
does not let that start: a seccomp profile may forbid the calls that only the native one makes
(`eventfd`).

Reading order: `LogWriter`, `PlainLogWriter`, `new_log_writer`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol

from quorumcache.node.errors import OutOfResources
from quorumcache.node.storage import disk_calls
from quorumcache.node.storage.disk import Done
from quorumcache.node.storage.disk_worker import DiskWorker
from quorumcache.node.telemetry.logs import event, get_logger

BLOCK_BYTES = 4096
THREAD_NAME: Final = "quorumcache-log"

log = get_logger("disk")

Written = Callable[[int, BaseException | None, bool], None]
"""How an append ended: where the zeros behind it end now, its error, and whether that was a refusal
after which the file was cut back to where it ended before."""


class LogWriter(Protocol):
    """A thread that does what it is handed in order, and calls back on the loop.

    Started by its first job. A job that was handed in is done, also when the loop has ended. When
    there is no thread or descriptor to start with just now, an append is refused on the loop as by
    a full disk, with nothing written, and the next job tries again.
    """

    def append(self, fd: int, data: bytes, start: int, filled_bytes: int, written: Written) -> None:
        """Write `data` at `start` and sync it. Zeros stand from there to `filled_bytes`; if it
        goes beyond, more of them are written behind it."""
        ...

    def close_file(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def close(self) -> None:
        """Return when everything handed in so far is done, and the thread has ended."""
        ...


class Worker(Protocol):
    """What runs jobs in order: a `DiskWorker`, or what a test has in its place."""

    def submit(self, work: Callable[[], None], done: Done) -> None:
        """Run `work` beside the loop, then `done` with its error or None on the loop."""
        ...

    def close(self) -> None:
        """Return when everything submitted so far has run."""
        ...


class PlainLogWriter:
    """The twin in Python."""

    __slots__ = ("_worker", "_zeros")

    def __init__(self, worker: Worker, zeros: int) -> None:
        self._worker = worker
        self._zeros = bytes(zeros)

    def append(self, fd: int, data: bytes, start: int, filled_bytes: int, written: Written) -> None:
        """See `LogWriter`."""
        append = _Append(fd, data, start, filled_bytes, self._zeros, written)
        self._worker.submit(append.run, append.finished)

    def close_file(self, fd: int) -> None:
        """See `LogWriter`."""

        def done(error: BaseException | None) -> None:
            if isinstance(error, OutOfResources):  # There is no thread to do it.
                os.close(fd)

        self._worker.submit(lambda: os.close(fd), done)

    def close(self) -> None:
        """See `LogWriter`."""
        self._worker.close()


class _Append:
    """One append: the thread uses it, and then the loop."""

    __slots__ = ("_data", "_fd", "_filled_bytes", "_start", "_was_cut", "_written", "_zeros")

    def __init__(
        self, fd: int, data: bytes, start: int, filled_bytes: int, zeros: bytes, written: Written
    ) -> None:
        self._fd = fd
        self._data = data
        self._start = start
        self._filled_bytes = filled_bytes
        self._zeros = zeros
        self._written = written
        self._was_cut = False

    def run(self) -> None:
        """In the thread."""
        try:
            self._filled_bytes = write(
                self._fd, self._data, self._start, self._filled_bytes, self._zeros
            )
        except OSError as error:
            if disk_calls.was_refused(error):
                # The sync of the next append makes the cut durable. Until then a crash may
                # leave any part of the data there, which is a torn tail like any other.
                self._filled_bytes = self._start
                os.ftruncate(self._fd, self._start)
                self._was_cut = True
            raise
        # An error of the sync is never "full": some pages may be written, some dropped, and
        # a second sync would report success for the dropped ones.
        os.fdatasync(self._fd)

    def finished(self, error: BaseException | None) -> None:
        """On the loop."""
        self._written(self._filled_bytes, error, self._was_cut)


def write(fd: int, data: bytes, start: int, filled_bytes: int, zeros: bytes) -> int:
    """Write `data` at `start`; return where the zeros behind it end.

    Beyond `filled_bytes` there is nothing yet: so zeros follow in the same call, unless it is long.
    """
    end = start + len(data)
    if end <= filled_bytes:
        written = os.pwrite(fd, data, start)
    else:
        # Whole blocks: the next fill must not share a block with this one.
        is_long = 2 * len(data) >= len(zeros)
        zeros_count = 0 if is_long else len(zeros) - end % BLOCK_BYTES
        written = os.pwritev(fd, (data, memoryview(zeros)[: max(0, zeros_count)]), start)
        # Not all of the zeros went in: good enough, the next append tries again.
        filled_bytes = max(end, start + written)
    if written < len(data):
        disk_calls.write_all(fd, memoryview(data)[written:], start + written)
    return filled_bytes


def new_log_writer(loop: asyncio.AbstractEventLoop, zeros: int) -> LogWriter:
    """One of the form that this process runs, which writes so many zeros ahead."""
    try:
        from quorumcache.node.core.log_writer import LogWriter as NativeLogWriter
    except ImportError:  # The sources run, or a system without what it needs.
        return PlainLogWriter(DiskWorker(loop, THREAD_NAME), zeros)

    def twin(error: OSError) -> LogWriter | None:
        if disk_calls.was_refused(error):
            return None
        event(log, "warning", "log_thread_forbidden", why=error)
        return PlainLogWriter(DiskWorker(loop, THREAD_NAME), zeros)

    return NativeLogWriter(loop, zeros, twin=twin)
