"""Decides whether a request may be sent again, and after which pause. Pure.

A read may be repeated after any failure that is not the caller's own fault, and so may a write with
a number, which the cluster executes once. A write without a number may be repeated only when it is
certain that it was not executed: otherwise `incr` runs twice, and an old `set` overwrites a newer
one.
"""

from __future__ import annotations

from enum import Enum
from random import Random

from quorumcache.router.errors import (
    Conflict,
    FenceOfAnotherLock,
    LockOfAnotherKind,
    Moved,
    NotANumber,
    OutOfMemory,
    RouterError,
    SessionGone,
    StaleFence,
    ValueTooLarge,
)

IMMEDIATE_MOVES_MAX = 2
"""Redirects followed without a pause. More in one call mean that the nodes disagree for now."""

RESULTS = (
    *(ValueTooLarge, NotANumber, OutOfMemory, Conflict),
    *(StaleFence, FenceOfAnotherLock, LockOfAnotherKind),
)
"""Refusals that are a write's first result, also when they answer a repetition."""


class Effect(Enum):
    """What executing a request does to the cluster."""

    READ = "read"
    WRITE = "write"
    NUMBERED_WRITE = "numbered write"


def may_retry(effect: Effect, error: RouterError) -> bool:
    """Whether the same request may be sent once more after `error`."""
    if effect is Effect.WRITE:
        return error.retriable and error.outcome_known
    return error.retriable or not (error.outcome_known or isinstance(error, SessionGone))


CONFLICT_PAUSE_MAX_MS = 2_000
"""Pauses between attempts of a transaction double for longer than others: those that meet others
share the room that there is, and with pauses of one length the attempts of a hundred would leave
none."""


class Backoff:
    """Pauses of one call, one per failure. `random` gives the jitter."""

    __slots__ = ("_failure_count", "_first_ms", "_max_ms", "_move_count", "_random")

    def __init__(self, random: Random, first_ms: int, max_ms: int) -> None:
        self._random = random
        self._first_ms = first_ms
        self._max_ms = max_ms
        self._failure_count = 0
        self._move_count = 0

    def pause_ms(self, error: RouterError, elsewhere: bool) -> float:
        """Pause before the next attempt.

        `elsewhere`: the next attempt goes to a node that was not asked yet in this round. The
        first such step costs no pause, nor do the first redirects to a named leader.
        """
        if isinstance(error, Moved) and error.address and elsewhere:
            self._move_count += 1
            if self._move_count <= IMMEDIATE_MOVES_MAX:
                return 0.0
        self._failure_count += 1
        if self._failure_count == 1 and elsewhere:
            return 0.0
        doublings = min(self._failure_count - 1, 20)
        most_ms = self._max_ms
        if isinstance(error, Conflict):
            most_ms = max(most_ms, CONFLICT_PAUSE_MAX_MS)
        ceiling = min(most_ms, self._first_ms << doublings)
        return ceiling * (0.5 + 0.5 * self._random.random())
