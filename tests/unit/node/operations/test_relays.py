"""Operations of other nodes on their way through this one."""

from quorumcache.node.operations.relays import RELAYS_MAX
from quorumcache.node.peers.items import (
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.store.commands import OP_DELETE
from quorumcache.node.store.results import STORED
from tests.support.coordinator_world import ELSEWHERE, GROUP, THERE, World


def test_what_is_relayed_is_passed_on_once_and_its_answer_goes_back() -> None:
    world = World()
    world.lead(ELSEWHERE)
    write = (FORWARD_WRITE, 9, GROUP, 1, False, (7, 1, 1, OP_DELETE, b"k"))
    world.coordinator.on_forward(THERE, (FORWARD_RELAY, 9, write))
    to, item = world.take()
    assert to == ELSEWHERE
    assert item[0] == FORWARD_WRITE, "a relay of a relay could go in a circle"
    assert item[2:] == write[2:]
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_RESULT, item[1], STORED))
    assert world.take() == (THERE, (FORWARD_RESULT, 9, STORED))
    assert world.coordinator.relays.count == 0


def test_a_relayed_write_whose_answer_is_lost_is_not_called_refused() -> None:
    world = World()
    world.lead(ELSEWHERE)
    write = (FORWARD_WRITE, 9, GROUP, 1, False, (7, 1, 1, OP_DELETE, b"k"))
    world.coordinator.on_forward(THERE, (FORWARD_RELAY, 9, write))
    world.take()
    world.coordinator.peer_down(ELSEWHERE)
    _, answer = world.take()
    assert answer[0] != FORWARD_REFUSED
    assert world.coordinator.relays.count == 0


def test_what_is_relayed_is_bounded_and_refused_beyond_that() -> None:
    world = World()
    world.lead(ELSEWHERE)
    world.coordinator.relays.count = RELAYS_MAX - 2
    for number in range(3):
        write = (FORWARD_WRITE, number, GROUP, 1, False, (7, number + 1, 1, OP_DELETE, b"k"))
        world.coordinator.on_forward(THERE, (FORWARD_RELAY, number, write))
    sent = [(to, item[0]) for to, item in world.sent]
    assert sent == [(ELSEWHERE, FORWARD_WRITE)] * 2 + [(THERE, FORWARD_REFUSED)]
    assert world.coordinator.relays.count == RELAYS_MAX
