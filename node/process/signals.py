"""Signals of a node's process, taken by a thread of their own.

The loop may hang in a system call, or be busy for long: a node must end all the same when it is
told to. So the signals are blocked in every thread, from the first line of the program on
(`hold`), and one thread waits for them. It passes a request to stop on to the loop and then watches
the clock: when the process has not ended in time, the thread ends it with a line that says so.

A signal that comes before the thread runs waits. A process that is the first of its container
(PID 1) would otherwise lose it, since the kernel drops signals that such a process does not handle.

| Signal | Effect |
|---|---|
| SIGTERM, SIGINT, SIGHUP | clean stop; a second one ends the process at once |
| SIGHUP under `nohup` | ignored |
| SIGUSR1, SIGUSR2 | a line in the log, nothing else |
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from quorumcache.ring.forbidden import forbidden

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
IGNORED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
HELD = frozenset((*STOP_SIGNALS, *IGNORED_SIGNALS))

_WAKE = signal.SIGUSR2
"""Sent to the thread itself when something was asked for."""


class SignalsForbidden(RuntimeError):
    """The system forbids a call without which this process could not be told to stop."""


def hold() -> None:
    """Keep the signals waiting until somebody takes them. SignalsForbidden: nothing is held."""
    call = "rt_sigtimedwait"
    try:
        signal.sigtimedwait((), 0)  # Takes none; it is what will.
        call = "rt_sigprocmask"
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    except OSError as error:
        raise SignalsForbidden(forbidden(call, error)) from error


def release() -> None:
    """Undo `hold`: what waits takes effect now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def is_ignored(number: signal.Signals) -> bool:
    """The process was started with this signal ignored, as `nohup` does with SIGHUP."""
    return signal.getsignal(number) is signal.SIG_IGN


class StopRequests:
    """Waits for signals in a thread. `hold` comes first, in the main thread.

    `on_stop(reason)` is called in that thread, once. `on_late(status, line)` is called when the
    process has not ended in time (`line` says so), or when a second signal wants it to end at once
    (`line` is ""); it must end the process.
    """

    def __init__(self, on_stop: Callable[[str], None], on_late: Callable[[int, str], None]) -> None:
        self._on_stop = on_stop
        self._on_late = on_late
        self._patience: tuple[float, int, str] = (0.0, 1, "")
        self._asked = ""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def start(self, *, patience_s: float, status: int, line: str) -> None:
        """Begin to listen; what these mean: see `be_patient`."""
        self.be_patient(patience_s, status, line)
        self._thread.start()

    def be_patient(self, seconds: float, status: int, line: str) -> None:
        """How long a stop may take from now on; exit status and line if it takes longer."""
        self._patience = (seconds, status, line)

    def ask(self, reason: str) -> None:
        """Ask for a stop as a signal does, from any thread."""
        self._asked = reason
        self._wake()

    def close(self) -> None:
        """Listen no more."""
        self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        if self._thread.ident is not None and self._thread.is_alive():
            try:
                signal.pthread_kill(self._thread.ident, _WAKE)
            except PermissionError:  # A seccomp profile may forbid tgkill.
                os.kill(os.getpid(), _WAKE)  # All threads hold it, and that one takes it.

    def _run(self) -> None:
        from quorumcache.node.telemetry.logs import (  # Late: `hold` must not wait for it.
            event,
            get_logger,
        )

        signals_seen = 0
        deadline: float | None = None
        while not self._closing:
            if deadline is None:
                number = signal.Signals(signal.sigwait(HELD))
            else:
                info = signal.sigtimedwait(HELD, max(0.0, deadline - time.monotonic()))
                if info is None:
                    _, status, line = self._patience
                    self._on_late(status, line)
                    return
                number = signal.Signals(info.si_signo)
            if self._closing:
                return
            reason = ""
            if self._asked:
                reason, self._asked = self._asked, ""
            elif number in IGNORED_SIGNALS or (number == signal.SIGHUP and is_ignored(number)):
                event(get_logger("process"), "info", "signal_ignored", signal=number.name)
            else:
                signals_seen += 1
                if signals_seen > 1:
                    self._on_late(128 + number, "")
                    return
                reason = number.name
            if reason and deadline is None:
                deadline = time.monotonic() + self._patience[0]
                self._on_stop(reason)
