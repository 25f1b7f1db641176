"""The nodes: real processes in their namespaces, each with a small disk of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
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
NODE_MODULE = "quorumcache.node"
DATA = "data"
"""The data directory, on the node's disk."""
DISK_MIB = 24
SETTINGS = 'segment-size = "256k"\nlog-size = "2m"\nsnapshot-size = "64k"\n'
"""Small, so that segments, snapshots and full disks come within a minute."""
LEFT_CLUSTER = " event=left_cluster "
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
        self.is_in = True
        """A member, or about to be one; a spare that has not been started is not."""
        self.is_taken = False
        """A change sees to its process and its disk: no fault of such a kind meets it."""
        self.may_end: tuple[int, ...] = ()
        """The statuses it may end with by itself: a drained node has to."""
        self.ended: int | None = None
        """The status of such an end."""
        self._log_at = 0
        """Where the log of its last start begins."""

    def mount(self) -> None:
        """The small disk."""
        self.disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.disk))

    def launch(self) -> None:
        """Start the process without waiting for it."""
        assert self.process is None
        self.ended = None
        self._log_at = len(self.log())
        with self.log_path.open("ab") as log:
            self.process = start(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                environment=repository_environment(),
                cwd=str(self.log_path.parent),
            )

    def wait_ready(self) -> None:
        """Until it has said that it listens, or has ended as it may."""
        if not self.is_ready(DEADLINE_S):
            raise ClusterError(f"node {self.name} does not start: {self.last_words()}")

    def is_ready(self, seconds: float = 0.0) -> bool:
        """Whether it says within so many seconds that it listens; True too if it ends as it may.

        To be asked until it is True, once for each start.
        """
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not readable:
            return False
        if " ready: memcached " in self.process.stdout.readline().decode():
            return True
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(DEADLINE_S)
        self.check_runs()
        if self.ended is None:
            raise ClusterError(f"node {self.name} does not start: {self.last_words()}")
        return True

    def kill(self) -> None:
        """kill -9."""
        if self._signal(signal.SIGKILL):
            status = self._wait()
            if status in self.may_end or self._has_left():  # it was quicker
                self.ended = status

    def terminate(self) -> None:
        """SIGTERM: it has to end by itself, with status 0."""
        status = self._wait() if self._signal(signal.SIGTERM) else 0
        if self._has_left():
            self.ended = status
        if status not in (0, *self.may_end):
            raise ClusterError(
                f"node {self.name} stopped with status {status}: {self.last_words()}"
            )

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.is_paused = False
        self._signal(signal.SIGCONT)

    def wipe(self) -> None:
        """It loses its disk: the next start finds an empty one."""
        assert self.process is None
        shutil.rmtree(self.disk / DATA, ignore_errors=True)

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
        """ClusterError when it should run and does not. One that has ended as it may is down."""
        if self.process is None or self.process.poll() is None:
            return
        status = self.process.returncode
        if status not in self.may_end:
            raise ClusterError(
                f"node {self.name} ended by itself (status {status}): {self.last_words()}"
            )
        self._wait()
        self.ended = status

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def last_words(self) -> str:
        """The last line of its log."""
        return (self.log().splitlines() or ["it said nothing"])[-1]

    def _has_left(self) -> bool:
        """Whether it was about to end as it may."""
        return bool(self.may_end) and LEFT_CLUSTER in self.log()[self._log_at :]

    @property
    def _filler(self) -> Path:
        return self.disk / "filler"

    def _signal(self, number: signal.Signals) -> bool:
        """False when it has ended as it may."""
        self.check_runs()
        if self.process is None:
            assert self.ended is not None
            return False
        os.kill(self.process.pid, number)
        return True

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

    def __init__(
        self,
        directory: Path,
        network: Network,
        *,
        shards: int,
        broken: str = "",
        spares: int = 0,
        settings: str = "",
    ) -> None:
        """`broken`: a rule of the product that the nodes break, see `tests/chaos/broken.py`.
        `spares`: how many of the network's last nodes are no founders, but may join. `settings`:
        lines of TOML for all nodes.
        """
        self.shards = shards
        self.network = network
        self._settings = directory / "node.toml"
        self._settings.write_text(SETTINGS + settings)
        self._program = ["-m", "tests.chaos.broken", broken] if broken else ["-m", NODE_MODULE]
        founders = network.nodes[: len(network.nodes) - spares]
        members = ",".join(self._member(name) for name in founders)
        self.nodes: list[ChaosNode] = []
        for name in network.nodes:
            node = ChaosNode(name, directory, [])
            node.is_in = name in founders
            node.command = self._command(
                node, "--shards", str(shards), "--initial-cluster", members
            )
            self.nodes.append(node)

    def set_to_join(self, node: ChaosNode) -> None:
        """From now on it is started with --join, and what it needs to be a member for that."""
        peers = [f"{self.network.addresses[n.name]}:{PEER_PORT}" for n in self.members]
        own = f"{self.network.addresses[node.name]}:{PEER_PORT}"
        seeds = ",".join(peer for peer in peers if peer != own)
        node.command = self._command(node, "--join", seeds, "--peer", own)

    def _member(self, name: str) -> str:
        return f"{name}={self.network.addresses[name]}:{PEER_PORT}"

    def _command(self, node: ChaosNode, *more: str) -> list[str]:
        words = ["--config", str(self._settings), "--name", node.name]
        words += ["--log-level", "debug"]  # tells of elections; nothing is logged per request
        words += ["--listen", f"{self.network.addresses[node.name]}:{MEMCACHED_PORT}"]
        words += ["--data-dir", str(node.disk / DATA), *more]
        return [*self.network.inside(node.name), sys.executable, *self._program, *words]

    @property
    def members(self) -> list[ChaosNode]:
        """All but those that have not joined, or have left."""
        return [node for node in self.nodes if node.is_in]

    def address_of(self, node: ChaosNode) -> tuple[str, int]:
        """Where its clients connect."""
        return self.network.addresses[node.name], MEMCACHED_PORT

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of all nodes, those included that have not joined yet."""
        return [self.address_of(node) for node in self.nodes]

    def start(self) -> None:
        """All founders, on empty disks."""
        for node in self.nodes:
            node.mount()
        for node in self.members:
            node.launch()
        for node in self.members:
            node.wait_ready()

    def check_run(self) -> None:
        for node in self.nodes:
            node.check_runs()

    def topology(self, node: ChaosNode) -> Topology | None:
        """What a node believes; None when it does not answer or knows nothing."""
        if node.process is None or node.is_paused:
            return None
        try:
            with TextClient(self.address_of(node), ASK_S) as client:
                return client.topology()
        except TargetError:
            return None

    def is_led(self) -> bool:
        """Every node knows a leader for every shard."""
        for node in self.members:
            found = self.topology(node)
            if found is None or 0 in found.leaders:
                return False
        return True

    def leader(self) -> ChaosNode | None:
        """Who leads the most shards and says so itself."""
        best: ChaosNode | None = None
        most = 0
        for node in self.members:
            found = self.topology(node)
            known = found.map.node_named(node.name) if found is not None else None
            if found is None or known is None:
                continue
            led = len(found.led_by(known.node_id))
            if led > most:
                best, most = node, led
        return best

    def replicas(self, node: ChaosNode) -> dict[str, str]:
        """What a node says of its replicas (`stats shards`); {} when it does not answer."""
        if node.process is None or node.is_paused:
            return {}
        try:
            with TextClient(self.address_of(node), ASK_S) as client:
                rows = (line.decode().split() for line in client.lines(b"stats shards"))
                return {row[1]: row[2] for row in rows if len(row) == 3}
        except TargetError:
            return {}

    def leader_of(self, group: str) -> ChaosNode | None:
        """Who says so itself, in the newest term. `group` as `stats shards` names it."""
        leaders = []
        for node in self.members:
            told = self.replicas(node)
            if told.get(f"{group}:role") == "leader":
                leaders.append((int(told[f"{group}:term"]), node.name, node))
        return max(leaders)[-1] if leaders else None

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
