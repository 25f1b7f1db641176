"""What clusters are drawn, and who of them may be gone for good."""

from itertools import combinations
from random import Random

from tests.simulation.shape import ClusterShape, draw_dead, draw_shape, has_majorities


def test_all_kinds_of_clusters_are_drawn() -> None:
    shapes = [draw_shape(Random(seed)) for seed in range(2_000)]
    assert {shape.nodes for shape in shapes} == set(range(1, 10))
    assert {shape.replication for shape in shapes} == set(range(1, 6))
    assert {len({*shape.zones}) for shape in shapes} == {1, 2, 3}
    assert any(shape.replication < shape.nodes for shape in shapes)
    assert max(shape.shards for shape in shapes if shape.nodes >= 6) <= 8


def test_what_is_given_does_not_change_what_else_is_drawn() -> None:
    drawn = draw_shape(Random(3))
    assert draw_shape(Random(3), nodes=drawn.nodes) == drawn
    given = draw_shape(Random(3), nodes=5, shards=16)
    assert (given.nodes, given.shards, given.replication) == (5, 16, drawn.replication)


def test_the_dead_leave_every_shard_its_majority() -> None:
    counts = set()
    for seed in range(500):
        shape = draw_shape(Random(seed))
        dead = [int(name[1:]) for name, _ in draw_dead(Random(seed + 10_000), shape)]
        counts.add(len(dead))
        sets = combinations(range(1, shape.nodes + 1), shape.replication_effective)
        assert has_majorities(sets, dead)
    assert counts == {0, 1, 2}
    assert not has_majorities([(1, 2, 3)], [1, 2])


def test_a_shape_in_words() -> None:
    shape = ClusterShape(nodes=3, replication=2, shards=4, zones=("z0", "z1", "z0"))
    assert shape.describe() == "3 nodes in 2 zones, replication 2, 4 shards"
