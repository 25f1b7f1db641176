"""Operations of one client connection keep their order, also when attempts are repeated."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.order import Ordered, Turns
from quorumcache.node.operations.read_values import settle
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_READ,
    FORWARD_RESULT,
    FORWARD_WRITES,
    WRITES_FORM,
)
from quorumcache.node.store.results import DELETED, OUT_OF_MEMORY, STORED
from tests.support.coordinator_world import ELSEWHERE, GROUP, HERE, THERE, World


@pytest.mark.parametrize("together", [True, False])
def test_writes_of_one_connection_are_repeated_in_their_order(together: bool) -> None:
    """Two pipelined writes lost together: the second is not repeated before the first is done, or
    in one item with it."""
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
    if not together:
        world.forms[THERE] = WRITES_FORM - 1
    world.lead(THERE)
    sequences = []
    if together:
        _, (kind, writes) = world.take()
        assert kind == FORWARD_WRITES
        sequences = [write[4][1] for write in writes]
        for write, result in zip(writes, (STORED, DELETED), strict=True):
            world.coordinator.on_forward(THERE, (FORWARD_RESULT, write[0], result))
    else:
        for result in (STORED, DELETED):
            _, item = world.take()
            sequences.append(item[5][1])
            world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], result))
    assert sequences == [first.sequence, second.sequence]
    assert world.outcomes == [STORED, DELETED]


def test_a_write_behind_one_that_failed_follows_the_one_before_that() -> None:
    """Which goes on: its time was longer, or it is sent again under another session."""
    world = World()
    world.lead(THERE)
    first = world.set()
    world.open_session_at(THERE)
    _, item = world.take()
    second = world.set(after=first)
    third = world.set(after=second)
    second.expire()
    assert isinstance(world.outcomes.pop(), Failure)
    fourth = world.set(after=second)
    assert world.sent == [], "the first one has not ended"
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], STORED))
    _, (_, writes) = world.take()
    assert [write[4][1] for write in writes] == [third.sequence, fourth.sequence]


def test_a_read_behind_one_that_failed_follows_the_one_before_that() -> None:
    world = World()
    world.lead(THERE)
    first = world.read()
    second = world.read(after=first)
    world.read(after=second)
    items = [item for _, item in world.sent]
    world._sent.clear()
    second.expire()
    assert isinstance(world.outcomes.pop(), Failure)
    answer(world, THERE, items[2], b"too early")
    assert world.outcomes == []
    assert world.sent == [], "the first one has not ended"
    answer(world, THERE, items[0], b"old")
    assert world.outcomes == [[b"old"]]
    answer(world, THERE, world.take()[1], b"new")
    assert world.outcomes == [[b"old"], [b"new"]]


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


def answer(world: World, node_id: int, item: tuple[Any, ...], value: bytes) -> None:
    world.coordinator.on_forward(node_id, (FORWARD_ITEMS, item[1], (value,)))


def test_an_answer_from_before_an_earlier_read_was_repeated_is_not_taken() -> None:
    """It was given long before, and its way back was slow."""
    world = World()
    world.lead(THERE)
    first = world.read()
    world.sent.clear()
    world.pass_ms(600)
    second = world.read(after=first)
    _, slow = next(entry for entry in world.sent if entry[1][0] == FORWARD_READ)
    world.sent.clear()
    world.pass_ms(500)
    reads = [entry for entry in world.sent if entry[1][0] == FORWARD_READ]
    ((node_id, again),) = reads
    world.sent.clear()
    answer(world, node_id, again, b"new")
    answer(world, THERE, slow, b"old")
    assert world.outcomes == [[b"new"]]
    assert not second.finished
    node_id, item = world.take()
    answer(world, node_id, item, b"newer")
    assert world.outcomes == [[b"new"], [b"newer"]]


@pytest.mark.parametrize(("relayed", "node_id"), [(True, THERE), (False, ELSEWHERE)])
def test_an_answer_that_came_another_way_than_the_earlier_one_is_not_taken(
    relayed: bool, node_id: int
) -> None:
    world = World()
    first = world.read()  # held: nobody leads
    forwards = world.coordinator.forwards
    assert forwards.send(first, node_id, relayed) == ""
    world.group.leader_id = THERE
    _, one = world.take()
    world.read(after=first)
    _, two = world.take()
    answer(world, node_id, one, b"new")
    answer(world, THERE, two, b"old")
    assert world.outcomes == [[b"new"]]
    _, item = world.take()
    answer(world, THERE, item, b"newer")
    assert world.outcomes == [[b"new"], [b"newer"]]


def test_an_answer_behind_one_that_failed_is_not_taken() -> None:
    """What came before that one may have been answered by a repeated attempt."""
    world = World()
    world.lead(THERE)
    first = world.read()
    world.clock.ns += 1
    world.read(after=first)
    _, two = world.sent[1]
    world.sent.clear()
    world.clock.ns = first.deadline_ns
    world.coordinator.deadlines.expire(world.clock.ns)
    answer(world, THERE, two, b"old")
    assert len(world.outcomes) == 1
    _, item = world.take()
    answer(world, THERE, item, b"newer")
    assert world.outcomes[1:] == [[b"newer"]]


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


class Step(Ordered):
    """Ends at once when it may go on, as a refused write does."""

    def __init__(self, turns: Turns, number: int, ended: list[int]) -> None:
        super().__init__()
        self.turns, self.number, self.ended = turns, number, ended

    def go_on(self) -> None:
        assert self.after is None, "it would wait again for what has ended"
        self.finished = True
        self.ended.append(self.number)
        self.turns.end(self)


def test_followers_go_on_in_their_order_also_those_of_followers() -> None:
    turns, ended = Turns(), []
    steps = [Step(turns, number, ended) for number in range(6)]
    for later, earlier in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
        steps[later].after = steps[earlier]
        steps[later].wait_for(steps[earlier])
    steps[0].go_on()
    assert ended == [0, 1, 2, 3, 4, 5]


def test_an_error_in_one_does_not_stop_the_turns_for_ever() -> None:
    turns, ended = Turns(), []
    broken = Step(turns, 0, ended)
    broken.turns = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        turns.take([broken])
    turns.take([Step(turns, 1, ended)])
    assert ended == [0, 1]


def test_an_answer_that_comes_before_an_earlier_read_has_its_value_is_asked_for_again() -> None:
    """The value of the large item that it found may be gone: then it sees a newer state."""
    world = World()
    world.lead(THERE)
    first = world.read()
    second = world.read(after=first)
    world.pass_ms(1)
    items = [item for _, item in world.sent]
    world.sent.clear()
    first.is_unsettled = True  # As its client does that hears of the item.
    answer(world, THERE, items[0], b"large")
    answer(world, THERE, items[1], b"old")
    assert world.outcomes == [[b"large"]]
    assert not second.finished
    settle(first, True)
    _, again = world.take()
    answer(world, THERE, again, b"new")
    assert world.outcomes == [[b"large"], [b"new"]]


def test_an_answer_from_before_a_repeated_read_is_asked_for_again() -> None:
    """It was under way while the value of an earlier one was found to be gone, and read again."""
    world = World()
    world.lead(THERE)
    first = world.read()
    second = world.read(after=first)
    world.pass_ms(1)
    items = [item for _, item in world.sent]
    world.sent.clear()
    first.is_unsettled = True
    answer(world, THERE, items[0], b"large")
    settle(first, True)
    answer(world, THERE, items[1], b"old")
    assert not second.finished
    _, again = world.take()
    answer(world, THERE, again, b"new")
    assert world.outcomes == [[b"large"], [b"new"]]


def test_an_answer_that_comes_after_an_earlier_value_is_taken() -> None:
    world = World()
    world.lead(THERE)
    first = world.read()
    second = world.read(after=first)
    world.pass_ms(1)
    items = [item for _, item in world.sent]
    world.sent.clear()
    first.is_unsettled = True
    answer(world, THERE, items[0], b"large")
    settle(first, False)
    answer(world, THERE, items[1], b"old")
    assert second.finished
    assert world.outcomes == [[b"large"], [b"old"]]
