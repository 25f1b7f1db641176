"""A small cluster on virtual time for scenarios that are told step by step, without a nemesis.

    stage = Stage()                       # three nodes n1, n2, n3, two shards
    stage.run(scenario)                   # async def scenario(stage): ...

Node objects are at hand (`stage.node("n1")`), clients are bytes over a connection (`Wire`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from quorumcache.node.admin.status import health_document
from quorumcache.node.node import Node
from quorumcache.node.settings.config import NodeConfig
from quorumcache.ring import key_token
from tests.simulation.cluster import CLIENT_PORT, PEER_PORT, SimulatedNode
from tests.simulation.disk import DiskConfig
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import Process

DEADLINE_SECONDS = 30.0
"""Virtual; for anything that is waited for."""

SETTINGS: dict[str, Any] = {
    "shards": 2,
    "data_dir": "/data",
    "http": "",
    "request_timeout_ms": 2000,
    "segment_bytes_max": 64 << 10,
    "wal_bytes_max": 256 << 10,
    "snapshot_bytes_min": 32 << 10,
    "item_bytes_max": 64 << 10,
}


class Stage:
    """See the module. `settings` are those of `NodeConfig`; `own` adds some for one node."""

    def __init__(
        self, *, nodes: int = 3, own: dict[str, dict[str, Any]] | None = None, **settings: Any
    ) -> None:
        self.loop = VirtualLoop(events_max=20_000_000)
        self.network = Network(self.loop, Random(1))
        names = [f"n{number}" for number in range(1, nodes + 1)]
        members = {name: f"{name}:{PEER_PORT}" for name in names}
        common = {"initial_cluster": members, **SETTINGS, **settings}
        self.nodes = {
            name: SimulatedNode(
                self.loop,
                self.network,
                NodeConfig(
                    name=name,
                    listen=f"{name}:{CLIENT_PORT}",
                    peer=members[name],
                    **{**common, **(own or {}).get(name, {})},
                ),
                Random(name),
                clock_rate_ppm=0,
                disk_config=DiskConfig(stall_probability=0.0),
                consensus_bounds={},
            )
            for name in names
        }
        self.shards: int = common["shards"]
        self._wires: list[Wire] = []
        self.process = Process(self.loop, "client", host="client")

    def run(self, scenario: Callable[[Stage], Awaitable[None]], *, all_well: bool = True) -> None:
        """Boot the cluster, until all are well, play, and see that nothing went wrong unheard."""

        async def play() -> None:
            for simulated in self.nodes.values():
                simulated.start()
            if all_well:
                await self.served()
            await scenario(self)
            for wire in self._wires:
                wire.writer.transport.abort()
            await asyncio.sleep(0.01)

        try:
            self.loop.run_until_complete(self.process.spawn(play(), name="scenario"))
        finally:
            self.loop.close()
        assert [simulated.problems for simulated in self.nodes.values() if simulated.problems] == []
        assert self.loop.errors == []

    def node(self, name: str) -> Node:
        node = self.nodes[name].node
        assert node is not None, f"{name} is down"
        return node

    def up(self) -> list[Node]:
        return [s.node for s in self.nodes.values() if s.node is not None and s.is_up]

    async def until(self, what: str, check: Callable[[], object]) -> None:
        end = self.loop.time() + DEADLINE_SECONDS
        while not check():
            assert self.loop.time() < end, f"in vain waited for: {what}"
            await asyncio.sleep(0.005)

    async def served(self) -> None:
        """Every shard has a leader with a lease, and all nodes run and are well."""

        def check() -> bool:
            nodes = self.up()
            return (
                len(nodes) == len(self.nodes)
                and all(self.leader(shard) for shard in range(self.shards))
                and not any(health_document(node)["problems"] for node in nodes)
            )

        await self.until("all nodes are well", check)

    def leader(self, shard: int) -> str:
        """Name of the node that leads a shard under a lease; "" if there is none now."""
        for node in self.up():
            group = node.host.groups.get(shard + 1)
            if group is not None and group.is_leader and group.has_lease():
                return str(node.config.name)
        return ""

    def key(self, shard: int, number: int = 0) -> bytes:
        """A key of that shard."""
        shift = 64 - (self.shards.bit_length() - 1)
        keys = (b"key-%d" % n for n in range(10_000))
        found = [key for key in keys if self.shards == 1 or key_token(key) >> shift == shard]
        return found[number]

    async def connect(self, name: str) -> Wire:
        reader, writer = await asyncio.open_connection(name, CLIENT_PORT)
        wire = Wire(reader, writer)
        self._wires.append(wire)
        return wire

    async def ask(self, name: str, request: bytes, end: bytes = b"\r\n") -> bytes:
        """The reply to one request on a connection of its own, up to `end`."""
        wire = await self.connect(name)
        try:
            return await wire.ask(request, end)
        finally:
            wire.close()


class Wire:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes, end: bytes = b"\r\n") -> bytes:
        self.writer.write(request)
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()
