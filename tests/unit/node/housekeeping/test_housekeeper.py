"""Regular work over scripted groups: sweeps, leaders that go home, snapshots and what they drop."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration, Role
from quorumcache.node.errors import DiskFull
from quorumcache.node.housekeeping.housekeeper import (
    EXPIRE_BATCH,
    KEEP_ENTRIES,
    RETURN_DOUBLINGS_MAX,
    SLOW_PASSES,
    SLOW_REST_PASSES,
    STEADY_PASSES,
    TRANSFERS_AT_ONCE_MAX,
    Housekeeper,
)
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.store.commands import OP_EXPIRE, OP_FLUSH, OP_SESSION_EXPIRE, OP_SET, OP_TICK
from quorumcache.node.store.results import OK
from tests.support.scripted_log import FakeSnapshots, HostWorld

DATA = b" 0 1\r\nx\r\n"
HERE, THERE = 1, 2

MS = 1_000_000


class World(HostWorld):
    """A housekeeper over groups that lead under a lease; `submitted` replaces their logs."""

    def __init__(self, *group_ids: int) -> None:
        super().__init__(*group_ids)
        self.submitted: list[tuple[Any, ...]] = []
        self.waiters: list[Any] = []
        self.up = True
        config: Any = SimpleNamespace(
            node_id=HERE,
            session_idle_ms=60_000,
            snapshot_bytes_min=1000,
            memory_bytes=1 << 30,
            election_ms=300,
        )
        for group_id, group in self.groups.items():
            self.logs[group_id].lead()
            group.lease_until_ns = 1
            group.submit = self._submit  # type: ignore[method-assign]
        self.keeper = Housekeeper(
            node_id=HERE,
            config=config,
            loop=self.loop,
            host=self.host,
            wal=self.wal,
            snapshots=self.snapshots,
            counters=self.counters,
            preferred_leader=lambda group_id: THERE,
            is_up=lambda node_id: self.up,
        )

    def _submit(self, command: Any, size: int, waiter: Any) -> None:
        self.submitted.append(command)
        self.waiters.append(waiter)

    def store(self, group_id: int = 1) -> Any:
        return self.groups[group_id].machine

    def sweep(self) -> list[tuple[Any, ...]]:
        self.keeper._sweep()
        submitted, self.submitted = self.submitted, []
        return submitted


# A group is made with slots: the test replaces `submit` on a subclass of it.
@pytest.fixture(autouse=True)
def _open_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    class OpenGroup(ReplicaGroup):
        pass

    monkeypatch.setattr("tests.support.scripted_log.ReplicaGroup", OpenGroup)


# -- sweeps -----------------------------------------------------------------------------------


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


# -- leaders ------------------------------------------------------------------------------------


def follower(match_index: int = 0, active: bool = True, echo_ns: int = 1 << 60) -> Any:
    return SimpleNamespace(match_index=match_index, recent_active=active, echo_ns=echo_ns)


def passes(world: World, count: int) -> None:
    for _ in range(count):
        world.keeper._return_leaders()


def test_a_leader_without_a_lease_hands_over_once_and_keeps_what_comes_back_for_a_while() -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(5), 3: follower(7)}
    log.lease_until_ns = world.groups[1].lease_until_ns = 0
    for _ in range(SLOW_PASSES - 1):
        world.keeper._hand_over_slow()
    assert log.transferred == []
    world.keeper._hand_over_slow()
    assert log.transferred == [3], "the voter that is furthest along"
    for _ in range(SLOW_REST_PASSES + SLOW_PASSES - 1):
        world.keeper._hand_over_slow()
    assert log.transferred == [3]
    world.keeper._hand_over_slow()
    assert log.transferred == [3, 3]


def test_a_leader_keeps_a_group_with_a_lease_or_a_voter_that_is_silent() -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(), 3: follower()}
    world.groups[1].lease_until_ns = 1 << 60
    for _ in range(2 * SLOW_PASSES):
        world.keeper._hand_over_slow()
    world.groups[1].lease_until_ns = 0
    log.members[3] = follower(active=False)
    for _ in range(2 * SLOW_PASSES):
        world.keeper._hand_over_slow()
    assert log.transferred == []


def test_a_preferred_leader_with_slow_answers_does_not_get_its_shard_back() -> None:
    world = World(1)
    world.clock.ns = 1000 * MS
    world.logs[1].members = {THERE: follower(echo_ns=700 * MS)}
    passes(world, 2 * STEADY_PASSES)
    assert world.logs[1].transferred == []
    world.logs[1].members = {THERE: follower(echo_ns=701 * MS)}
    passes(world, STEADY_PASSES + 1)
    assert world.logs[1].transferred == [THERE]


def test_a_preferred_leader_gets_its_shard_back_when_it_has_kept_up_for_a_while() -> None:
    world = World(1)
    world.logs[1].members = {THERE: follower()}
    passes(world, STEADY_PASSES)
    assert world.logs[1].transferred == []
    passes(world, 1)
    assert world.logs[1].transferred == [THERE]


def test_a_preferred_leader_that_fails_to_take_over_is_asked_less_and_less_often() -> None:
    """A disk that is slow but answers, say: each attempt keeps writes waiting."""

    def passes_until_asked() -> int:
        before = len(log.transferred)
        for count in range(1, 1000):
            passes(world, 1)
            if len(log.transferred) > before:
                return count
        raise AssertionError("not asked any more")

    world = World(1)
    log = world.logs[1]
    log.members = {THERE: follower()}
    gaps = [(STEADY_PASSES << times) + 1 for times in range(RETURN_DOUBLINGS_MAX + 1)]
    assert [passes_until_asked() for _ in gaps] == gaps
    assert passes_until_asked() == gaps[-1], "but it is"
    log.become(Role.CANDIDATE, 2)  # Between two of its own terms.
    passes(world, 1)
    log.lead(2)
    assert passes_until_asked() == gaps[-1]
    log.become(Role.FOLLOWER, 3, THERE)
    passes(world, 1)
    log.lead(4)
    assert [passes_until_asked() for _ in range(2)] == gaps[:2], "it did lead in between"
    world.up = False
    passes(world, 1)
    world.up = True
    assert passes_until_asked() == gaps[0], "it was started anew"


def test_the_lease_ends_before_the_successor_can_hear_of_it() -> None:
    world = World(1)
    log, group = world.logs[1], world.groups[1]
    log.lease_until_ns = 1000
    group.update_lease()
    assert group.has_lease()
    world.keeper.transfer(group, THERE)
    assert not group.has_lease()


@pytest.mark.parametrize("why", ["down", "silent", "behind", "unknown"])
def test_who_has_not_kept_up_does_not_get_it(why: str) -> None:
    world = World(1)
    world.logs[1].members = {THERE: follower()}
    passes(world, STEADY_PASSES)
    if why == "down":
        world.up = False
    elif why == "silent":
        world.logs[1].members = {THERE: follower(active=False)}
    elif why == "behind":
        world.logs[1].last_index = KEEP_ENTRIES + 1
    else:
        world.logs[1].members = {}
    passes(world, 1)
    world.up, world.logs[1].last_index = True, 0
    world.logs[1].members = {THERE: follower()}
    passes(world, STEADY_PASSES)
    assert world.logs[1].transferred == [], "the count begins anew"


def test_few_leaderships_go_at_once_and_the_directory_stays() -> None:
    world = World(*range(TRANSFERS_AT_ONCE_MAX + 3))
    for log in world.logs.values():
        log.members = {THERE: follower()}
    passes(world, STEADY_PASSES + 1)
    assert sum(len(log.transferred) for log in world.logs.values()) == TRANSFERS_AT_ONCE_MAX
    passes(world, 1)
    assert world.logs[0].transferred == []
    assert sum(len(log.transferred) for log in world.logs.values()) == len(world.logs) - 1


def test_a_follower_hands_nothing_over() -> None:
    world = World(1)
    world.logs[1].become(Role.FOLLOWER, 2, 3)
    world.keeper.transfer(world.groups[1], THERE)
    assert world.logs[1].transferred == []


# -- snapshots -----------------------------------------------------------------------------------


def grow(world: World, group_id: int = 1, index: int = 1000, size: int = 2000) -> None:
    group = world.groups[group_id]
    world.store(group_id).apply(index, 1000, [(0, 0, 0, OP_SET, b"k", DATA, 0)])
    group.applied_index = index
    group.log_bytes_since_snapshot = size


def snapshot(world: World, error: BaseException | None = None, during: Any = None) -> None:
    """One pass, on a real loop; the disk answers with `error`."""

    async def run() -> None:
        world.keeper._loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(world.keeper._snapshot_due())
        saves: FakeSnapshots = world.snapshots
        while not task.done():
            await asyncio.sleep(0)
            if saves.saving:
                if during is not None:
                    during()
                saves.end(error)
        task.result()

    asyncio.run(run())


def test_a_log_that_has_grown_is_snapshotted_marked_and_dropped() -> None:
    world = World(1, 2)
    grow(world)
    snapshot(world)
    assert world.told() == [("save", 1, 1000), ("compacted", 1, 1000)]
    assert world.logs[1].compacted == [1000 - KEEP_ENTRIES]
    group = world.groups[1]
    assert (group.snapshot_index, group.log_bytes_since_snapshot) == (1000, 0)
    snapshot(world)
    assert world.told() == []


def test_what_is_kept_for_those_who_catch_up_is_bounded_and_let_go() -> None:
    """All groups together keep half of what logs may take; what is not needed any more goes."""
    world = World(1, 2)
    first, second = world.logs[1], world.logs[2]
    first.is_needed = True
    first.log_bytes = 100 << 20
    grow(world)
    snapshot(world)
    grow(world, 2)
    snapshot(world)
    half = (1 << 30) // 4 // 2
    assert (first.keep_bytes[0], second.keep_bytes[0]) == (half, half - first.log_bytes)
    del first.compacted[:]
    snapshot(world)
    assert first.compacted == [1000], "the whole, as it is large"
    first.is_needed = False
    snapshot(world)
    snapshot(world)
    assert len(first.compacted) == 2
    assert second.compacted == [1000 - KEEP_ENTRIES]


def test_a_small_log_is_left_alone_unless_it_pins_old_segments() -> None:
    world = World(1)
    grow(world, size=10)
    snapshot(world)
    assert world.told() == []
    world.wal.pinned = [1]
    snapshot(world)
    assert world.told() == [("save", 1, 1000), ("compacted", 1, 1000)]


def test_without_room_nothing_is_dropped() -> None:
    world = World(1)
    grow(world)
    snapshot(world, DiskFull("no space"))
    assert world.told() == [("save", 1, 1000)]
    assert world.logs[1].compacted == []
    assert world.groups[1].snapshot_index == 0


def test_a_snapshot_of_the_leader_that_came_meanwhile_wins() -> None:
    for newer in ("installing", "installed"):
        world = World(1)
        grow(world)
        group = world.groups[1]

        def arrive(group: Any = group, newer: str = newer) -> None:
            if newer == "installing":
                group.installing = True
            else:
                group.snapshot_index = 2000

        snapshot(world, during=arrive)
        assert world.told() == [("save", 1, 1000)]
        assert world.logs[1].compacted == []


def test_what_was_applied_while_it_was_written_counts_for_the_next() -> None:
    world = World(1)
    grow(world)
    group = world.groups[1]

    def applied() -> None:
        group.log_bytes_since_snapshot += 300

    snapshot(world, during=applied)
    assert group.log_bytes_since_snapshot == 300


def test_a_snapshot_that_ends_after_its_node_has_stopped_disturbs_nobody() -> None:
    world = World(1)
    grow(world)
    unhandled: list[Any] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        world.keeper._loop = loop
        task = asyncio.ensure_future(world.keeper._snapshot_due())
        saves: FakeSnapshots = world.snapshots
        for _ in range(1000):
            if saves.saving:
                break
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        loop.call_soon(saves.end)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert unhandled == []
    assert world.groups[1].snapshot_index == 0
