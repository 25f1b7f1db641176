"""The command `race`, from its flags to its figures; what it prints and writes is the caller's."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from quorumcache.bench.cluster import ClusterOptions
from quorumcache.bench.measure import Progress
from quorumcache.bench.memory import MemoryUse, measure_memory
from quorumcache.bench.race import Figures, Plan, Work, find_works, run_race
from quorumcache.bench.race_load import Generator, Load
from quorumcache.bench.race_peers import (
    PEERS,
    LocalRedis,
    Places,
    find_places,
    started_racers,
)

NODES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What was asked for, checked."""

    works: list[Work]
    peers: tuple[str, ...]
    cluster: ClusterOptions
    places: Places
    rounds: int
    seconds: float
    keys: int

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """BenchError when it cannot be run here."""
        each = arguments.core_per_node
        places = find_places(list(os.sched_getaffinity(0)), NODES, core_per_node=each)
        cluster = ClusterOptions(
            nodes=NODES,
            shards=arguments.shards or 0,
            data_root=arguments.data_root,
            cpus=places.servers,
            core_per_node=each,
        )
        return cls(
            works=find_works(arguments.only),
            peers=tuple(peer for peer in PEERS if peer not in arguments.without),
            cluster=cluster.validate(),
            places=places,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            keys=arguments.keys,
        )

    def describe(self) -> str:
        """One line for people."""
        servers = ", ".join(map(str, self.places.servers))
        load = ", ".join(map(str, self.places.load))
        return (
            f"{self.cluster.describe()}; beside it {' and '.join(self.peers) or 'nobody'}; servers"
            f" on processor {servers}, the load on {load}"
        )

    def run(
        self, notes: list[str], say: Callable[[str], None], show: Callable[[Figures], None]
    ) -> list[Figures]:
        """Run it; `show` is told of each workload as it ends. `notes` gets what is to be known."""
        found: list[Figures] = []
        with tempfile.TemporaryDirectory(prefix="quorumcache-bench-race-") as place:
            generator = Generator(Path(place))
            plan = Plan(
                rounds=self.rounds,
                seconds=self.seconds,
                keys=self.keys,
                places=self.places,
                directory=Path(place),
            )
            with started_racers(self.cluster, self.places, notes, peers=self.peers) as racers:
                for note in notes:
                    say(note)
                for figures in run_race(racers, self.works, plan, generator, say):
                    found.append(figures)
                    show(figures)
        return found


def redis_memory(
    cpus: tuple[int, ...], items: int, value_bytes: int, progress: Progress
) -> list[MemoryUse]:
    """Bytes per item of a redis that keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="quorumcache-bench-race-") as place:
        generator = Generator(Path(place))
        servers = cpus or tuple(sorted(os.sched_getaffinity(0)))[:1]
        with LocalRedis(Places(servers=servers, load=())) as redis:
            ports = [port for _, port in redis.addresses]

            def fill(keys: int) -> int:
                load = Load(connections=8, gets=0, keys=keys, value_bytes=value_bytes)
                lap = generator.run(ports, load, seconds=0, fill=True, is_resp=True)
                return keys - lap.filled + lap.faults

            return measure_memory(redis, items, value_bytes, progress, fill)
