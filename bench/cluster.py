"""What is measured: a local QuorumCache cluster, a local memcached, or a cluster that runs already.

Local ones run on free ports of 127.0.0.1 with data in a temporary directory. Leaving the `with`
block stops the processes (by their pid) and removes the directory.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from quorumcache.bench import processes
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.ports import HOST, free_ports
from quorumcache.bench.text_client import TextClient, Topology
from quorumcache.ring.hashing import default_shard_count
from quorumcache.ring.secret import SECRET_FILE

START_SECONDS = 60.0
POLL_SECONDS = 0.05
MEMCACHED = "memcached"
MEMCACHED_MISSING = (
    "no memcached is installed, so there is nothing to compare with: apt-get install memcached"
)
_LOG_LINES_SHOWN = 15


class Target(Protocol):
    """Something that can be loaded. `name`: how reports call it; `pids`: empty when foreign."""

    name: str

    @property
    def addresses(self) -> list[tuple[str, int]]: ...
    @property
    def pids(self) -> list[int]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def wait_for(
    what: str,
    check: Callable[[], bool],
    seconds: float = START_SECONDS,
    *,
    every_seconds: float = POLL_SECONDS,
) -> float:
    """Poll `check` until it is true; returns the seconds it took. StartError after `seconds`.

    A TargetError of `check` means not yet.
    """
    began = time.monotonic()
    last = ""
    while True:
        try:
            if check():
                return time.monotonic() - began
        except TargetError as error:
            last = f" ({error})"
        if time.monotonic() - began > seconds:
            raise StartError(f"{what} took more than {seconds:g} s{last}")
        time.sleep(every_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """A local cluster. `durability`: fsync, or memory (one node only: the node refuses others).

    `shards`: 0 = as many as the nodes would choose. `cpus`: of all nodes; with `core_per_node` the
    nth node has the nth of them alone. `node_flags`: handed to every node as they are.
    """

    nodes: int = 3
    shards: int = 0
    replication: int = 3
    durability: str = "fsync"
    data_root: str | None = None
    cpus: tuple[int, ...] = ()
    core_per_node: bool = False
    node_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.shards:
            object.__setattr__(self, "shards", default_shard_count(self.nodes))

    def validate(self) -> Self:
        """Itself, or StartError."""
        if not 1 <= self.nodes <= 26:
            raise StartError(f"--nodes {self.nodes} is not in 1..26")
        if self.durability == "memory" and self.nodes > 1:
            raise StartError(
                f"--durability memory runs on one node only, not {self.nodes}: add --nodes 1"
            )
        return self

    def cpus_of(self, number: int) -> tuple[int, ...]:
        """Those of the node with that number, from 0."""
        if not self.core_per_node or not self.cpus:
            return self.cpus
        return (self.cpus[number % len(self.cpus)],)

    def describe(self) -> str:
        """One line for people."""
        flags = f", {' '.join(self.node_flags)}" if self.node_flags else ""
        return (
            f"{self.nodes} local node(s), {self.shards} shards,"
            f" {min(self.replication, self.nodes)} replica(s), {self.durability}{flags}"
        )


class LocalNode:
    """One node of a local cluster: `start`, `kill`, `start` again."""

    def __init__(self, name: str, command: Sequence[str], log_path: Path, port: int) -> None:
        self.name = name
        self.address = (HOST, port)
        self._command = list(command)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self, cpus: Sequence[int]) -> None:
        """Start the process; its output goes to its log file."""
        with self._log_path.open("ab") as log:
            self._process = processes.start(
                self._command,
                cpus=cpus,
                takes_turns=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                environment=processes.repository_environment(),
                cwd=str(self._log_path.parent),
            )

    def kill(self) -> None:
        """SIGKILL, at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(processes.KILL_SECONDS)
        self._process = None

    def stop(self) -> None:
        """Orderly, with a deadline."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None

    def terminate(self) -> None:
        """Ask it to stop, without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def has_ended(self) -> bool:
        """Whether it has ended by itself, without an error."""
        return self._process is not None and self._process.poll() == 0

    def check_alive(self) -> None:
        """StartError with the end of its log when the process has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise StartError(
                f"node {self.name} ended with status {self._process.returncode}:\n{self.log_end()}"
            )

    def log_bytes(self) -> bytes:
        """Its log, from its first start on."""
        return self._log_path.read_bytes() if self._log_path.exists() else b""

    def log_end(self) -> str:
        """The last lines of its log."""
        text = self.log_bytes().decode(errors="replace")
        return "\n".join("    " + line for line in text.splitlines()[-_LOG_LINES_SHOWN:])


class LocalCluster:
    """Nodes a, b, c, ... on this machine. Ready when every shard has a leader."""

    name = "quorumcache"

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options.validate()
        self.nodes: list[LocalNode] = []
        self._directory: Path | None = None
        self._peer_addresses: dict[str, str] = {}
        """By name, where other nodes reach a node."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Client addresses, by node."""
        return [node.address for node in self.nodes]

    @property
    def pids(self) -> list[int]:
        """Of the running nodes."""
        return [node.pid for node in self.nodes if node.pid]

    def __enter__(self) -> Self:
        self._directory = Path(
            tempfile.mkdtemp(prefix="quorumcache-bench-", dir=self.options.data_root)
        )
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for node in self.nodes:  # all at once, so that they do not elect while they go
                node.terminate()
            for node in self.nodes:
                node.stop()
        finally:  # also when a signal arrives while they stop
            for node in self.nodes:
                if node.pid:
                    node.kill()
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None

    def _start(self) -> None:
        options, directory = self.options, self._directory
        assert directory is not None
        ports = free_ports(2 * options.nodes)
        names = [chr(ord("a") + number) for number in range(options.nodes)]
        peers = dict(zip(names, ports[options.nodes :], strict=True))
        self._peer_addresses = {name: f"{HOST}:{port}" for name, port in peers.items()}
        members = ",".join(f"{name}={at}" for name, at in self._peer_addresses.items())
        for name, port in zip(names, ports, strict=False):
            command = [sys.executable, "-P", "-m", "quorumcache.node", "--name", name]
            command += ["--listen", f"{HOST}:{port}", "--shards", str(options.shards)]
            command += ["--durability", options.durability]
            if options.nodes > 1:
                command += ["--peer", f"{HOST}:{peers[name]}", "--initial-cluster", members]
                command += ["--replication", str(options.replication)]
            if options.durability == "fsync":
                command += ["--data-dir", str(directory / name)]
            node = LocalNode(name, [*command, *options.node_flags], directory / f"{name}.log", port)
            self.nodes.append(node)
            node.start(options.cpus_of(len(self.nodes) - 1))
        self.wait_until_led()

    def node(self, name: str) -> LocalNode:
        """By its name."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def secret_path(self) -> Path:
        """The file with the cluster's secret, in the data directory of a running node."""
        assert self._directory is not None
        return self._directory / self.nodes[0].name / SECRET_FILE

    def add_node(self, name: str) -> LocalNode:
        """Start a node that joins; it is not waited for."""
        options, directory = self.options, self._directory
        assert directory is not None
        port, peer = free_ports(2)
        command = [sys.executable, "-P", "-m", "quorumcache.node", "--name", name]
        command += ["--listen", f"{HOST}:{port}", "--peer", f"{HOST}:{peer}"]
        command += ["--join", ",".join(self._peer_addresses.values())]
        command += ["--secret-file", str(self.secret_path)]
        command += ["--data-dir", str(directory / name)]
        node = LocalNode(name, [*command, *options.node_flags], directory / f"{name}.log", port)
        self._peer_addresses[name] = f"{HOST}:{peer}"
        self.nodes.append(node)
        node.start(options.cpus)
        return node

    def remove_node(self, name: str) -> None:
        """A node has left and ended: it is not started again, and not asked any more."""
        node = self.node(name)
        node.stop()
        self.nodes.remove(node)
        del self._peer_addresses[name]

    def topology(self) -> Topology | None:
        """As the first node that answers sees it; None while none does."""
        for node in self.nodes:
            if node.pid:
                try:
                    with TextClient(node.address, 2.0) as client:
                        found = client.topology()
                except TargetError:
                    continue
                if found is not None:
                    return found
        return None

    def wait_until_led(self, seconds: float = START_SECONDS) -> float:
        """Until every node says that every shard has a leader; returns the seconds it took."""

        def led() -> bool:
            for node in self.nodes:
                node.check_alive()
                if node.pid:
                    with TextClient(node.address, 2.0) as client:
                        found = client.topology()
                    if found is None or not found.is_led(node.name):
                        return False
            return True

        try:
            return wait_for(f"the start of {len(self.nodes)} node(s)", led, seconds)
        except StartError as error:
            if "ended with" in str(error):
                raise
            logs = "\n".join(f"  node {n.name}:\n{n.log_end()}" for n in self.nodes if n.pid)
            raise StartError(f"{error}\n{logs}") from None


