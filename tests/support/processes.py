"""Real nodes as child processes on loopback, ended by pid whatever becomes of the test.

Reading order: `NodeProcess`, `Cluster`, then the helpers at the end.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from quorumcache.bench.ports import HOST, free_ports
from quorumcache.bench.processes import repository_environment, start
from quorumcache.bench.text_client import TargetError, TextClient, Topology
from quorumcache.ring import shard_of
from tests.support.old_nodes import old_environment
from tests.support.wire import DEADLINE_S, Wire

REQUEST_TIMEOUT_MS = 20_000
"""Of the nodes of a `Cluster`: an election takes a second, but on a busy machine more than the
default, and an error would then tell of the machine."""


class NodeProcess:
    """`python -m quorumcache.node` with its flags; it may be started again after it has ended.

    Its port is claimed: a port of the system's choice (0) could be taken while the node is down.
    """

    def __init__(self, name: str, directory: Path, flags: Sequence[str], port: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.port = port or free_ports(1)[0]
        """Of memcached."""
        self.flags = list(flags)
        self.log_path = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.listen: str | None = None
        """What it is told to listen on, in place of its port."""
        self.sources: Path | None = None
        """Where the package is that it runs, from its next start on; None: this one."""

    def launch(self) -> None:
        """Start the process without waiting for it."""
        assert self.process is None
        sources = self.sources
        with self.log_path.open("ab") as log:
            self.process = start(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "quorumcache.node",
                    "--listen",
                    f"{HOST}:{self.port}" if self.listen is None else self.listen,
                    *self.flags,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                environment=(
                    repository_environment() if sources is None else old_environment(sources)
                ),
                cwd=str(self.log_path.parent),
            )

    def wait_ready(self) -> str:
        """Until it has said where it listens; returns that line."""
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        line = self.process.stdout.readline().decode() if readable else ""
        assert " ready: memcached " in line, f"node {self.name} is not ready:\n{self.log()}"
        first = line.split(" memcached ")[1].split()[0].partition(",")[0]
        if not first.startswith("unix:"):
            self.port = int(first.rpartition(":")[2])
        return line

    def start(self) -> str:
        self.launch()
        return self.wait_ready()

    @property
    def pid(self) -> int:
        assert self.process is not None, f"node {self.name} does not run"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP, until the kernel says that it stands still."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait_end(self) -> int:
        """The exit status, once the process has ended by itself or by a signal."""
        assert self.process is not None
        status = self.process.wait(DEADLINE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return status

    def terminate(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.wait_end()

    def end(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self.process is not None:
            self.process.kill()
            self.wait_end()

    def wire(self) -> Wire:
        return Wire(self.port)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_log(self, *words: str, count: int = 1) -> str:
        """Until `count` lines of its log hold all these words; the last of these lines.

        For what a node tells only there. Its log is written by a thread, so a line may come after
        what it tells of.
        """
        found: list[str] = []

        def is_there() -> bool:
            found[:] = self.log_lines(*words)
            return len(found) >= count

        wait_until(f"{words} in the log of node {self.name}", is_there)
        return found[-1]

    def log_lines(self, *words: str) -> list[str]:
        """The lines with all these words that are written already."""
        lines = self.log().splitlines()
        return [line for line in lines if all(word in line for word in words)]

    def forget_peak(self) -> int:
        """Begin to measure the peak of its memory (VmHWM) anew; what it uses now, in KiB."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.memory_kib()

    def memory_kib(self, what: str = "VmRSS") -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {what}")

    def check_log(self) -> None:
        """No faults of ours: no trace, no internal error, nothing that nobody handled."""
        for line in self.log().splitlines():
            for word in (
                "Traceback",
                "internal_error",
                "event=message",
                "page_failed",
                "task_failed",
            ):
                assert word not in line, f"node {self.name}: {line}"


