"""What ends leaves through the log."""

import pytest

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.housekeeping.expiry import EXPIRE_BATCH
from quorumcache.node.store.commands import OP_EXPIRE, OP_FLUSH, OP_SESSION_EXPIRE, OP_SET, OP_TICK
from quorumcache.node.store.results import OK
from tests.support.housekeeping import DATA, OpenGroup
from tests.support.housekeeping import HousekeepingWorld as World

MS = 1_000_000


@pytest.fixture(autouse=True)
def _open_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.scripted_log.ReplicaGroup", OpenGroup)


def test_ended_items_leave_through_the_log_some_at_a_time() -> None:
    world = World(1)
    count = EXPIRE_BATCH + 10
    world.store().apply(1, 1000, [(0, 0, 0, OP_SET, b"%d" % n, DATA, 5) for n in range(count)])
    world.clock.ns = 6000 * MS
    (command,) = world.sweep()
    assert command[3] == OP_EXPIRE
    assert len(command[5]) == EXPIRE_BATCH
    assert world.sweep() == [], "the last one is not committed yet"
    world.store().apply(2, 6000, [command])
    world.waiters.pop().on_result(OK)
    (command,) = world.sweep()
    assert len(command[5]) == 10


@pytest.mark.parametrize("end", ["on_lost", "on_refused"])
def test_a_sweep_that_came_to_nothing_is_made_again(end: str) -> None:
    world = World(1)
    world.store().apply(1, 1000, [(0, 0, 0, OP_SET, b"k", DATA, 5)])
    world.clock.ns = 6000 * MS
    first = world.sweep()
    getattr(world.waiters.pop(), end)(*(["why"] if end == "on_refused" else []))
    assert world.sweep() == first != []


def test_a_due_flush_is_carried_out_by_a_tick_of_the_log() -> None:
    world = World(1)
    world.store().apply(1, 1000, [(0, 0, 0, OP_FLUSH, b"", 5)])
    world.clock.ns = 5999 * MS
    assert world.sweep() == []
    world.clock.ns = 6000 * MS
    assert [c[3] for c in world.sweep()] == [OP_TICK]


def test_idle_sessions_are_closed_by_the_logs_time() -> None:
    world = World(1)
    world.store().sessions.open(77, 1000)
    world.store().apply(1, 1000, [])
    world.clock.ns = 60_999 * MS
    assert world.sweep() == []
    world.clock.ns = 61_000 * MS
    assert world.sweep() == [(0, 0, 0, OP_SESSION_EXPIRE, b"", (77,), 60_000)]


def test_who_may_not_serve_does_not_sweep() -> None:
    world = World(1)
    world.store().apply(1, 1000, [(0, 0, 0, OP_SET, b"k", DATA, 5)])
    world.clock.ns = 6000 * MS
    world.groups[1].lease_until_ns = 0
    assert world.sweep() == []


def test_a_group_whose_state_does_not_end_by_itself_is_left_alone() -> None:
    world = World(0)
    world.groups[0].machine = DirectoryState(lambda cluster_map: None)
    world.clock.ns = 1 << 60
    assert world.sweep() == []