class LocalMemcached:
    """A real memcached with one worker thread, without evictions."""

    name = MEMCACHED

    def __init__(self, cpus: Sequence[int] = (), megabytes: int = 2048) -> None:
        self._cpus = tuple(cpus)
        self._megabytes = megabytes
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The one address."""
        return [(HOST, self._port)]

    @property
    def pids(self) -> list[int]:
        """The one pid."""
        return [self._process.pid] if self._process is not None else []

    def __enter__(self) -> Self:
        path = memcached_path()
        if path is None:
            raise StartError(MEMCACHED_MISSING)
        self._port = free_ports(1)[0]
        command = [path, "-t", "1", "-l", HOST, "-p", str(self._port), "-U", "0"]
        command += ["-m", str(self._megabytes), "-c", "4096"]
        if os.geteuid() == 0:
            command += ["-u", getpass.getuser()]
        self._process = processes.start(command, cpus=self._cpus)
        process = self._process

        def answers() -> bool:
            if process.poll() is not None:
                raise StartError(f"memcached ended with status {process.returncode}")
            with TextClient((HOST, self._port), 2.0) as client:
                return bool(client.version())

        try:
            wait_for("the start of memcached", answers)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            processes.stop(self._process)
            self._process = None


class RunningCluster:
    """A cluster (or one memcached) that somebody else started; it is only spoken to."""

    def __init__(self, addresses: Sequence[tuple[str, int]], name: str = "cluster") -> None:
        self.name = name
        self._addresses = list(addresses)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """As given."""
        return list(self._addresses)

    @property
    def pids(self) -> list[int]:
        """Unknown."""
        return []

    def __enter__(self) -> Self:
        for address in self._addresses:
            TextClient(address, 5.0).close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


def memcached_path() -> str | None:
    """Where memcached is, or None."""
    return shutil.which(MEMCACHED) or shutil.which(
        MEMCACHED, path="/usr/local/bin:/usr/bin:/usr/sbin:/usr/local/sbin"
    )
