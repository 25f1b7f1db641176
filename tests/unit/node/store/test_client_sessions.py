"""Sessions of clients: bounded as a whole, not at the cost of the nodes' own; kept by snapshots."""

import pytest

from quorumcache.node.store import sessions
from quorumcache.node.store.commands import (
    OP_APPEND,
    OP_INCR,
    OP_REFUSE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
)
from quorumcache.node.store.results import (
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STALE_SEQUENCE,
    STORED,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN, SessionTable
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import ShardStore

A, B, C, D = (CLIENT_SESSION_MIN + number for number in range(4))
ONE = b" 0 1\r\n1\r\n"


def counted(table: SessionTable) -> tuple[int, int]:
    """What `clients` and `client_results` should be."""
    of_clients = [s for i, s in table.sessions.items() if i >= CLIENT_SESSION_MIN]
    return len(of_clients), sum(len(state.results) for state in of_clients)


def answer(table: SessionTable, session: int, *sequences: int) -> None:
    for sequence in sequences:
        state = table.touch(session, 0)
        assert state is not None
        table.remember(session, state, sequence, STORED)


def test_many_clients_do_not_drop_the_sessions_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    table = SessionTable()
    for session in (7, A, 8, B):
        table.open(session, 0)
    answer(table, A, 1, 2)
    answer(table, B, 1)
    table.touch(A, 1)
    table.open(C, 2)
    assert list(table.sessions) == [7, 8, A, C], "the client that was idle longest has gone"
    assert (table.clients, table.client_results) == counted(table) == (2, 2)
    table.open(9, 3)
    assert list(table.sessions) == [8, A, C, 9], "nodes make room for nodes"


def test_what_all_clients_leave_unconfirmed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who numbers on and never raises his floor pays; who waits for little keeps it."""
    monkeypatch.setattr(sessions, "CLIENT_RESULTS_MAX", 20)
    monkeypatch.setattr(sessions, "CLIENT_RESULTS_LEAST", 4)
    table = SessionTable()
    for session in (7, A, B):
        table.open(session, 0)
    answer(table, 7, *range(1, 50))
    answer(table, B, 1, 2, 3)
    answer(table, A, *range(1, 18))
    assert len(table.sessions[A].results) == 17
    answer(table, A, 18)
    assert sorted(table.sessions[A].results) == [15, 16, 17, 18]
    assert table.sessions[A].floor == 15
    assert sorted(table.sessions[B].results) == [1, 2, 3]
    assert len(table.sessions[7].results) == 49, "nodes are not counted"
    assert (table.clients, table.client_results) == counted(table) == (2, 7)


def test_the_counts_follow_floors_expiry_and_restore() -> None:
    table = SessionTable()
    for session in (7, A, B):
        table.open(session, 0)
    answer(table, A, *range(1, 10))
    answer(table, B, *range(1, 10))
    answer(table, 7, *range(1, 10))
    table.raise_floor(A, table.sessions[A], 5)
    table.raise_floor(7, table.sessions[7], 5)
    assert (table.clients, table.client_results) == counted(table) == (2, 14)
    other = SessionTable()
    other.open(C, 0)
    other.restore(table.images())
    assert (other.clients, other.client_results) == (2, 14)
    table.expire([A, 7], 10, 5)
    assert (table.clients, table.client_results) == counted(table) == (1, 9)


def test_a_retry_after_a_snapshot_gets_the_first_result() -> None:
    """In the restored replica as in the one that ran the log: nothing is executed again."""
    store = ShardStore()
    store.apply(1, 1000, [(A, 0, 0, OP_SESSION_OPEN, b""), (0, 0, 0, OP_SET, b"n", ONE, 0)])
    store.apply(2, 1000, [(0, 0, 0, OP_SET, b"s", ONE, 0)])
    incr, append = (A, 1, 1, OP_INCR, b"n", 5), (A, 2, 1, OP_APPEND, b"s", b"x")
    first = store.apply(3, 1000, [incr, append])
    assert first == [(NUMBER, 6), STORED]
    restored = ShardStore()
    restored.restore(b"".join(encode_view(store.view())))
    for replica in (restored, store):
        assert replica.apply(4, 1001, [append, incr]) == [STORED, (NUMBER, 6)]
        assert replica.items[b"n"].endswith(b"\r\n6\r\n")
        assert replica.items[b"s"].endswith(b"\r\n1x\r\n")
        assert replica.apply(5, 1002, [(A, 3, 3, OP_INCR, b"n", 1), incr]) == [
            (NUMBER, 7),
            STALE_SEQUENCE,
        ]
        replica.apply(6, 9000, [(0, 0, 0, OP_SESSION_EXPIRE, b"", (A,), 1000)])
        assert replica.apply(7, 9001, [(A, 3, 3, OP_INCR, b"n", 1)]) == [SESSION_GONE]
        assert replica.items[b"n"].endswith(b"\r\n7\r\n")
    assert restored.digest() == store.digest()


def test_a_refusal_is_remembered_like_any_result() -> None:
    """So a repetition does not store what was refused, nor is refused what was stored."""
    store = ShardStore()
    assert store.apply(1, 0, [(A, 0, 0, OP_SESSION_OPEN, b"")]) == [OK]
    append = (A, 1, 1, OP_APPEND, b"s", b"x")
    assert store.apply(2, 0, [(*append[:3], OP_REFUSE, b"s")]) == [OUT_OF_MEMORY]
    assert store.apply(3, 0, [(0, 0, 0, OP_SET, b"s", ONE, 0), append]) == [STORED, OUT_OF_MEMORY]
    append = (A, 2, 2, OP_APPEND, b"s", b"x")
    assert store.apply(4, 0, [append, (*append[:3], OP_REFUSE, b"s")]) == [STORED, STORED]
    assert store.items[b"s"].endswith(b"\r\n1x\r\n")
