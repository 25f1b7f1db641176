"""The failed attempts of one call, and the pauses between them."""

from __future__ import annotations

import asyncio
from random import Random

from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import DeadlineExceeded, Moved, RouterError, SessionForgotten
from quorumcache.router.retry import Backoff

TIME_LEFT_MIN_S = 0.002
"""With less than this left no further attempt is made."""


class Attempts:
    """The failures of one request."""

    __slots__ = ("_backoff", "asked", "count", "moved", "sent_on", "trouble")

    def __init__(self, config: ClientConfig, random: Random) -> None:
        self._backoff = Backoff(random, config.backoff_first_ms, config.backoff_max_ms)
        self.asked: list[str] = []  # in vain, in this round
        self.count = 0
        self.sent_on = False  # the last failure was a redirect
        self.moved: RouterError | None = None  # the last redirect
        self.trouble: RouterError | None = None  # the last failure that was no redirect

    def note(self, error: RouterError, address: str) -> None:
        """Count a failure of `address`."""
        self.count += 1
        if isinstance(error, SessionForgotten):
            self.trouble = error
            return  # The node is the right one.
        self.sent_on = isinstance(error, Moved)
        if self.sent_on:
            self.moved = error
        else:
            self.trouble = error
        if address not in self.asked:
            self.asked.append(address)

    async def pause(self, error: RouterError, elsewhere: bool, deadline: float) -> None:
        """Wait before the next attempt, or end the call when its time is over.

        `elsewhere`: the next attempt goes to a node that was not asked yet in this round.
        """
        left = deadline - asyncio.get_running_loop().time()
        if left < TIME_LEFT_MIN_S:
            reasons = [self.moved, self.trouble]
            why = "; ".join(str(reason) for reason in reasons if reason is not None)
            raise DeadlineExceeded(f"not done in time: {why or error}") from error
        pause = self._backoff.pause_ms(error, elsewhere) / 1000
        if pause:
            # Near the end, spend half of what is left: a last attempt is still worth it.
            await asyncio.sleep(min(pause, left / 2))
