"""What can go wrong between a caller and the cluster, and what the caller knows afterwards.

Every class carries three facts as class attributes:

- `retriable`: another attempt of the very same request may succeed;
- `refresh_map`: what the client believes about nodes or leaders is out of date;
- `outcome_known`: False when the request may or may not have been executed.

The two branches a caller of a write tells apart are `NotDone` (certainly not executed) and
`OutcomeUnknown` (may or may not have happened). A read that ends in an error is always `NotDone`.

    RouterError
      InvalidRequest        the caller's fault, nothing was sent: InvalidKey, InvalidArgument,
                            WrongEventLoop, LockInUse, TransactionEnded, NestedTransaction
      ClientClosed
      NotDone               certainly not executed
        Moved, ConnectFailed, NotSent, NodeBusy, ClusterUnreachable, NotACluster, WrongCluster,
        SessionForgotten, TransactionTooLong
        Refused             a node understood and said no: ValueTooLarge, NotANumber, OutOfMemory,
                            StaleFence, FenceOfAnotherLock, LockOfAnotherKind, TransactionTooLarge
        LockTimeout         others held the lock for as long as the call would wait
        LockNotHeld         a release of what is not held, or not any more
        Conflict, ConditionFailed   of a transaction: nothing of it was done
        DeadlineExceeded    tried until the deadline, without success
      OutcomeUnknown        a write that may have happened: ConnectionLost, ReplyTimeout, BadReply,
                            SessionGone
      LockLost              the lock ended before the work under it did
      PartialFailure        a call for many keys: the errors by key
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from typing import Any


class RouterError(Exception):
    """Base of everything the client raises."""

    retriable: bool = False
    refresh_map: bool = False
    outcome_known: bool = True

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: the message and the attributes as they are. Without this, the
        message would be handed to `__init__`, which wants the parts of it.
        """
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidRequest(RouterError, ValueError):
    """The arguments can not be sent; nothing left this process."""


class InvalidKey(InvalidRequest):
    """A key must have 1 to 250 bytes, none of them a space, CR or LF."""


class InvalidArgument(InvalidRequest):
    """A value, number or setting is outside of what can be sent."""


class WrongEventLoop(InvalidRequest):
    """A client serves the event loop that used it first, in the process that used it first. After
    a fork it serves a new loop of the child as well."""


class LockInUse(InvalidRequest):
    """A lock object holds its lock, or is about to: it is not reentrant, and is held once at a
    time. Another task that wants the lock uses an object of its own."""


class ClientClosed(RouterError):
    """The client was closed before this call could be made."""


class NotDone(RouterError):
    """Certainly not executed. As it stands: a node said `SERVER_ERROR not done: <why>`."""

    retriable = True


class Moved(NotDone):
    """The node asked does not lead this shard. `address` is "" when it knows no leader."""

    refresh_map = True

    def __init__(self, epoch: int, shard: int, leader_id: int, address: str) -> None:
        where = f"is led by {address}" if address else "has no known leader"
        super().__init__(f"shard {shard} {where}")
        self.epoch = epoch
        self.shard = shard
        self.leader_id = leader_id
        self.address = address


class ConnectFailed(NotDone):
    """No connection to this address could be opened."""

    refresh_map = True

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why}")
        self.address = address
        self.why = why


class NotSent(NotDone):
    """The connection broke, or the time ran out, before the request's bytes reached the socket."""

    refresh_map = True

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why} (the request was not sent)")
        self.address = address
        self.why = why


class NodeBusy(NotDone):
    """The node takes no further connections."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: too many open connections on this node")
        self.address = address


class ClusterUnreachable(NotDone):
    """Not one of the known addresses answered."""

    refresh_map = True


class NotACluster(NotDone):
    """Something answers at this address, but it does not speak QuorumCache's `cluster` words."""

    retriable = False

    def __init__(self, address: str, said: str) -> None:
        super().__init__(f"{address} is not a QuorumCache node: it answered {said!r} to 'cluster'")
        self.address = address
        self.said = said


class PasswordNeeded(NotACluster):
    """The node wants a user and a password first, and was given none, or wrong ones."""

    def __init__(self, address: str, said: str) -> None:
        super().__init__(address, said)
        self.args = (f"{address} wants a user and a password first: {said}",)


class WrongCluster(NotDone):
    """The known addresses now serve another cluster than the one this client started with."""

    retriable = False


class Refused(NotDone):
    """A node understood the request and refused it."""

    retriable = False


class ValueTooLarge(Refused):
    """The value is over the cluster's item limit. As with memcached, a refused `set` also removes
    the old value, so that no client goes on reading what was to be replaced."""


