"""Has connections go on: all those for which a turn brought something, in one call of the loop.

A turn of the node answers many writes at once, of as many clients. A call of the loop for each of
them costs as much as what the call does.

What they do then is bounded, too. Replies are copied, and a turn in which many clients are given
megabytes each, or send thousands of requests each, would hold up everything else. So all
connections together make `TURN_BYTES_MAX` of replies in a turn, and a request counts as some more.
Then one that has made `FREE_BYTES` of its own since it went on is *spent*, and waits; so does what
a socket brings by then, unless that is short. In the next turns those that wait go on in their
order, before all others. Whoever asks for little never waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

TURN_BYTES_MAX: Final = 4 << 20
"""Replies that all connections make in one turn, in about 5 ms. One more of each may exceed it."""

REQUEST_BYTES: Final = 512
"""As so many bytes of replies counts it to read a request, and as many to begin it: about as long
as both take."""

READ_BYTES_MIN: Final = 1 << 10
"""What is read of a socket is begun at once if it is no longer, however much others have made."""

FREE_BYTES: Final = 64 << 10
"""Replies that a connection may make each time it goes on, however much others have made."""


class Pumped:
    """What goes on when it is pumped. A class and no `Protocol`: mypyc calls methods directly."""

    __slots__ = ("is_waiting",)

    def __init__(self) -> None:
        self.is_waiting = False
        """It is among those that wait for their share of a turn; `Pumps` sets it."""

    def pump(self) -> None:
        """Send what is ready, and go on with what waits."""
        raise NotImplementedError


class Pumps:
    """See the module. One for all connections of a node."""

    __slots__ = ("_due", "_is_called", "_loop", "_made_bytes", "_waiting", "is_spent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[Pumped] = []
        """In the order in which they asked."""
        self._waiting: deque[Pumped] = deque()
        """Those that have spent their share of a turn, the one that waits longest first."""
        self._is_called = False
        """The loop will call. True while any are due or wait, and once all is spent."""
        self._made_bytes: int = 0
        """Replies made since the last call, which may be turns ago while little is made."""
        self.is_spent: bool = False
        """As much was made as may be in a turn."""

    def add(self, pumped: Pumped) -> None:
        """Pump it in the next turn of the loop."""
        self._due.append(pumped)
        if not self._is_called:
            self._call()

    def wait(self, pumped: Pumped) -> None:
        """It is spent: pump it when those that wait already have had their turn."""
        if not pumped.is_waiting:
            pumped.is_waiting = True
            self._waiting.append(pumped)
            if not self._is_called:
                self._call()

    def made(self, size: int) -> None:
        """A connection has made so many bytes of replies."""
        self._made_bytes += size
        if self._made_bytes >= TURN_BYTES_MAX and not self.is_spent:
            self.is_spent = True
            if not self._is_called:
                self._call()

    def _call(self) -> None:
        self._is_called = True
        self._loop.call_soon(self._pump_all)

    def _pump_all(self) -> None:
        """Pump those that wait, until all is spent, then those that have asked; who asks or waits
        meanwhile has to wait for the next turn."""
        self._is_called = False
        self._made_bytes = 0
        self.is_spent = False
        waiting = self._waiting
        due, self._due = self._due, []
        done = 0
        try:
            for _ in range(len(waiting)):
                if self.is_spent:
                    break
                pumped = waiting.popleft()
                pumped.is_waiting = False
                pumped.pump()
            for pumped in due:
                done += 1
                pumped.pump()
        finally:
            for pumped in due[done:]:  # The one before them has failed, which the loop reports.
                self.add(pumped)
            if waiting and not self._is_called:
                self._call()
