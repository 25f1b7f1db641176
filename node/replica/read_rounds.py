"""Reads that a leader without a lease confirms with a majority first (Raft thesis 6.4).

The reads of one turn are one round. It is confirmed with a read index, and its reads run once the
state machine has applied that much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from quorumcache.node.consensus.api import ReplicatedLog
from quorumcache.node.consensus.errors import NotLeader

if TYPE_CHECKING:
    from quorumcache.node.state_machine import ReadWaiter


class ReadRounds:
    """See the module."""

    __slots__ = ("_log", "_next_context", "_under_way", "confirmed")

    def __init__(self, log: ReplicatedLog) -> None:
        self._log = log
        self._next_context = 1
        self._under_way: dict[int, list[ReadWaiter]] = {}
        """By context."""
        self.confirmed: list[tuple[int, list[ReadWaiter]]] = []
        """Those that wait until so much is applied."""

    def start(self, waiters: list[ReadWaiter], now_ns: int) -> None:
        """Begin a round for these reads, at this moment of the clock."""
        context = self._next_context
        self._next_context += 1
        try:
            self._log.request_read(context, now_ns)
        except NotLeader as error:
            for waiter in waiters:
                waiter.on_refused(str(error))
            return
        self._under_way[context] = waiters

    def confirm(self, context: int, read_index: int, applied_index: int) -> None:
        """The log confirmed a round: its reads run once `read_index` is applied."""
        waiters = self._under_way.pop(context, None)
        if waiters is None:
            return
        if applied_index >= read_index:
            for waiter in waiters:
                waiter.on_readable()
        else:
            self.confirmed.append((read_index, waiters))

    def fail(self, contexts: Iterable[int]) -> None:
        """The log can no longer confirm these rounds here."""
        for context in contexts:
            for waiter in self._under_way.pop(context, ()):
                waiter.on_refused("leadership changed")

    def applied(self, applied_index: int) -> None:
        """So much is applied: the reads that waited for it run."""
        waiting: list[tuple[int, list[ReadWaiter]]] = []
        for read_index, waiters in self.confirmed:
            if applied_index >= read_index:
                for waiter in waiters:
                    waiter.on_readable()
            else:
                waiting.append((read_index, waiters))
        self.confirmed = waiting

    def refuse(self, why: str) -> None:
        """No longer leader: all of them are refused."""
        for waiters in [*self._under_way.values(), *(waiters for _, waiters in self.confirmed)]:
            for waiter in waiters:
                waiter.on_refused(why)
        self._under_way = {}
        self.confirmed = []
