"""When operations run out of time.

The timeout is the same for all, so those that begin at once are in order of deadline as they come.
Those that had waited in their connection are kept apart; they are few.

Nearly all have ended long before. Each that comes takes some of those out, so that their memory is
used again while it is still in the processor's cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.operation import Operation

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock

DEADLINES_MIN: Final = 10_000
"""Operations, finished or not, that the queue may hold before it is tidied up."""


TAKEN_OUT_MAX: Final = 4
"""Finished operations that a new one takes out. More than one, so that the queue becomes short
again when an old one has ended; few, so that this takes no time that anybody notices."""


class Deadlines:
    """Unfinished operations, and finished ones that were not yet taken out."""

    __slots__ = ("_clock", "_late", "_max", "forget", "queue", "timeout_ns")

    def __init__(self, clock: Clock, timeout_ns: int, forget: Callable[[int], None]) -> None:
        """`forget` is told the request id of a forward that nothing waits for any more."""
        self._clock = clock
        self.timeout_ns = timeout_ns
        self.queue: deque[Operation] = deque()
        """In order of deadline."""
        self.forget = forget
        self._max = DEADLINES_MIN
        """Length of `queue` at which the finished ones are taken out of its middle."""
        self._late: list[Operation] = []
        """In no order of deadline."""

    def from_now(self) -> int:
        """Until when an operation that begins now is tried; on the monotonic clock."""
        return self._clock.monotonic_ns() + self.timeout_ns

    def watch(self, operation: Operation) -> None:
        """Watch one that began now: of all in the queue it has the most time left."""
        queue = self.queue
        taken_out = 0
        while taken_out < TAKEN_OUT_MAX and queue:
            oldest = queue[0]
            if not oldest.finished:
                break
            queue.popleft()
            taken_out += 1
            if oldest.request_id:
                self.forget(oldest.request_id)
        queue.append(operation)

    def watch_late(self, operation: Operation) -> None:
        """Watch one that is not the last of all to run out of time."""
        self._late.append(operation)

    def expire(self, now_ns: int) -> None:
        """End what has run out of time."""
        queue = self.queue
        while queue:
            operation = queue[0]
            if not operation.finished and operation.deadline_ns > now_ns:
                break
            queue.popleft()  # First: others may begin as it ends, and look at the queue.
            if not operation.finished:
                operation.expire()
                if not operation.finished:
                    self._late.append(operation)  # It was given more time.
            if operation.finished and operation.request_id:
                self.forget(operation.request_id)
        if self._late:
            late, self._late = self._late, []
            for operation in late:
                if not operation.finished and operation.deadline_ns <= now_ns:
                    operation.expire()
                if not operation.finished:
                    self._late.append(operation)
                elif operation.request_id:
                    self.forget(operation.request_id)
        if len(queue) > self._max:
            # Behind one operation that waits, thousands may have come and gone.
            self.queue = deque(o for o in queue if not o.finished)
            self._max = max(DEADLINES_MIN, 2 * len(self.queue))
