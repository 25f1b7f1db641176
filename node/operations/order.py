"""The order of one client connection's operations on one group. Pure.

A client sees its requests take effect in the order in which it sent them. Two places keep that
order, because each knows what the other does not:

 - the connection (`clients/order.py`) decides which of its requests may be under way together. It
   knows what came in which order, and waits for outcomes; it sees no attempts.
 - this file keeps the order among those that are under way together, when attempts are repeated.
   The connection names the newest unfinished operation before each new one (`after`).

The rules:
 - a write is not sent before the earlier write has ended, unless that one is with the replica
   here, or among the writes that leave for the leader's node with it: what is submitted here or
   sent in one item keeps its order in the log (`Write.must_wait`, `forwarded_writes.py`);
 - a read may be sent, but its answer is dropped if it comes before that of the earlier read, or is
   of an attempt from before the one that the earlier read was answered by: the earlier one,
   repeated, has seen a newer state (`Read._is_out_of_order`). So it is while the earlier one, which
   has found a large item, may still miss its value (`read_values.settle`).

An operation that fails leaves its place to the one before it, if that goes on: whoever follows it
follows that one. Whichever waits is routed again once the earlier operation has ended; a write also
when the earlier one is sent again, behind which it may go then.
"""

from __future__ import annotations

from collections import deque


class Ordered:
    """An operation that may have to follow an earlier one of its connection."""

    __slots__ = ("after", "finished", "is_unsettled", "then")

    def __init__(self) -> None:
        self.finished = False
        """It has its outcome. It finishes exactly once."""
        self.is_unsettled = False
        """It has one, which may have to be asked for again (see `settle`): later ones wait."""
        self.after: Ordered | None = None
        """The earlier operation; None once that has no say any more."""
        self.then: list[Ordered] | None = None
        """Later operations that wait for this one to end."""

    def unfinished_before(self) -> Ordered | None:
        """The newest earlier operation that has not ended. The one just before may have failed
        while one before that goes on.
        """
        before = self.after
        while before is not None and before.finished and not before.is_unsettled:
            before = before.after
        return before

    def wait_for(self, before: Ordered) -> None:
        """Be routed once `before` has ended."""
        if before.then is None:
            before.then = []
        before.then.append(self)

    def is_submitted_here(self) -> bool:
        """Is it with the replica here, where a later one cannot overtake it?"""
        return False

    def go_on(self) -> None:
        """The earlier operation has ended."""
        raise NotImplementedError


class Turns:
    """Lets operations go on that wait for an earlier one: by turns, however long the chain.

    One of them may end at once, and so call `take` for its own followers: these are appended, and
    the stack does not grow with the chain.
    """

    __slots__ = ("_is_at_work", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Ordered] = deque()
        """In the order in which they go on."""
        self._is_at_work = False

    def end(self, before: Ordered) -> None:
        """What follows this one goes on."""
        followers, before.then = before.then, None
        if followers:
            earlier = before.unfinished_before()
            for follower in followers:
                follower.after = earlier
            self.take(followers)

    def follow(self, before: Ordered) -> None:
        """What waits for this one looks again whether it may go behind it."""
        followers, before.then = before.then, None
        if followers:
            self.take(followers)

    def take(self, followers: list[Ordered]) -> None:
        """These may go on."""
        waiting = self._waiting
        waiting.extend(followers)
        if self._is_at_work:
            return
        self._is_at_work = True
        try:
            while waiting:
                waiting.popleft().go_on()
        finally:
            self._is_at_work = False
