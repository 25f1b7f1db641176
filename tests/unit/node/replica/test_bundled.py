"""Goal: entries that come in a bundle are in the log before anybody hears that they are durable,
the answer stands for exactly these, and whatever is not usual goes the way of a message.

Method: a host with scripted logs over a write-ahead log that is durable when the test says so.
"""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.raft.messages import Append, AppendReply, VoteReply
from quorumcache.node.consensus.runs import pack_run
from quorumcache.node.consensus.values import Entry, EntryKind
from quorumcache.node.errors import CommandError
from quorumcache.node.peers.bundles import pack_answer
from quorumcache.node.peers.items import BUNDLE, BUNDLE_FORM, BUNDLE_HELD
from quorumcache.node.replica.group import BATCH_BYTES_MAX
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.store.commands import OP_SET
from tests.support.scripted_log import HARD_STATE, Hears, HostWorld

LIFE = 99
PROMISE = VoteReply(2, True)


class World(HostWorld):
    """Keeps what is sent, unpacked."""

    def __init__(self, *group_ids: int) -> None:
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        super().__init__(*group_ids)

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        self.sent.append((node_id, msgpack.unpackb(packed, use_list=False)))
        return super().send_packed(node_id, packed)

    def answers(self) -> list[tuple[Any, ...]]:
        """Node, number and exceptions of each answer to a bundle since the last call."""
        sent, self.sent = self.sent, []
        return [(node, *item[2:]) for node, item in sent if item[0] == BUNDLE_HELD]


def entry(index: int, payload: bytes = b"") -> Entry:
    return Entry(index, 1, int(EntryKind.NORMAL), payload or encode_batch(1000 + index, []))


def append_to(world: HostWorld, group_id: int, count: int = 1) -> Append:
    """What follows the log of a group, if there is one."""
    last = world.logs[group_id].last_index if group_id in world.logs else 0
    entries = tuple(entry(index) for index in range(last + 1, last + 1 + count))
    return Append(1, last, 1 if last else 0, last, entries)


def bundle(number: int, *runs: tuple[int, Append]) -> tuple[Any, ...]:
    return (BUNDLE, LIFE, number, b"".join(pack_run(group, append) for group, append in runs))


def deliver(world: HostWorld, number: int, *group_ids: int) -> None:
    """A bundle of node 2 with what follows the logs of these groups."""
    runs = [(group_id, append_to(world, group_id)) for group_id in group_ids]
    world.deliver(2, bundle(number, *runs))


def test_a_bundle_is_one_write_and_is_answered_once_when_that_is_durable() -> None:
    world = World(1, 2, 3)
    deliver(world, 7, 1, 2, 3)
    assert world.told() == [], "the turn writes"
    world.turn()
    assert world.told() == [("write", [1, 2, 3])]
    assert world.answers() == []
    world.wal.sync()
    world.turn()
    assert world.answers() == [(2, 7, ())]
    assert [log.followed for log in world.logs.values()] == [[(2, 1, 0)]] * 3
    assert [log.stepped for log in world.logs.values()] == [[]] * 3
    assert [group.unpersisted for group in world.groups.values()] == [0] * 3


def test_the_answer_to_a_bundle_leaves_once_that_is_durable() -> None:
    world = World(1)
    deliver(world, 7, 1)
    world.turn()
    world.story.clear()
    world.wal.sync()
    world.turn()
    assert world.story == ["synced", ("send", 2), "flush"]


def test_bundles_of_one_turn_are_answered_each_and_in_order() -> None:
    world = World(1, 2)
    deliver(world, 7, 1, 2)
    deliver(world, 8, 1)
    world.turn()
    assert world.told() == [("write", [1, 2, 1])]
    deliver(world, 9, 2)
    world.turn()
    assert world.told() == [("write", [2])]
    assert world.answers() == []
    world.wal.sync()
    assert world.answers() == [(2, 7, ()), (2, 8, ())]
    assert world.groups[2].unpersisted == 1
    world.wal.sync()
    assert world.answers() == [(2, 9, ())]


