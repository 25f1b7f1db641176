"""Clients and a scripted cluster in virtual time: what waits for seconds takes none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from quorumcache.router import AsyncClient, ClientConfig
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.support.fake_cluster import FakeCluster

HOST = "127.0.0.1"


class VirtualWorld:
    """A cluster, and clients that are closed at the end."""

    def __init__(self, loop: VirtualLoop, cluster: FakeCluster) -> None:
        self.loop = loop
        self.cluster = cluster
        self.clients: list[AsyncClient] = []

    def client(self, config: ClientConfig | None = None) -> AsyncClient:
        """One more client, with randomness of its own."""
        client = AsyncClient(self.cluster.seeds, config, random=Random(len(self.clients)))
        self.clients.append(client)
        return client


def virtual(main: Callable[[VirtualWorld], Awaitable[None]]) -> None:
    """Run a test in a world of its own. Errors that nobody was told are its errors, too."""
    loop = VirtualLoop(events_max=5_000_000)
    Network(loop, Random(1))

    async def run() -> None:
        async with FakeCluster(sessions=True) as cluster:
            world = VirtualWorld(loop, cluster)
            try:
                await main(world)
            finally:
                for client in world.clients:
                    await client.close()

    process = Process(loop, "all", host=HOST)
    try:
        loop.run_until_complete(process.spawn(run()))
    finally:
        loop.close()
    assert loop.errors == []
