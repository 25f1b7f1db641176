"""What a client asked, on its way through this node: one write, or one read, of one group.

An operation lives from the moment a connection starts it until it has its outcome, through any
number of attempts at any number of leaders. It finishes exactly once, with a result or a `Failure`;
what arrives later (a reply after the deadline) is ignored.

Exactly once (Raft thesis 6.3): a write carries (session, sequence). A `Session` is this process's
identity towards one group; it is opened through the group's log, so that the group remembers which
of its sequences were executed, and with which result. An attempt whose fate is unknown can
therefore be repeated at the next leader: it is executed once, or answered from memory.

A client that has opened a session itself numbers its own writes. Such a write carries the client's
`Identity` in place of ours, and never another one: the client may repeat it through another node
after this one is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.protocol.responses import (
    not_done,
    outcome_unknown,
    session_gone,
    stale_sequence,
)
from quorumcache.node.state_machine import Command, Result

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator

FIRST_SEQUENCE: Final = 1
"""First sequence of a session."""

ROUTINE_REASONS: Final = frozenset(
    (
        "",
        "no leader",
        "not the leader",
        "leadership changed",
        "connection to the leader lost",
        "no connection to the leader's node",
        "the leader did not answer the node in between",
    )
)
"""Why an attempt ended, where nothing more is to be said than that the shard did not answer."""

Identity = tuple[int, int, int]
"""(session, sequence, floor) of a write, as its client gave them."""


class Failure:
    """An operation that could not be brought to a result.

    `outcome_known` is True when it was certainly not executed.
    """

    __slots__ = ("outcome_known", "why")

    def __init__(self, why: str, *, outcome_known: bool) -> None:
        self.why = why
        self.outcome_known = outcome_known

    def line(self) -> bytes:
        """The reply to a memcached client."""
        return not_done(self.why) if self.outcome_known else outcome_unknown(self.why)


class SessionGone(Failure):
    """A write under its client's own session, which the group does not know (any more)."""

    __slots__ = ()

    def line(self) -> bytes:
        return session_gone(self.outcome_known)


class StaleSequence(Failure):
    """A write under its client's own session, with a sequence that the group has forgotten."""

    __slots__ = ()

    def line(self) -> bytes:
        return stale_sequence(self.outcome_known)


WriteOutcome = Result | Failure
ReadOutcome = list[bytes | None] | Failure
"""Packed items in the order of the keys (None = miss)."""


class Session:
    """This process towards one group: an id known to the group's log, and sequences in flight."""

    __slots__ = ("next_sequence", "outstanding", "session_id")

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.next_sequence = FIRST_SEQUENCE
        self.outstanding: dict[int, Write] = {}
        """Unfinished writes by sequence, oldest first. The oldest is the floor: what lies below
        is answered, and the group may forget it."""

    def floor(self) -> int:
        """The lowest sequence that may still be repeated."""
        for sequence in self.outstanding:
            return sequence
        return self.next_sequence


class ReplyRoom:
    """Where the answer to a read goes: a client's connection, which may be full of others.

    A class and no `Protocol`: each read asks it, and mypyc calls the methods of a class directly.
    """

    __slots__ = ()

    def has_room(self) -> bool:
        """May an answer be kept?"""
        raise NotImplementedError

    def is_waiting(self) -> bool:
        """Are answers dropped until the client has taken others?"""
        raise NotImplementedError

    def park(self, read: Read) -> None:
        """`read.unpark` is called once there is room."""
        raise NotImplementedError


