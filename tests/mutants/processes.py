"""Runs commands so that none outlives us: each in a process group of its own, ended as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
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
    """The commands under way. `run` is called from several threads, `stop` from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._stopped = False

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
        started = time.monotonic()
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            process = self._start(command, directory, environment, output.fileno())

            def read() -> str:
                output.seek(0)
                return output.read()

            is_cut = timed_out = False
            try:
                while not _has_ended(process.pid):
                    time.sleep(POLL_SECONDS)
                    timed_out = time.monotonic() - started > timeout_seconds
                    is_cut = timed_out or seen_enough(read())
                    if is_cut:
                        break
            finally:
                self._end(process)
            if self._stopped:
                raise Stopped
            seconds = time.monotonic() - started
            status = None if is_cut else process.returncode
            return Ended(status, read(), seconds, timed_out)

    def _start(
        self, command: Sequence[str], directory: Path, environment: dict[str, str], output: int
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.add(process.pid)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the whole group. Its leader is reaped last: until then nobody else has its id."""
        with self._lock:
            self._groups.discard(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """End all commands, and let none begin."""
        with self._lock:
            self._stopped = True
            for group in self._groups:
                os.killpg(group, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    """Without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
