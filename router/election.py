"""Leader election: whoever holds the lock of that name leads, and the others wait for it."""

from __future__ import annotations

from typing import NamedTuple

from quorumcache.router.fencing import FencingToken
from quorumcache.router.lock_keeper import LockKeeper, label_in, label_of
from quorumcache.router.lock_requests import EXCLUSIVE, LockState
from quorumcache.router.locks import TTL_MS, Lock


class Leader(NamedTuple):
    """Who leads. `candidate`: what it calls itself. `token`: grows with each leader."""

    candidate: str
    token: FencingToken


class Campaign(Lock):
    """One candidate. `async with campaign as token:` waits until it leads; it resigns at the end of
    the block. Whoever acts as a leader gives the token as `fence`: a leader that was deposed while
    it stood still does no harm then.
    """

    _WHAT = "the leadership"

    def __init__(
        self,
        keeper: LockKeeper,
        name: str | bytes,
        *,
        candidate: str = "",
        ttl_ms: int = TTL_MS,
        wait_ms: int | None = None,
    ) -> None:
        candidate = label_of("candidate", candidate)
        super().__init__(keeper, name, EXCLUSIVE, ttl_ms=ttl_ms, wait_ms=wait_ms, owner=candidate)

    async def resign(self, *, timeout_ms: int | None = None) -> None:
        """Lead no longer: the next candidate does. The same as `release`."""
        await self.release(timeout_ms=timeout_ms)


def leader_in(name: bytes, state: LockState) -> Leader | None:
    """Who leads, from what is known of the lock."""
    for holder in state.holders:
        return Leader(label_in(holder.owner), FencingToken(name, holder.token))
    return None
