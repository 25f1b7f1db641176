"""Load processes: shares of the work, merged results, and what goes wrong with them."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from quorumcache.bench.connection import LoadStats
from quorumcache.bench.driver import LoadPlan, Measured, _gather, run_load, split_jobs
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.loadgen import LoadResult, Routes
from quorumcache.bench.worker import result_message
from quorumcache.bench.workload import Workload
from tests.support.tiny_memcached import TinyMemcached


def test_processes_share_connections_and_rate():
    workload = Workload(get=1, connections=50, rate=1000.0)
    jobs = split_jobs(LoadPlan(workload=workload, routes=Routes((("h", 1),)), processes=3))
    assert [job.connections for job in jobs] == [17, 17, 16]
    assert sum(job.rate for job in jobs) == pytest.approx(1000)
    assert [job.process for job in jobs] == [0, 1, 2]


def test_there_are_never_more_processes_than_connections():
    workload = Workload(get=1, connections=2)
    assert len(split_jobs(LoadPlan(workload=workload, routes=Routes(()), processes=8))) == 2


def test_results_add_up():
    measured = Measured()
    for _ in range(2):
        stats = LoadStats()
        stats.read.record(1000, 3)
        stats.error("ERROR", 2)
        measured.add(result_message(LoadResult(stats, 2.0, 3, [1, 2])))
    assert measured.completed == 6
    assert measured.ops_per_second == 3.0
    assert measured.timeline == [2, 4]
    assert measured.read.count == 6
    assert measured.error_kinds == {"ERROR": 4}


def test_a_whole_run_in_two_processes():
    workload = Workload(get=0.5, set=0.5, keys=50, connections=4, depth=2)
    seen, begun = [], []
    with TinyMemcached() as server:
        plan = LoadPlan(
            workload=workload,
            routes=Routes((server.address,)),
            processes=2,
            warmup_seconds=0.05,
            seconds=0.3,
            step_seconds=0.05,
        )
        measured = run_load(
            plan,
            (),
            lambda phase, done, errors: seen.append(phase),
            when_begun=lambda began_ns: begun.append((began_ns, time.monotonic_ns())),
        )
        assert len(server.items) == 50
    assert measured.read.count > 0
    assert measured.write.count > 0
    assert measured.errors == measured.misses == measured.unanswered == 0
    assert {"fill", "run"} <= set(seen)
    ((began_ns, told_ns),) = begun
    assert began_ns == measured.began_ns > told_ns, "told before the measured time begins"
    assert sum(measured.timeline) == measured.completed
    assert threading.active_count() == 1


def test_a_load_that_cannot_connect_says_so():
    plan = LoadPlan(workload=Workload(get=1, keys=1), routes=Routes((("127.0.0.1", 1),)))
    with pytest.raises(TargetError, match="cannot connect"):
        run_load(plan)


def test_a_process_may_end_while_others_are_at_work():
    inbox = queue.Queue()
    done = {"phase": "done"}
    for item in ((1, done), (1, None), (0, done)):
        inbox.put(item)
    assert _gather(inbox, 2, "done", 1.0, lambda phase, count, errors: None) == [done, done]


def test_a_process_that_ends_too_early_is_named():
    inbox = queue.Queue()
    inbox.put((1, None))
    with pytest.raises(StartError, match="load process 1 ended before 'done'"):
        _gather(inbox, 2, "done", 1.0, lambda phase, count, errors: None)
