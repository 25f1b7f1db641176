"""The read of a lock as an operation: it is tried again as every read is, and asks by its names."""

from typing import Any

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.lock_answers import GONE, LOCK_SHOW, LOCK_WAIT, pack_standing
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.peers.items import FORWARD_ITEMS, FORWARD_READ, FORWARD_REFUSED
from tests.support.coordinator_world import GROUP, HERE, THERE, World

ANSWER = pack_standing((GONE, 0))


def begin(world: World, asks: int = LOCK_WAIT) -> LockRead:
    asked = (b"lock", b"owner") if asks == LOCK_WAIT else (b"lock",)
    coordinator: Any = world.coordinator
    deadline_ns = coordinator.deadline_ns()
    read = LockRead(coordinator, GROUP, deadline_ns, asked, asks, 300, world.outcomes.append)
    world.coordinator.begin(read, False)
    return read


def test_it_goes_to_the_leader_with_its_names_and_its_answer_comes_back() -> None:
    world = World()
    world.lead(THERE)
    read = begin(world)
    to, item = world.take()
    assert (to, item[0]) == (THERE, FORWARD_READ)
    assert item[2:] == (GROUP, (b"lock", b"owner"), 300, LOCK_WAIT)
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (ANSWER,)))
    assert world.outcomes == [[ANSWER]]
    assert read.finished
    begin(world, LOCK_SHOW)
    _, item = world.take()
    assert item[3:] == ((b"lock",), 300, LOCK_SHOW)


def test_a_refusal_has_it_asked_again_at_the_next_leader() -> None:
    world = World()
    world.lead(THERE)
    begin(world)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], 0, "not the leader"))
    assert not world.outcomes
    world.lead(HERE)
    assert world.outcomes == [[ANSWER]]


def test_its_deadline_ends_it_and_it_is_in_no_statistics() -> None:
    world = World()
    begin(world)
    world.pass_ms(5001)
    (failure,) = world.outcomes
    assert isinstance(failure, Failure)
    assert failure.outcome_known
    assert world.timings.read_seconds.total == 0
