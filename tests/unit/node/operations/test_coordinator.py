"""Where the coordinator sends an operation next."""

from typing import Any

import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.store.commands import OP_EXPIRE, OP_SET
from quorumcache.node.store.results import STORED
from tests.support.coordinator_world import (
    DATA,
    ELSEWHERE,
    GROUP,
    HERE,
    THERE,
    World,
)
from tests.support.item_tables import item_of

COMMAND = (1, 2, 1, OP_SET, b"k", DATA, 0)


def test_a_write_at_the_leader_opens_a_session_and_is_answered() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    assert world.outcomes == []
    world.group.commit()
    assert world.outcomes == [STORED]
    assert item_of(world.group.machine.items, b"k").endswith(DATA)


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


def test_what_waits_for_a_replica_that_leaves_goes_to_the_leader_elsewhere() -> None:
    world = World()
    world.lead(HERE)
    world.group.lease = False
    world.set()
    world.open_session_here()
    world.read()
    (writing,), (reading,) = world.group.waiters, world.group.reading
    del world.groups[GROUP]
    world.group.is_leader = False
    writing.on_lost()
    reading.on_refused("the replica has left this node")
    world.coordinator.leader_changed(GROUP)
    world.coordinator.sweep()
    assert (world.sent, world.outcomes) == ([], [])
    world.coordinator.leaders.preferred_leader = lambda group_id: THERE
    world.coordinator.sweep()
    assert [to for to, _ in world.sent] == [THERE, THERE]
    by_kind = {item[0]: item for _, item in world.sent}
    write, read = by_kind[FORWARD_WRITE], by_kind[FORWARD_READ]
    assert write[4] is True, "it may have been executed"
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, write[1], STORED))
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, read[1], (None,)))
    assert world.outcomes == [STORED, [None]]


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_forward_for_a_replica_that_left_is_refused(kind: str) -> None:
    world = World()
    del world.groups[GROUP]
    item: tuple[Any, ...] = (FORWARD_READ, 9, GROUP, (b"k",))
    if kind == "write":
        item = (FORWARD_WRITE, 9, GROUP, 10, False, COMMAND)
    world.coordinator.on_forward(THERE, item)
    ((to, answer),) = world.sent
    assert (to, answer[:3]) == (THERE, (FORWARD_REFUSED, 9, 0))
