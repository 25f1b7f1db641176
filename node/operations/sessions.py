"""This process's sessions towards the groups: opened on the first write, renewed when they expired.

Writes that come before their group's session is open wait here, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from quorumcache.node.operations.operation import (
    Failure,
    Operation,
    Session,
    SessionGone,
    StaleSequence,
    Write,
)
from quorumcache.node.state_machine import Command, Result
from quorumcache.node.store.commands import OP_SESSION_OPEN
from quorumcache.node.store.results import SESSION_GONE, STALE_SEQUENCE
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator


class Sessions:
    """See the module docstring."""

    __slots__ = ("_coordinator", "_open", "_opening", "_random")

    def __init__(self, coordinator: Coordinator, random: Random) -> None:
        self._coordinator = coordinator
        self._random = random
        self._open: dict[int, Session] = {}
        self._opening: dict[int, list[Write]] = {}
        """Writes that wait for their group's session."""

    def give(self, write: Write) -> bool:
        """Number the write, or queue it until the group's session is open."""
        group_id = write.group_id
        session = self._open.get(group_id)
        if session is not None:
            write.session = session
            write.sequence = session.next_sequence
            session.next_sequence += 1
            session.outstanding[write.sequence] = write
            return True
        waiting = self._opening.get(group_id)
        if waiting is not None:
            waiting.append(write)
            return False
        self._opening[group_id] = [write]
        self._coordinator.begin_opening(SessionOpen(self._coordinator, group_id, 0))
        return False

    def answered(self, write: Write, result: Result) -> None:
        """A group's answer to a write of ours: the end of it, unless its session is gone."""
        if write.identity is not None and result in (SESSION_GONE, STALE_SEQUENCE):
            # It stays the client's: to run it under an identity of ours would execute it twice,
            # if the client's earlier attempts through other nodes were executed.
            known = not write.uncertain
            if result == SESSION_GONE:
                write.finish(SessionGone("session gone", outcome_known=known))
            else:
                write.finish(StaleSequence("stale sequence", outcome_known=known))
        elif result == SESSION_GONE:
            session = write.session
            assert session is not None
            if self._open.get(write.group_id) is session:
                del self._open[write.group_id]
            if write.uncertain:
                write.finish(
                    Failure("the session expired before the answer came", outcome_known=False)
                )
                return
            session.outstanding.pop(write.sequence, None)
            write.session = None
            self._coordinator.route(write)
        elif result == STALE_SEQUENCE:
            write.finish(Failure("an answer was given up before", outcome_known=False))
        else:
            write.finish(result)

    def opened(self, opening: SessionOpen) -> None:
        """The group knows our session: number the waiting writes in their order."""
        self._open[opening.group_id] = Session(opening.session_id)
        for write in self._opening.pop(opening.group_id, []):
            self._coordinator.route(write)

    def not_opened(self, opening: SessionOpen) -> None:
        """The deadline passed. Waiting writes have their own; the next one tries again."""
        waiting = [w for w in self._opening.pop(opening.group_id, []) if not w.finished]
        for write in waiting:
            self._coordinator.route(write)

    def waits(self, group_id: int, why: str) -> None:
        """The opening is held, and why: so are those that wait for it."""
        for write in self._opening.get(group_id, ()):
            write.why = why

    def new_id(self) -> int:
        return self._random.getrandbits(62) | 1

    def new_client_id(self) -> int:
        return self._random.getrandbits(62) | CLIENT_SESSION_MIN


class SessionOpen(Operation):
    """Makes a group know this process. Every attempt has a new id: a late duplicate of an earlier
    attempt then opens an orphan that expires, never a session that is in use."""

    __slots__ = ("session_id",)

    session_id: int

    def command(self) -> Command:
        self.session_id = self.coordinator.sessions.new_id()
        return (self.session_id, 0, 0, OP_SESSION_OPEN, b"")

    def on_result(self, result: Result) -> None:
        """It is known."""
        if not self.finished:
            self.finished = True
            self.coordinator.sessions.opened(self)

    def on_refused(self, why: str) -> None:
        if not self.finished:
            self.coordinator.sessions.waits(self.group_id, why)
            self.coordinator.hold(self, why)

    def on_lost(self) -> None:
        """The attempt may or may not be executed; another one does no harm."""
        if not self.finished:
            self.coordinator.hold(self, "leadership changed")

    def expire(self) -> None:
        if not self.finished:
            self.finished = True
            self.coordinator.sessions.not_opened(self)


class ClientSessionOpen(SessionOpen):
    """Opens a session for a client of this node, which is told its id."""

    __slots__ = ("done",)

    done: Callable[[int | Failure], None]

    def command(self) -> Command:
        self.session_id = self.coordinator.sessions.new_client_id()
        return (self.session_id, 0, 0, OP_SESSION_OPEN, b"")

    def on_result(self, result: Result) -> None:
        if not self.finished:
            self.finished = True
            self.done(self.session_id)

    def on_refused(self, why: str) -> None:
        if not self.finished:
            self.coordinator.hold(self, why)

    def expire(self) -> None:
        if not self.finished:
            self.finished = True
            # Whatever was opened is used by nobody, and expires.
            self.done(Failure(self.coordinator.timeout_reason(self), outcome_known=True))
