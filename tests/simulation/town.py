"""A few nodes on a virtual loop whose directories and addresses a test moves about by hand.

`World` draws faults and checks histories; here a test tells one story about identity. Whatever it
is, at most one cluster is ever complete (`check_one_cluster`), unless the test founds two itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any

from quorumcache.node.admin.status import health_warnings
from quorumcache.node.settings.config import NodeConfig
from tests.simulation.client import LOST
from tests.simulation.cluster import CLIENT_PORT, PEER_PORT, SimulatedNode
from tests.simulation.disk import DiskConfig
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.settings import draw_bounds

ANSWER_SECONDS = 3.0
SERVICE_SECONDS = 20.0
HELD = b"SERVER_ERROR"


class Town:
    """`nodes` by name. Every run is a function of the seed and the test."""

    def __init__(self, names: Sequence[str], *, seed: int = 1, **settings: Any) -> None:
        self.loop = VirtualLoop(events_max=20_000_000)
        self.random = Random(f"{seed}/town")
        self.network = Network(self.loop, Random(f"{seed}/network"))
        self.settings = {
            "shards": 2,
            "data_dir": "/data",
            "request_timeout_ms": 1000,
            "segment_bytes_max": 16 << 10,
            "wal_bytes_max": 64 << 10,
            "snapshot_bytes_min": 2 << 10,
            **settings,
        }
        self.members = {name: f"{name}:{PEER_PORT}" for name in names}
        self.bounds = draw_bounds(self.random)
        self.nodes = {name: self.make(name) for name in names}
        self.everybody = list(self.nodes.values())
        self.client = Process(self.loop, "client", host="client")
        self.complete: set[str] = set()
        """Ids of all clusters whose founding some node ever held for complete."""
        self.alarms_seen: set[str] = set()
        """Names of the alarms that some node ever had."""

    def config(self, name: str, *, host: str = "", **changes: Any) -> NodeConfig:
        host = host or name
        members = changes.pop("initial_cluster", self.members)
        return NodeConfig(
            name=name,
            listen=f"{host}:{CLIENT_PORT}",
            peer=f"{host}:{PEER_PORT}",
            initial_cluster=members,
            **{**self.settings, **changes},
        )

    def make(self, name: str, *, host: str = "", **changes: Any) -> SimulatedNode:
        """A node that was never started."""
        node = SimulatedNode(
            self.loop,
            self.network,
            self.config(name, host=host, **changes),
            Random(self.random.getrandbits(64)),
            clock_rate_ppm=0,
            disk_config=DiskConfig(step_seconds=0.0002),
            consensus_bounds=self.bounds,
        )
        node.name = host or name
        return node

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Play a story, and look all the while."""

        async def watched() -> None:
            watching = self.loop.create_task(self._watch())
            try:
                await story
            finally:
                watching.cancel()

        try:
            self.loop.run_until_complete(watched())
            assert not self.loop.errors, self.loop.errors
        finally:
            self.loop.close()

    async def _watch(self) -> None:
        while True:
            for node in self.everybody:
                founding = node.node.founding if node.is_up and node.node is not None else None
                if founding is not None and founding.is_complete:
                    self.complete.add(founding.record.cluster_id)
                if node.is_up and node.node is not None:
                    self.alarms_seen.update(alarm.name for alarm in node.node.alarms.raised())
            await asyncio.sleep(0.002)

    def check_one_cluster(self) -> None:
        """The survivors of a cluster and whatever was wiped never became two."""
        assert len(self.complete) == 1, self.complete

    # -- nodes -------------------------------------------------------------------------------------

    def start(self, names: Sequence[str] | None = None) -> None:
        for name in self.nodes if names is None else names:
            self.nodes[name].start()

    def kill(self, names: Sequence[str], *, power: bool = False) -> None:
        for name in names:
            self.nodes[name].crash(silent=power)

    def alarms(self, name: str) -> Mapping[str, str]:
        node = self.nodes[name].node
        raised = node.alarms.raised() if node is not None else []
        return {alarm.name: alarm.sentence for alarm in raised}

    def warnings(self, name: str) -> list[str]:
        """What `/health` of a node warns of."""
        node = self.nodes[name].node
        assert node is not None
        return health_warnings(node)

    def refusals(self, name: str) -> Mapping[int, str]:
        """Why other nodes do not take this one, by their ids."""
        node = self.nodes[name].node
        return node.peers.refusals() if node is not None and node.peers is not None else {}

    async def refusal(self, name: str) -> str:
        """Why the node ends, or refuses to start."""
        node = self.nodes[name]
        await self.until(lambda: bool(node.problems), f"{name} starts")
        problem = node.problems.pop()
        node.crash()
        return problem

    async def until(
        self, condition: Callable[[], object], what: str, seconds: float = 10, pause: float = 0.01
    ) -> None:
        deadline = self.loop.time() + seconds
        while not condition():
            assert self.loop.time() < deadline, f"after {seconds} s still: {what}"
            await asyncio.sleep(pause)

    # -- clients -----------------------------------------------------------------------------------

    async def ask(self, name: str, request: bytes) -> bytes:
        """One request to one node; its reply, or b"" when there was none."""
        return await self.client.spawn(self._ask(name, request))

    async def _ask(self, name: str, request: bytes) -> bytes:
        writer = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(*self.nodes[name].address)
                writer.write(request)
                reply = await reader.readline()
                while reply.startswith(b"VALUE") and not reply.endswith(b"END\r\n"):
                    reply += await reader.readline()
                return reply
        except LOST:
            return b""
        finally:
            if writer is not None:
                writer.close()

    async def put(self, name: str, key: str, value: str) -> bool:
        """Whether the write was acknowledged."""
        data = value.encode()
        request = b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(data), data)
        return await self.ask(name, request) == b"STORED\r\n"

    async def get(self, name: str, key: str) -> str | None:
        """The value; "" for a miss; None when the node did not say."""
        reply = await self.ask(name, b"get %s\r\n" % key.encode())
        if not reply or reply.startswith(HELD):
            return None
        return reply.split(b"\r\n")[1].decode() if reply.startswith(b"VALUE") else ""

    async def put_all(self, names: Sequence[str], values: Mapping[str, str]) -> None:
        """Each value through one of these nodes, acknowledged."""
        deadline = self.loop.time() + SERVICE_SECONDS
        for number, (key, value) in enumerate(values.items()):
            while not await self.put(names[number % len(names)], key, value):
                assert self.loop.time() < deadline, f"{names} do not store {key}"
                await asyncio.sleep(0.05)

    async def check_all(self, names: Sequence[str], values: Mapping[str, str]) -> None:
        """Every one of these nodes tells every value."""
        deadline = self.loop.time() + SERVICE_SECONDS
        for name in names:
            for key, value in values.items():
                while (found := await self.get(name, key)) is None:
                    assert self.loop.time() < deadline, f"{name} does not answer for {key}"
                    await asyncio.sleep(0.05)
                assert found == value, f"{name} says {key} is {found!r}, acknowledged was {value!r}"


def values_of(count: int, word: str) -> dict[str, str]:
    """`count` keys, and what `word` makes of them."""
    return {f"k{number}": f"{word}{number}" for number in range(count)}
