"""Who runs a race: QuorumCache, memcached with one thread, and redis, each in its place.

A redis for sets does what a cluster of ours does before it answers, as far as it can: its log is on
disk before the answer (`appendfsync always`), and two replicas do the same. It does not wait for
them. One for gets keeps nothing.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from quorumcache.bench import processes
from quorumcache.bench.cluster import (
    MEMCACHED,
    ClusterOptions,
    LocalCluster,
    LocalMemcached,
    Target,
    memcached_path,
    wait_for,
)
from quorumcache.bench.errors import BenchError, StartError, TargetError
from quorumcache.bench.ports import HOST, free_ports

OURS: Final = LocalCluster.name
REDIS: Final = "redis"
REDIS_SERVER: Final = "redis-server"
PEERS: Final = (MEMCACHED, REDIS)
REPLICAS: Final = 2
MISSING: Final = "{} is not installed, and is left out: apt-get install {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Processors: of each process that serves one part of a racer, and of the load.

    `servers`: the first is that of whoever is alone; node n of three, and replica n - 1 of redis,
    have the nth. With one for all they share it.
    """

    servers: tuple[int, ...]
    load: tuple[int, ...]

    def of(self, number: int) -> tuple[int, ...]:
        """Of the process with that number, from 0."""
        return (self.servers[number % len(self.servers)],)


def find_places(allowed: Sequence[int], nodes: int, *, core_per_node: bool) -> Places:
    """Of the processors that this process may use. BenchError when there are too few."""
    cpus = sorted(allowed)
    needed = nodes + 1 if core_per_node else 2
    if len(cpus) < needed:
        flag = "--core-per-node" if core_per_node else "a race"
        raise BenchError(f"{flag} needs {needed} processors, this process may use {len(cpus)}")
    servers = tuple(cpus[: needed - 1])
    return Places(servers=servers, load=(cpus[needed - 1],))


class LocalRedis:
    """A redis on this machine. With `replicas`, it and they write each set to disk before the
    answer; without, it keeps nothing.
    """

    name = REDIS

    def __init__(self, places: Places, *, replicas: int = 0) -> None:
        self._places = places
        self._replicas = replicas
        self._ports: list[int] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._directory: Path | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of the one that takes writes."""
        return [(HOST, port) for port in self._ports[:1]]

    @property
    def pids(self) -> list[int]:
        """Of it and its replicas."""
        return [process.pid for process in self._processes]

    def __enter__(self) -> Self:
        path = redis_path()
        if path is None:
            raise StartError(MISSING.format(REDIS, REDIS_SERVER))
        self._directory = Path(tempfile.mkdtemp(prefix="quorumcache-bench-redis-"))
        self._ports = free_ports(1 + self._replicas)
        try:
            for number, port in enumerate(self._ports):
                place = self._directory / str(number)
                place.mkdir()
                command = [path, *self._flags(number, port), "--dir", str(place)]
                self._processes.append(processes.start(command, cpus=self._places.of(number)))
            wait_for(f"the start of {1 + self._replicas} redis", self.is_whole)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _flags(self, number: int, port: int) -> list[str]:
        flags = ["--bind", HOST, "--port", str(port), "--save", "", "--daemonize", "no"]
        if not self._replicas:
            return [*flags, "--appendonly", "no"]
        flags += ["--appendonly", "yes", "--appendfsync", "always"]
        return [*flags, "--replicaof", HOST, str(self._ports[0])] if number else flags

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                processes.stop(process)
        finally:
            self._processes = []
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None

    def is_whole(self) -> bool:
        """Whether all run, and all replicas follow. StartError when one has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise StartError(f"{REDIS_SERVER} ended with status {process.returncode}")
        told = _replication((HOST, self._ports[0]))
        return told.count(b"state=online") == self._replicas


def _replication(address: tuple[str, int]) -> bytes:
    """What a redis says of its replicas. TargetError when it does not answer."""
    told = b""
    try:
        with socket.create_connection(address, 2.0) as connection:
            connection.sendall(b"INFO replication\r\nQUIT\r\n")
            while data := connection.recv(65536):
                told += data
    except OSError as error:
        raise TargetError(f"redis: {error}") from None
    return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Racer:
    """`reads` and `writes`: the started targets, which may be one. `is_resp`: redis' protocol."""

    name: str
    reads: Target
    writes: Target
    is_resp: bool = False


@contextmanager
def started_racers(
    cluster: ClusterOptions, places: Places, notes: list[str], *, peers: Sequence[str]
) -> Iterator[list[Racer]]:
    """Ours first, then those of `peers` that are installed; `notes` gets a line for each that is
    not. All are stopped at the end.
    """
    with ExitStack() as stack:
        ours = stack.enter_context(LocalCluster(cluster))
        racers = [Racer(name=OURS, reads=ours, writes=ours)]
        if MEMCACHED in peers:
            if memcached_path() is None:
                notes.append(MISSING.format(MEMCACHED, MEMCACHED))
            else:
                alone = stack.enter_context(LocalMemcached(places.of(0)))
                racers.append(Racer(name=MEMCACHED, reads=alone, writes=alone))
        if REDIS in peers:
            if redis_path() is None:
                notes.append(MISSING.format(REDIS, REDIS_SERVER))
            else:
                reads = stack.enter_context(LocalRedis(places))
                writes = stack.enter_context(LocalRedis(places, replicas=REPLICAS))
                racers.append(Racer(name=REDIS, reads=reads, writes=writes, is_resp=True))
        yield racers
        for racer in racers:
            if isinstance(racer.writes, LocalRedis) and not racer.writes.is_whole():
                notes.append(
                    "a replica of redis was lost: its sets were cheaper than they should be"
                )


def redis_path() -> str | None:
    """Where redis-server is, or None."""
    return shutil.which(REDIS_SERVER) or shutil.which(
        REDIS_SERVER, path="/usr/local/bin:/usr/bin:/usr/sbin:/usr/local/sbin"
    )
