"""The load of a race: compiled from bench/generator when it is wanted, and run once for each lap.

It is in C, since a load process in Python uses more of its processor than a memcached does. What it
sends and how it checks the replies stands in bench/generator/generator.c.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from quorumcache.bench import processes
from quorumcache.bench.errors import StartError, TargetError

SOURCES: Final = Path(__file__).resolve().parent / "generator"
COMPILERS: Final = ("cc", "gcc", "clang")
NO_COMPILER: Final = (
    "there is no C compiler, and the load of a race is in C: apt-get install gcc libc6-dev"
)
_COMPILE_SECONDS = 60.0
_PATIENCE_SECONDS = 300.0
"""More than the generator itself waits for a server, which is told with a better reason."""
_LINE_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked. `gets`: the share of them; the rest are sets. `keys_per_get`: in one line."""

    connections: int
    depth: int = 1
    gets: float = 1.0
    keys_per_get: int = 1
    keys: int = 10_000
    value_bytes: int = 100

    def flags(self) -> list[str]:
        """As the generator takes them."""
        values = {
            "connections": self.connections,
            "depth": self.depth,
            "gets": self.gets,
            "keys-per-get": self.keys_per_get,
            "keys": self.keys,
            "value-bytes": self.value_bytes,
        }
        return [word for name, value in values.items() for word in (f"--{name}", str(value))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of one kind of request, in milliseconds."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """What one run of the generator found. `load_cpu`: percent of a processor that it used.

    `answered`: all replies, also those before and after the measured time. `errors`: of the server;
    `wrong`: replies that are not what was asked for.
    """

    seconds: float
    filled: int
    answered: int
    errors: int
    wrong: int
    misses: int
    unanswered: int
    load_cpu: float
    first_error: str
    get: Times
    set: Times

    @property
    def per_second(self) -> float:
        """Requests that were answered in the measured time, per second."""
        return (self.get.count + self.set.count) / self.seconds if self.seconds else 0.0

    @property
    def p50(self) -> float:
        """Of the kind of request that is the more frequent one, in milliseconds."""
        return max(self.get, self.set, key=lambda kind: kind.count).p50

    @property
    def p99(self) -> float:
        """Of the slower kind of request."""
        return max(kind.p99 for kind in (self.get, self.set) if kind.count or kind is self.get)

    @property
    def faults(self) -> int:
        """Everything that must not be: every key is there, and every request is answered."""
        return self.errors + self.wrong + self.misses + self.unanswered

    def told(self) -> str:
        """The faults in words."""
        found = [
            f"{number:,} {what}"
            for number, what in (
                (self.errors, "errors"),
                (self.wrong, "wrong replies"),
                (self.misses, "misses of stored keys"),
                (self.unanswered, "requests without an answer"),
            )
            if number
        ]
        return ", ".join(found) + (f"; {self.first_error}" if self.first_error else "")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of the generator's line. ValueError, KeyError or TypeError for anything else."""
        data = json.loads(text)
        seconds = data["seconds"]
        load_cpu = 100 * data["load_cpu_seconds"] / seconds if seconds else 0.0
        names = ("filled", "answered", "errors", "wrong", "misses", "unanswered", "first_error")
        return cls(
            seconds=seconds,
            load_cpu=load_cpu,
            get=_times(data["get"]),
            set=_times(data["set"]),
            **{name: data[name] for name in names},
        )


def _times(data: dict[str, Any]) -> Times:
    percentiles = {name: data[f"{name}_us"] / 1000 for name in ("p50", "p99", "p999", "max")}
    return Times(count=data["count"], **percentiles)


class Generator:
    """The compiled generator, in `directory`. StartError when it cannot be compiled."""

    def __init__(self, directory: Path, flags: Sequence[str] = ("-O2",)) -> None:
        compiler = next((path for path in map(shutil.which, COMPILERS) if path), None)
        if compiler is None:
            raise StartError(NO_COMPILER)
        self._program = directory / "generator"
        command = [compiler, "-std=gnu11", *flags, "-o", str(self._program)]
        command += map(str, sorted(SOURCES.glob("*.c")))
        status, _, said = _run(command, (), _COMPILE_SECONDS)
        if status:
            raise StartError(f"{compiler} cannot compile the load of the race:\n{said.strip()}")

    def run(
        self,
        ports: Sequence[int],
        load: Load,
        *,
        seconds: float,
        warm_up: float = 0.0,
        fill: bool = False,
        is_resp: bool = False,
        owners: Path | None = None,
        cpus: Sequence[int] = (),
        seed: int = 1,
    ) -> Lap:
        """One lap on the servers of `ports`, on `cpus`. `owners`: a line for each key, the place of
        its port in `ports`. With `seconds` 0 it only fills. TargetError when the server went away.
        """
        command = [str(self._program), "--ports", ",".join(map(str, ports)), *load.flags()]
        command += ["--seconds", str(seconds), "--warm-up", str(warm_up), "--seed", str(seed)]
        command += ["--fill"] if fill else []
        command += ["--resp"] if is_resp else []
        command += ["--owners", str(owners)] if owners is not None else []
        status, printed, said = _run(command, cpus, seconds + warm_up + _PATIENCE_SECONDS)
        try:
            if status == 0:
                return Lap.from_json(printed)
        except (ValueError, KeyError, TypeError):
            said = f"it printed {printed!r:.{_LINE_CHARS}}"
        raise TargetError(f"the load ended with status {status}: {said.strip()}")


def _run(command: Sequence[str], cpus: Sequence[int], seconds: float) -> tuple[int, str, str]:
    """Status, standard output and standard error; it is stopped if this is interrupted."""
    pipe = subprocess.PIPE
    process = processes.start(command, cpus=cpus, stdout=pipe, stderr=pipe)
    try:
        printed, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise TargetError(f"{command[0]} has not ended after {seconds:.0f} s") from None
    finally:
        processes.stop(process, 1.0)
    return process.returncode, printed.decode(errors="replace"), said.decode(errors="replace")
