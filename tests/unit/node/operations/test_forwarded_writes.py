"""Writes that another node sent together, at their leaders."""

from typing import Any

import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.failure import BEHIND_WAITING, NOT_THE_LEADER
from quorumcache.node.operations.forwarded_writes import take_writes
from quorumcache.node.peers.items import (
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITES,
    WRITES_MAX,
)
from quorumcache.node.store.commands import (
    OP_SESSION_OPEN,
    OP_SET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.results import HELD, STORED, TXN_CONFLICT, TXN_PREPARED, TXN_RELEASED
from tests.support.coordinator_world import GROUP, HERE, THERE, ScriptedGroup, World

SESSION = 5
OTHER_GROUP = GROUP + 1
DEADLINE_MS = 10_000_000


@pytest.fixture
def world() -> World:
    """A leader that knows a session of the node that sends."""
    world = World()
    world.lead(HERE)
    world.group.machine.apply(1, 1, [(SESSION, 0, 0, OP_SESSION_OPEN, b"")])
    return world


def write(request_id: int, key: bytes, group_id: int = GROUP) -> tuple[Any, ...]:
    command = (SESSION, request_id, 1, OP_SET, key, wire_data(0, b"x"), 0)
    return (request_id, group_id, 10, False, command)


def step(request_id: int, op: int, *args: Any) -> tuple[Any, ...]:
    return (request_id, GROUP, 10, False, (SESSION, request_id, 1, op, b"", *args))


def prepare(request_id: int, txn: int, key: bytes) -> tuple[Any, ...]:
    writes = ((key, OP_SET, wire_data(0, b"new"), 0),)
    txn_id = txn.to_bytes(16, "big")
    return step(request_id, OP_TXN_PREPARE, txn_id, 9, DEADLINE_MS, (), writes)


def take(world: World, *writes: tuple[Any, ...]) -> None:
    take_writes(world.coordinator.serving, THERE, (FORWARD_WRITES, writes))


def told(world: World) -> list[tuple[int, Any]]:
    """What the sender hears: of each request, by its id, the result or why it was refused."""
    items = [item for node_id, item in world.sent if node_id == THERE]
    world._sent.clear()
    assert {item[0] for item in items} <= {FORWARD_RESULT, FORWARD_REFUSED}
    return [(item[1], item[-1]) for item in items]


def submitted(world: World) -> list[bytes]:
    return [command[4] for command in world.group.submitted]


def test_they_stand_in_the_log_in_their_order(world: World) -> None:
    take(world, write(1, b"a"), write(2, b"b"), write(3, b"a"))
    assert submitted(world) == [b"a", b"b", b"a"]
    world.group.commit()
    assert told(world) == [(1, STORED), (2, STORED), (3, STORED)]
    assert world.coordinator.counters.forwarded_in == 3


def test_nothing_goes_behind_one_that_was_refused(world: World) -> None:
    other: Any = ScriptedGroup(world.clock)
    other.is_leader = True
    world.groups[OTHER_GROUP] = other
    world.group.refuses = "too many writes in flight"
    take(world, write(1, b"a"), write(2, b"b", OTHER_GROUP))
    assert told(world) == [(1, "too many writes in flight")]
    world.group.refuses = ""
    submit, count = world.group.submit, 0

    def refuse_the_second(command: Any, size: int, waiter: Any) -> bool:
        nonlocal count
        count += 1
        world.group.refuses = "no room" if count == 2 else ""
        return submit(command, size, waiter)

    world.group.submit = refuse_the_second  # type: ignore[method-assign]
    take(world, *(write(number, b"%d" % number) for number in range(3, 7)))
    assert submitted(world) == [b"3"]
    assert told(world) == [(4, "no room"), (5, "no room"), (6, "no room")]
    assert [command[4] for command in other.submitted] == [b"b"], "other groups go on"


def test_nothing_goes_behind_one_that_waits_for_a_transaction(world: World) -> None:
    take(world, prepare(1, 1, b"held"))
    world.group.commit()
    assert told(world) == [(1, TXN_PREPARED)]
    take(world, write(2, b"a"), write(3, b"held"), write(4, b"b"))
    assert submitted(world) == [b"a"]
    assert told(world) == [(4, BEHIND_WAITING)]
    take(world, step(5, OP_TXN_RESOLVE, (1).to_bytes(16, "big"), DEADLINE_MS, 0))
    world.group.commit()
    assert told(world) == [(2, STORED), (5, TXN_RELEASED)]
    world.group.commit()
    assert told(world) == [(3, STORED)]


def test_a_transaction_that_is_told_of_a_conflict_stops_nobody(world: World) -> None:
    take(world, prepare(1, 1, b"held"))
    world.group.commit()
    take(world, write(2, b"held"))
    told(world)
    take(world, prepare(3, 2, b"held"), write(4, b"a"))
    assert told(world) == [(3, (TXN_CONFLICT, b"held"))]
    assert submitted(world) == [b"a"]


def test_what_finds_no_memory_has_its_answer(world: World) -> None:
    world.bytes_used = 2000
    take(world, write(1, b"a"), write(2, b"b"))
    assert submitted(world) == [b"a", b"b"], "deletes in their place"


def test_what_a_hold_stopped_in_the_log_is_told_as_that(world: World) -> None:
    """Those behind it may be executed: its node may not simply send it again."""
    take(world, write(1, b"held"), write(2, b"b"))
    writes, waiters = world.group.submitted, world.group.waiters
    world.group.submitted, world.group.waiters = [], []
    take(world, prepare(3, 1, b"held"))
    world.group.submitted += writes
    world.group.waiters += waiters
    world.group.commit()
    assert told(world) == [(3, TXN_PREPARED), (1, HELD), (2, STORED)]


def test_who_does_not_lead_says_so_of_each(world: World) -> None:
    world.lead(THERE)
    take(world, write(1, b"a"), write(2, b"b"), write(3, b"c", OTHER_GROUP))
    assert told(world) == [(number, NOT_THE_LEADER) for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "writes",
    [
        7,
        (7,),
        (write(1, b"a")[:4],),
        ((*write(1, b"a"), 0),),
        ((1, GROUP, 10, 0, write(1, b"a")[4]),),
        ((1, GROUP, 10, False, (SESSION, 1, 1, OP_SET, b"a", b"no block", "later")),),
        (prepare(1, 1, b""),),
        tuple(write(number, b"a") for number in range(WRITES_MAX + 1)),
    ],
)
def test_an_item_of_another_form_is_refused_before_anything_happens(
    world: World, writes: Any
) -> None:
    with pytest.raises(PeerFrameError):
        take_writes(world.coordinator.serving, THERE, (FORWARD_WRITES, writes))
    assert submitted(world) == []
