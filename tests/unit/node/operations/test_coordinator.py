"""The coordinator against a scripted group and a scripted peer network: no loop, no sockets."""

import weakref
from random import Random
from typing import Any

import pytest

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.deadlines import DEADLINES_MIN
from quorumcache.node.operations.operation import Failure, ReplyRoom
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.commands import OP_DELETE, OP_EXPIRE, OP_INCR, OP_SESSION_OPEN, OP_SET
from quorumcache.node.store.results import DELETED, OK, OUT_OF_MEMORY, SESSION_GONE, STORED
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings

HERE, THERE, ELSEWHERE = 1, 2, 3
GROUP = 5
DATA = b" 0 1\r\nx\r\n"


class ManualClock:
    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        return self.ns

    def wall_ms(self) -> int:
        return 1_000_000 + self.ns // 1_000_000


class ScriptedGroup:
    """A replica whose log is a list: the test decides what becomes of each submission."""

    def __init__(self, clock: ManualClock) -> None:
        self.group_id = GROUP
        self.is_leader = False
        self.leader_id = 0
        self.term = 1
        self.lease = True
        self.machine = ShardStore()
        self.submitted: list[tuple[Any, ...]] = []
        self.waiters: list[Any] = []
        self.reading: list[Any] = []
        self.clock = clock

    def has_lease(self) -> bool:
        return self.lease

    def now_ms(self) -> int:
        return self.clock.wall_ms()

    def submit(self, command: tuple[Any, ...], size: int, waiter: Any) -> None:
        self.submitted.append(command)
        self.waiters.append(waiter)

    def when_readable(self, waiter: Any) -> None:
        self.reading.append(waiter)

    def commit(self) -> None:
        """Everything submitted is applied and answered."""
        submitted, waiters = self.submitted, self.waiters
        self.submitted, self.waiters = [], []
        index = self.machine.applied_index + 1
        results = self.machine.apply(index, self.now_ms(), submitted)
        for waiter, result in zip(waiters, results, strict=True):
            waiter.on_result(result)


class Room(ReplyRoom):
    """A client's connection, full or not."""

    def __init__(self) -> None:
        self.is_full = False
        self.parked: list[Any] = []

    def has_room(self) -> bool:
        return not self.is_full

    def is_waiting(self) -> bool:
        return bool(self.parked)

    def park(self, read: Any) -> None:
        self.parked.append(read)


