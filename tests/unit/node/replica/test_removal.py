"""A replica that leaves: it stops at once, and goes from the disk in the one order that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.raft.messages import VoteReply
from quorumcache.node.consensus.values import Configuration, HardState, SnapshotMeta, SnapshotSource
from quorumcache.node.errors import DiskFailed, DiskFull
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.installing import SNAPSHOT_RETRY_SECONDS
from quorumcache.node.replica.removal import ReplicaRemover
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore, shard_store
from tests.support.get_forms import read_at_once
from tests.support.housekeeping import DATA, OpenGroup
from tests.support.housekeeping import HousekeepingWorld as KeeperWorld
from tests.support.scripted_log import (
    HARD_STATE,
    NO_SNAPSHOT,
    VOTERS,
    Hears,
    HostWorld,
    ScriptedLog,
)

PROMISE = VoteReply(2, True)
SET = (0, 0, 0, OP_SET, b"k", DATA, 0)
TICK_NS = 10_000_000


# -- the host -------------------------------------------------------------------------------------


def test_a_removed_group_has_no_turns_ticks_or_messages_any_more() -> None:
    world = HostWorld(1, 2)
    for log in world.logs.values():
        log.say(3, PROMISE)
    world.host.mark_dirty(world.groups[1])
    world.host.mark_dirty(world.groups[2])
    world.host.remove_group(1)
    world.turn(1, 2)
    assert world.told() == [("send", 3)]
    assert world.logs[1].next_ready is not None
    world.host.step(2, 1, PROMISE, False)
    world.host.step(2, 2, PROMISE, False)
    assert [len(world.logs[group].stepped) for group in (1, 2)] == [0, 1]
    world.host.start_ticking([])
    world.clock.ns += TICK_NS
    world.host.ticker.look()
    assert [world.logs[group].tick_count for group in (1, 2)] == [0, 1]
    assert not world.fatal


def test_all_who_wait_for_a_removed_group_hear_so_and_find_no_leader() -> None:
    world = HostWorld(1)
    group, log = world.groups[1], world.logs[1]
    log.lead()
    world.turn(1)
    proposed, queued, reading, confirmed, read = (Hears() for _ in range(5))
    group.submit(SET, 10, proposed)
    group.when_readable(reading)
    group.when_readable(confirmed)
    world.turn()
    group.reads_confirmed(log.read_contexts[0], 99)
    group.submit(SET, 10, queued)
    group.when_readable(read)
    group.lease_until_ns = 1 << 60
    world.leaders.clear()
    world.host.remove_group(1)
    assert proposed.heard == ["lost"]
    for waiter in (queued, reading, confirmed, read):
        assert waiter.heard == ["refused"]
    assert not group.is_leader
    assert not group.has_lease()
    assert world.leaders == [1]
    assert world.counters.leaderships_lost == 1


def test_nobody_reads_what_a_removed_group_had_and_its_items_are_let_go() -> None:
    world = HostWorld(1)
    world.logs[1].lead()
    world.turn(1)
    gate = shard_store(world.groups[1].machine).gate
    world.groups[1].lease_until_ns = 1 << 60
    assert read_at_once(gate, b"k") is not None
    world.host.remove_group(1)
    assert read_at_once(gate, b"k") is None
    assert gate.lease_until_ns == 0
    assert gate.table is None


def test_who_hears_it_may_ask_again_and_finds_no_replica() -> None:
    """A coordinator routes what was refused right away."""
    world = HostWorld(1)
    world.logs[1].lead()
    world.turn(1)
    found: list[Any] = []

    class Asks(Hears):
        def on_refused(self, why: str) -> None:
            found.append(world.host.groups.get(1))

    world.groups[1].submit(SET, 10, Asks())
    world.host.remove_group(1)
    assert found == [None]


def test_a_batch_under_way_sends_no_promise_of_a_removed_group() -> None:
    world = HostWorld(1, 2)
    for log in world.logs.values():
        log.append(b"")
        log.promise(2, PROMISE)
    world.turn(1, 2)
    world.told()
    world.host.remove_group(1)
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    assert [world.logs[group].persisted_calls for group in (1, 2)] == [[], [(1, 1)]]


def test_the_memory_of_a_removed_group_is_given_back() -> None:
    world = HostWorld(1, 2)
    world.logs[1].lead()
    world.turn(1)
    world.groups[1].submit(SET, 10, Hears())
    world.turn()
    world.logs[1].commit(world.logs[1].proposed)
    world.turn(1)
    assert world.host.bytes_used > 0
    world.host.remove_group(1)
    assert world.host.bytes_used == 0


def install(world: HostWorld) -> None:
    store = ShardStore()
    store.apply(7, 1000, [SET])
    meta = SnapshotMeta(7, 2, VOTERS)
    ready = world.logs[1].script()
    ready.snapshot = SnapshotSource(meta, list(store.encode_view(store.view())))
    ready.hard_state = HARD_STATE
    world.logs[1].promise(2, PROMISE)
    world.turn(1)


def test_a_snapshot_that_is_being_stored_does_not_bring_a_removed_group_back() -> None:
    world = HostWorld(1)
    install(world)
    world.host.remove_group(1)
    world.told()
    world.snapshots.end()
    assert world.told() == []


def test_a_snapshot_that_has_been_stored_is_not_promised_for_a_removed_group() -> None:
    world = HostWorld(1)
    install(world)
    world.snapshots.end()
    world.host.remove_group(1)
    world.told()
    world.wal.sync()
    assert world.told() == ["synced"]
    assert world.logs[1].installed == []


def test_a_snapshot_without_room_is_not_tried_again_for_a_removed_group() -> None:
    world = HostWorld(1)
    install(world)
    world.snapshots.end(DiskFull("no room"))
    world.host.remove_group(1)
    world.told()
    world.loop.run(until=world.loop.now + 2 * SNAPSHOT_RETRY_SECONDS)
    assert world.told() == []


def test_a_group_that_comes_again_is_sent_to_followers_as_if_it_were_the_first() -> None:
    """What was asked of the one before must not keep it from making a snapshot."""
    world = HostWorld(1)
    world.logs[1].lead()
    world.logs[1].script().snapshot_wanted = [3]
    world.host.mark_dirty(world.groups[1])
    world.host._turn()
    world.host.remove_group(1)
    log: Any = ScriptedLog()
    group = ReplicaGroup(1, log, ShardStore(), world.host, NO_SNAPSHOT)
    world.host.add_group(group)
    log.lead()
    log.script().snapshot_wanted = [2]
    world.turn()
    assert [to for to, _ in world.logs[1].provided] == []
    assert [to for to, _ in log.provided] == [2]


# -- the housekeeper ------------------------------------------------------------------------------


def keeper_world(monkeypatch: pytest.MonkeyPatch, *group_ids: int) -> KeeperWorld:
    monkeypatch.setattr("tests.support.scripted_log.ReplicaGroup", OpenGroup)
    return KeeperWorld(*group_ids)


def test_the_housekeeper_keeps_nothing_of_a_group_that_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = keeper_world(monkeypatch, 1)
    keeper = world.keeper
    leadership, snapshots = keeper.leadership, keeper.snapshots
    for counts in (
        leadership._wanted,
        leadership._steady,
        leadership._returned,
        leadership._slow,
        leadership._handed_over,
        snapshots._kept,
    ):
        counts.update({1: 5, 2: 5})
    snapshots._resting.update({1: (5, 5), 2: (5, 5)})
    keeper.expiry._expiring.update((1, 2))
    keeper.forget(1)
    states = [leadership._steady, leadership._returned, leadership._slow, leadership._handed_over]
    for state in (
        *states,
        leadership._wanted,
        snapshots._kept,
        snapshots._resting,
        keeper.expiry._expiring,
    ):
        assert [*state] == [2]


@pytest.mark.parametrize("moment", ["encoding", "saving"])
def test_a_snapshot_under_way_is_not_told_to_the_log_when_its_group_has_left(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The log would hold a mark of a group that it had forgotten, and of a file that is gone."""
    world = keeper_world(monkeypatch, 1, 2)
    for group_id in (1, 2):
        group = world.groups[group_id]
        world.store(group_id).apply(1000, 1000, [SET])
        group.applied_index = 1000
        group.log_bytes_since_snapshot = 2000

    async def run() -> None:
        world.host.loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(world.keeper.snapshots.take_due())
        if moment == "encoding":
            await asyncio.sleep(0)
            world.host.remove_group(1)
        while not task.done():
            await asyncio.sleep(0)
            if world.snapshots.saving:
                if moment == "saving" and 1 in world.host.groups:
                    world.host.remove_group(1)
                world.snapshots.end()
        task.result()

    asyncio.run(run())
    saved_2 = [("save", 2, 1000), ("compacted", 2, 1000)]
    saved_1 = [] if moment == "encoding" else [("save", 1, 1000)]
    assert world.told() == [*saved_1, *saved_2]


