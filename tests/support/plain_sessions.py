"""A session table as plainly as it can be said: a table of answers for each session, and an order.

What `store/sessions.py` does with runs and late touches has to come to the same. The bounds are
that module's, as they are at the moment.
"""

from collections import OrderedDict
from collections.abc import Iterable

from quorumcache.node.state_machine import Result
from quorumcache.node.store import sessions as bounds
from quorumcache.node.store.results import OK
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN, SessionImage


class PlainRecord:
    """One client's memory in one shard."""

    __slots__ = ("floor", "last_active_ms", "result_bytes", "results")

    def __init__(self, last_active_ms: int) -> None:
        self.last_active_ms = last_active_ms
        """Cluster time of the last command that named the session, ms. Never decreases."""
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


class PlainSessions:
    """All sessions of a shard, the longest idle first."""

    __slots__ = ("client_results", "clients", "item_bytes", "results", "sessions")

    def __init__(self) -> None:
        self.sessions: OrderedDict[int, PlainRecord] = OrderedDict()
        self.clients = 0
        """How many of `sessions` are clients'."""
        self.client_results = 0
        """How many answers those remember."""
        self.results = 0
        """How many answers all remember."""
        self.item_bytes = 0
        """Sum of `result_bytes` of all."""

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
        is_client = session >= CLIENT_SESSION_MIN
        if (self.clients if is_client else len(sessions) - self.clients) >= bounds.SESSIONS_MAX:
            for idle in sessions:
                if (idle >= CLIENT_SESSION_MIN) is is_client:
                    self._drop(idle)
                    break
        sessions[session] = PlainRecord(now_ms)
        self.clients += is_client
        return OK

    def _drop(self, session: int) -> None:
        state = self.sessions.pop(session)
        self.results -= len(state.results)
        self.item_bytes -= state.result_bytes
        if session >= CLIENT_SESSION_MIN:
            self.clients -= 1
            self.client_results -= len(state.results)

    def raise_floor(self, session: int, state: PlainRecord, floor: int) -> None:
        """Forget all answers of a session below `floor`, which is above its present one."""
        before = len(state.results)
        self.item_bytes -= state.result_bytes
        raise_floor(state, floor)
        self.item_bytes += state.result_bytes
        forgotten = before - len(state.results)
        self.results -= forgotten
        if session >= CLIENT_SESSION_MIN:
            self.client_results -= forgotten

    def remember(self, session: int, state: PlainRecord, sequence: int, result: Result) -> None:
        """Keep the first answer to `sequence`, within the bounds of a session and of clients."""
        results = state.results
        before = len(results)
        self.item_bytes -= state.result_bytes
        remember(state, sequence, result)
        if session >= CLIENT_SESSION_MIN:
            others = self.client_results - before
            if (
                others + len(results) > bounds.CLIENT_RESULTS_MAX
                and len(results) > bounds.CLIENT_RESULTS_LEAST
            ):
                raise_floor(state, sorted(results)[-bounds.CLIENT_RESULTS_LEAST])
            self.client_results = others + len(results)
        self.results += len(results) - before
        self.item_bytes += state.result_bytes

    def touch(self, session: int, now_ms: int) -> PlainRecord | None:
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
                self._drop(session)

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

    def add(self, image: SessionImage) -> None:
        """Take in a session of a snapshot, behind those that are there."""
        session, last_active_ms, floor, results = image
        state = PlainRecord(last_active_ms)
        state.floor = floor
        state.results = dict(results)
        state.result_bytes = sum([_result_bytes(result) for _, result in results])
        self.sessions[session] = state
        self.results += len(state.results)
        self.item_bytes += state.result_bytes
        if session >= CLIENT_SESSION_MIN:
            self.clients += 1
            self.client_results += len(state.results)


def raise_floor(state: PlainRecord, floor: int) -> None:
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


def remember(state: PlainRecord, sequence: int, result: Result) -> None:
    """Keep the first answer to `sequence`, within the bounds of a session."""
    results = state.results
    results[sequence] = result
    if result.__class__ is tuple:
        state.result_bytes += _result_bytes(result)
    while len(results) > bounds.RESULTS_MAX or (
        state.result_bytes > bounds.RESULT_BYTES_MAX and len(results) > 1
    ):
        sequences = sorted(results)
        raise_floor(state, sequences[max(1, len(sequences) // 8)])
