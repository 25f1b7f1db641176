"""Goal: no node gets a command that it does not know, and a new cluster answers no error."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.new_ops import FIRST_NEW_OP, NEEDS_UPGRADE
from quorumcache.node.store.commands import (
    COMMANDS,
    OP_DROP_PIECES,
    OP_EVICT,
    OP_META_DELETE,
    OP_META_GET,
    OP_PIECE,
    OP_STORE_PIECES,
)
from quorumcache.node.store.results import NOT_FOUND, STORED
from tests.support.coordinator_world import (
    ELSEWHERE,
    GROUP,
    HERE,
    THERE,
    World,
)


def new_world() -> World:
    """No map is known yet."""
    world = World()
    world.may_use_new_ops = False
    return world


def delete(world: World, after: Any = None) -> Any:
    """`md k`."""
    args = (b"", 0, 0, -1, 0)
    return world.coordinator.write(
        GROUP, OP_META_DELETE, b"k", args, 1, world.outcomes.append, after
    )


def learn(world: World, *, form: int) -> None:
    """The map, which puts the group on all nodes."""
    world.replicas = (HERE, THERE, ELSEWHERE)
    world.may_use_new_ops = form > 1


def test_the_new_commands_have_the_largest_numbers() -> None:
    """Releases before form 2 know OP_EVICT and all below it, of those that clients send."""
    new = {op for op in COMMANDS if op >= FIRST_NEW_OP}
    assert {OP_META_GET, OP_PIECE, OP_STORE_PIECES, OP_DROP_PIECES} <= new
    assert FIRST_NEW_OP == OP_EVICT + 1


def test_before_there_is_a_map_it_is_held_and_then_done() -> None:
    world = new_world()
    write = delete(world)
    world.coordinator.sweep()
    assert not world.outcomes
    assert write.session is None
    learn(world, form=2)
    world.lead(HERE)
    for _ in range(2):  # The node's session in the group, then the write.
        world.group.commit()
    assert world.outcomes == [NOT_FOUND]


def test_a_later_write_of_the_connection_stays_behind_it() -> None:
    world = new_world()
    world.set(after=delete(world))
    learn(world, form=2)
    world.lead(HERE)
    for _ in range(3):
        world.coordinator.sweep()
        world.group.commit()
    assert world.outcomes == [NOT_FOUND, STORED]


def test_if_the_map_is_of_form_1_it_is_refused_and_goes_nowhere() -> None:
    world = new_world()
    delete(world)
    learn(world, form=1)
    world.lead(THERE)
    (failure,) = world.outcomes
    assert isinstance(failure, Failure)
    assert (failure.why, failure.outcome_known) == (NEEDS_UPGRADE, True)
    assert not world.sent
    delete(world)
    assert len(world.outcomes) == 2, "at once"
    assert not world.sent


def test_without_a_map_the_deadline_ends_it() -> None:
    world = new_world()
    delete(world)
    world.clock.ns += 5_000_000_001
    world.coordinator.sweep()
    (failure,) = world.outcomes
    assert failure.outcome_known
    assert "had no leader for 5000 ms" in failure.why


@pytest.mark.parametrize(("form", "may_begin"), [(0, True), (1, False), (2, True)])
def test_values_in_pieces_begin_unless_a_map_says_that_some_nodes_do_not_know_them(
    form: int, may_begin: bool
) -> None:
    world = new_world()
    if form:
        learn(world, form=form)
    assert world.coordinator.new_ops.may_begin() == may_begin


def test_classic_commands_do_not_wait_for_it() -> None:
    world = new_world()
    learn(world, form=1)
    world.lead(HERE)
    world.set()
    for _ in range(2):
        world.group.commit()
    assert world.outcomes == [STORED]
