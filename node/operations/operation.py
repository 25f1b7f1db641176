"""What a client asked, on its way through this node: one write, or one read, of one group.

An operation lives from the moment a connection starts it until it has its outcome, through any
number of attempts at any number of leaders. It finishes exactly once, with a result or a `Failure`;
what arrives later (a reply after the deadline) is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumcache.node.operations.failure import (
    CONNECTION_LOST,
    HELD_WHY,
    LEADERSHIP_CHANGED,
    ROUTINE_REASONS,
    Failure,
)
from quorumcache.node.operations.numbering import NodeSession, WriteId
from quorumcache.node.operations.order import Ordered, Turns
from quorumcache.node.operations.reply_room import ReplyRoom
from quorumcache.node.state_machine import Command, Result
from quorumcache.node.store.results import STORED

if TYPE_CHECKING:
    from quorumcache.node.telemetry.timings import Histogram, Timings

WriteOutcome = Result | Failure
ReadOutcome = list[bytes | None] | Failure
"""Packed items in the order of the keys (None = miss)."""


class OperationOwner:
    """What operations ask of the coordinator that began them.

    A class and no `Protocol`: each operation asks it, and mypyc calls the methods of a class
    directly.
    """

    timings: Timings
    turns: Turns

    def route(self, operation: Operation) -> None:
        """Make one attempt, or hold the operation until one can be made."""
        raise NotImplementedError

    def hold(self, operation: Operation, why: str) -> None:
        """Keep it until the next attempt; `why` the last one ended, or could not be made."""
        raise NotImplementedError

    def serve_read(self, read: Read) -> None:
        """The replica here may answer it."""
        raise NotImplementedError

    def answered(self, write: Write, result: Result) -> None:
        """The group has answered the write."""
        raise NotImplementedError

    def took(self, operation: Operation, here: Histogram) -> None:
        """It has ended; `here` counts those that were served by this node."""
        raise NotImplementedError

    def deadline_ns(self) -> int:
        """The deadline of an operation that begins now."""
        raise NotImplementedError

    def timeout_reason(self, operation: Operation) -> str:
        """Why it could not be done in time, for the client."""
        raise NotImplementedError


class Operation(Ordered):
    """Common to all: where it goes, until when, and whether it is over."""

    __slots__ = (
        "deadline_ns",
        "group_id",
        "refusal",
        "repeat_ns",
        "repeats",
        "request_id",
        "size",
        "target",
        "why",
    )

    def __init__(self, group_id: int, deadline_ns: int) -> None:
        super().__init__()
        self.group_id = group_id
        self.deadline_ns = deadline_ns
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
        self.refusal = ""
        """The last of those reasons that was more than routine; kept, also during attempts."""

    def note(self, why: str) -> None:
        """An attempt has ended, or could not be made."""
        self.why = why
        if why not in ROUTINE_REASONS:
            self.refusal = why

    def on_refused(self, why: str) -> None:
        """Certainly not executed by this attempt."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """This attempt will not be answered, and may have been executed."""
        raise NotImplementedError

    def expire(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError


def _ignore(outcome: object) -> None:
    """Stands in for the `done` of a finished operation."""


class Proposal(Operation):
    """An operation that goes through the group's log."""

    __slots__ = ("in_flight", "owner", "uncertain")

    def __init__(self, owner: OperationOwner, group_id: int, deadline_ns: int) -> None:
        super().__init__(group_id, deadline_ns)
        self.owner = owner
        self.in_flight = False
        """An attempt is under way whose fate is not known yet."""
        self.uncertain = False
        """An earlier attempt ended without an answer: it may have been executed."""

    def command(self) -> Command:
        """What the next attempt puts into the log."""
        raise NotImplementedError

    def on_result(self, result: Result) -> None:
        """The group's answer."""
        raise NotImplementedError

    def on_refused(self, why: str) -> None:
        if not self.finished:
            self.in_flight = False
            self.owner.hold(self, why)

    def on_lost(self) -> None:
        """The attempt may or may not be executed: repeat it."""
        if not self.finished:
            self.in_flight = False
            self.uncertain = True
            self.owner.hold(self, LEADERSHIP_CHANGED)


