"""What the words of `cluster lock` do for a client: `handlers.py` takes these into its table.

An acquire and a release begin when all earlier requests of the connection have ended, and later
ones begin behind an acquire. Elsewhere requests to different shards may overtake each other, since
nobody can tell. Here somebody could: who gets the lock after the release must see all that was
written before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation, Handlers
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import Slot
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.lock_acquire import WaitingAcquire
from quorumcache.node.operations.lock_answers import LOCK_SHOW, read_lock
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.operations.new_ops import NEEDS_UPGRADE
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import ReadOutcome, WriteOutcome
from quorumcache.node.protocol.lock_replies import lock_line, lock_lines
from quorumcache.node.protocol.lock_requests import (
    LockAcquire,
    LockRelease,
    LockRenew,
    LockShow,
)
from quorumcache.node.protocol.requests import Once
from quorumcache.node.store.commands import OP_LOCK_ACQUIRE, OP_LOCK_RELEASE, OP_LOCK_RENEW
from quorumcache.node.store.results import LOCK_QUEUED, LOCK_RELEASED, LOCKED


class LockWrite(PendingWrite):
    """A command of a lock that waits for nobody, from its lane to its reply."""

    __slots__ = ("runs_alone",)

    def __init__(
        self,
        conversation: Conversation,
        slot: Slot | None,
        lane: GroupLane,
        op: int,
        name: bytes,
        args: tuple[object, ...],
        identity: WriteId | None,
        runs_alone: bool,
    ) -> None:
        super().__init__(conversation, slot, lane, op, name, args, len(name), None, identity)
        self.runs_alone = runs_alone

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome of the write."""
        if self.runs_alone:
            self.conversation.ended_alone()
        super().done(outcome)

    def _tell(self, outcome: WriteOutcome) -> None:
        """It is none of what memcached's watchers ask for."""

    def _render(self, result: Any) -> bytes:
        counters = self.conversation.counters
        if self.asked == OP_LOCK_ACQUIRE:
            counters.locks_acquired += type(result) is tuple and result[0] == LOCKED
        elif self.asked == OP_LOCK_RELEASE:
            counters.locks_released += result == LOCK_RELEASED
        return lock_line(result)


def _write(
    conversation: Conversation,
    op: int,
    name: bytes,
    args: tuple[object, ...],
    identity: WriteId | None,
    runs_alone: bool = False,
) -> None:
    conversation.counters.cmd_other += 1
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(name))
    slot = conversation.replies.take_slot()
    write = LockWrite(conversation, slot, lane, op, name, args, identity, runs_alone)
    order.begin(lane, True, write.start)


def _is_elsewhere(conversation: Conversation, name: bytes) -> bool:
    """In redirect mode: answer MOVED if the lock's shard is led elsewhere."""
    return conversation.settings.redirect and conversation.redirected((name,), False)


def _once(identity: WriteId | None) -> Once | None:
    """The prefix that gave a request its identity."""
    return None if identity is None else Once(identity[0], identity[1], identity[2], b"")


def lock_acquire(
    conversation: Conversation, request: LockAcquire, identity: WriteId | None = None
) -> None:
    """`cluster lock acquire`."""
    name, owner, ttl_ms, wait_ms, kind, limit = request
    if _is_elsewhere(conversation, name) or not conversation.alone(request, _once(identity)):
        return
    if wait_ms:
        conversation.counters.cmd_other += 1
        WaitingClient(conversation, request, identity).start()
    else:
        args = (owner, ttl_ms, kind, limit, 0)
        _write(conversation, OP_LOCK_ACQUIRE, name, args, identity, True)


def lock_renew(
    conversation: Conversation, request: LockRenew, identity: WriteId | None = None
) -> None:
    """`cluster lock renew`."""
    name, owner, token, ttl_ms = request
    if not _is_elsewhere(conversation, name):
        _write(conversation, OP_LOCK_RENEW, name, (owner, token, ttl_ms), identity)