class Operation:
    """Common to writes and reads: where it goes, until when, and whether it is over."""

    __slots__ = (
        "coordinator",
        "deadline_ns",
        "finished",
        "group_id",
        "repeat_ns",
        "repeats",
        "request_id",
        "size",
        "target",
        "why",
    )

    def __init__(self, coordinator: Coordinator, group_id: int, deadline_ns: int) -> None:
        self.coordinator = coordinator
        self.group_id = group_id
        self.deadline_ns = deadline_ns
        self.finished = False
        self.request_id = 0
        """Id of the forward under way; 0 when there is none."""
        self.target = 0
        """Node the forward went to."""
        self.size = 0
        """Bytes of a write's key and value, for the bounds on what is in flight."""
        self.repeats = 0
        """How often a forward had no answer and was repeated."""
        self.repeat_ns = 0
        """When the forward under way is repeated; 0 = a first one, sent when it began."""
        self.why = ""
        """Why it is held; "" while an attempt is under way."""

    def on_refused(self, why: str) -> None:
        """The local replica did not take it: certainly not executed by this attempt."""
        if not self.finished:
            self.coordinator.hold(self, why)

    def expire(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError


def _ignore(outcome: object) -> None:
    """Stands in for the `done` of a finished operation."""


class Write(Operation):
    """One state-changing command."""

    __slots__ = (
        "after",
        "args",
        "done",
        "identity",
        "in_flight",
        "key",
        "op",
        "sequence",
        "session",
        "then",
        "uncertain",
    )

    def __init__(
        self,
        coordinator: Coordinator,
        group_id: int,
        deadline_ns: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        done: Callable[[WriteOutcome], None],
        identity: Identity | None = None,
    ) -> None:
        super().__init__(coordinator, group_id, deadline_ns)
        self.op = op
        self.key = key
        self.args = args
        self.size = size
        self.done = done
        self.identity = identity
        """The client's own; None = it gets a sequence of this node's session."""
        self.session: Session | None = None
        self.sequence = 0 if identity is None else identity[1]
        self.in_flight = False
        """An attempt is under way whose fate is not known yet."""
        self.uncertain = False
        """An earlier attempt ended without an answer: it may have been executed."""
        self.after: Write | None = None
        """Earlier write of the same client connection to the same group: when attempts have to
        be repeated, this one waits for it, so that the client's order holds."""
        self.then: list[Write] | None = None

    def command(self) -> Command:
        identity = self.identity
        if identity is not None:
            return (*identity, self.op, self.key, *self.args)
        session = self.session
        assert session is not None
        return (
            session.session_id,
            self.sequence,
            session.floor(),
            self.op,
            self.key,
            *self.args,
        )

    def on_result(self, result: Result) -> None:
        """The group's answer: the write is executed, now or by an earlier attempt."""
        if not self.finished:
            self.in_flight = False
            self.coordinator.sessions.answered(self, result)

    def on_refused(self, why: str) -> None:
        if not self.finished:
            self.in_flight = False
            self.coordinator.hold(self, why)

    def on_lost(self) -> None:
        """The attempt may or may not be executed: repeat it under the same sequence."""
        if not self.finished:
            self.in_flight = False
            self.uncertain = True
            self.coordinator.hold(self, "leadership changed")

    def finish(self, outcome: WriteOutcome) -> None:
        if self.finished:
            return
        self.finished = True
        session = self.session
        if session is not None:
            session.outstanding.pop(self.sequence, None)
        # Whoever still refers to a finished write (the next one of its connection, the queue of
        # deadlines) must not keep its value alive, nor all the writes before it.
        self.args = ()
        self.after = None
        self.coordinator.took(self, self.coordinator.timings.write_seconds)
        done, self.done = self.done, _ignore
        done(outcome)
        followers, self.then = self.then, None
        if followers:
            self.coordinator.route_followers(followers)

    def expire(self) -> None:
        if self.finished:
            return
        unknown = self.in_flight or self.uncertain
        self.finish(
            Failure(
                self.coordinator.timeout_reason(self),
                outcome_known=not unknown,
            )
        )


class Read(Operation):
    """A read of some keys of one group."""

    __slots__ = (
        "after",
        "asked_replica",
        "done",
        "found",
        "keys",
        "parked",
        "room",
        "staleness_ns",
        "then",
    )

    def __init__(
        self,
        coordinator: Coordinator,
        group_id: int,
        deadline_ns: int,
        keys: tuple[bytes, ...],
        done: Callable[[ReadOutcome], None],
        staleness_ns: int = 0,
    ) -> None:
        # As Operation does; written out, since every forwarded get passes here.
        self.coordinator = coordinator
        self.group_id = group_id
        self.deadline_ns = deadline_ns
        self.finished = False
        self.request_id = 0
        self.target = 0
        self.size = 0
        self.repeats = 0
        self.repeat_ns = 0
        self.why = ""
        self.keys = keys
        self.done = done
        self.found: list[bytes | None] = []
        """Items of the first keys, when an answer held only those."""
        self.after: Read | None = None
        """Earlier read of the same client connection from the same group, see `_is_early`."""
        self.then: list[Read] | None = None
        self.staleness_ns = staleness_ns
        """How old the answer may be (`read_levels.py`); 0 = linearizable."""
        self.room: ReplyRoom | None = None
        self.parked = False
        """An answer came and was dropped, since its client does not take its replies."""
        self.asked_replica = False
        """The forward under way went to any replica, not to the leader in particular."""

    @property
    def keys_left(self) -> tuple[bytes, ...]:
        """The keys that have no answer yet."""
        return self.keys[len(self.found) :] if self.found else self.keys

    def on_items(self, items: list[bytes | None]) -> None:
        """Answers for the first of `keys_left`, one or more: the end, or another attempt."""
        if self.finished or (self.after is not None and self._is_early()):
            return
        if self.room is not None and not self.room.has_room():
            self._park(self.room)
            return
        if self.found:
            items = self.found + items
        if len(items) == len(self.keys):
            self.finish(items)
        else:
            self.found = items
            self.coordinator.route(self)

    def on_item(self, found: bytes | None) -> None:
        """The answer to a read of one key."""
        if found is not None and self.room is not None and not self.room.has_room():
            self._park(self.room)
        else:
            self.finish([found])

    def _park(self, room: ReplyRoom) -> None:
        self.found = []
        self.parked = True
        room.park(self)

    def unpark(self) -> None:
        """There is room for the answer: read again."""
        self.parked = False
        if not self.finished:
            self.deadline_ns = self.coordinator.deadline_ns()
            self.coordinator.route(self)

    def on_readable(self) -> None:
        """The local replica may serve it."""
        if not self.finished:
            self.coordinator.serve_read(self)

    def finish(self, outcome: ReadOutcome) -> None:
        if self.finished:
            return
        if self.after is not None:
            if not isinstance(outcome, Failure) and self._is_early():
                return
            self.after = None
        self.finished = True
        # The queue of deadlines refers to it for a while; what its answer was for goes now.
        self.room = None
        self.coordinator.took(self, self.coordinator.timings.read_seconds)
        done, self.done = self.done, _ignore
        done(outcome)
        if self.then is not None:
            followers, self.then = self.then, None
            self.coordinator.route_followers(followers)

    def _is_early(self) -> bool:
        """Did an answer come while an earlier read of the connection has none?

        Answers come in the order of the reads unless an attempt is repeated. What the earlier one
        is going to see is then newer than this answer, and the client would see time run backwards:
        the answer is dropped, and this read is made again when the earlier one has ended.
        """
        before = self.after
        if before is None or before.finished:
            return False
        self.found = []
        if before.then is None:
            before.then = []
        before.then.append(self)
        return True

    def expire(self) -> None:
        if self.parked or (self.room is not None and self.room.is_waiting()):
            # Its client has to take other replies first: that is no fault of the shard.
            self.deadline_ns = self.coordinator.deadline_ns()
            return
        self.finish(Failure(self.coordinator.timeout_reason(self), outcome_known=True))
