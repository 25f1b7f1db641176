"""Identities of transactions that need no round trip: an earlier `cluster txn begin` told what they
are made of. Pure.

A begin tells a random number of 128 bits and the cluster's time. The numbers behind that one are as
good, since nobody else has them; and the time goes on as this machine's clock does, for a while. It
is taken as early as it can have been, so a deadline is never later than what was asked for.

If it is wrong all the same (a machine that was suspended; a cluster that was down), the deadline
has passed already: the commit hears so, nothing was done, and the next one asks again.
"""

from __future__ import annotations

from typing import Final

from quorumcache.router.transaction_requests import Begun

FRESH_S: Final = 10.0
"""How long a begin serves. Clocks differ by 1 % at most, which is a tenth of a second of it."""

LIMIT_MS_LEAST: Final = 1_000
"""Transactions with less time than this ask for themselves."""

_MASK: Final = (1 << 128) - 1


class Identities:
    """What one client has been told. A child process must not go on with its parent's."""

    __slots__ = ("_count", "_first", "_learned_at", "_offset_s")

    def __init__(self) -> None:
        self._first = -1  # the number that was told; -1: none
        self._count = 0  # of those made of it
        self._learned_at = 0.0  # loop time
        self._offset_s = 0.0  # from loop time to the cluster's, at least

    def learn(self, begun: Begun, limit_ms: int, now: float) -> None:
        """Take what a begin has told just now (loop time)."""
        self._first = int(begun.transaction_id, 16)
        self._count = 0
        self._learned_at = now
        self._offset_s = (begun.deadline_ms - limit_ms) / 1000 - now

    def forget(self) -> None:
        """Its time was wrong."""
        self._first = -1

    def take(self, limit_ms: int, now: float) -> Begun | None:
        """An identity that nobody else has, or None: ask a node."""
        if self._first < 0 or limit_ms < LIMIT_MS_LEAST or now - self._learned_at >= FRESH_S:
            return None
        self._count += 1
        number = (self._first + self._count) & _MASK
        deadline_ms = int((self._offset_s + now) * 1000) + limit_ms
        return Begun(b"%032x" % number, deadline_ms)
