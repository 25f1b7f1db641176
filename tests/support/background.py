"""Background tasks for parts of a node that are tested without one."""

from __future__ import annotations

import asyncio

from quorumcache.node.alarms import Alarms
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.counters import Counters


def background_tasks() -> Tasks:
    """Tasks of the running loop. Nobody ends a node here: failures reach the loop's handler."""
    return Tasks(
        asyncio.get_running_loop(),
        alarms=Alarms(),
        counters=Counters(),
        fatal=lambda error: None,
    )
