"""A schedule of faults as data: what is broken when, and how; written, read and replayed as JSON.

    {"format": 1, "seed": 17, "nodes": 3, "shards": 0, "clients": 3, "programs": 2,
     "fault_seconds": 6.0, "faults": [
      {"at_ms": 120, "fault": "kill", "who": "leader", "pick": 402, "seconds": 0.7},
      ...
    ]}

A schedule holds everything that was drawn for the faults, so leaving one out does not change the
others: that is what makes it possible to shrink it. Together with the seed, which decides
everything else (latencies, workload, tunables), it is a whole run. What can only be known at run
time (who leads, which connections are open) is a rule that chooses among what is there, with
numbers from the schedule.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
NODES_MAX = 9
SPARES = 3
"""Nodes of an elastic cluster beside the founders, which exist as machines and may join."""
SHARDS_MAX = 256
FAULT_SECONDS_MAX = 36_000.0
FAULTS_MAX = 100_000
_HEAD = ("format", "seed", "nodes", "shards", "clients", "programs", "fault_seconds", "faults")
_MODES = ("elastic", "transactions")
"""Kinds of worlds; a schedule names those that it is of."""


class ScheduleError(ValueError):
    """A schedule cannot be used; the text is one line that names the place and the reason."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `at_ms` virtual milliseconds after the clients began. See `faults.py`."""

    at_ms: int
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """The fault and its parameters in words."""
        facts = [f"{name}={_word(value)}" for name, value in self.parameters.items()]
        return " ".join([self.name, *facts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`shards` 0: the number is drawn from the seed. `faults` by time."""

    seed: int
    nodes: int = 3
    shards: int = 0
    clients: int = 3
    programs: int = 2
    fault_seconds: float = 6.0
    faults: tuple[Fault, ...] = ()
    elastic: bool = False
    """Nodes come and go; `nodes` are the founders."""
    transactions: bool = False
    """Clients use transactions and locks, above all."""

    def to_text(self) -> str:
        head: dict[str, Any] = {"format": FORMAT}
        head.update({name: getattr(self, name) for name in _HEAD[1:-1]})
        for name in _MODES:
            if getattr(self, name):
                head[name] = True
        lines = [
            "  " + json.dumps({"at_ms": f.at_ms, "fault": f.name, **f.parameters})
            for f in self.faults
        ]
        faults = "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"
        return json.dumps(head)[:-1] + ', "faults": ' + faults + "}\n"

    def describe(self) -> list[str]:
        """One line for each fault."""
        return [f"{fault.at_ms / 1000:10.3f}  {fault.describe()}" for fault in self.faults]


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Make the file, and its directory. Raises `ScheduleError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schedule.to_text())
    except OSError as error:
        raise ScheduleError(f"{path}: cannot be written: {error.strerror}") from error


def read_schedule(path: Path) -> Schedule:
    """Raises `ScheduleError` with one line that says what is wrong where."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ScheduleError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScheduleError(f"{path}: is not text") from error
    try:
        return parse_schedule(text)
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from error


def parse_schedule(text: str) -> Schedule:
    """The inverse of `Schedule.to_text`. Raises `ScheduleError`."""
    from tests.simulation.fault_checks import check_fault

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ScheduleError(f"line {error.lineno}: no JSON: {error.msg}") from error
    except RecursionError as error:
        raise ScheduleError("no JSON: nested too deeply") from error
    if not isinstance(value, dict):
        raise ScheduleError("is not a JSON object with a seed and faults")
    modes = {name: value.pop(name, False) for name in _MODES}
    unknown, missing = sorted(value.keys() - {*_HEAD}), [n for n in _HEAD if n not in value]
    if unknown or missing:
        what = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise ScheduleError(f"{what}; a schedule has {', '.join(_HEAD)}")
    if value["format"] != FORMAT:
        raise ScheduleError(f"format {value['format']!r}, this version reads format {FORMAT}")
    whole = {
        "seed": check_int("seed", value["seed"], 0, 1 << 63),
        "nodes": check_int("nodes", value["nodes"], 1, NODES_MAX),
        "shards": check_int("shards", value["shards"], 0, SHARDS_MAX),
        "clients": check_int("clients", value["clients"], 0, 100),
        "programs": check_int("programs", value["programs"], 0, 100),
    }
    shards = whole["shards"]
    if shards & (shards - 1):
        raise ScheduleError(f"shards: {shards} is neither 0 nor a power of two")
    seconds = check_number("fault_seconds", value["fault_seconds"], 0.0, FAULT_SECONDS_MAX)
    for name, is_on in modes.items():
        if not isinstance(is_on, bool):
            raise ScheduleError(f"{name}: {_short(is_on)} is neither true nor false")
    if not isinstance(value["faults"], list) or len(value["faults"]) > FAULTS_MAX:
        raise ScheduleError(f"faults: not a list of at most {FAULTS_MAX}")
    names = whole["nodes"] + (SPARES if modes["elastic"] else 0)
    faults = [check_fault(raw, number, names) for number, raw in enumerate(value["faults"], 1)]
    return Schedule(**whole, fault_seconds=seconds, faults=in_order(faults), **modes)


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """By time; those of one moment stay as they are."""
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def check_int(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ScheduleError(f"{name}: {_short(value)} is not a whole number in {low}..{high}")
    return value


def check_number(name: str, value: Any, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise ScheduleError(f"{name}: {_short(value)} is not a number in {low:g}..{high:g}")
    return float(value)


def _word(value: Any) -> str:
    return (
        "+".join(map(str, value))
        if isinstance(value, Sequence | tuple) and not isinstance(value, str)
        else str(value)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