def test_a_run_that_is_not_usual_is_stepped_and_not_answered_for() -> None:
    world = World(1, 2, 3)
    world.logs[2].follows = False
    odd = append_to(world, 2)
    deliver(world, 7, 1, 2, 3, 9)
    assert world.logs[2].stepped == [(2, odd)]
    world.turn()
    world.wal.sync()
    assert world.answers() == [(2, 7, (1, 3))]


def test_a_bundle_without_a_usual_run_is_not_answered_and_writes_nothing() -> None:
    world = World(1)
    world.logs[1].follows = False
    deliver(world, 7, 1)
    world.turn()
    assert world.told() == []
    assert world.host.owed == []


def test_a_group_that_has_something_to_write_first_takes_no_short_way() -> None:
    """Its entries would stand in the log before the term in which they came."""
    world = World(1)
    world.logs[1].script().hard_state = HARD_STATE
    world.host.mark_dirty(world.groups[1])
    deliver(world, 7, 1)
    assert world.logs[1].followed == []
    assert len(world.logs[1].stepped) == 1


@pytest.mark.parametrize("trouble", ["disk_trouble", "log_is_behind", "stopped"])
def test_nothing_is_taken_that_could_not_be_written_soon(trouble: str) -> None:
    world = World(1)
    setattr(world.host, trouble, "full" if trouble == "disk_trouble" else True)
    deliver(world, 7, 1)
    assert world.logs[1].followed == []
    assert world.logs[1].stepped == [] or trouble == "stopped"
    world.turn()
    assert world.told() == []


def test_what_a_group_promises_behind_entries_of_a_bundle_waits_for_them() -> None:
    world = World(1)
    deliver(world, 7, 1)
    world.logs[1].promise(3, PROMISE)
    world.turn(1)
    assert world.told() == [("write", [1])]
    world.wal.sync()
    assert world.told() == ["synced", ("send", 3), ("send", 2)]
    deliver(world, 8, 1)
    world.turn()
    world.logs[1].promise(3, PROMISE)
    world.turn(1)
    world.told()
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    world.wal.sync()
    assert world.told() == ["synced", ("send", 3)]


def test_a_replica_that_leaves_before_its_entries_are_durable_acknowledges_nothing() -> None:
    world = World(1, 2)
    deliver(world, 7, 1, 2)
    world.turn()
    world.host.remove_group(1)
    world.wal.sync()
    assert world.answers() == [(2, 7, (0,))]


def test_nothing_of_a_replica_that_left_in_the_same_turn_gets_into_the_log() -> None:
    """The log has been told to forget the group: a record behind that would bring it back."""
    world = World(1, 2)
    deliver(world, 7, 1, 2)
    world.host.remove_group(1)
    world.turn()
    assert world.told() == [("write", [2])]
    world.wal.sync()
    assert world.answers() == [(2, 7, (0,))]


def test_an_answer_leaves_no_sooner_for_a_node_of_an_older_form() -> None:
    """Another release runs there by now, which does not know what it is."""
    world = World(1)
    deliver(world, 7, 1)
    world.turn()
    world.form = BUNDLE_FORM - 1
    world.wal.sync()
    assert world.sent == []


def test_an_answer_also_goes_as_a_datagram_once_in_a_tick() -> None:
    world = World(1)
    again: list[bytes] = []
    world.send_again = lambda node_id, packed: again.append(packed)  # type: ignore[method-assign]
    for number in (7, 8):
        deliver(world, number, 1)
        world.turn()
        world.wal.sync()
    assert again == [pack_answer(LIFE, 7, [])]


def test_what_a_bundle_commits_is_applied_at_once() -> None:
    world = World(1)
    log, group = world.logs[1], world.groups[1]
    log.fresh = [(1, 4321)]
    log.committed = [entry(1)]
    deliver(world, 7, 1)
    assert group.applied_index == 1
    assert group.fresh_ns == 4321
    assert not group.dirty
    assert world.counters.entries_applied == 1


# -- the leader --------------------------------------------------------------------------------


def led_world() -> World:
    """Node 1 leads groups 1 and 2, and has sent a bundle with an entry of each to node 2."""
    world = World(1, 2)
    for log in world.logs.values():
        log.lead()
    world.turn(1, 2)
    for group_id, log in world.logs.items():
        log.say(2, append_to(world, group_id))
    world.turn(1, 2)
    world.sent.clear()
    return world


