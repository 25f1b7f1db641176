"""Many seeds on all cores: one process for each core, each seed as repeatable as alone.

The parent only counts. Interrupted, it ends its workers and tells what was done until then.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from tests.simulation.bounds import BOUNDS
from tests.simulation.elastic_world import ElasticWorld
from tests.simulation.report import Report
from tests.simulation.world import SimulationFailure, World, WorldConfig

SEEDS_PER_PROCESS = 100
"""A worker is replaced after so many, so that nothing that a run leaves behind adds up."""

EXERCISED = (
    "forwarded_out",
    "redirects",
    "lease_reads",
    "index_reads",
    "cmd_get_bounded",
    "cmd_get_local",
    "replica_reads",
    "bounded_too_stale",
    "elections_won",
    "leaderships_lost",
    "snapshots_taken",
    "snapshots_sent",
    "snapshots_received",
    "wins",
    "requests_failed",
    "requests_unknown",
    "peer_refused",
    "reads_paused",
    "disk_full",
    "disk_steps_hung",
    "disk_syncs_failed",
    "disk_opens_refused",
    "out_of_memory",
    "evictions",
    "slow_clients_closed",
    "slow_reads_finished",
    "rejected_connections",
)
ELASTIC = (
    "maps",
    "moves_completed",
    "configuration_steps",
    "nodes_joined",
    "changes_done",
    "changes_refused",
    "changes_unknown",
)
"""Likewise, of clusters whose nodes come and go."""

DEALINGS = (
    "snapshots_of_the_bank",
    *(f"{kind}_{end}" for kind in ("transfer", "mix") for end in ("done", "refused", "unknown")),
    "section_done",
    "section_refused",
    "locks_granted",
    "acquire_waiting",
    "renew_not_held",
    "fences_stale",
)
"""Likewise, of clients with transactions and locks."""

"""Counters, of the nodes above all, that tell whether rare paths were taken at all."""


@dataclass(slots=True)
class Summary:
    """What all runs together did. Failed runs count as seeds, and nowhere else."""

    seeds: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    events: int = 0
    crashes: int = 0
    refusals: int = 0
    leaders: int = 0
    promises: int = 0
    bytes_sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    """Of these, the ones that found what they break."""
    met_seeds: Counter[str] = field(default_factory=Counter)
    """In how many seeds one did; so for the counters of `EXERCISED`."""
    totals: Counter[str] = field(default_factory=Counter)
    drawn: dict[str, Counter[str]] = field(default_factory=dict)
    """How many seeds had which nodes, replication, shards, ..."""
    bounds: Counter[str] = field(default_factory=Counter)
    """Seeds in which a bound of the product was small."""
    undecided: list[str] = field(default_factory=list)
    failures: list[SimulationFailure] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.virtual_seconds += report.virtual_seconds
        self.cpu_seconds += report.cpu_seconds
        self.events += report.events
        self.crashes += report.crashes
        self.refusals += report.refusals
        self.leaders += report.leaders
        self.promises += report.promises
        self.bytes_sent += report.bytes_sent
        self.outcomes.update({"ok": report.ok, "fail": report.fail, "unknown": report.info})
        self.kinds.update(report.kinds)
        self.faults.update(report.faults)
        self.met.update(report.met)
        counted = {name for name in (*EXERCISED, *ELASTIC, *DEALINGS) if report.totals[name]}
        self.met_seeds.update({*report.met} | counted)
        self.totals.update(report.totals)
        self.bounds.update(report.small_bounds)
        for what, value in report.drawn.items():
            self.drawn.setdefault(what, Counter())[value] += 1
        self.undecided += [f"{key} of seed {report.seed}" for key in report.undecided]

    def add_failure(self, failure: SimulationFailure) -> None:
        self.seeds += 1
        self.failures.append(failure)

    def lines(self, wall_seconds: float) -> list[str]:
        rate = self.virtual_seconds / self.cpu_seconds if self.cpu_seconds else 0.0
        wall = self.virtual_seconds / wall_seconds if wall_seconds else 0.0
        operations = ", ".join(f"{self.outcomes[name]} {name}" for name in self.outcomes)
        lines = [
            f"{self.seeds} seeds, {self.virtual_seconds / 3600:.2f} virtual hours in "
            f"{wall_seconds:.0f} s ({wall:.1f} virtual s per s; {rate:.1f} per s of one core), "
            f"{self.events} events",
            f"operations: {self.outcomes.total()} ({operations or 'none'}): {_list(self.kinds)}",
            f"faults: {self.faults.total()}, of which {self.met.total()} found what they break "
            "(x in so many seeds): "
            + ", ".join(
                f"{name} {self.met[name]} of {count} x {self.met_seeds[name]}"
                for name, count in sorted(self.faults.items())
            ),
            f"elections: {self.leaders} leaders of a group and term; crashes: {self.crashes}; "
            f"starts refused for a turned bit: {self.refusals}",
            f"promises checked: {self.promises}; bytes on the network: {self.bytes_sent}",
            "drawn (value x seeds): "
            + "; ".join(f"{what} {_seeds(counts)}" for what, counts in self.drawn.items()),
            f"small bounds: {len(self.bounds)} of {len(BOUNDS)}, in "
            f"{min((self.bounds[name] for name in BOUNDS), default=0)} to "
            f"{max(self.bounds.values(), default=0)} seeds each",
            "exercised (x in so many seeds): "
            + ", ".join(
                f"{name} {self.totals[name]} x {self.met_seeds[name]}"
                for name in (
                    *EXERCISED,
                    *(ELASTIC if self.totals["maps"] else ()),
                    *(DEALINGS if self.totals["locks_granted"] else ()),
                )
            ),
        ]
        if self.undecided:
            lines.append(f"UNDECIDED: {', '.join(self.undecided)}")
        seeds = sorted(failure.schedule.seed for failure in self.failures)
        lines.append(f"FAILED: {seeds}" if seeds else "no failure")
        return lines


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _seeds(counts: Counter[str]) -> str:
    return ", ".join(f"{value} x {count}" for value, count in sorted(counts.items()))


class Progress:
    """One line that is written over and over on a terminal; nothing elsewhere."""

    def __init__(self, total: int, output: TextIO) -> None:
        self.total = total
        self._output = output
        self._is_terminal = output.isatty()
        self._begin = time.monotonic()

    def show(self, summary: Summary) -> None:
        seconds = time.monotonic() - self._begin
        rate = summary.seeds / seconds if seconds else 0.0
        self.say(
            f"{summary.seeds}/{self.total} seeds, {rate:.1f}/s, "
            f"{summary.virtual_seconds / 3600:.2f} virtual hours, "
            f"{len(summary.failures)} failed"
        )

    def say(self, text: str) -> None:
        if self._is_terminal:
            self._output.write(f"\r\x1b[K{text}")
            self._output.flush()

    def clear(self) -> None:
        self.say("")


def make_world(config: WorldConfig) -> World:
    """The world that a run takes place in; nothing has happened yet."""
    return ElasticWorld(config) if config.elastic else World(config)


def run_seed(config: WorldConfig) -> Report | SimulationFailure:
    """One seed, in whichever process."""
    try:
        return make_world(config).run()
    except SimulationFailure as failure:
        return failure


def run_seeds(
    config: WorldConfig, seeds: Iterable[int], *, jobs: int
) -> Iterator[Report | SimulationFailure]:
    """The outcomes as they come; by `jobs` processes. Closing the iterator ends them."""
    configs = (replace(config, seed=seed) for seed in seeds)
    if jobs <= 1:
        yield from map(run_seed, configs)
        return
    context: Any = multiprocessing.get_context("spawn")
    pool = context.Pool(jobs, _worker_begins, maxtasksperchild=SEEDS_PER_PROCESS)
    try:
        yield from pool.imap_unordered(run_seed, configs)
        pool.close()
    finally:
        pool.terminate()
        pool.join()


def _worker_begins() -> None:
    """The parent decides when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_campaign(
    config: WorldConfig,
    seeds: range,
    *,
    jobs: int,
    keep_going: bool,
    each: bool,
    output: TextIO | None = None,
) -> tuple[Summary, bool]:
    """All seeds, or until the first failure; and whether it was interrupted.

    `each`: print a line for every seed.
    """
    summary = Summary()
    progress = Progress(len(seeds), output or sys.stderr)
    outcomes = run_seeds(config, seeds, jobs=min(jobs, len(seeds)))
    interrupted = False
    try:
        for outcome in outcomes:
            if isinstance(outcome, Report):
                summary.add(outcome)
                if each:
                    progress.clear()
                    print(outcome.line(), flush=True)
            else:
                summary.add_failure(outcome)
                progress.clear()
                print(outcome, flush=True)
                if not keep_going:
                    break
            progress.show(summary)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        outcomes.close()
        progress.clear()
    return summary, interrupted


def core_count() -> int:
    return len(os.sched_getaffinity(0))
