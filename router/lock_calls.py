"""What `AsyncClient` offers about locks: how their objects are made, and who holds what."""

from __future__ import annotations

from random import Random

from quorumcache.router.barrier import Barrier
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.election import Campaign, Leader, leader_in
from quorumcache.router.lock_keeper import LockKeeper, name_bytes
from quorumcache.router.lock_kinds import ReadWriteLock, Semaphore
from quorumcache.router.lock_requests import EXCLUSIVE, LockState, show
from quorumcache.router.locks import TTL_MS, Lock


class LockCalls:
    """The part of a client that is about locks. To make an object sends nothing.

    A name is a key, but no item: it has nothing to do with an item of this key. All that use a name
    use it as the same kind. `ttl_ms`: for how long the lock lasts unless it is renewed, which
    happens by itself, 100 to 86,400,000. `wait_ms`: how long to wait while others hold it; None:
    without limit. `owner`: how others see this holder; host and process id if nothing is said.
    """

    def __init__(self, engine: Dispatcher, random: Random) -> None:
        self._locks = LockKeeper(engine, random)

    def lock(
        self,
        name: str | bytes,
        ttl_ms: int = TTL_MS,
        *,
        wait_ms: int | None = None,
        owner: str = "",
    ) -> Lock:
        """A lock for one holder at a time, first come, first served."""
        return Lock(self._locks, name, EXCLUSIVE, ttl_ms=ttl_ms, wait_ms=wait_ms, owner=owner)

    def read_write_lock(
        self,
        name: str | bytes,
        ttl_ms: int = TTL_MS,
        *,
        wait_ms: int | None = None,
        owner: str = "",
    ) -> ReadWriteLock:
        """A lock for many readers at a time, or one writer: `reader()` and `writer()`."""
        return ReadWriteLock(self._locks, name, ttl_ms=ttl_ms, wait_ms=wait_ms, owner=owner)

    def semaphore(
        self,
        name: str | bytes,
        permits: int,
        ttl_ms: int = TTL_MS,
        *,
        wait_ms: int | None = None,
        owner: str = "",
    ) -> Semaphore:
        """A lock for up to `permits` holders at a time."""
        return Semaphore(self._locks, name, permits, ttl_ms=ttl_ms, wait_ms=wait_ms, owner=owner)

    def barrier(self, name: str | bytes, parties: int, *, owner: str = "") -> Barrier:
        """A place where `parties` wait for each other."""
        return Barrier(self._locks, name, parties, owner=owner)

    def campaign(
        self,
        name: str | bytes,
        candidate: str = "",
        ttl_ms: int = TTL_MS,
        *,
        wait_ms: int | None = None,
    ) -> Campaign:
        """Stand for election: `async with client.campaign(name) as token:` leads."""
        return Campaign(self._locks, name, candidate=candidate, ttl_ms=ttl_ms, wait_ms=wait_ms)

    async def leader(self, name: str | bytes, *, timeout_ms: int | None = None) -> Leader | None:
        """Who leads now, or None. It may be another one by the time this returns."""
        sent = name_bytes(name)
        return leader_in(sent, await self.lock_state(sent, timeout_ms=timeout_ms))

    async def lock_state(self, name: str | bytes, *, timeout_ms: int | None = None) -> LockState:
        """Who holds a lock of any kind, and who waits for it."""
        sent = name_bytes(name)
        return await self._locks.call(show(sent), sent, self._locks.engine.deadline(timeout_ms))
