"""One run, inside of its namespaces: cluster and load up, faults on time, down again, check.

The harness is a single thread that sleeps until the next event of its schedule; while it sleeps it
hears whether it shall stop (the end of its stdin) and how the load goes.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quorumcache.bench.processes import repository_environment, start
from tests.chaos import ballast, bank
from tests.chaos.changes import CHANGES, SPARES, draw_changes
from tests.chaos.clients import TIME_ORIGIN_NS
from tests.chaos.cluster import ChaosCluster, ClusterError
from tests.chaos.elastic import SECRET, SETTINGS, STEP_S, Changes
from tests.chaos.faults import Faults, Outcome
from tests.chaos.history_file import read_history
from tests.chaos.load import FINISH, LoadConfig
from tests.chaos.namespaces import CLIENTS, Network
from tests.chaos.operator import Operator
from tests.chaos.progress import Progress
from tests.chaos.report import Report
from tests.chaos.rest import misplaced, unfinished
from tests.chaos.schedule import Fault, draw
from tests.simulation.linearizability import check_key

SHARDS = 8
LED_S = 90.0
"""How long the cluster may take to have a leader for every shard, at first and after the faults."""
CALM_S = 1.5
"""Of load without faults, before them and after: what the rest is compared with."""
REST_S = 240.0
"""How long the changes that have begun, and all moves, may take after the last fault."""
FINISH_S = 240.0
"""How long the clients may tell of nothing new while they finish."""
CONFIGURATIONS_MAX = 2_000_000


class Stopped(Exception):
    """Whoever started the run wants it to end."""


@dataclass(slots=True, kw_only=True)
class Options:
    """What a run is told. `directory`: an empty one for logs and history."""

    seed: int
    seconds: float
    nodes: int
    kinds: list[str]
    directory: str
    broken: str = ""
    elastic: bool = False
    """Nodes join, leave and are lost, beside the faults."""
    bank: bool = False
    """Transactions over many shards, and locks, beside the other clients."""
    every_key: bool = False

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    def command(self) -> str:
        """What to type for the same schedule."""
        words = f"python -m tests.chaos --seed {self.seed} --seconds {self.seconds:g}"
        words += f" --nodes {self.nodes} --faults {','.join(self.kinds)}"
        words += " --elastic" if self.elastic else ""
        words += " --bank" if self.bank else ""
        return words + (f" --broken {self.broken}" if self.broken else "")


class Run:
    """`report()` does it all; leave the context and nothing is running."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.directory = Path(options.directory)
        self.schedule = schedule_of(options)
        self.shards = bank.SHARDS if options.bank else SHARDS
        spares = SPARES if options.elastic else 0
        self.network = Network(chr(ord("a") + number) for number in range(options.nodes + spares))
        self.cluster = ChaosCluster(
            self.directory,
            self.network,
            shards=self.shards,
            broken=options.broken,
            spares=spares,
            settings=self._elastic_settings() if options.elastic else "",
        )
        self.faults = Faults(self.cluster, self.network)
        self.outcomes = [Outcome(fault) for fault in self.schedule]
        self.progress = Progress(sys.stdout)
        self.began_ns = 0
        self.changes: Changes | None = None
        self._elected_before = 0
        self._load: subprocess.Popen[bytes] | None = None
        self._heard: dict[str, Any] = {}
        self._half_line = b""

    def report(self) -> Report:
        """Run, check. ClusterError and CannotRun when it cannot be finished."""
        problems: list[str] = []
        with self._running():
            try:
                self._faults()
                self._finish(problems)
            except ClusterError as error:
                problems.append(str(error))
        problems += self.cluster.faults_of_ours()[:20]
        self.progress.say("checking the history")
        return self._check(problems)

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            self.network.create()
            self.cluster.start()
            took = self.cluster.wait_led(LED_S, self._wait)
            self.progress.say(f"{self.options.nodes} nodes, all shards led after {took:.1f} s")
            self._elected_before = self.cluster.leaders_elected()
            if self.options.elastic:
                ballast.store(self.cluster.addresses[0])
            self._start_load()
            if self.options.elastic:
                self._start_changes()
            yield
        finally:
            if self.changes is not None:
                self.changes.operator.close()
            if self._load is not None:
                self._load.kill()
                self._load.wait()
            self.cluster.end()
            self.progress.close()

    def _elastic_settings(self) -> str:
        secret = self.directory / "secret"
        secret.write_text(f"{SECRET}\n")
        return f'{SETTINGS}secret-file = "{secret}"\n'

    def _start_changes(self) -> None:
        def addresses() -> list[tuple[str, int]]:
            up = [n for n in self.cluster.members if n.process is not None and not n.is_paused]
            return [self.cluster.address_of(node) for node in up]

        self.changes = Changes(
            self.cluster,
            self.faults,
            Operator(SECRET, addresses),
            now_ns=self._now_ns,
            say=lambda outcome, what: self.progress.fault(self._elapsed(), outcome, what),
        )

    def _start_load(self) -> None:
        self.began_ns = time.monotonic_ns()
        config = LoadConfig(
            addresses=self.cluster.addresses,
            shards=self.shards,
            seed=self.options.seed,
            history=str(self.directory / "history.jsonl"),
            began_ns=self.began_ns,
            bank=self.options.bank,
        )
        if self.options.bank:
            config.text_clients, config.programs = 2, 1
        module = ["-m", "tests.chaos.load", config.as_json()]
        with (self.directory / "load.log").open("ab") as log:
            self._load = start(
                [*self.network.inside(CLIENTS), sys.executable, *module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                environment=repository_environment(),
                cwd=str(self.directory),
            )

    # -- the faults --------------------------------------------------------------------------------

    def _faults(self) -> None:
        """The whole schedule. Every fault has ended when this returns.

        What takes its time, such as the start of a node, moves all that follows: the pauses between
        faults stay what they were.
        """
        self._wait(CALM_S)
        began = time.monotonic()
        for at_s, what, number in events(self.schedule):
            self._wait(began + at_s - time.monotonic())
            self.cluster.check_run()
            started = time.monotonic()
            outcome = self.outcomes[number]
            if what == "begin" and outcome.fault.kind in CHANGES:
                assert self.changes is not None
                self.changes.begin(outcome)
            elif what == "begin":
                self._begin(outcome)
            elif what == "end":
                self._end(outcome)
            else:
                self.faults.flap(outcome.fault, cut=what == "cut")
            began += time.monotonic() - started
        self.faults.end_all()

    def _begin(self, outcome: Outcome) -> None:
        now_ns = self._now_ns()
        outcome.nodes = self.faults.begin(outcome.fault)
        if outcome.nodes:
            outcome.began_ns = now_ns
            self.progress.fault(self._elapsed(), outcome, "begins")

    def _end(self, outcome: Outcome) -> None:
        if outcome.nodes:
            self.faults.end(outcome.fault)
            outcome.ended_ns = self._now_ns()
            self.progress.fault(self._elapsed(), outcome, "ends")

    def _finish(self, problems: list[str]) -> None:
        """Is all well again? Then the last writes and reads."""
        if self.changes is not None:
            self._come_to_rest(self.changes)
        took = self.cluster.wait_led(LED_S, self._wait)
        self.progress.say(f"all shards led {took:.1f} s after the last fault")
        self._wait(CALM_S)
        assert self._load is not None
        assert self._load.stdin is not None
        self._load.stdin.write(f"{FINISH} {json.dumps(self._last_asked())}\n".encode())
        self._load.stdin.flush()
        self._wait_finished()
        self._load.wait(FINISH_S)  # the history is whole when it has ended
        problems += self._heard["unexpected"]
        if self._heard["problem"]:
            problems.append(self._heard["problem"])
        if self.changes is not None:
            problems += filter(None, map(ballast.missing, self._last_asked()))

    def _wait_finished(self) -> None:
        """Until the clients have said that they are done. On a busy machine it takes its time."""
        told: object = None
        deadline = 0.0
        while "done" not in self._heard:
            if self._heard.get("outcomes") != told or not deadline:
                told, deadline = self._heard.get("outcomes"), time.monotonic() + FINISH_S
            if time.monotonic() > deadline:
                raise ClusterError(f"the clients did nothing for {FINISH_S:g} s, and are not done")
            self._wait(0.2)

    def _last_asked(self) -> list[tuple[str, int]]:
        return [self.cluster.address_of(node) for node in self.cluster.members]

    def _come_to_rest(self, changes: Changes) -> None:
        """What has begun is carried out, all moves end, and every node has its share."""
        changes.finish()
        began = time.monotonic()
        left: list[str] = []
        while time.monotonic() - began < REST_S:
            self._wait(0.3)
            self.cluster.check_run()
            left = [f"{name} is under way" for name in changes.under_way] or self._unfinished()
            if not left:
                took = time.monotonic() - began
                self.progress.say(f"all moves have ended {took:.1f} s after the last fault")
                return
        raise ClusterError(f"no rest {REST_S:g} s after the last fault: {'; '.join(left[:10])}")

    def _unfinished(self) -> list[str]:
        assert self.changes is not None
        members = self.cluster.members
        told = {n.name: self.changes.told.get(self.cluster.address_of(n)) for n in members}
        left = unfinished(told, self.shards)
        if left:
            return left
        found = {node.name: self.cluster.replicas(node) for node in members}
        return misplaced(found, self.shards, int(self.changes.view["settings"]["replication"]))

    # -- time --------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self.began_ns + TIME_ORIGIN_NS

    def _elapsed(self) -> float:
        return (time.monotonic_ns() - self.began_ns) / 1e9

    def _wait(self, seconds: float) -> None:
        """Sleep, and let the changes go on. Raises Stopped when the run shall end, ClusterError
        when the load has ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            stdin = sys.stdin.fileno()
            watched = [stdin]
            if self._load is not None and "done" not in self._heard:
                assert self._load.stdout is not None
                watched.append(self._load.stdout.fileno())
            left = max(0.0, deadline - time.monotonic())
            if self.changes is not None:
                self.changes.step()
                left = min(left, STEP_S)
            readable, _, _ = select.select(watched, [], [], left)
            if stdin in readable and not os.read(stdin, 4096):
                raise Stopped
            if len(readable) > (stdin in readable):
                self._hear()
            elif time.monotonic() >= deadline:
                return

    def _hear(self) -> None:
        """What the load says: lines, the last of which counts."""
        assert self._load is not None
        assert self._load.stdout is not None
        told = os.read(self._load.stdout.fileno(), 1 << 16)
        if not told:
            words = (self.directory / "load.log").read_text(errors="replace").splitlines()
            raise ClusterError(f"the load ended: {(words or ['it said nothing'])[-1]}")
        *lines, self._half_line = (self._half_line + told).split(b"\n")
        if lines:
            self._heard = json.loads(lines[-1])
            self.progress.status(self._elapsed(), self._heard["outcomes"])

    # -- the verdict -------------------------------------------------------------------------------

    def _check(self, problems: list[str]) -> Report:
        began = time.monotonic()
        history = read_history(self.directory / "history.jsonl")
        end_ns = max((op.returned_ns or op.invoked_ns for op in history.operations), default=0)
        for outcome in self.outcomes:
            if outcome.began_ns and not outcome.ended_ns:
                outcome.ended_ns = end_ns
        verdicts = {
            key: check_key(operations, configurations_max=CONFIGURATIONS_MAX)
            for key, operations in history.by_key().items()
        }
        return Report(
            seed=self.options.seed,
            seconds=self.options.seconds,
            nodes=self.options.nodes,
            shards=self.shards,
            history=history,
            verdicts=verdicts,
            outcomes=self.outcomes,
            leaders_elected=self.cluster.leaders_elected() - self._elected_before,
            check_seconds=time.monotonic() - began,
            problems=problems,
            bank=self._heard.get("bank", {}),
            replay=self.options.command(),
        )


def schedule_of(options: Options) -> list[Fault]:
    """All faults of a run, and behind them the changes. ValueError as `draw`."""
    if not options.elastic:
        return draw(options.seed, options.seconds, options.nodes, options.kinds)
    faults = draw(options.seed, options.seconds, options.nodes + SPARES, options.kinds)
    changes = draw_changes(options.seed, options.seconds, options.nodes, number=len(faults) + 1)
    return faults + changes


def events(schedule: list[Fault]) -> list[tuple[float, str, int]]:
    """Begins, ends and changes of sides of all faults in order of time: (seconds, what, index).

    A change of the cluster ends when the cluster has carried it out.
    """
    found: list[tuple[float, str, int]] = []
    for index, fault in enumerate(schedule):
        found.append((fault.at_s, "begin", index))
        if fault.kind in CHANGES:
            continue
        found.append((fault.at_s + fault.seconds, "end", index))
        for number, at_s in enumerate(fault.flaps):
            found.append((fault.at_s + at_s, "cut" if number % 2 else "whole", index))
    return sorted(found, key=lambda event: event[0])
