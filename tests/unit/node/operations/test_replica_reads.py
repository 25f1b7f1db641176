"""Reads that allow some staleness: at a replica here, or elsewhere."""

import pytest

from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.peers.items import FORWARD_READ
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.item import wire_data
from tests.support.coordinator_world import ELSEWHERE, GROUP, THERE, World


def read(world: World) -> None:
    world.coordinator.read(GROUP, (b"k",), world.outcomes.append, None, ANY_STALENESS_NS)


def test_a_replica_here_answers_whoever_leads() -> None:
    world = World()
    world.lead(THERE)
    world.group.machine.apply(1, 1, [(0, 0, 0, OP_SET, b"k", wire_data(0, b"x"), 0)])
    read(world)
    ((item,),) = world.outcomes
    assert item.endswith(wire_data(0, b"x"))
    assert world.sent == []


@pytest.mark.parametrize("up", [{THERE}, {ELSEWHERE}])
def test_without_one_any_node_that_has_one_is_asked(up: set[int]) -> None:
    world = World()
    del world.groups[GROUP]
    world.replicas, world.up = (THERE, ELSEWHERE), up
    read(world)
    node_id, item = world.take()
    assert ({node_id}, item[0], item[4]) == (up, FORWARD_READ, ANY_STALENESS_NS)


def test_without_any_the_leader_has_to_answer() -> None:
    world = World()
    del world.groups[GROUP]
    world.replicas, world.up = (THERE, ELSEWHERE), set()
    read(world)
    assert (world.outcomes, world.sent) == ([], [])
    world.up.add(THERE)
    world.pass_ms(50)
    assert world.take()[0] == THERE
