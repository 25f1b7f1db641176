"""What was sent to another node: who may answer, when it is repeated, how much there may be."""

import itertools
from typing import Any

import pytest

from quorumcache.node.clients.failures import failure_line
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.forwards import WRITE_BYTES_MAX
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.results import OK, STORED
from tests.support.coordinator_world import DATA, ELSEWHERE, GROUP, THERE, World


def begun(world: World) -> None:
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)


def test_only_the_node_that_was_asked_may_answer() -> None:
    world = World()
    world.lead(THERE)
    world.read()
    _, item = world.take()
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_ITEMS, item[1], (None,)))
    assert world.outcomes == []
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (None,)))
    assert world.outcomes == [[None]]


def test_each_item_is_followed_by_a_flush() -> None:
    world = World()
    world.lead(THERE)
    world.read()
    assert not world.is_left_behind
    world.take()
    world.set()
    assert not world.is_left_behind
    world.open_session_at(THERE)
    assert not world.is_left_behind
    assert len(world.sent) == 1


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


def test_a_forward_without_an_answer_is_repeated_less_and_less_often() -> None:
    world = World()
    begun(world)
    sent_ms = []
    for ms in range(0, 4900, 50):
        sent_ms += [ms for _, item in world.sent if item[0] == FORWARD_WRITE]
        world.sent.clear()
        world.pass_ms(50)
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent_ms)]
    assert len(sent_ms) == 3, sent_ms
    assert gaps[0] >= 1000
    assert gaps[1] >= 2000


def test_writes_without_an_answer_are_bounded_in_bytes_and_told_so() -> None:
    world = World()
    begun(world)
    large = WRITE_BYTES_MAX // 4
    for _ in range(8):
        world.coordinator.write(GROUP, OP_SET, b"k", (DATA, 0), large, world.outcomes.append)
    writes = [item for _, item in world.sent if item[0] == FORWARD_WRITE]
    assert sum(item[3] for item in writes) <= WRITE_BYTES_MAX + large
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, writes[1][1], STORED))
    world.sent.clear()
    world.pass_ms(50)
    assert [item[3] for _, item in world.sent] == [large], "room again, and the next is not sent"
    world.pass_ms(5000)
    lines = {failure_line(o) for o in world.outcomes if isinstance(o, Failure) and o.outcome_known}
    assert lines == {
        b"SERVER_ERROR not done: shard 4 did not accept the request within 5000 ms: too many "
        b"unanswered writes to the leader's node; retry more slowly\r\n"
    }