def leads(*group_ids: int) -> World:
    """Groups that lead, and take commands without a Ready."""
    world = World(*group_ids)
    for log in world.logs.values():
        log.lead()
    world.turn(*group_ids)
    for log in world.logs.values():
        log.extends = True
    world.told()
    world.sent.clear()
    return world


def submit(world: World, *group_ids: int, size: int = 1) -> list[Hears]:
    """A command for each of these groups; its waiters."""
    waiters = []
    for group_id in group_ids:
        waiters.append(Hears())
        command = (0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0)
        world.groups[group_id].submit(command, size, waiters[-1])
    return waiters


def test_new_commands_are_one_write_and_one_bundle_for_each_node_and_need_no_ready() -> None:
    world = leads(1, 2)
    for log in world.logs.values():
        log.ready = None  # type: ignore[assignment]
    submit(world, 1, 2)
    world.turn()
    assert world.told() == [("write", [1, 2]), ("send", 2), ("send", 3)]
    entries = [log.proposed for log in world.logs.values()]
    assert [record.entries for record in world.wal.batches[0][0]] == entries
    runs = b"".join(
        pack_run(group_id, Append(1, 0, 1, 0, tuple(log.proposed)))
        for group_id, log in world.logs.items()
    )
    assert world.sent == [(2, (BUNDLE, 0, 1, runs)), (3, (BUNDLE, 0, 1, runs))]
    assert world.counters.proposals == 2


def test_a_leader_counts_its_own_copy_when_that_is_durable_in_the_term_of_the_entry() -> None:
    world = leads(1)
    submit(world, 1)
    world.turn()
    log, group = world.logs[1], world.groups[1]
    assert log.persisted_calls == []
    log.term = 5
    log.committed = list(log.proposed)
    world.wal.sync()
    assert log.persisted_calls == [(1, 1)]
    assert group.applied_index == 1
    assert group.unpersisted == 0


def test_a_write_counts_only_the_commands_of_its_own_turn() -> None:
    world = leads(1)
    log = world.logs[1]
    for _ in range(2):
        submit(world, 1)
        world.turn()
    assert log.persisted_calls == []
    world.wal.sync()
    assert log.persisted_calls == [(1, 1)]
    assert world.groups[1].unpersisted == 1
    world.wal.sync()
    assert log.persisted_calls == [(1, 1), (2, 1)]


def test_commands_of_one_turn_that_take_both_ways_are_written_in_order() -> None:
    world = leads(1)
    log = world.logs[1]
    extend = log.extend

    def once(payload: bytes) -> Any:
        log.extends = not log.proposed
        return extend(payload)

    log.extend = once  # type: ignore[method-assign]
    submit(world, 1, 1, size=BATCH_BYTES_MAX)
    world.turn()
    assert world.story[0] == ("write", [1, 1])
    (records, _) = world.wal.batches[0]
    assert [entry.index for record in records for entry in record.entries] == [1, 2]
    world.wal.sync()
    assert log.persisted_calls == [(1, 1), (2, 1)]


def test_a_promise_waits_for_what_its_group_proposed_before() -> None:
    """It followed another leader in the meantime, and may acknowledge the same entry."""
    world = leads(1)
    submit(world, 1)
    world.turn()
    world.told()
    world.logs[1].promise(3, PROMISE)
    world.turn(1)
    assert world.told() == [("write", [])]
    world.wal.sync()
    assert ("send", 3) not in world.told()
    world.wal.sync()
    assert ("send", 3) in world.told()


def test_a_group_that_left_counts_nothing() -> None:
    world = leads(1, 2)
    submit(world, 1, 2)
    world.turn()
    world.host.remove_group(1)
    world.wal.sync()
    assert [log.persisted_calls for log in world.logs.values()] == [[], [(1, 1)]]


def test_what_was_committed_while_commands_waited_needs_no_ready_either() -> None:
    world = leads(1)
    log, group = world.logs[1], world.groups[1]
    (first,) = submit(world, 1)
    world.turn()
    log.ready = None  # type: ignore[assignment]
    (second,) = submit(world, 1)
    log.committed = list(log.proposed)
    world.host.acknowledged(2, [(1, 1, 1)])
    assert first.heard == []
    world.turn()
    assert len(first.heard) == 1
    assert second.heard == []
    assert group.applied_index == 1
    assert log.last_index == 2


