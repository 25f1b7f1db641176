"""Identities for a client's transactions, made of those that nodes have given it. Pure.

A node gives an identity that nobody else has, and tells the cluster's time by it. For a while after
that the client counts on from there by itself, and saves the question.
"""

from __future__ import annotations

from typing import Final

from quorumcache.router.transaction_requests import Begun

KEPT_S: Final = 10.0
"""How long the client goes by what a node has told it. Clocks run apart by less than a millisecond
in that time."""

_COUNTED_DIGITS: Final = 8
"""Hexadecimal digits at the end of an identity that are counted up."""


class Identities:
    """See the module."""

    __slots__ = ("_base", "_count", "_now_ms", "_told_at")

    def __init__(self) -> None:
        self._base = b""
        self._count = 0
        self._now_ms = 0
        """Cluster time at `_told_at`, or a little less."""
        self._told_at = 0.0

    def learn(self, begun: Begun, limit_ms: int, now: float) -> None:
        """A node has given this identity, for a transaction with this limit. `now`: loop time when
        it came.
        """
        self._base = begun.transaction_id[:-_COUNTED_DIGITS]
        self._count = int(begun.transaction_id[-_COUNTED_DIGITS:], 16)
        self._now_ms = begun.deadline_ms - limit_ms
        self._told_at = now

    def take(self, limit_ms: int, now: float) -> Begun | None:
        """An identity for one transaction, which begins now; None: a node has to be asked."""
        if not self._base or not self._told_at <= now < self._told_at + KEPT_S:
            return None
        self._count = (self._count + 1) % (1 << 4 * _COUNTED_DIGITS)
        transaction_id = b"%b%0*x" % (self._base, _COUNTED_DIGITS, self._count)
        since_ms = int((now - self._told_at) * 1000)
        return Begun(transaction_id, self._now_ms + since_ms + limit_ms)

    def forget(self) -> None:
        """Ask a node next time: this process is a child, whose parent counts on from here, too; or
        the cluster's time is further than the client believes.
        """
        self._base = b""
