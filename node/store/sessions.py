"""Exactly once: what each client session was answered (Raft thesis 6.3).

A client opens a session and numbers its commands 1, 2, 3, ... With each it says its floor: the
lowest sequence whose answer it still waits for. A command whose sequence was answered before gets
the first answer again and is not executed a second time. Answers below the floor are forgotten, so
a command that arrives later still, delayed on some path, is refused with STALE_SEQUENCE and not
executed either.

Two kinds of client have sessions: the nodes, for what plain memcached clients ask them, and clients
of the cluster that number their writes themselves. The id tells which kind it is. What the second
kind can occupy is bounded as a whole, and none of it is at the cost of the first.

Most answers are of one kind: those to writes in their order, all STORED. A session keeps such a run
by its two ends and what it consists of, and only what differs in a table: an answer of a run costs
no look-up, and no object.

All of it is replicated state: it moves only with the log, and lies in snapshots and digests. So the
bounds below are part of the log's format: a change of one raises `BATCH_VERSION` of `commands.py`.
"""

from collections.abc import Iterable
from typing import Final

from quorumcache.node.state_machine import Result
from quorumcache.node.store.results import OK

CLIENT_SESSION_MIN: Final = 1 << 62
"""Ids from here on are sessions of clients, those below it of nodes. Ids end below 2**63."""

SESSIONS_MAX: Final = 1 << 14
"""Sessions of one shard, of either kind. Opening one more drops the one of its kind that was idle
longest, which then learns SESSION_GONE.
"""

CLIENT_RESULTS_MAX: Final = 1 << 17
"""Answers that all clients' sessions of one shard may leave unconfirmed. Beyond it a session keeps
only its newest CLIENT_RESULTS_LEAST when it is answered: the clients that number on and never raise
their floor pay for it, not those that wait for few answers.
"""

CLIENT_RESULTS_LEAST: Final = 64
"""Answers that a client's session may leave unconfirmed whatever the others do."""

RESULTS_MAX: Final = 1 << 14
"""Answers one session may leave unconfirmed. Beyond it the floor rises: the lowest eighth is
forgotten, and a command of a lower sequence that has not come yet will be refused.
"""

RESULT_BYTES_MAX: Final = 1 << 20
"""Bytes of item results (gat) that one session may leave unconfirmed; one may exceed it alone."""

SESSION_BYTES: Final = 400
ANSWER_BYTES: Final = 96
"""About what the process takes for a session, and at most for each answer of it, without the item
that the answer carries: places in tables, numbers, a small record."""

SessionImage = tuple[int, int, int, tuple[tuple[int, Result], ...]]
"""A session as snapshots hold it: id, last_active_ms, floor, ((sequence, result), ...)."""

RUN_FIELDS: Final = 4
"""Of a run, the commands of one session that follow each other in one entry without a gap: session,
first sequence, how many, and the highest floor among them, which is not above the first."""


def _result_bytes(result: Result) -> int:
    if type(result) is tuple and type(result[1]) is bytes:
        return len(result[1])
    return 0


