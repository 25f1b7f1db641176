"""A load process, spoken to over its pipes as `driver.py` does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any, Self

from quorumcache.bench import processes
from quorumcache.bench.connection import LoadStats
from quorumcache.bench.driver import Measured
from quorumcache.bench.loadgen import Job, LoadResult, Routes
from quorumcache.bench.worker import result_message
from quorumcache.bench.workload import Workload
from tests.support.tiny_memcached import TinyMemcached

LONG = 60.0


class Worker:
    """`with Worker() as worker`: a load process; it is gone at the end."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "quorumcache.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=processes.repository_environment(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(LONG)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def until(self, phase: str) -> dict[str, Any]:
        """The next message of this phase; lines of progress are passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["phase"] == phase:
                return message
            assert message["phase"] in ("fill", "run"), message
        raise AssertionError(f"it ended before {phase}")

    def status(self) -> int:
        """Of the process, once its input has ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(LONG)


def job(address: tuple[str, int], **changes: Any) -> Job:
    workload = Workload(get=0.5, set=0.5, keys=20, connections=2).with_changes(**changes)
    return Job(
        workload=workload,
        routes=Routes((address,)),
        connections=2,
        warmup_seconds=0.0,
        seconds=0.1,
    )


def test_a_whole_conversation() -> None:
    with TinyMemcached() as server, Worker() as worker:
        worker.tell(json.dumps(job(server.address).to_dict()))
        assert worker.until("filled")["keys"] == len(server.items) == 20
        worker.tell("connect")
        worker.until("ready")
        worker.tell(f"go {time.monotonic_ns()}")
        done = worker.until("done")
        assert done["completed"] > 0
        assert done["errors"] == done["misses"] == done["unanswered"] == 0
        assert worker.status() == 0


def test_a_cluster_that_is_full_already_is_not_filled() -> None:
    with TinyMemcached() as server, Worker() as worker:
        worker.tell(json.dumps(job(server.address, fill=False).to_dict()))
        assert worker.until("filled")["keys"] == 0
        assert not server.items
        assert worker.status() == 0, "its parent is gone, so it ends"


def test_nobody_to_load_is_told_to_the_parent() -> None:
    with Worker() as worker:
        worker.tell(json.dumps(job(("127.0.0.1", 1)).to_dict()))
        assert "cannot connect" in worker.until("failed")["why"]
        assert worker.status() == 1


def test_another_word_than_the_expected_one_is_named() -> None:
    with TinyMemcached() as server, Worker() as worker:
        worker.tell(json.dumps(job(server.address).to_dict()))
        worker.until("filled")
        worker.tell("go 1")
        assert worker.until("failed")["why"] == "load process: connect expected, not 'go'"
        assert worker.status() == 1


def test_without_a_job_it_ends() -> None:
    with Worker() as worker:
        assert worker.status() == 0


def test_nothing_of_a_result_is_lost_on_the_way() -> None:
    stats = LoadStats()
    stats.read.record(1000, 3)
    stats.write.record(2000, 2)
    stats.send_lag.record(3000, 1)
    stats.error("ERROR", 2)
    stats.misses, stats.lost_connections, stats.unsent, stats.unanswered = 5, 6, 7, 8
    measured = Measured()
    measured.add(json.loads(json.dumps(result_message(LoadResult(stats, 2.0, 9, [4, 5])))))
    assert (measured.seconds, measured.completed, measured.timeline) == (2.0, 9, [4, 5])
    assert (measured.errors, measured.error_kinds) == (2, {"ERROR": 2})
    assert (measured.misses, measured.lost_connections) == (5, 6)
    assert (measured.unsent, measured.unanswered) == (7, 8)
    counts = [part.count for part in (measured.read, measured.write, measured.send_lag)]
    assert counts == [3, 2, 1]