def test_a_pass_under_way_makes_no_snapshot_of_a_group_that_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = keeper_world(monkeypatch, 1, 2)
    for group_id in (1, 2):
        world.groups[group_id].applied_index = 1000
        world.groups[group_id].log_bytes_since_snapshot = 2000

    async def run() -> None:
        world.host.loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(world.keeper.snapshots.take_due())
        await asyncio.sleep(0)
        world.host.remove_group(2)
        while not task.done():
            await asyncio.sleep(0)
            if world.snapshots.saving:
                world.snapshots.end()

    asyncio.run(run())
    assert world.told() == [("save", 1, 1000), ("compacted", 1, 1000)]
    assert [*world.keeper.snapshots._resting] == [1]


# -- from the disk --------------------------------------------------------------------------------


class Removal:
    """A remover whose steps are written down. `refusing` is raised once by each step of births."""

    def __init__(self, *group_ids: int) -> None:
        self.world = HostWorld(*group_ids)
        self.story = self.world.story
        self.births: dict[int, Configuration] = {1: VOTERS, 2: VOTERS}
        self.refusing: list[BaseException] = []
        state: Any = SimpleNamespace(
            leaving=set(), begin_leaving=self._begin, end_leaving=self._end, births=self.births
        )
        self.state = state
        self.remover = ReplicaRemover(
            host=self.world.host,
            local_state=state,
            forget=lambda group_id: self.story.append(("kept nothing of", group_id)),
            on_fatal=self.world.fatal.append,
        )

    async def _begin(self, group_id: int, promised: HardState) -> None:
        assert promised == HARD_STATE
        self.state.leaving.add(group_id)
        await self._store("leaving", group_id)

    async def _end(self, group_id: int) -> None:
        await self._store("gone", group_id)
        self.state.leaving.discard(group_id)

    async def _store(self, what: str, group_id: int) -> None:
        await asyncio.sleep(0)
        self.story.append((what, group_id))
        if self.refusing:
            raise self.refusing.pop()

    def run(self, work: Callable[[], Any], refused: BaseException | None = None) -> list[Any]:
        """The story of `work`, while the disk does all that it is asked for; once `refused`."""

        async def story() -> None:
            nonlocal refused
            self.world.host.loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(work())
            while not task.done():
                await asyncio.sleep(0)
                if self.world.wal.batches:
                    self.world.wal.sync()
                if self.world.snapshots.saving:
                    self.world.snapshots.end(refused)
                    refused = None
            task.result()

        asyncio.run(story())
        return self.world.told()


