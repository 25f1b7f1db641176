"""This process's sessions towards the groups: opened on the first write, renewed when they expired.

Writes that come before their group's session is open wait here, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from quorumcache.node.operations.failure import Failure, SessionGone, StaleSequence
from quorumcache.node.operations.numbering import NodeSession
from quorumcache.node.operations.operation import OperationOwner, Proposal, Write
from quorumcache.node.state_machine import Command, Result
from quorumcache.node.store.commands import OP_SESSION_OPEN
from quorumcache.node.store.results import SESSION_GONE, STALE_SEQUENCE
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN


class NodeSessions:
    """See the module docstring."""

    __slots__ = ("_open", "_opening", "_random")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._open: dict[int, NodeSession] = {}
        """By group id."""
        self._opening: dict[int, NodeSessionOpening] = {}
        """Likewise."""

    def number(self, write: Write) -> bool:
        """Give a write of ours its sequence, unless it has one. False: its group's session is not
        open, see `wait`.

        One that was never executed under a session that has expired gets another sequence: sent
        with the old one it would be refused, while a later write of its connection behind it, with
        a new one, would be executed.
        """
        session = self._open.get(write.group_id)
        numbered = write.session
        if numbered is not None and (write.uncertain or numbered is session):
            return True
        if session is None:
            return False
        write.session = session
        write.sequence = session.take()
        return True

    def wait(
        self, write: Write, owner: OperationOwner, deadline_ns: int
    ) -> NodeSessionOpening | None:
        """Keep the write until its group's session is open; it is routed again then.

        Returns the opening that has to begin, for `owner` and with that deadline; None if one is
        under way.
        """
        group_id = write.group_id
        opening = self._opening.get(group_id)
        if opening is not None:
            opening.waiting.append(write)
            write.note(opening.why)
            return None
        opening = self._opening[group_id] = NodeSessionOpening(self, owner, group_id, deadline_ns)
        opening.waiting.append(write)
        return opening

    def settle(self, write: Write, result: Result) -> bool:
        """A group's answer to a write of ours: the end of it.

        False if its session is gone and it was certainly not executed: it needs another session.
        """
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
            if not write.uncertain:
                session.end(write.sequence)
                write.session = None
                return False
            write.finish(Failure("the session expired before the answer came", outcome_known=False))
        elif result == STALE_SEQUENCE:
            write.finish(
                Failure("the result was dropped before this repetition", outcome_known=False)
            )
        else:
            write.finish(result)
        return True

    def opened(self, opening: NodeSessionOpening) -> None:
        """The group knows the session."""
        del self._opening[opening.group_id]
        self._open[opening.group_id] = NodeSession(opening.session_id)

    def not_opened(self, opening: NodeSessionOpening) -> None:
        """The opening's deadline has passed; the next write begins another one."""
        del self._opening[opening.group_id]

    def new_id(self) -> int:
        """An id for a session of this process."""
        return self._random.getrandbits(62) | 1

    def new_client_id(self) -> int:
        """An id for a session of a client."""
        return self._random.getrandbits(62) | CLIENT_SESSION_MIN


class SessionOpening(Proposal):
    """Makes a group know a session. Every attempt has a new id: a late duplicate of an earlier
    attempt then opens an orphan that expires, never a session that is in use."""

    __slots__ = ("session_id", "sessions")

    def __init__(
        self, sessions: NodeSessions, owner: OperationOwner, group_id: int, deadline_ns: int
    ) -> None:
        super().__init__(owner, group_id, deadline_ns)
        self.sessions = sessions
        self.session_id = 0
        """Of the newest attempt."""
        self.uncertain = True
        """Nothing but the session table may refuse it."""

    def new_id(self) -> int:
        """An id for one attempt."""
        raise NotImplementedError

    def command(self) -> Command:
        self.session_id = self.new_id()
        return (self.session_id, 0, 0, OP_SESSION_OPEN, b"")


class NodeSessionOpening(SessionOpening):
    """Opens a session of this process, for the writes that wait for it."""

    __slots__ = ("waiting",)

    def __init__(
        self, sessions: NodeSessions, owner: OperationOwner, group_id: int, deadline_ns: int
    ) -> None:
        super().__init__(sessions, owner, group_id, deadline_ns)
        self.waiting: list[Write] = []
        """In the order in which they came."""

    def new_id(self) -> int:
        return self.sessions.new_id()

    def note(self, why: str) -> None:
        super().note(why)
        for write in self.waiting:
            write.note(why)

    def on_result(self, result: Result) -> None:
        if not self.finished:
            self.finished = True
            self.sessions.opened(self)
            self._release()

    def expire(self) -> None:
        """Those that wait have their own deadlines."""
        if not self.finished:
            self.finished = True
            self.sessions.not_opened(self)
            self._release()

    def _release(self) -> None:
        waiting, self.waiting = self.waiting, []
        for write in waiting:
            self.owner.route(write)


class ClientSessionOpening(SessionOpening):
    """Opens a session for a client of this node, which is told its id."""

    __slots__ = ("done",)

    def __init__(
        self,
        sessions: NodeSessions,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        done: Callable[[int | Failure], None],
    ) -> None:
        super().__init__(sessions, owner, group_id, deadline_ns)
        self.done = done

    def new_id(self) -> int:
        return self.sessions.new_client_id()

    def on_result(self, result: Result) -> None:
        if not self.finished:
            self.finished = True
            self.done(self.session_id)

    def expire(self) -> None:
        if not self.finished:
            self.finished = True
            # If a session was opened, it is not used, and expires.
            self.done(Failure(self.owner.timeout_reason(self), outcome_known=True))
