"""The forms of what writes the log. What all promise is tested with each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from quorumcache.node.storage.disk_worker import DiskWorker
from quorumcache.node.storage.log_file import LogFile
from quorumcache.node.storage.log_writer import LogWriter, PlainLogWriter
from tests.support.native_core import native

DEADLINE_S = 60.0


class Form(NamedTuple):
    """One of them. It makes its calls to the system by the functions of `os`, which a test may
    have replaced."""

    name: str
    make: Callable[[asyncio.AbstractEventLoop, int], LogWriter]


def plain(loop: asyncio.AbstractEventLoop, zeros: int) -> LogWriter:
    """The twin in Python."""
    return PlainLogWriter(DiskWorker(loop, "log of a test"), zeros)


FORMS = [Form("plain", plain)]
UNREPLACED = list(FORMS)
"""The same, without functions that could be replaced, as nodes run them."""

core = native("log_writer")
"""The native one; None where only the sources run."""

if core is not None:
    FORMS.append(Form("native_log_writer", lambda loop, zeros: core.LogWriter(loop, zeros, os)))
    UNREPLACED.append(Form("native_log_writer", lambda loop, zeros: core.LogWriter(loop, zeros)))


class Log(NamedTuple):
    """A file of the log with its writer and their loop."""

    loop: asyncio.AbstractEventLoop
    writer: LogWriter
    file: LogFile

    def append(self, data: bytes) -> BaseException | None:
        """Until it is done; its error."""
        told: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.file.append(data, told.set_result)
        return self.loop.run_until_complete(asyncio.wait_for(told, DEADLINE_S))


@contextmanager
def opened(form: Form, path: Path, zeros: bytes) -> Iterator[Log]:
    """A new file whose header is `header`."""
    loop = asyncio.new_event_loop()
    writer = form.make(loop, len(zeros))
    file = LogFile(str(path), writer, zeros)
    file.create(b"header")
    try:
        yield Log(loop, writer, file)
    finally:
        file.close()
        writer.close()
        loop.close()
