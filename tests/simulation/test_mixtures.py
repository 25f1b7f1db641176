"""A few kinds of faults together, drawn from the seed: what the mixture of all kinds brings up once
in many seeds comes up in each of these.
"""

from random import Random

import pytest

from tests.simulation.schedule import Fault, Schedule
from tests.simulation.world import World, WorldConfig

DIRECTORIES = {
    "wipe_directory": 2,
    "swap_directories": 1,
    "half_directory": 3,
    "restored_directory": 2,
    "restored_copy_decides": 2,
    "stolen_name": 1,
    "kill": 1,
    "power_cut_all": 1,
}
HOUR_MS = 3_600_000
TEN_YEARS_MS = 87_600 * HOUR_MS
ORIGIN_MS = 1_800_000_000_000
"""What wall clocks show in the beginning."""
ERROR_MS = 3_000
"""What elections, clocks that start apart, and a time that is taken over late may come to."""


@pytest.mark.parametrize("seed", range(1, 9))
def test_directories_that_are_not_what_their_nodes_left(seed: int) -> None:
    """They are refused, and nothing that was acknowledged is undone."""
    World(WorldConfig(seed=seed, fault_seconds=5.0, weights=DIRECTORIES)).run()


@pytest.mark.parametrize("seed", range(1, 9))
def test_time_goes_on_over_restarts_and_leaps(seed: int) -> None:
    """One wall clock leaps, for good or for a moment, a node is away, and all are down for long:
    cluster time is as long as it took, and Unix times are right.
    """
    random = Random(f"time goes on/{seed}")
    nodes = random.choice((2, 3, 3, 5))
    names = [f"n{number}" for number in range(1, nodes + 1)]
    # Of two clocks the one behind counts.
    by_ms = random.choice((HOUR_MS, TEN_YEARS_MS) + ((-HOUR_MS,) if nodes > 2 else ()))
    wrong = {"who": random.choice(names), "by_ms": by_ms}
    down_ms, away_ms = random.choice((6_000, 15_000)), random.choice((300, 5_000))
    leap = (
        Fault(random.choice((300, 900)), "wall_jump", wrong)
        if random.random() < 0.5
        else Fault(300, "wall_glitch", {**wrong, "seconds": 1.2})
    )
    order = random.sample(names, nodes)
    faults = (
        leap,
        Fault(1000, "power_cut_all", {"nodes": order, "stagger_ms": 50, "seconds": down_ms / 1000}),
        Fault(
            3000 + down_ms,
            "kill",
            {"who": random.choice(names), "seconds": away_ms / 1000},
        ),
    )
    schedule = Schedule(
        seed=seed,
        nodes=nodes,
        shards=2,
        fault_seconds=(4500 + down_ms + away_ms) / 1000,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_ms)),
    )
    config = WorldConfig.of(schedule)
    config.workload = {"expiring": 0.5, "registers": 3, "counters": 1, "pause_seconds": 0.05}
    world = World(config)
    world.run()
    passed_ms, readings = world.times.lived()
    assert max(abs(reading - passed_ms) for reading in readings) < ERROR_MS
    assert world.times.largest_leap_ms < ERROR_MS
    if nodes > 2:
        assert world.times.worst_wall_error_ms(ORIGIN_MS) < ERROR_MS
