"""Signals are taken by a thread, whatever the rest of the process does. As processes:
tests/integration/test_signals.py."""

from __future__ import annotations

import errno
import os
import queue
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from quorumcache.node.process.signals import (
    HELD,
    SignalsForbidden,
    StopRequests,
    hold,
    is_ignored,
    release,
)

DEADLINE_S = 30.0


class Asked:
    """What was asked for, in order."""

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()
        self.requests = StopRequests(
            self.told.put, lambda status, line: self.told.put((status, line))
        )

    def start(self, patience_s: float = DEADLINE_S) -> None:
        self.requests.start(patience_s=patience_s, status=7, line="too late")

    def send(self, number: signal.Signals) -> None:
        """To that thread alone: what is sent to the process may reach a thread of another test,
        which has not blocked it."""
        thread = self.requests._thread
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, number)

    def next(self) -> Any:
        return self.told.get(timeout=DEADLINE_S)


@pytest.fixture
def asked() -> Iterator[Asked]:
    hold()
    made = Asked()
    yield made
    made.requests.close()
    release()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_for_a_stop_and_a_second_one_ends_it(
    asked: Asked, number: signal.Signals
) -> None:
    asked.start()
    asked.send(number)
    assert asked.next() == number.name
    asked.send(number)
    assert asked.next() == (128 + number, "")


def test_a_stop_that_takes_too_long_is_told(asked: Asked) -> None:
    asked.start()
    asked.requests.be_patient(0.01, 3, "not stopped in time")
    asked.send(signal.SIGTERM)
    assert asked.next() == "SIGTERM"
    assert asked.next() == (3, "not stopped in time")


def test_signals_without_a_meaning_end_nothing(asked: Asked) -> None:
    asked.start()
    asked.send(signal.SIGUSR1)
    asked.send(signal.SIGUSR2)
    asked.send(signal.SIGINT)
    assert asked.next() == "SIGINT"


def test_a_stop_may_be_asked_for_from_within(asked: Asked) -> None:
    asked.start()
    asked.requests.ask("standard input has ended")
    assert asked.next() == "standard input has ended"
    asked.send(signal.SIGTERM)
    assert asked.told.empty()


def test_a_hangup_under_nohup_is_ignored(asked: Asked) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert is_ignored(signal.SIGHUP)
        asked.start()
        asked.requests.ask("the end")
        assert asked.next() == "the end"
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not is_ignored(signal.SIGHUP)


def test_all_are_held_and_released() -> None:
    hold()
    try:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= HELD
    finally:
        release()
    assert not HELD & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def forbid(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize(
    ("name", "call"), [("pthread_sigmask", "rt_sigprocmask"), ("sigtimedwait", "rt_sigtimedwait")]
)
def test_without_a_call_that_holds_or_takes_signals_nothing_is_held(
    monkeypatch: pytest.MonkeyPatch, name: str, call: str
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(signal, name, forbid)
    with pytest.raises(SignalsForbidden, match=f"the system forbids {call} .*seccomp"):
        hold()
    monkeypatch.undo()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_stop_is_asked_for_where_no_signal_may_be_sent_to_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked()
    hold()
    try:
        asked.start()
        sent = []
        monkeypatch.setattr(signal, "pthread_kill", forbid)

        def to_the_process(pid: int, number: signal.Signals) -> None:
            """Other tests' threads have not blocked it: here it goes to this thread alone."""
            sent.append(pid)
            monkeypatch.undo()
            asked.send(number)

        monkeypatch.setattr(os, "kill", to_the_process)
        asked.requests.ask("somebody")
        assert asked.next() == "somebody"
        assert sent == [os.getpid()]
        asked.requests.close()
    finally:
        release()