class World:
    """A coordinator on node 1, with one group that is replicated on 1, 2 and 3."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.group = ScriptedGroup(self.clock)
        self.groups: dict[int, Any] = {GROUP: self.group}
        self.bytes_used = 0
        self.disk_trouble = ""
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        self.up = {THERE, ELSEWHERE}
        self.outcomes: list[Any] = []
        self.timings = Timings()
        self.coordinator = Coordinator(
            node_id=HERE,
            host=self,
            peers=self,
            clock=self.clock,
            random=Random(1),
            counters=Counters(),
            timings=self.timings,
            memory_bytes=1000,
            timeout_ms=5000,
            preferred_leader=lambda group_id: 0,
        )

    def flush_soon(self) -> None:
        pass

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        if node_id not in self.up:
            return False
        self.sent.append((node_id, item))
        return True

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return self.send(node_id, item)

    def is_up(self, node_id: int) -> bool:
        return node_id in self.up

    def set(self, key: bytes = b"k", after: Any = None) -> Any:
        return self.coordinator.write(
            GROUP, OP_SET, key, (DATA, 0), 10, self.outcomes.append, after
        )

    def read(self, key: bytes = b"k", after: Any = None) -> Any:
        return self.coordinator.read(GROUP, (key,), self.outcomes.append, after)

    def lead(self, node_id: int) -> None:
        self.group.is_leader = node_id == HERE
        self.group.leader_id = node_id
        self.coordinator.leader_changed(GROUP)

    def take(self) -> tuple[int, tuple[Any, ...]]:
        (only,) = self.sent
        self.sent.clear()
        return only

    def open_session_here(self) -> None:
        """The first write opens the session; answer that."""
        assert self.group.submitted[0][3] == OP_SESSION_OPEN
        self.group.commit()

    def open_session_at(self, node_id: int) -> None:
        to, item = self.take()
        assert to == node_id
        assert item[0] == FORWARD_WRITE
        assert item[5][3] == OP_SESSION_OPEN
        self.coordinator.on_forward(node_id, (FORWARD_RESULT, item[1], OK))

    def pass_ms(self, ms: int) -> None:
        self.clock.ns += ms * 1_000_000
        self.coordinator.sweep()


def test_a_write_at_the_leader_opens_a_session_and_is_answered() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    assert world.outcomes == []
    world.group.commit()
    assert world.outcomes == [STORED]
    assert world.group.machine.items[b"k"].endswith(DATA)


def test_a_read_under_the_lease_is_answered_at_once() -> None:
    world = World()
    world.lead(HERE)
    world.read()
    assert world.outcomes == [[None]]


def test_without_a_lease_a_read_waits_for_a_read_index() -> None:
    world = World()
    world.lead(HERE)
    world.group.lease = False
    world.read()
    assert world.outcomes == []
    world.group.reading[0].on_readable()
    assert world.outcomes == [[None]]


def test_an_expired_item_is_removed_through_the_log_before_the_miss_is_told() -> None:
    world = World()
    world.lead(HERE)
    world.group.machine.apply(1, world.clock.wall_ms(), [(0, 0, 0, OP_SET, b"k", DATA, 1)])
    world.clock.ns += 2_000_000_000
    world.read()
    assert world.outcomes == [], "told the miss before the log knew"
    assert world.group.submitted[0][3] == OP_EXPIRE
    world.group.commit()
    assert world.outcomes == [[None]]
    assert b"k" not in world.group.machine.items


def test_what_is_led_elsewhere_is_forwarded_and_answered() -> None:
    world = World()
    world.lead(THERE)
    world.read()
    to, item = world.take()
    assert (to, item[0], item[2], item[3]) == (THERE, FORWARD_READ, GROUP, (b"k",))
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (None,)))
    assert world.outcomes == [[None]]


def test_without_a_leader_requests_are_held_until_there_is_one() -> None:
    world = World()
    world.read()
    assert world.sent == []
    world.lead(THERE)
    assert world.take()[1][0] == FORWARD_READ


def test_a_lost_forward_is_repeated_under_the_same_sequence() -> None:
    world = World()
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)
    _, first = world.take()
    assert first[4] is False
    world.coordinator.peer_down(THERE)
    world.lead(ELSEWHERE)
    to, second = world.take()
    assert to == ELSEWHERE
    assert second[4] is True, "a repeated attempt has to say so"
    assert second[5][:2] == first[5][:2], "another session or sequence would execute it twice"
    # The late answer of the first attempt decides nothing any more.
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, first[1], STORED))
    assert world.outcomes == []
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_RESULT, second[1], STORED))
    assert world.outcomes == [STORED]


def test_a_write_lost_here_is_repeated_at_the_new_leader() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    (waiter,) = world.group.waiters
    command = world.group.submitted[0]
    world.group.is_leader = False
    world.group.leader_id = 0
    waiter.on_lost()
    world.lead(THERE)
    _, item = world.take()
    assert item[5][:2] == command[:2]


def test_the_deadline_says_not_done_only_when_nothing_can_have_happened() -> None:
    world = World()
    world.set(b"never sent")
    world.pass_ms(6000)
    assert isinstance(world.outcomes[0], Failure)
    assert world.outcomes[0].outcome_known

    world = World()
    world.lead(THERE)
    world.set(b"refused")
    world.open_session_at(THERE)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], 0, "not the leader"))
    world.group.leader_id = 0
    world.pass_ms(6000)
    assert world.outcomes[0].outcome_known

    world = World()
    world.lead(THERE)
    world.set(b"in flight")
    world.open_session_at(THERE)
    world.pass_ms(6000)
    assert not world.outcomes[0].outcome_known

    world = World()
    world.lead(THERE)
    world.set(b"lost once")
    world.open_session_at(THERE)
    _, item = world.take()
    world.group.leader_id = 0
    world.coordinator.on_forward(THERE, (FORWARD_LOST, item[1]))
    world.pass_ms(6000)
    assert not world.outcomes[0].outcome_known


def test_a_read_past_its_deadline_is_not_done() -> None:
    world = World()
    world.read()
    world.pass_ms(6000)
    assert world.outcomes[0].line().startswith(b"SERVER_ERROR not done: shard 4 had no leader")


def test_a_gone_session_is_opened_anew_only_if_nothing_can_have_been_executed() -> None:
    world = World()
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], SESSION_GONE))
    world.open_session_at(THERE)
    _, again = world.take()
    assert again[5][0] != item[5][0]
    world.coordinator.on_forward(THERE, (FORWARD_LOST, again[1]))
    world.coordinator.sweep()
    _, repeated = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, repeated[1], SESSION_GONE))
    assert isinstance(world.outcomes[0], Failure)
    assert not world.outcomes[0].outcome_known


def test_at_the_memory_limit_a_set_is_refused_and_removes_the_old_value() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    world.group.commit()
    world.bytes_used = 1000
    world.set()
    assert world.group.submitted[0][3] == OP_DELETE
    world.group.commit()
    assert world.outcomes == [STORED, OUT_OF_MEMORY]
    assert world.group.machine.items == {}


def test_a_repeated_attempt_is_not_refused_for_memory() -> None:
    """The first attempt may have been executed: only the session table may answer."""
    world = World()
    world.lead(THERE)
    world.bytes_used = 5000
    world.group.is_leader = True
    command = (77, 1, 1, OP_SET, b"k", DATA, 0)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 9, GROUP, 10, True, command))
    assert world.group.submitted == [command]


def test_forwarded_to_a_replica_that_does_not_lead_it_is_refused_with_the_leader() -> None:
    world = World()
    world.lead(ELSEWHERE)
    command = (77, 1, 1, OP_INCR, b"k", 1)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 9, GROUP, 10, False, command))
    to, item = world.take()
    assert (to, item[:3]) == (THERE, (FORWARD_REFUSED, 9, ELSEWHERE))


def test_a_forwarded_read_is_refused_by_a_replica_that_does_not_lead() -> None:
    """Whatever it holds: it may lack what was acknowledged."""
    world = World()
    world.lead(ELSEWHERE)
    world.group.lease = False
    world.group.machine.apply(1, world.clock.wall_ms(), [(0, 0, 0, OP_SET, b"k", DATA, 0)])
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    to, item = world.take()
    assert (to, item[:3]) == (THERE, (FORWARD_REFUSED, 9, ELSEWHERE))


def test_a_forwarded_read_without_a_lease_waits_for_a_read_index() -> None:
    world = World()
    world.lead(HERE)
    world.group.lease = False
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    assert world.sent == []
    world.group.reading[0].on_readable()
    assert world.take() == (THERE, (FORWARD_ITEMS, 9, [None]))


def test_a_forwarded_read_of_an_expired_item_removes_it_through_the_log_first() -> None:
    world = World()
    world.lead(HERE)
    world.group.machine.apply(1, world.clock.wall_ms(), [(0, 0, 0, OP_SET, b"k", DATA, 1)])
    world.clock.ns += 2_000_000_000
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    assert world.sent == [], "told before the log knew"
    assert world.group.submitted[0][3] == OP_EXPIRE
    world.group.commit()
    assert world.take() == (THERE, (FORWARD_ITEMS, 9, [None]))


def test_only_the_node_that_was_asked_may_answer() -> None:
    world = World()
    world.lead(THERE)
    world.read()
    _, item = world.take()
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_ITEMS, item[1], (None,)))
    assert world.outcomes == []
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (None,)))
    assert world.outcomes == [[None]]


def test_writes_of_one_connection_are_repeated_in_their_order() -> None:
    """Two pipelined writes lost together: the second is not repeated before the first is done."""
    world = World()
    world.lead(HERE)
    first = world.set()
    world.open_session_here()
    second = world.set(after=first)
    assert len(world.group.submitted) == 2, "at the leader they follow each other at once"
    waiters = list(world.group.waiters)
    world.group.is_leader = False
    world.group.leader_id = 0
    for waiter in waiters:
        waiter.on_lost()
    world.lead(THERE)
    _, item = world.take()
    assert item[5][1] == first.sequence
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], STORED))
    _, item = world.take()
    assert item[5][1] == second.sequence
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], DELETED))
    assert world.outcomes == [STORED, DELETED]


def test_the_floor_is_the_oldest_unanswered_sequence() -> None:
    world = World()
    world.lead(HERE)
    world.set(b"a")
    world.open_session_here()
    world.set(b"b")
    assert [command[2] for command in world.group.submitted] == [1, 1]
    world.group.commit()
    world.set(b"c")
    assert world.group.submitted[0][:3] == (world.group.submitted[0][0], 3, 3)


def test_a_finished_write_keeps_nothing_alive() -> None:
    world = World()
    world.lead(HERE)
    last = world.set()
    world.open_session_here()
    first = last
    for _ in range(10):
        last = world.set(after=last)
    world.group.commit()
    assert last.finished
    assert first.after is None
    assert last.after is None
    assert last.args == ()
    world.outcomes.append(last.done("ignored"))
    assert world.outcomes == [STORED] * 11 + [None]


def test_thousands_that_come_and_go_behind_one_that_waits_are_forgotten() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    for _ in range(3 * DEADLINES_MIN):
        write = world.set()
        write.finish(STORED)
        if not _ % 100:
            world.pass_ms(0)
    assert len(world.coordinator.deadlines.queue) < DEADLINES_MIN + 200
    world.outcomes.clear()
    world.pass_ms(5000)
    world.pass_ms(5000)
    (failure,) = [o for o in world.outcomes if isinstance(o, Failure)]
    assert failure.outcome_known


def test_a_read_answered_at_once_has_no_deadline() -> None:
    world = World()
    world.lead(HERE)
    world.read()
    assert not world.coordinator.deadlines.queue


def test_a_long_chain_of_writes_ends_without_recursion() -> None:
    world = World()
    world.lead(THERE)
    last = world.set()
    world.open_session_at(THERE)
    _, item = world.take()
    for _ in range(5000):
        last = world.set(after=last)
    world.group.is_leader = True
    world.bytes_used = 2000  # Every one that reaches the leader is refused at once.
    world.coordinator.serving.submit = _refuse  # type: ignore[method-assign]
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], STORED))
    assert world.outcomes == [STORED] + [OUT_OF_MEMORY] * 5000


def _refuse(group: Any, command: Any, size: int, waiter: Any, *, retry: bool) -> None:
    waiter.on_result(OUT_OF_MEMORY)


def test_an_answer_too_long_for_a_frame_comes_in_parts() -> None:
    leader = World()
    leader.lead(HERE)
    keys = tuple(b"k%d" % number for number in range(7))
    value = b" 0 %d\r\n%b\r\n" % (1 << 20, b"v" * (1 << 20))
    commands = [(0, 0, 0, OP_SET, key, value, 0) for key in keys]
    leader.group.machine.apply(1, 1000, commands)
    world = World()
    world.lead(THERE)
    world.coordinator.read(GROUP, keys, world.outcomes.append)
    parts = 0
    while not world.outcomes:
        _, item = world.take()
        leader.coordinator.on_forward(THERE, item)
        _, answer = leader.take()
        assert sum(map(len, answer[2])) < 6 << 20
        world.coordinator.on_forward(THERE, (*answer[:2], tuple(answer[2])))
        parts += 1
    assert parts == 2
    assert world.outcomes == [[leader.group.machine.items[key] for key in keys]]


COMMAND = (1, 2, 1, OP_SET, b"k", DATA, 0)


@pytest.mark.parametrize(
    "item",
    [
        (99, 1),
        (FORWARD_WRITE, 1, GROUP, 10, False),
        (FORWARD_WRITE, 1, GROUP, 10, False, (1, 2)),
        (FORWARD_WRITE, 1, GROUP, 10, False, (*COMMAND[:3], 99, b"k", DATA, 0)),
        (FORWARD_WRITE, 1, GROUP, 10, False, (*COMMAND[:3], None, b"k", DATA, 0)),
        (FORWARD_WRITE, 1, GROUP, 10, False, COMMAND[:-1]),
        (FORWARD_WRITE, 1, GROUP, 10, False, (*COMMAND[:4], "k", DATA, 0)),
        (FORWARD_WRITE, 1, GROUP, 10, False, (0, 0, 0, OP_EXPIRE, b"", ((b"k", 1),))),
        (FORWARD_WRITE, 1, (), 10, False, COMMAND),
        (FORWARD_READ, 1, GROUP, ()),
        (FORWARD_READ, 1, GROUP, (1,)),
        (FORWARD_RESULT, 1, None),
        (FORWARD_REFUSED, 1, "2", "why"),
    ],
)
def test_what_no_replica_could_apply_never_reaches_the_log(item: tuple[Any, ...]) -> None:
    world = World()
    world.lead(HERE)
    with pytest.raises(PeerFrameError):
        world.coordinator.on_forward(THERE, item)
    assert not world.group.submitted
    assert not world.sent


def test_nobody_writes_to_the_directory_from_outside() -> None:
    world = World()
    world.lead(HERE)
    world.group.group_id = DIRECTORY_GROUP_ID
    world.group.machine = DirectoryState(lambda cluster_map: None)  # type: ignore[assignment]
    world.groups[DIRECTORY_GROUP_ID] = world.group
    write = (FORWARD_WRITE, 1, DIRECTORY_GROUP_ID, 10, False, COMMAND)
    for item in (write, (FORWARD_READ, 1, DIRECTORY_GROUP_ID, (b"k",))):
        world.coordinator.on_forward(THERE, item)
        assert world.take()[1][0] == FORWARD_REFUSED
    assert not world.group.submitted


@pytest.mark.parametrize("answer", [(FORWARD_RESULT, OK), (FORWARD_ITEMS, ())])
def test_an_answer_that_does_not_fit_its_question_is_refused(answer: tuple[Any, ...]) -> None:
    world = World()
    world.lead(THERE)
    world.read()
    _, item = world.take()
    with pytest.raises(PeerFrameError):
        world.coordinator.on_forward(THERE, (answer[0], item[1], answer[1]))
    world.pass_ms(5000)
    assert isinstance(world.outcomes[0], Failure)


def test_what_waited_in_its_connection_has_the_rest_of_its_time() -> None:
    """Ten writes behind one another to a dead shard are given up together, not one by one."""
    world = World()
    deadline_ns = world.coordinator.deadline_ns()
    world.clock.ns += 4_000_000_000
    world.coordinator.begin_late(deadline_ns, world.set)
    world.pass_ms(900)
    assert world.outcomes == []
    world.pass_ms(200)
    assert len(world.outcomes) == 1
    world.coordinator.begin_late(deadline_ns, world.set)
    assert len(world.outcomes) == 2, "it came too late and was tried all the same"
    assert all(outcome.outcome_known for outcome in world.outcomes)


def test_the_time_of_operations_is_noted() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    world.group.commit()
    world.read()
    world.lead(THERE)
    world.read()
    _, item = world.take()
    world.clock.ns += 3_000_000
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (None,)))
    timings = world.timings
    assert timings.write_seconds.count == 1
    assert timings.read_seconds.count == 1
    assert timings.forward_seconds.count == 1
    assert abs(timings.forward_seconds.total - 0.003) < 1e-9


def test_a_value_is_dropped_and_read_again_while_its_client_does_not_read() -> None:
    world = World()
    world.lead(THERE)
    room = Room()
    room.is_full = True
    world.coordinator.read(GROUP, (b"k",), world.outcomes.append, room=room)
    _, first = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, first[1], (b"large",)))
    world.pass_ms(4900)
    assert world.outcomes == []
    assert not world.sent, "asked again although there is no room"
    world.pass_ms(5000)
    assert world.outcomes == [], "the time of a client that does not read is not the shard's"
    room.is_full = False
    room.parked.pop().unpark()
    _, again = world.take()
    assert again[1] != first[1]
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, again[1], (b"large",)))
    assert world.outcomes == [[b"large"]]


def test_a_forward_whose_answer_found_no_connection_is_repeated() -> None:
    """The other node had just lost its own connection to this one: nothing here can tell."""
    world = World()
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)
    _, first = world.take()
    world.pass_ms(900)
    assert world.sent == []
    world.pass_ms(200)
    _, again = world.take()
    assert again[1] != first[1]
    assert again[5][:2] == first[5][:2], "another sequence would execute it twice"
    assert again[4] is True


# -- reads of one connection keep their order ------------------------------------------------------


def test_an_answered_read_keeps_nothing_of_its_client_alive() -> None:
    world = World()
    world.lead(THERE)
    room = Room()
    read = world.coordinator.read(GROUP, (b"k",), world.outcomes.append, room=room)
    assert read in world.coordinator.deadlines.queue
    alive = weakref.ref(room)
    del room
    _, asked = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, asked[1], (DATA,)))
    assert world.outcomes == [[DATA]]
    assert read in world.coordinator.deadlines.queue
    assert alive() is None


def test_a_read_that_is_answered_before_an_earlier_one_is_read_again_after_it() -> None:
    """Their connection would see the later answer's past."""
    world = World()
    world.lead(THERE)
    world.up.clear()
    first = world.read()
    assert world.sent == []  # held: the link is gone
    world.up = {THERE}
    second = world.read(after=first)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (b"old",)))
    assert world.outcomes == []
    world.coordinator.sweep()
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (b"new",)))
    assert world.outcomes == [[b"new"]]
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (b"newer",)))
    assert world.outcomes == [[b"new"], [b"newer"]]
    assert first.finished
    assert second.finished


