"""A whole cluster and its clients in one process, as a function of a seed.

    boot -> faults under load -> all healed -> every shard serves -> replicas agree -> history is
            (safety: invariants                (liveness, within bounds)               linearizable
             at every moment)

A run that finds something raises `SimulationFailure`, whose text holds the seed, the command that
replays it and the last events.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from node.config import NodeConfig
from tests.simulation import staleness
from tests.simulation.checkers import Invariants, InvariantViolation
from tests.simulation.client import SimulatedClient
from tests.simulation.cluster import CLIENT_PORT, PEER_PORT, SimulatedNode
from tests.simulation.disk import DiskConfig
from tests.simulation.history import History, show_key
from tests.simulation.linearizability import ILLEGAL, UNKNOWN, check_history
from tests.simulation.liveness import LivenessFailure, await_convergence, await_service, read_all
from tests.simulation.loop import BudgetExceeded, Deadlock, VirtualLoop
from tests.simulation.model import Model
from tests.simulation.nemesis import DEFAULT_WEIGHTS, Nemesis, NemesisConfig, draw_weights
from tests.simulation.network import Network, NetworkConfig
from tests.simulation.process import PROCESS
from tests.simulation.router_client import RouterProgram
from tests.simulation.rude_client import RudeClient
from tests.simulation.staleness import StaleReaders
from tests.simulation.trace import Trace
from tests.simulation.wall_bounds import WallBounds
from tests.simulation.workload import Workload, WorkloadConfig, draw_workload

CHECK_SECONDS = 0.005
DIGEST_EVERY_CHECKS = 20
BOOT_SECONDS = 10.0
SERVICE_SECONDS = 15.0
CONVERGENCE_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class WorldConfig:
    """What is drawn from the seed, and what the caller fixes."""

    seed: int
    fault_seconds: float = 6.0
    node_count: int = 3
    client_count: int = 3  # plain memcached connections
    program_count: int = 2  # users of the client library
    clock_drift_ppm: int = 4_900  # of one clock; a lease allows 10,000 between two
    events_max: int = 20_000_000
    weights: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    workload: dict[str, Any] = field(default_factory=dict)  # fixed instead of drawn
    verbose: bool = False


@dataclass(slots=True)
class Report:
    """What a run did."""

    seed: int
    digest: str = ""
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    events: int = 0
    faults: int = 0
    leaders: int = 0
    checks: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0
    undecided: list[str] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        rate = self.virtual_seconds / self.cpu_seconds if self.cpu_seconds else 0.0
        return (
            f"seed {self.seed}: {self.virtual_seconds:.1f} virtual s "
            f"in {self.cpu_seconds:.1f} cpu s ({rate:.1f}x), {self.events} events, "
            f"{self.faults} faults, {self.leaders} leaders, "
            f"ops {self.ok} ok {self.fail} fail {self.info} unknown, trace {self.digest[:12]}"
            + (f", UNDECIDED {', '.join(self.undecided)}" if self.undecided else "")
        )


class SimulationFailure(AssertionError):
    """A seed that breaks a promise."""


class World:
    """See the module."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.seed = config.seed
        self.loop = VirtualLoop(events_max=config.events_max)
        self.trace = Trace(self.loop, verbose=config.verbose)
        random = self.random("shape")
        self.network = Network(
            self.loop, self.random("network"), config=_draw_network(random), trace=self.trace
        )
        self.history = History()
        self.nodes = self._make_nodes(random)
        workload_config = draw_workload(random, self.nodes[0].config.item_bytes_max)
        workload_config = replace(workload_config, **config.workload)
        self.keys = Workload("final", workload_config, random).keys()
        self.clients: list[SimulatedClient | RouterProgram | RudeClient | StaleReaders] = [
            self._make_client(f"c{number}", workload_config, SimulatedClient)
            for number in range(1, config.client_count + 1)
        ]
        self.clients += [
            self._make_client(f"r{number}", workload_config, RouterProgram)
            for number in range(1, config.program_count + 1)
        ]
        if random.random() < 0.3:
            addresses = [node.address for node in self.nodes]
            self.clients.append(RudeClient(self.loop, "x1", addresses, self.random("rude")))
        addresses = [node.address for node in self.nodes]
        self.stale = StaleReaders(self.loop, "s1", addresses, self.random("staleness"))
        self.clients.append(self.stale)
        self.client_names = [client.name for client in self.clients]
        self.invariants = Invariants(self.nodes)
        self._violation: InvariantViolation | None = None

    def random(self, purpose: str) -> Random:
        """A generator of its own for each purpose, so that one does not shift another."""
        return Random(f"{self.seed}/{purpose}")

    def _make_nodes(self, random: Random) -> list[SimulatedNode]:
        names = [f"n{number}" for number in range(1, self.config.node_count + 1)]
        members = {name: f"{name}:{PEER_PORT}" for name in names}
        segment_bytes = random.choice((16 << 10, 64 << 10, 1 << 20))
        common: dict[str, Any] = {
            "initial_cluster": members,
            "shards": random.choice((1, 2, 4)),
            "data_dir": "/data",
            "http": "",
            "request_timeout_ms": random.choice((1000, 2000, 5000)),
            "segment_bytes_max": segment_bytes,
            "wal_bytes_max": segment_bytes * random.choice((2, 8)),
            "item_bytes_max": random.choice((8 << 10, 64 << 10, 1 << 20)),
            "snapshot_bytes_min": random.choice((4 << 10, 32 << 10, 256 << 10)),
            # Drawn apart, so that it shifts nothing else. The short one makes sessions expire.
            "session_idle_ms": self.random("sessions").choice((1000, 3_600_000)),
        }
        drift = self.config.clock_drift_ppm
        disk_config = DiskConfig(step_seconds=random.choice((0.00005, 0.0003, 0.002)))
        return [
            SimulatedNode(
                self.loop,
                self.network,
                NodeConfig(
                    name=name,
                    listen=f"{name}:{CLIENT_PORT}",
                    peer=f"{name}:{PEER_PORT}",
                    **common,
                ),
                self.random(name),
                clock_rate_ppm=random.randint(-drift, drift),
                disk_config=disk_config,
            )
            for name in names
        ]

    def _make_client(
        self, name: str, config: WorkloadConfig, kind: type[SimulatedClient] | type[RouterProgram]
    ) -> SimulatedClient | RouterProgram:
        client = kind(
            self.loop,
            name,
            [node.address for node in self.nodes],
            Workload(name, config, self.random(f"{name}/workload")),
            self.history,
            self.random(name),
            reply_seconds=self.random(f"{name}/patience").choice((0.5, 2.0, 8.0)),
        )
        if isinstance(client, SimulatedClient):
            # A node's clock may run faster by the drift.
            client.silent_ns = int(self.nodes[0].config.request_timeout_ms * 0.98e6)
        return client

    def model(self) -> Model:
        """The rules for this cluster and what its clocks have shown."""
        walls = WallBounds([node.clock.wall_offsets for node in self.nodes])
        node = self.nodes[0].config
        return Model(
            item_bytes_max=node.item_bytes_max,
            walls=walls,
            keeps_silent_writes=walls.largest_jump_ms < node.session_idle_ms // 2,
        )

    # -- running -----------------------------------------------------------------------------------

    def run(self) -> Report:
        """Raises `SimulationFailure`."""
        report = Report(self.seed)
        begin = time.process_time()
        handler = _LogToTrace(self.trace)
        logger = logging.getLogger("quorumcache")
        before = (logger.level, logger.propagate)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            self.loop.run_until_complete(self._play(report))
            self._check_history(report)
        except (AssertionError, Deadlock, BudgetExceeded) as error:
            raise self._failure(error) from error
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before[0])
            logger.propagate = before[1]
            self.loop.close()
        report.cpu_seconds = time.process_time() - begin
        return report

    async def _play(self, report: Report) -> None:
        begin_ns = self.loop.now_ns
        checking = self.loop.create_task(self._keep_checking(), name="invariants")
        for node in self.nodes:
            node.start()
        await self._bounded(await_service(self, BOOT_SECONDS))
        self.trace.say("the cluster serves; clients and faults begin")
        for client in self.clients:
            client.start()
        nemesis = Nemesis(
            self,
            NemesisConfig(
                weights=draw_weights(self.config.weights, self.random("weights")),
                calm_seconds=self.random("calm").choice((0.1, 0.3, 0.8)),
            ),
            self.random("nemesis"),
        )
        await self._bounded(nemesis.run(self.config.fault_seconds))
        self.heal()
        await self._bounded(await_service(self, SERVICE_SECONDS))
        self.trace.say("every shard serves again")
        await self._bounded(asyncio.gather(*(client.stop() for client in self.clients)))
        await self._bounded(read_all(self, self.keys))
        await self._bounded(await_convergence(self, CONVERGENCE_SECONDS))
        checking.cancel()
        self._look()
        report.virtual_seconds = (self.loop.now_ns - begin_ns) / 1e9
        report.events = self.loop.events
        report.faults = nemesis.faults
        report.leaders = len(self.invariants.leaders)
        report.checks = self.invariants.checks
        for node in self.nodes:
            node.count()
            report.totals.update(node.totals)

    async def _bounded(self, awaitable: Any) -> None:
        """Await it, unless an invariant breaks first."""
        task = asyncio.ensure_future(awaitable)
        while not task.done():
            await asyncio.wait([task], timeout=0.05)
            if self._violation is not None:
                task.cancel()
                raise self._violation
        await task

    async def _keep_checking(self) -> None:
        while self._violation is None:
            try:
                self._look(digests=self.invariants.checks % DIGEST_EVERY_CHECKS == 0)
            except InvariantViolation as violation:
                self._violation = violation
            await asyncio.sleep(CHECK_SECONDS)

    def _look(self, *, digests: bool = True) -> None:
        self.invariants.check(digests=digests)
        for context in self.loop.errors:
            raise InvariantViolation(f"unhandled: {context}") from context.get("exception")
        for node in self.nodes:
            for problem in node.problems:
                raise InvariantViolation(problem)
        for client in self.clients:
            for unexpected in client.unexpected:
                raise InvariantViolation(f"unexpected reply: {unexpected}")

    def heal(self) -> None:
        """Undo all faults."""
        self.trace.say("all faults end")
        self.network.heal()
        for node in self.nodes:
            node.recover()

    # -- the end -----------------------------------------------------------------------------------

    def _check_history(self, report: Report) -> None:
        counts = self.history.counts()
        report.ok, report.fail, report.info = counts["ok"], counts["fail"], counts["info"]
        for key, verdict in check_history(self.history, self.model()).items():
            if verdict.kind == ILLEGAL:
                raise AssertionError(verdict.describe())
            if verdict.kind == UNKNOWN:
                report.undecided.append(show_key(key))
        stale = staleness.check(self.stale.history)
        if stale:
            raise AssertionError("read below its level:\n" + "\n".join(stale[:20]))
        for read in self.stale.history.reads:
            self.trace.record("read", read.describe())
        for operation in self.history.operations:
            self.trace.record("operation", operation.number, operation.outcome, operation.result)
        report.digest = self.trace.digest()

    def _failure(self, error: BaseException) -> SimulationFailure:
        lines = [
            f"seed {self.seed} fails: {type(error).__name__}",
            str(error),
            "",
            "the last events:",
            *(f"  {line}" for line in self.trace.recent()[-60:]),
            "",
            f"at {self.loop.now_ns / 1e9 - 1000:.4f} s; replay with",
            f"  python -m tests.simulation --seed {self.seed} --nodes {self.config.node_count} "
            f"--fault-seconds {self.config.fault_seconds:g} --verbose",
        ]
        return SimulationFailure("\n".join(lines))


class _LogToTrace(logging.Handler):
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


def _draw_network(random: Random) -> NetworkConfig:
    latency_ns = random.choice((50_000, 200_000, 2_000_000))
    return NetworkConfig(
        latency_ns=latency_ns,
        jitter_ns=latency_ns * random.choice((0, 1, 5)),
        quantum_ns=random.choice((0, 50_000, 1_000_000)),
        split_probability=random.choice((0.0, 0.05, 0.5)),
        spike_probability=random.choice((0.0, 0.001, 0.01)),
        window_bytes=random.choice((16 << 10, 64 << 10, 256 << 10)),
    )


__all__ = ["LivenessFailure", "Report", "SimulationFailure", "World", "WorldConfig"]