def lock_release(
    conversation: Conversation, request: LockRelease, identity: WriteId | None = None
) -> None:
    """`cluster lock release`."""
    name, owner, token = request
    if not _is_elsewhere(conversation, name) and conversation.behind_all(request, _once(identity)):
        _write(conversation, OP_LOCK_RELEASE, name, (owner, token), identity)


class WaitingClient:
    """An acquire that may wait, from its beginning to its reply. It runs alone."""

    __slots__ = ("_acquire", "_conversation", "_slot")

    def __init__(
        self, conversation: Conversation, request: LockAcquire, identity: WriteId | None
    ) -> None:
        name, owner, ttl_ms, wait_ms, kind, limit = request
        self._conversation = conversation
        self._slot = conversation.replies.take_slot()
        self._acquire = WaitingAcquire(
            conversation.coordinator,
            conversation.context.group_of(name),
            name,
            (owner, ttl_ms, kind, limit),
            wait_ms,
            self._done,
            identity,
        )

    def start(self) -> None:
        """Ask for the lock."""
        conversation = self._conversation
        conversation.waiting = self._leave
        self._acquire.start()
        if conversation.close_reason == "normal":
            conversation.end_waiting(True)  # Its client has closed its side before this began.

    def _leave(self, is_gone: bool) -> None:
        self._acquire.leave(is_gone=is_gone)

    def _done(self, outcome: WriteOutcome) -> None:
        conversation = self._conversation
        conversation.waiting = None
        conversation.ended_alone()
        counters = conversation.counters
        if isinstance(outcome, Failure):
            data = conversation.context.failed(outcome)
        else:
            if type(outcome) is tuple:
                counters.locks_acquired += outcome[0] == LOCKED
                counters.lock_waits_over += outcome[0] == LOCK_QUEUED
            data = lock_line(outcome)
        conversation.replies.fill(self._slot, data)


class LockShowing:
    """`cluster lock show`, from its lane to its reply."""

    __slots__ = ("_conversation", "_lane", "_name", "_slot")

    def __init__(self, conversation: Conversation, lane: GroupLane, name: bytes) -> None:
        self._conversation = conversation
        self._lane = lane
        self._name = name
        self._slot = conversation.replies.take_slot()

    def start(self, deadline_ns: int) -> None:
        """Read it, in its lane."""
        coordinator = self._conversation.coordinator
        if not coordinator.new_ops.may_begin():
            self._done(Failure(NEEDS_UPGRADE, outcome_known=True))
            return
        read = LockRead(
            coordinator,
            self._lane.group_id,
            deadline_ns or coordinator.deadline_ns(),
            (self._name,),
            LOCK_SHOW,
            0,
            self._done,
        )
        coordinator.begin(read, deadline_ns != 0)

    def _done(self, outcome: ReadOutcome) -> None:
        conversation = self._conversation
        if isinstance(outcome, Failure):
            data = conversation.context.failed(outcome)
        else:
            data = lock_lines(None if outcome[0] is None else read_lock(outcome[0]))
        conversation.order.ended(self._lane, False)
        conversation.replies.fill(self._slot, data)


def lock_show(conversation: Conversation, request: LockShow) -> None:
    """`cluster lock show`."""
    if _is_elsewhere(conversation, request.name):
        return
    conversation.counters.cmd_other += 1
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(request.name))
    order.begin(lane, False, LockShowing(conversation, lane, request.name).start)


LOCK_WRITE_HANDLERS: Final[dict[type, Callable[[Conversation, Any, WriteId | None], None]]] = {
    LockAcquire: lock_acquire,
    LockRenew: lock_renew,
    LockRelease: lock_release,
}
"""Those that a client may give an identity, and no fence."""

LOCK_HANDLERS: Handlers = {
    LockAcquire: lock_acquire,
    LockRenew: lock_renew,
    LockRelease: lock_release,
    LockShow: lock_show,
}
