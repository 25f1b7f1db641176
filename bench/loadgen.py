"""The load of one process: connects, fills, runs, counts.

Where requests go is decided beforehand by `Routes`. In routed mode a connection asks only for keys
of the node it is connected to, as a client does that knows the cluster map; in any-node mode it
asks for all keys and the node forwards. Connections are spread evenly over the nodes.

An open loop has one pacer for all connections of the process, on a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, NamedTuple, Self

from quorumcache.bench.addresses import Address, shown, unix_path
from quorumcache.bench.connection import UNLIMITED, UNLIMITED_OPEN, LoadConnection, LoadStats
from quorumcache.bench.errors import TargetError
from quorumcache.bench.timer import FineTimer
from quorumcache.bench.workload import (
    Encoder,
    Tape,
    Workload,
    arrival_gaps_ns,
    build_tape,
    fill_kinds,
    key_of,
)
from quorumcache.ring import shard_of

CONNECT_SECONDS = 10.0
FILL_SECONDS = 300.0
FILL_CHUNK_KEYS = 20_000
FILL_DEPTH = 32
FILL_CONNECTIONS = 8
RECONNECT_SECONDS = 0.1


class Routes(NamedTuple):
    """Which node is asked for which key.

    `addresses`: of each node. `owners`: for each shard an index into `addresses`; ()
    = any node takes any key.
    """

    addresses: tuple[Address, ...]
    owners: tuple[int, ...] = ()

    def node_of(self, key: bytes) -> int:
        """Index of the node that is asked for `key`. Only with `owners`."""
        return self.owners[shard_of(key, len(self.owners))]

    def used_nodes(self) -> list[int]:
        """Indexes of the nodes that get requests, ascending."""
        return sorted(set(self.owners)) if self.owners else list(range(len(self.addresses)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one load process does. Its share of connections and rate is already taken out.

    `process`, `processes`: which of how many. `connections`, `rate`: of this process alone.
    `drain_seconds`: how long replies are waited for after the end. `step_seconds`: of the timeline.
    """

    workload: Workload
    routes: Routes
    seed: int = 1
    process: int = 0
    processes: int = 1
    connections: int = 50
    rate: float = 0.0
    warmup_seconds: float = 1.0
    seconds: float = 5.0
    drain_seconds: float = 5.0
    step_seconds: float = 1.0
    cpus: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["workload"] = self.workload.to_dict()
        values["routes"] = self.routes._asdict()
        return values

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        routes = data["routes"]
        return cls(
            **{
                **data,
                "workload": Workload.from_dict(data["workload"]),
                "routes": Routes(
                    tuple((host, port) for host, port in routes["addresses"]),
                    tuple(routes["owners"]),
                ),
                "cpus": tuple(data["cpus"]),
            }
        )


@dataclass(slots=True)
class LoadResult:
    """What one load process saw.

    `completed` within `seconds`; `timeline`: completions in each step of the job. `stats` also
    holds what was answered after the end.
    """

    stats: LoadStats
    seconds: float = 0.0
    completed: int = 0
    timeline: list[int] = field(default_factory=list)


def keys_by_node(workload: Workload, routes: Routes, kind: int) -> dict[int, Sequence[int]]:
    """Key numbers that each node is asked for, ascending."""
    everything = range(workload.keys)
    if not routes.owners:
        return dict.fromkeys(routes.used_nodes(), everything)
    chosen: dict[int, list[int]] = {node: [] for node in routes.used_nodes()}
    for index in everything:
        chosen[routes.node_of(key_of(kind, index))].append(index)
    return {node: keys for node, keys in chosen.items() if keys}


