"""How the parts of a node are put together: what one of them says reaches the others."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from quorumcache.node.basics import Basics
from quorumcache.node.clock import SystemClock
from quorumcache.node.consensus.values import Role
from quorumcache.node.errors import TaskFailed
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.store.store import ShardStore
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk
from tests.support.scripted_log import NO_SNAPSHOT, ScriptedLog


class World:
    """What a node is made of, on a virtual loop."""

    def __init__(self, seed: int = 1, **settings: Any) -> None:
        self.loop = VirtualLoop()
        self.disk = FakeDisk(self.loop)
        self.leaders: list[int] = []
        self.fatal: list[BaseException] = []
        self.basics = Basics(
            NodeConfig(**settings),
            clock=SystemClock(),
            disk=self.disk,
            random=Random(seed),
            loop=self.loop,
            consensus_bounds={},
            on_leader_change=self.leaders.append,
            on_fatal=self.fatal.append,
            given_secret=None,
            entropy=Random(seed),
            give_back_memory=lambda: None,
        )

    def close(self) -> None:
        self.basics.tasks.cancel()
        self.loop.run_until_complete(self.basics.tasks.wait())
        self.loop.close()


def test_what_keeps_nothing_touches_no_disk() -> None:
    world = World()
    assert world.basics.disk is None
    world.close()
    world = World(data_dir="d")
    assert world.basics.disk is world.disk
    assert not world.disk.paths(), "nothing is written before the directory is locked"
    world.close()


def test_an_incarnation_is_the_processs_own_and_repeats_with_the_seed() -> None:
    """Peers tell a process by it from the one before; 64 bits with a sign travel."""
    found = []
    for seed in (1, 1, 2):
        world = World(seed)
        found.append(world.basics.incarnation)
        world.close()
    assert found[0] == found[1] != found[2]
    assert all(0 <= incarnation < 1 << 63 for incarnation in found)


def test_a_task_that_the_node_cannot_do_without_ends_it_and_is_heard_of() -> None:
    world = World()
    world.loop.set_exception_handler(lambda loop, context: None)

    async def fail() -> None:
        raise ValueError("no")

    async def story() -> None:
        await world.basics.tasks.end("work", fail)

    world.loop.run_until_complete(story())
    assert [type(error) for error in world.fatal] == [TaskFailed]
    assert world.basics.counters.tasks_failed == 1
    assert [alarm.name for alarm in world.basics.alarms.raised()] == ["task_failed"]
    world.close()


def test_what_a_group_elects_is_heard_and_counted_on_the_same_counters() -> None:
    world = World()
    log: Any = ScriptedLog()
    host = world.basics.host
    host.add_group(ReplicaGroup(5, log, ShardStore(), host, NO_SNAPSHOT))
    log.lead()
    host.mark_dirty(host.groups[5])
    world.loop.run_until_complete(_turn())
    assert host.groups[5].role is Role.LEADER
    assert world.leaders[-1:] == [5]
    assert world.basics.counters.elections_won == 1
    world.close()


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_settings_reach_what_they_are_about() -> None:
    world = World(item_bytes_max=2 << 20, name="n7")
    assert world.basics.host.item_bytes_max == 2 << 20
    assert world.basics.time is world.basics.host.time
    world.close()
