"""A client that waits for a lock, at the node that it is connected to.

The acquire goes through the log first, and gives the owner its place. Then the leader is asked when
it is the owner's turn (`lock_waits.py`), again and again. So nothing is left to the memory of any
node: when the leader dies, the next one is asked, and the place is where it was.

The place is kept in the log for `QUEUE_LEASE_MS` after the last acquire, so a waiting client's node
repeats it every `RENEW_NS`. A client that is gone is not waited for: its place is given up. A hold
is never given up here, not even by a client that is gone: its owner may have come back through
another node and hold the lock by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.lock_answers import (
    GONE,
    GRANTED,
    LOCK_WAIT,
    WAITS,
    read_standing,
)
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.operations.lock_waits import PARK_MS
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import ReadOutcome, WriteOutcome
from quorumcache.node.store.commands import OP_LOCK_ACQUIRE, OP_LOCK_RELEASE
from quorumcache.node.store.locks import LEAVES_QUEUE, QUEUE_LEASE_MS
from quorumcache.node.store.results import LOCK_BUSY, LOCK_QUEUED, LOCKED

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator

WAIT_NS_MAX: Final = 60_000_000_000
"""A longer wait is answered after this time, and its client asks again."""

RENEW_NS: Final = 3_000_000_000
"""Time between two acquires of a client that waits: a third of the lease of its place, so one that
comes to nothing does no harm."""

SHORT_NS: Final = 5_000_000
"""With less left of a wait the leader is not asked: a kept question ends with a sweep, which would
be long after."""

FRESH_NS: Final = 1_000_000_000
"""Before the last answer the place is renewed if its lease is older than this, so that the client
has time to ask again."""

TOO_MANY_WAIT: Final = "too many clients wait for locks of the leader's node; retry later"

_NS: Final = 1_000_000


def _ignore(outcome: WriteOutcome) -> None:
    """A place that could not be given up ends with its lease."""


class WaitingAcquire:
    """See the module docstring. `start`, and `done` hears the outcome, possibly before that
    returns.
    """

    __slots__ = (
        "_args",
        "_asked_ns",
        "_coordinator",
        "_done",
        "_ends_ns",
        "_group_id",
        "_identity",
        "_is_gone",
        "_is_over",
        "_is_queued",
        "_is_stopping",
        "_name",
        "_owner",
        "_place",
        "_read",
    )

    def __init__(
        self,
        coordinator: Coordinator,
        group_id: int,
        name: bytes,
        args: tuple[bytes, int, int, int],
        wait_ms: int,
        done: Callable[[WriteOutcome], None],
        identity: WriteId | None = None,
    ) -> None:
        """`args`: owner, ttl_ms, kind and limit, as OP_LOCK_ACQUIRE has them. `identity`: of the
        acquire, if its client has numbered it.
        """
        self._coordinator = coordinator
        self._group_id = group_id
        self._name = name
        self._owner = args[0]
        self._args: tuple[object, ...] = (*args, 1)
        self._done = done
        self._identity = identity
        self._ends_ns = coordinator.clock.monotonic_ns() + min(wait_ms * _NS, WAIT_NS_MAX)
        self._asked_ns = 0
        """When the acquire that gave or renewed the place was sent."""
        self._place = 0
        self._is_queued = False
        """An acquire has given it a place, which it may still have."""
        self._is_gone = False
        """Its client is."""
        self._is_stopping = False
        """It has to be answered as soon as something is known."""
        self._is_over = False
        self._read: LockRead | None = None

    def start(self) -> None:
        """Ask for the lock."""
        self._acquire(self._identity)

    def _acquire(self, identity: WriteId | None) -> None:
        """`identity`: none once it has a place. To ask again then is this node's affair, and the
        shard has to do it, while it answers a number that it has seen before from memory.
        """
        self._asked_ns = self._coordinator.clock.monotonic_ns()
        self._coordinator.write(
            self._group_id,
            OP_LOCK_ACQUIRE,
            self._name,
            self._args,
            len(self._name) + len(self._owner),
            self._acquired,
            None,
            identity,
        )

    def leave(self, *, is_gone: bool) -> None:
        """Wait no longer: the client is gone, and its place is given up; or this node stops, and
        the client is told its place."""
        self._is_gone = self._is_gone or is_gone
        self._is_stopping = True
        read = self._read
        if read is not None and not read.finished:
            read.finished = True  # Its answer is of no use any more.
            self._ended((LOCK_QUEUED, self._place))

    def _acquired(self, outcome: WriteOutcome) -> None:
        """The acquire has its outcome."""
        if isinstance(outcome, Failure):
            if self._is_queued:
                outcome = Failure(outcome.why, outcome_known=False)
            self._failed(outcome)
            return
        if type(outcome) is tuple and outcome[0] == LOCK_QUEUED:
            assert type(outcome[1]) is int
            self._is_queued = True
            self._place = outcome[1]
            is_short = self._left_ns() < SHORT_NS and self._age_ns() < FRESH_NS
            if not self._is_stopping and self._left_ns() > 0 and not is_short:
                self._ask()
                return
        self._ended(outcome)

    def _ask(self) -> None:
        """Ask the leader whether it is the owner's turn."""
        coordinator = self._coordinator
        park_ms = max(1, min(PARK_MS, coordinator.timeout_ms // 2, self._left_ns() // _NS))
        read = self._read = LockRead(
            coordinator,
            self._group_id,
            coordinator.deadline_ns(),
            (self._name, self._owner),
            LOCK_WAIT,
            park_ms,
            self._looked,
        )
        coordinator.begin(read, False)

    def _looked(self, outcome: ReadOutcome) -> None:
        """The leader has answered."""
        self._read = None
        if isinstance(outcome, Failure):
            self._failed(Failure(outcome.why, outcome_known=False))
            return
        code, number = read_standing(outcome[0])
        if code == GRANTED:
            self._ended((LOCKED, number))
        elif code == WAITS:
            self._place = number
            if self._age_ns() >= (RENEW_NS if self._left_ns() > 0 else FRESH_NS):
                self._acquire(None)
            elif self._left_ns() > 0:
                self._ask()
            else:
                self._ended((LOCK_QUEUED, number))
        elif code == GONE and self._identity is None and self._may_have_ended():
            self._acquire(None)  # Its lease has ended, as after a long time without a leader.
        elif code == GONE:
            # The owner has given up its place elsewhere. Or this is a late repetition, and its
            # client has had the lock meanwhile.
            self._ended(LOCK_BUSY)
        else:
            self._give_up()
            self._ended(Failure(TOO_MANY_WAIT, outcome_known=True))

    def _failed(self, failure: Failure) -> None:
        if self._is_queued and not self._is_stopping and self._left_ns() > 0:
            self._acquire(None)
        else:
            self._ended(failure)

    def _left_ns(self) -> int:
        return self._ends_ns - self._coordinator.clock.monotonic_ns()

    def _may_have_ended(self) -> bool:
        """Whether the lease of the place may be over. A younger one was given up by its owner."""
        return self._age_ns() >= QUEUE_LEASE_MS * 1_000_000

    def _age_ns(self) -> int:
        """How long ago the place was given or renewed, at most."""
        return self._coordinator.clock.monotonic_ns() - self._asked_ns

    def _ended(self, outcome: WriteOutcome) -> None:
        if self._is_over:
            return
        self._is_over = True
        waits = type(outcome) is tuple and outcome[0] == LOCK_QUEUED
        if self._is_gone and (waits or isinstance(outcome, Failure)):
            self._give_up()
            if waits:
                outcome = LOCK_BUSY
        self._done(outcome)

    def _give_up(self) -> None:
        """Leave the queue."""
        self._coordinator.write(
            self._group_id,
            OP_LOCK_RELEASE,
            self._name,
            (self._owner, LEAVES_QUEUE),
            len(self._name) + len(self._owner),
            _ignore,
        )