class LoadGenerator:
    """One load process's work. `clock_ns` is the clock that `run`'s start time is told in."""

    def __init__(
        self,
        job: Job,
        loop: asyncio.AbstractEventLoop,
        clock_ns: Callable[[], int],
        on_progress: Callable[[str, int, int], None] = lambda phase, done, errors: None,
    ) -> None:
        self.job = job
        self.stats = LoadStats()
        self._loop = loop
        self._clock_ns = clock_ns
        self._on_progress = on_progress
        self._connections: list[LoadConnection] = []
        self._tapes: dict[int, Tape] = {}
        self._pending: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Event = asyncio.Event()
        self._running = False

    # --- before the run

    async def fill(self) -> int:
        """Write this process's part of the keys. Returns how many; TargetError when any failed."""
        job, encoder, filled = self.job, Encoder(self.job.workload, self.job.seed), 0
        stats = LoadStats()
        for kind in fill_kinds(job.workload):
            # Every node of any-node mode takes its slice of one list; routed nodes have their own.
            nodes = keys_by_node(job.workload, job.routes, kind)
            for position, (node, keys) in enumerate(nodes.items()):
                mine = keys[job.process :: job.processes]
                if not job.routes.owners:
                    mine = mine[position :: len(nodes)]
                for first in range(0, len(mine), FILL_CHUNK_KEYS):
                    chunk = mine[first : first + FILL_CHUNK_KEYS]
                    pairs = [encoder.fill_pair(kind, index) for index in chunk]
                    tape = Tape([p[0] for p in pairs], [p[1] for p in pairs], b"\1" * len(pairs))
                    await self._write_all(tape, node, stats)
                    filled += len(chunk)
                    self._on_progress("fill", filled, stats.errors)
        return filled

    async def _write_all(self, tape: Tape, node: int, stats: LoadStats) -> None:
        count = min(FILL_CONNECTIONS, len(tape.requests))
        step = -(-len(tape.requests) // count)
        finished: list[asyncio.Future[None]] = []
        connections: list[LoadConnection] = []
        try:
            for start in range(0, len(tape.requests), step):
                done: asyncio.Future[None] = self._loop.create_future()

                def end(_: LoadConnection, done: asyncio.Future[None] = done) -> None:
                    if not done.done():
                        done.set_result(None)

                connection = LoadConnection(
                    tape,
                    stats,
                    self._clock_ns,
                    depth=FILL_DEPTH,
                    start=start,
                    limit=min(step, len(tape.requests) - start),
                    node=node,
                    on_idle=end,
                    on_lost=end,
                )
                await self._connect(connection)
                connections.append(connection)
                finished.append(done)
            for connection in connections:
                connection.begin()
            async with asyncio.timeout(FILL_SECONDS):
                await asyncio.gather(*finished)
        except TimeoutError:
            raise TargetError(f"writing the keys took more than {FILL_SECONDS:g} s") from None
        finally:
            for connection in connections:
                connection.close()
        if stats.errors:
            raise TargetError(
                f"{stats.errors} errors while the keys were written:"
                f" {next(iter(stats.error_kinds))}"
            )

    async def connect(self) -> None:
        """Build the tapes and open all connections. TargetError when a node cannot be reached."""
        job = self.job
        spaces = {
            kind: keys_by_node(job.workload, job.routes, kind)
            for kind, share in enumerate(job.workload.shares())
            if share
        }
        nodes = [
            node
            for node in job.routes.used_nodes()
            if any(keys.get(node) for keys in spaces.values())
        ]
        for number in range(job.connections):
            # Processes take turns at the nodes, so that few connections still reach all of them.
            node = nodes[(number * job.processes + job.process) % len(nodes)]
            if node not in self._tapes:
                keys = {kind: by_node.get(node, ()) for kind, by_node in spaces.items()}
                stream = f"{job.process}/{node}"
                self._tapes[node] = build_tape(job.workload, job.seed, stream, keys)
            self._connections.append(self._new_connection(node, number))
        for connection in self._connections:
            await self._connect(connection)

    def _new_connection(self, node: int, number: int) -> LoadConnection:
        tape = self._tapes[node]
        return LoadConnection(
            tape,
            self.stats,
            self._clock_ns,
            depth=self.job.workload.depth,
            # Connections share a tape, far apart on it.
            start=number * len(tape.requests) // self.job.connections,
            limit=UNLIMITED_OPEN if self.job.rate else UNLIMITED,
            node=node,
            on_idle=self._on_idle,
            on_lost=lambda connection: self._on_lost(connection, number),
        )

    async def _connect(self, connection: LoadConnection) -> None:
        address = self.job.routes.addresses[connection.node]
        path = unix_path(address)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if path:
                    await self._loop.create_unix_connection(lambda: connection, path)
                else:
                    await self._loop.create_connection(lambda: connection, *address)
        except TimeoutError:
            raise TargetError(
                f"{shown(address)} did not accept a connection in {CONNECT_SECONDS:g} s"
            ) from None
        except OSError as error:
            raise TargetError(f"cannot connect to {shown(address)}: {error}") from None

    # --- the run

    async def run(self, start_ns: int) -> LoadResult:
        """Load from `start_ns` (of `clock_ns`) on. Always ends in time: warm-up, run, drain."""
        job = self.job
        await self._sleep_until(start_ns)
        self._running = True
        measure_ns = start_ns + int(job.warmup_seconds * 1e9)
        end_ns = measure_ns + int(job.seconds * 1e9)
        end_pacer: Callable[[], None] | None = None
        if job.rate:
            end_pacer = self._start_pacer(start_ns, end_ns)
        else:
            for connection in list(self._connections):
                connection.begin()
        await self._sleep_until(measure_ns)
        self.stats.reset()
        began_ns = self._clock_ns()
        timeline: list[int] = []
        seen = 0
        step_ns = int(job.step_seconds * 1e9)
        for step in count(1):
            await self._sleep_until(min(measure_ns + step * step_ns, end_ns))
            timeline.append(self.stats.completed - seen)
            seen = self.stats.completed
            self._on_progress("run", seen, self.stats.errors)
            if self._clock_ns() >= end_ns:
                break
        result = LoadResult(self.stats, (self._clock_ns() - began_ns) / 1e9, seen, timeline)
        self._running = False
        if end_pacer is not None:
            # Requests that were due while this process was held up count like all others.
            end_pacer()
        await self._drain()
        return result

    async def _sleep_until(self, when_ns: int) -> None:
        # A timer of the loop may fire early by a fraction of its millisecond; hence the loop.
        while (left := when_ns - self._clock_ns()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left / 1e9)

    async def _drain(self) -> None:
        for task in self._pending:
            task.cancel()
        for connection in list(self._connections):
            connection.finish()
        try:
            async with asyncio.timeout(self.job.drain_seconds):
                while any(not c.closed and (c.in_flight or c.waiting) for c in self._connections):
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        for connection in self._connections:
            if not connection.closed:
                connection.close()

    def _on_idle(self, connection: LoadConnection) -> None:
        self._idle.set()

    def _on_lost(self, connection: LoadConnection, number: int) -> None:
        self._idle.set()
        if self._running:
            task = self._loop.create_task(self._reconnect(connection, number))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _reconnect(self, lost: LoadConnection, number: int) -> None:
        while self._running:
            await asyncio.sleep(RECONNECT_SECONDS)
            connection = self._new_connection(lost.node, number)
            try:
                await self._connect(connection)
            except TargetError as error:
                self.stats.error(str(error))
                continue
            self._connections[number] = connection
            if not self.job.rate:
                connection.begin()
            return

    def _start_pacer(self, start_ns: int, end_ns: int) -> Callable[[], None]:
        """Begin to offer requests at their times. The result ends it and offers all still due."""
        job, loop, clock = self.job, self._loop, self._clock_ns
        gaps = arrival_gaps_ns(job.workload, job.rate, Random(f"{job.seed}/arrivals/{job.process}"))
        turn, due_ns = 0, start_ns + next(gaps)

        def offer_due() -> None:
            nonlocal turn, due_ns
            now = clock()
            connections = self._connections
            while due_ns <= now and due_ns < end_ns:
                # A lost connection's turns go to the next one: the offered rate stays the same.
                for _ in range(len(connections)):
                    connection = connections[turn % len(connections)]
                    turn += 1
                    if not connection.closed:
                        connection.offer(due_ns)
                        break
                else:
                    self.stats.unsent += 1
                due_ns += next(gaps)

        def step() -> None:
            offer_due()
            if due_ns < end_ns:
                timer.arm(due_ns - clock())

        timer = FineTimer(loop, step)
        step()

        def finish() -> None:
            timer.close()
            offer_due()

        return finish
