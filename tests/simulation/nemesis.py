"""The adversary: executes a schedule of faults, each with an end.

Faults overlap. Every one is announced in the trace, so that the lines of a failed run tell the
story. When the time is over, `World.heal` undoes whatever still lasts. What each kind may be
given is in `faults.py`; nothing is drawn here. Faults of processes are in this file, the others in
`nemesis_network.py`, `nemesis_hosts.py`, `nemesis_setup.py` and `nemesis_elastic.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.simulation.nemesis_base import FAULT, until
from tests.simulation.nemesis_elastic import ElasticFaults
from tests.simulation.nemesis_hosts import HostFaults
from tests.simulation.nemesis_setup import SetupFaults
from tests.simulation.schedule import Fault, Schedule

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.world import World


class Nemesis(ElasticFaults, HostFaults, SetupFaults):
    """Runs as a task of the test, outside of every simulated process."""

    def __init__(self, world: World, schedule: Schedule) -> None:
        super().__init__(world)
        self.schedule = schedule
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
        token = FAULT.set((len(self._running), fault.name))
        self._running.append(self.world.loop.create_task(coroutine, name=f"fault {fault.name}"))
        FAULT.reset(token)

    # -- processes ---------------------------------------------------------------------------------

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
        if not await until(gone):
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
