"""The host with scripted logs, and a write-ahead log that is durable when the test says so."""

from typing import Any

import pytest

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.api import Ready
from quorumcache.node.consensus.errors import AcknowledgedEntriesLost
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    SnapshotChunk,
    VoteReply,
)
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    Role,
    SnapshotMeta,
    SnapshotSource,
)
from quorumcache.node.errors import AcknowledgedDataLost, DiskFull, PeerFrameError, SnapshotInvalid
from quorumcache.node.peers.consensus_items import decode_beats, encode_message
from quorumcache.node.peers.items import HEARTBEAT_REPLIES, HEARTBEATS
from quorumcache.node.replica.host import TICKS_AT_ONCE_MAX
from quorumcache.node.replica.installing import SNAPSHOT_RETRY_SECONDS
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.queue import QUEUED_BYTES_MAX
from tests.support.scripted_log import HARD_STATE, VOTERS, Hears, HostWorld

PROMISE = VoteReply(2, True)
PLAIN = PreVoteReply(2, True)
BEAT = HeartbeatReply(2, 5, 0)
TICK_NS = 10_000_000


def snapshot_at(index: int) -> SnapshotSource:
    store = ShardStore()
    store.apply(index, 1000, [(0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0)])
    return SnapshotSource(SnapshotMeta(index, 2, VOTERS), list(store.encode_view(store.view())))


def test_who_comes_to_lead_settles_the_time_first() -> None:
    """All were down: what has ended meanwhile is not shown by the first leader's first read."""
    world = HostWorld(1)
    world.host.time = ClusterTime(world.clock)
    world.host.time.found(5000, world.clock.wall - 60_000)
    world.turn(1)
    assert not world.host.time.is_settled
    world.logs[1].lead()
    world.turn(1)
    assert world.host.time.is_settled
    assert world.groups[1].now_ms() == 65_000


# -- the one legal order -----------------------------------------------------------------


def test_what_promises_leaves_after_the_sync_and_what_does_not_before() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.append(b"")
    log.promise(2, PROMISE)
    log.say(3, PLAIN)
    world.turn(1)
    assert world.told() == [("send", 3), ("write", [1])]
    assert log.persisted_calls == []
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    assert log.persisted_calls == [(1, 1)]


def test_all_groups_of_a_turn_are_one_write() -> None:
    world = HostWorld(1, 2, 3)
    for log in world.logs.values():
        log.append(b"")
    world.turn(1, 2, 3)
    assert world.told() == [("write", [1, 2, 3])]


def test_what_a_turn_has_said_leaves_at_its_end() -> None:
    world = HostWorld(1)
    world.logs[1].append(b"")
    world.logs[1].say(3, PLAIN)
    world.turn(1)
    assert world.story == [("send", 3), ("write", [1]), "flush"]


def test_what_was_promised_leaves_once_it_is_durable() -> None:
    world = HostWorld(1)
    world.logs[1].append(b"")
    world.logs[1].promise(2, PROMISE)
    world.turn(1)
    world.story.clear()
    world.wal.sync()
    world.turn()
    assert world.story == ["synced", ("send", 2), "flush"]


def test_a_vote_waits_for_its_hard_state() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.script().hard_state = HARD_STATE
    log.promise(2, PROMISE)
    world.turn(1)
    ((record,), _) = world.wal.batches[0]
    assert record.hard_state == HARD_STATE
    assert world.told() == [("write", [1])]
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]


def test_a_promise_without_a_record_waits_for_the_records_before_it() -> None:
    world = HostWorld(1, 2)
    first, second = world.logs[1], world.logs[2]
    first.append(b"")
    world.turn(1)
    first.promise(2, AppendReply(1, 1, False, 0, 0))
    second.promise(3, PROMISE)
    world.turn(1, 2)
    # The other group has nothing outstanding: its promise goes at once.
    assert world.told() == [("write", [1]), ("send", 3), ("write", [])]
    world.wal.sync()
    assert world.told() == ["synced"]
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    first.promise(2, PROMISE)
    world.turn(1)
    assert world.told() == [("send", 2)]


