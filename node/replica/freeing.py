"""Frees what replicas held that have left this node, without holding up those that stay.

A replica may have a log of a gigabyte and millions of items: to forget it in one step would stop
the loop for a tenth of a second and more. So it is kept until all of that is gone, a little in each
step, one replica after the other. What somebody still reads for a snapshot is waited for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from quorumcache.node.replica.group import ReplicaGroup

STEP_SECONDS: Final = 0.005
"""Between two steps."""

STEP_WORK_MAX: Final = 1 << 10
"""Entries of a log that a step frees, or as much as takes the same time: half a millisecond."""


class Freeing:
    """See the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left: deque[ReplicaGroup] = deque()
        """Those of which something is there. While there are any, a step is due."""

    def take(self, group: ReplicaGroup) -> None:
        """Free a replica that has stopped, and that nobody asks for anything from the next turn of
        the loop on."""
        self._left.append(group)
        if len(self._left) == 1:
            self._loop.call_later(STEP_SECONDS, self._step)

    def _step(self) -> None:
        group, is_over = self._left[0], True
        try:
            is_over = not group.log.let_go(STEP_WORK_MAX) and not group.machine.let_go()
        finally:  # What fails goes in one step, and the loop reports it; the others go on.
            if is_over:
                self._left.popleft()
            if self._left:
                self._loop.call_later(STEP_SECONDS, self._step)
