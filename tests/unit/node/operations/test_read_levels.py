"""Reads below linearizable: which replica answers, from what, and what is asked of the leader.

A real group, host and coordinator over a scripted log; the test says what the log knows of its age.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from quorumcache.node.consensus.values import Role
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.read_levels import (
    ANY_STALENESS_NS,
    BOUND_MS_MAX,
    LINEARIZABLE_NS,
    parse_level,
)
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import FORWARD_ITEMS, FORWARD_READ, FORWARD_REFUSED
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, decode_batch, encode_batch
from quorumcache.node.store.commands import OP_EXPIRE, OP_FLUSH, OP_SET
from quorumcache.node.store.item import cas_unique
from quorumcache.node.telemetry.timings import Timings
from tests.support.fake_server import SHARDS, Client, keys_of
from tests.support.item_tables import item_of
from tests.support.scripted_log import HostWorld

HERE, THERE, ELSEWHERE = 1, 2, 3
GROUP, FOREIGN_GROUP = 5, 6
DATA = b" 0 1\r\nx\r\n"
SECOND = 1_000_000_000
MS = 1_000_000


class World(HostWorld):
    """Node 1 with a replica of group 5, which node 2 leads. Group 6 is on nodes 2 and 3 only."""

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.clock.ns = 100 * SECOND
        self.group, self.log = self.groups[GROUP], self.logs[GROUP]
        self.log.become(Role.FOLLOWER, 3, THERE)
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        self.up = {THERE, ELSEWHERE}
        self.outcomes: list[Any] = []
        peers: Any = self
        self.coordinator = Coordinator(
            Serving(
                node_id=HERE,
                host=self.host,
                peers=peers,
                clock=self.clock,
                counters=self.counters,
                memory=MemoryRoom(1000),
            ),
            Leaders(
                HERE,
                self.groups,
                peers,
                lambda group_id: THERE,
                lambda group_id: (THERE, ELSEWHERE),
            ),
            random=Random(1),
            timings=Timings(),
            timeout_ms=5000,
        )
        self.turn(GROUP)
        self.store(b"k")

    def store(self, key: bytes, exptime: int = 0, time_ms: int = 0) -> None:
        self.apply((0, 0, 0, OP_SET, key, DATA, exptime), time_ms=time_ms)

    def apply(self, command: tuple[Any, ...], time_ms: int = 0) -> None:
        payload = encode_batch(time_ms or self.host.time.now_ms(), [command])
        self.log.commit(self.log.append(payload))
        self.turn(GROUP)
        self.wal.sync()

    def fresh(self, age_ns: int) -> None:
        """The log knows its present state to be of so long ago at most."""
        self.log.fresh.append((self.group.applied_index, self.clock.ns - age_ns))
        self.turn(GROUP)

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        if node_id in self.up:
            self.sent.append((node_id, item))
        return node_id in self.up

    send_bulk = send

    def is_up(self, node_id: int) -> bool:
        return node_id in self.up

    def read(self, staleness_ns: int, *keys: bytes, group_id: int = GROUP) -> None:
        keys = keys or (b"k",)
        self.coordinator.read(group_id, keys, self.outcomes.append, staleness_ns=staleness_ns)

    def take(self) -> tuple[int, tuple[Any, ...]]:
        (only,) = self.sent
        self.sent.clear()
        return only

    def asked(self, node_id: int, item: tuple[Any, ...]) -> tuple[Any, ...]:
        """What is answered to an item of another node."""
        self.coordinator.on_forward(node_id, item)
        to, answer = self.take()
        assert to == node_id
        return answer

    def hit(self) -> bytes:
        return item_of(self.group.machine.items, b"k")


def test_a_follower_answers_within_the_bound_and_asks_the_leader_beyond_it() -> None:
    world = World()
    world.fresh(age_ns=80 * MS)
    world.read(80 * MS)
    assert world.outcomes == [[world.hit()]]
    world.clock.ns += 1
    world.read(80 * MS)
    assert len(world.outcomes) == 1, "told from a state that may be too old"
    to, item = world.take()
    assert (to, item[0], item[3:]) == (THERE, FORWARD_READ, ((b"k",), 80 * MS))
    assert (world.counters.replica_reads, world.counters.bounded_too_stale) == (1, 1)


def test_a_follower_that_knows_nothing_of_its_age_answers_local_reads_only() -> None:
    world = World()
    world.read(86_400 * SECOND)
    assert world.outcomes == []
    world.take()
    world.read(ANY_STALENESS_NS)
    assert world.outcomes == [[world.hit()]]


def test_freshness_waits_for_what_is_not_applied() -> None:
    world = World()
    world.log.fresh.append((world.group.applied_index + 1, world.clock.ns))
    world.turn(GROUP)
    world.read(SECOND)
    assert world.outcomes == []
    world.store(b"other")
    world.read(SECOND)
    assert world.outcomes == [[world.hit()]]


def test_a_linearizable_read_never_comes_from_a_follower() -> None:
    world = World()
    world.fresh(age_ns=0)
    world.read(0)
    assert world.outcomes == []
    assert world.take()[1][0] == FORWARD_READ


def test_a_read_that_is_held_is_answered_as_soon_as_the_replica_has_caught_up() -> None:
    world = World()
    world.up.clear()
    world.log.become(Role.FOLLOWER, 4, 0)
    world.turn(GROUP)
    world.read(50 * MS)
    world.coordinator.sweep()
    assert world.outcomes == []
    world.fresh(age_ns=10 * MS)
    world.coordinator.sweep()
    assert world.outcomes == [[world.hit()]]


def test_without_a_leader_a_bounded_read_ends_and_a_local_one_does_not_wait() -> None:
    world = World()
    world.up.clear()
    world.fresh(age_ns=0)
    world.clock.ns += SECOND
    world.read(500 * MS)
    world.read(ANY_STALENESS_NS)
    assert world.outcomes == [[world.hit()]]
    world.clock.ns += 6 * SECOND
    world.coordinator.sweep()
    (failure,) = world.outcomes[1:]
    assert isinstance(failure, Failure)
    assert failure.outcome_known


def lead(world: World) -> None:
    world.log.lead(7)
    world.log.term_start_index = world.group.applied_index
    world.log.lease_until_ns = world.clock.ns + 100 * MS
    world.turn(GROUP)


def test_a_leader_answers_from_its_lease_and_for_the_bound_after_it() -> None:
    world = World()
    lead(world)
    world.read(50 * MS)
    assert world.outcomes == [[world.hit()]]
    world.clock.ns += 150 * MS  # 50 ms after the end of the lease.
    world.read(50 * MS)
    assert len(world.outcomes) == 2
    world.clock.ns += 1
    world.read(50 * MS)
    assert len(world.outcomes) == 2, "an old leader may have been replaced"
    world.turn()
    assert len(world.log.read_contexts) == 1, "it asks a majority first"


def test_a_leadership_lost_takes_its_lease_with_it() -> None:
    world = World()
    lead(world)
    world.log.become(Role.FOLLOWER, 8, ELSEWHERE)
    world.turn(GROUP)
    world.read(50 * MS)
    assert world.outcomes == []


def test_a_leader_that_hands_over_was_current_until_then() -> None:
    """Also if that fails and it follows or leads on: its state is not as old as before it led."""
    world = World()
    lead(world)
    world.clock.ns += 20 * MS
    world.log.lease_until_ns = 0
    world.group.update_lease()
    for role in (Role.LEADER, Role.CANDIDATE, Role.LEADER):
        world.log.become(role, world.log.term + 1)
        world.turn(GROUP)
        world.clock.ns += 10 * MS
    assert world.group.staleness_ns(world.clock.ns) == 30 * MS


def test_a_leader_whose_lease_ran_out_was_current_until_its_end() -> None:
    world = World()
    lead(world)
    world.clock.ns += 150 * MS
    world.log.become(Role.FOLLOWER, 8, ELSEWHERE)
    world.turn(GROUP)
    assert world.group.staleness_ns(world.clock.ns) == 50 * MS


# -- what has ended ------------------------------------------------------------------------


def test_what_has_ended_by_our_clock_is_a_miss_at_once() -> None:
    world = World()
    world.store(b"brief", exptime=1)
    world.fresh(age_ns=0)
    world.read(SECOND, b"brief", b"k")
    assert world.outcomes.pop()[0] is not None
    world.clock.ns += 1000 * MS
    for staleness_ns in (SECOND, ANY_STALENESS_NS):
        world.read(staleness_ns, b"brief", b"k")
        assert world.outcomes.pop() == [None, world.hit()]
    assert not world.log.proposed


def test_what_has_ended_by_the_logs_time_is_a_miss_although_our_clock_is_behind() -> None:
    world = World()
    world.store(b"brief", exptime=1)
    world.store(b"later", time_ms=world.host.time.now_ms() + 5000)
    world.read(ANY_STALENESS_NS, b"brief")
    assert world.outcomes == [[None]]


def test_a_wall_clock_that_leaps_changes_nothing() -> None:
    world = World()
    world.store(b"brief", exptime=1)
    world.clock.wall += 3_600_000
    world.read(ANY_STALENESS_NS, b"brief")
    assert world.outcomes.pop() != [None]
    world.clock.ns += 1000 * MS
    world.clock.wall -= 7_200_000
    world.read(ANY_STALENESS_NS, b"brief")
    assert world.outcomes == [[None]]


def test_a_flush_that_is_due_hides_everything() -> None:
    world = World()
    world.apply((0, 0, 0, OP_FLUSH, b"", 2))
    world.read(ANY_STALENESS_NS)
    assert world.outcomes.pop() == [world.hit()]
    world.clock.ns += 2000 * MS
    world.read(ANY_STALENESS_NS)
    assert world.outcomes.pop() == [None]
    assert world.hit(), "only the log may remove it"


def test_a_leader_logs_what_a_bounded_read_finds_ended() -> None:
    """With a lease it reads as always, so that no later leader shows it again."""
    world = World()
    world.store(b"brief", exptime=1)
    world.clock.ns += 1000 * MS
    lead(world)
    world.read(SECOND, b"brief")
    assert world.outcomes == []
    world.turn()
    (entry,) = world.log.proposed
    assert decode_batch(entry.payload)[1][0][3] == OP_EXPIRE


# -- between nodes -------------------------------------------------------------------------


def test_without_a_replica_any_node_that_has_one_is_asked() -> None:
    world = World()
    targets = set()
    for _ in range(4):
        world.read(SECOND, group_id=FOREIGN_GROUP)
        to, item = world.take()
        targets.add(to)
        assert item[3:] == ((b"k",), SECOND)
        world.coordinator.on_forward(to, (FORWARD_ITEMS, item[1], (None,)))
        assert world.outcomes.pop() == [None]
    assert targets == {THERE, ELSEWHERE}
    world.up = {ELSEWHERE}
    for _ in range(4):
        world.read(ANY_STALENESS_NS, group_id=FOREIGN_GROUP)
        assert world.take()[0] == ELSEWHERE


def test_a_replica_that_is_too_old_sends_the_read_to_the_leader_at_once() -> None:
    world = World()
    world.up = {ELSEWHERE}
    world.read(SECOND, group_id=FOREIGN_GROUP)
    to, item = world.take()
    world.up = {THERE, ELSEWHERE}
    world.coordinator.on_forward(to, (FORWARD_REFUSED, item[1], THERE, "not the leader"))
    to, item = world.take()
    assert to == THERE
    world.coordinator.on_forward(to, (FORWARD_REFUSED, item[1], ELSEWHERE, "not the leader"))
    assert world.sent == [], "two nodes that name each other keep nothing in the air"
    world.coordinator.sweep()
    assert len(world.sent) == 1


def test_a_read_of_another_node_is_answered_or_refused_with_the_leader() -> None:
    world = World()
    world.fresh(age_ns=100 * MS)
    answer = world.asked(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k", b"none"), 100 * MS))
    assert answer == (FORWARD_ITEMS, 9, [world.hit(), None])
    answer = world.asked(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",), 99 * MS))
    assert answer[:3] == (FORWARD_REFUSED, 9, THERE)
    answer = world.asked(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    assert answer[:3] == (FORWARD_REFUSED, 9, THERE)
    answer = world.asked(ELSEWHERE, (FORWARD_READ, 9, FOREIGN_GROUP, (b"k",), ANY_STALENESS_NS))
    assert answer[:2] == (FORWARD_REFUSED, 9)
    with pytest.raises(PeerFrameError):
        world.coordinator.on_forward(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",), "soon"))


def test_nobody_reads_the_directory_like_a_shard() -> None:
    world = World()
    world.group.group_id = DIRECTORY_GROUP_ID
    world.group.machine = DirectoryState(lambda cluster_map: None)  # type: ignore[assignment]
    world.groups[DIRECTORY_GROUP_ID] = world.group
    read = (FORWARD_READ, 9, DIRECTORY_GROUP_ID, (b"k",), ANY_STALENESS_NS)
    answer = world.asked(ELSEWHERE, read)
    assert answer[0] == FORWARD_REFUSED


# -- on a client's connection --------------------------------------------------------------


def test_the_level_of_a_connection_goes_with_its_reads_and_is_counted() -> None:
    client = Client()
    client.server.groups[client.server.group_of(b"k")].lead()
    client.send(b"version\r\n")  # The first bytes of a connection are looked at more closely.
    client.send(b"get k\r\n")
    assert client.read() == b"VERSION 1\r\nEND\r\n", "on the spot"
    client.send(b"cluster read bounded 50\r\n")
    client.send(b"get k\r\n")
    assert client.coordinator.take().staleness_ns == 50 * MS
    client.send(b"cluster read local\r\ngets k k2\r\n")
    assert {o.staleness_ns for o in client.coordinator.started} == {ANY_STALENESS_NS}
    client.coordinator.started.clear()
    client.send(b"cluster read linearizable\r\n")
    counters = client.server.counters
    assert (counters.cmd_get, counters.cmd_get_bounded, counters.cmd_get_local) == (4, 1, 2)


def test_a_level_holds_for_the_requests_after_it_only() -> None:
    client = Client()
    client.send(b"get k\r\ncluster read local\r\nget k\r\ncluster read linearizable\r\nget k\r\n")
    assert [o.staleness_ns for o in client.coordinator.started] == [0, ANY_STALENESS_NS, 0]


def test_gets_at_any_level_shows_the_unique_of_what_it_shows() -> None:
    world = World()
    world.store(b"k")
    client = Client()
    client.send(b"cluster read local\r\ngets k\r\n")
    asked = client.coordinator.take()
    world.read(asked.staleness_ns, *asked.keys)
    asked.end(world.outcomes.pop())
    client.turn()
    assert client.read() == b"OK\r\nVALUE k 0 1 %d\r\nx\r\nEND\r\n" % cas_unique(world.hit())


def test_in_redirect_mode_a_replica_answers_what_it_may_and_moves_the_rest() -> None:
    client = Client()
    group_id = client.server.group_of(b"k")
    (other,) = keys_of(client.server, group_id % SHARDS + 1, 1)
    moved = b"MOVED 1 %d 2 host:1\r\n"
    client.coordinator.fresh_groups = [client.server.groups[group_id]]
    client.send(b"cluster redirect on\r\nget k\r\ncluster read bounded 9\r\n")
    client.send(b"get %b k\r\nset k 0 0 1\r\nx\r\nget k\r\n" % other)
    read = client.coordinator.take()
    read.end([None])
    client.turn()
    shard = group_id - 1
    expected = b"OK\r\n" + moved % shard + b"OK\r\n"
    expected += moved % (client.server.group_of(other) - 1) + moved % shard + b"END\r\n"
    assert client.read() == expected


@pytest.mark.parametrize(
    ("words", "staleness_ns"),
    [
        ((b"linearizable",), LINEARIZABLE_NS),
        ((b"local",), ANY_STALENESS_NS),
        ((b"bounded", b"1"), MS),
        ((b"bounded", b"%d" % BOUND_MS_MAX), BOUND_MS_MAX * MS),
        ((b"bounded", b"%d" % (BOUND_MS_MAX + 1)), None),
        ((b"bounded", b"0"), None),
        ((b"bounded", b"-1"), None),
        ((b"bounded", b"1" * 10), None),
        ((b"bounded",), None),
        ((b"local", b"1"), None),
        ((), None),
    ],
)
def test_the_words_for_a_level(words: tuple[bytes, ...], staleness_ns: int | None) -> None:
    assert parse_level(words) == staleness_ns
