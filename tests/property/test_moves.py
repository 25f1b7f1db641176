"""Goal: whatever operators ask for and whichever nodes come, die and return, every map keeps every
group safe, and in the end everything is where it should be. Method: seeded random histories over
`MovingWorld`, whose leaders know old maps and whose reports are late."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from quorumcache.ring import ChangeRefused, place
from quorumcache.ring.directory_set import directory_size
from quorumcache.ring.draft import same_nodes
from quorumcache.ring.moves import next_map
from tests.support.clusters import make_node
from tests.support.moving_world import MovingWorld, founded

STEPS = 120


def a_world(seed: int) -> MovingWorld:
    rng = Random(seed)
    count = rng.choice([1, 2, 3, 3, 4, 5, 6, 8])
    zones = rng.choice([1, 1, 2, 3])
    nodes = [
        make_node(i + 1, f"z{i % zones}" if zones > 1 else "", rng.choice([1.0, 1.0, 2.0]))
        for i in range(count)
    ]
    replication = rng.choice([1, 3, 3, 3, 5])
    directory = tuple(range(1, directory_size(count) + 1))
    return MovingWorld(founded(nodes, 1 << rng.randint(2, 4), replication, directory), rng)


def disturb(world: MovingWorld, step: int) -> None:
    """One thing that operators, machines or time do."""
    rng = world.rng
    names = [node.name for node in world.map.nodes]
    name = rng.choice(names)
    node = world.map.node_named(name)
    assert node is not None
    kind = rng.randrange(16)
    if kind == 0 and len(names) < 10:
        world.join(f"j{step}", rng.choice(["", "z0", "z1"]), rng.choice([0.0, 1.0, 1.0, 2.0]))
    elif kind == 1:
        world.ask("drain", name)
    elif kind == 2:
        world.ask("remove", name, "force")
        world.alive.discard(node.node_id)
    elif kind == 3:
        world.ask("replace", name)
        world.alive.discard(node.node_id)
        if rng.random() < 0.7:
            world.join(name, node.zone, node.weight)
    elif kind == 4:
        zone = f"new-zone=z{step % 3}"
        world.ask("node", name, f"weight={rng.choice([0, 1, 1, 2, 3])}", zone)
    elif kind == 5:
        world.ask("settings", f"replication={rng.choice([1, 3, 3, 5])}")
    elif kind == 6:
        world.ask(rng.choice(["pause", "resume", "resume"]))
    elif kind == 7 and rng.random() < 0.5:
        world.ask("cancel")
    elif kind == 8:
        world.ask("rebalance")
    elif kind in (9, 10) and len(world.alive) > len(names) - 2:
        world.alive.discard(node.node_id)
    elif kind in (11, 12, 13) and node.state != "lost":
        world.alive.add(node.node_id)
    elif kind == 14:
        world.full_ms.setdefault(node.node_id, 0)
    elif kind == 15:
        world.full_ms.clear()


def everyone_returns(world: MovingWorld) -> None:
    world.full_ms.clear()
    world.alive |= {node.node_id for node in world.map.nodes if node.state != "lost"}
    world.ask("resume")


def check_end(world: MovingWorld) -> None:
    """Everything is where it should be, and stays there."""
    cluster_map = world.map
    placeable = [node for node in cluster_map.nodes if node.is_placeable]
    sets = cluster_map.replica_sets
    assert not cluster_map.moves
    assert not cluster_map.change
    assert next_map(cluster_map, world.view()) is None
    assert {node.state for node in cluster_map.nodes} <= {"active", "drained", "draining"}
    for group_id, group in world.groups.items():
        assert same_nodes(group.voters, cluster_map.replica_set(group_id))
        assert not group.learners
    ids = {node.node_id for node in placeable}
    if all(ids.issuperset(replicas) for replicas in sets):
        expected = place(placeable, cluster_map.shard_count, cluster_map.replication, present=sets)
        assert sets == expected
    else:  # Draining nodes keep what nobody else can take.
        assert len(placeable) < cluster_map.replication
    if ids.issuperset(cluster_map.directory):
        assert len(cluster_map.directory) == directory_size(len(placeable))


def play(seed: int) -> MovingWorld:
    """A history: of disturbances in a hurry, or of few that have time to end."""
    world = a_world(seed)
    hurry = world.rng.choice([0.5, 0.15, 0.04])
    for step in range(STEPS):
        if world.rng.random() < hurry:
            with suppress(ChangeRefused):
                disturb(world, step)
        if world.rng.random() < 0.8:
            world.step_all(late=True)
        if world.rng.random() < 0.8:
            world.tick(late=True)
    return world


@pytest.mark.parametrize("seed", range(60))
def test_every_history_is_safe_and_ends_well(seed: int) -> None:
    world = play(seed)
    everyone_returns(world)
    word, _, name = world.map.change.partition(" ")
    if word == "replace" and world.map.node_named(name) is None:
        world.ask(
            "cancel"
        )  # Its successor does not come, and a living replica stays until it does.
        everyone_returns(world)
    world.settle()
    world.ask("rebalance")
    world.settle()
    check_end(world)


def test_the_histories_contain_what_they_are_to_test() -> None:
    seen: Counter[str] = Counter()
    for seed in range(30):
        history = play(seed).history
        for old, new in pairwise(history):
            left = {node.node_id for node in old.nodes} - {node.node_id for node in new.nodes}
            seen.update(f"{old.node(node_id).state} left" for node_id in left)
            for node in new.nodes:
                before = next((n for n in old.nodes if n.node_id == node.node_id), node)
                if before.state != node.state:
                    seen[f"{before.state} to {node.state}"] += 1
            for move in old.moves:
                after = new.move_of(move.group_id)
                if after is None and same_nodes(new.replica_set(move.group_id), move.target):
                    seen["completed"] += 1
                elif after is None:
                    seen["dropped"] += 1
                elif move.decided and after.decided > move.decided:
                    seen["turned"] += 1
            if new.replication != old.replication:
                seen["factor"] += 1
    assert {
        *("completed", "dropped", "turned", "factor", "drained left", "lost left"),
        *("joining to active", "active to down", "down to active", "active to draining"),
        *("draining to drained", "draining to active", "down to lost"),
    } <= set(seen), seen


@pytest.mark.parametrize("seed", range(30))
def test_a_cancelled_move_ends_where_it_came_from(seed: int) -> None:
    rng = Random(seed)
    nodes = [make_node(i + 1) for i in range(5)]
    world = MovingWorld(founded(nodes, 8, 3, (1, 2, 3, 4, 5)), rng)
    before = world.map
    words = [("drain", "n2"), ("node", "n2", "weight=0"), ("settings", "replication=5")]
    world.ask(*rng.choice(words))
    for _ in range(rng.randrange(12)):
        world.step_all(late=True)
        world.tick(late=True)
    left = [move.group_id for move in world.map.moves]
    if not left:
        return
    world.ask("cancel")
    assert world.map.replication == 3
    assert all(node.is_placeable for node in world.map.nodes)
    for group_id in left:
        move = world.map.move_of(group_id)
        wanted = world.map.replica_set(group_id) if move is None else move.target
        assert same_nodes(wanted, before.replica_set(group_id))
    world.settle()
    for group_id in left:
        assert same_nodes(world.map.replica_set(group_id), before.replica_set(group_id))
        assert same_nodes(world.groups[group_id].voters, before.replica_set(group_id))
    assert not world.map.change
