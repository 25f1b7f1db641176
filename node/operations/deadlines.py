"""When operations run out of time.

The timeout is the same for all, so those that begin at once are in order of deadline as they come.
Those that had waited in their connection are kept apart; they are few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from quorumcache.node.operations.operation import Operation

DEADLINES_MIN: Final = 10_000
"""Operations, finished or not, that the queue may hold before it is tidied up."""


class Deadlines:
    """Unfinished operations, and finished ones that were not yet taken out."""

    __slots__ = ("_late", "_max", "forget", "queue")

    def __init__(self, forget: Callable[[int], None]) -> None:
        """`forget` is told the request id of a forward that has nobody to wait for it any more."""
        self.queue: deque[Operation] = deque()
        """In order of deadline."""
        self.forget = forget
        self._max = DEADLINES_MIN
        """Length of `queue` at which the finished ones are taken out of its middle."""
        self._late: list[Operation] = []
        """In no order of deadline."""

    def add_late(self, operation: Operation) -> None:
        """Watch one that is not the last of all to run out of time."""
        self._late.append(operation)

    def expire(self, now_ns: int) -> None:
        """End what has run out of time."""
        queue = self.queue
        while queue:
            operation = queue[0]
            if not operation.finished:
                if operation.deadline_ns > now_ns:
                    break
                operation.expire()
                if not operation.finished:
                    self._late.append(operation)  # It was given more time.
            if operation.finished and operation.request_id:
                self.forget(operation.request_id)
            queue.popleft()
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
