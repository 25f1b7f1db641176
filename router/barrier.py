"""A barrier: those who arrive wait until as many are there as it takes, and then all go on."""

from __future__ import annotations

from typing import Final

from quorumcache.router.errors import LockNotHeld, RouterError
from quorumcache.router.lock_keeper import LockKeeper, label_of, name_bytes
from quorumcache.router.lock_kinds import count_of
from quorumcache.router.lock_requests import barrier_mode
from quorumcache.router.locks import Lock, wait_of

BARRIER_TTL_MS: Final = 60_000
"""For how long the store remembers that one who has not heard of it yet may go on."""


class Barrier:
    """Where `parties` wait for each other. It may be used again and again: the next `parties` that
    arrive are the next round."""

    def __init__(
        self, keeper: LockKeeper, name: str | bytes, parties: int, *, owner: str = ""
    ) -> None:
        self.name = name_bytes(name)
        self.parties = count_of("parties", parties)
        self._keeper = keeper
        self._owner = label_of("owner", owner)

    async def wait(self, *, wait_ms: int | None = None, timeout_ms: int | None = None) -> None:
        """Arrive, and wait until all parties are there.

        `wait_ms`: how long to wait for them; None: without limit. `LockTimeout` when it is over:
        this party has left again, and does not count. So it is with one that is cancelled, or whose
        process ends (after 10 s).
        """
        wait_ms = wait_of(wait_ms)
        place = _Place(
            self._keeper,
            self.name,
            barrier_mode(self.parties),
            ttl_ms=BARRIER_TTL_MS,
            wait_ms=wait_ms,
            owner=self._owner,
        )
        await place.acquire(timeout_ms=timeout_ms)
        try:
            await place.release(timeout_ms=timeout_ms)
        except (RouterError, LockNotHeld):
            return  # All were there. What the store remembers of it ends in time.


class _Place(Lock):
    _WHAT = "the barrier"
