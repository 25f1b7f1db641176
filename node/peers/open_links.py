"""Every open connection to or from another node, known or not; ticks them and bounds strangers."""

from __future__ import annotations

import asyncio
from typing import Final

from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.link import TICK_SECONDS, PeerLink

UNKNOWN_LINKS_MAX: Final = 64
"""Accepted connections that have not introduced themselves. With one more the oldest is closed: a
peer introduces itself at once, so strangers that say nothing do not keep it out."""

CLOSE_SECONDS_MAX: Final = 1.0
"""For what was written to leave, when all are closed."""


class OpenLinks:
    """In order of opening."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lines: LineLog) -> None:
        self._loop = loop
        self._lines = lines
        self._links: dict[PeerLink, None] = {}
        self._unknown_count = 0
        self._tick_handle: asyncio.TimerHandle | None = None

    def start_ticking(self) -> None:
        """Tick all links from now on, those that are opened later as well."""
        self._tick_handle = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self.start_ticking()
        for link in list(self._links):
            link.tick()

    def stop_ticking(self) -> None:
        """The links are about to be closed."""
        if self._tick_handle is not None:
            self._tick_handle.cancel()

    def opened(self, link: PeerLink) -> None:
        """A connection stands; nothing was said yet."""
        self._links[link] = None
        if not link.dialed:
            self._unknown_count += 1

    def bound_unknown(self) -> None:
        """Close the oldest accepted link that has not introduced itself if there are too many."""
        if self._unknown_count > UNKNOWN_LINKS_MAX:
            self._lines.event("warning", "peer_connections_full", limit=UNKNOWN_LINKS_MAX)
            for known in self._links:
                if not (known.dialed or known.is_ready or known.closing):
                    known.abort("too many connections that have not introduced themselves")
                    break  # With none left, all of them are being closed.

    def introduced(self, link: PeerLink) -> None:
        """The other side's hello was accepted."""
        if not link.dialed:
            self._unknown_count -= 1

    def closed(self, link: PeerLink) -> bool:
        """A connection is gone. False if it never stood."""
        if link not in self._links:
            return False
        del self._links[link]
        if link.hello is None and not link.dialed:
            self._unknown_count -= 1
        return True

    async def close_all(self, why: str) -> None:
        """End all connections after what was written."""
        links = list(self._links)
        for link in links:
            link.close(why)
        if links:
            await asyncio.wait([link.lost for link in links], timeout=CLOSE_SECONDS_MAX)

    def abort_all(self, why: str) -> None:
        """End all connections at once."""
        for link in list(self._links):
            link.abort(why)
