"""A whole cluster and its clients in one process, as a function of a seed.

    boot -> faults under load -> all healed -> every shard serves -> replicas agree -> history is
            (safety: invariants                (liveness, within bounds)               linearizable
             at every moment)

A run that finds something raises `SimulationFailure`, whose text holds the seed, the command that
replays it and the last events.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from quorumcache.node.node import Node
from quorumcache.node.settings.config import NodeConfig
from tests.simulation import bounds
from tests.simulation.checkers import Invariants, InvariantViolation
from tests.simulation.cluster import CLIENT_PORT, PEER_PORT, SimulatedNode
from tests.simulation.cluster_times import ClusterTimes
from tests.simulation.costs import charged_pieces, draw_costs
from tests.simulation.crowd import draw_dealings, gather_clients, slow_readers
from tests.simulation.dealings_end import end_dealings
from tests.simulation.disk import DiskConfig
from tests.simulation.failure import LogToTrace, NotLinearizable, SimulationFailure
from tests.simulation.faults import (
    CLOCK_DRIFT_PPM,
    DEFAULT_WEIGHTS,
    Shape,
    draw_faults,
    draw_misfortunes,
    draw_weights,
)
from tests.simulation.history import History
from tests.simulation.judge import check_histories, fill_report
from tests.simulation.liveness import (
    LivenessFailure,
    await_convergence,
    await_prompt_answers,
    await_service,
    read_all,
)
from tests.simulation.loop import VirtualLoop
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Network
from tests.simulation.process import PROCESS
from tests.simulation.promises import Promises
from tests.simulation.report import Report, tell_story
from tests.simulation.rude_client import RudeClient
from tests.simulation.schedule import Fault, Schedule, in_order
from tests.simulation.settings import (
    draw_bounds,
    draw_network,
    draw_settings,
)
from tests.simulation.shape import ClusterShape, draw_dead, draw_shape
from tests.simulation.slow_reader import draw_slow_readers, slow_keys
from tests.simulation.slow_watch import SlowWatch
from tests.simulation.trace import Trace
from tests.simulation.transport import VirtualTransport
from tests.simulation.workload import Workload, draw_workload

CHECK_SECONDS = 0.005
DIGEST_EVERY_CHECKS = 20
MUCH_MEMORY = 64 << 20
GC_THRESHOLDS = (100_000, 50, 100)
"""Hardly any cycles come up in a run, and a run is short."""
BOOT_SECONDS = 10.0
SERVICE_SECONDS = 15.0
WITHOUT_THE_DEAD_SECONDS = 20.0
CONVERGENCE_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class WorldConfig:
    """What is drawn from the seed, and what the caller fixes.

    `node_count` and `shards` 0: drawn from the seed. With a `schedule`, its faults are executed
    instead of drawn ones.
    """

    seed: int
    fault_seconds: float = 6.0
    node_count: int = 0
    shards: int = 0
    client_count: int = 3  # plain memcached connections
    program_count: int = 2  # users of the client library
    events_max: int = 20_000_000
    weights: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    workload: dict[str, Any] = field(default_factory=dict)  # fixed instead of drawn
    schedule: Schedule | None = None
    verbose: bool = False
    elastic: bool = False
    """Nodes come and go (`elastic_world.py`)."""
    transactions: bool = False
    """Clients use transactions and locks, above all (`dealings.py`)."""

    @classmethod
    def of(cls, schedule: Schedule, *, verbose: bool = False) -> WorldConfig:
        """The run that a schedule describes."""
        return cls(
            seed=schedule.seed,
            fault_seconds=schedule.fault_seconds,
            node_count=schedule.nodes,
            shards=schedule.shards,
            client_count=schedule.clients,
            program_count=schedule.programs,
            schedule=schedule,
            verbose=verbose,
            elastic=schedule.elastic,
            transactions=schedule.transactions,
        )


class World:
    """See the module."""

    def __init__(self, config: WorldConfig) -> None:
        if config.transactions:
            config = replace(config, workload={"flushes": 0.0, **config.workload})
        self.config = config
        self.seed = config.seed
        self.loop = VirtualLoop(events_max=config.events_max)
        self.trace = Trace(self.loop, verbose=config.verbose)
        random = self.random("world")
        self.shape = self._draw_shape()
        if config.transactions and not config.shards and self.shape.shards == 1:
            self.shape = replace(self.shape, shards=2)  # With one there is nothing to agree on.
        self.node_count = self.shape.nodes
        self.bounds = bounds.draw_product_bounds(self.random("product bounds"))
        self.costs = draw_costs(self.random("costs"), self.node_count)
        self.dead = draw_dead(self.random("dead"), self.shape)
        """Who is gone for good after the faults, and how."""
        self.network = Network(
            self.loop, self.random("network"), config=draw_network(random), trace=self.trace
        )
        self.history = History()
        self.nodes = self._make_nodes(random)
        workload_config = draw_workload(random, self.nodes[0].config.item_bytes_max)
        workload_config = replace(workload_config, **config.workload)
        self.keys = Workload("final", workload_config, random).keys()
        self.dealings = draw_dealings(self, workload_config)
        """Of the clients that use transactions and locks, if the seed has any."""
        self.clients, self.stale = gather_clients(self, workload_config, random)
        self.client_names = [client.name for client in self.clients]
        """Hosts that faults may cut off."""
        self.slow_readers = slow_readers(self)
        self.prompt_worst = 0.0
        """Seconds until an answer, at most, when nothing fails and clients do not read."""
        self.keys += slow_keys(self.slow) if self.slow is not None else []
        self.clients += self.slow_readers
        self.invariants = Invariants(self.nodes, self.trace.tell)
        self.promises = Promises(self.nodes)
        self.slow_watch = SlowWatch(self.network, self.nodes)
        self.times = ClusterTimes()
        self.item_limits = {self.nodes[0].config.item_bytes_max}
        """That nodes had, now or before a restart."""
        self.network.tap = self._on_write
        self.network.on_abort = self._on_abort
        for node in self.nodes:
            node.on_recovered = self._on_recovered
        self.schedule = config.schedule or self._draw_schedule()
        self._faults_began_ns = self.loop.now_ns
        self._by_name = {node.name: node for node in self.nodes}
        self._violation: Exception | None = None

    def random(self, purpose: str) -> Random:
        """A generator of its own for each purpose, so that one does not shift another."""
        return Random(f"{self.seed}/{purpose}")

    def _draw_shape(self) -> ClusterShape:
        config = self.config
        return draw_shape(self.random("shape"), nodes=config.node_count, shards=config.shards)

    def _draw_settings(self, random: Random) -> dict[str, Any]:
        return draw_settings(random)

    def _draw_schedule(self) -> Schedule:
        config = self.config
        shape = Shape(tuple(node.name for node in self.nodes), tuple(self.client_names))
        faults = draw_faults(
            self.random("nemesis"),
            shape,
            draw_weights(config.weights, self.random("weights")),
            seconds=config.fault_seconds,
            calm_seconds=self.random("calm").choice((0.15, 0.4, 1.0)),
        )
        if config.weights == DEFAULT_WEIGHTS:
            seconds = config.fault_seconds
            more = draw_misfortunes(self.random("misfortunes"), shape, seconds=seconds)
            faults = in_order((*faults, *more))
        return self._schedule_of(faults)

    def _schedule_of(self, faults: tuple[Fault, ...]) -> Schedule:
        config = self.config
        return Schedule(
            seed=self.seed,
            nodes=self.node_count,
            shards=config.shards,
            clients=config.client_count,
            programs=config.program_count,
            fault_seconds=config.fault_seconds,
            faults=faults,
            elastic=config.elastic,
            transactions=config.transactions,
        )

    def _make_nodes(self, random: Random) -> list[SimulatedNode]:
        names = self.shape.names
        common = {
            "initial_cluster": {name: f"{name}:{PEER_PORT}" for name in names},
            "shards": self.shape.shards,
            "replication": self.shape.replication,
            **self._draw_settings(random),
        }
        if self.config.transactions:  # What they have written does not vanish.
            common["memory_bytes"] = 1 << 30
        self.slow = draw_slow_readers(
            self.random("slow readers"),
            item_bytes_max=common["item_bytes_max"],
            memory_is_limited=common["memory_bytes"] < MUCH_MEMORY,
        )
        """Clients that let their replies wait."""
        if self.slow is not None:
            common["slow_client_ms"] = self.slow.slow_client_ms
        consensus_bounds = draw_bounds(self.random("bounds"))
        drift = CLOCK_DRIFT_PPM
        disk_config = DiskConfig(step_seconds=random.choice((0.00005, 0.0003, 0.002)))
        return [
            self._make_node(
                self.loop,
                self.network,
                NodeConfig(
                    name=name,
                    listen=f"{name}:{CLIENT_PORT}",
                    peer=f"{name}:{PEER_PORT}",
                    zone=zone,
                    **common,
                ),
                self.random(name),
                clock_rate_ppm=random.randint(-drift, drift),
                disk_config=disk_config,
                consensus_bounds=consensus_bounds,
            )
            for name, zone in zip(names, self.shape.zones, strict=True)
        ]

    def _make_node(self, *args: Any, **named: Any) -> SimulatedNode:
        return SimulatedNode(*args, **named)

    @property
    def memory_is_limited(self) -> bool:
        """So that it was, or may have been, used up."""
        return any(config.memory_bytes < MUCH_MEMORY for n in self.nodes for config in n.configs)

    @property
    def may_evict(self) -> bool:
        """So that an item may have left to make room."""
        configs = [config for node in self.nodes for config in node.configs]
        return self.memory_is_limited and any(config.evicts for config in configs)

    # -- running -----------------------------------------------------------------------------------

    def run(self) -> Report:
        """Raises `SimulationFailure`."""
        report = Report(self.seed)
        begin = time.process_time()
        thresholds = gc.get_threshold()
        gc.set_threshold(*GC_THRESHOLDS)
        handler = LogToTrace(self.trace)
        logger = logging.getLogger("quorumcache")
        before = (logger.level, logger.propagate)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            with bounds.applied(self.bounds), charged_pieces(self._charge_piece):
                self.loop.run_until_complete(self._play(report))
            check_histories(self, report)
        except Exception as error:  # Also what is a bug of the simulation has a seed.
            raise self._failure(error) from error
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before[0])
            logger.propagate = before[1]
            self.loop.close()
            gc.set_threshold(*thresholds)
        report.cpu_seconds = time.process_time() - begin
        return report

    def _charge_piece(self) -> None:
        """A node has encoded or restored a piece of a snapshot. Looking at one costs nothing."""
        process = PROCESS.get()
        if process is not None and process.is_charged:
            self.loop.charge(self.costs.piece_ns)

    async def _play(self, report: Report) -> None:
        begin_ns = self.loop.now_ns
        self.loop.charge_callbacks(self.costs.of_callbacks(self.random("callbacks")))
        checking = self.loop.create_task(self._keep_checking(), name="invariants")
        for node in self.nodes:
            if node.is_due:
                node.start()
        unborn = [node.name for node in self.nodes if not node.is_due]
        await self._bounded(await_service(self, BOOT_SECONDS, without=unborn))
        self.trace.say("the cluster serves; clients and faults begin")
        for client in self.clients:
            client.start()
        nemesis = Nemesis(self, self.schedule)
        self._faults_began_ns = self.loop.now_ns
        await self._bounded(nemesis.run())
        for client in self.clients:
            if isinstance(client, RudeClient):
                await client.stop()
        await self._end_well()
        await self._bounded(asyncio.gather(*(client.stop() for client in self.clients)))
        await self._agree()
        checking.cancel()
        self._look()
        fill_report(self, nemesis, report)
        report.virtual_seconds = (self.loop.now_ns - begin_ns) / 1e9

    async def _bounded(self, awaitable: Any) -> None:
        """Await it, unless an invariant breaks first."""
        task = asyncio.ensure_future(awaitable)
        while not task.done():
            await asyncio.wait([task], timeout=0.05)
            if self._violation is not None:
                task.cancel()
                raise self._violation
        await task

    def _on_write(self, transport: VirtualTransport, data: bytes) -> None:
        """Anybody writes to a connection."""
        node = self._by_name.get(transport.local_host)
        if node is None or transport.process is not node.process:
            return
        try:
            self.promises.on_write(transport, data)
        except Exception as error:
            # Not raised here: the node would take it for a broken connection.
            self._fail(error)
        node.on_write()

    def _on_abort(self, transport: VirtualTransport) -> None:
        try:
            self.slow_watch.on_abort(transport)
        except Exception as error:
            self._fail(error)

    def _on_recovered(self, simulated: SimulatedNode, node: Node) -> None:
        try:
            self.promises.check_recovered(simulated, node)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """The run ends with the first of these. An error of a check itself is one as well."""
        violation = error
        if not isinstance(error, InvariantViolation):
            name = type(error).__name__
            violation = InvariantViolation(
                f"a check of the simulation failed: {error!r}", rule=f"{name} in a check"
            )
            violation.__cause__ = error
        self._violation = self._violation or violation

    async def _keep_checking(self) -> None:
        while self._violation is None:
            try:
                self._look(digests=self.invariants.checks % DIGEST_EVERY_CHECKS == 0)
            except Exception as error:
                self._fail(error)
            await asyncio.sleep(CHECK_SECONDS)

    def _look(self, *, digests: bool = True) -> None:
        self.invariants.check(digests=digests)
        self.slow_watch.look()
        self.times.look(self.loop.now_ns, self.nodes)
        if self.times.problem:
            raise InvariantViolation(self.times.problem, rule="the cluster's time is wrong")
        for context in self.loop.errors:
            error = context.get("exception")
            rule = f"unhandled {type(error).__name__}"
            raise InvariantViolation(f"unhandled: {context}", rule=rule) from error
        for node in self.nodes:
            for problem in node.problems:
                raise InvariantViolation(problem, rule="a node ended")
        for client in self.clients:
            for unexpected in client.unexpected:
                raise InvariantViolation(f"unexpected reply: {unexpected}", rule="unexpected reply")

    async def _end_well(self) -> None:
        """Without faults: every shard serves, and answers are prompt."""
        if self.dead:
            await self._bounded(self._serve_without_the_dead())
        self.heal()
        await self._bounded(await_service(self, SERVICE_SECONDS))
        self.trace.say("every shard serves again")
        if self.slow_readers:
            await self._bounded(await_prompt_answers(self))

    async def _agree(self) -> None:
        """Nobody writes any more: every node tells the same, and replicas become equal."""
        await self._bounded(end_dealings(self))
        await self._bounded(read_all(self, self.keys))
        await self._bounded(await_convergence(self, CONVERGENCE_SECONDS))

    def own_totals(self) -> dict[str, int]:
        """What other worlds count besides."""
        return {}

    def heal(self) -> None:
        """Undo all faults."""
        self.trace.say("all faults end")
        self.network.heal()
        for node in self.nodes:
            node.recover()

    async def _serve_without_the_dead(self) -> None:
        """Every key can be read and written through every node that is there."""
        self.trace.say("all other faults end")
        self.network.heal()
        gone = [name for name, _ in self.dead]
        for name, how in self.dead:
            self.trace.tell(f"{name} is {how} for good")
            self._by_name[name].leave_for_good(how)
            if how == "cut off":
                others = [node.name for node in self.nodes if node.name not in gone]
                self.network.partition([name], [*others, *self.client_names], fault="lose")
        for node in self.nodes:
            if node.name not in gone:
                node.recover()
        await await_service(self, WITHOUT_THE_DEAD_SECONDS, without=gone)
        await read_all(self, self.keys, without=gone, is_written=True)
        self.trace.say("every shard is served without them")

    # -- the end -----------------------------------------------------------------------------------

    def _failure(self, error: BaseException) -> SimulationFailure:
        rule = getattr(error, "rule", "") or str(error).partition("\n")[0]
        kind = f"{type(error).__name__}: {re.sub(r'[0-9]+', 'N', rule)[:80]}"
        key = error.key if isinstance(error, NotLinearizable) else None
        text = "\n".join(
            [
                f"seed {self.seed} fails: {type(error).__name__}",
                str(error),
                "",
                "the last events:",
                *(f"  {line}" for line in self.trace.recent()[-60:]),
                "",
                f"at {self.loop.now_ns / 1e9 - 1000:.4f} s; replay with",
                f"  {self.command()} --verbose",
            ]
        )
        return SimulationFailure(
            text,
            kind=kind,
            schedule=self.schedule,
            failed_ms=(self.loop.now_ns - self._faults_began_ns) // 1_000_000 + 1,
            story=tell_story(self.trace.timeline, self.history, key, self.loop.now_ns),
        )

    def command(self) -> str:
        """Runs this seed again."""
        config = self.config
        words = [f"python -m tests.simulation --seed {self.seed}"]
        if config.elastic:
            words.append("--elastic")
        if config.transactions:
            words.append("--transactions")
        if config.node_count:
            words.append(f"--nodes {config.node_count}")
        if config.shards:
            words.append(f"--shards {config.shards}")
        words.append(f"--fault-seconds {config.fault_seconds:g}")
        return " ".join(words)


__all__ = ["LivenessFailure", "Report", "SimulationFailure", "World", "WorldConfig"]
