"""A command that runs on our behalf: it gets our signals, and is ended when it has to be.

It stays in our process group, so that it can use the terminal as if we were not there.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence

from quorumcache.router.commands.basics import Failure

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit codes, as of a shell, of a command that could not be started."""

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SIGNALLED = 128
"""Exit codes above it tell which signal ended the command."""


class Signals:
    """What becomes of the signals that this process gets, from `with` to its end.

    Before there is a command they cancel the task that made this object; `caught` is then the
    signal. After `pass_on` they go to the command.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.caught = 0
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._process: asyncio.subprocess.Process | None = None

    def __enter__(self) -> Signals:
        for number in PASSED_ON:
            self._loop.add_signal_handler(number, self._got, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in PASSED_ON:
            self._loop.remove_signal_handler(number)

    def pass_on(self, process: asyncio.subprocess.Process) -> None:
        """From now on they are the command's."""
        self._process = process
        if self.caught:
            self._send(self.caught)

    def _got(self, number: int) -> None:
        if self._process is not None:
            if number != signal.SIGINT or not _terminal_tells_it():
                self._send(number)
        elif not self.caught:
            self.caught = number
            self._task.cancel()

    def _send(self, number: int) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(number)


def _terminal_tells_it() -> bool:
    """Whether a Ctrl-C reaches the command without us: its terminal tells all of our group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


async def start(words: Sequence[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a command. `Failure` says why it cannot be started."""
    try:
        return await asyncio.create_subprocess_exec(*words, env=dict(environment))
    except FileNotFoundError:
        raise Failure(NOT_FOUND, f"{words[0]}: command not found") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Failure(NOT_EXECUTABLE, f"{words[0]}: cannot be run: {why}") from None


async def end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """SIGTERM, and SIGKILL when it still runs after the grace."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        if process.returncode is None:
            process.kill()
        await process.wait()


def exit_code(process: asyncio.subprocess.Process) -> int:
    """The exit code to end with, of a command that has ended."""
    code = process.returncode
    assert code is not None
    return code if code >= 0 else SIGNALLED - code
