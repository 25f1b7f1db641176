"""What a schedule's file may say of a fault: its kind, and the parameters that the kind has.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.elastic_faults import ALL_KINDS, ENDS_OF_LOST, LIMITS, ZONES
from tests.simulation.faults import (
    CLOCK_DRIFT_PPM,
    PARTS_OF_A_DIRECTORY,
    WAYS_TO_FORGET,
    Shape,
)
from tests.simulation.schedule import Fault, ScheduleError, check_int, check_number

SECONDS_MAX = 60.0


def _check_names(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(host, str) for host in value):
        raise ScheduleError(f"{name}: not a list of hosts")


def _check_word(*words: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in words:
            raise ScheduleError(f"{name}: {value!r} is not one of {', '.join(words)}")

    return check


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ScheduleError(f"{name}: {value!r} is neither true nor false")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ScheduleError(f"{name}: {value!r} is no name")


def _check_whole(low: int, high: int) -> Callable[[str, Any], None]:
    return lambda name, value: void(check_int(name, value, low, high))


def void(_: object) -> None:
    """For checks whose value is not wanted."""


CHECKS: dict[str, Callable[[str, Any], None]] = {
    "who": _check_text,
    "host": _check_text,
    "pick": _check_whole(0, 1 << 30),
    "seconds": lambda name, value: void(check_number(name, value, 0.0, SECONDS_MAX)),
    "nodes": _check_names,
    "clients": _check_names,
    "side": _check_names,
    "others": _check_names,
    "bytes": _check_word("hold", "lose"),
    "power": _check_flag,
    "gracefully": _check_flag,
    "graceful": _check_flag,
    "item_bytes_max": _check_whole(1 << 10, 1 << 20),
    "segment_bytes_max": _check_whole(4 << 10, 1 << 30),
    "snapshot_bytes_min": _check_whole(1, 1 << 30),
    "session_idle_ms": _check_whole(1_000, 1 << 30),
    "lost": _check_word(*sorted({*PARTS_OF_A_DIRECTORY, *WAYS_TO_FORGET})),
    "age_ms": _check_whole(0, 60_000),
    "slow": _check_flag,
    "stagger_ms": _check_whole(0, 60_000),
    "events": _check_whole(1, 1 << 30),
    "sends": _check_whole(1, 1 << 30),
    "steps": _check_whole(1, 1 << 30),
    "run_ms": _check_whole(1, 60_000),
    "stand_ms": _check_whole(1, 60_000),
    "period_ms": _check_whole(1, 60_000),
    "extra_ms": _check_whole(0, 60_000),
    "bytes_per_second": _check_whole(1, 1 << 40),
    "draw": _check_whole(0, 1 << 30),
    "percent": _check_whole(0, 100),
    "by_ms": _check_whole(-1 << 40, 1 << 40),
    "of": _check_text,
    "how": _check_word("kill", "cut"),
    "skip": _check_whole(0, 1000),
    "factor": _check_whole(1, 1_000_000),
    "weight": lambda name, value: void(check_number(name, value, 0.0, 1e6)),
    "zone": _check_word(*ZONES),
    "limit": _check_whole(0, len(LIMITS) - 1),
    "do": _check_word("cancel", "pause", "resume"),
    "then": _check_word(*ENDS_OF_LOST),
    "ppm": _check_whole(-CLOCK_DRIFT_PPM, CLOCK_DRIFT_PPM),
}
"""What a parameter may be, by its name; one name means the same in all kinds."""

_SHAPE = Shape(("n1", "n2", "n3"), ("c1",))


def check_fault(raw: Any, number: int, node_count: int) -> Fault:
    """Fault `number` (from 1) of a file. Raises `ScheduleError`."""
    if not isinstance(raw, dict) or not isinstance(raw.get("fault"), str):
        raise ScheduleError(f"fault {number}: not an object with a `fault`")
    name = raw["fault"]
    if name not in ALL_KINDS:
        raise ScheduleError(
            f"fault {number}: no fault {name!r}; known: {', '.join(sorted(ALL_KINDS))}"
        )
    parameters = {key: value for key, value in raw.items() if key not in ("at_ms", "fault")}
    try:
        at_ms = check_int("at_ms", raw.get("at_ms"), 0, 1 << 40)
        wanted = ALL_KINDS[name].draw(Random(0), _SHAPE).keys() - {"pick"}
        missing = sorted(wanted - parameters.keys())
        unknown = sorted(parameters.keys() - wanted - {"pick"})
        if missing or unknown:
            what = f"no {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
            raise ScheduleError(what)
        for key, value in parameters.items():
            CHECKS[key](key, value)
        names = {f"n{index}" for index in range(1, node_count + 1)}
        who = parameters.get("who", "n1")
        strangers = sorted({who, *parameters.get("nodes", ())} - names - {"leader"})
        if strangers:
            raise ScheduleError(f"there is no node {strangers[0]!r} among {node_count}")
    except ScheduleError as error:
        raise ScheduleError(f"fault {number} ({name}): {error}") from error
    return Fault(at_ms, name, parameters)
