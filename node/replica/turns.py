"""When a host has its next turn: as soon as nothing more comes in, and soon in any case.

A turn costs nearly as much for one write as for twenty: a frame to each peer, a record of the log,
calls of the kernel. So a turn that is wanted waits while the loop still brings requests or frames,
and takes them along. At rest this is one more look at the sockets. Under load it lasts as long as
something comes at every look, and at most `HOLD_NS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.telemetry.counters import Counters

HOLD_NS: Final = 500_000
"""For how long a turn waits at most. A write has two turns before its answer: the leader's and a
follower's."""


class Turns:
    """The turns of one host, and the frames it sends between them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
        turn: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        """`flush` sends the frames that wait for the peers. A `turn` has to do that as well."""
        self._loop = loop
        self._clock = clock
        self._counters = counters
        self._turn = turn
        self._flush = flush
        self._is_scheduled = False
        """The loop will call `_look`."""
        self._turn_wanted = False
        """And not only a flush."""
        self._arrived = 0
        """Bytes that had come in at the last look."""
        self._until_ns = 0
        """When there is no more waiting. 0: nobody has looked yet."""

    def want_turn(self) -> None:
        """Have a turn soon."""
        self._turn_wanted = True
        self.want_flush()

    def want_flush(self) -> None:
        """Have what waits for the peers sent soon."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._look)

    def flush_now(self) -> None:
        """Have it sent at once: for what is due by the clock and by itself, so that nothing that
        comes in meanwhile belongs to it. A turn that is wanted already takes it along."""
        if not self._is_scheduled:
            self._flush()

    def _look(self) -> None:
        counters = self._counters
        arrived = counters.bytes_read + counters.peer_bytes_received
        until_ns = self._until_ns
        if not until_ns:
            self._until_ns = self._clock.monotonic_ns() + HOLD_NS
            self._arrived = arrived
            self._loop.call_soon(self._look)
            return
        if arrived != self._arrived and self._clock.monotonic_ns() < until_ns:
            self._arrived = arrived
            self._loop.call_soon(self._look)
            return
        turn_wanted = self._turn_wanted
        self._turn_wanted = self._is_scheduled = False  # What is wanted from here on is the next.
        self._until_ns = 0
        if turn_wanted:
            self._turn()
        else:
            self._flush()
