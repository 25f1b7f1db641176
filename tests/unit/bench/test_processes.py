"""Children: they start, they end, and they are not left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from quorumcache.bench import processes, procfs
from quorumcache.bench.cluster import LocalMemcached, memcached_path
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.text_client import TextClient

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(600)"
)


def test_a_child_that_ignores_sigterm_is_killed():
    child = processes.start([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    processes.stop(child, 0.1)
    assert child.returncode == -signal.SIGKILL


def test_a_child_runs_where_it_is_told():
    cpu = max(os.sched_getaffinity(0))
    child = processes.start([sys.executable, "-c", STUBBORN], cpus=(cpu,), stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        assert os.sched_getaffinity(child.pid) == {cpu}
        assert procfs.rss_bytes(child.pid) > 1 << 20
        assert procfs.cpu_seconds(child.pid) >= 0
    finally:
        processes.stop(child, 0.1)


@pytest.mark.parametrize("takes_turns", [False, True])
def test_nodes_take_turns_as_those_of_a_cluster_on_one_machine_do(takes_turns):
    child = processes.start(
        [sys.executable, "-c", STUBBORN], takes_turns=takes_turns, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"ready\n"
        own = os.sched_getscheduler(0)
        changes = takes_turns and own == os.SCHED_OTHER
        assert os.sched_getscheduler(child.pid) == (os.SCHED_BATCH if changes else own)
    finally:
        processes.stop(child, 0.1)


def test_children_die_with_their_parent():
    """The parent is killed outright and can clean up nothing."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from quorumcache.bench import processes;"
            f"c = processes.start([sys.executable, '-c', {STUBBORN!r}]);"
            "print(c.pid, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        env=processes.repository_environment(),
    )
    pid = int(parent.stdout.readline())
    child = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    # A pidfd becomes readable when its process has ended: no polling, no reuse of the number.
    ended = select.select([child], [], [], 20)[0]
    if not ended:
        signal.pidfd_send_signal(child, signal.SIGKILL)
    os.close(child)
    assert ended


def test_what_does_not_exist_cannot_start():
    with pytest.raises(StartError, match="cannot start /nonexistent"):
        processes.start(["/nonexistent"])


def test_a_process_that_is_gone_is_named():
    with pytest.raises(TargetError, match="999999999 does not exist"):
        procfs.rss_bytes(999999999)
    assert procfs.total_cpu_seconds([999999999]) == 0.0


def test_the_machine_counts_its_time():
    assert procfs.machine_busy_seconds() > 0


@pytest.mark.skipif(memcached_path() is None, reason="memcached is not installed")
def test_memcached_is_started_and_stopped():
    with LocalMemcached() as server:
        (pid,) = server.pids
        with TextClient(server.addresses[0]) as client:
            assert client.set(b"k", b"v") == b"STORED"
            assert client.get(b"k") == (b"v", b"")
    with pytest.raises(TargetError):
        procfs.rss_bytes(pid)


def test_without_memcached_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr("quorumcache.bench.cluster.memcached_path", lambda: None)
    with pytest.raises(StartError, match="apt-get install memcached"), LocalMemcached():
        pass
