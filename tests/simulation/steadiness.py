"""Which nodes are certainly heard by all others: nothing has happened to them for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.world import World

STEADY_NS = 4_000_000_000
"""A node that was down or cut off is heard again after that: links are given up after 2 s."""


class Steadiness:
    """Looked at every few milliseconds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._troubled_ns: dict[str, int] = {}
        """Of each node: when something was wrong with it last."""

    def look(self) -> None:
        """Take in who is in trouble now."""
        now_ns = self._world.loop.now_ns
        in_trouble = self._world.network.hosts_in_trouble()
        for simulated in self._world.nodes:
            if simulated.host in in_trouble or _is_troubled(simulated):
                self._troubled_ns[simulated.name] = now_ns

    def unsteady(self) -> frozenset[int]:
        """The ids of the nodes that may not be heard, or have no room on their disks."""
        now_ns = self._world.loop.now_ns
        return frozenset(
            simulated.node_id
            for simulated in self._world.nodes
            if now_ns - self._troubled_ns.get(simulated.name, -STEADY_NS) < STEADY_NS
        )


def _is_troubled(simulated: SimulatedNode) -> bool:
    return (
        not simulated.process.is_running
        or simulated.node is None
        or simulated.disk.capacity_bytes is not None
    )
