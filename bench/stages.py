"""A steady load while a cluster changes: quiet times, changes, and what clients met in each.

A change is held against a quiet time of the same size: the one beside it in which as many nodes ran
as at most in the change. So 3 to 6 is compared with the 6 nodes after it, and 6 to 3 with the 6
before it: on one machine more nodes cost more, and a change must not look good beside less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quorumcache.bench.changes import count_missing
from quorumcache.bench.errors import TargetError
from quorumcache.bench.goals import Goal
from quorumcache.bench.mixed_load import MixedLoad
from quorumcache.bench.procfs import OthersMeter
from quorumcache.bench.report import OTHER_CPU_LIMIT, percent_text
from quorumcache.bench.text_client import TextClient
from quorumcache.bench.timeline import Figures, Span, figures

QUIET, MOVE, KILL = "quiet", "move", "kill"
PAUSE_MS_MAX = {MOVE: 200.0, KILL: 800.0}
"""Goals: the longest time that one client may wait between two answers."""
P99_RATIO_MAX = 3.0
"""Goal: p99 in a change, by that of a quiet cluster of the same size."""
COLUMNS = (
    *("stage", "kind", "seconds", "ops/s", "p50 ms", "p99 ms", "x quiet", "pause ms"),
    *("errors", "wrong reads", "others' CPU"),
)


class Stage(NamedTuple):
    """`kind`: `QUIET`, `MOVE` or `KILL`. `nodes`: how many ran, at most. `others_cpu`: percent of
    one processor that neither the cluster nor the load used.
    """

    kind: str
    nodes: int
    span: Span
    others_cpu: float


@dataclass(slots=True)
class Staged:
    """What happened. `marks`: text and moment. `apart`: clients whose node was killed, and when;
    what they met from then on does not count. Moments in nanoseconds of the monotonic clock.
    """

    load: MixedLoad
    stages: list[Stage] = field(default_factory=list)
    marks: list[tuple[str, int]] = field(default_factory=list)
    apart: dict[int, int] = field(default_factory=dict)
    lost_writes: int = 0
    lost_items: int = 0

    def mark(self, text: str) -> None:
        """Something happens now."""
        self.marks.append((text, time.monotonic_ns()))

    @property
    def whole(self) -> Span:
        """From the first stage to the last."""
        return Span("all", self.stages[0].span.began_ns, self.stages[-1].span.ended_ns)

    def is_apart(self, client: int, at_ns: int) -> bool:
        """Whether the client's node had been killed by then."""
        return client in self.apart and at_ns >= self.apart[client]

    @property
    def errors_of_others(self) -> int:
        """Errors that clients saw whose node had not been killed."""
        return sum(not self.is_apart(client, at_ns) for client, at_ns, _ in self.load.errors)

    @property
    def failures(self) -> int:
        """All that must not happen: errors, wrong reads, lost writes, lost items."""
        bad = self.errors_of_others + len(self.load.wrong)
        return bad + self.lost_writes + self.lost_items

    def figures(self) -> list[Figures]:
        """Of each stage, without what is set apart."""
        samples = [s for s in self.load.samples if not self.is_apart(s.client, s.ended_ns)]
        present = {
            client: (came_ns, min(left_ns, self.apart.get(client, left_ns)))
            for client, (came_ns, left_ns) in self.load.present.items()
        }
        return [figures(samples, stage.span, present) for stage in self.stages]


class Player:
    """Plays the stages of a run, one after the other."""

    def __init__(
        self, load: MixedLoad, pids: Callable[[], Sequence[int]], say: Callable[[str], None]
    ) -> None:
        """`pids`: of the nodes that run now. `say` gets a line per stage."""
        self.run = Staged(load)
        self._others = OthersMeter(pids)
        self._say = say

    def play(self, kind: str, name: str, nodes: int, what: Callable[[], object]) -> None:
        """One stage: as long as `what` takes."""
        self._others.percent()
        began_ns = time.monotonic_ns()
        what()
        span = Span(name, began_ns, time.monotonic_ns())
        self.run.stages.append(Stage(kind, nodes, span, self._others.percent()))
        self._say(f"{name}: {span.seconds:.1f} s")

    def quiet(self, name: str, nodes: int, seconds: float) -> None:
        """A stage in which nothing changes."""
        self.play(QUIET, name, nodes, lambda: time.sleep(seconds))


def check_all(run: Staged, address: tuple[str, int], items: int) -> None:
    """Count what is gone: after the load has stopped, of its writes and of the stored items."""
    run.lost_writes = count_lost(run.load, address)
    run.lost_items = count_missing(address, items)


