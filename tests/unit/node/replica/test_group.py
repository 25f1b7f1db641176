"""A replica group against a scripted log: what waiters hear, and when the lease may be used."""

import sys
from typing import Any

import pytest

from quorumcache.node.consensus.errors import ProposalDropped
from quorumcache.node.consensus.values import Entry, EntryKind, Role, SnapshotMeta, SnapshotSource
from quorumcache.node.replica.group import (
    BATCH_BYTES_MAX,
    COMMAND_OVERHEAD_BYTES,
    ENTRY_BYTES_MAX,
    INFLIGHT_BYTES_MAX,
    ReplicaGroup,
)
from quorumcache.node.state_machine import decode_batch, encode_batch
from quorumcache.node.store.commands import OP_APPEND, OP_SET, OP_TICK
from quorumcache.node.store.results import NOT_STORED, STORED
from quorumcache.node.store.store import ShardStore
from tests.support.get_forms import read_at_once
from tests.support.item_tables import item_of, items_of
from tests.support.scripted_log import VOTERS, Hears, HostWorld

GROUP = 5
DATA = b" 0 1\r\nx\r\n"


def command(key: bytes = b"k") -> tuple[Any, ...]:
    return (0, 0, 0, OP_SET, key, DATA, 0)


class World(HostWorld):
    """One group that leads, unless the test says otherwise."""

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.group = self.groups[GROUP]
        self.log = self.logs[GROUP]
        self.log.lead()
        self.turn(GROUP)

    def submit(self, key: bytes = b"k", size: int = 10) -> Hears:
        waiter = Hears()
        self.group.submit(command(key), size, waiter)
        return waiter

    def read(self) -> Hears:
        waiter = Hears()
        self.group.when_readable(waiter)
        return waiter

    def commit_all(self) -> None:
        entries, self.log.proposed = self.log.proposed, []
        self.log.commit(entries)
        self.turn(GROUP)


def test_commands_of_one_turn_are_one_entry_in_their_order() -> None:
    world = World()
    waiters = [world.submit(b"k%d" % n) for n in range(3)]
    world.turn()
    (entry,) = world.log.proposed
    assert [c[4] for c in decode_batch(entry.payload)[1]] == [b"k0", b"k1", b"k2"]
    assert [w.heard for w in waiters] == [[]] * 3
    world.commit_all()
    assert [w.heard for w in waiters] == [[STORED]] * 3
    assert world.host.bytes_used == world.group.machine.bytes_used > 0


def test_the_commands_of_an_entry_are_kept_unless_it_begins_with_a_plain_set() -> None:
    world = World()
    plain, other = command(), (0, 0, 0, OP_APPEND, b"k", DATA)
    world.group.submit(plain, 10, Hears())
    world.turn()
    world.group.submit(other, 10, Hears())
    world.turn()
    assert sys.getrefcount(plain) == 2, "this name, and the call's"
    assert sys.getrefcount(other) == 3
    world.commit_all()
    assert sys.getrefcount(other) == 2


def test_an_entry_whose_commands_were_not_kept_is_applied_from_its_bytes() -> None:
    world = World()
    waiters = [world.submit(), Hears()]
    world.group.submit((0, 0, 0, OP_APPEND, b"absent", DATA), 10, waiters[1])
    world.turn()
    world.commit_all()
    assert [w.heard for w in waiters] == [[STORED], [NOT_STORED]]
    assert list(items_of(world.group.machine.items)) == [b"k"]  # type: ignore[attr-defined]
    assert world.group._inflight_bytes == 0


