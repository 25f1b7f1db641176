"""Log lines about peers, of which the same one may be due many times a second."""

from __future__ import annotations

import logging
from typing import Final

from quorumcache.node.clock import Clock
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.telemetry.logs import event

SAME_LINE_NS: Final = 60_000_000_000
"""The same line about the same peer is logged at most this often."""

LOGGED_LINES_MAX: Final = 256
"""Lines remembered. When there are more, all are forgotten, and may be logged once again."""


class LineLog:
    """See the module docstring."""

    def __init__(self, clock: Clock, logger: logging.Logger) -> None:
        self._clock = clock
        self._logger = logger
        self._logged: dict[tuple[object, ...], int] = {}
        """When each line was last written, ns."""

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Log a line, unless the same was logged a short while ago."""
        line = (name, *fields.values())
        now_ns = self._clock.monotonic_ns()
        last_ns = self._logged.get(line)
        if last_ns is not None and now_ns - last_ns < SAME_LINE_NS:
            return
        if len(self._logged) >= LOGGED_LINES_MAX:
            self._logged.clear()
        self._logged[line] = now_ns
        event(self._logger, level, name, **fields)

    def handshake_failed(self, link: PeerLink, name: str) -> None:
        """A connection ended before both sides accepted each other; `name`: of the node that was
        dialed.
        """
        if link.why and not link.why.startswith(("refused", "answered")):
            level = "debug" if link.was_probe else "warning"
            who = name or link.remote.rpartition(":")[0]
            self.event(level, "peer_handshake_failed", peer=who, why=link.why)
