"""How long requests wait around a fault: a small cluster, one prober for each node and shard.

A prober sends a set and a get of its key through its node, over and over, one at a time. What
counts is the longest time between two answers that were a result, in virtual time, so it does not
depend on the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from quorumcache.node.settings.config import NodeConfig
from tests.simulation.cluster import CLIENT_PORT, PEER_PORT, SimulatedNode
from tests.simulation.disk import DiskConfig
from tests.simulation.liveness import probe_keys
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network, NetworkConfig
from tests.simulation.process import Process

PAUSE_SECONDS = 0.01
BOOT_SECONDS = 10.0


class Gaps:
    """A cluster of `nodes`; `longest[node name, shard]` is the longest wait since `measure`."""

    def __init__(self, seed: int, *, nodes: int, shards: int = 2, **settings: Any) -> None:
        """`settings`: of every node, by their names in `NodeConfig`."""
        self.random = Random(f"gaps/{seed}")
        self.loop = VirtualLoop(events_max=100_000_000)
        self.network = Network(self.loop, Random(self.random.random()), config=NetworkConfig())
        names = [f"n{number}" for number in range(1, nodes + 1)]
        members = {name: f"{name}:{PEER_PORT}" for name in names}
        self.shards = shards
        self.nodes = [
            SimulatedNode(
                self.loop,
                self.network,
                NodeConfig(
                    name=name,
                    listen=f"{name}:{CLIENT_PORT}",
                    peer=f"{name}:{PEER_PORT}",
                    initial_cluster=members,
                    data_dir="/data",
                    shards=shards,
                    **settings,
                ),
                Random(self.random.random()),
                clock_rate_ppm=0,
                disk_config=DiskConfig(stall_probability=0.0),
                consensus_bounds={},
            )
            for name in names
        ]
        self.longest: dict[tuple[str, int], float] = {}
        self.failures: list[bytes] = []
        """Lines of requests that were given up."""
        self.value = b"x"
        """What the probes write."""
        self._answered: dict[tuple[str, int], float] = {}
        self._probes: list[asyncio.Task[None]] = []
        self._measuring = False

    # -- what a test asks ------------------------------------------------------------------------

    def run(self, play: Callable[[], Awaitable[None]]) -> None:
        """Boot, probe, and play the test's part; the world ends with it."""
        try:
            self.loop.run_until_complete(self._play(play))
        finally:
            self.network.shut()
            self.loop.close()

    async def stop_probing(self) -> None:
        """End all probes: nothing is written any more."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)

    async def measure(self, seconds: float) -> None:
        """Forget what was, and measure for so long."""
        now = self.loop.time()
        self.longest = dict.fromkeys(self._answered, 0.0)
        self._answered = dict.fromkeys(self._answered, now)
        self.failures.clear()
        self._measuring = True
        await asyncio.sleep(seconds)
        self._measuring = False
        for probe, last in self._answered.items():
            self.longest[probe] = max(self.longest[probe], self.loop.time() - last)

    def worst(self, *, through: SimulatedNode | None = None) -> float:
        """The longest wait of all shards, through one node or any that is up."""
        up = {node.name for node in self.nodes if node.is_up}
        return max(
            gap
            for (name, _), gap in self.longest.items()
            if (name == through.name if through is not None else name in up)
        )

    def replicas(self, shard: int) -> list[SimulatedNode]:
        """Nodes with a replica of the shard, the preferred leader first."""
        node = next(n.node for n in self.nodes if n.node is not None and n.is_up)
        assert node.map is not None
        ids = node.map.replica_sets[shard]
        first = node.map.preferred_leader(shard)
        return [self.nodes[i - 1] for i in sorted(ids, key=lambda i: (i != first, i))]

    def leader(self, shard: int) -> SimulatedNode:
        """The node that leads the shard."""
        return next(
            node
            for node in self.nodes
            for group in node.groups()
            if group.group_id == shard + 1 and group.is_leader
        )

    def strangers(self, shard: int) -> list[SimulatedNode]:
        """Nodes without a replica of the shard."""
        replicas = self.replicas(shard)
        return [node for node in self.nodes if node not in replicas]

    # -- how -------------------------------------------------------------------------------------

    async def _play(self, play: Callable[[], Awaitable[None]]) -> None:
        for node in self.nodes:
            node.start()
        keys = {node.name: probe_keys(node.name, self.shards) for node in self.nodes}
        for node in self.nodes:
            for shard, key in enumerate(keys[node.name]):
                process = Process(self.loop, f"p-{node.name}-{shard}", host=f"client-{node.name}")
                self._answered[node.name, shard] = -1.0
                self._probes.append(process.spawn(self._probe(node, shard, key)))
        deadline = self.loop.time() + BOOT_SECONDS
        while min(self._answered.values()) < 0:
            assert self.loop.time() < deadline, "the cluster did not come up"
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        await play()
        await self.stop_probing()

    async def _probe(self, node: SimulatedNode, shard: int, key: bytes) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(*node.address)
                try:
                    while True:
                        await self._ask(reader, writer, node, shard, key)
                        await asyncio.sleep(PAUSE_SECONDS)
                finally:
                    writer.close()
            except (OSError, EOFError):
                await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        node: SimulatedNode,
        shard: int,
        key: bytes,
    ) -> None:
        value = self.value
        writer.write(b"set %b 0 0 %d\r\n%b\r\nget %b\r\n" % (key, len(value), value, key))
        stored = await reader.readuntil(b"\r\n")
        found = await reader.readuntil(b"\r\n")
        if found.startswith(b"VALUE"):
            await reader.readuntil(b"END\r\n")
        for line in (stored, found):
            if line.startswith(b"SERVER_ERROR"):
                self.failures.append(line)
                return
        now = self.loop.time()
        probe = (node.name, shard)
        if self._measuring:
            self.longest[probe] = max(self.longest[probe], now - self._answered[probe])
        self._answered[probe] = now


__all__ = ["Gaps"]