def test_many_bytes_of_one_turn_are_cut_into_entries() -> None:
    world = World()
    for number in range(5):
        world.submit(b"k%d" % number, BATCH_BYTES_MAX // 2)
    world.turn()
    assert [len(decode_batch(e.payload)[1]) for e in world.log.proposed] == [2, 2, 1]


def test_what_the_log_does_not_take_is_refused() -> None:
    world = World()
    world.log.dropping = "handed over"
    waiter = world.submit()
    world.turn()
    assert waiter.heard == ["refused"]
    assert world.group._inflight_bytes == 0


def test_behind_a_refused_entry_nothing_of_the_turn_is_taken() -> None:
    """What is refused comes again later: it would then stand behind what was sent after it."""
    world = World()
    take = world.log.propose

    def too_large(payload: bytes) -> int:
        if len(decode_batch(payload)[1]) == 2:
            raise ProposalDropped("too many bytes that are not committed")
        return take(payload)

    world.log.propose = too_large
    waiters = [world.submit(size=BATCH_BYTES_MAX // 2) for _ in range(3)]
    world.turn()
    assert [w.heard for w in waiters] == [["refused"]] * 3
    assert world.log.proposed == []
    assert world.group._inflight_bytes == 0


def test_commands_in_flight_are_bounded_and_the_bound_is_given_back() -> None:
    world = World()
    first = world.submit(size=INFLIGHT_BYTES_MAX)
    second = world.submit()
    assert second.heard == ["refused"]
    world.turn()
    world.commit_all()
    assert first.heard == [STORED]
    assert world.group._inflight_bytes == 0
    assert world.submit().heard == []
    assert world.group._inflight_bytes == 10 + COMMAND_OVERHEAD_BYTES


def test_a_group_says_whether_it_took_a_command() -> None:
    """Behind one that it did not take nothing of the same client may be submitted."""
    world = World()
    taken = [
        world.group.submit((0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0), size, Hears())
        for size in (INFLIGHT_BYTES_MAX, 10)
    ]
    assert taken == [True, False]


def test_a_lost_leadership_is_heard_once_by_everybody_who_waits() -> None:
    world = World()
    proposed = world.submit()
    read_under_way = world.read()
    world.turn()
    world.log.confirm(world.log.read_contexts[0], 99)
    confirmed = read_under_way
    world.turn(GROUP)
    read_under_way = world.read()
    world.turn()
    world.log.become(Role.FOLLOWER, 2, 3)
    queued = world.submit(b"queued")
    read_queued = Hears()
    world.group.reads_queued.append(read_queued)
    world.turn(GROUP)
    assert proposed.heard == ["lost"]
    assert queued.heard == ["refused"]
    assert [w.heard for w in (confirmed, read_under_way, read_queued)] == [["refused"]] * 3
    assert world.group._inflight_bytes == 0
    # The entry is committed by the successor after all: nobody is told a second time.
    world.commit_all()
    assert proposed.heard == ["lost"]
    assert b"k" in world.group.machine.items  # type: ignore[attr-defined]


def test_an_entry_of_another_term_in_the_place_of_ours_does_not_answer_it() -> None:
    world = World()
    waiter = world.submit(b"ours")
    world.turn()
    other = encode_batch(1000, [command(b"other")])
    world.log.commit([Entry(1, 9, int(EntryKind.NORMAL), other)])
    world.turn(GROUP)
    assert waiter.heard == ["lost"]
    assert list(items_of(world.group.machine.items)) == [b"other"]  # type: ignore[attr-defined]


def test_lost_and_won_again_in_one_turn_is_a_loss() -> None:
    world = World()
    waiter = world.submit()
    world.turn()
    world.log.become(Role.LEADER, 3)
    world.turn(GROUP)
    assert waiter.heard == ["lost"]
    assert world.group.led_term == 3


def test_an_entry_out_of_order_is_our_bug() -> None:
    world = World()
    with pytest.raises(AssertionError, match="applied after"):
        world.group.apply([Entry(2, 1, int(EntryKind.NOOP), b"")])


def test_a_read_waits_until_its_index_is_applied() -> None:
    world = World()
    waiter = world.read()
    world.submit()
    world.turn()
    world.log.confirm(world.log.read_contexts[0], 1)
    world.turn(GROUP)
    assert waiter.heard == []
    world.commit_all()
    assert waiter.heard == ["readable"]


def test_reads_of_one_turn_share_a_round_and_a_failed_round_is_refused() -> None:
    world = World()
    waiters = [world.read(), world.read()]
    world.turn()
    (context,) = world.log.read_contexts
    world.log.script().failed_reads = [context]
    world.turn(GROUP)
    assert [w.heard for w in waiters] == [["refused"]] * 2


def test_a_read_at_a_follower_is_refused() -> None:
    world = World()
    world.log.become(Role.FOLLOWER, 2, 3)
    assert world.read().heard == ["refused"]


def test_no_lease_before_the_first_entry_of_the_term_is_applied() -> None:
    world = World()
    world.log.term_start_index = 1
    world.log.lease_until_ns = 100
    world.turn(GROUP)
    assert not world.group.has_lease()
    world.log.commit([Entry(1, 1, int(EntryKind.NOOP), b"")])
    world.turn(GROUP)
    assert world.group.has_lease()
    world.clock.ns = 100
    assert not world.group.has_lease()


def test_a_lost_leadership_ends_the_lease() -> None:
    world = World()
    world.log.lease_until_ns = 100
    world.turn(GROUP)
    assert world.group.has_lease()
    world.log.become(Role.FOLLOWER, 2)
    world.turn(GROUP)
    assert not world.group.has_lease()


def lent(world: World, now_ns: int = 0) -> bool:
    """Whether the state may be read without asking the group."""
    store = world.group.machine
    assert isinstance(store, ShardStore)
    return read_at_once(store.gate, b"k", now_ns) is not None


def test_whoever_reads_the_state_at_once_has_the_lease_and_no_longer() -> None:
    world = World()
    world.log.term_start_index = 1
    world.log.lease_until_ns = 100
    world.turn(GROUP)
    assert not lent(world), "the first entry of the term is not applied"
    world.log.commit([Entry(1, 1, int(EntryKind.NOOP), b"")])
    world.turn(GROUP)
    assert lent(world, 99)
    assert not lent(world, 100)
    world.log.lease_until_ns = 200
    world.group.update_lease()
    assert lent(world, 199)
    world.log.lease_until_ns = 0
    world.group.update_lease()
    assert not lent(world), "the leadership is being handed over"


def test_whoever_reads_the_state_at_once_does_so_no_more_when_the_leadership_is_lost() -> None:
    world = World()
    world.log.lease_until_ns = 100
    world.turn(GROUP)
    assert lent(world)
    world.group.leadership_lost()
    assert not lent(world)


def test_a_new_group_lends_nothing_of_the_machine_that_it_gets() -> None:
    world = World()
    world.group.machine.lend(100)
    ReplicaGroup(
        GROUP, world.group.log, world.group.machine, world.host, SnapshotMeta(0, 0, VOTERS)
    )
    assert not lent(world)


def test_time_never_runs_backwards_in_the_log() -> None:
    """An earlier leader's time was ahead: ours goes on from there, and does not stand still."""
    world = World()
    world.log.commit(world.log.append(encode_batch(700, [])))
    world.turn(GROUP)
    world.clock.wall -= 5000
    world.clock.ns += 3_000_000
    world.group.submit((0, 0, 0, OP_TICK, b""), 0, Hears())
    world.turn()
    assert decode_batch(world.log.proposed[0].payload).now_ms == 703


def test_a_command_that_no_frame_can_carry_is_refused() -> None:
    world = World()
    waiter = Hears()
    world.group.submit((0, 0, 0, OP_SET, b"k", b"x" * ENTRY_BYTES_MAX, 0), 10, waiter)
    world.turn()
    assert world.log.proposed == []
    assert waiter.heard == ["refused"]


def test_a_batch_holds_all_that_its_effect_depends_on() -> None:
    """The limit is the leader's, whatever the limit of the node that applies it."""
    stores = []
    for limit in (100, 1000):
        world = World()
        world.host.item_bytes_max = 100
        for command in (
            (0, 0, 0, OP_SET, b"k", b" 0 30\r\n" + b"x" * 30 + b"\r\n", 2_000_000_000),
            (0, 0, 0, OP_APPEND, b"k", b"y" * 11),
        ):
            world.group.submit(command, 50, Hears())
        world.turn()
        (entry,) = world.log.proposed
        assert decode_batch(entry.payload)[2:] == (world.host.time.wall_ms(), 100)
        follower = World()
        follower.host.item_bytes_max = limit
        follower.clock.wall = 5_000_000_000_000
        follower.log.commit(follower.log.append(entry.payload))
        follower.turn(GROUP)
        stores.append(follower.group.machine)
    assert stores[0].digest() == stores[1].digest()
    assert item_of(stores[0].items, b"k").endswith(b" 0 30\r\n" + b"x" * 30 + b"\r\n")


def test_a_restored_snapshot_replaces_state_and_memory() -> None:
    world = World()
    world.submit(b"old")
    world.turn()
    world.commit_all()
    source = ShardStore()
    source.apply(7, 1000, [command(b"new")])
    pieces = list(source.encode_view(source.view()))
    steps = world.group.restoring(SnapshotSource(SnapshotMeta(7, 1, VOTERS), pieces))
    for _ in pieces:
        next(steps)
        assert list(items_of(world.group.machine.items)) == [b"old"]  # type: ignore[attr-defined]
        assert world.group.applied_index < 7
    assert next(steps, None) is None
    assert list(items_of(world.group.machine.items)) == [b"new"]  # type: ignore[attr-defined]
    assert world.host.bytes_used == source.bytes_used
    assert world.group.applied_index == world.group.snapshot_index == 7