def test_a_command_is_answered_when_it_is_applied_and_not_before() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.lead()
    world.turn(1)
    waiter = Hears()
    world.groups[1].submit((0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0), 10, waiter)
    world.turn()
    world.wal.sync()
    assert waiter.heard == []
    log.commit(log.proposed)
    world.turn(1)
    assert len(waiter.heard) == 1


def test_everybody_hears_of_a_change_of_role() -> None:
    world = HostWorld(1)
    world.logs[1].become(Role.CANDIDATE, 2)
    world.turn(1)
    world.logs[1].lead(2)
    world.turn(1)
    world.logs[1].become(Role.FOLLOWER, 3, 2)
    world.turn(1)
    assert world.leaders == [1, 1, 1]
    counters = world.counters
    assert (counters.elections, counters.elections_won, counters.leaderships_lost) == (1, 1, 1)


def test_the_state_machine_hears_whether_it_leads() -> None:
    """What it noted before it came to lead does not count then: it saw no reads."""
    world = HostWorld(1)
    machine = world.groups[1].machine
    assert isinstance(machine, ShardStore)
    indices = iter(range(1, 100))

    def write(now_ms: int) -> None:
        machine.apply(next(indices), now_ms, [(0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0)])

    def lead(term: int, now_ms: int) -> None:
        world.host.time.found(now_ms, world.clock.wall)
        world.logs[1].lead(term)
        world.turn(1)

    write(1_000)
    write(3_000)
    assert machine.hint(b"k") == (False, 3)
    lead(2, 5_000)
    assert machine.hint(b"k") == (False, 5)
    write(6_000)
    assert machine.hint(b"k") == (False, 6)
    world.logs[1].become(Role.FOLLOWER, 3, 2)
    world.turn(1)
    write(7_000)
    assert machine.hint(b"k") == (False, 7)
    lead(4, 9_000)
    assert machine.hint(b"k") == (False, 9)


def test_heartbeats_of_all_groups_to_a_peer_are_one_item() -> None:
    world = HostWorld(1, 2, 3)
    for log in world.logs.values():
        log.say(2, BEAT)
        log.say(3, BEAT)
    world.turn(1, 2, 3)
    assert sorted(world.told()) == [("send", 2), ("send", 3)]


def test_beats_come_back_as_they_were() -> None:
    beats = [(group, *BEAT) for group in (1, 2, 3)]
    assert decode_beats((HEARTBEAT_REPLIES, tuple(beats))) == [(1, BEAT), (2, BEAT), (3, BEAT)]
    for bad in ((HEARTBEAT_REPLIES, 5), (HEARTBEAT_REPLIES, ((),)), (HEARTBEAT_REPLIES, ((1, 2),))):
        with pytest.raises(PeerFrameError):
            decode_beats(bad)


# -- snapshots ------------------------------------------------------------------------------


def install(world: HostWorld, index: int = 7) -> Any:
    log = world.logs[1]
    ready = log.script()
    ready.snapshot = snapshot_at(index)
    ready.hard_state = HARD_STATE
    log.say(3, PLAIN)
    log.promise(2, PROMISE)
    world.turn(1)
    return log


def test_a_leaders_snapshot_is_saved_then_marked_then_promised() -> None:
    world = HostWorld(1)
    log = install(world)
    assert world.told() == [("send", 3), ("save", 1, 7)]
    world.snapshots.end()
    assert world.told() == [("installed", 1, 7), ("write", [1])]
    assert log.installed == []
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    assert [meta.last_index for meta in log.installed] == [7]
    assert world.groups[1].applied_index == 7
    assert world.host.bytes_used == world.groups[1].machine.bytes_used > 0


