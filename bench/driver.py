"""Runs the load processes of one measurement and merges what they saw."""

from __future__ import annotations

import json
import math
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from quorumcache.bench import processes, procfs
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.loadgen import FILL_SECONDS, Job, Routes
from quorumcache.bench.workload import Workload

CONNECT_SECONDS = 60.0
_START_DELAY_NS = 100_000_000  # so that all processes have read `go` when the run starts
_GRACE_SECONDS = 15.0


@dataclass(slots=True)
class Measured:
    """One load, merged over its processes. `began_ns`: when the measured time began, by the
    monotonic clock.

    `server_cpu`, `load_cpu`, `other_cpu` (everybody else on the machine): percent of one
    processor; nan = unknown.
    """

    began_ns: int = 0
    seconds: float = 0.0
    completed: int = 0
    errors: int = 0
    misses: int = 0
    lost_connections: int = 0
    unsent: int = 0
    unanswered: int = 0
    error_kinds: dict[str, int] = field(default_factory=dict)
    timeline: list[int] = field(default_factory=list)
    read: Histogram = field(default_factory=Histogram)
    write: Histogram = field(default_factory=Histogram)
    send_lag: Histogram = field(default_factory=Histogram)
    server_cpu: float = math.nan
    load_cpu: float = math.nan
    other_cpu: float = math.nan

    @property
    def ops_per_second(self) -> float:
        """Throughput over all processes."""
        return self.completed / self.seconds if self.seconds else 0.0

    def add(self, message: dict[str, Any]) -> None:
        """Merge the result of one process."""
        self.seconds = max(self.seconds, message["seconds"])
        for name in ("completed", "errors", "misses", "lost_connections", "unsent", "unanswered"):
            setattr(self, name, getattr(self, name) + message[name])
        for text, times in message["error_kinds"].items():
            self.error_kinds[text] = self.error_kinds.get(text, 0) + times
        for step, count in enumerate(message["timeline"]):
            if step < len(self.timeline):
                self.timeline[step] += count
            else:
                self.timeline.append(count)
        for name in ("read", "write", "send_lag"):
            getattr(self, name).merge(Histogram.from_dict(message[name]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How to load. `seed` decides keys, order and arrivals. `cpus`: of the load processes.
    `step_seconds`: of the timeline.
    """

    workload: Workload
    routes: Routes
    seed: int = 1
    processes: int = 1
    warmup_seconds: float = 1.0
    seconds: float = 5.0
    step_seconds: float = 1.0
    cpus: tuple[int, ...] = ()


def split_jobs(plan: LoadPlan) -> list[Job]:
    """One job per process; together they have all connections and the whole rate."""
    count = min(plan.processes, plan.workload.connections)
    base, extra = divmod(plan.workload.connections, count)
    jobs = []
    for number in range(count):
        connections = base + (number < extra)
        jobs.append(
            Job(
                workload=plan.workload,
                routes=plan.routes,
                seed=plan.seed,
                process=number,
                processes=count,
                connections=connections,
                rate=plan.workload.rate * connections / plan.workload.connections,
                warmup_seconds=plan.warmup_seconds,
                seconds=plan.seconds,
                step_seconds=plan.step_seconds,
                cpus=plan.cpus,
            )
        )
    return jobs


class _LoadProcess:
    """A worker and the thread that reads its lines."""

    def __init__(self, job: Job, inbox: queue.Queue[tuple[int, dict[str, Any] | None]]) -> None:
        self._process = processes.start(
            [sys.executable, "-P", "-m", "quorumcache.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            environment=processes.repository_environment(),
        )
        self.pid = self._process.pid
        self.tell(json.dumps(job.to_dict()))
        self._reader = threading.Thread(target=self._read, args=(job.process, inbox), daemon=True)
        self._reader.start()

    def _read(self, number: int, inbox: queue.Queue[tuple[int, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            inbox.put((number, json.loads(line)))
        inbox.put((number, None))

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # its last words are in the inbox

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(processes.KILL_SECONDS)
        self._reader.join(processes.KILL_SECONDS)
        processes.stop(self._process)


class _CpuMeter:
    """Processor time of servers, load and everybody else since it was made."""

    def __init__(self, server_pids: Sequence[int], load_pids: Sequence[int]) -> None:
        self._pids = (server_pids, load_pids)
        self._began = time.monotonic()
        self._before = self._read()

    def _read(self) -> tuple[float, float, float]:
        servers, load = (procfs.total_cpu_seconds(pids) for pids in self._pids)
        return servers, load, procfs.machine_busy_seconds()

    def update(self, measured: Measured) -> None:
        elapsed = time.monotonic() - self._began
        if elapsed < 0.2:  # the kernel counts in steps of 10 ms
            return
        servers, load, machine = (
            100 * (now - before) / elapsed
            for now, before in zip(self._read(), self._before, strict=True)
        )
        measured.load_cpu = load
        if self._pids[0]:
            measured.server_cpu = servers
            measured.other_cpu = max(0.0, machine - servers - load)


def run_load(
    plan: LoadPlan,
    server_pids: Sequence[int] = (),
    on_progress: Callable[[str, int, int], None] = lambda phase, completed, errors: None,
    before_run: Callable[[], None] = lambda: None,
    when_begun: Callable[[int], None] = lambda began_ns: None,
) -> Measured:
    """Fill, connect, run. TargetError or StartError when the load could not be made.

    `on_progress(phase, completed, errors)` with phase `fill` or `run`, sums over all processes.
    `before_run` is called between the fill and the run, `when_begun` with `Measured.began_ns` at
    the beginning of the warm-up.
    """
    jobs = split_jobs(plan)
    inbox: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    with ExitStack() as stack:
        workers = []
        for job in jobs:
            worker = _LoadProcess(job, inbox)
            stack.callback(worker.close)
            workers.append(worker)
        _gather(inbox, len(jobs), "filled", FILL_SECONDS + CONNECT_SECONDS, on_progress)
        before_run()
        for worker in workers:
            worker.tell("connect")
        _gather(inbox, len(jobs), "ready", CONNECT_SECONDS, on_progress)
        pids = [worker.pid for worker in workers]
        measured = Measured()
        start_ns = time.monotonic_ns() + _START_DELAY_NS
        for worker in workers:
            worker.tell(f"go {start_ns}")
        measured.began_ns = start_ns + int(plan.warmup_seconds * 1e9)
        when_begun(measured.began_ns)
        time.sleep((start_ns - time.monotonic_ns()) / 1e9 + plan.warmup_seconds)
        meter = _CpuMeter(server_pids, pids)

        def progress(phase: str, completed: int, errors: int) -> None:
            # The processor time is taken with the last line of progress: what comes after is
            # draining and adding up.
            meter.update(measured)
            on_progress(phase, completed, errors)

        limit = plan.seconds + jobs[0].drain_seconds + _GRACE_SECONDS
        for message in _gather(inbox, len(jobs), "done", limit, progress):
            measured.add(message)
        return measured


def _gather(
    inbox: queue.Queue[tuple[int, dict[str, Any] | None]],
    count: int,
    phase: str,
    seconds: float,
    on_progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """Wait until every process has said `phase`; their messages, in order of process."""
    deadline = time.monotonic() + seconds
    found: dict[int, dict[str, Any]] = {}
    latest: dict[int, tuple[int, int]] = {}
    while len(found) < count:
        try:
            number, message = inbox.get(timeout=max(0.01, deadline - time.monotonic()))
        except queue.Empty:
            raise StartError(
                f"load processes did not reach {phase!r} within {seconds:g} s"
            ) from None
        if message is None:
            if number in found:
                continue  # It has said what it had to; others are still at work.
            raise StartError(f"load process {number} ended before {phase!r}")
        if message["phase"] == "failed":
            raise TargetError(message["why"])
        if message["phase"] == phase:
            found[number] = message
        elif "completed" in message:
            latest[number] = (message["completed"], message["errors"])
            on_progress(
                message["phase"],
                sum(one[0] for one in latest.values()),
                sum(one[1] for one in latest.values()),
            )
    return [found[number] for number in sorted(found)]
