"""Logs when a node stops being able to do its part, and when it can again.

`/health` shows it now; this is for reading the log afterwards. It looks every
LOOK_NS, so a failover, which is shorter, often leaves no line here.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.admin.status import health_problems
from quorumcache.node.admin.view import ObservedNode
from quorumcache.node.telemetry.logs import event, get_logger

LOOK_NS: Final = 2_000_000_000
"""Time between two looks: each goes over all replicas of the node."""

_log = get_logger("health")


class HealthLog:
    """One per node; a node that has just started counts as not healthy yet, without a line."""

    def __init__(self, node: ObservedNode) -> None:
        self._node = node
        self._is_healthy = False
        self._next_look_ns = 0

    def look(self, now_ns: int) -> None:
        """Called a few times a second."""
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + LOOK_NS
        problems = health_problems(self._node)
        if bool(problems) != self._is_healthy:
            return
        self._is_healthy = not problems
        if problems:
            event(_log, "warning", "unhealthy", why=problems[0], problems=len(problems))
        else:
            event(_log, "info", "healthy")
