"""What a race found: rows for people, ratios, goals, and the same as JSON. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from quorumcache.bench.bars import Bar, Group, bars
from quorumcache.bench.cluster import MEMCACHED
from quorumcache.bench.goals import Goal
from quorumcache.bench.race import WORKS, Figures, Measured
from quorumcache.bench.race_peers import OURS, REDIS
from quorumcache.bench.report import LOAD_CPU_LIMIT, OTHER_CPU_LIMIT, Table, milliseconds

COLUMNS: Final = (
    "workload",
    "server",
    "per second",
    "p50 ms",
    "p99 ms",
    "CPU us",
    "ours x",
    "CPU x",
)


class Wanted(NamedTuple):
    """A goal of the race. `least`: of the ratio; `aim`: what lies beyond it, 0 = nothing."""

    work: str
    peer: str
    least: float
    aim: float = 0.0


WANTED: Final = (
    Wanted("get1", MEMCACHED, 0.95),
    Wanted("get16", MEMCACHED, 6.0),
    Wanted("get16", REDIS, 0.9),
    Wanted("any1", MEMCACHED, 0.4),
    Wanted("any16", MEMCACHED, 1.2),
    Wanted("mget50", MEMCACHED, 1.0),
    Wanted("mixed", MEMCACHED, 0.7),
    Wanted("set50", REDIS, 0.6, 0.8),
    Wanted("set200", REDIS, 0.7, 1.0),
    Wanted("set50x16", REDIS, 0.45, 0.6),
)
P99_MOST: Final = 1.5
"""Of durable sets: their p99 by that of redis."""
P99_WORKS: Final = ("set50", "set200", "set50x16")


def median_of(figures: Figures, name: str, value: Callable[[Measured], float]) -> float:
    """The median over the laps of racer `name`."""
    return statistics.median(value(one) for one in figures.laps[name])


def ratio_to(figures: Figures, peer: str, value: Callable[[Measured], float]) -> float:
    """The median of the rounds' ratios of ours to `peer`; NaN when there is none."""
    pairs = zip(figures.laps[OURS], figures.laps[peer], strict=False)
    ratios = [value(ours) / value(theirs) for ours, theirs in pairs if value(theirs)]
    return statistics.median(ratios) if ratios else float("nan")


def rate(one: Measured) -> float:
    """Requests per second."""
    return one.lap.per_second


def cpu_us(one: Measured) -> float:
    """Processor time of all the server's processes for a request."""
    return one.cpu_us


def per_cpu(one: Measured) -> float:
    """Requests for a microsecond of processor time; 0 when it was too little to be seen."""
    return 1 / one.cpu_us if one.cpu_us else 0.0


def p99(one: Measured) -> float:
    """In milliseconds."""
    return one.lap.p99


def work_rows(figures: Figures) -> list[tuple[str, ...]]:
    """A row for each racer, ours first."""
    rows: list[tuple[str, ...]] = []
    for name in figures.laps:
        compared = ("-", "-")
        if name != OURS:
            ratios = ratio_to(figures, name, rate), ratio_to(figures, name, per_cpu)
            compared = f"{ratios[0]:.2f}", f"{ratios[1]:.2f}"
        rows.append(
            (
                figures.work.name if name == OURS else "",
                name,
                f"{median_of(figures, name, rate) * figures.work.per_request:,.0f}",
                milliseconds(1000 * median_of(figures, name, lambda one: one.lap.p50)),
                milliseconds(1000 * median_of(figures, name, p99)),
                f"{median_of(figures, name, cpu_us) / figures.work.per_request:.2f}",
                *compared,
            )
        )
    return rows


_WIDTHS: Final = (10, 12, 12, 9, 9, 8, 7, 7)


def work_lines(figures: Figures) -> list[str]:
    """The rows for a terminal; `head_line` goes before the first of all."""
    return [_line(row) for row in work_rows(figures)]


def head_line() -> str:
    """The heads of their columns."""
    return _line(COLUMNS)


def _line(row: Sequence[str]) -> str:
    return "".join(
        cell.ljust(width) if number < 2 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(row, _WIDTHS, strict=True))
    ).rstrip()


def work_notes(figures: Figures) -> list[str]:
    """What a reader has to know before believing the figures of one workload."""
    notes = list(figures.notes)
    for name, laps in figures.laps.items():
        told = next((one.lap.told() for one in laps if one.lap.faults), "")
        if told:
            notes.append(f"FAILED: {figures.work.name} on {name}: {told}")
        busy = statistics.median(one.lap.load_cpu for one in laps)
        if busy >= LOAD_CPU_LIMIT:
            notes.append(
                f"{figures.work.name} on {name}: the load used {busy:.0f} % of its processor, and"
                " may be the limit"
            )
    return notes