def test_entries_that_come_with_a_snapshot_are_written_before_they_are_promised() -> None:
    """The end of a snapshot and the entries behind it may come in one turn, from two leaders."""
    world = HostWorld(1)
    entries = (Entry(8, 2, EntryKind.NORMAL, b"8"), Entry(9, 2, EntryKind.NORMAL, b"9"))
    world.logs[1].script().entries = entries
    log = install(world)
    log.promise(2, AppendReply(2, 9, False, 0, 0))
    world.turn(1)
    world.snapshots.end()
    ((record,), _) = world.wal.batches[-1]
    assert record.hard_state == HARD_STATE
    assert tuple(record.entries) == entries
    assert ("send", 2) not in world.told()
    world.wal.sync()
    assert ("send", 2) in world.told()


def test_nothing_is_promised_or_written_while_a_snapshot_is_being_installed() -> None:
    world = HostWorld(1)
    log = install(world)
    world.told()
    log.promise(2, PROMISE)
    log.say(3, PLAIN)
    log.append(b"8")
    world.turn(1)
    assert world.told() == [("send", 3)], "the leader is answered"
    log.promise(2, PROMISE)
    world.turn(1)
    world.snapshots.end()
    assert world.told() == [("installed", 1, 7), ("write", [1])]
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2), ("write", [1])]
    assert world.groups[1].unpersisted == 2
    log.promise(2, PROMISE)
    world.turn(1)
    assert world.told() == [("write", [])], "behind what was held back"
    world.wal.sync()
    world.turn()
    assert world.told() == ["synced", ("send", 2), ("send", 2)]
    assert log.persisted_calls == [(0, 0), (1, 1), (0, 0)]
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    assert world.groups[1].unpersisted == 0


def test_a_group_has_a_turn_when_its_snapshot_is_installed() -> None:
    world = HostWorld(1)
    log = install(world)
    world.snapshots.end()
    world.told()
    log.say(3, PLAIN)
    world.wal.sync()
    world.turn()
    assert world.told() == ["synced", ("send", 2), ("send", 3)]


def test_what_was_held_back_is_written_in_its_order() -> None:
    world = HostWorld(1)
    log = install(world)
    for payload in (b"8", b"9"):
        log.append(payload)
        world.turn(1)
    world.snapshots.end()
    world.wal.sync()
    (records, _) = world.wal.batches[-1]
    assert [entry.payload for record in records for entry in record.entries] == [b"8", b"9"]


def test_promises_from_before_a_snapshot_still_leave_in_order() -> None:
    world = HostWorld(1)
    world.logs[1].append(b"")
    world.logs[1].promise(2, PROMISE)
    world.turn(1)
    install(world)
    world.snapshots.end()
    world.told()
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]
    assert world.groups[1].unpersisted == 0
    world.wal.sync()
    assert world.told() == ["synced", ("send", 2)]


def test_a_snapshot_without_room_is_tried_again() -> None:
    world = HostWorld(1)
    log = install(world)
    world.snapshots.end(DiskFull("no space"))
    assert log.installed == []
    world.told()
    world.loop.run(until=world.loop.now + SNAPSHOT_RETRY_SECONDS)
    assert world.told() == [("save", 1, 7)]
    world.snapshots.end()
    world.wal.sync()
    assert [meta.last_index for meta in log.installed] == [7]


def test_a_snapshot_that_cannot_be_restored_never_reaches_the_disk() -> None:
    world = HostWorld(1)
    world.logs[1].script().snapshot = SnapshotSource(SnapshotMeta(7, 2, VOTERS), [b"nonsense"])
    with pytest.raises(SnapshotInvalid):
        world.turn(1)
    assert world.told() == []
    assert len(world.fatal) == 1


def test_who_lost_the_leadership_hears_it_before_a_snapshot_is_stored() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.lead()
    world.turn(1)
    waiter = Hears()
    world.groups[1].submit((0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0), 10, waiter)
    log.lease_until_ns = 1000
    world.turn()
    assert world.groups[1].has_lease()
    log.become(Role.FOLLOWER, 2, 3)
    install(world)
    assert waiter.heard == ["lost"]
    assert not world.groups[1].has_lease()


