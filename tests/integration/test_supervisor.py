"""`quorumcached up`, with real processes: start, use, kill, restart, and nothing left behind."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0


class Up:
    """A running `quorumcached up`, read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        # name -> (memcached port, pid)
        self.nodes: dict[str, tuple[int, int]] = {}

    def wait_line(self, pattern: str) -> re.Match[str]:
        """The next line that matches; fails when the output or the time ends before."""
        assert self.process.stdout is not None
        seen = []
        too_late = threading.Timer(DEADLINE_S, self.process.kill)
        too_late.start()
        try:
            for line in self.process.stdout:
                seen.append(line)
                match = re.search(pattern, line)
                if match:
                    return match
        finally:
            too_late.cancel()
        raise AssertionError(f"no {pattern!r} in:\n{''.join(seen)}")

    def wait_table(self, nodes: int) -> None:
        self.wait_line("The cluster is ready")
        for _ in range(nodes):
            row = self.wait_line(r"^  (\w) +127\.0\.0\.1:(\d+) +http://127\.0\.0\.1:\d+ +(\d+)$")
            self.nodes[row[1]] = (int(row[2]), int(row[3]))

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode


@contextmanager
def up(data_dir: Path, *words: str) -> Iterator[Up]:
    process = subprocess.Popen(
        [sys.executable, "-m", "quorumcache.node", "up", "--data-dir", str(data_dir), *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Up(process)
    finally:
        process.kill()  # Nodes end with it, whatever happened.
        process.communicate(timeout=DEADLINE_S)


def ask(port: int, request: bytes, until: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.sendall(request)
        reply = b""
        while not reply.endswith(until):
            data = connection.recv(65536)
            assert data, reply
            reply += data
        return reply


def wait_gone(pids: list[int]) -> None:
    """Until these processes have ended; they need not be ours."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], DEADLINE_S)[0], f"process {pid} is still there"
        finally:
            os.close(handle)


def test_use_kill_and_restart(tmp_path: Path) -> None:
    """A node that is killed comes back; a cluster that is stopped comes back with its data."""
    words = ("--nodes", "3", "--shards", "4", "--base-port", "0")
    with up(tmp_path, *words) as cluster:
        cluster.wait_table(3)
        ports = {name: port for name, (port, _) in cluster.nodes.items()}
        assert ask(ports["a"], b"set k 0 0 5\r\nhello\r\n", b"\r\n") == b"STORED\r\n"
        hello = b"VALUE k 0 5\r\nhello\r\nEND\r\n"
        for port in ports.values():
            assert ask(port, b"get k\r\n", b"END\r\n") == hello
        os.kill(cluster.nodes["b"][1], signal.SIGKILL)
        cluster.wait_line(r"node b died \(killed by SIGKILL\); starting it again in 0.5 s")
        new_pid = int(cluster.wait_line(r"node b is back \(pid (\d+)\)")[1])
        assert ask(ports["b"], b"get k\r\n", b"END\r\n") == hello
        pids = [cluster.nodes["a"][1], cluster.nodes["c"][1], new_pid]
        assert cluster.stop(signal.SIGINT) == 0
        wait_gone(pids)
    with up(tmp_path) as cluster:
        cluster.wait_table(3)
        assert {name: port for name, (port, _) in cluster.nodes.items()} == ports
        assert ask(ports["c"], b"get k\r\n", b"END\r\n") == hello
        again = subprocess.run(
            [sys.executable, "-m", "quorumcache.node", "up", "--data-dir", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        assert again.returncode == 1
        assert f"`kill {cluster.process.pid}`" in again.stderr
        assert (
            "runs already, in another `quorumcached up` with the nodes a at 127.0.0.1:"
            in again.stderr
        )
        assert cluster.stop(signal.SIGTERM) == 0
        wait_gone([pid for _, pid in cluster.nodes.values()])


@pytest.mark.parametrize("victim", ["supervisor", "nodes"])
def test_nothing_is_left_behind(tmp_path: Path, victim: str) -> None:
    """kill -9 of the supervisor takes the nodes with it; without nodes and restarts it ends."""
    words = ("--nodes", "2", "--shards", "1", "--base-port", "0", "--no-restart")
    with up(tmp_path, *words) as cluster:
        cluster.wait_table(2)
        pids = [pid for _, pid in cluster.nodes.values()]
        if victim == "supervisor":
            cluster.process.kill()
        else:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            cluster.wait_line("all nodes have died")
            assert cluster.process.wait(DEADLINE_S) == 1
        wait_gone(pids)


def test_a_node_without_its_data_directory_is_not_started_on_an_empty_one(tmp_path: Path) -> None:
    words = ("--nodes", "1", "--shards", "1", "--base-port", "0")
    data, elsewhere = tmp_path / "a" / "data", tmp_path / "elsewhere"
    with up(tmp_path, *words) as cluster:
        cluster.wait_table(1)
        port = cluster.nodes["a"][0]
        assert ask(port, b"set k 0 0 5\r\nhello\r\n", b"\r\n") == b"STORED\r\n"
        data.rename(elsewhere)
        said = cluster.wait_line(r"node a is (not started again: its data directory (.*) is|back)")
        assert said[2] == str(data)
        cluster.wait_line("all nodes have died")
        assert cluster.process.wait(DEADLINE_S) == 1
    assert not data.exists()
    elsewhere.rename(data)
    with up(tmp_path) as cluster:
        cluster.wait_table(1)
        assert ask(port, b"get k\r\n", b"END\r\n") == b"VALUE k 0 5\r\nhello\r\nEND\r\n"
        assert cluster.stop(signal.SIGTERM) == 0


def test_a_node_that_cannot_be_started_again_does_not_end_the_others(tmp_path: Path) -> None:
    with up(tmp_path, "--nodes", "2", "--shards", "1", "--base-port", "0") as cluster:
        cluster.wait_table(2)
        log = tmp_path / "b" / "node.log"
        log.unlink()
        log.mkdir()
        os.kill(cluster.nodes["b"][1], signal.SIGKILL)
        cluster.wait_line(r"node b cannot be started: .*Is a directory")
        log.rmdir()
        cluster.wait_line(r"node b is back")
        assert ask(cluster.nodes["a"][0], b"version\r\n", b"\r\n").startswith(b"VERSION")
        assert cluster.stop(signal.SIGTERM) == 0


def test_a_node_that_cannot_start_is_reported_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "data").write_text("not a directory")
    with up(tmp_path, "--nodes", "2", "--shards", "1", "--base-port", "0") as cluster:
        cluster.wait_line(r"quorumcached: node b did not start: .*/b/data")
        assert cluster.process.wait(DEADLINE_S) == 1


def test_a_start_that_takes_long_says_what_it_waits_for(tmp_path: Path) -> None:
    """One node has an older copy of its directory: the others refuse it, and the user hears why."""
    words = ("--nodes", "3", "--shards", "1", "--base-port", "0")
    with up(tmp_path / "data", *words) as cluster:
        cluster.wait_table(3)
        assert cluster.stop(signal.SIGTERM) == 0
    shutil.copytree(tmp_path / "data" / "b", tmp_path / "copy")
    with up(tmp_path / "data", *words) as cluster:
        cluster.wait_table(3)
        assert cluster.stop(signal.SIGTERM) == 0
    shutil.rmtree(tmp_path / "data" / "b")
    shutil.copytree(tmp_path / "copy", tmp_path / "data" / "b")
    with up(tmp_path / "data", *words) as cluster:
        cluster.wait_line("not ready yet: node b: .*set back to an older copy")
        cluster.stop(signal.SIGTERM)


def control(command: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    module = "quorumcache.node" if command == "up" else "quorumcache.router.cli"
    environment = {k: v for k, v in os.environ.items() if k != "QUORUMCACHE_SECRET"}
    return subprocess.run(
        [sys.executable, "-m", module, command, *words, "--data-dir", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip


def test_nodes_are_added_restarted_and_removed_while_it_runs(tmp_path: Path) -> None:
    """The items are there at each node through all of it, and after the cluster came back."""
    words = ("--nodes", "3", "--shards", "4", "--base-port", "0")
    hello = b"VALUE k 0 5\r\nhello\r\nEND\r\n"
    with up(tmp_path, *words) as cluster:
        cluster.wait_table(3)
        first, pids = cluster.nodes["a"][0], {pid for _, pid in cluster.nodes.values()}
        assert ask(first, b"set k 0 0 5\r\nhello\r\n", b"\r\n") == b"STORED\r\n"

        added = control("up", tmp_path, "add")
        assert added.returncode == 0, added
        match = re.search(r"node d has joined: memcached 127\.0\.0\.1:(\d+)", added.stdout)
        assert match is not None, added
        fourth = int(match[1])
        assert ask(fourth, b"get k\r\n", b"END\r\n") == hello

        restarted = control("rolling-restart", tmp_path)
        assert restarted.returncode == 0, restarted
        lines = [line[:7] for line in restarted.stdout.splitlines() if line.startswith("node ")]
        assert lines == ["node a ", "node b ", "node c ", "node d "]
        assert ask(first, b"get k\r\n", b"END\r\n") == hello
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)

        removed = control("up", tmp_path, "remove", "b")
        assert removed.returncode == 0, removed
        assert "node b has ended; it is not started again" in removed.stdout
        cluster.wait_line("node b has left the cluster")
        assert ask(fourth, b"get k\r\n", b"END\r\n") == hello
        refused = control("up", tmp_path, "remove", "d", "--force")
        assert refused.returncode == 1, refused
        assert "it is heard, so it is not lost" in refused.stderr
        unknown = control("up", tmp_path, "remove", "b")
        assert unknown.returncode == 1
        assert "there is no node b: the nodes are a c d" in unknown.stderr
        assert cluster.stop(signal.SIGINT) == 0
    with up(tmp_path) as cluster:
        cluster.wait_table(3)
        assert set(cluster.nodes) == {"a", "c", "d"}
        for port, _ in cluster.nodes.values():
            assert ask(port, b"get k\r\n", b"END\r\n") == hello
        assert cluster.stop(signal.SIGINT) == 0


def test_a_lost_node_is_removed_while_it_runs(tmp_path: Path) -> None:
    """Its data directory is gone: it is not started again, now or with the cluster."""
    words = ("--nodes", "4", "--shards", "2", "--base-port", "0")
    hello = b"VALUE k 0 5\r\nhello\r\nEND\r\n"
    with up(tmp_path, *words) as cluster:
        cluster.wait_table(4)
        first = cluster.nodes["a"][0]
        assert ask(first, b"set k 0 0 5\r\nhello\r\n", b"\r\n") == b"STORED\r\n"
        shutil.rmtree(tmp_path / "d" / "data")
        cluster.wait_line("node d is not started again: its data directory .* is gone")
        deadline = time.monotonic() + DEADLINE_S
        removed = control("up", tmp_path, "remove", "d", "--force")
        while "it was heard a moment ago" in removed.stderr:
            assert time.monotonic() < deadline, removed
            time.sleep(0.2)
            removed = control("up", tmp_path, "remove", "d", "--force")
        assert removed.returncode == 0, removed
        assert "node d was removed" in removed.stdout
        assert ask(first, b"get k\r\n", b"END\r\n") == hello
        assert cluster.stop(signal.SIGINT) == 0
    with up(tmp_path) as cluster:
        cluster.wait_table(3)
        assert set(cluster.nodes) == {"a", "b", "c"}
        assert ask(cluster.nodes["c"][0], b"get k\r\n", b"END\r\n") == hello
        assert cluster.stop(signal.SIGINT) == 0
