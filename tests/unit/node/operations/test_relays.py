"""Operations of other nodes on their way through this one."""

from quorumcache.node.operations.failure import RELAY_WITHOUT_ANSWER
from quorumcache.node.operations.relays import RELAYS_MAX, TOO_MANY_RELAYS
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_READ,
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


def test_why_a_relay_is_refused_is_said_as_it_is() -> None:
    """A read that is refused for the number of relays is not told of bytes of writes."""
    world = World()
    world.lead(ELSEWHERE)
    world.coordinator.relays.count = RELAYS_MAX
    world.coordinator.on_forward(THERE, (FORWARD_RELAY, 9, (FORWARD_READ, 9, GROUP, (b"k",))))
    assert world.take() == (THERE, (FORWARD_REFUSED, 9, ELSEWHERE, TOO_MANY_RELAYS))


def test_a_relayed_read_without_an_answer_is_refused_and_may_be_asked_again() -> None:
    world = World()
    world.lead(ELSEWHERE)
    world.coordinator.on_forward(THERE, (FORWARD_RELAY, 9, (FORWARD_READ, 9, GROUP, (b"k",))))
    _, item = world.take()
    world.coordinator.peer_down(ELSEWHERE)
    assert world.take() == (THERE, (FORWARD_REFUSED, 9, 0, RELAY_WITHOUT_ANSWER))
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_ITEMS, item[1], (None,)))
    assert not world.sent, "answered twice"
    assert world.coordinator.relays.count == 0


def test_what_would_go_in_a_circle_is_answered_here() -> None:
    """The node that asks leads the group as far as this one knows."""
    world = World()
    world.lead(THERE)
    world.coordinator.on_forward(THERE, (FORWARD_RELAY, 9, (FORWARD_READ, 9, GROUP, (b"k",))))
    to, item = world.take()
    assert (to, item[0]) == (THERE, FORWARD_REFUSED)
