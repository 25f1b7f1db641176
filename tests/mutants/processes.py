"""Runs commands so that none outlives us: each in a process group of its own, ended as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.05


class Stopped(Exception):
    """The whole run was told to end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command came out."""

    status: int | None
    """Exit status; None when it was ended by us, in time (`seen_enough`) or out of it."""
    output: str
    seconds: float
    timed_out: bool = False


class Processes:
    """The commands under way. `run` is called from several threads, `stop` from any, and from
    signal handlers.
    """

    def __init__(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        """End all commands within POLL_SECONDS, and let none begin.

        Only a mark: whoever started a command ends it. An exception out of a signal handler could
        come in the middle of a start, and what was started would be nobody's.
        """
        self._stopped = True

    def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: dict[str, str],
        timeout_seconds: float,
        seen_enough: Callable[[str], bool] = lambda output: False,
    ) -> Ended:
        """Run to the end, to the timeout, or until `seen_enough` of its output.

        Raises `Stopped` when `stop` was called.
        """
        if self._stopped:
            raise Stopped
        started = time.monotonic()
        with tempfile.NamedTemporaryFile("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output.fileno(),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

            def read() -> str:
                # Through a handle of our own: the command writes at the offset of the other one.
                return Path(output.name).read_text(errors="replace")

            is_cut = timed_out = False
            try:
                while not (_has_ended(process.pid) or is_cut or self._stopped):
                    time.sleep(POLL_SECONDS)
                    timed_out = time.monotonic() - started > timeout_seconds
                    is_cut = timed_out or seen_enough(read())
            finally:
                # Its leader is reaped last: until then nobody else has the id of the group.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if self._stopped:
                raise Stopped
            seconds = time.monotonic() - started
            status = None if is_cut else process.returncode
            return Ended(status, read(), seconds, timed_out)


def _has_ended(pid: int) -> bool:
    """Without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
