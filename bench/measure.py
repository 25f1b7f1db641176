"""One measurement: a workload on a target, in one or several rounds."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quorumcache.bench.addresses import Address, read_address, shown
from quorumcache.bench.cluster import Target, wait_for
from quorumcache.bench.driver import LoadPlan, Measured, run_load
from quorumcache.bench.errors import TargetError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.report import Latency, Result
from quorumcache.bench.text_client import TextClient
from quorumcache.bench.workload import Workload

ROUTED, ANY_NODE = "routed", "any-node"
MODES = ("auto", ROUTED, ANY_NODE)
LED_SECONDS = 30.0


class Progress:
    """A line on stderr that rewrites itself on a terminal; a line every few seconds elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._label = ""
        self._phase = ""
        self._said = 0.0
        self._before = (0, 0.0)

    def begin(self, label: str) -> None:
        """A new measurement."""
        self._label, self._phase = label, ""

    def __call__(self, phase: str, completed: int, errors: int) -> None:
        """`completed` so far in this phase."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._before, self._said = phase, (0, now), 0.0
        if self._quiet or now - self._said < (0.5 if self._terminal else 5.0):
            return
        done, since = self._before
        rate = f", {(completed - done) / (now - since):,.0f}/s" if now - since > 0.2 else ""
        wrong = f", {errors} errors" if errors else ""
        self.say(f"{self._label}: {phase} {completed:,}{rate}{wrong}")
        self._before, self._said = (completed, now), now

    def say(self, text: str) -> None:
        """Any other line of progress."""
        if self._quiet:
            return
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self._terminal and not self._quiet:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to load, the same for all workloads and targets."""

    seconds: float = 5.0
    warmup_seconds: float = 1.0
    processes: int = 1
    seed: int = 1
    mode: str = "auto"
    cpus: tuple[int, ...] = ()


def find_routes(addresses: Sequence[Address], mode: str) -> Routes:
    """Routes for `mode`. With `auto`: routed where there is a cluster map, any-node elsewhere.

    The addresses of a routed cluster come from its map, so one address is enough to name it. That
    of a node which is alone is the one that was given.
    """
    given = tuple(addresses)
    if mode == ANY_NODE:
        return Routes(given)
    with TextClient(given[0]) as client:
        if client.cluster_map() is None:
            if mode == ROUTED:
                raise TargetError(
                    f"{shown(given[0])} has no cluster map: only --mode any-node works"
                )
            return Routes(given)

        def led() -> bool:
            found = client.topology()
            return found is not None and 0 not in found.leaders

        wait_for("a leader for every shard", led, LED_SECONDS)
        topology = client.topology()
    assert topology is not None
    nodes = topology.map.nodes
    position = {node.node_id: number for number, node in enumerate(nodes)}
    known = [read_address(node.client_address) for node in nodes]
    if len(nodes) == 1:
        known = [given[0]]  # The map has one of its addresses, which may be another.
    return Routes(tuple(known), tuple(position[leader] for leader in topology.leaders))


def measure_once(
    workload: Workload, target: Target, options: LoadOptions, progress: Progress
) -> tuple[Measured, str]:
    """One round on a started target; what was measured, and the mode that was used."""
    routes = find_routes(target.addresses, options.mode if target.name != "memcached" else "auto")
    plan = LoadPlan(
        workload=workload,
        routes=routes,
        seed=options.seed,
        processes=options.processes,
        warmup_seconds=options.warmup_seconds,
        seconds=options.seconds,
        cpus=options.cpus,
    )
    progress.begin(f"{workload.name} on {target.name}")
    measured = run_load(plan, target.pids, progress)
    progress.end()
    mode = ROUTED if routes.owners else ANY_NODE
    return measured, mode if len(routes.addresses) > 1 else "one node"


def measure_rounds(
    workload: Workload,
    targets: Sequence[Callable[[], Target]],
    options: LoadOptions,
    rounds: int,
    progress: Progress,
) -> list[Result]:
    """`rounds` times each target in turn, each started for its round alone; one result each.

    Targets take turns, so that a machine that slows down in between slows down all of them; and
    only the measured one is running, so that none pays for another.
    """
    found: list[list[tuple[Measured, str]]] = [[] for _ in targets]
    names = [""] * len(targets)
    for _ in range(rounds):
        for number, make in enumerate(targets):
            with make() as target:
                names[number] = target.name
                found[number].append(measure_once(workload, target, options, progress))
    return [_summary(name, workload, measured) for name, measured in zip(names, found, strict=True)]


def _summary(target: str, workload: Workload, rounds: list[tuple[Measured, str]]) -> Result:
    ordered = sorted(rounds, key=lambda one: one[0].ops_per_second)
    measured, mode = ordered[(len(ordered) - 1) // 2]
    both = Histogram()
    both.merge(measured.read)
    both.merge(measured.write)
    return Result(
        target=target,
        workload=workload,
        mode=mode,
        seconds=measured.seconds,
        ops_per_second=measured.ops_per_second,
        rounds=tuple(one[0].ops_per_second for one in rounds),
        completed=measured.completed,
        misses=measured.misses,
        # Errors of any round count: a median must not hide them.
        errors=sum(one[0].errors for one in rounds),
        error_kinds=_sum_kinds([one[0].error_kinds for one in rounds]),
        lost_connections=sum(one[0].lost_connections for one in rounds),
        unsent=sum(one[0].unsent for one in rounds),
        unanswered=sum(one[0].unanswered for one in rounds),
        latency=Latency.of(both),
        read=Latency.of(measured.read) if measured.read.count else None,
        write=Latency.of(measured.write) if measured.write.count else None,
        send_lag=Latency.of(measured.send_lag) if measured.send_lag.count else None,
        server_cpu=_known(measured.server_cpu),
        load_cpu=_known(measured.load_cpu),
        other_cpu=_known(measured.other_cpu),
        timeline=tuple(measured.timeline),
        histogram=both,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _sum_kinds(kinds: Sequence[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in kinds:
        for text, times in one.items():
            total[text] = total.get(text, 0) + times
    return total