def goals(all_figures: Sequence[Figures]) -> list[Goal]:
    """Those of the workloads and peers that were there."""
    found = []
    by_name = {figures.work.name: figures for figures in all_figures}
    for wanted in WANTED:
        figures = by_name.get(wanted.work)
        if figures is None or wanted.peer not in figures.laps:
            continue
        ratio = ratio_to(figures, wanted.peer, rate)
        what = f"{wanted.work}, throughput by that of {wanted.peer}"
        found.append(Goal(f"{what}:", ratio, wanted.least, is_least=True))
        if wanted.aim:
            found.append(Goal(f"{what}, aim:", ratio, wanted.aim, is_least=True))
    for name in P99_WORKS:
        figures = by_name.get(name)
        if figures is not None and REDIS in figures.laps:
            what = f"{name}, p99 by that of {REDIS}:"
            found.append(Goal(what, ratio_to(figures, REDIS, p99), P99_MOST))
    return found


def goal_lines(found: Sequence[Goal]) -> list[str]:
    """Each goal, and whether it is reached."""
    return [f"{'reached' if goal.is_met else 'MISSED '}  {goal}" for goal in found]


def race_table(all_figures: Sequence[Figures], rounds: int, seconds: float) -> Table:
    """All workloads, as one table."""
    laps = [(name, one) for found in all_figures for name in found.laps for one in found.laps[name]]
    idle = [one.ours_idle for name, one in laps if name != OURS]
    others = statistics.median([one.others for _, one in laps] or [0.0])
    notes = [note for figures in all_figures for note in work_notes(figures)]
    notes.append(
        f"Medians of {rounds} rounds of {seconds:g} s. ours x: the median of the rounds' ratios."
        " CPU us: processor time of all processes of the server, for a request or a key; CPU x: the"
        " peer's by ours. redis for sets: appendfsync always, with two replicas that do the same."
    )
    is_busy = others >= OTHER_CPU_LIMIT
    if is_busy:
        notes.append(
            f"BUSY: other processes used {others:.0f} % of a processor meanwhile. Of one that is"
            " shared our three processes get more than a single one: read CPU x, not ours x. Goals"
            " are not judged."
        )
    if idle:
        notes.append(
            f"While a peer was measured, our idle nodes used {statistics.median(idle):.1f} % of a"
            " processor."
        )
    return Table(
        title="Race",
        columns=COLUMNS,
        rows=tuple(row for figures in all_figures for row in work_rows(figures)),
        notes=(*notes, *([] if is_busy else goal_lines(goals(all_figures)))),
        data=race_data(all_figures),
    )


def race_data(all_figures: Sequence[Figures]) -> dict[str, Any]:
    """The numbers behind the table, by workload and racer."""
    return {
        figures.work.name: {
            name: {
                "per_second": round(median_of(figures, name, rate) * figures.work.per_request),
                "p50_ms": round(median_of(figures, name, lambda one: one.lap.p50), 4),
                "p99_ms": round(median_of(figures, name, p99), 4),
                "cpu_us": round(median_of(figures, name, cpu_us) / figures.work.per_request, 3),
                "load_cpu": round(median_of(figures, name, lambda one: one.lap.load_cpu), 1),
                "rounds": [round(rate(one) * figures.work.per_request) for one in laps],
                **(
                    {}
                    if name == OURS
                    else {
                        "ratio": _rounded(ratio_to(figures, name, rate)),
                        "cpu_ratio": _rounded(ratio_to(figures, name, per_cpu)),
                        "p99_ratio": _rounded(ratio_to(figures, name, p99)),
                    }
                ),
            }
            for name, laps in figures.laps.items()
        }
        for figures in all_figures
    }


def _rounded(ratio: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(ratio) else round(ratio, 4)


def bar_groups(data: dict[str, Any]) -> list[Group]:
    """The picture's bars, from what `race_data` gave. The mark on a bar is its goal."""
    wanted = {(one.work, one.peer): one.least for one in WANTED}
    titles = {work.name: work.what for work in WORKS}
    return [
        Group(
            titles.get(name, name),
            tuple(
                Bar(peer, racers[peer]["ratio"] or 0.0, wanted.get((name, peer), 0.0))
                for peer in racers
                if peer != OURS
            ),
        )
        for name, racers in data.items()
    ]


def race_picture(data: dict[str, Any], command: str) -> str:
    """Bars of the ratios to each peer."""
    return bars(
        "QuorumCache (three nodes, durable) beside memcached -t 1 and redis",
        bar_groups(data),
        note=f"{command}; requests per second, the median of the rounds' ratios",
    )
