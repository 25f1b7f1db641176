"""Lines on the standard streams of a node: never waited for.

A pipe without a reader, a terminal stopped with Ctrl-S or a disk that hangs keeps a write waiting
for ever. So lines go through a `LineWriter`: a bounded queue and a thread that writes. What does
not fit is dropped and counted, and once lines flow again one line says how many were lost.

Reading order: `LineWriter`, `write_line`. What all commands do with their streams is in
`ring/streams.py`.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from quorumcache.ring.streams import discard

WAITING_BYTES_MAX = 4 << 20
"""Lines that wait to be written: minutes of the busiest log, and little beside the items."""

_RETRY_MS = 1000


class LineWriter:
    """Writes lines to a descriptor from a thread of its own; `write` never waits.

    `on_resumed` gives the line that tells of dropped ones, from their number.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        on_resumed: Callable[[int], str] | None = None,
        bytes_max: int = WAITING_BYTES_MAX,
    ) -> None:
        self._descriptor = descriptor
        self._on_resumed = on_resumed
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        """Of all lines that are not written yet, the one under way included."""
        self._untold = 0
        self._is_torn = False
        """The last line ended in its middle: the next one starts on a line of its own."""
        self.dropped = 0
        """Lines lost so far: for lack of room, or because they could not be written."""
        self._thread = threading.Thread(target=self._run, name="line writer", daemon=True)
        self._thread.start()

    def write(self, text: str) -> bool:
        """Queue a line, or several, without the last line feed. False when it was dropped."""
        data = text.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if self._waiting_bytes + len(data) > self._bytes_max:
                self._lost()
                return False
            self._waiting_bytes += len(data)
            self._waiting.append(data)
            self._changed.notify_all()
        return True

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written, but no longer than so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting_bytes, seconds)

    def count_lost(self) -> None:
        """Count a line that could not even be made."""
        with self._changed:
            self._lost()

    def _lost(self) -> None:
        self.dropped += 1
        self._untold += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                data = self._waiting.popleft()
            written = self._put(data)
            with self._changed:
                if not written:
                    self._lost()
                untold = self._untold if written else 0
            if untold and self._on_resumed is not None:
                told = self._put(self._on_resumed(untold).encode() + b"\n")
                with self._changed:
                    self._untold -= untold if told else 0
            with self._changed:
                self._waiting_bytes -= len(data)
                self._changed.notify_all()

    def _put(self, data: bytes) -> bool:
        """Write it all, however long that takes. False when it is impossible."""
        if self._is_torn:
            data = b"\n" + data
        done = 0
        while done < len(data):
            try:
                done += os.write(self._descriptor, data[done:])
            except BlockingIOError:  # Somebody has made the pipe non-blocking for all.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                if poll.poll(_RETRY_MS):
                    time.sleep(0.001)  # Some room, but not yet enough.
            except OSError:
                self._is_torn = self._is_torn or done > 0
                return False
        self._is_torn = False
        return True


def write_line(stream: TextIO, line: str) -> OSError | None:
    """Print a line where that is possible without waiting; else what kept it from being printed.

    After a failure the stream is /dev/null: what is left in its buffer must not fail once more when
    the process ends.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        descriptor = -1  # Not a file, such as a buffer of a test.
    try:
        if descriptor >= 0:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            if not poll.poll(0):
                return BlockingIOError("its reader takes no output")
        stream.write(line + "\n")
        stream.flush()
    except OSError as error:
        discard(stream)
        return error
    return None