class Cluster:
    """Nodes a, b, c, ... of one cluster; ready when every shard has a leader on every node."""

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 3,
        shards: int = 8,
        flags: Sequence[str] = (),
        data_dirs: dict[str, Path] | None = None,
    ) -> None:
        self.directory = directory
        self.shards = shards
        names = [chr(ord("a") + number) for number in range(nodes)]
        ports = free_ports(2 * nodes)
        self.peer_ports = dict(zip(names, ports[nodes:], strict=True))
        members = ",".join(f"{name}={HOST}:{port}" for name, port in self.peer_ports.items())
        self.nodes: dict[str, NodeProcess] = {}
        self.data_dirs: dict[str, Path] = {}
        for name, port in zip(names, ports, strict=False):
            data_dir = (data_dirs or {}).get(name, directory / name)
            self.data_dirs[name] = data_dir
            words = ["--name", name, "--initial-cluster", members, "--shards", str(shards)]
            words += ["--request-timeout-ms", str(REQUEST_TIMEOUT_MS)]
            words += ["--data-dir", str(data_dir), *flags]
            self.nodes[name] = NodeProcess(name, directory, words, port)

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    def __iter__(self) -> Iterator[NodeProcess]:
        return iter(self.nodes.values())

    def others(self, *names: str) -> list[NodeProcess]:
        return [node for node in self if node.name not in names]

    def start(self) -> None:
        """Start all that do not run."""
        launched = [node for node in self if node.process is None]
        for node in launched:
            node.launch()
        for node in launched:
            node.wait_ready()
        self.wait_led()

    def end(self) -> None:
        for node in self:
            if node.process is not None:
                node.process.kill()
        for node in self:
            node.end()

    def check_logs(self) -> None:
        for node in self:
            node.check_log()

    def topology(self, node: NodeProcess) -> Topology | None:
        with TextClient((HOST, node.port), DEADLINE_S) as client:
            return client.topology()

    def wait_led(self, *, without: str = "") -> None:
        """Until all running nodes say that every shard is led, by one that is not in `without`."""
        gone = {0, *(self.node_id(name) for name in without)}

        def led() -> bool:
            for node in self:
                if node.process is not None and node.name not in without:
                    assert node.is_running, f"node {node.name} has ended:\n{node.log()[-2000:]}"
                    found = self.topology(node)
                    if found is None or gone & set(found.leaders):
                        return False
            return True

        wait_until("a leader for every shard", led)

    def wait_balanced(self) -> None:
        """Until every shard is led by its preferred node, as all nodes see it."""

        def balanced() -> bool:
            for node in self:
                found = self.topology(node)
                if found is None:
                    return False
                wanted = [found.map.preferred_leader(s) for s in range(self.shards)]
                if list(found.leaders) != wanted:
                    return False
            return True

        wait_until("every shard with its preferred leader", balanced)

    def node_id(self, name: str) -> int:
        return list(self.nodes).index(name) + 1

    def leader_of(self, key: bytes, *, seen_by: str) -> str:
        """Name of the node that leads the key's shard.

        Waits until this node knows one: shards move to their preferred leader after an election,
        and a node knows of no leader in between.
        """
        leader = 0

        def led() -> bool:
            nonlocal leader
            found = self.topology(self.nodes[seen_by])
            leader = found.leaders[shard_of(key, self.shards)] if found is not None else 0
            return leader != 0

        wait_until(f"node {seen_by} knows a leader", led)
        return list(self.nodes)[leader - 1]

    def shards_led_by(self, name: str) -> list[int]:
        """What this node says that it leads now, and a moment later perhaps not any more: ask again
        (`wait_until`), or wait for what stays (`wait_balanced`).
        """
        found: list[int] = []

        def has_map() -> bool:
            topology = self.topology(self.nodes[name])
            if topology is not None:
                found[:] = topology.led_by(self.node_id(name))
            return topology is not None

        wait_until(f"node {name} has a map", has_map)
        return found

    def busiest(self) -> str:
        """Name of the node that leads the most shards now."""
        return max(self.nodes, key=lambda name: len(self.shards_led_by(name)))

    def keys_led_by(self, name: str, count: int, prefix: bytes = b"key") -> list[bytes]:
        """Keys of shards that this node leads now, spread over these shards.

        Waits until it leads some: shards are on their way to their preferred leader for a while
        after an election, and a node may be between two of them.
        """
        shards: list[int] = []

        def leads() -> bool:
            shards[:] = self.shards_led_by(name)
            return bool(shards)

        wait_until(f"node {name} leads a shard", leads)
        found: list[bytes] = []
        number = 0
        while len(found) < count:
            key = b"%b-%d" % (prefix, number)
            number += 1
            if shard_of(key, self.shards) == shards[len(found) % len(shards)]:
                found.append(key)
        return found


@contextmanager
def running_cluster(directory: Path, **options: object) -> Iterator[Cluster]:
    """A cluster that is gone afterwards; its logs are checked when nothing else was wrong."""
    cluster = Cluster(directory, **options)  # type: ignore[arg-type]
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
    cluster.check_logs()


@contextmanager
def running_node(
    directory: Path, *flags: str, name: str = "a", ready: bool = True
) -> Iterator[NodeProcess]:
    """One node alone; gone afterwards, its log checked."""
    node = NodeProcess(name, directory, flags)
    try:
        node.launch()
        if ready:
            node.wait_ready()
        yield node
    finally:
        node.end()
    node.check_log()


def run_to_end(*flags: str, stdin: int = subprocess.DEVNULL) -> tuple[int, str, str]:
    """A command that is expected to end by itself: its exit status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "quorumcache.node", *flags],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=repository_environment(),
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def last_line(text: str) -> str:
    return (text.splitlines() or [""])[-1]


def wait_until(what: str, check: Callable[[], bool], seconds: float = DEADLINE_S) -> float:
    """Ask until it is so, for what no event tells; returns the seconds it took."""
    began = time.monotonic()
    while True:
        try:
            if check():
                return time.monotonic() - began
        except (TargetError, OSError):
            pass  # Not yet.
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
