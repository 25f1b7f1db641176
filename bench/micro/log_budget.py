"""The steps of a record on its way to the disk and back, as far as the loop takes part in them."""

from __future__ import annotations

import os
import queue
import select
from collections.abc import Callable
from typing import Any, Final

from quorumcache.bench.micro.steps import Step
from quorumcache.node.consensus.values import Entry, EntryKind
from quorumcache.node.storage.log_writer import new_log_writer
from quorumcache.node.wal.format import WalRecord, encode_frame

PAYLOAD_BYTES: Final = 180
"""About what an entry with one set of 100 bytes has."""
_FILE_BYTES: Final = 1 << 20
_WAIT_SECONDS: Final = 10.0


class WaitingLoop:
    """A loop that does nothing but hear of a thread, of either form of the log's writer."""

    def __init__(self) -> None:
        self._watched: tuple[int, Callable[[], None]] | None = None
        self._due: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]]
        self._due = queue.SimpleQueue()
        self._next: tuple[Callable[..., None], tuple[Any, ...]] | None = None

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._watched = descriptor, callback

    def remove_reader(self, descriptor: int) -> None:
        self._watched = None

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        self._due.put((callback, args))

    call_soon_threadsafe = call_soon

    def wait(self) -> None:
        """Until there is something to hear."""
        if self._watched is not None:
            assert select.select([self._watched[0]], [], [], _WAIT_SECONDS)[0]
        else:
            self._next = self._due.get(timeout=_WAIT_SECONDS)

    def hear(self) -> None:
        """Hear it."""
        if self._watched is not None:
            self._watched[1]()
        else:
            assert self._next is not None
            callback, args = self._next
            callback(*args)


class LogBudget:
    """Apart from the steps of a set: after each wait for the thread the caches are cold, and all
    that follows would take longer. The file is in memory: how long the thread takes is no matter.
    """

    def __init__(self) -> None:
        self._loop = WaitingLoop()
        loop: Any = self._loop
        self._log = new_log_writer(loop, 1 << 16)
        self._file = os.memfd_create("log")
        os.posix_fallocate(self._file, 0, _FILE_BYTES)
        entry = Entry(1, 1, int(EntryKind.NORMAL), b"x" * PAYLOAD_BYTES)
        self._frame = encode_frame([WalRecord(1, None, [entry])], _FILE_BYTES, 12345)
        self.written = 0

    def steps(self) -> list[Step]:
        """In the order in which they are taken."""
        return [
            Step("hand it to the thread", self._write, 3),
            Step("hear that it is durable", self._loop.hear, 3, before=self._loop.wait),
        ]

    def _write(self) -> None:
        self._log.append(self._file, self._frame, 0, _FILE_BYTES, self._durable)

    def _durable(self, filled: int, error: BaseException | None, was_cut: bool) -> None:
        assert error is None
        self.written += 1

    def close(self) -> None:
        """End the thread."""
        self._log.close()
        os.close(self._file)
