"""The session table: first answers, floors, bounds; kept by snapshots.

Sessions of clients are bounded as a whole, not at the cost of the nodes' own.
"""

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
    ITEM,
    NOT_FOUND,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STALE_SEQUENCE,
    STORED,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN, SessionRecord, SessionTable
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import item_of

A, B, C, D = (CLIENT_SESSION_MIN + number for number in range(4))
ONE = b" 0 1\r\n1\r\n"


def ids(table: SessionTable) -> list[int]:
    return [state.session for state in table.records()]


def record(table: SessionTable, session: int) -> SessionRecord:
    return next(state for state in table.records() if state.session == session)


def test_open_twice_is_open_once() -> None:
    table = SessionTable()
    assert table.open(7, 10) == OK
    state = table.touch(7, 20)
    assert state is not None
    state.remember(1, STORED)
    assert table.open(7, 30) == OK
    assert table.touch(7, 30) is state
    assert state.answers() == [(1, STORED)]
    assert state.last_active_ms == 30


def test_a_run_ends_before_what_has_not_come() -> None:
    """A later sequence may be applied first, when the attempt of the earlier one was refused."""
    state = SessionRecord(7, 0)
    state.remember(1, STORED)
    state.remember(3, STORED)
    assert [state.answer(sequence) for sequence in range(5)] == [None, STORED, None, STORED, None]
    state.remember(2, NOT_FOUND)
    assert state.answers() == [(1, STORED), (2, NOT_FOUND), (3, STORED)]
    state.raise_floor(4)
    state.remember(4, STORED)
    state.remember(5, STORED)
    assert (state.count, state.sequences()) == (2, [4, 5])
    state.raise_floor(5)
    assert [state.answer(sequence) for sequence in (4, 5, 6)] == [None, STORED, None]


def test_raising_the_floor_forgets() -> None:
    table = SessionTable()
    table.open(7, 0)
    state = table.touch(7, 0)
    assert state is not None
    for sequence in (1, 2, 3, 1000):
        state.remember(sequence, (ITEM, b"12345"))
    assert state.result_bytes == 20
    state.raise_floor(3)
    assert state.sequences() == [3, 1000]
    state.raise_floor(900)
    assert state.sequences() == [1000]
    assert state.result_bytes == 5
    state.raise_floor(10**15)
    assert state.answers() == []
    assert state.result_bytes == 0


def test_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RESULTS_MAX", 4)
    monkeypatch.setattr(sessions, "RESULT_BYTES_MAX", 100)
    table = SessionTable()
    table.open(7, 0)
    state = table.touch(7, 0)
    assert state is not None
    for sequence in range(1, 10):
        state.remember(sequence, STORED)
    assert state.sequences() == [6, 7, 8, 9]
    assert state.floor == 6
    state.remember(10, (ITEM, b"x" * 90))
    state.remember(11, (ITEM, b"x" * 90))
    assert state.sequences() == [11]
    state.remember(12, (ITEM, b"x" * 900))
    assert state.sequences() == [12]
    assert state.result_bytes == 900


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 3)
    table = SessionTable()
    for session in (1, 2, 3):
        table.open(session, session)
    table.touch(1, 4)
    table.open(4, 5)
    assert ids(table) == [3, 1, 4]


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
    assert ids(table) == [1, 2]


def test_restore() -> None:
    table = SessionTable()
    table.open(2, 5)
    table.open(1, 6)
    state = table.touch(2, 7)
    assert state is not None
    state.remember(9, (ITEM, b"abc"))
    state.remember(8, STORED)
    state.raise_floor(8)
    other = SessionTable()
    for image in table.images():
        other.add(image)
    assert other.images() == table.images()
    assert ids(other) == [1, 2]
    assert record(other, 2).result_bytes == 3


def test_the_memory_of_sessions_is_counted() -> None:
    table = SessionTable()
    assert table.memory_bytes == 0
    table.open(7, 0)
    with_one = table.memory_bytes
    state = table.touch(7, 0)
    assert state is not None
    table.remember(state, 1, STORED)
    with_answer = table.memory_bytes
    table.remember(state, 2, (ITEM, b"x" * 5000))
    assert 0 < with_one < with_answer < table.memory_bytes - 5000
    other = SessionTable()
    for image in table.images():
        other.add(image)
    assert other.memory_bytes == table.memory_bytes
    table.raise_floor(state, 3)
    assert table.memory_bytes == with_one
    table.expire([7], 10**9, 1)
    assert table.memory_bytes == 0


# -- runs of commands ------------------------------------------------------------------------------


def test_a_run_is_kept_as_its_commands_one_by_one() -> None:
    for results in ([], [STORED], [NOT_FOUND], [STORED, NOT_FOUND], [(NUMBER, 3), STORED]):
        for first in (len(results) + 1, len(results) + 4):
            together, single = SessionRecord(7, 0), SessionRecord(7, 0)
            for sequence, result in enumerate(results, 1):
                together.keep(sequence, result)
                single.keep(sequence, result)
            together.keep_run(first, 3, STORED)
            for sequence in range(first, first + 3):
                single.keep(sequence, STORED)
            assert together.answers() == single.answers()
            assert together.count == single.count


def test_what_was_answered_is_not_new() -> None:
    state = SessionRecord(7, 0)
    state.keep(1, STORED)
    state.keep(4, NOT_FOUND)
    assert not state.is_new(1, 1)
    assert state.is_new(2, 2)
    assert not state.is_new(2, 3)
    assert state.is_new(5, 9)
    restored = SessionTable()
    restored.add((7, 0, 5, ()))
    assert not record(restored, 7).is_new(4, 3)
    assert record(restored, 7).is_new(5, 3)


