"""Who of those that wait for locks may keep a connection busy with it. Pure but for its futures.

A request that waits at a node has a connection to itself, and a client has not many of those. So it
hands out *turns*: whoever has one may have its request kept back at the node. The others sleep, and
ask again now and then, without waiting at the node, so that they keep their places. A free turn
goes to whoever is nearest to the head of its queue, since that one is granted next.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import Final

from quorumcache.router.leases import RENEW_PARTS

TURNS_MAX: Final = 12
"""Fewer than there are connections to one node (`wait_pool.py`), which may lead all the locks: the
others are for those that only ask."""

NEAR_PLACE: Final = 16
"""Up to this place one asks often: it may be granted while it sleeps."""
NEAR_PAUSE_S: Final = 1.0
FAR_PAUSE_S: Final = 4.0
"""Longest sleeps of those that have no turn. A place is kept for 10 s."""


def pause_s(place: int, ttl_ms: int, left_s: float) -> float:
    """How long one without a turn sleeps before it asks again.

    A lock that was granted meanwhile has been running since, so one that may be granted soon does
    not sleep for longer than a third of the lock's time.
    """
    if place > NEAR_PLACE:
        return min(left_s, FAR_PAUSE_S)
    return min(left_s, NEAR_PAUSE_S, ttl_ms / RENEW_PARTS / 1000)


class WaitTurns:
    """The turns of one client."""

    def __init__(self, count: int = TURNS_MAX) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        """A heap: by place, then in the order in which they came."""
        self._came = 0

    async def take(self, place: int, time_s: float, *, has_turn: bool = False) -> bool:
        """Wait for a turn, for `time_s` at most. True: it is the caller's, who calls `leave` later.

        `has_turn`: the caller has had one, and goes on with it unless another one is nearer.
        """
        self._came += 1
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (place, self._came, granted))
        if has_turn:
            self.leave()
        elif self._free:
            self._free -= 1
            self.leave()
        try:
            if not granted.done():
                await asyncio.wait((granted,), timeout=time_s)
        except BaseException:
            if not granted.cancel():
                self.leave()
            raise
        return not granted.cancel()

    def leave(self) -> None:
        """Hand a turn to whoever is next."""
        while self._waiting:
            granted = heappop(self._waiting)[2]
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1
