"""What every fault uses: the world, its nodes by name, and the lines that tell the story."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.world import World

FUSE_SECONDS = 5.0
"""What waits for an event that does not come is called off after so long."""


FAULT: ContextVar[tuple[int, str] | None] = ContextVar("fault", default=None)
"""Number and kind of the fault that is being run, also in the tasks that it begins."""


class Faults:
    """A family of faults; `Nemesis` has them all. The method `_name` runs the fault `name`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: Counter[str] = Counter()
        """How many began, by kind."""
        self.met: Counter[str] = Counter()
        """How many of them found what they break, by kind: a node that is down cannot be killed."""
        self._told: set[tuple[int, str]] = set()
        self.crashes = 0
        """How many processes it ended."""
        self._nodes = {node.name: node for node in world.nodes}

    def _say(self, text: str) -> None:
        self.world.trace.tell(f"nemesis: {text}")
        fault = FAULT.get()
        if fault is not None and fault not in self._told:
            self._told.add(fault)
            self.met[fault[1]] += 1

    def _who(self, who: str, pick: int = 0) -> SimulatedNode:
        """The node of this name; for "leader" one that leads something, or any if none does."""
        if who != "leader":
            return self._nodes[who]
        nodes = self.world.nodes
        leaders = [node for node in nodes if any(group.is_leader for group in node.groups())]
        candidates = leaders or nodes
        return candidates[pick % len(candidates)]

    def _members(self) -> list[SimulatedNode]:
        """Who belongs to the cluster."""
        return [node for node in self.world.nodes if node.is_due]

    def _crash(self, node: SimulatedNode, *, power: bool) -> None:
        self._say(f"{'power cut' if power else 'kill'} {node.name}")
        self.crashes += 1
        node.crash(silent=power)

    def _restart(self, node: SimulatedNode) -> None:
        if not node.is_up and node.is_due:
            self._say(f"start {node.name}")
            node.start()

    async def _end(self, node: SimulatedNode, *, gracefully: bool) -> None:
        """Whatever it does, it is down afterwards."""
        if gracefully and node.process.is_running:
            self._say(f"stop {node.name} gracefully")
            await node.stop()
        if node.is_up:
            self._crash(node, power=False)


async def until(event: asyncio.Event) -> bool:
    """Wait for an event, but not for ever; whether it came."""
    try:
        async with asyncio.timeout(FUSE_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True