def test_at_a_bound_each_command_is_looked_at_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RESULTS_MAX", 4)
    monkeypatch.setattr(sessions, "RESULT_BYTES_MAX", 100)
    state = SessionRecord(7, 0)
    assert state.is_new(1, 4)
    assert not state.is_new(1, 5)
    state.keep(1, (ITEM, b"x" * 101))
    assert not state.is_new(2, 1), "the next answer drops this one"
    monkeypatch.setattr(sessions, "CLIENT_RESULTS_MAX", 3)
    table = SessionTable()
    for session in (7, A, B):
        table.open(session, 0)
    answer(table, A, 1)
    before = table.images()
    assert not table.take_runs([A, 2, 1, 0, B, 1, 2, 0], STORED, 9)
    assert not table.take_runs([B, 1, 3, 0], STORED, 9)
    assert not table.take_runs([7, 1, 5, 0], STORED, 9)
    assert table.images() == before
    assert table.take_runs([7, 1, 4, 0, A, 2, 1, 0, B, 1, 1, 0], STORED, 9)


def test_runs_touch_their_sessions_and_are_counted() -> None:
    table = SessionTable()
    for session in (7, A, B):
        table.open(session, 0)
    answer(table, A, 1, 2)
    assert table.take_runs([A, 3, 2, 2, 7, 1, 3, 1], STORED, 9)
    assert ids(table) == [B, A, 7]
    assert record(table, A).answers() == [(n, STORED) for n in (2, 3, 4)]
    assert record(table, A).floor == 2
    assert record(table, 7).last_active_ms == 9
    assert (table.clients, table.client_results) == counted(table) == (2, 3)
    assert not table.take_runs([C, 1, 1, 0], STORED, 9)
    assert table.take_runs([B, 1, 1, 1], STORED, 10)
    assert ids(table) == [A, 7, B]
    assert record(table, B).answers() == [(1, STORED)]
    assert (table.clients, table.client_results) == counted(table) == (2, 4)


def test_answers_beside_the_run_are_forgotten_and_come_again() -> None:
    state = SessionRecord(7, 0)
    assert state.answer(3) is None
    state.keep(1, STORED)
    state.keep(3, NOT_FOUND)
    assert (state.count, state.answer(3), state.sequences()) == (2, NOT_FOUND, [1, 3])
    state.raise_floor(4)
    assert (state.count, state.answer(3), state.sequences()) == (0, None, [])
    state.keep(4, STORED)
    state.keep(6, NOT_FOUND)
    assert state.answers() == [(4, STORED), (6, NOT_FOUND)]


# -- sessions of clients ---------------------------------------------------------------------------


def counted(table: SessionTable) -> tuple[int, int]:
    """What `clients` and `client_results` should be; what counts for all is looked at here."""
    everyone = table.records()
    assert table.results == sum(state.count for state in everyone)
    assert table.item_bytes == sum(state.result_bytes for state in everyone)
    of_clients = [state for state in everyone if state.is_client]
    return len(of_clients), sum(state.count for state in of_clients)


def answer(table: SessionTable, session: int, *sequences: int) -> None:
    for sequence in sequences:
        state = table.touch(session, 0)
        assert state is not None
        table.remember(state, sequence, STORED)


def test_many_clients_do_not_drop_the_sessions_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    table = SessionTable()
    for session in (7, A, 8, B):
        table.open(session, 0)
    answer(table, A, 1, 2)
    answer(table, B, 1)
    table.touch(A, 1)
    table.open(C, 2)
    assert ids(table) == [7, 8, A, C], "the client that was idle longest has gone"
    assert (table.clients, table.client_results) == counted(table) == (2, 2)
    table.open(9, 3)
    assert ids(table) == [8, A, C, 9], "nodes make room for nodes"


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
    assert record(table, A).count == 17
    answer(table, A, 18)
    assert record(table, A).sequences() == [15, 16, 17, 18]
    assert record(table, A).floor == 15
    assert record(table, B).sequences() == [1, 2, 3]
    assert record(table, 7).count == 49, "nodes are not counted"
    assert (table.clients, table.client_results) == counted(table) == (2, 7)


def test_the_counts_follow_floors_expiry_and_restore() -> None:
    table = SessionTable()
    for session in (7, A, B):
        table.open(session, 0)
    answer(table, A, *range(1, 10))
    answer(table, B, *range(1, 10))
    answer(table, 7, *range(1, 10))
    table.raise_floor(record(table, A), 5)
    table.raise_floor(record(table, 7), 5)
    assert (table.clients, table.client_results) == counted(table) == (2, 14)
    other = SessionTable()
    for image in table.images():
        other.add(image)
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
        assert item_of(replica.items, b"n").endswith(b"\r\n6\r\n")
        assert item_of(replica.items, b"s").endswith(b"\r\n1x\r\n")
        assert replica.apply(5, 1002, [(A, 3, 3, OP_INCR, b"n", 1), incr]) == [
            (NUMBER, 7),
            STALE_SEQUENCE,
        ]
        replica.apply(6, 9000, [(0, 0, 0, OP_SESSION_EXPIRE, b"", (A,), 1000)])
        assert replica.apply(7, 9001, [(A, 3, 3, OP_INCR, b"n", 1)]) == [SESSION_GONE]
        assert item_of(replica.items, b"n").endswith(b"\r\n7\r\n")
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
    assert item_of(store.items, b"s").endswith(b"\r\n1x\r\n")
