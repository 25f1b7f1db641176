"""For how long a lock can be relied on: the holder's side of its lease. Pure.

The store counts the lock's time from when it executed the request. The holder counts it from before
the request was sent, on its own monotonic clock, and ends a tenth early. So it stops before the
store gives the lock away, as long as it runs: that a process which stands still cannot stop is what
fences are for.

    sent            renewed at a third        ends_at        the store's end, at the earliest
    |-----------------|--------------------------|----------------|
    0               1/3 ttl                   9/10 ttl          ttl
"""

from __future__ import annotations

from typing import Final, NamedTuple

SAFETY_PARTS: Final = 10
"""One of so many parts of its time is not relied on: clocks of nodes differ by what a message
between them takes, and clocks run at different rates."""

RENEW_PARTS: Final = 3
"""It is renewed after one of so many parts of its time, so that two more attempts have room."""


class Lease(NamedTuple):
    """The time of a lock from one successful request on. Times are seconds of the loop's clock."""

    sent_at: float
    ttl_ms: int

    @property
    def ends_at(self) -> float:
        """From then on the lock counts as lost."""
        return self.sent_at + (self.ttl_ms - self.ttl_ms / SAFETY_PARTS) / 1000

    @property
    def renew_at(self) -> float:
        """When it is to be renewed."""
        return self.sent_at + self.ttl_ms / RENEW_PARTS / 1000


def piece_ms(ttl_ms: int, left_ms: float, most_ms: int) -> int:
    """For how long one request of a waiting acquire waits at the node: a third of the lock's time
    at most, since a lock that was granted while it waited has been running since."""
    return max(1, min(most_ms, ttl_ms // RENEW_PARTS, int(min(left_ms, most_ms))))
