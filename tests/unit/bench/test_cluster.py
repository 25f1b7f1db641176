"""What is measured: it is up when measuring begins, and nothing is left of it afterwards."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import cluster
from quorumcache.bench.cluster import (
    ClusterOptions,
    LocalCluster,
    LocalMemcached,
    LocalNode,
    RunningCluster,
    wait_for,
)
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.text_client import TextClient
from tests.support.tiny_memcached import TinyMemcached

SLEEPS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- a local cluster ---------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "durability"), [(1, "memory"), (2, "fsync")])
def test_a_local_cluster_is_led_when_it_is_handed_out_and_gone_afterwards(
    tmp_path: Path, nodes: int, durability: str
) -> None:
    options = ClusterOptions(
        nodes=nodes, shards=2, replication=2, durability=durability, data_root=str(tmp_path)
    )
    local = LocalCluster(options)
    with local as found:
        pids = found.pids
        assert len(set(pids)) == len(set(found.addresses)) == nodes
        topology = found.topology()
        assert topology is not None
        assert 0 not in topology.leaders
        assert [len(replicas) for replicas in topology.map.replica_sets] == [nodes] * 2
        with TextClient(found.addresses[-1]) as client:
            assert client.set(b"k", b"v") == b"STORED"
            assert client.get(b"k") == (b"v", b"")
        (directory,) = tmp_path.iterdir()
        assert (directory / "a").is_dir() == (durability == "fsync")
    assert not any(map(is_alive, pids))
    assert local.pids == []
    assert not list(tmp_path.iterdir())


def test_a_node_that_does_not_start_shows_what_it_said(tmp_path: Path) -> None:
    """And the others, which wait for it, are not left running."""
    options = ClusterOptions(
        nodes=1, shards=1, data_root=str(tmp_path), node_flags=("--no-such-flag",)
    )
    local = LocalCluster(options)
    with pytest.raises(StartError, match=r"node a ended with status 2:\n.*no-such-flag"), local:
        raise AssertionError("it cannot have started")
    assert local.pids == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"nodes": 0}, "--nodes 0 is not in 1..26"),
        ({"nodes": 27}, "--nodes 27 is not in 1..26"),
        ({"nodes": 3, "durability": "memory"}, "on one node only, not 3: add --nodes 1"),
    ],
)
def test_what_cannot_be_started_is_said_before_anything_is(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(StartError, match=why):
        LocalCluster(ClusterOptions(**settings))


def test_people_read_what_was_measured() -> None:
    options = ClusterOptions(nodes=2, shards=8, replication=3, node_flags=("--tick-ms", "5"))
    assert options.describe() == "2 local node(s), 8 shards, 2 replica(s), fsync, --tick-ms 5"


# -- one node ----------------------------------------------------------------------------------


def test_a_node_that_was_killed_is_not_counted_and_can_start_again(tmp_path: Path) -> None:
    node = LocalNode("a", SLEEPS, tmp_path / "a.log", 1)
    assert node.pid == 0
    node.terminate()
    node.stop()
    node.check_alive()  # What was not started has not ended by itself.
    node.start(())
    first = node.pid
    assert is_alive(first)
    node.kill()
    assert (node.pid, is_alive(first)) == (0, False)
    node.start(())
    assert node.pid not in (0, first)
    node.kill()


def test_the_end_of_the_log_is_shown_and_not_all_of_it(tmp_path: Path) -> None:
    node = LocalNode("a", SLEEPS, tmp_path / "a.log", 1)
    assert node.log_end() == ""
    (tmp_path / "a.log").write_bytes(b"".join(b"line %d \xff\n" % n for n in range(100)))
    lines = node.log_end().splitlines()
    assert lines[-1].strip().startswith("line 99 ")
    assert len(lines) < 50


# -- others ------------------------------------------------------------------------------------


def test_a_running_cluster_is_only_spoken_to() -> None:
    with TinyMemcached() as server:
        with RunningCluster([server.address], "mine") as target:
            assert (target.name, target.addresses, target.pids) == ("mine", [server.address], [])
        with TextClient(server.address) as client:
            assert client.version() == "tiny"
        dead = RunningCluster([server.address, ("127.0.0.1", 1)])
        with pytest.raises(TargetError, match=r"cannot connect to 127\.0\.0\.1:1"), dead:
            raise AssertionError("one of its nodes is not there")


def test_a_memcached_that_is_not_installed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "memcached_path", lambda: None)
    with pytest.raises(StartError, match="apt-get install memcached"), LocalMemcached():
        raise AssertionError("there is none")


def test_a_memcached_that_ends_at_once_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "memcached"
    path.write_text("#!/bin/sh\nexit 71\n")
    path.chmod(0o755)
    monkeypatch.setattr(cluster, "memcached_path", lambda: str(path))
    memcached = LocalMemcached()
    with pytest.raises(StartError, match="memcached ended with status 71"), memcached:
        raise AssertionError("it has ended")
    assert memcached.pids == []


# -- waiting -----------------------------------------------------------------------------------


class Time:
    """A clock that `sleep` moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(cluster.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(cluster.time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_ends_with_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    assert wait_for("it", lambda: time.now >= 3.0) == pytest.approx(3.0, abs=0.1)


def test_waiting_ends_with_the_deadline_and_the_last_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = Time(monkeypatch)

    def check() -> bool:
        raise TargetError(f"refused after {int(time.now)} s")

    with pytest.raises(StartError, match=r"it took more than 5 s \(refused after 5 s\)"):
        wait_for("it", check, 5.0)


def test_what_can_never_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)

    def check() -> bool:
        raise StartError("it has ended")

    with pytest.raises(StartError, match="it has ended"):
        wait_for("it", check, 5.0)
    assert time.now == 0.0


def test_ports_of_a_cluster_are_free_ones(tmp_path: Path) -> None:
    """Two at once do not meet."""
    options = ClusterOptions(nodes=1, shards=1, durability="memory", data_root=str(tmp_path))
    with LocalCluster(options) as one, LocalCluster(options) as other:
        assert set(one.addresses).isdisjoint(other.addresses)
        for address in one.addresses + other.addresses:
            socket.create_connection(address, 10.0).close()
