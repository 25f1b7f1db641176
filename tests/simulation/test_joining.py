"""Goal: whatever dies in the middle of a join, the same command line makes the node a member, once.

Method: a node that was founded alone on a virtual loop, and one that joins it. One of them dies
before each step of its disk, or before each of its callbacks, kill -9 or a power cut, and is
started again.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.errors import JoinRefused
from quorumcache.node.peers.items import ADOPTED, MAP_EPOCH
from quorumcache.ring.secret import Secret
from tests.simulation.cluster import PEER_PORT, SimulatedNode
from tests.simulation.directories import copy_of, restore
from tests.simulation.disk import DiskConfig
from tests.simulation.town import Town

SECRET = Secret("the secret of this town")
STEPS_MAX = 90
"""More than a node that joins takes before it is a member."""


class Keeper(SimulatedNode):
    """It was given the secret. `refused`: why it could not join."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.refused: list[str] = []

    def _more_arguments(self) -> dict[str, Any]:
        return {"given_secret": SECRET}

    def _may_end(self, error: BaseException) -> bool:
        if isinstance(error, JoinRefused):
            self.refused.append(str(error))
        return isinstance(error, JoinRefused)


class Joining(Town):
    """Node a, which is founded alone, and node d, which joins it."""

    def __init__(self, seed: int, replication: int = 1) -> None:
        super().__init__([], seed=seed, shards=1, replication=replication)
        self.a = self.keeper("a")
        self.d = self.keeper("d", join=f"a:{PEER_PORT}")

    def keeper(self, name: str, **changes: Any) -> Keeper:
        node = Keeper(
            self.loop,
            self.network,
            self.config(name, initial_cluster={}, **changes),
            Random(self.random.getrandbits(64)),
            clock_rate_ppm=0,
            disk_config=DiskConfig(step_seconds=0.0002),
            consensus_bounds=self.bounds,
        )
        node.name = name
        self.nodes[name] = node
        self.everybody.append(node)
        return node

    def states(self) -> dict[str, str]:
        """By name, as node a knows them."""
        running = self.a.node
        if not self.a.is_up or running is None or running.map is None:
            return {}
        return {node.name: f"{node.node_id} {node.state}" for node in running.map.nodes}

    def is_joined(self) -> bool:
        running = self.d.node
        return (
            self.states() == {"a": "1 active", "d": "2 active"}
            and self.d.is_up
            and running is not None
            and running.member is not None
            and running.map is not None
        )

    async def go_on(self, victim: SimulatedNode) -> None:
        """Whatever became of it, it runs again, and the join comes to its end."""
        while not self.is_joined():
            for node in (self.a, self.d):
                if not node.is_up:
                    node.start()
            await asyncio.sleep(0.05)
        assert not self.d.problems, self.d.problems


def test_a_disk_that_is_full_at_any_step() -> None:
    """Who finds no room before it is a member ends, as at any start; it is started again. A member
    waits for room."""
    ended = []
    for step in range(1, STEPS_MAX):
        town = Joining(step)

        async def story(town: Joining = town, step: int = step) -> None:
            async with asyncio.timeout(120):
                town.a.start()
                await town.until(lambda: "a" in town.states(), "a is founded")
                town.d.arm_steps(step, town.d.disk.fill)
                town.d.start()
                await asyncio.sleep(1)
                if not town.d.is_up:
                    ended.append(step)
                town.d.disk.make_space()
                await town.go_on(town.d)

        town.run(story())
        town.check_one_cluster()
    assert 0 < len(ended) < STEPS_MAX - 1


@pytest.mark.parametrize("victim", ["a", "d"])
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_crash_at_any_step_of_the_disk(victim: str, is_power_cut: bool) -> None:
    reached = []
    for step in range(1, STEPS_MAX, 1 if victim == "d" else 3):
        town = Joining(step)
        crashed: list[int] = []

        async def story(
            town: Joining = town, step: int = step, crashed: list[int] = crashed
        ) -> None:
            async with asyncio.timeout(120):
                town.a.start()
                await town.until(lambda: "a" in town.states(), "a is founded")
                node = town.nodes[victim]

                def crash() -> None:
                    crashed.append(step)
                    node.crash(silent=is_power_cut)

                node.arm_steps(step, crash)
                town.d.start()
                await town.go_on(node)
                node.disarm()

        town.run(story())
        town.check_one_cluster()
        reached.append(bool(crashed))
    assert any(reached)
    if victim == "d":
        assert not all(reached), "STEPS_MAX does not reach the end of the join"


@pytest.mark.parametrize("victim", ["a", "d"])
def test_a_crash_before_any_callback(victim: str) -> None:
    for events in range(1, 160, 7):
        town = Joining(1000 + events)

        async def story(town: Joining = town, events: int = events) -> None:
            async with asyncio.timeout(120):
                town.a.start()
                await town.until(lambda: "a" in town.states(), "a is founded")
                node = town.nodes[victim]
                town.d.start()
                node.arm_events(events, node.crash)
                await town.go_on(node)
                node.disarm()

        town.run(story())
        town.check_one_cluster()


def test_a_directory_set_back_to_before_it_joined_is_refused() -> None:
    """It has forgotten what it promised as a member. Its disk id tells who it was."""
    town = Joining(5)

    async def story() -> None:
        async with asyncio.timeout(120):
            town.a.start()
            await town.until(lambda: "a" in town.states(), "a is founded")
            town.d.config = town.config("d", initial_cluster={}, join="nobody:1")
            town.d.start()
            await asyncio.sleep(1)
            before = copy_of(town.d)
            town.d.crash()
            town.d.config = town.config("d", initial_cluster={}, join=f"a:{PEER_PORT}")
            town.d.start()
            await town.until(town.is_joined, "d has joined")
            town.d.crash()
            restore(town.d, before)
            town.d.start()
            await town.until(lambda: town.d.refused, "d is refused")
            assert "was set back to an older copy" in town.d.refused[0]
            assert town.states()["d"].startswith("2 ")

    town.run(story())
    town.check_one_cluster()


def test_a_map_of_which_the_new_node_was_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was decided while the nodes connected: after the hellos, and before the connections were
    ready. Nor did the new node hear that others adopted it. It gets its replicas only if that is
    said again and again.
    """
    take = MapFollower.on_item
    lost: set[tuple[int, tuple[Any, ...]]] = set()

    def lose(self: MapFollower, node_id: int, item: tuple[Any, ...]) -> None:
        is_first = (node_id, item) not in lost
        if item[0] == MAP_EPOCH or (item[0] == ADOPTED and is_first):
            lost.add((node_id, item))
        else:
            take(self, node_id, item)

    monkeypatch.setattr(MapFollower, "on_item", lose)
    town = Joining(8, replication=2)

    async def story() -> None:
        town.a.start()
        await town.until(lambda: "a" in town.states(), "a is founded")
        town.d.start()
        await town.until(lambda: town.is_joined() and is_whole(), "d has its replicas")

    def is_whole() -> bool:
        assert town.a.node is not None
        assert town.a.node.map is not None
        found = town.a.node.map
        return not found.moves and [len(nodes) for nodes in found.replica_sets] == [2]

    town.run(story())
    town.check_one_cluster()
    assert {item[0] for _, item in lost} == {MAP_EPOCH, ADOPTED}
