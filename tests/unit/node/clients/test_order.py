"""The order of the requests of one connection: which run together, and which follows which."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clients.order import GroupLane, RequestOrder
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import OP_GAT, OP_SET
from quorumcache.node.store.results import ITEM, STORED
from tests.support.coordinator_world import World
from tests.support.fake_server import Client, FakeServer, item, set_line, value_lines


def test_a_get_waits_for_the_write_before_it() -> None:
    client = Client()
    client.send(set_line(b"k") + b"get k\r\n")
    write = client.coordinator.take()
    assert write.op == OP_SET
    write.end(STORED)
    client.coordinator.take().end([item()])
    client.turn()
    assert client.read() == b"STORED\r\n" + value_lines(b"k") + b"END\r\n"


def test_a_get_waits_for_a_noreply_write_that_came_in_an_earlier_read() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"old")
    client.send(set_line(b"k", b"new", noreply=True))
    write = client.coordinator.take()
    client.send(b"get k\r\n")
    assert client.read() == b""
    client.put(b"k", b"new")
    write.end(STORED)
    client.coordinator.take().end([item(b"new")])
    client.turn()
    assert client.read() == value_lines(b"k", b"new") + b"END\r\n"


def test_gets_of_one_shard_know_the_one_before_them() -> None:
    client = Client()
    client.send(b"get k\r\nget k k2\r\nget k\r\n")
    group = client.server.group_of(b"k")
    first, second, third = (s for s in client.coordinator.started if s.group_id == group)
    assert first.after is None
    assert second.after is first
    assert third.after is second
    client.coordinator.end_all()
    client.turn()
    client.send(b"get k\r\n")
    assert client.coordinator.take().after is None


def test_writes_follow_each_other_at_once_only_where_this_node_leads() -> None:
    client = Client()
    client.send(set_line(b"k") + set_line(b"k"))
    assert len(client.coordinator.started) == 1
    leader = Client()
    leader.lead_all()
    leader.send(set_line(b"k") + set_line(b"k"))
    first, second = leader.coordinator.started
    assert second.after is first


def test_writes_follow_each_other_until_the_newest_has_left_for_its_leader() -> None:
    client = Client()
    gathered: list[Any] = []
    client.coordinator.forwards = SimpleNamespace(is_gathered=lambda write: write in gathered)
    client.send(set_line(b"k"))
    lane = next(iter(client.connection.conversation.order.lanes.values()))
    gathered.append(lane.last_write)
    client.send(set_line(b"k") + set_line(b"k"))
    assert len(client.coordinator.started) == 2, "the second is gathered nowhere"


def test_a_gat_stands_in_the_order_of_writes() -> None:
    client = Client()
    client.lead_all()
    client.send(set_line(b"k") + b"gat 0 k\r\n" + set_line(b"k", b"y"))
    first, gat, last = client.coordinator.started
    assert gat.op == OP_GAT
    assert gat.after is first
    assert last.after is gat
    for operation in (last, gat, first):
        operation.end((ITEM, item()) if operation is gat else STORED)
    client.send(set_line(b"k"))
    assert client.coordinator.started[-1].after is None


# -- the order alone -------------------------------------------------------------------------


def test_a_lane_is_there_while_requests_of_its_group_are() -> None:
    order = RequestOrder(FakeServer())
    started: list[str] = []
    lane = order.lane_of(1)
    order.begin(lane, True, lambda deadline_ns: started.append("write"))
    assert order.lane_of(1) is lane
    order.begin(lane, False, lambda deadline_ns: started.append("read"))
    assert started == ["write"], "the read has to see the write"
    order.ended(lane, True)
    assert started == ["write", "read"]
    assert order.lanes == {1: lane}
    order.ended(lane, False)
    assert order.lanes == {}
    assert order.lane_of(1) is not lane


def test_groups_do_not_wait_for_each_other() -> None:
    order = RequestOrder(FakeServer())
    started: list[int] = []
    for group_id in (1, 2, 3):
        order.begin(order.lane_of(group_id), True, started.append)
    assert started == [0, 0, 0], "they begin now: their time is not set before"


def test_the_time_of_a_request_that_waits_runs_since_it_came() -> None:
    context = FakeServer()
    coordinator: Any = context.coordinator
    order = RequestOrder(context)
    deadlines: list[int] = []
    lane = order.lane_of(1)
    order.begin(lane, True, deadlines.append)
    coordinator.deadline = 1000
    order.begin(lane, True, deadlines.append)
    coordinator.deadline = 2000
    order.ended(lane, True)
    assert deadlines == [0, 1000]


def test_the_time_of_what_waits_runs_anew_with_each_answer_before_it() -> None:
    """Or the last of many pipelined writes would run out of time while all goes well."""
    context = FakeServer()
    coordinator: Any = context.coordinator
    order = RequestOrder(context)
    deadlines: list[int] = []
    lane = order.lane_of(1)
    coordinator.deadline = 1000
    for _ in range(4):
        order.begin(lane, True, deadlines.append)
    for deadline in (2000, 3000):
        coordinator.deadline = deadline
        order.answered(lane)
        order.ended(lane, True)
    coordinator.deadline = 9000
    order.ended(lane, True)  # This one had no answer.
    assert deadlines == [0, 2000, 3000, 3000]


@pytest.mark.parametrize("outcome", [STORED, Failure("no leader", outcome_known=True)])
@pytest.mark.parametrize("op", [OP_SET, OP_GAT])
def test_an_outcome_gives_time_to_what_waits_only_if_it_is_an_answer(op: int, outcome: Any) -> None:
    client = Client()
    coordinator = client.coordinator
    coordinator.deadline = 1000
    client.send((set_line(b"k") if op == OP_SET else b"gat 0 k\r\n") + set_line(b"k"))
    coordinator.deadline = 2000
    is_answer = not isinstance(outcome, Failure)
    coordinator.take().end((ITEM, item()) if is_answer and op == OP_GAT else outcome)
    assert coordinator.take().deadline_ns == (2000 if is_answer else 1000)


def test_only_the_newest_operation_is_followed() -> None:
    lane = GroupLane(FakeServer(), 1)
    older: Any = SimpleNamespace(unfinished_before=lambda: None)
    newer: Any = SimpleNamespace(unfinished_before=lambda: None)
    lane.last_write = newer
    lane.ended_write(older)
    lane.ended_write(None)
    assert lane.last_write is newer
    lane.ended_write(newer)
    assert lane.last_write is None
    lane.last_read = newer
    lane.ended_read(older)
    lane.ended_read(None)
    assert lane.last_read is newer
    lane.ended_read(newer)
    assert lane.last_read is None


def test_a_lane_goes_back_to_what_goes_on_when_its_newest_operation_fails() -> None:
    lane = GroupLane(FakeServer(), 1)
    world = World()
    writes, reads = [world.set()], [world.read()]
    writes.append(world.set(after=writes[0]))
    reads.append(world.read(after=reads[0]))
    lane.last_write, lane.last_read = writes[1], reads[1]
    lane.ended_write(writes[1])
    lane.ended_read(reads[1])
    assert (lane.last_write, lane.last_read) == (writes[0], reads[0])


def test_what_follows_gets_without_a_lane_waits_in_its_lane_for_the_last_of_them() -> None:
    order, started = RequestOrder(FakeServer()), []
    order.quick[1] = 2
    order.begin(order.lane_of(1), True, lambda deadline_ns: started.append("write"))
    order.begin(order.lane_of(1), False, lambda deadline_ns: started.append("read"))
    order.begin(order.lane_of(2), False, lambda deadline_ns: started.append("other"))
    assert started == ["other"]
    order.quick_ended(1)
    assert started == ["other"]
    order.quick_ended(1)
    assert started == ["other", "write"]
    assert not order.quick
    order.ended(order.lane_of(1), True)
    assert started == ["other", "write", "read"]


def test_gets_that_fell_back_begin_together_before_what_waits() -> None:
    order, started = RequestOrder(FakeServer()), []
    order.quick[1] = 3
    lane = order.lane_of(1)
    order.begin(lane, True, lambda deadline_ns: started.append(("write", deadline_ns)))

    def ends_at_once(deadline_ns: int) -> None:
        started.append(("first", deadline_ns))
        order.ended(lane, False)

    later = [lambda deadline_ns, n=n: started.append((n, deadline_ns)) for n in ("second", "third")]
    order.quick_fell(1, [ends_at_once, *later], 7)
    assert started == [("first", 7), ("second", 7), ("third", 7)]
    order.ended(lane, False)
    order.ended(lane, False)
    assert started[3][0] == "write"
    order.ended(lane, True)
    assert (order.lanes, order.quick) == ({}, {})
