"""Operations that run out of time, and what is forgotten of those that did not."""

from quorumcache.node.operations.deadlines import DEADLINES_MIN
from quorumcache.node.operations.failure import Failure
from quorumcache.node.peers.items import (
    FORWARD_LOST,
    FORWARD_REFUSED,
)
from quorumcache.node.store.results import STORED
from tests.support.coordinator_world import HERE, THERE, World


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


def test_what_has_ended_leaves_with_the_next_that_come() -> None:
    """Without a sweep: its memory is used again at once, also when many ended at the same time."""
    world = World()
    world.lead(HERE)
    world.set()
    world.group.commit()  # Its session is open.
    world.group.commit()
    queue = world.coordinator.deadlines.queue
    for _ in range(100):
        world.set().finish(STORED)
        assert len(queue) == 1
    writes = [world.set() for _ in range(50)]
    for write in reversed(writes):
        write.finish(STORED)
    for left in (47, 44):
        assert len(queue) == left + 3
        world.set().finish(STORED)
        assert len(queue) == left


def test_a_forward_that_ended_without_its_answer_is_forgotten_with_it() -> None:
    world = World()
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)
    world.take()
    write = world.set()
    world.take()
    forwards = world.coordinator.forwards
    before = len(forwards.under_way)
    world.pass_ms(6000)
    assert write.finished
    world.lead(THERE)
    world.set()
    assert write not in forwards.under_way.values()
    assert len(forwards.under_way) < before


def test_a_read_answered_at_once_has_no_deadline() -> None:
    world = World()
    world.lead(HERE)
    world.read()
    assert not world.coordinator.deadlines.queue


def test_what_waited_in_its_connection_has_the_rest_of_its_time() -> None:
    """Ten writes behind one another to a dead shard are given up together, not one by one."""
    world = World()
    deadline_ns = world.coordinator.deadline_ns()
    world.clock.ns += 4_000_000_000
    world.set(deadline_ns=deadline_ns)
    world.pass_ms(900)
    assert world.outcomes == []
    world.pass_ms(200)
    assert len(world.outcomes) == 1
    world.set(deadline_ns=deadline_ns)
    assert len(world.outcomes) == 2, "it came too late and was tried all the same"
    assert all(outcome.outcome_known for outcome in world.outcomes)


def test_a_late_one_ends_at_its_own_time_whatever_stands_before_it() -> None:
    world = World()
    world.set(b"first")
    world.clock.ns += 3_000_000_000
    world.set(b"late", deadline_ns=world.clock.ns + 1_000_000)
    world.pass_ms(1)
    assert len(world.outcomes) == 1
    world.pass_ms(1_999)
    assert len(world.outcomes) == 2


def test_a_forward_of_what_ran_out_of_time_is_forgotten() -> None:
    world = World()
    world.lead(THERE)
    world.read()
    assert world.coordinator.forwards.under_way
    world.pass_ms(5_000)
    assert len(world.outcomes) == 1
    assert not world.coordinator.forwards.under_way
