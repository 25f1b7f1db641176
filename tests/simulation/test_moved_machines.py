"""Goal: nodes find each other again whatever machines have moved, and with a map or without one.

Method: three founders and nodes that joined them, on a virtual network, with all that a test does
to their addresses and files. Each story ends with one map that says where everybody is.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from quorumcache.node.storage.local_state import MAP_FILE
from quorumcache.ring.secret import Secret
from tests.simulation.cluster import PEER_PORT
from tests.simulation.directories import lose
from tests.simulation.disk import DiskConfig
from tests.simulation.elastic_node import ElasticNode
from tests.simulation.town import Town, values_of

SECRET = Secret("the secret of this town")
FOUNDERS = ("a", "b", "c")
SECONDS = 120.0


class Machines(Town):
    """Founders a, b and c; `joiners` join them one after the other."""

    def __init__(self, *joiners: str, seed: int = 1, **settings: Any) -> None:
        super().__init__([], seed=seed, dead_after_ms=600_000, **settings)
        self.members = {name: f"{name}:{PEER_PORT}" for name in FOUNDERS}
        self.joiners = joiners
        for name in FOUNDERS:
            self._add(name, initial_cluster=self.members)
        for name in joiners:
            self._add(name, initial_cluster={}, join=self.members["a"])
        self.moves = 0

    def _add(self, name: str, **changes: Any) -> None:
        node = ElasticNode(
            self.loop,
            self.network,
            self.config(name, **changes),
            Random(self.random.getrandbits(64)),
            clock_rate_ppm=0,
            disk_config=DiskConfig(step_seconds=0.0002),
            consensus_bounds=self.bounds,
        )
        node.name = name
        node.secret = lambda: SECRET
        self.nodes[name] = node
        self.everybody.append(node)

    def elastic(self, name: str) -> ElasticNode:
        node = self.nodes[name]
        assert isinstance(node, ElasticNode)
        return node

    def move(self, *names: str) -> None:
        """These machines, which do not run, come up at other addresses."""
        for name in names:
            self.moves += 1
            self.elastic(name).move_address(self.moves, clients=True)

    def map_of(self, name: str) -> Any:
        running = self.nodes[name].node
        return running.map if self.nodes[name].is_up and running is not None else None

    def agrees(self, *names: str) -> bool:
        """Each of them has a map that says where all of them are, and no move is under way."""
        where = {name: str(self.nodes[name].config.peer) for name in names}
        for name in names:
            known = self.map_of(name)
            if known is None or known.moves or known.form < 2:
                return False
            said = {n.name: n.peer_address for n in known.nodes if n.state == "active"}
            if said != where:
                return False
        return True

    async def grown(self) -> None:
        """All of them run and are settled."""
        self.start(FOUNDERS)
        await self.until(lambda: self.agrees(*FOUNDERS), "the founders agree", SECONDS)
        known = list(FOUNDERS)
        for name in self.joiners:
            known.append(name)
            self.nodes[name].start()
            await self.until(lambda: self.agrees(*known), f"{name} is a member", SECONDS)
        await asyncio.sleep(2)  # What is known of the others is stored.

    async def settled(self, *names: str) -> None:
        await self.until(lambda: self.agrees(*names), f"all know where {names} are", SECONDS)

    async def without(self, *names: str) -> None:
        """These founders leave the cluster, which is then of nodes that have joined it."""
        for name in names:
            asked = self.nodes[self.joiners[0]].node
            assert asked is not None
            assert asked.member is not None
            codes: list[int] = []
            asked.member.office.desk.ask(
                ("drain", name), lambda code, payload, codes=codes: codes.append(code)
            )
            node = self.elastic(name)
            await self.until(lambda node=node: node.has_left, f"{name} leaves", SECONDS)
            assert codes == [0]


def play(town: Machines, story: Any) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20 * SECONDS):
            await story()

    town.run(timed())


def test_a_whole_directory_that_moves_finds_itself_by_a_gateway_that_stays() -> None:
    """None of them knows another one's new address by its settings, and no map can say it before
    they have found each other."""
    town = Machines("gate")
    town.elastic("gate").change_settings(weight=0.0)

    async def story() -> None:
        await town.grown()
        assert town.map_of("gate").directory == (1, 2, 3)
        values = values_of(4, "v")
        await town.put_all(FOUNDERS, values)
        town.kill(FOUNDERS)
        town.move(*FOUNDERS)
        town.start(FOUNDERS)
        await town.settled(*FOUNDERS, "gate")
        await town.check_all([*FOUNDERS, "gate"], values)

    play(town, story)


def test_all_that_joined_move_at_once_and_are_told_one_address_of_another() -> None:
    """The founders have left. Each node gets one address of a member in its --join."""
    town = Machines("d", "e", "f")

    async def story() -> None:
        await town.grown()
        await town.without(*FOUNDERS)
        left = ("d", "e", "f")
        await town.settled(*left)
        values = values_of(4, "v")
        await town.put_all(left, values)
        town.kill(left)
        town.move(*left)
        town.start(left)
        await asyncio.sleep(20)
        assert not town.agrees(*left), "nothing tells them where the others are"
        town.kill(left)
        for name, seed in zip(left, ("e", "f", "e"), strict=True):
            town.elastic(name).change_settings(join=str(town.nodes[seed].config.peer))
        town.start(left)
        await town.settled(*left)
        await town.check_all(left, values)

    play(town, story)


def test_a_joined_node_without_its_map_finds_nodes_that_joined_it_later() -> None:
    """It knows the founders by their record. They have left."""
    town = Machines("d", "e", "f")

    async def story() -> None:
        await town.grown()
        await town.without(*FOUNDERS)
        left = ("d", "e", "f")
        await town.settled(*left)
        town.kill(["d"])
        lose(town.nodes["d"], MAP_FILE)
        town.start(["d"])
        await town.settled(*left)
        town.kill(left)
        lose(town.nodes["d"], MAP_FILE)
        town.move("e")
        town.start(left)
        await town.settled(*left)

    play(town, story)
