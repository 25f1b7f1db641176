"""Has connections go on: all those for which a turn brought something, in one call of the loop.

A turn of the node answers many writes at once, of as many clients. A call of the loop for each of
them costs as much as what the call does.
"""

from __future__ import annotations

import asyncio


class Pumped:
    """What goes on when it is pumped. A class and no `Protocol`: mypyc calls methods directly."""

    __slots__ = ()

    def pump(self) -> None:
        """Send what is ready, and go on with what waits."""
        raise NotImplementedError


class Pumps:
    """See the module. One for all connections of a node."""

    __slots__ = ("_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[Pumped] = []
        """In the order in which they asked. Not empty: the loop will call."""

    def add(self, pumped: Pumped) -> None:
        """Pump it in the next turn of the loop."""
        due = self._due
        due.append(pumped)
        if len(due) == 1:
            self._loop.call_soon(self._pump_all)

    def _pump_all(self) -> None:
        """Pump those that have asked; who asks meanwhile has to wait for the next turn."""
        due, self._due = self._due, []
        done = 0
        try:
            for pumped in due:
                done += 1
                pumped.pump()
        finally:
            for pumped in due[done:]:  # The one before them has failed, which the loop reports.
                self.add(pumped)
