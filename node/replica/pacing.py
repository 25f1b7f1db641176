"""How fast copies go to new replicas: a bound in bytes per second for the whole node. Pure.

A node that copies many groups to new nodes must leave room on its disk and network for its clients.
A copy is a snapshot and the log behind it, or the log alone where that reaches back far enough:
both take from the same rate. Only copies to learners are held to it. A voter that has fallen behind
is missed by its group, and gets what it lacks as fast as it can take it.

A snapshot that takes long may be of no use at its end, because the log has been dropped beyond it
meanwhile. The next one to the same learner goes twice as fast. So does each round of the log: what
was written while a learner was sent what was there before (`Progress.begin_round`). A group that is
written a lot arrives all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.consensus.values import SnapshotSource

DEPTH_MS: Final = 250
"""What was not used for longer is lost. A receiver that was given nothing asks again within two
heartbeats, so it must find what has gathered meanwhile."""

PIECE_BYTES_MIN: Final = 16 << 10
"""Less than this is not worth a message: it is waited for. A slower rate has smaller pieces."""

DOUBLINGS_MAX: Final = 12
"""A copy goes at 4,096 times the rate at most. That makes 256 MiB a second of the lowest rate there
is: more than a log is written with, so each copy arrives at last."""


class Rate:
    """A token bucket, which is a `SendBudget`. `bytes_per_second` 0: no bound."""

    __slots__ = ("_filled_ns", "_tokens", "bytes_per_second")

    def __init__(self, bytes_per_second: int = 0) -> None:
        self.bytes_per_second = bytes_per_second
        self._tokens = 0
        """Bytes that may go now, as of `_filled_ns`. Below 0 when one entry was larger."""
        self._filled_ns = 0

    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        """See `SendBudget.take`. `now_ns` is of one clock, but may be an older reading of it: then
        nothing has gathered since the newest.
        """
        if not self.bytes_per_second:
            return wanted
        doublings = min(doublings, DOUBLINGS_MAX)
        return min(self._take(-(-wanted >> doublings), now_ns) << doublings, wanted)

    def give_back(self, size: int, doublings: int = 0) -> None:
        """See `SendBudget.give_back`."""
        if self.bytes_per_second:
            self._tokens += size >> min(doublings, DOUBLINGS_MAX)

    def _take(self, wanted: int, now_ns: int) -> int:
        rate = self.bytes_per_second
        depth = max(rate * DEPTH_MS // 1000, 1)
        gained = rate * (now_ns - self._filled_ns) // 1_000_000_000
        if gained > 0:
            # What is less than a byte stays in the time that has passed.
            self._filled_ns += -(-gained * 1_000_000_000 // rate)
            self._tokens += gained
        if self._tokens >= depth:
            self._tokens = depth
            self._filled_ns = max(self._filled_ns, now_ns)
        if self._tokens < min(wanted, PIECE_BYTES_MIN, max(depth // 2, 1)):
            return 0
        granted = min(wanted, self._tokens)
        self._tokens -= granted
        return granted


class PacedSource(SnapshotSource):
    """A source for a learner: a read gives what the rate allows, at times nothing. `doublings`: how
    many copies to this learner were of no use."""

    __slots__ = ("_doublings", "_now_ns", "_rate")

    def __init__(
        self, source: SnapshotSource, rate: Rate, now_ns: Callable[[], int], doublings: int = 0
    ) -> None:
        super().__init__(source.meta, source.pieces)
        self._rate = rate
        self._now_ns = now_ns
        self._doublings = doublings

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on."""
        wanted = min(size, self.total_bytes - offset)
        if wanted <= 0:
            return b""
        return super().read(offset, self._rate.take(wanted, self._now_ns(), self._doublings))
