"""Reads of pieces: here, from the node that answered with the item, from the leader."""

from typing import Any

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.peers.items import FORWARD_ITEMS, FORWARD_READ, FORWARD_REFUSED
from quorumcache.node.store.commands import OP_PIECE, OP_SET, OP_STORE_PIECES
from quorumcache.node.store.item import value_id
from tests.support.coordinator_world import ELSEWHERE, GROUP, HERE, THERE, World
from tests.support.item_tables import item_of


def stored(world: World) -> int:
    world.group.machine.apply(
        1,
        1,
        [
            (0, 0, 0, OP_PIECE, b"k", 1, 0, 3, b"ab"),
            (0, 0, 0, OP_PIECE, b"k", 1, 1, 3, b"c"),
            (0, 0, 0, OP_STORE_PIECES, b"k", 1, (OP_SET, b" 0 3\r\n", 0)),
        ],
    )
    return value_id(item_of(world.group.machine.items, b"k"))


def begin(world: World, number: int, position: int, source: int) -> None:
    coordinator = world.coordinator
    coordinator.pieces.begin(
        coordinator, GROUP, b"k", number, position, source, world.outcomes.append
    )


def asked(world: World) -> tuple[int, tuple[Any, ...]]:
    node_id, item = world.take()
    assert item[0] == FORWARD_READ
    return node_id, item


def test_a_replica_here_answers_at_once_leader_or_not() -> None:
    world = World()
    world.lead(THERE)
    number = stored(world)
    begin(world, number, 1, ELSEWHERE)
    assert world.outcomes == [[b"c"]]
    assert world.sent == []


def test_the_leader_knows_that_a_value_is_gone() -> None:
    world = World()
    world.lead(HERE)
    begin(world, 3, 0, THERE)
    assert world.outcomes == [[None]]


def test_the_node_that_answered_with_the_item_is_asked_then_the_leader() -> None:
    world = World()
    world.lead(THERE)
    begin(world, 3, 7, ELSEWHERE)
    node_id, item = asked(world)
    assert node_id == ELSEWHERE
    assert item[2:] == (GROUP, (b"k",), ANY_STALENESS_NS, 3, 7)
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_REFUSED, item[1], THERE, "not the leader"))
    node_id, item = asked(world)
    assert (node_id, item[5:]) == (THERE, (3, 7))
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (b"piece",)))
    assert world.outcomes == [[b"piece"]]


def test_a_source_that_is_lost_is_not_asked_again() -> None:
    world = World()
    world.lead(THERE)
    begin(world, 3, 7, ELSEWHERE)
    asked(world)
    world.up.discard(ELSEWHERE)
    world.coordinator.peer_down(ELSEWHERE)
    world.pass_ms(200)
    node_id, item = world.sent[-1]
    assert (node_id, item[0]) == (THERE, FORWARD_READ)
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (None,)))
    assert world.outcomes == [[None]]


def test_a_piece_that_nobody_answers_fails_at_its_deadline() -> None:
    world = World()
    begin(world, 3, 0, 0)
    world.pass_ms(5001)
    (outcome,) = world.outcomes
    assert isinstance(outcome, Failure)
    assert outcome.outcome_known


def test_what_other_nodes_ask_is_answered_by_any_replica_or_refused() -> None:
    world = World()
    world.lead(THERE)
    number = stored(world)
    serve = world.coordinator.on_forward
    serve(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",), 1, number, 0))
    assert world.take() == (ELSEWHERE, (FORWARD_ITEMS, 9, (b"ab",)))
    serve(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",), 1, number + 2, 0))
    assert world.take()[1][:3] == (FORWARD_REFUSED, 9, THERE)
    world.lead(HERE)
    serve(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",), 1, number + 2, 0))
    assert world.take() == (ELSEWHERE, (FORWARD_ITEMS, 9, (None,)))


def test_a_value_is_kept_for_the_node_that_was_given_its_item() -> None:
    world = World()
    world.lead(HERE)
    number = stored(world)
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    assert world.take()[1][0] == FORWARD_ITEMS
    world.group.machine.drop_all()
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_READ, 9, GROUP, (b"k",), 1, number, 1))
    assert world.take() == (ELSEWHERE, (FORWARD_ITEMS, 9, (b"c",)))
