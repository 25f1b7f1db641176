"""A race: the same load on QuorumCache, memcached and redis, in alternating laps of one run.

All of them run all the time, each in its place, and one of them is loaded at a time. A ratio is of
two laps of the same round, which are seconds apart: a machine that slows down slows both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from quorumcache.bench import procfs
from quorumcache.bench.cluster import Target
from quorumcache.bench.errors import TargetError, WorkloadError
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.measure import find_routes
from quorumcache.bench.race_load import Generator, Lap, Load
from quorumcache.bench.race_peers import Places, Racer

WARM_UP_SECONDS: Final = 0.3
_FILL_CONNECTIONS: Final = 12


class Work(NamedTuple):
    """One workload. `is_routed`: each key is asked of its leader, else of any node."""

    name: str
    what: str
    load: Load
    is_routed: bool = True

    @property
    def is_for_writes(self) -> bool:
        """Whether a redis is one whose sets are durable."""
        return self.load.gets < 1

    @property
    def per_request(self) -> int:
        """What is counted of one request: its keys."""
        return self.load.keys_per_get


WORKS: Final = (
    Work("get1", "get, to leaders, depth 1", Load(connections=51)),
    Work("get16", "get, to leaders, depth 16", Load(connections=51, depth=16)),
    Work("any1", "get, to any node, depth 1", Load(connections=51), is_routed=False),
    Work("any16", "get, to any node, depth 16", Load(connections=51, depth=16), is_routed=False),
    Work("mget50", "get of 50 keys, in keys", Load(connections=10, keys_per_get=50)),
    Work("set50", "durable set, 50 connections", Load(connections=51, gets=0)),
    Work("set200", "durable set, 200 connections", Load(connections=201, gets=0)),
    Work("set50x16", "durable set, depth 16", Load(connections=51, depth=16, gets=0)),
    Work("setany50", "durable set, to any node", Load(connections=51, gets=0), is_routed=False),
    Work("mixed", "90 % get, 10 % durable set", Load(connections=51, gets=0.9)),
)
"""51 and 201 connections spread evenly over three nodes."""


def find_works(names: Sequence[str]) -> list[Work]:
    """By their names; all of them without any. WorkloadError for a name that is none."""
    known = {work.name: work for work in WORKS}
    for name in names:
        if name not in known:
            raise WorkloadError(f"no race {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else list(WORKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One lap, and what the servers used for it. `cpu_us`: processor time of all the racer's
    processes for one request, microseconds. In percent of a processor, `ours_idle`: what our own
    nodes used while another racer ran; `others`: what all used that is no part of the race.
    """

    lap: Lap
    cpu_us: float
    ours_idle: float = 0.0
    others: float = 0.0


@dataclass(slots=True)
class Figures:
    """Of one workload: the laps of each racer, in the order of the rounds."""

    work: Work
    laps: dict[str, list[Measured]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Of all laps."""
        return sum(one.lap.faults for laps in self.laps.values() for one in laps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the race is run. `directory`: for files that last as long as the race."""

    rounds: int
    seconds: float
    keys: int
    places: Places
    directory: Path


def takes_part(racer: Racer, work: Work) -> bool:
    """Redis has no get of several keys that answers as memcached's does."""
    return not (racer.is_resp and work.per_request > 1)


def run_race(
    racers: Sequence[Racer],
    works: Sequence[Work],
    plan: Plan,
    generator: Generator,
    say: Callable[[str], None],
) -> Iterator[Figures]:
    """The figures of each workload, as it ends. The first racer is ours; all are started. A lap
    with a fault is the last one of all.
    """
    for racer in racers:
        for target in _targets([racer]):
            say(f"{plan.keys:,} keys are stored in {racer.name}")
            lap = _lap(generator, racer, target, _filling(plan), plan, fill=True)
            if lap.faults or lap.filled < plan.keys:
                raise TargetError(
                    f"{racer.name} stored {lap.filled:,} of {plan.keys:,} keys: {lap.told()}"
                )
    meter = procfs.OthersMeter(lambda: [pid for target in _targets(racers) for pid in target.pids])
    for work in works:
        found = Figures(replace_keys(work, plan.keys))
        for number in range(plan.rounds):
            # The order alternates, so a machine that warms up or cools down favours none.
            for racer in racers if number % 2 == 0 else list(reversed(racers)):
                if takes_part(racer, work):
                    say(f"{work.name}: round {number + 1} of {plan.rounds}, {racer.name}")
                    meter.percent()
                    measured = _measure(generator, racers[0], racer, found.work, plan)
                    measured = replace(measured, others=meter.percent())
                    found.laps.setdefault(racer.name, []).append(measured)
            if found.faults:
                break
        found.laps = {r.name: found.laps[r.name] for r in racers if r.name in found.laps}
        yield found
        if found.faults:
            return


def _targets(racers: Sequence[Racer]) -> list[Target]:
    """Each once."""
    both = [target for racer in racers for target in (racer.reads, racer.writes)]
    return list({id(target): target for target in both}.values())


def replace_keys(work: Work, keys: int) -> Work:
    """The same with another number of keys."""
    return work._replace(load=replace(work.load, keys=keys))


def _filling(plan: Plan) -> Work:
    return Work("fill", "", Load(connections=_FILL_CONNECTIONS, gets=0, keys=plan.keys))


def _measure(generator: Generator, ours: Racer, racer: Racer, work: Work, plan: Plan) -> Measured:
    target = racer.writes if work.is_for_writes else racer.reads
    before, idle = _cpu(target), _cpu(ours.reads)
    lap = _lap(generator, racer, target, work, plan, fill=False)
    used, idle = _cpu(target) - before, _cpu(ours.reads) - idle
    whole_seconds = lap.seconds + WARM_UP_SECONDS
    return Measured(
        lap=lap,
        cpu_us=1e6 * used / lap.answered if lap.answered else 0.0,
        ours_idle=0.0 if racer is ours else 100 * idle / whole_seconds,
    )


def _cpu(target: Target) -> float:
    return procfs.total_cpu_seconds(target.pids)


def _lap(
    generator: Generator, racer: Racer, target: Target, work: Work, plan: Plan, *, fill: bool
) -> Lap:
    # The map is asked for before each lap: leaders may have moved.
    routes = Routes(tuple(target.addresses))
    if work.is_routed and not racer.is_resp:
        routes = find_routes(target.addresses, "auto")
    owners = None
    if len(routes.addresses) > 1 and routes.owners:
        owners = plan.directory / "owners"
        owners.write_text(owners_text(routes, plan.keys))
    return generator.run(
        [port for _, port in routes.addresses],
        work.load,
        seconds=0 if fill else plan.seconds,
        warm_up=0 if fill else WARM_UP_SECONDS,
        fill=fill,
        is_resp=racer.is_resp,
        owners=owners,
        cpus=plan.places.load,
    )


def owners_text(routes: Routes, keys: int) -> str:
    """For each key of the generator a line: the place of its node among the addresses."""
    return "".join(f"{routes.node_of(b'key:%010d' % number)}\n" for number in range(keys))