ORDER = [("forget", 1), "synced", ("delete", 1), ("gone", 1)]


def test_each_step_of_a_removal_is_durable_before_the_next() -> None:
    removal = Removal(1, 2)
    story = removal.run(lambda: removal.remover.remove(1))
    assert story == [("kept nothing of", 1), ("leaving", 1), *ORDER]
    assert [*removal.world.host.groups] == [2]


def test_what_a_removed_replica_held_is_freed_but_not_in_that_turn() -> None:
    removal = Removal(1)
    group, log = removal.world.groups[1], removal.world.logs[1]
    log.to_let_go = 5000
    store = shard_store(group.machine)
    store.apply(1, 1000, [SET])
    removal.run(lambda: removal.remover.remove(1))
    assert log.to_let_go == 5000
    assert len(store.items) > 0
    removal.world.loop.run()
    assert log.to_let_go == 0
    assert len(store.items) == 0


def test_a_node_that_keeps_nothing_removes_a_replica_too() -> None:
    removal = Removal(1)
    no_snapshots: Any = None
    removal.world.host.snapshots = no_snapshots
    story = removal.run(lambda: removal.remover.remove(1))
    assert story == [("kept nothing of", 1), ("leaving", 1), *ORDER[:2], ("gone", 1)]


def test_a_full_disk_is_waited_for_and_the_order_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorumcache.node.replica.removal.RETRY_SECONDS", 0.001)
    removal = Removal(1)
    removal.refusing.append(DiskFull("no room"))
    full = DiskFull("no room")
    story = removal.run(lambda: removal.remover.remove(1), refused=full)
    leaving, (forget, synced, delete, gone) = ("leaving", 1), ORDER
    assert story[1:] == [leaving, leaving, forget, synced, delete, delete, gone]


def test_a_disk_that_fails_ends_the_node_and_the_removal() -> None:
    removal = Removal(1)
    removal.refusing.append(DiskFailed("broken"))
    assert removal.run(lambda: removal.remover.remove(1))[-1] == ("leaving", 1)
    assert [type(error) for error in removal.world.fatal] == [DiskFailed]


def test_a_start_goes_on_with_what_the_last_process_began() -> None:
    removal = Removal(2)
    removal.state.leaving.add(1)
    assert removal.run(removal.remover.finish) == ORDER
    assert removal.run(removal.remover.finish) == []


def test_a_removal_that_was_cancelled_can_be_gone_on_with() -> None:
    removal = Removal(1)

    async def cancelled() -> None:
        removal.world.host.loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(removal.remover.remove(1))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    removal.world.told()
    removal.world.wal.batches.clear()
    story = removal.run(lambda: removal.remover.remove(1))
    assert story == [("kept nothing of", 1), ("leaving", 1), *ORDER]


def test_a_replica_that_is_only_on_the_disk_is_removed_like_one_that_runs() -> None:
    """The map that took it away came in the last life of the node, which did not get to it."""
    removal = Removal(2)
    story = removal.run(lambda: removal.remover.remove(1))
    assert story == [("kept nothing of", 1), ("leaving", 1), *ORDER]
    assert [*removal.world.host.groups] == [2]


def test_the_directory_is_removed_like_any_group() -> None:
    removal = Removal(0)
    removal.births[0] = VOTERS
    story = removal.run(lambda: removal.remover.remove(0))
    assert story[:2] == [("kept nothing of", 0), ("leaving", 0)]
    assert not removal.world.host.groups


def test_no_group_is_removed_that_is_not_here_or_is_being_removed() -> None:
    removal = Removal(1)
    with pytest.raises(ValueError, match="no replica here"):
        removal.run(lambda: removal.remover.remove(7))

    async def twice() -> None:
        await asyncio.gather(removal.remover.remove(1), removal.remover.remove(1))

    with pytest.raises(AssertionError, match="already"):
        removal.run(twice)