class Write(Proposal):
    """One state-changing command. Whoever asks for it inherits from it, and so hears its outcome; a
    `CalledWrite` tells a function.
    """

    __slots__ = ("args", "identity", "is_followed", "key", "op", "sequence", "session")

    def __init__(
        self,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        identity: WriteId | None = None,
    ) -> None:
        super().__init__(owner, group_id, deadline_ns)
        self.op = op
        self.key = key
        self.args = args
        self.size = size
        self.identity = identity
        """The client's own; None = it gets a sequence of this node's session."""
        self.session: NodeSession | None = None
        self.sequence = 0 if identity is None else identity[1]
        self.is_followed = False
        """A later write of its connection was submitted behind an attempt of it."""

    def done(self, outcome: WriteOutcome) -> None:
        """Hears the outcome, once."""
        raise NotImplementedError

    def command(self) -> Command:
        identity = self.identity
        if identity is not None:
            return (*identity, self.op, self.key, *self.args)
        session, args = self.session, self.args
        assert session is not None
        if len(args) == 2:  # A set: a tuple of known length takes a third of the time.
            floor = session.floor()
            return (session.id, self.sequence, floor, self.op, self.key, args[0], args[1])
        return (session.id, self.sequence, session.floor(), self.op, self.key, *args)

    def must_wait(self, before: Ordered, stays_ahead: bool) -> bool:
        """May it not be sent yet, since an earlier write of the connection has not ended?
        `stays_ahead`: that one takes effect first all the same. If not this one is routed later.
        """
        if not stays_ahead:
            self.wait_for(before)
        elif isinstance(before, Write):
            before.is_followed = True
        return not stays_ahead

    def is_submitted_here(self) -> bool:
        return self.in_flight and self.target == 0

    def go_on(self) -> None:
        self.owner.route(self)

    def on_refused(self, why: str) -> None:
        if why == HELD_WHY:
            self.give_number_back()
        super().on_refused(why)

    def give_number_back(self) -> None:
        """It waits, for longer than others of its session take: get another sequence after that,
        so that the answers of those can be forgotten meanwhile."""
        session = self.session
        if session is not None and not self.uncertain:
            session.end(self.sequence)
            self.session = None

    def on_result(self, result: Result) -> None:
        """The group's answer: the write is executed, now or by an earlier attempt."""
        if not self.finished:
            self.in_flight = False
            if isinstance(result, int) and result == STORED:
                self.finish(result)  # The common case: nothing else can follow.
            else:
                self.owner.answered(self, result)

    def finish(self, outcome: WriteOutcome) -> None:
        if self.finished:
            return
        self.finished = True
        session = self.session
        if session is not None:
            session.end(self.sequence)
        if self.after is not None:
            self.after = self.unfinished_before()
        owner = self.owner
        owner.took(self, owner.timings.write_seconds)
        self.done(outcome)
        # Whoever still refers to a finished write (the next one of its connection, the queue of
        # deadlines) must not keep its value alive, nor all the writes before it.
        self.args = ()
        if self.then is not None:
            owner.turns.end(self)

    def expire(self) -> None:
        if self.finished:
            return
        unknown = self.in_flight or self.uncertain
        self.finish(Failure(self.owner.timeout_reason(self), outcome_known=not unknown))


