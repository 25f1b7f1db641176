"""Faults of the network. Each ends by itself, and undoes only what it has done."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from tests.simulation.nemesis_base import Faults

MS = 1_000_000


class NetworkFaults(Faults):
    """Partitions, slow and narrow links, resets."""

    async def _cut(
        self, side: list[str], others: list[str], fault: str, seconds: float, *, one_way: bool
    ) -> None:
        network = self.world.network
        arrow = "-x->" if one_way else "-x-"
        what = f"{'+'.join(side)} {arrow} {'+'.join(others)}"
        self._say(f"{what} ({fault})")
        links = network.partition(side, others, fault=fault, one_way=one_way)
        try:
            await asyncio.sleep(seconds)
        finally:
            network.mend(links, fault=fault)
        self._say(f"{what} is over")

    async def _isolate(
        self, clients: list[str], bytes: str, seconds: float, who: str, pick: int = 0
    ) -> None:
        node = self._who(who, pick).name
        others = [name for name in self._nodes if name != node] + clients
        await self._cut([node], others, bytes, seconds, one_way=False)

    _isolate_leader = _isolate

    async def _split(self, side: list[str], others: list[str], bytes: str, seconds: float) -> None:
        await self._cut(side, others, bytes, seconds, one_way=False)

    _bridge = _split

    async def _one_way(
        self, side: list[str], others: list[str], bytes: str, seconds: float
    ) -> None:
        await self._cut(side, others, bytes, seconds, one_way=True)

    async def _flapping(
        self, side: list[str], others: list[str], bytes: str, seconds: float, period_ms: int
    ) -> None:
        half = period_ms / 2000
        end = self.world.loop.time() + seconds
        while self.world.loop.time() < end:
            await self._cut(side, others, bytes, half, one_way=False)
            await asyncio.sleep(half)

    async def _cut_clients(self, bytes: str, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick).name
        await self._cut(self.world.client_names, [node], bytes, seconds, one_way=False)

    def _links_of(self, host: str) -> list[Any]:
        network = self.world.network
        links = []
        for name in (*self._nodes, *self.world.client_names):
            if name != host:
                links += [network.link(host, name), network.link(name, host)]
        return links

    async def _slow_links(self, host: str, extra_ms: int, seconds: float) -> None:
        self._say(f"links of {host} slower by {extra_ms} ms")
        links = self._links_of(host)
        for link in links:
            link.extra_latency_ns += extra_ms * MS
        try:
            await asyncio.sleep(seconds)
        finally:
            for link in links:
                link.extra_latency_ns -= extra_ms * MS
        self._say(f"links of {host} as fast as before")

    async def _narrow_links(self, host: str, bytes_per_second: int, seconds: float) -> None:
        self._say(f"links of {host} carry {bytes_per_second} bytes/s")
        links = self._links_of(host)
        for link in links:
            link.narrow(bytes_per_second)
        try:
            await asyncio.sleep(seconds)
        finally:
            for link in links:
                link.widen(bytes_per_second)
        self._say(f"links of {host} as wide as before")

    async def _reset_connections(self, draw: int, percent: int) -> None:
        random = Random(draw)
        for transport in self.world.network.transports():
            if random.random() * 100 < percent:
                self.world.network.reset_connection(transport)
        self._say(f"{percent} % of the connections are reset")
