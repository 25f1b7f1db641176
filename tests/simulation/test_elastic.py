"""Whole clusters whose nodes join, leave, move and die under faults, by seed.

More seeds: `python -m tests.simulation --elastic --seeds 1..1000 --keep-going`.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.elastic_faults import ALL_KINDS, ELASTIC_WEIGHTS, draw_elastic_faults
from tests.simulation.elastic_shape import draw_elastic_shape, draw_spares
from tests.simulation.elastic_world import ElasticWorld
from tests.simulation.fault_checks import check_fault
from tests.simulation.faults import Shape
from tests.simulation.schedule import SPARES, Fault, Schedule, parse_schedule
from tests.simulation.world import WorldConfig

SEEDS = range(1, 6)
REGRESSIONS: tuple[int, ...] = ()
"""Seeds that once found something."""


def run(*faults: Fault, seed: int = 1, nodes: int = 3, seconds: float = 8.0) -> ElasticWorld:
    """A run with these faults only."""
    schedule = Schedule(
        seed=seed, nodes=nodes, shards=4, fault_seconds=seconds, faults=faults, elastic=True
    )
    world = ElasticWorld(WorldConfig.of(schedule))
    world.run()
    return world


@pytest.mark.parametrize("seed", [*SEEDS, *REGRESSIONS])
def test_changes_break_no_promise_and_come_to_their_end(seed: int) -> None:
    """Safety while nodes come and go under faults, then everything is where it should be."""
    config = WorldConfig(seed=seed, fault_seconds=4.0, elastic=True)
    report = ElasticWorld(config).run()
    assert report.ok > 0
    assert report.promises > 0
    assert report.undecided == []


def test_nodes_join_and_leave_again() -> None:
    """Three become five, and three again."""
    names = ("n4", "n5")
    joins = [Fault(100 + 100 * n, "join", {"who": who, "pick": n}) for n, who in enumerate(names)]
    drains = [
        Fault(4_000 + 4_000 * n, "drain", {"who": who, "pick": n}) for n, who in enumerate(names)
    ]
    world = run(*joins, *drains, seconds=9.0)
    assert world.maps.completed > 0
    outcomes = [outcome for words, outcome, _ in world.operator.asked if "drain" in words]
    assert outcomes == ["done"] * 2
    assert {node.name for node in world.nodes if node.is_due} == {"n1", "n2", "n3"}


def test_a_lost_machine_is_replaced() -> None:
    fault = {"who": "n2", "then": "replace", "seconds": 0.5, "pick": 0}
    world = run(Fault(300, "lose_machine", fault))
    assert world.maps.newest is not None
    node = world.maps.newest.node_named("n2")
    assert node is not None
    assert node.node_id > 3


def test_nodes_that_move_at_once_find_each_other() -> None:
    """One of three stays where it was."""
    faults = [
        Fault(300 + 10 * n, "change_address", {"who": who, "seconds": 0.2, "power": False})
        for n, who in enumerate(("n1", "n2", "n3"))
    ]
    world = run(*faults, seconds=3.0)
    assert world.addresses_used == 2
    assert world.maps.newest is not None
    moved = [n.name for n in world.maps.newest.nodes if not n.peer_address.endswith(":7400")]
    assert moved == ["n1", "n2"]


def test_the_replicas_of_a_dead_node_are_rebuilt() -> None:
    """Four nodes, of which one stays away for longer than `dead-after-ms`."""
    for seed in range(1, 30):
        faults = (Fault(300, "be_away", {"who": "n4", "seconds": 8.0}),)
        schedule = Schedule(
            seed=seed, nodes=4, shards=4, fault_seconds=9.0, faults=faults, elastic=True
        )
        world = ElasticWorld(WorldConfig.of(schedule))
        if world.nodes[0].config.dead_after_ms <= 2_000 and world.shape.replication == 3:
            world.run()
            assert world.maps.completed > 0
            return
    raise AssertionError("no seed heals soon")


def test_a_run_is_a_function_of_its_seed() -> None:
    config = WorldConfig(seed=2, fault_seconds=3.0, elastic=True)
    digests = [ElasticWorld(config).run().digest for _ in range(2)]
    assert digests[0] == digests[1]


# -- what is drawn ---------------------------------------------------------------------------------


def test_every_kind_of_change_is_drawn_and_may_stand_in_a_file() -> None:
    shape = Shape(("n1", "n2", "n3", "n4", "n5", "n6"), ("c1",))
    drawn = set()
    for seed in range(60):
        for fault in draw_elastic_faults(Random(seed), shape, seconds=8.0):
            raw = {"at_ms": fault.at_ms, "fault": fault.name, **fault.parameters}
            assert check_fault(raw, 1, 3 + SPARES) == fault
            drawn.add(fault.name)
    assert {*ELASTIC_WEIGHTS} <= drawn <= {*ALL_KINDS}


def test_a_schedule_says_that_it_is_elastic() -> None:
    schedule = Schedule(seed=3, faults=(Fault(10, "join", {"who": "n5", "pick": 1}),), elastic=True)
    assert parse_schedule(schedule.to_text()) == schedule
    assert "elastic" not in Schedule(seed=3).to_text()


def test_all_kinds_of_clusters_are_drawn() -> None:
    shapes = [draw_elastic_shape(Random(seed)) for seed in range(300)]
    assert {shape.nodes for shape in shapes} == {1, 2, 3, 4, 5}
    assert {shape.replication for shape in shapes} == {1, 2, 3, 5}
    spares = [spare for seed in range(50) for spare in draw_spares(Random(seed), shapes[seed])]
    assert {spare.weight for spare in spares} == {0.0, 0.5, 1.0, 2.0}
    assert {spare.zone for spare in spares} > {"", "z0"}
