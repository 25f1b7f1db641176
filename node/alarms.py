"""What is wrong with this node right now: named alarms, each with a sentence for people.

The code that finds a condition raises its alarm, and clears it when the condition has passed. There
is one name per condition (`ALARMS`), so that `/metrics` can show each of them as 0 or 1. A serious
alarm makes `/health` answer 503: the node cannot do its part. The others are warnings: the node
serves, but somebody should look. Pure; changes are reported to `on_change`, which logs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

ALARMS: Final[dict[str, bool]] = {
    "clock_distrusted": False,
    "connections_full": False,
    "connections_limited": False,
    "descriptors_low": False,
    "disk_full": True,
    "disk_low": False,
    "disk_slow": True,
    "disk_small": False,
    "drained": True,
    "founding": True,
    "holds_late": False,
    "log_held": True,
    "loop_late": False,
    "map_not_stored": False,
    "memory_full": False,
    "peers_refuse": True,
    "settings_differ": False,
    "stopping": True,
    "task_failed": True,
    "writes_full": False,
}
"""Name of every alarm: True if it is serious. docs/operations.md explains each in a row."""

SENTENCE_CHARS_MAX: Final = 600


class Alarm(NamedTuple):
    """One alarm that is raised now. `sentence` names the thing, the cause and the next step."""

    name: str
    serious: bool
    sentence: str


class Alarms:
    """The alarms of one node. `on_change(alarm, raised)` hears of each that comes or goes."""

    def __init__(self, on_change: Callable[[Alarm, bool], None] | None = None) -> None:
        self._on_change = on_change
        self._raised: dict[str, Alarm] = {}

    def raise_alarm(self, name: str, sentence: str) -> None:
        """Raise an alarm of `ALARMS`, or replace its sentence. Doing so again costs nothing."""
        alarm = Alarm(name, ALARMS[name], sentence[:SENTENCE_CHARS_MAX])
        before = self._raised.get(name)
        if before == alarm:
            return
        self._raised[name] = alarm
        if before is None and self._on_change is not None:
            self._on_change(alarm, True)

    def clear(self, name: str) -> None:
        """The condition has passed. Clearing what was not raised does nothing."""
        alarm = self._raised.pop(name, None)
        if alarm is not None and self._on_change is not None:
            self._on_change(alarm, False)

    def is_raised(self, *names: str) -> bool:
        """Whether one of these is raised now."""
        return any(name in self._raised for name in names)

    def raised(self) -> list[Alarm]:
        """All that are raised now, in order of name."""
        return [alarm for _, alarm in sorted(self._raised.items())]

    def problems(self) -> list[str]:
        """Sentences of the serious ones."""
        return [alarm.sentence for alarm in self.raised() if alarm.serious]

    def warnings(self) -> list[str]:
        """Sentences of the others."""
        return [alarm.sentence for alarm in self.raised() if not alarm.serious]
