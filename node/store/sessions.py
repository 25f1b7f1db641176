"""Exactly once: what each client session was answered (Raft thesis 6.3).

A client opens a session and numbers its commands 1, 2, 3, ... With each it says its floor: the
lowest sequence whose answer it still waits for. A command whose sequence was answered before gets
the first answer again and is not executed a second time. Answers below the floor are forgotten, so
a command that arrives later still, delayed on some path, is refused with STALE_SEQUENCE and not
executed either.

All of it is replicated state: it moves only with the log, and lies in snapshots and digests.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from node.store.results import OK, Result

SESSIONS_MAX: Final = 1 << 14
"""Sessions of one shard. Opening one more drops the one that was idle longest, which then learns
SESSION_GONE.
"""

RESULTS_MAX: Final = 1 << 14
"""Answers one session may leave unconfirmed. Beyond it the floor rises: the lowest eighth is
forgotten, and a command of a lower sequence that has not come yet will be refused.
"""

RESULT_BYTES_MAX: Final = 1 << 20
"""Bytes of item results (gat) that one session may leave unconfirmed; one may exceed it alone."""

SessionImage = tuple[int, int, int, tuple[tuple[int, Result], ...]]
"""A session as snapshots hold it: id, last_active_ms, floor, ((sequence, result), ...)."""


class Session:
    """One client's memory in one shard."""

    __slots__ = ("floor", "last_active_ms", "result_bytes", "results")

    def __init__(self, last_active_ms: int) -> None:
        self.last_active_ms = last_active_ms
        """Time of the last command that named the session, Unix milliseconds. Never decreases."""
        self.floor = 0
        """Sequences below it are forgotten. Never decreases. Invariant: no key of `results` is
        below it.
        """
        self.results: dict[int, Result] = {}
        """Sequence -> first answer, at most RESULTS_MAX."""
        self.result_bytes = 0
        """Bytes of the item results in `results`."""


def _result_bytes(result: Result) -> int:
    if type(result) is tuple and type(result[1]) is bytes:
        return len(result[1])
    return 0


class SessionTable:
    """All sessions of a shard, the longest idle first."""

    __slots__ = ("sessions",)

    def __init__(self) -> None:
        self.sessions: OrderedDict[int, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self.sessions)

    def open(self, session: int, now_ms: int) -> Result:
        """Open a session, or note that it is alive when it was opened before (a retry of the same
        command).
        """
        sessions = self.sessions
        if session in sessions:
            self.touch(session, now_ms)
            return OK
        if len(sessions) >= SESSIONS_MAX:
            sessions.popitem(last=False)
        sessions[session] = Session(now_ms)
        return OK

    def touch(self, session: int, now_ms: int) -> Session | None:
        """The session, noted as active at `now_ms`; None when there is none of that id."""
        state = self.sessions.get(session)
        if state is not None:
            state.last_active_ms = now_ms
            self.sessions.move_to_end(session)
        return state

    def expire(self, sessions: Iterable[int], now_ms: int, idle_ms: int) -> None:
        """Forget those of `sessions` that are idle for `idle_ms` or more."""
        for session in sessions:
            state = self.sessions.get(session)
            if state is not None and state.last_active_ms + idle_ms <= now_ms:
                del self.sessions[session]

    def idle(self, now_ms: int, idle_ms: int) -> list[int]:
        """Ids of the sessions that are idle for `idle_ms` or more, longest first."""
        idle = []
        for session, state in self.sessions.items():
            if state.last_active_ms + idle_ms > now_ms:
                break
            idle.append(session)
        return idle

    def images(self) -> tuple[SessionImage, ...]:
        """The whole table as plain values, longest idle first."""
        return tuple(
            (session, state.last_active_ms, state.floor, tuple(sorted(state.results.items())))
            for session, state in self.sessions.items()
        )

    def restore(self, images: Iterable[SessionImage]) -> None:
        """Become what `images` describe."""
        self.sessions.clear()
        for session, last_active_ms, floor, results in images:
            state = Session(last_active_ms)
            state.floor = floor
            state.results = dict(results)
            state.result_bytes = sum(_result_bytes(result) for _, result in results)
            self.sessions[session] = state


def raise_floor(state: Session, floor: int) -> None:
    """Forget all answers below `floor`, which is above the session's present one."""
    results = state.results
    if floor - state.floor <= len(results):
        forgotten: Iterable[int] = range(state.floor, floor)
    else:
        forgotten = [sequence for sequence in results if sequence < floor]
    for sequence in forgotten:
        result = results.pop(sequence, None)
        if result.__class__ is tuple:
            state.result_bytes -= _result_bytes(result)
    state.floor = floor


def remember(state: Session, sequence: int, result: Result) -> None:
    """Keep the first answer to `sequence`, within the bounds of a session."""
    results = state.results
    results[sequence] = result
    if result.__class__ is tuple:
        state.result_bytes += _result_bytes(result)
    while len(results) > RESULTS_MAX or (
        state.result_bytes > RESULT_BYTES_MAX and len(results) > 1
    ):
        sequences = sorted(results)
        raise_floor(state, sequences[max(1, len(sequences) // 8)])
