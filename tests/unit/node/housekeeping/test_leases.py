"""Leases of locks that are over leave through the log, and those who wait are woken."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.housekeeping.leases import EXPIRE_BATCH, Leases
from quorumcache.node.store.commands import OP_LOCK_EXPIRE
from quorumcache.node.store.results import NUMBER
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters

TTL_MS = 100


class World:
    """One group that is led here, or not."""

    def __init__(self, *, leads: bool = True) -> None:
        self.machine: Any = ShardStore()
        self.now = 1000
        self.group: Any = SimpleNamespace(
            group_id=1,
            lease_until_ns=int(leads),
            machine=self.machine,
            now_ms=lambda: self.now,
            submit=self.submit,
        )
        self.host: Any = SimpleNamespace(disk_trouble="", groups={1: self.group})
        self.counters = Counters()
        self.submitted: list[tuple[Any, Any]] = []
        self.woken: list[tuple[int, bytes]] = []
        self.leases = Leases(self.host, self.counters, lambda *lock: self.woken.append(lock))

    def submit(self, command: Any, size: int, waiter: Any) -> None:
        self.submitted.append((command, waiter))

    def lock(self, count: int = 1) -> None:
        for number in range(count):
            self.machine.locks.acquire(b"%d" % number, b"o", TTL_MS, 0, 0, True, self.now)

    def proposed(self) -> tuple[Any, Any]:
        (only,) = self.submitted
        self.submitted.clear()
        return only


def test_a_lease_that_is_over_is_ended_by_the_log_and_its_waiters_are_woken() -> None:
    world = World()
    world.lock()
    world.now += TTL_MS - 1
    world.leases.look()
    assert not world.submitted
    world.now += 1
    world.leases.look()
    command, waiter = world.proposed()
    assert command == (0, 0, 0, OP_LOCK_EXPIRE, b"", (b"0",))
    world.leases.look()
    assert not world.submitted, "the last one is not committed yet"
    (result,) = world.machine.apply(1, world.now, [command])
    assert result == (NUMBER, 1)
    waiter.on_result(result)
    assert world.woken == [(1, b"0")]
    assert world.counters.lock_leases_ended == 1
    world.leases.look()
    assert not world.submitted


def test_many_leave_some_at_a_time() -> None:
    world = World()
    world.lock(EXPIRE_BATCH + 10)
    world.now += TTL_MS
    for count in (EXPIRE_BATCH, 10):
        world.leases.look()
        command, waiter = world.proposed()
        assert len(command[5]) == count
        waiter.on_result(world.machine.apply(1, world.now, [command])[0])


@pytest.mark.parametrize("end", ["on_lost", "on_refused"])
def test_what_came_to_nothing_is_proposed_again(end: str) -> None:
    world = World()
    world.lock()
    world.now += TTL_MS
    world.leases.look()
    command, waiter = world.proposed()
    getattr(waiter, end)(*(["why"] if end == "on_refused" else []))
    world.leases.look()
    assert world.proposed()[0] == command


def test_a_group_that_could_not_take_it_is_asked_again() -> None:
    world = World()
    world.lock()
    world.now += TTL_MS

    def fail(*args: Any) -> None:
        raise RuntimeError

    world.group.submit = fail
    with pytest.raises(RuntimeError):
        world.leases.look()
    world.group.submit = world.submit
    world.leases.look()
    world.proposed()


def test_who_may_not_serve_or_has_no_disk_ends_nothing() -> None:
    for world in (World(leads=False), World()):
        world.lock()
        world.now += TTL_MS
        world.host.disk_trouble = "the disk is full" if world.group.lease_until_ns else ""
        world.leases.look()
        assert not world.submitted


def test_the_directory_has_no_locks() -> None:
    world = World()
    directory: Any = DirectoryState(lambda cluster_map: None)
    world.host.groups = {0: SimpleNamespace(lease_until_ns=1, machine=directory)}
    world.leases.look()
    assert not world.submitted


def test_a_group_that_left_and_came_back_is_looked_at() -> None:
    world = World()
    world.lock()
    world.now += TTL_MS
    world.leases.look()
    world.proposed()
    world.leases.forget(1)
    world.leases.look()
    world.proposed()