def test_a_read_under_a_new_lease_does_not_overtake_one_that_asked_a_majority() -> None:
    world = World()
    world.lead(HERE)
    world.group.lease = False
    first = world.read()
    world.group.lease = True
    world.read(after=first)
    assert world.outcomes == []
    world.group.reading[0].on_readable()
    assert world.outcomes == [[None], [None]]


def test_half_an_answer_that_is_too_early_is_dropped_too() -> None:
    world = World()
    world.lead(THERE)
    first = world.read()
    keys = (b"k", b"l")
    world.coordinator.read(GROUP, keys, world.outcomes.append, first)
    (_, one), (_, two) = world.sent
    world.sent.clear()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, two[1], (b"old",)))
    assert world.sent == []
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, one[1], (b"new",)))
    _, again = world.take()
    assert again[3] == keys
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, again[1], (b"new", b"x")))
    assert world.outcomes == [[b"new"], [b"new", b"x"]]


def test_answers_in_order_are_taken_at_once() -> None:
    world = World()
    world.lead(THERE)
    first = world.read()
    world.read(after=first)
    requests = [item[1] for _, item in world.sent]
    world.sent.clear()
    for request in requests:
        world.coordinator.on_forward(THERE, (FORWARD_ITEMS, request, (None,)))
    assert world.outcomes == [[None], [None]]
    assert world.sent == []


def test_a_read_whose_earlier_one_fails_is_read_again() -> None:
    world = World()
    world.lead(THERE)
    world.up.clear()
    first = world.read()
    world.up = {THERE}
    world.clock.ns += 1
    world.read(after=first)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (b"x",)))
    world.up.clear()
    world.clock.ns = first.deadline_ns
    world.coordinator.sweep()
    (failure,) = world.outcomes
    assert isinstance(failure, Failure)
    world.clock.ns += 1
    world.coordinator.sweep()
    assert isinstance(world.outcomes[1], Failure)


def test_a_long_chain_of_early_reads_is_read_again_one_after_the_other() -> None:
    """No deeper than the stack, either."""
    world = World()
    world.lead(HERE)
    world.group.lease = False
    last = first = world.read()
    world.group.lease = True
    for _ in range(3000):
        last = world.read(after=last)
    assert world.outcomes == []
    world.group.reading[0].on_readable()
    assert world.outcomes == [[None]] * 3001
    assert first.finished
