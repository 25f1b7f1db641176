"""Standard streams of all our commands: open from the start, and output that cannot be written.

`quorumcached`, `quorumcache` and `quorumcache-bench` use it. Like `names.py` it is left out of
`ring/__init__.py`: the rest of `ring` touches nothing of the process. What a node adds, lines that
are never waited for, is in `node/telemetry/streams.py`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TextIO

from quorumcache.ring.forbidden import forbidden, is_forbidden, where


def open_standard_streams() -> None:
    """Open descriptors 0, 1 and 2 on /dev/null where the process was started without them.

    Otherwise the next file or socket takes the number, and whatever is printed goes there. Call it
    before anything is opened.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115


def run_command(
    command: Callable[[], int], *, name: str, failed: int, tell: Callable[[str], object]
) -> int:
    """Run a command that prints its results, and return its exit status.

    Output that cannot be written (a full disk) is one line, given to `tell` for stderr, and the
    status `failed`. A reader that has gone (`| head`) has had enough: that is no failure.
    """
    ended: SystemExit | None = None
    try:
        try:
            status = command()
        except SystemExit as end:  # argparse, after --help or --version.
            ended = end
        sys.stdout.flush()
        if ended is not None:
            raise ended
    except BrokenPipeError:
        discard(sys.stdout)
        status = 0
    except OSError as error:
        discard(sys.stdout)
        what = error.filename or "cannot write the output"
        told = f"{what}: {error.strerror or error}"
        tell(f"{name}: {forbidden(where(error), error) if is_forbidden(error) else told}")
        status = failed
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return status


def discard(stream: TextIO) -> None:
    """Send what the stream holds, and all that is written to it from now on, to /dev/null."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
