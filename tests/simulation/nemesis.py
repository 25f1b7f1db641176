"""The adversary: executes a schedule of faults, each with an end.

Faults overlap. Every one is announced in the trace, so that the lines of a failed run tell the
story. When the time is over, `World.heal` undoes whatever still lasts. What each kind may be
given is in `faults.py`; nothing is drawn here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.faults import CLOCK_DRIFT_PPM
from tests.simulation.schedule import Fault, Schedule

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.world import World

MS = 1_000_000
FUSE_SECONDS = 5.0
"""A crash that waits for an event that does not come is called off after so long."""


class Nemesis:
    """Runs as a task of the test, outside of every simulated process."""

    def __init__(self, world: World, schedule: Schedule) -> None:
        self.world = world
        self.schedule = schedule
        self.faults: Counter[str] = Counter()
        """How many began, by kind."""
        self.crashes = 0
        """How many processes it ended."""
        self._nodes = {node.name: node for node in world.nodes}
        self._running: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Break things as the schedule says, then call off every fault that still lasts."""
        loop = self.world.loop
        begin = loop.time()
        for fault in self.schedule.faults:
            at = fault.at_ms / 1000
            if at >= self.schedule.fault_seconds:
                break
            await asyncio.sleep(max(0.0, begin + at - loop.time()))
            self._begin(fault)
        await asyncio.sleep(max(0.0, begin + self.schedule.fault_seconds - loop.time()))
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for task in self._running:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    def _begin(self, fault: Fault) -> None:
        run: Callable[..., Coroutine[Any, Any, None]] = getattr(self, "_" + fault.name)
        self.faults[fault.name] += 1
        coroutine = run(**fault.parameters)
        self._running.append(self.world.loop.create_task(coroutine, name=f"fault {fault.name}"))

    def _say(self, text: str) -> None:
        self.world.trace.tell(f"nemesis: {text}")

    def _who(self, who: str, pick: int = 0) -> SimulatedNode:
        """The node of this name; for "leader" one that leads something, or any if none does."""
        if who != "leader":
            return self._nodes[who]
        nodes = self.world.nodes
        leaders = [node for node in nodes if any(group.is_leader for group in node.groups())]
        candidates = leaders or nodes
        return candidates[pick % len(candidates)]

    # -- processes ---------------------------------------------------------------------------------

    def _crash(self, node: SimulatedNode, *, power: bool) -> None:
        self._say(f"{'power cut' if power else 'kill'} {node.name}")
        self.crashes += 1
        node.crash(silent=power)

    def _restart(self, node: SimulatedNode) -> None:
        if not node.is_up:
            self._say(f"start {node.name}")
            node.start()

    async def _kill(self, seconds: float, who: str, pick: int = 0, *, power: bool = False) -> None:
        node = self._who(who, pick)
        if node.is_up:
            self._crash(node, power=power)
            await asyncio.sleep(seconds)
            self._restart(node)

    _kill_leader = _kill

    async def _power_cut(self, seconds: float, who: str, pick: int = 0) -> None:
        await self._kill(seconds, who, pick, power=True)

    async def _kill_some(self, nodes: list[str], seconds: float) -> None:
        await asyncio.gather(*(self._kill(seconds, who) for who in nodes))

    async def _power_cut_all(self, nodes: list[str], stagger_ms: int, seconds: float) -> None:
        """Everywhere at once; they come back one after the other, in the order given."""
        for node in self.world.nodes:
            if node.is_up:
                self._crash(node, power=True)
        await asyncio.sleep(seconds)
        for name in nodes:
            self._restart(self._nodes[name])
            await asyncio.sleep(stagger_ms / 1000)

    async def _change_settings(
        self,
        graceful: bool,
        item_bytes_max: int,
        segment_bytes_max: int,
        snapshot_bytes_min: int,
        session_idle_ms: int,
    ) -> None:
        """Stop all, change, start all, as the documents say."""
        world = self.world
        up = [node for node in world.nodes if node.is_up]
        if graceful:
            await asyncio.gather(*(node.stop() for node in up))
        for node in world.nodes:
            if node.is_up:
                self._crash(node, power=False)
        self._say(f"settings: items of {item_bytes_max}, segments of {segment_bytes_max}")
        world.item_limits.add(item_bytes_max)
        for node in world.nodes:
            node.change_settings(
                item_bytes_max=item_bytes_max,
                segment_bytes_max=segment_bytes_max,
                wal_bytes_max=max(segment_bytes_max, node.config.wal_bytes_max),
                snapshot_bytes_min=snapshot_bytes_min,
                session_idle_ms=session_idle_ms,
            )
            self._restart(node)

    async def _restart_gracefully(self, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        if not node.is_up:
            return
        self._say(f"stop {node.name} gracefully")
        await node.stop()
        await asyncio.sleep(seconds)
        self._restart(node)

    async def _kill_after_events(
        self, events: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """End it after so many more callbacks: before any await of any of its tasks."""
        node = self._who(who, pick)
        if node.process.is_running:
            await self._armed(node, seconds, power, f"{events} events", node.arm_events, events)

    async def _kill_after_sends(
        self, sends: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """End it in the middle of a callback, when it writes to a connection once more."""
        node = self._who(who, pick)
        if node.process.is_running:
            await self._armed(node, seconds, power, f"{sends} writes", node.arm_sends, sends)

    async def _kill_in_disk_step(
        self, steps: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """End it before a step of its disk: between a write and its sync, before a rename."""
        node = self._who(who, pick)
        if node.process.is_running:
            await self._armed(node, seconds, power, f"{steps} disk steps", node.arm_steps, steps)

    async def _kill_during_start(
        self, steps: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """Kill it, start it, and end it again before a step of its recovery."""
        node = self._who(who, pick)
        if not node.process.is_running:
            return
        self._crash(node, power=power)
        node.arm_steps(steps, lambda: self._crash(node, power=power))
        await asyncio.sleep(seconds / 2)
        self._restart(node)
        await asyncio.sleep(seconds / 2)
        node.disarm()
        self._restart(node)

    async def _armed(
        self,
        node: SimulatedNode,
        seconds: float,
        power: bool,
        what: str,
        arm: Callable[[int, Callable[[], None]], None],
        count: int,
    ) -> None:
        self._say(f"{node.name} will end after {what} more")
        gone = asyncio.Event()

        def crash() -> None:
            self._crash(node, power=power)
            gone.set()

        arm(count, crash)
        try:
            async with asyncio.timeout(FUSE_SECONDS):
                await gone.wait()
        except TimeoutError:
            node.disarm()
            return
        await asyncio.sleep(seconds)
        self._restart(node)

    async def _pause(self, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        if not node.is_up:
            return
        self._say(f"pause {node.name} for {seconds} s")
        await self._stand(node, seconds)
        self._say(f"{node.name} goes on")

    _pause_leader = _pause

    async def _pause_some(self, nodes: list[str], seconds: float) -> None:
        await asyncio.gather(*(self._pause(seconds, who) for who in nodes))

    async def _stand(self, node: SimulatedNode, seconds: float) -> None:
        process = node.process
        process.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            process.resume()

    async def _stutter(
        self, run_ms: int, stand_ms: int, seconds: float, who: str, pick: int = 0
    ) -> None:
        node = self._who(who, pick)
        self._say(f"{node.name} runs {run_ms} ms, stands {stand_ms} ms for {seconds} s")
        end = self.world.loop.time() + seconds
        while self.world.loop.time() < end:
            await self._stand(node, stand_ms / 1000)
            await asyncio.sleep(run_ms / 1000)
        self._say(f"{node.name} runs evenly")

    # -- the network -------------------------------------------------------------------------------

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

    # -- disks and clocks --------------------------------------------------------------------------

    async def _slow_disk(self, factor: int, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        self._say(f"disk of {node.name} slower by {factor}")
        node.disk.slowness *= factor
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.slowness = max(1, node.disk.slowness // factor)

    async def _stuck_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        """Nothing that begins now is done before the time is over: an fsync of seconds."""
        node = self._who(who, pick)
        self._say(f"disk of {node.name} hangs for {seconds} s")
        node.disk.hang(seconds)

    async def _full_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        self._say(f"disk of {node.name} is full")
        node.disk.fill()
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.make_space()
        self._say(f"disk of {node.name} has space")

    async def _crowded_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        """Others take all the room there is, but for what the node has set aside."""
        node = self._who(who, pick)
        self._say(f"disk of {node.name} is crowded")
        node.disk.crowd()
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.make_space()
        self._say(f"disk of {node.name} has space")

    async def _no_descriptors(self, seconds: float, who: str, pick: int = 0) -> None:
        """Nothing more can be opened; what is open goes on."""
        node = self._who(who, pick)
        self._say(f"{node.name} is out of descriptors")
        node.disk.descriptors_left = 0
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.descriptors_left = 1000
        self._say(f"{node.name} has descriptors")

    async def _full_disk_in_snapshot(self, seconds: float, who: str, pick: int = 0) -> None:
        """Full from the first byte of the next snapshot on."""
        node = self._who(who, pick)
        began = asyncio.Event()
        node.disk.at_snapshot = began.set
        try:
            async with asyncio.timeout(FUSE_SECONDS):
                await began.wait()
        except TimeoutError:
            return
        finally:
            node.disk.at_snapshot = None
        await self._full_disk(seconds, node.name)

    async def _failing_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        """The next sync fails: the node has to end itself; it is started again later."""
        node = self._who(who, pick)
        self._say(f"next sync of {node.name} fails")
        node.disk.fail_next_sync()
        await asyncio.sleep(seconds)
        self._restart(node)

    async def _bit_rot(
        self, draw: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """A synced bit turns while the node is down.

        The start has to refuse, or the bit has to be one that nothing depends on. Then the
        operator brings the disk back as it was ("Damaged log" in docs/operations.md): a voter may
        not come back without what it has promised.
        """
        node = self._who(who, pick)
        if not node.process.is_running or node.disk.rotten is not None:
            return
        self._crash(node, power=power)
        self.world.promises.refresh(node)
        rotten = node.disk.rot(Random(draw))
        if rotten is None:
            self._say(f"nothing on the disk of {node.name} to rot")
        else:
            self._say(f"a bit turns on {node.name}: {rotten.path} at {rotten.offset}")
        self._restart(node)
        await asyncio.sleep(seconds)
        if rotten is not None and node.disk.rotten is rotten:
            if node.is_up:
                self._crash(node, power=False)
            node.disk.unrot()
            self._say(f"the disk of {node.name} is restored")
        self._restart(node)

    async def _wall_jump(self, by_ms: int, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        self._say(f"wall clock of {node.name} jumps by {by_ms} ms")
        node.clock.jump_wall(by_ms)

    async def _wall_glitch(self, by_ms: int, seconds: float, who: str, pick: int = 0) -> None:
        """A wall clock leaps, and is right again soon after."""
        node = self._who(who, pick)
        self._say(f"wall clock of {node.name} is {by_ms} ms off for {seconds} s")
        node.clock.jump_wall(by_ms)
        await asyncio.sleep(seconds)
        node.clock.jump_wall(-by_ms)

    async def _clock_rate(self, ppm: int, who: str, pick: int = 0) -> None:
        """Within the drift that a lease allows for."""
        node = self._who(who, pick)
        self._say(f"clock of {node.name} runs {ppm:+} ppm")
        node.clock.set_rate(ppm)

    async def _clocks_apart(self, slow: bool, who: str, pick: int = 0) -> None:
        """One clock at one end of what a lease allows for, all others at the other end."""
        node = self._who(who, pick)
        own = -CLOCK_DRIFT_PPM if slow else CLOCK_DRIFT_PPM
        self._say(f"clock of {node.name} runs {own:+} ppm, all others {-own:+}")
        for other in self.world.nodes:
            other.clock.set_rate(own if other is node else -own)
