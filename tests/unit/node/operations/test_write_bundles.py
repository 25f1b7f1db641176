"""Writes that leave for another node together."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import BEHIND_WAITING, Failure
from quorumcache.node.operations.write_bundles import BUNDLE_BYTES, WRITE_COST_BYTES, WriteBundles
from quorumcache.node.peers.items import (
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_RESULT,
    FORWARD_WRITE,
    FORWARD_WRITES,
    WRITES_FORM,
    WRITES_MAX,
)
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.results import STORED
from tests.support.coordinator_world import ELSEWHERE, GROUP, HERE, THERE, World


@pytest.fixture
def world() -> World:
    """A node with a session in a group that another one leads."""
    world = World()
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)
    answer(world, world.take()[1][1])
    assert world.outcomes == [STORED]
    world.outcomes.clear()
    return world


def answer(world: World, request_id: int, result: Any = STORED) -> None:
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, request_id, result))


def keys(item: tuple[Any, ...]) -> list[bytes]:
    """Of the commands of a FORWARD_WRITES."""
    assert item[0] == FORWARD_WRITES
    return [write[4][4] for write in item[1]]


def test_the_writes_of_a_turn_are_one_item_and_are_answered_one_by_one(world: World) -> None:
    first = world.set(b"a")
    world.set(b"b", after=first)
    world.set(b"c")
    node_id, item = world.take()
    assert (node_id, keys(item)) == (THERE, [b"a", b"b", b"c"])
    for request_id, group_id, size, retry, command in item[1]:
        assert (group_id, size, retry, command[3]) == (GROUP, 10, False, OP_SET)
        answer(world, request_id)
    assert world.outcomes == [STORED] * 3


def test_a_single_one_is_sent_as_ever(world: World) -> None:
    world.set(b"a")
    assert world.take()[1][0] == FORWARD_WRITE


def test_a_write_that_comes_in_a_later_turn_waits_for_the_earlier_one(world: World) -> None:
    first = world.set(b"a")
    _, item = world.take()
    world.set(b"b", after=first)
    assert world.sent == []
    answer(world, item[1])
    assert world.take()[1][5][4] == b"b"


def test_a_node_that_does_not_know_the_item_gets_each_write_by_itself(world: World) -> None:
    world.forms[THERE] = WRITES_FORM - 1
    first = world.set(b"a")
    world.set(b"b", after=first)
    world.set(b"c")
    assert [item[0] for _, item in world.sent] == [FORWARD_WRITE] * 2
    assert [item[5][4] for _, item in world.sent] == [b"a", b"c"]


def test_what_is_relayed_goes_by_itself(world: World) -> None:
    forwards, leaders = world.coordinator.forwards, world.coordinator.leaders
    leaders.way_to = lambda group_id: (THERE, True)  # type: ignore[method-assign]
    first = world.set(b"a")
    world.set(b"b", after=first)
    assert not forwards.writes.open
    assert [item[0] for _, item in world.sent] == [FORWARD_RELAY]


def test_a_write_does_not_follow_by_another_way(world: World) -> None:
    first = world.set(b"a")
    leaders = world.coordinator.leaders
    leaders.way_to = lambda group_id: (ELSEWHERE, False)  # type: ignore[method-assign]
    world.set(b"b", after=first)
    assert [item[5][4] for _, item in world.sent] == [b"a"]


def test_a_full_bundle_leaves_at_once(world: World) -> None:
    last = None
    for number in range(WRITES_MAX + 2):
        last = world.set(b"%d" % number, after=last)
    (_, item), *others = world._sent
    assert (len(item[1]), others) == (WRITES_MAX, [])
    assert not world.coordinator.forwards.writes.open, "the next one has to wait"
    world._sent.clear()
    for write in item[1]:
        answer(world, write[0])
    assert keys(world.take()[1]) == [b"%d" % (WRITES_MAX + number) for number in range(2)]


def test_so_does_one_of_large_values() -> None:
    sent: list[Any] = []

    class Peers:
        def send(self, node_id: int, item: Any) -> bool:
            sent.append(item)
            return True

    class Write:
        group_id, uncertain, size = GROUP, False, BUNDLE_BYTES // 2 - WRITE_COST_BYTES

        def command(self) -> tuple[Any, ...]:
            return ()

    peers: Any = Peers()
    write: Any = Write()
    bundles = WriteBundles(peers)
    assert [bundles.add(THERE, number, write).is_full for number in (1, 2)] == [False, True]
    assert bundles.send(THERE) == []
    assert [kind for kind, _ in sent] == [FORWARD_WRITES]


def test_without_a_connection_they_were_certainly_not_executed(world: World) -> None:
    first = world.set(b"a")
    second = world.set(b"b", after=first)
    world.up.clear()
    assert world.sent == []
    assert not any(each.uncertain or each.in_flight for each in (first, second))
    assert not world.coordinator.forwards.under_way
    world.up.add(THERE)
    world.coordinator.peer_up(THERE)
    assert keys(world.take()[1]) == [b"a", b"b"], "together again, in their order"


@pytest.mark.parametrize("is_down", [True, False])
def test_what_has_not_left_when_its_way_goes_leaves_by_another(world: World, is_down: bool) -> None:
    first = world.set(b"a")
    second = world.set(b"b", after=first)
    if is_down:
        world.coordinator.peer_down(THERE)
        world.lead(ELSEWHERE)
    else:
        world.lead(HERE)
    assert not any(each.uncertain for each in (first, second))
    if is_down:
        node_id, item = world.take()
        assert (node_id, keys(item)) == (ELSEWHERE, [b"a", b"b"])
    else:
        assert [command[4] for command in world.group.submitted] == [b"a", b"b"]
        assert world.sent == [], "it would be executed twice if it had no session"


def test_what_expires_before_it_leaves_does_not_leave(world: World) -> None:
    world.set(b"a")
    world.set(b"b")
    world.clock.ns += 1
    world.set(b"c")
    world.clock.ns += 5000 * 1_000_000 - 1
    world.coordinator.deadlines.expire(world.clock.ns)
    assert [type(outcome) for outcome in world.outcomes] == [Failure] * 2
    assert world.take()[1][5][4] == b"c"


def refuse(world: World, request_id: int, why: str) -> None:
    world.coordinator.on_forward(THERE, (FORWARD_REFUSED, request_id, THERE, why))


def test_what_was_behind_a_waiting_write_of_others_goes_by_itself(world: World) -> None:
    """They may all be for the key that a transaction holds. In bundles each would be sent as often
    as there are others before it."""
    for _ in range(100):
        world.set(b"held")
    _, item = world.take()
    for request_id, *_ in item[1][1:]:  # The first one waits there.
        refuse(world, request_id, BEHIND_WAITING)
    again = [item for _, item in world.sent]
    assert [item[0] for item in again] == [FORWARD_WRITE] * 99


def test_what_waits_behind_such_a_write_leaves_with_others_again(world: World) -> None:
    world.set(b"held")
    newest = None
    for key in (b"a", b"b", b"c"):
        newest = world.set(key, after=newest)
    _, item = world.take()
    for request_id, *_ in item[1][1:]:
        refuse(world, request_id, BEHIND_WAITING)
    first = world.take()[1]
    assert (first[0], first[5][4]) == (FORWARD_WRITE, b"a")
    answer(world, first[1])
    assert keys(world.take()[1]) == [b"b", b"c"]


def test_what_goes_again_does_not_overtake_an_earlier_one_that_is_gathered(world: World) -> None:
    first = world.set(b"a")
    world.set(b"b", after=first)
    _, item = world.take()
    (first_id, *_), (second_id, *_) = item[1]
    refuse(world, first_id, "no room")
    world.coordinator.sweep()
    refuse(world, second_id, BEHIND_WAITING)
    assert keys(world.take()[1]) == [b"a", b"b"]
