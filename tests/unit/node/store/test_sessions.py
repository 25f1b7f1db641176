"""The session table: first answers, floors, bounds."""

import pytest

from quorumcache.node.store import sessions
from quorumcache.node.store.results import ITEM, OK, STORED
from quorumcache.node.store.sessions import SessionTable, raise_floor, remember


def test_open_twice_is_open_once() -> None:
    table = SessionTable()
    assert table.open(7, 10) == OK
    state = table.touch(7, 20)
    assert state is not None
    remember(state, 1, STORED)
    assert table.open(7, 30) == OK
    assert table.touch(7, 30) is state
    assert state.results == {1: STORED}
    assert state.last_active_ms == 30


def test_raising_the_floor_forgets() -> None:
    table = SessionTable()
    table.open(7, 0)
    state = table.touch(7, 0)
    assert state is not None
    for sequence in (1, 2, 3, 1000):
        remember(state, sequence, (ITEM, b"12345"))
    assert state.result_bytes == 20
    raise_floor(state, 3)
    assert sorted(state.results) == [3, 1000]
    raise_floor(state, 900)
    assert sorted(state.results) == [1000]
    assert state.result_bytes == 5
    raise_floor(state, 10**15)
    assert state.results == {}
    assert state.result_bytes == 0


def test_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RESULTS_MAX", 4)
    monkeypatch.setattr(sessions, "RESULT_BYTES_MAX", 100)
    table = SessionTable()
    table.open(7, 0)
    state = table.touch(7, 0)
    assert state is not None
    for sequence in range(1, 10):
        remember(state, sequence, STORED)
    assert sorted(state.results) == [6, 7, 8, 9]
    assert state.floor == 6
    remember(state, 10, (ITEM, b"x" * 90))
    remember(state, 11, (ITEM, b"x" * 90))
    assert sorted(state.results) == [11]
    remember(state, 12, (ITEM, b"x" * 900))
    assert sorted(state.results) == [12]
    assert state.result_bytes == 900


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 3)
    table = SessionTable()
    for session in (1, 2, 3):
        table.open(session, session)
    table.touch(1, 4)
    table.open(4, 5)
    assert list(table.sessions) == [3, 1, 4]


def test_idle_and_expire() -> None:
    table = SessionTable()
    for session in (1, 2, 3):
        table.open(session, session * 10)
    table.touch(1, 100)
    assert table.idle(100, 70) == [2, 3]
    assert table.idle(100, 75) == [2]
    # Session 2 became active between the leader's look and the log.
    table.touch(2, 95)
    table.expire([2, 3, 9], 100, 70)
    assert list(table.sessions) == [1, 2]


def test_restore() -> None:
    table = SessionTable()
    table.open(2, 5)
    table.open(1, 6)
    state = table.touch(2, 7)
    assert state is not None
    remember(state, 9, (ITEM, b"abc"))
    remember(state, 8, STORED)
    raise_floor(state, 8)
    other = SessionTable()
    other.open(99, 1)
    other.restore(table.images())
    assert other.images() == table.images()
    assert list(other.sessions) == [1, 2]
    assert other.sessions[2].result_bytes == 3
