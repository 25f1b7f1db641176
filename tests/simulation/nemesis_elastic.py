"""What the operator of an elastic cluster does, and what becomes of its machines, at any moment.

A machine is lost for good only while no group has lost another replica: of what is acknowledged
with a majority, nothing may be gone. Whoever joins keeps asking until it is taken in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.elastic_faults import LIMITS
from tests.simulation.elastic_node import ElasticNode
from tests.simulation.nemesis_network import NetworkFaults
from tests.simulation.operator import REFUSED

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.elastic_world import ElasticWorld

SILENT_SECONDS = 2.0
"""After so long a node that is down is not heard any more."""


CATCH_SECONDS = 4.0
CATCH_EVERY_SECONDS = 0.0005
"""A step is committed within a few disk steps and latencies."""


class ElasticFaults(NetworkFaults):
    """See the module. Other worlds have none of these."""

    world: ElasticWorld

    def _node(self, who: str) -> ElasticNode:
        node = self._nodes[who]
        assert isinstance(node, ElasticNode)
        return node

    # -- asked for ---------------------------------------------------------------------------------

    async def _change(self, words: str, pick: int) -> str:
        self._say(f"the operator asks for: {words}")
        outcome, _ = await self.world.operator.change(words, pick=pick)
        return outcome

    async def _join(self, who: str, pick: int) -> None:
        node = self._node(who)
        if node.is_busy or node.is_up or (node.is_due and not node.is_lost):
            return
        self._say(f"{who} joins")
        self.world.let_join(node)

    async def _drain(self, who: str, pick: int) -> None:
        node = self._node(who)
        if node.is_due and node.node_id:
            await self._change(f"drain {who}", pick)

    async def _change_factor(self, factor: int, pick: int) -> None:
        await self._change(f"settings replication={factor}", pick)

    async def _change_weight(self, who: str, weight: float, pick: int) -> None:
        await self._change(f"node {who} weight={weight:g}", pick)

    async def _change_zone(self, who: str, zone: str, pick: int) -> None:
        await self._change(f"node {who} zone={zone}", pick)

    async def _change_limit(self, limit: int, pick: int) -> None:
        name, value = LIMITS[limit]
        if name == "max-item-size":
            self.world.item_limits.add(value)
        await self._change(f"settings {name}={value}", pick)

    async def _rebalance(self, pick: int) -> None:
        await self._change("rebalance", pick)

    async def _change_moves(self, do: str, pick: int) -> None:
        await self._change(do, pick)

    async def _try_without_doing(self, who: str, pick: int) -> None:
        """The answer is an estimate, and nothing is done."""
        await self._change(f"drain {who} dry", pick)

    # -- machines ----------------------------------------------------------------------------------

    async def _be_away(self, seconds: float, who: str) -> None:
        """Often for longer than until its replicas are rebuilt elsewhere."""
        node = self._node(who)
        if node.is_up and not node.is_busy:
            self._crash(node, power=True)
            await asyncio.sleep(seconds)
            self._restart(node)

    async def _kill_directory_leader(self, power: bool, seconds: float) -> None:
        for node in self.world.nodes:
            if any(group.group_id == 0 and group.is_leader for group in node.groups()):
                self._crash(node, power=power)
                await asyncio.sleep(seconds)
                self._restart(node)
                return

    async def _catch_a_change(self, how: str, skip: int, seconds: float) -> None:
        """A leader has written a configuration that is not committed yet: at that moment it is
        killed, or cut off from those that would commit it, and not from the others. `skip`: so many
        of such moments pass first.
        """
        world = self.world
        end = world.loop.time() + CATCH_SECONDS
        seen: set[tuple[str, int, int]] = set()
        while world.loop.time() < end:
            for node in world.elastic_nodes:
                for group in node.groups():
                    index, configuration = group.log.configurations[-1]
                    moment = (node.name, group.group_id, index)
                    if not group.is_leader or index <= group.commit_index or moment in seen:
                        continue
                    seen.add(moment)
                    if len(seen) > skip:
                        await self._interrupt(node, configuration.members(), how, seconds)
                        return
            await asyncio.sleep(CATCH_EVERY_SECONDS)

    async def _interrupt(
        self, node: ElasticNode, members: tuple[int, ...], how: str, seconds: float
    ) -> None:
        if how == "kill":
            self._crash(node, power=True)
            await asyncio.sleep(seconds)
            self._restart(node)
            return
        others = [n.name for n in self.world.nodes if n is not node and n.node_id in members]
        await self._cut([node.name], others, "lose", seconds, one_way=False)

    async def _lose_machine(self, then: str, seconds: float, who: str, pick: int) -> None:
        """Its disk is gone for good."""
        node = self._node(who)
        if not node.may_lose_directory() or not self.world.may_lose(node):
            return
        node.is_busy = True
        try:
            self._say(f"{who} is lost with its disk")
            if node.is_up:
                self._crash(node, power=True)
            self.world.lose_disk(node)
            await asyncio.sleep(SILENT_SECONDS + seconds)
            if then == "remove":
                await self._change(f"remove {who} force", pick)
            elif then == "replace" and await self._change(f"replace {who}", pick) != REFUSED:
                self._say(f"{who} joins on a new disk")
                self.world.let_join(node)
        finally:
            node.is_busy = False

    async def _remove_and_return(self, seconds: float, who: str, pick: int) -> None:
        """Removed by force while it is down, it comes back with all that it ever knew."""
        node = self._node(who)
        if not node.may_lose_directory():
            return
        node.is_busy = True
        try:
            if node.is_up:
                self._crash(node, power=False)
            await asyncio.sleep(SILENT_SECONDS)
            await self._change(f"remove {who} force", pick)
            await asyncio.sleep(seconds)
        finally:
            node.is_busy = False
            self._restart(node)

    async def _change_address(self, power: bool, seconds: float, who: str) -> None:
        """It comes back elsewhere, with its data."""
        node = self._node(who)
        if not node.is_due or node.is_busy or not node.node_id or not self._stays_anybody(node):
            return
        if node.is_up:
            self._crash(node, power=power)
        self.world.addresses_used += 1
        number = self.world.addresses_used
        node.move_address(number, clients=number % 2 == 0)
        self._say(f"{who} is at {node.config.peer} and {node.config.listen} from now on")
        self.world.announce(node)
        await asyncio.sleep(seconds)
        self._restart(node)

    def _stays_anybody(self, node: ElasticNode) -> bool:
        """Another node is where the map says. By that one all find each other; if all move at once,
        only their settings could tell them.
        """
        newest = self.world.maps.newest
        told = {info.peer_address for info in newest.nodes} if newest is not None else set()
        others = [other for other in self.world.elastic_nodes if other is not node]
        return any(o.node_id and o.is_due and o.config.peer in told for o in others)

    async def _kill_while_joining(
        self, steps: int, power: bool, seconds: float, who: str, pick: int
    ) -> None:
        """Before a step of its disk; then it starts again as before."""
        node = self._node(who)
        if node.is_up or node.is_due or node.is_busy:
            return
        node.arm_steps(steps, lambda: self._crash(node, power=power))
        await self._join(who, pick)
        await asyncio.sleep(seconds)
        node.disarm()
        self._restart(node)

    async def _join_with_a_copy(self, of: str, seconds: float, who: str, pick: int) -> None:
        """Somebody copies a member's directory to the new machine: it has to be refused."""
        node, member = self._node(who), self._nodes[of]
        if node.is_up or node.is_due or node.is_busy or not member.node_id:
            return
        if not member.has_own_directory or not member.disk.files():
            return
        node.is_busy = True
        try:
            node.new_disk()
            self.world.promises.disk_was_replaced(node)
            node.exchange_directory(member.disk.files())
            self._say(f"{who} joins with a copy of the directory of {of}")
            node.join(self.world.seeds())
            await asyncio.sleep(seconds)
            if node.is_up:
                self._crash(node, power=False)
            node.bring_directory_back()
            node.is_due = False
            self._say(f"{who} has an empty disk again")
        finally:
            node.is_busy = False

    async def _return_of_one_that_left(self, seconds: float, pick: int) -> None:
        """It has to end by itself, and to decide nothing meanwhile."""
        left = [node for node in self.world.nodes if self._has_left(node)]
        if not left:
            return
        node = left[pick % len(left)]
        self._say(f"{node.name}, which has left, is started again")
        node.start()
        await asyncio.sleep(seconds)

    @staticmethod
    def _has_left(node: SimulatedNode) -> bool:
        assert isinstance(node, ElasticNode)
        return node.has_left and not node.is_up and not node.is_busy