class Read(Operation):
    """A read of some keys of one group."""

    __slots__ = (
        "asked_replica",
        "done",
        "found",
        "is_unordered",
        "keys",
        "owner",
        "parked",
        "room",
        "staleness_ns",
    )

    def __init__(
        self,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        keys: tuple[bytes, ...],
        done: Callable[[ReadOutcome], None],
        staleness_ns: int = 0,
    ) -> None:
        # As Operation does; written out, since every forwarded get passes here.
        self.owner = owner
        self.group_id = group_id
        self.deadline_ns = deadline_ns
        self.finished = False
        self.is_unsettled = False
        self.after = None
        self.then = None
        self.request_id = 0
        self.target = 0
        self.size = 0
        self.repeats = 0
        self.repeat_ns = 0
        self.why = ""
        self.refusal = ""
        self.keys = keys
        self.done = done
        self.found: list[bytes | None] = []
        """Items of the first keys, when an answer held only those."""
        self.staleness_ns = staleness_ns
        """How old the answer may be (`read_levels.py`); 0 = linearizable."""
        self.room: ReplyRoom | None = None
        self.parked = False
        """An answer came and was dropped, since its client does not take its replies."""
        self.asked_replica = False
        """The forward under way went to any replica, not to the leader in particular."""
        self.is_unordered = False
        """Its last attempt was relayed, so that its answer may overtake others and be overtaken; or
        it ended without an answer."""

    @property
    def keys_left(self) -> tuple[bytes, ...]:
        """The keys that have no answer yet."""
        return self.keys[len(self.found) :] if self.found else self.keys

    def go_on(self) -> None:
        self.owner.route(self)

    def on_items(self, items: list[bytes | None]) -> None:
        """Answers for the first of `keys_left`, one or more: the end, or another attempt."""
        if self.finished or (self.after is not None and self._is_out_of_order()):
            return
        if self.room is not None and not self.room.has_room():
            self.park(self.room)
            return
        if self.found:
            items = self.found + items
        if len(items) == len(self.keys):
            self.finish(items)
        else:
            self.found = items
            self.owner.route(self)

    def on_item(self, found: bytes | None) -> None:
        """The answer to a read of one key."""
        if found is not None and self.room is not None and not self.room.has_room():
            self.park(self.room)
        else:
            self.finish([found])

    def park(self, room: ReplyRoom) -> None:
        self.found = []
        self.parked = True
        room.park(self)

    def unpark(self) -> None:
        """There is room for the answer: read again."""
        self.parked = False
        if not self.finished:
            self.deadline_ns = self.owner.deadline_ns()
            self.owner.route(self)

    def on_readable(self) -> None:
        """The local replica may serve it."""
        if not self.finished:
            self.owner.serve_read(self)

    def on_refused(self, why: str) -> None:
        if not self.finished:
            self.owner.hold(self, why)

    def on_lost(self) -> None:
        """To read again does no harm."""
        self.on_refused(CONNECTION_LOST)

    def finish(self, outcome: ReadOutcome) -> None:
        if self.finished:
            return
        is_answer = not isinstance(outcome, Failure)
        if self.after is not None:
            if is_answer and self._is_out_of_order():
                return
            self.after = self.unfinished_before()
        if not is_answer:
            self.is_unordered = True
        self.finished = True
        # The queue of deadlines refers to it for a while; what its answer was for goes now.
        self.room = None
        owner = self.owner
        owner.took(self, owner.timings.read_seconds)
        done, self.done = self.done, _ignore
        done(outcome)
        if self.then is not None and not self.is_unsettled:
            owner.turns.end(self)

    def _is_out_of_order(self) -> bool:
        """May the answer that came be older than what an earlier read of the connection sees?

        Answers come in the order of the reads unless an attempt is repeated. If the earlier one has
        no answer yet, it is going to see a newer state. If it has one, that may be of a repeated
        attempt, which was made after ours and has seen a newer state, while our answer was under
        way. The client would see time run backwards: the answer is dropped, and this read is made
        again, once the earlier one has ended.
        """
        before, unfinished = self.after, self.unfinished_before()
        if before is None or (unfinished is None and self._was_sent_behind(before)):
            return False
        self.found = []
        self.after = unfinished
        if unfinished is None:
            self.owner.route(self)
        else:
            self.wait_for(unfinished)
        return True

    def _was_sent_behind(self, before: Ordered) -> bool:
        """Whether our attempt took the way of the one that `before` was answered by, and after it.

        On one way neither the attempts nor the answers overtake each other. What is read here is
        answered in the same moment.
        """
        if not self.target:
            return True
        assert isinstance(before, Read)
        return (
            before.target == self.target
            and before.request_id < self.request_id
            and not before.is_unordered
            and not self.is_unordered
        )

    def expire(self) -> None:
        if self.parked or (self.room is not None and self.room.is_waiting()):
            # Its client has to take other replies first: that is no fault of the shard.
            self.deadline_ns = self.owner.deadline_ns()
            return
        self.finish(Failure(self.owner.timeout_reason(self), outcome_known=True))