class NotANumber(Refused):
    """`incr` or `decr` on a value that is not an unsigned 64-bit decimal."""


class OutOfMemory(Refused):
    """There is no room for the value. As with memcached, a refused `set` also removes the old
    value."""


class StaleFence(Refused):
    """A newer holder of the lock has been at this shard: the lock of this token has ended, and what
    was to be done under it was not done. `newest`: the highest token that the shard has seen of
    this lock."""

    def __init__(self, message: str, newest: int = 0) -> None:
        super().__init__(message)
        self.newest = newest


class FenceOfAnotherLock(Refused):
    """The key is guarded by another lock than the one whose token came with the request."""


class LockOfAnotherKind(Refused):
    """The name is in use as another kind of lock, or with another number of permits or parties."""


class SessionForgotten(NotDone):
    """The shard does not know this client's session, or the number of this write, any more, and did
    not execute the write this time. The client opens another session and goes on, unless an earlier
    attempt is in doubt: then the call ends in `SessionGone`."""


class Conflict(NotDone):
    """Nothing of the transaction was done, nor will be: somebody else changed what it had read, or
    is changing it now. Run as a whole once more it may succeed; `transact` does so by itself.

    `key`: where they met; None if it was given up by the cluster without one.
    """

    retriable = False

    def __init__(self, key: bytes | None) -> None:
        at = "" if key is None else f" of {key.decode('utf-8', 'backslashreplace')}"
        super().__init__(f"another write{at} came between: nothing of the transaction was done")
        self.key = key


class ConditionFailed(NotDone):
    """What the transaction requires of `key` does not hold. `transact` does not repeat it."""

    retriable = False

    def __init__(self, key: bytes, why: str) -> None:
        super().__init__(f"{key.decode('utf-8', 'backslashreplace')} {why}")
        self.key = key


class TransactionTooLarge(Refused):
    """Too many keys, too many bytes, or a value that is too large to be part of a transaction.
    Nothing of it was done."""


class TransactionTooLong(NotDone):
    """The transaction took longer than its `limit_ms`. Nothing of it was done."""

    retriable = False


class TransactionEnded(InvalidRequest):
    """The transaction is used after its end, or before its begin."""


class NestedTransaction(InvalidRequest):
    """A transaction begins inside of another one of the same client. They could not be one: what
    the inner one changes would stay when the outer one is given up."""


class DeadlineExceeded(NotDone):
    """The deadline passed, and no attempt was executed. `__cause__` is the last failure."""

    retriable = False


class LockTimeout(NotDone):
    """Others held the lock for as long as the call was willing to wait. The place in the queue was
    given up."""

    retriable = False


class LockNotHeld(NotDone):
    """The lock is not held by whom it was to be released for: it was released before, it is
    another object's, or its time was over."""

    retriable = False


class LockLost(RouterError):
    """The lock ended before the work under it did: it could not be renewed in time. Another may
    hold it by now. What was done with its token as fence was done in time, or was refused."""


class OutcomeUnknown(RouterError):
    """The write may or may not have happened, and may still happen.

    A write with a number is repeated under it until the deadline, so this is the end of its time.
    One without is never repeated.
    """

    outcome_known = False


class SessionGone(OutcomeUnknown):
    """An attempt may have been executed, and the shard has forgotten the session that would tell:
    it was idle for longer than the cluster keeps sessions, or had to make room for others. The
    write was not executed a second time."""


class ConnectionLost(OutcomeUnknown):
    """The connection broke after the request's bytes were handed to the socket."""

    refresh_map = True

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why} before the reply came")
        self.address = address
        self.why = why


class ReplyTimeout(OutcomeUnknown):
    """The request was sent, and no reply came in time."""

    refresh_map = True

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: sent, but no reply in time")
        self.address = address


class BadReply(OutcomeUnknown):
    """The peer sent bytes that are no reply to what was asked; the connection was closed."""

    refresh_map = True


class PartialFailure(RouterError):
    """Some keys of a call for many keys failed.

    `errors` maps each failed key, as the caller gave it, to its own error; every other key of the
    call is done. `values` holds what a `get_many` did find.
    """

    def __init__(
        self,
        errors: Mapping[str | bytes, RouterError],
        values: Mapping[str | bytes, bytes] | None = None,
    ) -> None:
        if not errors:
            raise ValueError("errors must name at least one key")
        key, first = next(iter(errors.items()))
        super().__init__(f"{len(errors)} keys failed, first {key!r}: {first}")
        self.errors = dict(errors)
        self.values = dict(values or {})
        self.outcome_known = all(error.outcome_known for error in self.errors.values())