def test_what_is_not_usual_is_proposed_and_its_ready_taken() -> None:
    world = leads(1)
    log = world.logs[1]
    log.extends = False
    submit(world, 1)
    world.turn()
    assert world.told() == [("write", [1])]
    world.wal.sync()
    assert log.persisted_calls == [(1, 1)]


def test_a_read_that_comes_with_commands_has_its_round() -> None:
    world = leads(1)
    log, group = world.logs[1], world.groups[1]
    submit(world, 1)
    group.when_readable(Hears())
    log.on_read = lambda: log.say(2, AppendReply(1, 1, False, 0, 0))
    world.turn()
    assert len(log.read_contexts) == 1
    assert log.last_index == 1
    assert not log.has_ready(), "taken in the same turn"


def test_a_lease_that_is_given_up_ends_in_the_next_turn_without_a_ready() -> None:
    world = leads(1)
    log, group = world.logs[1], world.groups[1]
    log.lease_until_ns = 50
    world.turn(1)
    assert group.lease_until_ns == 50
    log.lease_until_ns = 0
    world.turn(1)
    assert group.lease_until_ns == 0


def test_an_answer_without_news_costs_a_group_nothing() -> None:
    world = leads(1)
    log = world.logs[1]
    log.is_news = False
    log.committed = [entry(1)]
    world.host.acknowledged(2, [(1, 1, 0)])
    assert log.matches == [(2, 1, 0)]
    assert world.groups[1].applied_index == 0


def test_an_answer_acknowledges_each_group_in_the_term_in_which_it_was_sent() -> None:
    world = led_world()
    for log in world.logs.values():
        log.term = 5
    world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert [log.matches for log in world.logs.values()] == [[(2, 1, 1)]] * 2
    world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert [len(log.matches) for log in world.logs.values()] == [1, 1]


def test_what_an_answer_commits_is_applied_without_a_turn() -> None:
    world = led_world()
    world.logs[1].committed = [entry(1)]
    world.deliver(2, (BUNDLE_HELD, 0, 1, (1,)))
    assert world.groups[1].applied_index == 1
    assert not world.groups[1].dirty
    assert world.logs[2].matches == []
    world.logs[2].script()
    world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert not world.groups[2].dirty, "answered before"


def test_what_else_an_answer_makes_due_has_its_turn() -> None:
    world = led_world()
    world.logs[1].on_step = lambda: world.logs[1].say(3, AppendReply(1, 1, False, 0, 0))
    world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert world.groups[1].dirty
    assert not world.groups[2].dirty


def test_a_node_with_disk_trouble_counts_no_answer() -> None:
    world = led_world()
    world.host.set_disk_trouble("full")
    world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert world.logs[1].matches == []


def test_a_command_that_fails_to_apply_ends_the_node() -> None:
    world = led_world()
    world.logs[1].committed = [entry(1, b"no batch")]
    with pytest.raises(CommandError):
        world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert len(world.fatal) == 1
    other = World(1)
    other.logs[1].committed = [entry(1, b"no batch")]
    with pytest.raises(CommandError):
        deliver(other, 7, 1)
    assert len(other.fatal) == 1


def test_what_waits_for_a_commit_is_told_at_once_and_nothing_is_flushed_for_it() -> None:
    """Whoever has an answer for another node asks for the flush (`Serving.reply`)."""
    world = World(1)
    log, group = world.logs[1], world.groups[1]
    log.lead()
    world.turn(1)
    waiter = Hears()
    group.submit((0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0), 1, waiter)
    world.turn(1)
    log.committed = list(log.proposed)
    log.say(2, Append(1, 0, 0, 0, tuple(log.proposed)))
    world.turn(1)
    world.story[:] = ["before"]
    world.deliver(2, (BUNDLE_HELD, 0, 1, ()))
    assert len(waiter.heard) == 1
    world.turn()
    assert world.story == ["before"]
