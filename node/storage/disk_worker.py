"""A thread that does the disk's work, and calls back on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue

from quorumcache.node.errors import OutOfResources
from quorumcache.node.storage.disk import Done


class DiskWorker:
    """One daemon thread that runs jobs in order. Started by its first job.

    When no thread can be had, that job is refused, and the next one tries again.
    """

    __slots__ = ("_loop", "_name", "_queue", "_runner")

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._queue: SimpleQueue[tuple[Callable[[], None], Done] | None] = SimpleQueue()
        self._runner: threading.Thread | None = None

    def submit(self, work: Callable[[], None], done: Done) -> None:
        """Run `work` in the thread, then `done` with its error or None on the loop."""
        if self._runner is None:
            runner = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                runner.start()
            except RuntimeError as error:
                with contextlib.suppress(RuntimeError):  # The loop is closed: nothing waits.
                    refused = OutOfResources(f"{self._name}: {error}")
                    self._loop.call_soon_threadsafe(done, refused)
                return
            self._runner = runner
        self._queue.put((work, done))

    def close(self, *, wait: bool = True) -> None:
        """Return when everything submitted so far has run, and the thread has ended.

        Not `wait`: at once; it ends when it has done what it is at, or with the process.
        """
        if self._runner is not None:
            self._queue.put(None)
            if wait:
                self._runner.join()
            self._runner = None

    def _run(self) -> None:
        get = self._queue.get
        wake = self._loop.call_soon_threadsafe
        while True:
            job = get()
            if job is None:
                return
            work, done = job
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # The caller handles every kind of it.
                error = raised
            try:  # noqa: SIM105  # A context manager takes as long as the rest of this.
                wake(done, error)
            except RuntimeError:
                pass  # The loop is closed: nothing waits for it.
            # Do not keep the last job's data alive while waiting for the next one.
            del job, work, done, error