def test_a_log_that_takes_too_much_memory_takes_nothing_more_to_propose() -> None:
    world = HostWorld(1)
    world.logs[1].lead()
    world.turn(1)
    world.host.set_log_full(True)
    refused, taken = Hears(), Hears()
    command = (0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0)
    world.groups[1].submit(command, 10, refused)
    world.turn()
    assert world.logs[1].proposed == []
    assert refused.heard == ["refused"]
    assert "takes too much memory" in world.host.held_why
    world.host.set_log_full(False)  # Nothing else has happened meanwhile.
    world.groups[1].submit(command, 10, taken)
    world.turn()
    assert len(world.logs[1].proposed) == 1


def test_a_log_that_is_behind_takes_no_entries_and_answers_its_leader() -> None:
    world = HostWorld(1)
    log, host = world.logs[1], world.host
    log.append(b"")
    world.wal.queued_bytes = QUEUED_BYTES_MAX + 1
    world.turn(1)
    entries = Append(1, 1, 1, 0, (Entry(2, 1, int(EntryKind.NORMAL), b""),))
    beat = Heartbeat(1, 0, 0, 0, 0, 0)
    host.step(2, 1, entries, True)
    host.step(2, 1, beat, False)
    assert log.stepped == [(2, beat)]
    world.wal.queued_bytes = 0
    world.wal.sync()
    host.step(2, 1, entries, True)
    assert log.stepped == [(2, beat), (2, entries)]


def test_a_follower_that_is_far_behind_is_sent_the_state_without_waiting_for_a_tick() -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.script().snapshot_wanted = [3]
    provide = log.provide_snapshot

    def provided(to: int, source: SnapshotSource) -> None:
        provide(to, source)
        log.say(to, PLAIN)

    log.provide_snapshot = provided  # type: ignore[method-assign]
    log.lead()
    world.turn(1)
    ((to, source),) = log.provided
    assert (to, source.meta.last_index) == (3, 0)
    assert ("send", 3) in world.told()


# -- a full disk ----------------------------------------------------------------------------


def test_a_full_disk_gives_up_leaderships_and_time_stands_still() -> None:
    world = HostWorld(1, 2)
    world.host.start_ticking([])
    leader, follower = world.logs[1], world.logs[2]
    leader.lead()
    world.turn(1)
    waiter = Hears()
    world.groups[1].submit((0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0), 10, waiter)
    world.turn()
    world.host.set_disk_trouble("the disk of the node is full")
    world.turn()
    assert leader.role is Role.FOLLOWER
    assert waiter.heard == ["lost"]
    ticks = follower.tick_count
    world.deliver(2, encode_message(2, Heartbeat(1, 0, 0, 0)))
    for _ in range(5):
        world.clock.ns += TICK_NS
        world.loop.run(until=world.loop.now + 0.02)
    assert follower.stepped == []
    assert follower.tick_count == ticks
    world.host.set_disk_trouble("")
    world.clock.ns += TICK_NS
    world.loop.run(until=world.loop.now + 0.02)
    assert follower.tick_count > ticks
    world.deliver(2, encode_message(2, Heartbeat(1, 0, 0, 0)))
    assert len(follower.stepped) == 1


# -- time, messages, failures ------------------------------------------------------------------


def test_after_a_pause_few_ticks_are_made_up_for() -> None:
    world = HostWorld(1)
    calls: list[int] = []
    world.host.start_ticking([lambda: calls.append(1)])
    world.clock.ns += 1000 * TICK_NS
    world.loop.run(steps_max=1)
    assert world.logs[1].tick_count == TICKS_AT_ONCE_MAX
    assert calls == [1]


