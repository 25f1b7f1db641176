"""One way from a replica's state to the bytes of its snapshot, a piece in each turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration, PeerStatus, Role, SnapshotSource
from quorumcache.node.replica.snapshotting import (
    COPIES_MAX,
    COPY_STILL_NS,
    SnapshotEncoder,
    SnapshotSender,
    snapshot_of,
)
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore
from tests.support.scripted_log import HostWorld

ITEMS = 300
VALUE = bytes(4096)


def filled(*group_ids: int) -> HostWorld:
    """Groups of more than a megabyte: several pieces."""
    world = HostWorld(*group_ids)
    data = b" 0 4096\r\n" + VALUE + b"\r\n"
    for group in world.groups.values():
        commands = [(0, 0, 0, OP_SET, b"k%d" % number, data, 0) for number in range(ITEMS)]
        group.machine.apply(7, 1000, commands)
        group.applied_index = 7
    return world


class Turns:
    """A loop that runs what was asked for one turn at a time."""

    def __init__(self) -> None:
        self.next: list[Any] = []

    def call_soon(self, call: Any) -> None:
        self.next.append(call)

    def run_one(self) -> None:
        due, self.next = self.next, []
        for call in due:
            call()


def test_no_turn_of_the_loop_encodes_more_than_a_piece() -> None:
    world = filled(1)
    machine = world.groups[1].machine
    whole = b"".join(machine.encode_view(machine.view()))
    expected = len(list(machine.encode_view(machine.view())))
    assert expected > 3
    loop: Any = Turns()
    made: list[SnapshotSource] = []
    SnapshotEncoder(loop, world.groups[1], made.append, world.fatal.append)
    machine.apply(8, 1000, [(0, 0, 0, OP_SET, b"later", b" 0 1\r\nx\r\n", 0)])
    world.groups[1].applied_index = 8
    turns = 0
    while loop.next:
        assert not made
        loop.run_one()
        turns += 1
    assert turns == expected + 1
    (source,) = made
    assert source.meta.last_index == 7
    assert b"".join(source.pieces) == whole, "the state as it was when it was asked for"


def test_no_turn_encodes_more_than_a_piece_of_all_groups_that_are_wanted() -> None:
    """Each of several groups has a follower that has come back. The groups take turns."""
    taken: list[int] = []

    class Watched(ShardStore):
        def encode_view(self, view: Any) -> Iterator[bytes]:
            for piece in ShardStore.encode_view(self, view):
                taken.append(view.applied_index)
                yield piece

    world = filled(1, 2, 3)
    loop: Any = Turns()
    sender = SnapshotSender(
        loop, world.counters, world.host.mark_dirty, world.fatal.append, world.clock
    )
    for group_id, group in world.groups.items():
        store = Watched()
        store.items = group.machine.items  # type: ignore[attr-defined]
        store.applied_index = group_id
        group.machine = store
        world.logs[group_id].lead()
        sender.want(group, 2)
    while loop.next:
        before = len(taken)
        loop.run_one()
        assert len(taken) <= before + 1
    assert taken[:6] == [1, 2, 3, 1, 2, 3]
    assert all(len(log.provided) == 1 for log in world.logs.values())


def test_a_state_that_cannot_be_encoded_is_told() -> None:
    class Broken(ShardStore):
        def encode_view(self, view: Any) -> Iterator[bytes]:
            yield b"a piece"
            raise ZeroDivisionError

    world = filled(1)
    world.groups[1].machine = Broken()
    loop: Any = Turns()
    failed: list[BaseException] = []
    SnapshotEncoder(loop, world.groups[1], lambda source: pytest.fail("made"), failed.append)
    loop.run_one()
    with pytest.raises(ZeroDivisionError):
        loop.run_one()
    assert [type(error) for error in failed] == [ZeroDivisionError]
    assert loop.next == []


@pytest.mark.parametrize("end", ["done", "cancelled", "cancelled twice", "failed"])
def test_the_view_is_ended_however_its_snapshot_ends(end: str) -> None:
    views: list[Any] = []
    ended: list[Any] = []

    class Watched(ShardStore):
        def view(self) -> Any:
            views.append(ShardStore.view(self))
            return views[-1]

        def end_view(self, view: Any) -> None:
            ended.append(view)
            ShardStore.end_view(self, view)

        def encode_view(self, view: Any) -> Iterator[bytes]:
            for piece in ShardStore.encode_view(self, view):
                assert not ended
                yield piece
            if end == "failed":
                raise ZeroDivisionError

    world = filled(1)
    store = Watched()
    store.items = world.groups[1].machine.items  # type: ignore[attr-defined]
    world.groups[1].machine = store
    loop: Any = Turns()
    encoder = SnapshotEncoder(loop, world.groups[1], lambda source: None, world.fatal.append)
    loop.run_one()
    assert (len(views), ended) == (1, [])
    if end.startswith("cancelled"):
        encoder.cancel()
        if end == "cancelled twice":
            encoder.cancel()
        assert ended
    with pytest.raises(ZeroDivisionError) if end == "failed" else nullcontext():
        run_all(loop)
    assert {id(view) for view in ended} == {id(views[0])}
    with pytest.raises(ValueError, match="closed"):
        next(views[0].items.pairs())


def sending(world: HostWorld) -> tuple[Any, SnapshotSender]:
    loop: Any = Turns()
    return loop, SnapshotSender(
        loop,
        world.counters,
        world.host.mark_dirty,
        lambda error: pytest.fail(str(error)),
        world.clock,
    )


def run_all(loop: Any) -> None:
    while loop.next:
        loop.run_one()


def test_followers_that_ask_meanwhile_share_one_snapshot() -> None:
    world = filled(1, 2)
    log = world.logs[1]
    log.lead()
    world.logs[2].lead()
    loop, sender = sending(world)
    for replica in (2, 3, 2):
        sender.want(world.groups[1], replica)
        loop.run_one()
    sender.want(world.groups[2], 3)
    run_all(loop)
    (first, source), (second, other) = log.provided
    assert (first, second) == (2, 3)
    assert source is other
    assert len(world.logs[2].provided) == 1
    assert world.counters.snapshots_sent == 3
    sender.want(world.groups[1], 2)
    run_all(loop)
    assert log.provided[-1][1] is not source, "later it is another state"


def test_only_copies_to_learners_keep_to_the_rate() -> None:
    """A voter that has fallen behind is missed by its group."""
    world = filled(1)
    log = world.logs[1]
    log.lead()
    log.configuration = Configuration((1, 2, 3), (4,))
    loop, sender = sending(world)
    sender.rate.bytes_per_second = 8
    world.clock.ns = 10**9
    for replica in (2, 4):
        sender.want(world.groups[1], replica)
    run_all(loop)
    (_, free), (_, paced) = log.provided
    assert paced.meta == free.meta
    assert free.read(0, 1 << 30) == b"".join(free.pieces)
    assert len(paced.read(0, 1 << 20)) == 2
    assert paced.read(2, 1 << 20) == b""
    world.clock.ns += 10**9
    assert paced.read(2, 1 << 20) == free.read(2, 2)
    sender.want(world.groups[1], 4)
    run_all(loop)
    world.clock.ns += 10**9
    assert len(log.provided[-1][1].read(0, 1 << 20)) == 4, "a second copy goes twice as fast"
    log.configuration = Configuration((1, 2, 3))
    sender.want(world.groups[1], 4)
    run_all(loop)
    log.configuration = Configuration((1, 2, 3), (4,))
    sender.want(world.groups[1], 4)
    run_all(loop)
    world.clock.ns += 10**9
    assert len(log.provided[-1][1].read(0, 1 << 20)) == 2, "it is another learner"


def all_wanted(count: int) -> tuple[HostWorld, Any, SnapshotSender]:
    """A replica of each of so many groups has come back, and is sent what it is given."""
    world = HostWorld(*range(1, count + 1))
    loop, sender = sending(world)
    for group_id, log in world.logs.items():
        log.lead()
        log.members[2] = PeerStatus(0, 1, "snapshot", True, 0, 0)
        sender.want(world.groups[group_id], 2)
    return world, loop, sender


def given(world: HostWorld) -> list[int]:
    return [group_id for group_id, log in world.logs.items() if log.provided]


def test_so_many_copies_are_under_way_and_the_others_wait_for_a_place() -> None:
    world, loop, sender = all_wanted(COPIES_MAX + 3)
    first = list(range(1, COPIES_MAX + 1))
    for _ in range(3):
        run_all(loop)
        sender.look()
        assert given(world) == first
    sender.want(world.groups[COPIES_MAX + 1], 2)  # It asks again, and keeps its place.
    world.logs[3].members[2] = PeerStatus(7, 8, "replicate", True, 0, 0)
    sender.look()
    run_all(loop)
    assert given(world) == [*first, COPIES_MAX + 1]
    del world.logs[1].members[2]  # It has left the group.
    world.logs[COPIES_MAX + 2].become(Role.FOLLOWER, 2, 3)
    sender.look()
    run_all(loop)
    assert given(world) == [*first, COPIES_MAX + 1, COPIES_MAX + 3]
    assert [len(log.provided) for log in world.logs.values()].count(1) == COPIES_MAX + 2


def test_a_copy_that_does_not_move_gives_its_place_up() -> None:
    """So nodes that are gone do not keep others from being sent what they lack."""
    world, loop, sender = all_wanted(COPIES_MAX + 2)
    run_all(loop)
    world.clock.ns += COPY_STILL_NS - 1
    world.logs[1].members[2] = PeerStatus(0, 1, "snapshot", True, 0, 100)
    sender.look()
    run_all(loop)
    assert len(given(world)) == COPIES_MAX
    world.clock.ns += 1
    sender.look()
    run_all(loop)
    assert len(given(world)) == COPIES_MAX + 2
    world.clock.ns += COPY_STILL_NS - 2
    sender.look()
    assert world.groups[1].log.progress()[2].snapshot_bytes == 100


def test_a_group_that_left_does_not_wait_for_a_place_any_more() -> None:
    world, loop, sender = all_wanted(COPIES_MAX + 2)
    sender.forget(COPIES_MAX + 1)
    for log in world.logs.values():
        log.members.clear()
    run_all(loop)
    sender.look()
    run_all(loop)
    assert COPIES_MAX + 1 not in given(world)
    assert COPIES_MAX + 2 in given(world)


def test_the_host_looks_for_places_in_every_tick() -> None:
    world = HostWorld(*range(1, COPIES_MAX + 2))
    for group_id, log in world.logs.items():
        log.lead()
        log.members[2] = PeerStatus(0, 1, "snapshot", True, 0, 0)
        log.script().snapshot_wanted = [2]
        world.host.mark_dirty(world.groups[group_id])
    world.turn()
    assert len(given(world)) == COPIES_MAX
    for log in world.logs.values():
        log.members.clear()
    world.host.start_ticking([])
    world.clock.ns += 20_000_000
    world.loop.run(until=world.loop.now + 0.02)
    assert len(given(world)) == COPIES_MAX + 1


def test_who_does_not_lead_any_more_sends_nothing() -> None:
    world = filled(1)
    log = world.logs[1]
    log.lead()
    loop, sender = sending(world)
    sender.want(world.groups[1], 2)
    log.become(Role.FOLLOWER, 3, 2)
    run_all(loop)
    assert log.provided == []
    assert world.counters.snapshots_sent == 0
    log.lead(4)
    sender.want(world.groups[1], 2)
    run_all(loop)
    assert len(log.provided) == 1


def test_a_stopped_sender_encodes_no_more_and_sends_nothing() -> None:
    world = filled(1)
    log = world.logs[1]
    log.lead()
    loop, sender = sending(world)
    sender.want(world.groups[1], 2)
    loop.run_one()
    sender.stop()
    loop.run_one()
    assert loop.next == []
    assert log.provided == []


def test_a_host_that_stops_stops_its_sender() -> None:
    world = filled(1)
    log = world.logs[1]
    log.lead()
    log.script().snapshot_wanted = [3]
    world.host.mark_dirty(world.groups[1])
    world.loop.run(steps_max=2)
    world.host.stop()
    world.turn()
    assert log.provided == []


def test_who_waits_for_a_snapshot_and_is_cancelled_leaves_nothing_running() -> None:
    pieces = 0

    class Endless(ShardStore):
        def encode_view(self, view: Any) -> Iterator[bytes]:
            nonlocal pieces
            while True:
                pieces += 1
                yield b"a piece"

    world = filled(1)
    world.groups[1].machine = Endless()

    async def run() -> None:
        task = asyncio.ensure_future(snapshot_of(asyncio.get_running_loop(), world.groups[1]))
        for _ in range(10):
            await asyncio.sleep(0)
        assert pieces > 3
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        before = pieces
        for _ in range(5):
            await asyncio.sleep(0)
        assert pieces == before

    asyncio.run(run())
