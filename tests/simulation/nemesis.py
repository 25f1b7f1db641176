"""The adversary: a seeded sequence of faults, each with an end.

Faults overlap. Every one is announced in the trace, so that the last lines of a failed run tell the
story. When the time is over, `World.heal` undoes whatever still lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.world import World

MS = 1_000_000


@dataclass(slots=True, kw_only=True)
class NemesisConfig:
    """`calm_seconds` is the mean time between two faults; `weights` which of them, by name."""

    calm_seconds: float = 0.7
    weights: dict[str, int]


DEFAULT_WEIGHTS = {
    "kill": 6,
    "power_cut": 3,
    "power_cut_all": 2,
    "kill_leader": 4,
    "restart_gracefully": 2,
    "isolate": 5,
    "isolate_leader": 4,
    "split": 3,
    "one_way": 5,
    "cut_clients": 1,
    "pause": 4,
    "pause_leader": 4,
    "slow_links": 2,
    "reset_connections": 3,
    "slow_disk": 2,
    "full_disk": 1,
    "failing_disk": 1,
    "wall_jump": 2,
    "clock_rate": 2,
}


def draw_weights(weights: dict[str, int], random: Random) -> dict[str, int]:
    """The faults of one seed: some kinds not at all, some often.

    A mixture of everything, always the same, rarely does one thing twice in a row, and most bugs
    need that.
    """
    drawn = {name: weight * random.choice((0, 0, 1, 4)) for name, weight in weights.items()}
    return drawn if any(drawn.values()) else weights


class Nemesis:
    """Runs as a task of the test, outside of every simulated process."""

    def __init__(self, world: World, config: NemesisConfig, random: Random) -> None:
        self.world = world
        self.config = config
        self.random = random
        self.faults = 0
        self._running: list[asyncio.Task[None]] = []
        self._names = list(config.weights)
        self._weights = list(config.weights.values())

    async def run(self, seconds: float) -> None:
        """Break things for so long, then wait until every fault has ended by itself."""
        loop = self.world.loop
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(self.random.expovariate(1 / self.config.calm_seconds))
            name = self.random.choices(self._names, self._weights)[0]
            fault: Callable[[], Coroutine[Any, Any, None]] = getattr(self, "_" + name)
            self.faults += 1
            self._running.append(loop.create_task(fault(), name=f"fault {name}"))
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for task in self._running:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    def _say(self, text: str) -> None:
        self.world.trace.say(f"nemesis: {text}")

    def _any(self) -> int:
        return self.random.randrange(len(self.world.nodes))

    def _leader(self) -> int:
        """A node that leads something, preferably a shard; any if there is none."""
        leaders = [
            index
            for index, node in enumerate(self.world.nodes)
            if any(group.is_leader for group in node.groups())
        ]
        return self.random.choice(leaders) if leaders else self._any()

    async def _last(self, low: float, high: float) -> None:
        await asyncio.sleep(self.random.uniform(low, high))

    async def _down(self) -> None:
        """How long a node stays away: a moment, longer than an election, or much longer."""
        await self._last(*self.random.choice(((0.0, 0.1), (0.1, 0.8), (0.8, 3.0))))

    # -- processes ---------------------------------------------------------------------------------

    async def _kill(self, index: int | None = None, *, silent: bool = False) -> None:
        index = self._any() if index is None else index
        node = self.world.nodes[index]
        if not node.is_up:
            return
        self._say(f"{'power cut' if silent else 'kill'} {node.name}")
        node.crash(silent=silent)
        await self._down()
        self._restart(index)

    def _restart(self, index: int) -> None:
        node = self.world.nodes[index]
        if not node.is_up:
            self._say(f"start {node.name}")
            node.start()

    async def _kill_leader(self) -> None:
        await self._kill(self._leader())

    async def _power_cut(self) -> None:
        await self._kill(silent=True)

    async def _power_cut_all(self) -> None:
        self._say("power cut everywhere")
        for node in self.world.nodes:
            node.crash(silent=True)
        await self._down()
        for index in self.random.sample(range(len(self.world.nodes)), len(self.world.nodes)):
            await self._last(0.0, 0.5)
            self._restart(index)

    async def _restart_gracefully(self) -> None:
        index = self._any()
        node = self.world.nodes[index]
        if not node.is_up:
            return
        self._say(f"stop {node.name} gracefully")
        await node.stop()
        await self._last(0.05, 1.0)
        self._restart(index)

    async def _pause(self, index: int | None = None) -> None:
        node = self.world.nodes[self._any() if index is None else index]
        if not node.is_up:
            return
        seconds = self.random.choice((0.05, 0.2, 0.35, 0.6, 1.5, 5.0))
        self._say(f"pause {node.name} for {seconds} s")
        process = node.process
        process.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            process.resume()
        self._say(f"{node.name} goes on")

    async def _pause_leader(self) -> None:
        await self._pause(self._leader())

    # -- the network -------------------------------------------------------------------------------

    async def _partition(self, side: list[str], others: list[str], *, one_way: bool) -> None:
        fault = self.random.choice(("hold", "lose"))
        arrow = "-x->" if one_way else "-x-"
        self._say(f"{'+'.join(side)} {arrow} {'+'.join(others)} ({fault})")
        self.world.network.partition(side, others, fault=fault, one_way=one_way)
        await self._last(0.1, 3.0)
        self._say("the network is whole again")
        self.world.network.heal()

    async def _isolate(self, index: int | None = None) -> None:
        """One node on its own; a client or two may be on its side."""
        index = self._any() if index is None else index
        node = self.world.nodes[index].name
        others = [n.name for n in self.world.nodes if n.name != node]
        others += [name for name in self.world.client_names if self.random.random() < 0.5]
        await self._partition([node], others, one_way=False)

    async def _isolate_leader(self) -> None:
        await self._isolate(self._leader())

    async def _split(self) -> None:
        """All hosts, clients too, fall into two halves."""
        hosts = [node.name for node in self.world.nodes] + self.world.client_names
        self.random.shuffle(hosts)
        cut = self.random.randrange(1, len(hosts))
        await self._partition(hosts[:cut], hosts[cut:], one_way=False)

    async def _one_way(self) -> None:
        """One node can only speak, or only listen, or one link is half dead."""
        names = [node.name for node in self.world.nodes]
        self.random.shuffle(names)
        side, others = names[:1], names[1:] or self.world.client_names
        if self.random.random() < 0.4:
            others = others[:1]
        if self.random.random() < 0.5:
            side, others = others, side
        await self._partition(side, others, one_way=True)

    async def _cut_clients(self) -> None:
        await self._partition(
            self.world.client_names, [self.world.nodes[self._any()].name], one_way=False
        )

    async def _slow_links(self) -> None:
        network = self.world.network
        names = [node.name for node in self.world.nodes] + self.world.client_names
        slow = self.random.choice(names)
        extra_ns = self.random.choice((5, 40, 150)) * MS
        self._say(f"links of {slow} slower by {extra_ns // MS} ms")
        for name in names:
            network.link(slow, name).extra_latency_ns = extra_ns
            network.link(name, slow).extra_latency_ns = extra_ns
        await self._last(0.2, 2.0)
        for name in names:
            network.link(slow, name).extra_latency_ns = 0
            network.link(name, slow).extra_latency_ns = 0

    async def _reset_connections(self) -> None:
        for transport in self.world.network.transports():
            if self.random.random() < 0.15:
                self.world.network.reset_connection(transport)
        self._say("some connections are reset")

    # -- disks and clocks --------------------------------------------------------------------------

    async def _slow_disk(self) -> None:
        node = self.world.nodes[self._any()]
        factor = self.random.choice((10, 100, 1000))
        self._say(f"disk of {node.name} slower by {factor}")
        node.disk.slowness = factor
        try:
            await self._last(0.2, 2.0)
        finally:
            node.disk.slowness = 1

    async def _full_disk(self) -> None:
        node = self.world.nodes[self._any()]
        self._say(f"disk of {node.name} is full")
        node.disk.set_full(True)
        try:
            await self._last(0.2, 2.0)
        finally:
            node.disk.set_full(False)
        self._say(f"disk of {node.name} has space")

    async def _failing_disk(self) -> None:
        """The next sync fails: the node has to end itself; it is started again later."""
        index = self._any()
        node = self.world.nodes[index]
        self._say(f"next sync of {node.name} fails")
        node.disk.fail_next_sync()
        await self._last(1.0, 3.0)
        self._restart(index)

    async def _wall_jump(self) -> None:
        node = self.world.nodes[self._any()]
        by_ms = self.random.choice((-3_600_000, -700, -30, 30, 700, 3_600_000))
        self._say(f"wall clock of {node.name} jumps by {by_ms} ms")
        node.clock.jump_wall(by_ms)

    async def _clock_rate(self) -> None:
        """Within the drift that a lease allows for."""
        node = self.world.nodes[self._any()]
        bound = self.world.config.clock_drift_ppm
        rate = self.random.randint(-bound, bound)
        self._say(f"clock of {node.name} runs {rate:+} ppm")
        node.clock.set_rate(rate)