def test_messages_to_unknown_groups_are_dropped() -> None:
    world = HostWorld(1)
    world.deliver(2, encode_message(9, Heartbeat(1, 0, 0, 0)))
    assert world.logs[1].stepped == []


def test_a_malformed_message_is_the_peers_fault_and_ours_ends_the_node() -> None:
    world = HostWorld(1)

    def fail() -> None:
        raise TypeError("not an int")

    world.logs[1].on_step = fail
    with pytest.raises(PeerFrameError):
        world.deliver(2, encode_message(1, Heartbeat("1", 0, 0, 0)))  # type: ignore[arg-type]
    with pytest.raises(PeerFrameError):
        world.deliver(2, (6, 1, (1, 2)))
    for member in ((), ((3,),), None):
        # An empty tuple once passed for a number, and the peer's message ended this node.
        with pytest.raises(PeerFrameError):
            world.deliver(2, encode_message(1, Heartbeat(member, 0, 0, 0)))  # type: ignore[arg-type]
    configuration = Configuration(3, (4,))  # type: ignore[arg-type]
    chunk = SnapshotChunk(1, 1, 1, configuration, 0, 1, b"")
    with pytest.raises(PeerFrameError):
        world.deliver(2, encode_message(1, chunk))
    malformed: tuple[tuple[Any, ...], ...] = (
        (6, {}, (1, 0, 0, 0)),
        (-1, 1, (1, 0, 0, 0)),
        (6,),
        (HEARTBEATS, (({}, 1, 0, 0, 0),)),
    )
    for item in malformed:
        with pytest.raises(PeerFrameError):
            world.deliver(2, item)
    assert world.fatal == []
    with pytest.raises(TypeError):
        world.deliver(2, encode_message(1, Heartbeat(1, 0, 0, 0)))
    assert len(world.fatal) == 1


def test_a_failure_in_a_turn_a_tick_or_after_a_sync_ends_the_node() -> None:
    for place in ("turn", "tick", "sync"):
        world = HostWorld(1)
        log = world.logs[1]

        def fail(*_: Any) -> Ready:
            raise AssertionError("our bug")

        if place == "turn":
            log.append(b"")
            log.ready = fail  # type: ignore[method-assign]
        elif place == "tick":
            world.host.start_ticking([fail])
            world.clock.ns += TICK_NS
        else:
            log.append(b"")
            world.turn(1)
            log.persisted = fail  # type: ignore[assignment,method-assign]
        steps: dict[str, Any] = {
            "turn": lambda world=world: world.turn(1),
            "tick": lambda world=world: world.loop.run(until=1.0),
            "sync": world.wal.sync,
        }
        with pytest.raises(AssertionError, match="our bug"):
            steps[place]()
        assert len(world.fatal) == 1, place
        assert world.host.stopped


def test_a_stopped_host_promises_nothing() -> None:
    world = HostWorld(1)
    world.logs[1].append(encode_batch(1, []))
    world.logs[1].promise(2, PROMISE)
    world.turn(1)
    world.told()
    world.host.stop()
    world.wal.sync()
    world.logs[1].commit([Entry(1, 1, int(EntryKind.NOOP), b"")])
    world.logs[1].append(b"")
    world.logs[1].say(3, PLAIN)
    world.turn(1)
    assert world.told() == ["synced"]
    assert world.logs[1].persisted_calls == []


def test_a_replica_whose_disk_has_forgotten_ends_the_node() -> None:
    """The sentence names the shard, the cause and what to do."""
    world = HostWorld(1)

    def step(sender: int, message: object) -> None:
        raise AcknowledgedEntriesLost(9, 4)

    world.logs[1].step = step  # type: ignore[method-assign]
    with pytest.raises(AcknowledgedDataLost):
        world.deliver(2, encode_message(1, Heartbeat(1, 9, 0, 0)))
    [error] = world.fatal
    assert "shard 0" in str(error)
    assert "acknowledged entries up to 9 but holds them up to 4" in str(error)
    assert "Keep the directory aside" in str(error)
