"""A leader's snapshot takes the place of a state a piece at a time: whole, or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from quorumcache.node.consensus.raft.messages import PreVoteReply, VoteReply
from quorumcache.node.consensus.values import SnapshotMeta, SnapshotSource
from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.replica.installing import GIVE_BACK_BYTES, HELD_MAX, LET_GO_MAX
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore
from tests.support.scripted_log import HARD_STATE, VOTERS, HostWorld

PROMISE = VoteReply(2, True)
PLAIN = PreVoteReply(2, True)
PIECES = 7
PIECE_BYTES = 1000


def snapshot(index: int = 7) -> SnapshotSource:
    """A state in `PIECES` pieces, cut without regard to what they hold."""
    store = ShardStore()
    data = b" 0 100\r\n%b\r\n" % bytes(100)
    commands = [(0, 0, 0, OP_SET, b"k%d" % number, data, 0) for number in range(45)]
    store.apply(index, 1000, commands)
    whole = b"".join(store.encode_view(store.view()))
    pieces = [whole[at : at + PIECE_BYTES] for at in range(0, len(whole), PIECE_BYTES)]
    assert len(pieces) == PIECES
    return SnapshotSource(SnapshotMeta(index, 2, VOTERS), pieces)


def begin(world: HostWorld, source: SnapshotSource | None = None, group_id: int = 1) -> None:
    """The turn in which the snapshot comes."""
    log = world.logs[group_id]
    ready = log.script()
    ready.snapshot = source or snapshot()
    ready.hard_state = HARD_STATE
    log.promise(2, PROMISE)
    world.host.mark_dirty(world.groups[group_id])
    world.loop.run(steps_max=2)  # It looks whether more comes, and takes its turn.


def turn_of_the_loop(world: HostWorld) -> None:
    """All that is due now, and nothing of what that has called soon."""
    over: list[bool] = []
    world.loop.call_soon(over.append, True)
    while not over:
        world.loop.run(steps_max=1)


def items(world: HostWorld) -> int:
    machine: Any = world.groups[1].machine
    return len(machine.items)


def test_no_turn_of_the_loop_restores_more_than_a_piece() -> None:
    taken: list[int] = []

    class Watched(ShardStore):
        def restoring(self, pieces: Sequence[bytes]) -> Iterator[int]:
            for count in ShardStore.restoring(self, pieces):
                taken.append(count)
                yield count

    world = HostWorld(1)
    world.groups[1].machine = Watched()
    begin(world)
    for step in range(PIECES):
        assert len(taken) == step
        world.loop.run(steps_max=1)
        assert items(world) == world.groups[1].applied_index == 0, "the state is as it was"
        assert world.told() == [], "nothing is stored before the whole is restored"
    world.loop.run(steps_max=1)
    assert items(world) == 45
    assert world.told() == [("save", 1, 7)]
    assert world.counters.snapshots_received == 1
    assert b"".join(snapshot().pieces) == world.snapshots.saving[0][1].data


def test_no_turn_restores_more_than_a_piece_of_all_groups_together() -> None:
    """They take turns, so that a small one does not wait for a large one."""
    taken: list[Any] = []

    class Watched(ShardStore):
        def restoring(self, pieces: Sequence[bytes]) -> Iterator[int]:
            for count in ShardStore.restoring(self, pieces):
                taken.append(self)
                yield count

    world = HostWorld(1, 2, 3)
    machines = [Watched() for _ in world.groups]
    for group, machine in zip(world.groups.values(), machines, strict=True):
        group.machine = machine
    for group_id in world.groups:
        begin(world, group_id=group_id)
    while not all(machine.items for machine in machines):
        before = len(taken)
        turn_of_the_loop(world)
        assert len(taken) <= before + 1
    assert [len(machine.items) for machine in machines] == [45] * 3
    assert len(taken) == 3 * PIECES
    assert set(taken[6:9]) == set(machines), "in turn"


def test_the_old_log_is_let_go_bit_by_bit_before() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.to_let_go = 2 * LET_GO_MAX + 1
    begin(world)
    for left in (LET_GO_MAX + 1, 1, 0):
        world.loop.run(steps_max=1)
        assert log.to_let_go == left
        assert items(world) == 0
    world.loop.run(steps_max=PIECES + 1)
    assert items(world) == 45


def test_other_groups_have_their_turns_between_the_pieces() -> None:
    world = HostWorld(1, 2)
    begin(world)
    for _ in range((PIECES - 1) // 2):
        world.logs[2].say(3, PLAIN)
        world.host.mark_dirty(world.groups[2])
        world.loop.run(steps_max=4)  # Two pieces, a look, a turn.
        assert world.told() == [("send", 3)]
        assert items(world) == 0


@pytest.mark.parametrize("steps", range(PIECES + 1))
def test_a_group_that_is_removed_at_any_piece_leaves_nothing(steps: int) -> None:
    world = HostWorld(1)
    begin(world)
    world.loop.run(steps_max=steps)
    group = world.groups[1]
    world.host.remove_group(1)
    world.told()
    world.turn()
    assert world.host.bytes_used == 0
    assert len(group.machine.items) == group.applied_index == 0  # type: ignore[attr-defined]
    assert world.counters.snapshots_received == 0
    assert world.told() == []


@pytest.mark.parametrize("steps", range(PIECES + 1))
def test_a_node_that_stops_at_any_piece_goes_no_further(steps: int) -> None:
    world = HostWorld(1)
    begin(world)
    world.loop.run(steps_max=steps)
    world.host.stop()
    world.turn()
    assert items(world) == 0
    assert world.told() == []


def test_what_cannot_be_decoded_at_its_end_changes_nothing_and_ends_the_node() -> None:
    whole = snapshot()
    for pieces in (
        whole.pieces[:-1],
        [*whole.pieces, b"\xc0"],
        [whole.pieces[0], *whole.pieces],
        [],
    ):
        world = HostWorld(1)
        begin(world, SnapshotSource(whole.meta, pieces))
        with pytest.raises(SnapshotInvalid):
            world.turn()
        assert len(world.fatal) == 1
        assert items(world) == world.host.bytes_used == world.groups[1].applied_index == 0
        world.turn()
        assert world.told() == []


def test_more_than_a_bound_of_turns_is_not_held_back() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    begin(world)
    world.turn()
    world.told()
    for _ in range(HELD_MAX + 3):
        log.promise(2, PROMISE)
        log.say(3, PLAIN)
        world.turn(1)
    assert world.told() == [("send", 3)] * HELD_MAX
    world.snapshots.end()
    world.wal.sync()
    world.wal.sync()
    world.turn()
    assert world.told().count(("send", 2)) == 1 + HELD_MAX + 3, "what came with the snapshot, too"
    assert world.groups[1].unpersisted == 0


def test_a_failure_at_the_end_of_an_installation_ends_the_node() -> None:
    world = HostWorld(1)

    def fail(*_: Any) -> None:
        raise AssertionError("our bug")

    world.logs[1].snapshot_installed = fail  # type: ignore[method-assign]
    begin(world)
    world.turn()
    world.snapshots.end()
    with pytest.raises(AssertionError, match="our bug"):
        world.wal.sync()
    assert len(world.fatal) == 1


def test_memory_is_given_back_when_enough_of_it_was_snapshots() -> None:
    world = HostWorld(1, 2)
    pieces: list[bytes] = []
    for group_id in world.groups:
        source = large_snapshot(GIVE_BACK_BYTES // 2)
        pieces.append(source.pieces[-1])
        begin(world, source, group_id)
    del source
    held: list[int] = []

    def give_back() -> None:
        held.extend(sys.getrefcount(piece) for piece in pieces)

    world.give_back = give_back
    world.turn()
    for given_back in (0, 2):
        world.snapshots.end()
        world.wal.sync()
        world.turn()
        assert len(held) == given_back
    assert held == [3, 3], "by the list above, the loop over it and the call: nobody else"


def large_snapshot(size: int) -> SnapshotSource:
    """A state whose snapshot has more than `size` bytes."""
    store = ShardStore()
    data = b" 0 1000000\r\n%b\r\n" % bytes(1_000_000)
    for number in range(size // 1_000_000 + 1):
        store.apply(number + 1, 1000, [(0, 0, 0, OP_SET, b"k%d" % number, data, 0)])
    pieces = list(store.encode_view(store.view()))
    return SnapshotSource(SnapshotMeta(7, 2, VOTERS), pieces)
