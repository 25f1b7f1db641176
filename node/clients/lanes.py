"""Order on one client connection: which of its operations may run at the same time.

A later request of a connection sees the effects of its earlier ones, and an earlier one never
sees those of a later one, also when they are pipelined. Requests to different groups cannot
tell, so they run in parallel; within one group reads run together (an answer that overtook an
earlier one is dropped, see `operations/order.py`), and a write waits for what came
before it. Only where this node leads the group may writes follow each other at once: there the
order of submission is the order in the log. One lane per group with requests under way. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Start = Callable[[], None]


class Lane:
    """Requests of one connection to one group."""

    __slots__ = ("_draining", "reads", "waiting", "writes")

    def __init__(self) -> None:
        self.reads = 0
        """Reads under way. Invariant: reads == 0 or writes == 0."""
        self.writes = 0
        self.waiting: deque[tuple[bool, Start]] | None = None
        self._draining = False

    def may_follow(self) -> bool:
        """May a write start behind the newest of those that are under way?"""
        raise NotImplementedError

    def may_start(self, is_write: bool) -> bool:
        """May such a request start now?"""
        return not self.waiting and self._is_free(is_write)

    def _is_free(self, is_write: bool) -> bool:
        if is_write:
            return not self.reads and (not self.writes or self.may_follow())
        return not self.writes

    def wait(self, is_write: bool, start: Start) -> None:
        """Start this one later, after all that came before it."""
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append((is_write, start))

    def started(self, is_write: bool) -> None:
        """A request is under way."""
        if is_write:
            self.writes += 1
        else:
            self.reads += 1

    def ended(self, is_write: bool) -> None:
        """A request has its outcome: start what waited for it, in order."""
        if is_write:
            self.writes -= 1
        else:
            self.reads -= 1
        self.go_on()

    def go_on(self) -> None:
        """Start what waits, in order, as far as the lane is free for it."""
        waiting = self.waiting
        if not waiting or self._draining:
            return  # What ends while others are being started is seen by the loop below.
        self._draining = True
        while waiting and self._is_free(waiting[0][0]):
            next_is_write, start = waiting.popleft()
            self.started(next_is_write)
            start()
        self._draining = False

    @property
    def is_idle(self) -> bool:
        """Nothing under way and nothing waiting."""
        return not (self.reads or self.writes or self.waiting)
