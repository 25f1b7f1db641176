"""Locks that several hold at a time: read-write locks and semaphores.

Their tokens are no fences, but for a writer's: several holders have tokens of their own at the same
time, and the newest would shut the others out.
"""

from __future__ import annotations

from typing import Final

from quorumcache.router.arguments import whole
from quorumcache.router.lock_keeper import LockKeeper, label_of, name_bytes
from quorumcache.router.lock_requests import EXCLUSIVE, READER, semaphore_mode
from quorumcache.router.locks import TTL_MS, Lock, ttl_of, wait_of

HOLDERS_MAX: Final = 1_024
"""Permits of a semaphore, or parties of a barrier."""


def count_of(name: str, value: int) -> int:
    """The permits of a semaphore, or the parties of a barrier."""
    return whole(name, value, 1, HOLDERS_MAX)


class Semaphore(Lock):
    """A lock that up to `permits` hold at a time. All that use the name say the same number."""

    _WHAT = "the semaphore"

    def __init__(
        self,
        keeper: LockKeeper,
        name: str | bytes,
        permits: int,
        *,
        ttl_ms: int = TTL_MS,
        wait_ms: int | None = None,
        owner: str = "",
    ) -> None:
        mode = semaphore_mode(count_of("permits", permits))
        super().__init__(keeper, name, mode, ttl_ms=ttl_ms, wait_ms=wait_ms, owner=owner)


class ReadWriteLock:
    """A lock that many readers hold at a time, or one writer. Both wait in one queue, in order of
    arrival, so that a stream of readers does not keep a writer out.
    """

    def __init__(
        self,
        keeper: LockKeeper,
        name: str | bytes,
        *,
        ttl_ms: int = TTL_MS,
        wait_ms: int | None = None,
        owner: str = "",
    ) -> None:
        self.name = name_bytes(name)
        self._keeper = keeper
        self._ttl_ms = ttl_of(ttl_ms)
        self._wait_ms = wait_of(wait_ms)
        self._owner = label_of("owner", owner)

    def reader(self) -> Lock:
        """A lock object for one reader; a new one with each call."""
        return self._made(is_reader=True)

    def writer(self) -> Lock:
        """A lock object for one writer; a new one with each call. Its token is a fence."""
        return self._made(is_reader=False)

    def _made(self, *, is_reader: bool) -> Lock:
        return Lock(
            self._keeper,
            self.name,
            READER if is_reader else EXCLUSIVE,
            ttl_ms=self._ttl_ms,
            wait_ms=self._wait_ms,
            owner=self._owner,
        )
