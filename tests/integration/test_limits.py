"""A node at the limit of its clients, of its descriptors, and of what the kernel keeps for it."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from tests.support.processes import NodeProcess, running_cluster, running_node, wait_until
from tests.support.wire import DEADLINE_S, Wire, ask

REFUSED = b"ERROR Too many open connections\r\n"
FILES = 256


class Crowd:
    """Clients that stay, up to the limit."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.wires: list[Wire] = []
        self.refused = 0

    def come(self, count: int) -> None:
        for _ in range(count):
            wire = self.node.wire()
            try:
                wire.send(b"version\r\n")
                line = wire.line()
            except ConnectionError:  # The kernel may drop the line when it closes the connection.
                line = REFUSED
            if line == REFUSED:
                self.refused += 1
                wire.close()
            else:
                assert line.startswith(b"VERSION ")
                self.wires.append(wire)

    def go(self) -> None:
        for wire in self.wires:
            wire.close()
        self.wires.clear()


def health(http: str) -> tuple[int, dict[str, object]]:
    with urllib.request.urlopen(f"http://{http}/health", timeout=DEADLINE_S) as reply:
        return reply.status, json.load(reply)


def test_few_descriptors_leave_room_for_all_but_clients(tmp_path: Path) -> None:
    """With `ulimit -n 256`: fewer clients than asked for, which is said at the start, and probes
    and new log files all the same.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    flags = ("--http", "127.0.0.1:0", "-c", "2048", "--data-dir", str(tmp_path / "data"))
    with running_node(tmp_path, *flags, ready=False) as node:
        node.end()
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, before[1]))
        try:
            node.launch()
            resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        http = node.wait_ready().split(" http ")[1].strip()
        line = node.wait_log("alarm=connections_limited")
        assert "instead of 2048: the process may open no more than 256 files" in line
        crowd = Crowd(node)
        crowd.come(2 * FILES)
        try:
            taken = len(crowd.wires)
            assert FILES // 2 < taken < FILES - 80
            assert crowd.refused == 2 * FILES - taken
            stats = crowd.wires[0].stats()
            assert stats["max_connections"] == stats["curr_connections"] == str(taken)
            assert stats["total_connections"] == str(taken)
            assert stats["rejected_connections"] == str(crowd.refused)
            assert (stats["accepting_conns"], stats["listen_disabled_num"]) == ("1", "0")
            wait_until(  # The node looks at its limits a few times a second.
                "the warning",
                lambda: "client connections are in use" in str(health(http)[1]["warnings"]),
            )
            assert health(http)[0] == 200
            for _ in range(3):
                assert crowd.wires[0].set(b"k", b"v" * 100_000) == b"STORED\r\n"
        finally:
            crowd.go()
        wait_until("room", lambda: ask(node.port, b"version").startswith(b"VERSION"))


def test_clients_at_the_limit_do_not_part_the_nodes_of_a_cluster(tmp_path: Path) -> None:
    with running_cluster(tmp_path, shards=4, flags=("--max-connections", "8")) as cluster:
        crowds = [Crowd(node) for node in cluster]
        for crowd in crowds:
            crowd.come(20)
        try:
            assert [len(crowd.wires) for crowd in crowds] == [8, 8, 8]
            wires = [crowd.wires[0] for crowd in crowds]
            for number in range(20):
                wire = wires[number % 3]
                assert wire.set(b"key-%d" % number, b"v") == b"STORED\r\n"
            cluster["b"].kill()
            for number in range(20):
                assert wires[0].get(b"key-%d" % number) == b"v"
            cluster["b"].start()
        finally:
            for crowd in crowds:
                crowd.go()


def test_a_limit_of_descriptors_that_is_of_no_use(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 64; exec "$@"', "bash", sys.executable, "-P", "-m",
         "quorumcache.node", "-p", "-1"],
        capture_output=True, text=True, timeout=DEADLINE_S, env=repository_environment(),
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the limit of open files is 64, and this node needs at least" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_thousands_who_come_at_once_wait_for_a_node_that_is_slow_to_take_them_in(
    tmp_path: Path, way: str
) -> None:
    """While the node stands still: without the backlog the kernel would drop the last of them."""
    count, backlog = 1500, 2000
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    if most < backlog:
        pytest.skip(f"this machine keeps {most} connections at most")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    path = str(tmp_path / "q.sock")
    flags = ("-b", str(backlog), "--unix-path", path, "-c", "3000")
    with running_node(tmp_path, *flags) as node, contextlib.ExitStack() as stack:
        node.pause()
        family, where = (
            (socket.AF_INET, ("127.0.0.1", node.port)) if way == "tcp" else (socket.AF_UNIX, path)
        )
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.socket(family))
            client.settimeout(DEADLINE_S)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(where)
            client.getpeername()  # OSError if the kernel has not taken it.
            client.sendall(b"version\r\n")
            clients.append(client)
        node.signal(signal.SIGCONT)
        for client in clients:
            client.settimeout(DEADLINE_S)
            assert client.recv(100).startswith(b"VERSION")
        with node.wire() as wire:
            assert wire.stats()["total_connections"] == str(count + 1)


def test_an_idle_client_is_closed_without_a_word(tmp_path: Path) -> None:
    with (
        running_node(tmp_path, "-o", "idle_timeout=2") as node,
        node.wire() as idle,
        node.wire() as busy,
    ):
        assert idle.get(b"k") is None
        closed: list[bytes] = []

        def is_closed() -> bool:
            assert busy.get(b"k") is None
            idle.socket.settimeout(0.05)
            try:
                closed.append(idle.socket.recv(10))
            except TimeoutError:
                return False
            return True

        wait_until("it is closed", is_closed)
        assert closed == [b""]
        stats = busy.stats()
        assert (stats["idle_kicks"], stats["curr_connections"]) == ("1", "1")
        assert busy.stats(b"settings")["idle_timeout"] == "2"
