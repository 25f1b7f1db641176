"""Bounds on the writes of clients that have no outcome yet, of one connection and of all.

Writes are counted by their bytes, with an overhead for each: a noreply write takes no place among
the replies, so nothing else bounds it. Pure.
"""

from __future__ import annotations

from typing import Final

INFLIGHT_BYTES_MAX: Final = 8 << 20
"""Bytes of keys and values of one connection's unfinished writes, with an overhead for each."""

WRITE_OVERHEAD_BYTES: Final = 512
"""Charged per unfinished write: noreply writes take no slot, so this alone bounds their number."""

WRITE_BYTES_MAX: Final = 32 << 20
"""Keys and values of the unfinished writes of all clients together, those of clients that have gone
included. A connection that has as many under way as are left waits for its own first. So a
connection that has few of them does not wait for seconds behind the large values of others."""

WRITE_BYTES_MIN: Final = 64 << 10
"""Of those, a connection may always have this much under way."""

WRITE_BYTES_LIMIT: Final = 512 << 20
"""At this limit further writes are refused. It is reached when a shard has no leader and each
client has one large value under way. Writes of less than WRITE_BYTES_MIN are refused at twice the
limit, so that a few clients that come and go with large values do not shut out the small writes of
others."""

TOO_MANY_WRITES: Final = "this node has too many unfinished writes; retry more slowly"
"""Why they are refused."""


class WriteRoom:
    """Room for the unfinished writes of all clients of a node."""

    __slots__ = ("taken_bytes",)

    def __init__(self) -> None:
        self.taken_bytes: int = 0
        """As the connections count them, with their overhead."""

    def is_short(self, inflight_bytes: int) -> bool:
        """Must a connection with so many bytes under way wait until some writes have ended?"""
        return inflight_bytes >= INFLIGHT_BYTES_MAX or (
            inflight_bytes >= WRITE_BYTES_MIN
            and inflight_bytes >= WRITE_BYTES_MAX - self.taken_bytes
        )

    def has_room(self, size: int) -> bool:
        """May one more write of so many bytes begin?"""
        taken_bytes = self.taken_bytes
        return taken_bytes < WRITE_BYTES_LIMIT or (
            size < WRITE_BYTES_MIN and taken_bytes < 2 * WRITE_BYTES_LIMIT
        )
