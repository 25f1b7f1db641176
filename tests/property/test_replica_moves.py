"""A group moves to other nodes under writes, whoever dies meanwhile: nothing is lost or done twice.

What runs is the product's (`tests/support/moving_nodes.py`): disks that lose power, log, snapshots,
births, Raft, the follower of the map, the mover, removals and the housekeeper. The state of the
group is larger than its log, so new replicas get it as a snapshot.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.state_machine import Command
from quorumcache.node.store.commands import OP_INCR, OP_SESSION_OPEN, OP_SET
from quorumcache.node.store.item import ITEM_DATA, item_value, wire_data
from quorumcache.node.store.results import NUMBER, STORED
from tests.support.item_tables import items_of
from tests.support.moving_nodes import MovingNodes, execute

GROUP = 1
OLD, NEW = (1, 2, 3), (4, 5, 6)
EMPTY = Configuration(())
SESSION = 77
ITEM_BYTES = 4000
KEYS = 40
TTL_SECONDS = 2
SEEDS = int(os.environ.get("MOVE_SEEDS", "8"))


class Client:
    """One client with a session, which repeats a command under its number until it is answered."""

    def __init__(self, world: MovingNodes) -> None:
        self.world = world
        self.sequence = 0
        self.counted = 0
        self.values: dict[bytes, bytes] = {}
        self.is_stopping = False
        self.rest_seconds = 0.005

    async def run(self) -> None:
        await self.do(OP_SESSION_OPEN, b"")
        assert await self.do(OP_SET, b"count", wire_data(0, b"0"), 0) == STORED
        while not self.is_stopping:
            self.counted += 1
            assert await self.do(OP_INCR, b"count", 1) == (NUMBER, self.counted)
            number = self.counted
            key = b"k%d" % (number % KEYS)
            value = wire_data(0, b"%d " % number * (ITEM_BYTES // 8))
            assert await self.do(OP_SET, key, value, 0) == STORED
            self.values[key] = value
            assert (
                await self.do(OP_SET, b"short%d" % number, wire_data(0, b"x"), TTL_SECONDS)
                == STORED
            )
            await asyncio.sleep(self.rest_seconds)

    async def do(self, op: int, key: bytes, *args: object) -> Any:
        self.sequence += 1
        command: Command = (SESSION, self.sequence, self.sequence, op, key, *args)
        return await execute(self.world, GROUP, command)


async def settle(world: MovingNodes) -> Client:
    """The cluster is up, and the client has written more than the log keeps."""
    world.start()
    world.loop.create_task(world.direct())
    client = Client(world)
    client.task = world.loop.create_task(client.run())  # type: ignore[attr-defined]

    def is_settled() -> bool:
        leader = world.leader(GROUP)
        has_snapshot = leader is not None and leader.log.first_index > 1
        return has_snapshot and client.counted > KEYS and world.directory.started == 1

    await world.until(is_settled)
    return client


async def check(world: MovingNodes, client: Client, target: tuple[int, ...]) -> None:
    """The new replicas have all that was answered, once; what has ended goes; nobody else has a
    vote or a file."""
    client.is_stopping = True
    await client.task  # type: ignore[attr-defined]
    await asyncio.sleep(TTL_SECONDS + 3)
    stores: list[Any] = [world.nodes[node_id].host.groups[GROUP].machine for node_id in target]
    assert len({store.digest() for store in stores}) == 1
    items = items_of(stores[0].items)
    assert item_value(items[b"count"]).strip() == b"%d" % client.counted
    assert {key: items[key][ITEM_DATA:] for key in client.values} == client.values
    assert items.keys() == {b"count", *client.values}, "what has ended is still there"
    assert SESSION in [state.session for state in stores[0].sessions.records()]
    for node_id, node in world.nodes.items():
        if node_id not in target:
            assert GROUP not in node.host.groups
            assert node.state.births.get(GROUP, EMPTY) == EMPTY
            assert not node.disk.exists(f"d/snapshots/{GROUP:06d}.snapshot")
    assert not world.fatal


def run(world: MovingNodes, story: Any) -> None:
    world.loop.run_until_complete(story)
    world.stop()


@pytest.mark.parametrize("seed", range(2))
def test_a_group_moves_to_three_other_nodes_under_writes(seed: int) -> None:
    world = MovingNodes(seed, 6, OLD)

    async def story() -> None:
        client = await settle(world)
        before = client.counted
        world.move(GROUP, NEW)
        await world.until(lambda: world.is_moved(GROUP, NEW))
        assert client.counted > before
        for node_id in NEW:
            assert world.nodes[node_id].host.counters.snapshots_received >= 1
        voters = [len(seen.voters) for seen, _ in world.history]
        assert min(voters) == 3
        assert max(voters) == 6
        await check(world, client, NEW)

    run(world, story())


@pytest.mark.parametrize("step", range(1, 9))
def test_the_leader_dies_at_any_step_and_another_goes_on(step: int) -> None:
    world = MovingNodes(step, 6, OLD)
    died: list[int] = []

    def kill(count: int) -> None:
        leader = world.leader(GROUP)
        if count == step and leader is not None:
            node_id = world.history[-1][1]
            died.append(node_id)
            world.crash(node_id)
            world.loop.call_later(3, world.restart, node_id)

    async def story() -> None:
        client = await settle(world)
        world.on_report = kill
        world.move(GROUP, NEW)
        await world.until(lambda: world.is_moved(GROUP, NEW))
        await check(world, client, NEW)

    run(world, story())
    assert died or step > len(world.history)


@pytest.mark.parametrize("step", range(1, 9))
def test_the_power_fails_everywhere_at_any_step(step: int) -> None:
    world = MovingNodes(20 + step, 6, OLD)

    def fail(count: int) -> None:
        if count == step:
            for node_id in world.nodes:
                world.crash(node_id)
                world.loop.call_later(world.random.random() * 2, world.restart, node_id)

    async def story() -> None:
        client = await settle(world)
        world.on_report = fail
        world.move(GROUP, NEW)
        await world.until(lambda: world.is_moved(GROUP, NEW))
        await check(world, client, NEW)

    run(world, story())


@pytest.mark.parametrize("step", range(1, 8))
def test_a_move_that_is_cancelled_at_any_step_turns_back(step: int) -> None:
    world = MovingNodes(40 + step, 6, OLD)

    def cancel(count: int) -> None:
        if count == step:
            world.move(GROUP, OLD)

    async def story() -> None:
        client = await settle(world)
        world.on_report = cancel
        world.move(GROUP, NEW)
        await world.until(lambda: world.is_moved(GROUP, OLD))
        await check(world, client, OLD)

    run(world, story())


def test_a_group_that_comes_back_at_once_is_made_of_new_replicas() -> None:
    """The nodes that lost it may not have removed it yet when the next map gives it back."""
    world = MovingNodes(60, 6, OLD)

    async def story() -> None:
        client = await settle(world)
        for target in (NEW, OLD, NEW, OLD, (1, 4, 5)):
            world.move(GROUP, target)
            await world.until(lambda: not world.directory.moves)
        await world.until(lambda: world.is_moved(GROUP, (1, 4, 5)))
        await check(world, client, (1, 4, 5))

    run(world, story())


def test_a_new_node_that_dies_is_waited_for_and_the_group_keeps_three_copies() -> None:
    world = MovingNodes(61, 6, OLD)

    def kill(count: int) -> None:
        if len(world.history[-1][0].voters) == 6:
            world.on_report = lambda count: None
            world.crash(5)

    async def story() -> None:
        client = await settle(world)
        world.on_report = kill
        world.move(GROUP, NEW)
        await world.until(lambda: not world.is_up(5))
        before = client.counted
        await asyncio.sleep(10)
        assert client.counted > before
        assert world.directory.moves
        voters = world.history[-1][0].voters
        assert sum(world.is_up(node_id) for node_id in voters) >= 3
        world.restart(5)
        await world.until(lambda: world.is_moved(GROUP, NEW))
        await check(world, client, NEW)

    run(world, story())


def test_the_directory_moves_like_any_group() -> None:
    world = MovingNodes(62, 6, OLD)

    async def story() -> None:
        client = await settle(world)
        before = world.record.directory_voters
        assert 6 not in before
        target = (6, *before[2:])
        world.move(0, target)
        await world.until(lambda: world.is_moved(0, target))
        assert world.nodes[before[0]].state.births[0] == EMPTY
        leader = world.leader(0)
        assert leader is not None
        assert set(leader.log.configuration.voters) == set(target)
        await check(world, client, OLD)

    run(world, story())


def test_copies_keep_to_the_rate_and_clients_hardly_notice_them() -> None:
    world = MovingNodes(63, 6, OLD)
    rate = 100_000

    async def story() -> None:
        client = await settle(world)
        for node in world.nodes.values():
            node.host.copy_rate.bytes_per_second = rate
        start = world.loop.time()
        world.move(GROUP, NEW)
        await world.until(lambda: world.is_moved(GROUP, NEW))
        seconds = world.loop.time() - start
        size = world.nodes[NEW[0]].host.groups[GROUP].machine.bytes_used
        assert 0.8 < seconds * rate / (3 * size) < 3
        await check(world, client, NEW)

    run(world, story())


def test_what_the_log_still_holds_keeps_to_the_rate_as_well() -> None:
    """No snapshot is made: the new replicas get the whole log."""
    world = MovingNodes(65, 6, OLD)
    rate = 100_000

    async def story() -> None:
        world.start()
        world.loop.create_task(world.direct())
        client = Client(world)
        client.task = world.loop.create_task(client.run())  # type: ignore[attr-defined]
        for node in world.nodes.values():
            node.keeper.snapshots._snapshot_bytes_min = 1 << 30
        await world.until(lambda: client.counted > 5 * KEYS and world.directory.started == 1)
        for node in world.nodes.values():
            node.host.copy_rate.bytes_per_second = rate
        leader = world.leader(GROUP)
        assert leader is not None
        size = leader.log.log_bytes
        assert size > 2 * rate
        client.rest_seconds = 0.2
        start = world.loop.time()
        before = client.counted
        world.move(GROUP, NEW)
        await world.until(lambda: world.is_moved(GROUP, NEW))
        seconds = world.loop.time() - start
        assert not any(world.nodes[node_id].host.counters.snapshots_received for node_id in NEW)
        assert 0.6 < seconds * rate / (3 * size) < 3
        assert (client.counted - before) / seconds > 3, "writes wait for no copy"
        await check(world, client, NEW)

    run(world, story())


def test_a_low_rate_does_not_keep_the_log_of_a_busy_group_from_arriving() -> None:
    """More is written than the rate lets through: each round of the log goes twice as fast."""
    world = MovingNodes(66, 6, OLD)

    async def story() -> None:
        world.start()
        world.loop.create_task(world.direct())
        client = Client(world)
        client.task = world.loop.create_task(client.run())  # type: ignore[attr-defined]
        for node in world.nodes.values():
            node.keeper.snapshots._snapshot_bytes_min = 1 << 30
            node.host.copy_rate.bytes_per_second = 10_000
        client.rest_seconds = 0.05
        await world.until(lambda: client.counted > KEYS and world.directory.started == 1)
        world.move(GROUP, (1, 2, 4))
        await world.until(lambda: world.is_moved(GROUP, (1, 2, 4)), seconds=120)
        assert not world.nodes[4].host.counters.snapshots_received
        await check(world, client, (1, 2, 4))

    run(world, story())


def test_a_low_rate_does_not_keep_a_busy_group_from_arriving() -> None:
    """The log behind a copy is gone before the copy has arrived, again and again."""
    world = MovingNodes(64, 6, OLD)

    async def story() -> None:
        client = await settle(world)
        for node in world.nodes.values():
            node.host.copy_rate.bytes_per_second = 20_000
            node.keeper.snapshots._log_memory_bytes = 1 << 18
        world.move(GROUP, (1, 2, 4))
        await world.until(lambda: world.is_moved(GROUP, (1, 2, 4)), seconds=300)
        received = world.nodes[4].host.counters.snapshots_received
        assert received > 1
        await check(world, client, (1, 2, 4))

    run(world, story())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_dies_and_whatever_is_decided_nothing_is_lost(seed: int) -> None:
    """Nodes crash, also most of a group at once, and the map changes its mind."""
    world = MovingNodes(100 + seed, 6, OLD)
    random = world.random

    async def story() -> None:
        client = await settle(world)
        for _ in range(40):
            await asyncio.sleep(random.random())
            roll = random.random()
            if roll < 0.5:
                node_id = random.choice(list(world.nodes))
                if world.is_up(node_id):
                    world.crash(node_id)
                    world.loop.call_later(random.random() * 3, world.restart, node_id)
            elif roll < 0.9:
                world.move(GROUP, tuple(random.sample(range(1, 7), random.choice((1, 3, 3, 5)))))
            else:
                world.move(0, tuple(random.sample(range(1, 7), random.choice((3, 5)))))
        target = tuple(random.sample(range(1, 7), 3))
        world.move(GROUP, target)
        await world.until(lambda: world.is_moved(GROUP, target), seconds=120)
        await check(world, client, target)

    run(world, story())
