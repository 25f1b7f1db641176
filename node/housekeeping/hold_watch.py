"""Watches for keys that transactions hold longer than they may, and raises a warning. Pure.

The leaders finish what a coordinator has left (`operations/recovery.py`), so this means that a
shard cannot ask the one where the transaction was decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.alarms import Alarms

HOLDS_LATE: Final = "holds_late"

LOOK_MS: Final = 500
"""Time between two looks."""


class HoldWatch:
    """See the module. `overdue`: how many transactions hold keys long after their time."""

    def __init__(self, alarms: Alarms, overdue: Callable[[], int]) -> None:
        self._alarms = alarms
        self._overdue = overdue

    def look(self) -> None:
        """Raise or clear the warning."""
        count = self._overdue()
        if not count:
            self._alarms.clear(HOLDS_LATE)
            return
        what = "a transaction holds" if count == 1 else f"{count} transactions hold"
        self._alarms.raise_alarm(
            HOLDS_LATE,
            f"{what} keys of shards that this node leads, more than 10 seconds after the time was"
            " over: reads and writes of these keys wait. The shard where it was decided does not"
            " answer: see to it that a majority of its replicas runs",
        )
