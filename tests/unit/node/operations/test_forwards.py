"""Forwards that are repeated, bounded and refused with a reason; on the world of the coordinator's
tests."""

import itertools
from typing import Any

from quorumcache.node.clients.failures import failure_line
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.forwards import WRITE_BYTES_MAX
from quorumcache.node.operations.relays import RELAYS_MAX
from quorumcache.node.peers.items import (
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_RESULT,
    FORWARD_WRITE,
    LEADERS_REPLY,
    LEADERS_REQUEST,
)
from quorumcache.node.replica.group import INFLIGHT_BYTES_MAX
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.results import STORED
from tests.unit.node.operations.test_coordinator import DATA, ELSEWHERE, GROUP, HERE, THERE, World

BUSY = "too many writes in flight for this shard; retry more slowly"


def begun(world: World) -> None:
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)


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
        b"writes wait for an answer of the leader's node; retry more slowly\r\n"
    }


def test_the_reason_of_a_refusal_is_told_at_the_deadline() -> None:
    world = World()
    begun(world)
    world.read()
    for _ in range(99):
        for _, item in list(world.sent):
            world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], THERE, BUSY))
        world.sent.clear()
        world.pass_ms(51)
    lines = [failure_line(outcome) for outcome in world.outcomes]
    line = (
        b"SERVER_ERROR not done: shard 4 did not accept the request within 5000 ms: "
        + BUSY.encode()
    )
    assert lines == [line + b"\r\n"] * 2


def test_a_busy_group_says_so_to_its_own_clients() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    submit = world.group.submit
    assert INFLIGHT_BYTES_MAX > 0

    def busy(command: Any, size: int, waiter: Any) -> None:
        waiter.on_refused(BUSY)

    world.group.submit = busy  # type: ignore[method-assign]
    world.set(b"other")
    world.pass_ms(5100)
    world.group.submit = submit  # type: ignore[method-assign]
    assert BUSY.encode() in failure_line(world.outcomes[-1])


# -- the way to the leader -------------------------------------------------------------------------


class Stranger(World):
    """A node without a replica of the group, which THERE, ELSEWHERE and node 4 hold."""

    def __init__(self) -> None:
        super().__init__()
        del self.groups[GROUP]
        self.up = {THERE, ELSEWHERE, 4}
        self.coordinator.leaders.preferred_leader = lambda group_id: THERE
        self.coordinator.leaders.replicas = lambda group_id: (THERE, ELSEWHERE, 4)

    def asked(self) -> list[int]:
        nodes = [node for node, item in self.sent if item[0] == LEADERS_REQUEST]
        self.sent.clear()
        return nodes


def test_live_replicas_are_asked_in_turn_while_the_preferred_leader_is_down() -> None:
    world = Stranger()
    world.up.discard(THERE)
    world.read()
    assert not world.sent
    asked = []
    for _ in range(4):
        world.pass_ms(100)
        asked += world.asked()
    assert sorted(set(asked)) == [ELSEWHERE, 4]
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, 4, 7),)))
    to, item = world.take()
    assert (to, item[0]) == (4, FORWARD_READ)


def test_an_older_term_and_a_leader_that_is_down_are_not_believed() -> None:
    world = Stranger()
    world.up.discard(THERE)
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, 4, 7),)))
    world.coordinator.on_forward(4, (LEADERS_REPLY, ((GROUP, ELSEWHERE, 6),)))
    world.read()
    to, item = world.take()
    assert to == 4
    world.coordinator.on_forward(4, (FORWARD_REFUSED, item[1], THERE, "not the leader"))
    assert not [to for to, _ in world.sent if to == THERE]


def test_a_leader_that_only_another_node_reaches_is_reached_through_it() -> None:
    world = Stranger()
    world.up.discard(THERE)
    world.read()
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, THERE, 7),)))
    to, item = world.take()
    assert (to, item[0], item[2][0]) == (ELSEWHERE, FORWARD_RELAY, FORWARD_READ)
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_REFUSED, item[1], 0, "no leader"))
    assert not world.sent, "the way was wrong, and is taken again"


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
