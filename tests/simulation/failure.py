"""How a run fails: the exception that holds all that somebody who looks for the cause needs."""

from __future__ import annotations

import logging
from typing import Any

from tests.simulation.process import PROCESS
from tests.simulation.schedule import Schedule
from tests.simulation.trace import Trace


class SimulationFailure(AssertionError):
    """A seed that breaks a promise.

    `kind` is equal for failures of one cause, as far as can be told; `schedule` replays it;
    `failed_ms` is when, in milliseconds after the faults began; `story` is the timeline.
    """

    def __init__(
        self, text: str, *, kind: str, schedule: Schedule, failed_ms: int, story: list[str]
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.schedule = schedule
        self.failed_ms = failed_ms
        self.story = story

    def __reduce__(self) -> tuple[Any, ...]:
        return _failure_again, (str(self), self.kind, self.schedule, self.failed_ms, self.story)


def _failure_again(
    text: str, kind: str, schedule: Schedule, failed_ms: int, story: list[str]
) -> SimulationFailure:
    return SimulationFailure(text, kind=kind, schedule=schedule, failed_ms=failed_ms, story=story)


class NotLinearizable(AssertionError):
    """No order of the operations of one key explains what the clients were told."""

    rule = "not linearizable"

    def __init__(self, text: str, key: bytes) -> None:
        super().__init__(text)
        self.key = key


class LogToTrace(logging.Handler):
    """What the nodes log, with virtual time and the node's name, as part of the trace."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(logging.INFO)
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        if process is not None and process.is_dead:
            return
        fields = getattr(record, "fields", None)
        facts = "".join(f" {name}={value}" for name, value in (fields or {}).items())
        who = process.name if process is not None else "-"
        self._trace.say(f"{who}: {record.getMessage()}{facts}")