def count_lost(load: MixedLoad, address: tuple[str, int]) -> int:
    """Keys that do not hold what was acknowledged last."""
    lost = 0
    with TextClient(address, 15.0) as client:
        for expected in load.expected.values():
            for key in expected.acknowledged:
                value, error = client.get(key)
                if error:
                    raise TargetError(f"get {key.decode()}: {error.decode('utf-8', 'replace')}")
                lost += not expected.may_read(key, value)
    return lost


def quiet_of(stages: Sequence[Stage], place: int) -> int | None:
    """Place of the quiet stage that the change at `place` is compared with; None if there is none
    beside it with as many nodes.
    """
    for beside in (place - 1, place + 1):
        if 0 <= beside < len(stages):
            stage = stages[beside]
            if stage.kind == QUIET and stage.nodes == stages[place].nodes:
                return beside
    return None


def ratios(stages: Sequence[Stage], met: Sequence[Figures]) -> list[float | None]:
    """By stage, its p99 by that of the quiet one that it is compared with; None for quiet ones."""
    found: list[float | None] = []
    for place, stage in enumerate(stages):
        quiet = None if stage.kind == QUIET else quiet_of(stages, place)
        p99_ms = met[quiet].p99_ms if quiet is not None else 0.0
        found.append(met[place].p99_ms / p99_ms if p99_ms else None)
    return found


def goals(run: Staged) -> list[Goal]:
    """Of a run: each change's p99 and pause, and that nothing was lost."""
    met = run.figures()
    found = []
    for stage, one, ratio in zip(run.stages, met, ratios(run.stages, met), strict=True):
        if stage.kind == QUIET:
            continue
        name = stage.span.name
        compared = float("nan") if ratio is None else ratio
        found.append(Goal(f"{name}: p99 by that of quiet nodes", compared, P99_RATIO_MAX, "x"))
        found.append(
            Goal(f"{name}: longest pause", one.pause_ms, PAUSE_MS_MAX[stage.kind], unit="ms")
        )
    counted = {
        "errors": run.errors_of_others,
        "wrong reads": len(run.load.wrong),
        "acknowledged writes that are gone": run.lost_writes,
        "stored items that are gone": run.lost_items,
    }
    return [*found, *(Goal(f"{what}:", count, 0) for what, count in counted.items())]


def rows(run: Staged) -> tuple[list[tuple[str, ...]], dict[str, Any]]:
    """A row of `COLUMNS` per stage, and the numbers behind them by the stage's name."""
    met = run.figures()
    found: list[tuple[str, ...]] = []
    data: dict[str, Any] = {}
    for stage, one, ratio in zip(run.stages, met, ratios(run.stages, met), strict=True):
        span = stage.span
        errors = sum(
            _is_in(at_ns, span) and not run.is_apart(client, at_ns)
            for client, at_ns, _ in run.load.errors
        )
        wrong = sum(_is_in(at, span) for _, at, _ in run.load.wrong)
        found.append(
            (
                *(span.name, stage.kind, f"{span.seconds:.1f}", f"{one.ops_per_second:.0f}"),
                *(f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}"),
                *("" if ratio is None else f"{ratio:.1f}", f"{one.pause_ms:.0f}"),
                *(str(errors), str(wrong), percent_text(stage.others_cpu)),
            )
        )
        data[span.name] = {
            **one._asdict(),
            "kind": stage.kind,
            "nodes": stage.nodes,
            "seconds": span.seconds,
            "p99_ratio": ratio,
            "errors": errors,
            "wrong_reads": wrong,
            "others_cpu": stage.others_cpu,
        }
    return found, data


def notes(run: Staged) -> list[str]:
    """What a reader has to know beside the rows."""
    kinds = error_kinds(run)
    found = [
        f"acknowledged writes that are gone: {run.lost_writes}; stored items that are gone: "
        f"{run.lost_items}; reads that missed a write: {len(run.load.wrong)}",
        f"clients: {len(run.load.present)}. pause: the longest time between two answers to one "
        "client. x quiet: p99 by that of the quiet stage beside it with as many nodes",
    ]
    busy = [s.span.name for s in run.stages if s.others_cpu >= OTHER_CPU_LIMIT]
    if busy:
        found.append(
            f"WARNING: other processes used {OTHER_CPU_LIMIT:.0f} % of a processor or more "
            f"meanwhile: {', '.join(busy)}"
        )
    return [*found, *(f"error, {times} times, {text}" for text, times in sorted(kinds.items()))]


def error_kinds(run: Staged) -> dict[str, int]:
    """How often each error was seen, by whose it was and its text."""
    kinds: dict[str, int] = {}
    for client, at_ns, text in run.load.errors:
        is_apart = run.is_apart(client, at_ns)
        whose = "of clients of the killed node" if is_apart else "of others"
        kinds[f"{whose}: {text}"] = kinds.get(f"{whose}: {text}", 0) + 1
    return kinds


def _is_in(at_ns: int, span: Span) -> bool:
    return span.began_ns <= at_ns < span.ended_ns