class SessionRecord:
    """One client's memory in one shard."""

    __slots__ = (
        "_others",
        "_run_end",
        "_run_result",
        "_run_start",
        "floor",
        "is_client",
        "is_late",
        "last_active_ms",
        "result_bytes",
        "session",
        "touched",
    )

    def __init__(self, session: int, last_active_ms: int) -> None:
        self.session: int = session
        """Its id."""
        self.is_client = session >= CLIENT_SESSION_MIN
        self.last_active_ms: int = last_active_ms
        """Cluster time of the last command that named the session, ms. Never decreases."""
        self.floor: int = 0
        """Sequences below it are forgotten. Never decreases. Invariant: nothing below it is
        remembered.
        """
        self._run_start: int = 0
        self._run_end: int = 0
        """From the one up to the other, the end not included, all sequences were answered with
        `_run_result`. Equal: there is no run."""
        self._run_result: int = 0
        self._others: dict[int, Result] | None = None
        """Sequence -> first answer, of those that are in no run. None: there are none."""
        self.result_bytes: int = 0
        """Bytes of the item results."""
        self.touched: int = 0
        """Number of the last touch: see `SessionTable`."""
        self.is_late = False
        """It was touched since its table was in order."""

    @property
    def count(self) -> int:
        """How many answers it remembers, at most RESULTS_MAX."""
        others = self._others
        return self._run_end - self._run_start + (0 if others is None else len(others))

    def answer(self, sequence: int) -> Result | None:
        """The first answer to `sequence`, if it is remembered."""
        if sequence < self._run_end and sequence >= self._run_start:
            return self._run_result
        others = self._others
        return None if others is None else others.get(sequence)

    def answers(self) -> list[tuple[int, Result]]:
        """All answers with their sequences, lowest first."""
        answers: list[tuple[int, Result]] = [
            (sequence, self._run_result) for sequence in range(self._run_start, self._run_end)
        ]
        others = self._others
        if others is not None:
            answers.extend(others.items())
            answers.sort(key=_sequence_of)
        return answers

    def sequences(self) -> list[int]:
        """Those of the answers, lowest first."""
        return sorted([*range(self._run_start, self._run_end), *(self._others or ())])

    def keep(self, sequence: int, result: Result) -> None:
        """Take an answer in. The sequence has none yet."""
        if isinstance(result, int):
            if sequence == self._run_end and result == self._run_result:
                self._run_end = sequence + 1
                return
            if self._run_start == self._run_end:
                self._run_start = sequence
                self._run_end = sequence + 1
                self._run_result = result
                return
        else:
            self.result_bytes += _result_bytes(result)
        others = self._others
        if others is None:
            others = self._others = {}
        others[sequence] = result

    def keep_run(self, first: int, count: int, result: int) -> None:
        """`keep`, for so many sequences from `first` on, all above those of the run."""
        end = first + count
        if first == self._run_end and result == self._run_result:
            self._run_end = end
        elif self._run_start == self._run_end:
            self._run_start = first
            self._run_end = end
            self._run_result = result
        else:
            for sequence in range(first, end):
                self.keep(sequence, result)

    def is_new(self, first: int, count: int) -> bool:
        """Whether so many sequences from `first` on are above the run, and none has an answer or is
        forgotten; and whether there is room for their answers."""
        if (
            first < self.floor
            or first < self._run_end
            or self.count + count > RESULTS_MAX
            or self.result_bytes > RESULT_BYTES_MAX
        ):
            return False
        others = self._others
        if others is not None:
            for sequence in range(first, first + count):
                if sequence in others:
                    return False
        return True

    def raise_floor(self, floor: int) -> None:
        """Forget all answers below `floor`, which is above the present one."""
        others = self._others
        if others is not None:
            if floor - self.floor <= len(others):
                forgotten: Iterable[int] = range(self.floor, floor)
            else:
                forgotten = [sequence for sequence in others if sequence < floor]
            for sequence in forgotten:
                result = others.pop(sequence, None)
                if result.__class__ is tuple:
                    self.result_bytes -= _result_bytes(result)
            if not others:
                self._others = None
        if floor >= self._run_end:
            self._run_start = self._run_end = floor
        elif floor > self._run_start:
            self._run_start = floor
        self.floor = floor

    def remember(self, sequence: int, result: Result) -> None:
        """Keep the first answer to `sequence`, within the bounds of a session."""
        self.keep(sequence, result)
        while self.count > RESULTS_MAX or (self.result_bytes > RESULT_BYTES_MAX and self.count > 1):
            sequences = self.sequences()
            self.raise_floor(sequences[max(1, len(sequences) // 8)])


class SessionTable:
    """All sessions of a shard, the longest idle first.

    Each command touches its session. The order is only asked for now and then, so a touch leaves a
    number, by which `_put_in_order` makes up for all touches since it was called last.
    """

    __slots__ = (
        "_late",
        "_newest",
        "_sessions",
        "_touches",
        "client_results",
        "clients",
        "item_bytes",
        "results",
    )

    def __init__(self) -> None:
        self._sessions: dict[int, SessionRecord] = {}
        """By id. Those that are not late stand in their order."""
        self._late: list[SessionRecord] = []
        """What was touched since it was in order, in no order. None of them was dropped."""
        self._touches: int = 0
        """How many there were; but for those of what was touched last."""
        self._newest: SessionRecord | None = None
        """What was touched last. Most commands are of the session of the one before."""
        self.clients: int = 0
        """How many of the sessions are clients'."""
        self.client_results: int = 0
        """How many answers those remember."""
        self.results: int = 0
        """How many answers all remember."""
        self.item_bytes: int = 0
        """Sum of `result_bytes` of all."""

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process."""
        return len(self._sessions) * SESSION_BYTES + self.results * ANSWER_BYTES + self.item_bytes

    def records(self) -> list[SessionRecord]:
        """All of them, the longest idle first."""
        self._put_in_order()
        return list(self._sessions.values())

    def open(self, session: int, now_ms: int) -> Result:
        """Open a session, or note that it is alive when it was opened before (a retry of the same
        command).
        """
        if self.touch(session, now_ms) is not None:
            return OK
        sessions = self._sessions
        is_client = session >= CLIENT_SESSION_MIN
        if (self.clients if is_client else len(sessions) - self.clients) >= SESSIONS_MAX:
            for idle in self.records():
                if idle.is_client is is_client:
                    self._drop(idle)
                    break
        state = sessions[session] = SessionRecord(session, now_ms)
        self.clients += is_client
        self._touch(state)
        return OK

    def _drop(self, state: SessionRecord) -> None:
        """Forget a session that is not late."""
        del self._sessions[state.session]
        if self._newest is state:
            self._newest = None
        self.results -= state.count
        self.item_bytes -= state.result_bytes
        if state.is_client:
            self.clients -= 1
            self.client_results -= state.count

    def raise_floor(self, state: SessionRecord, floor: int) -> None:
        """Forget all answers of a session below `floor`, which is above its present one."""
        before = state.count
        self.item_bytes -= state.result_bytes
        state.raise_floor(floor)
        self.item_bytes += state.result_bytes
        forgotten = before - state.count
        self.results -= forgotten
        if state.is_client:
            self.client_results -= forgotten

    def remember(self, state: SessionRecord, sequence: int, result: Result) -> None:
        """Keep the first answer to `sequence`, within the bounds of a session and of clients."""
        before = state.count
        self.item_bytes -= state.result_bytes
        state.remember(sequence, result)
        if state.is_client:
            others = self.client_results - before
            if others + state.count > CLIENT_RESULTS_MAX and state.count > CLIENT_RESULTS_LEAST:
                state.raise_floor(state.sequences()[-CLIENT_RESULTS_LEAST])
            self.client_results = others + state.count
        self.results += state.count - before
        self.item_bytes += state.result_bytes

    def take_runs(self, runs: list[int], result: int, now_ms: int) -> bool:
        """Touch the sessions of these commands, and keep this answer to all of them, if all of them
        are to be executed, and no bound is met. False: nothing has changed, and each has to be
        looked at by itself.
        """
        if len(runs) == RUN_FIELDS:  # As in most entries: no list of sessions is needed.
            count = runs[2]
            state = self._record_for(runs[0], runs[1], count)
            if state is None:
                return False
            if state.is_client and self.client_results + count > CLIENT_RESULTS_MAX:
                return False
            self._remember_run(state, runs[1], count, runs[3], result, now_ms)
            return True
        states: list[SessionRecord] = []
        clients_more = 0
        for at in range(0, len(runs), RUN_FIELDS):
            state = self._record_for(runs[at], runs[at + 1], runs[at + 2])
            if state is None:
                return False
            if state.is_client:
                clients_more += runs[at + 2]
            states.append(state)
        if clients_more and self.client_results + clients_more > CLIENT_RESULTS_MAX:
            return False
        at = 0
        for state in states:
            self._remember_run(state, runs[at + 1], runs[at + 2], runs[at + 3], result, now_ms)
            at += RUN_FIELDS
        return True

    def _record_for(self, session: int, first: int, count: int) -> SessionRecord | None:
        """The session, if so many commands of it from `first` on are to be executed."""
        state = self._newest
        if state is None or state.session != session:
            state = self._sessions.get(session)
            if state is None:
                return None
        return state if state.is_new(first, count) else None

    def _remember_run(
        self, state: SessionRecord, first: int, count: int, floor: int, result: int, now_ms: int
    ) -> None:
        if state is not self._newest:
            self._touch(state)
        state.last_active_ms = now_ms
        if floor > state.floor:
            self.raise_floor(state, floor)
        state.keep_run(first, count, result)
        self.results += count
        if state.is_client:
            self.client_results += count

    def touch(self, session: int, now_ms: int) -> SessionRecord | None:
        """The session, noted as active at `now_ms`; None when there is none of that id."""
        state = self._newest
        if state is None or state.session != session:
            state = self._sessions.get(session)
            if state is None:
                return None
            self._touch(state)
        state.last_active_ms = now_ms
        return state

    def _touch(self, state: SessionRecord) -> None:
        self._newest = state
        self._touches += 1
        state.touched = self._touches
        if not state.is_late:
            state.is_late = True
            self._late.append(state)

    def _put_in_order(self) -> None:
        """Move what was touched behind what was not."""
        late = self._late
        if not late:
            return
        self._late = []
        late.sort(key=_touch_of)
        sessions = self._sessions
        for state in late:
            state.is_late = False
            sessions[state.session] = sessions.pop(state.session)

    def expire(self, sessions: Iterable[int], now_ms: int, idle_ms: int) -> None:
        """Forget those of `sessions` that are idle for `idle_ms` or more."""
        self._put_in_order()
        for session in sessions:
            state = self._sessions.get(session)
            if state is not None and state.last_active_ms + idle_ms <= now_ms:
                self._drop(state)

    def idle(self, now_ms: int, idle_ms: int) -> list[int]:
        """Ids of the sessions that are idle for `idle_ms` or more, longest first."""
        self._put_in_order()
        idle = []
        for session, state in self._sessions.items():
            if state.last_active_ms + idle_ms > now_ms:
                break
            idle.append(session)
        return idle

    def images(self) -> tuple[SessionImage, ...]:
        """The whole table as plain values, longest idle first."""
        return tuple(
            [
                (state.session, state.last_active_ms, state.floor, tuple(state.answers()))
                for state in self.records()
            ]
        )

    def add(self, image: SessionImage) -> None:
        """Take in a session of a snapshot, behind those that are there. None was touched yet."""
        session, last_active_ms, floor, results = image
        state = SessionRecord(session, last_active_ms)
        state.floor = floor
        for sequence, result in dict(results).items():
            state.keep(sequence, result)
        self._sessions[session] = state
        self.results += state.count
        self.item_bytes += state.result_bytes
        if state.is_client:
            self.clients += 1
            self.client_results += state.count


def _touch_of(state: SessionRecord) -> int:
    return state.touched


def _sequence_of(answer: tuple[int, Result]) -> int:
    return answer[0]
