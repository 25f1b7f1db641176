"""Goal: a session table remembers, forgets and orders exactly as the plain one does.

It is replicated state, in snapshots and digests: nodes of this release and of the one before apply
the same logs, and have to come to the same images.

Method: random steps, as logs have them, on both, with small bounds: sessions of nodes and clients
that are opened again, writes in and out of order with every kind of answer, numbers that leap,
floors that rise by little and by much, and above the number that they come with, expiry; and images
that are taken in again, in the middle of it.
"""

from random import Random

import pytest

from quorumcache.node.state_machine import Result
from quorumcache.node.store import sessions
from quorumcache.node.store.results import ITEM, NOT_FOUND, NUMBER, STORED
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN, SessionTable
from tests.support.plain_sessions import PlainSessions

IDS = [3, 4, 5, 6, 7, *(CLIENT_SESSION_MIN + number for number in range(4))]


def counts(table: SessionTable | PlainSessions) -> tuple[int, int, int, int, int]:
    return (
        *(len(table), table.clients, table.client_results),
        *(table.results, table.item_bytes),
    )


def answer(table: SessionTable, session: int, now_ms: int, floor: int, sequence: int) -> object:
    """What a command of the session hears before it is run; None: it is to be run."""
    state = table.touch(session, now_ms)
    if state is None:
        return "gone"
    if floor > state.floor:
        table.raise_floor(state, floor)
    return "stale" if sequence < state.floor else state.answer(sequence)


def plain_answer(
    plain: PlainSessions, session: int, now_ms: int, floor: int, sequence: int
) -> object:
    state = plain.touch(session, now_ms)
    if state is None:
        return "gone"
    if floor > state.floor:
        plain.raise_floor(session, state, floor)
    return "stale" if sequence < state.floor else state.results.get(sequence)


def remember(
    table: SessionTable, plain: PlainSessions, session: int, sequence: int, result: Result
) -> None:
    state, plain_state = table.touch(session, 0), plain.touch(session, 0)
    assert state is not None
    assert plain_state is not None
    table.remember(state, sequence, result)
    plain.remember(session, plain_state, sequence, result)


@pytest.mark.parametrize("seed", range(60))
def test_as_the_plain_table(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(sessions, "SESSIONS_MAX", random.choice((2, 3, 1 << 14)))
    monkeypatch.setattr(sessions, "RESULTS_MAX", random.choice((3, 20, 1 << 14)))
    monkeypatch.setattr(sessions, "RESULT_BYTES_MAX", random.choice((10, 1 << 20)))
    monkeypatch.setattr(sessions, "CLIENT_RESULTS_MAX", random.choice((8, 1 << 17)))
    monkeypatch.setattr(sessions, "CLIENT_RESULTS_LEAST", random.choice((1, 3)))
    orderly = random.choice((0.5, 0.95, 1.0))
    results: list[Result] = [STORED, STORED, STORED, NOT_FOUND, (NUMBER, 7), (ITEM, b"x" * 6)]
    if random.random() < 0.5:
        results = [STORED]
    table, plain = SessionTable(), PlainSessions()
    next_of = dict.fromkeys(IDS, 1)
    now_ms = 0
    for _ in range(600):
        now_ms += random.choice((0, 0, 0, 5, 100))
        session = random.choice(IDS[: random.choice((1, 2, len(IDS)))])
        step = random.random()
        if step < 0.06:
            assert table.open(session, now_ms) == plain.open(session, now_ms)
        elif step < 0.09:
            idle_ms = random.choice((1, 300, 3000))
            assert table.idle(now_ms, idle_ms) == plain.idle(now_ms, idle_ms)
            some = random.sample(IDS, 3)
            table.expire(some, now_ms, idle_ms)
            plain.expire(some, now_ms, idle_ms)
        elif step < 0.12:
            images = table.images()
            assert images == plain.images()
            table, plain = SessionTable(), PlainSessions()
            for image in images:
                table.add(image)
                plain.add(image)
        else:
            if random.random() < 0.01:
                next_of[session] += random.choice((1, 40, 1 << 40))
            sequence = next_of[session]
            if random.random() < orderly:
                next_of[session] += 1
            else:
                sequence = max(0, sequence + random.randrange(-6, 7))
                next_of[session] = max(next_of[session], sequence)
            floor = max(0, sequence - random.choice((0, 0, 1, 4, 16, 10_000, 1 << 41)))
            if random.random() < 0.01:
                floor = sequence + random.choice((1, 3, 1 << 41))  # It answers nothing any more.
            found = answer(table, session, now_ms, floor, sequence)
            assert found == plain_answer(plain, session, now_ms, floor, sequence)
            if found is None:
                remember(table, plain, session, sequence, random.choice(results))
        assert counts(table) == counts(plain)
    assert table.images() == plain.images()
    assert [state.session for state in table.records()] == list(plain.sessions)
