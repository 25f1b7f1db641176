"""Goal: what has gone wrong elsewhere when members of a cluster came, went or died does not go
wrong here. Method: one history for each kind of trouble, on the models of the other property tests.
"""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.consensus.values import Configuration, Role
from quorumcache.ring import ChangeRefused
from quorumcache.ring.node_info import DOWN
from quorumcache.ring.settings import dead_after_ms
from tests.support.clusters import make_node
from tests.support.moving_world import TICK_MS, MovingWorld, founded
from tests.support.raft_cluster import RaftCluster


def a_world(count: int, replication: int, directory: int) -> MovingWorld:
    nodes = [make_node(i + 1) for i in range(count)]
    return MovingWorld(founded(nodes, 8, replication, tuple(range(1, directory + 1))), Random(1))


def dead_ticks(world: MovingWorld) -> int:
    return dead_after_ms(dict(world.map.settings)) // TICK_MS + 1


def live(world: MovingWorld, ticks: int) -> None:
    """Time passes. No group loses the majority that it has."""
    for _ in range(ticks):
        before = has_majority(world)
        world.step_all()
        world.tick()
        assert has_majority(world) >= before


def has_majority(world: MovingWorld) -> set[int]:
    return {
        group_id
        for group_id, group in world.groups.items()
        if 2 * len(world.alive.intersection(group.voters)) > len(group.voters)
    }


# -- who is gone, and who goes --------------------------------------------------------------------


def test_nodes_that_restart_one_after_another_change_nothing() -> None:
    """Elsewhere each had to win its vote back for some seconds, and the last restart found none."""
    world = a_world(4, 3, 3)
    for node_id in sorted(world.alive):
        world.alive.discard(node_id)
        live(world, dead_ticks(world) - 2)
        world.alive.add(node_id)
        live(world, 1)
    assert world.map.epoch == 1


def test_deaths_one_after_another_do_not_shrink_the_directory() -> None:
    """Elsewhere the dead were tidied away until one node decided alone, and the others returned."""
    world = a_world(5, 3, 5)
    for node_id in (5, 4):
        world.alive.discard(node_id)
        live(world, 60)
    assert sorted(world.map.directory) == [1, 2, 3, 4, 5]
    world.alive.discard(3)
    live(world, 60)
    assert 0 not in has_majority(world), "two of five decide nothing"
    assert world.map.node(4).state == DOWN
    world.alive |= {3, 4, 5}
    world.settle()
    assert not world.map.moves


def test_a_dead_node_and_one_that_is_drained_take_no_live_replica_with_them() -> None:
    """Elsewhere a group seemed to have too many replicas then, and lost one that was needed."""
    world = a_world(7, 5, 5)
    world.alive.discard(2)
    live(world, dead_ticks(world) - 1)
    world.ask("drain", "n1")
    live(world, 400)
    assert not world.map.moves
    for group in world.groups.values():
        assert world.alive.issuperset(group.voters)
        assert len(group.voters) == 5
        assert not group.learners


def test_a_lost_node_is_replaced_in_a_cluster_that_has_no_node_to_spare() -> None:
    """Elsewhere groups stood still for days with two voters, a dead one and a learner."""
    world = a_world(3, 3, 3)
    world.alive.discard(3)
    live(world, dead_ticks(world))
    world.ask("replace", "n3")
    world.join("n3")
    live(world, 200)
    assert (world.map.moves, world.map.change) == ((), "")
    for group in world.groups.values():
        assert (sorted(group.voters), group.learners) == ([1, 2, 4], [])


def test_what_operators_ask_for_is_heard_while_nodes_die() -> None:
    """Elsewhere moves that followed from one another kept every other request waiting."""
    world = a_world(6, 3, 5)
    world.ask("drain", "n6")
    live(world, 2)
    assert world.map.moves
    world.alive.discard(5)
    live(world, dead_ticks(world))
    with pytest.raises(ChangeRefused, match="a change is under way: drain n6"):
        world.ask("remove", "n5", "force")
    world.ask("cancel")
    world.ask("remove", "n5", "force")
    live(world, 300)
    assert not world.map.moves
    assert [node.name for node in world.map.nodes] == ["n1", "n2", "n3", "n4", "n6"]


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_change_is_cancelled_while_most_of_where_it_came_from_is_silent(steps: int) -> None:
    """Elsewhere the old nodes were given the group back unasked, and it had no leader."""
    world = a_world(6, 3, 3)
    world.ask("drain", "n1")
    for _ in range(steps):
        world.step_all()
        world.tick()
    moves = [move for move in world.map.moves if move.decided and move.group_id]
    world.alive.difference_update(moves[0].removed if moves else ())
    world.alive.discard(2)
    world.ask("cancel")
    live(world, 400)
    world.alive |= {node.node_id for node in world.map.nodes}
    world.settle()
    assert not world.map.moves


# -- who stood still ------------------------------------------------------------------------------


def test_a_leader_that_stood_still_gets_nothing_from_a_replica_that_was_born_meanwhile() -> None:
    """Elsewhere a node that came back under its old id was counted as the one that had left, or
    ended over what that one had acknowledged."""
    cluster = RaftCluster(3)
    old = cluster.elect(1)
    old.propose(b"before")
    cluster.pump()
    cluster.tick(5)
    cluster.isolate(1)
    awake = (2, 3)
    for _ in range(1000):
        cluster.tick(1, *awake)
        if (
            cluster[2].role is Role.LEADER
            and cluster[2].commit_index >= cluster[2].term_start_index
        ):
            break
        if cluster[3].role is Role.LEADER:
            cluster[3].transfer_leadership(2)
    leader = cluster[2]
    assert leader.role is Role.LEADER
    for replica in (4, 5):
        cluster.add(replica, Configuration(()))
    cluster.isolate(1)
    awake = (2, 3, 4, 5)
    leader.change_membership(Configuration((1, 2, 3), (4, 5)))
    cluster.tick(5, *awake)
    leader.change_membership(Configuration((2, 4, 5)))
    cluster.tick(5, *awake)
    assert leader.configuration == Configuration((2, 4, 5))
    # Node 3 removes its replica. It gets another one, which has not heard of its leader yet.
    promised = cluster.members[3].hard_state
    cluster.crash(3)
    cluster.add(3, Configuration(()))
    born = cluster.members[3]
    born.hard_state = promised
    born.start()
    # Replica 1 wakes up: it leads, as far as it knows, and only node 3 can be reached.
    assert old.role is Role.LEADER
    cluster.heal()
    cluster.isolate(1, 3)
    cluster.now_ns += 60_000_000_000
    old.propose(b"after")
    for _ in range(20):
        cluster.tick(1, 1, 3)
        assert not cluster.members[1].may_lease_read()
    assert old.role is not Role.LEADER
    assert b"after" not in cluster.members[1].state
