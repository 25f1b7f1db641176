"""The nodes: real processes in their namespaces, each with a small disk of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from quorumcache.bench.errors import TargetError
from quorumcache.bench.processes import repository_environment, start
from quorumcache.bench.text_client import TextClient, Topology
from tests.chaos.commands import run
from tests.chaos.namespaces import Network

MEMCACHED_PORT = 11211
PEER_PORT = 11411
DEADLINE_S = 90.0
"""How long anything may take that takes milliseconds when all is well."""
ASK_S = 1.0
DISK_MIB = 24
SETTINGS = 'segment-size = "256k"\nlog-size = "2m"\nsnapshot-size = "64k"\n'
"""Small, so that segments, snapshots and full disks come within a minute."""
FAULTS_OF_OURS = ("Traceback", "internal_error", "event=message", "page_failed")
"""Words that no log of a node may have."""


class ClusterError(Exception):
    """The cluster does what it must not do, whatever is done to it. The text says what."""


class ChaosNode:
    """One node. Its log is kept over all its starts."""

    def __init__(self, name: str, directory: Path, command: Sequence[str]) -> None:
        self.name = name
        self.disk = directory / f"disk-{name}"
        self.log_path = directory / f"{name}.log"
        self.command = list(command)
        self.is_paused = False
        self.process: subprocess.Popen[bytes] | None = None
        """None while somebody wants it to be down."""

    def mount(self) -> None:
        """The small disk."""
        self.disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.disk))

    def launch(self) -> None:
        """Start the process without waiting for it."""
        assert self.process is None
        with self.log_path.open("ab") as log:
            self.process = start(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                environment=repository_environment(),
                cwd=str(self.log_path.parent),
            )

    def wait_ready(self) -> None:
        """Until it has said that it listens."""
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        line = self.process.stdout.readline().decode() if readable else ""
        if " ready: memcached " not in line:
            raise ClusterError(f"node {self.name} does not start: {self.last_words()}")

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)
        self._wait()

    def terminate(self) -> None:
        """SIGTERM: it has to end by itself, with status 0."""
        self._signal(signal.SIGTERM)
        status = self._wait()
        if status != 0:
            raise ClusterError(
                f"node {self.name} stopped with status {status}: {self.last_words()}"
            )

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.is_paused = False
        self._signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """Until there is no space, not for a byte."""
        with self._filler.open("wb", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    if error.errno != 28:  # ENOSPC
                        raise

    def free_disk(self) -> None:
        """The end of `fill_disk`."""
        self._filler.unlink(missing_ok=True)

    def check_runs(self) -> None:
        """ClusterError when it should run and does not."""
        if self.process is not None and self.process.poll() is not None:
            raise ClusterError(
                f"node {self.name} ended by itself (status {self.process.returncode}):"
                f" {self.last_words()}"
            )

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def last_words(self) -> str:
        """The last line of its log."""
        return (self.log().splitlines() or ["it said nothing"])[-1]

    @property
    def _filler(self) -> Path:
        return self.disk / "filler"

    def _signal(self, number: signal.Signals) -> None:
        self.check_runs()
        assert self.process is not None
        os.kill(self.process.pid, number)

    def _wait(self) -> int:
        assert self.process is not None
        try:
            status = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"node {self.name} does not end: {self.last_words()}") from None
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        self.is_paused = False
        return status


class ChaosCluster:
    """Nodes a, b, c, ... in the namespaces of `network`."""

    def __init__(self, directory: Path, network: Network, *, shards: int, broken: str = "") -> None:
        """`broken`: a rule of the product that the nodes break, see `tests/chaos/broken.py`."""
        self.shards = shards
        self.network = network
        settings = directory / "node.toml"
        settings.write_text(SETTINGS)
        members = ",".join(f"{n}={network.addresses[n]}:{PEER_PORT}" for n in network.nodes)
        program = ["-m", "tests.chaos.broken", broken] if broken else ["-m", "quorumcache.node"]
        self.nodes: list[ChaosNode] = []
        for name in network.nodes:
            words = ["--config", str(settings), "--name", name, "--shards", str(shards)]
            words += ["--log-level", "debug"]  # tells of elections; nothing is logged per request
            words += ["--listen", f"{network.addresses[name]}:{MEMCACHED_PORT}"]
            words += ["--initial-cluster", members]
            words += ["--data-dir", str(directory / f"disk-{name}" / "data")]
            command = [*network.inside(name), sys.executable, *program, *words]
            self.nodes.append(ChaosNode(name, directory, command))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(self.network.addresses[node.name], MEMCACHED_PORT) for node in self.nodes]

    def start(self) -> None:
        """All of them, on empty disks."""
        for node in self.nodes:
            node.mount()
            node.launch()
        for node in self.nodes:
            node.wait_ready()

    def check_run(self) -> None:
        for node in self.nodes:
            node.check_runs()

    def topology(self, node: ChaosNode) -> Topology | None:
        """What a node believes; None when it does not answer or knows nothing."""
        if node.process is None or node.is_paused:
            return None
        try:
            address = (self.network.addresses[node.name], MEMCACHED_PORT)
            with TextClient(address, ASK_S) as client:
                return client.topology()
        except TargetError:
            return None

    def is_led(self) -> bool:
        """Every node knows a leader for every shard."""
        for node in self.nodes:
            found = self.topology(node)
            if found is None or 0 in found.leaders:
                return False
        return True

    def leader(self) -> ChaosNode | None:
        """Who leads the most shards and says so itself."""
        best: ChaosNode | None = None
        most = 0
        for number, node in enumerate(self.nodes, 1):
            found = self.topology(node)
            if found is not None and len(found.led_by(number)) > most:
                best, most = node, len(found.led_by(number))
        return best

    def wait_led(self, seconds: float, wait: Callable[[float], None]) -> float:
        """Until `is_led`; the seconds it took. `wait` sleeps, and may raise to end it."""
        began = time.monotonic()
        while not self.is_led():
            self.check_run()
            if time.monotonic() - began > seconds:
                raise ClusterError(f"not every shard has a leader after {seconds:g} s")
            wait(0.1)
        return time.monotonic() - began

    def faults_of_ours(self) -> list[str]:
        """Lines in the nodes' logs that must not be there."""
        return [
            f"node {node.name}: {line}"
            for node in self.nodes
            for line in node.log().splitlines()
            if any(word in line for word in FAULTS_OF_OURS)
        ]

    def leaders_elected(self) -> int:
        """How often a replica of a shard became leader, as the logs say."""
        return sum(
            "event=role " in line and " role=leader" in line and " group=0 " not in line
            for node in self.nodes
            for line in node.log().splitlines()
        )

    def end(self) -> None:
        """Whatever state they are in, they are gone afterwards."""
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()
        for node in self.nodes:
            if node.process is not None:
                node.process.wait()
            if os.path.ismount(node.disk):
                run("umount", "--lazy", str(node.disk))
