"""Transactions and locks over whole clusters under faults, by seed: a bank whose sum stays,
histories over many keys that are strictly serializable, and locks that one holder has at a time.

More seeds: `python -m tests.simulation --transactions --seeds 1..1000 --keep-going`; with
`--elastic` shards move meanwhile.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.campaign import make_world
from tests.simulation.schedule import Schedule, parse_schedule
from tests.simulation.world import World, WorldConfig

SEEDS = range(1, 6)
ELASTIC_SEEDS = range(1, 3)
REGRESSIONS: tuple[int, ...] = ()
"""Seeds that once found something."""


def config(seed: int, *, elastic: bool = False) -> WorldConfig:
    """As the command has it."""
    return WorldConfig(
        seed=seed,
        fault_seconds=4.0,
        transactions=True,
        elastic=elastic,
        client_count=1,
        program_count=1,
    )


@pytest.mark.parametrize("seed", [*SEEDS, *REGRESSIONS])
def test_transactions_and_locks_keep_their_promises_under_faults(seed: int) -> None:
    report = make_world(config(seed)).run()
    assert report.undecided == []
    assert report.totals["snapshots_of_the_bank"]
    assert report.totals["fenced_commands"]


@pytest.mark.parametrize("seed", ELASTIC_SEEDS)
def test_they_keep_them_while_shards_move(seed: int) -> None:
    report = make_world(config(seed, elastic=True)).run()
    assert report.undecided == []
    assert report.totals["snapshots_of_the_bank"]


def test_all_kinds_come_up_and_end_in_every_way() -> None:
    totals: Counter[str] = Counter()
    for seed in range(1, 30):
        totals.update(make_world(config(seed)).run().totals)
        missing = [word for word in WANTED if not totals[word]]
        if not missing:
            return
    raise AssertionError(f"no seed has {missing}: {totals}")


WANTED = (
    *(f"{kind}_{end}" for kind in ("transfer", "mix") for end in ("done", "refused", "unknown")),
    *("snapshot_done", "tally_done", "section_done", "section_refused"),
    *("cas_done", "add_done", "delete_done", "touch_done"),
    *("acquire_locked", "acquire_busy", "acquire_waiting", "release_released", "fences_stale"),
)


def test_some_seeds_of_all_have_them() -> None:
    """Those without flushes, in which nothing is evicted."""
    worlds = [World(WorldConfig(seed=seed)) for seed in range(1, 60)]
    some = [world for world in worlds if world.dealings is not None]
    assert 3 <= len(some) <= 30
    assert not any(world.memory_is_limited for world in some)
    for world in worlds:
        world.loop.close()


def test_a_schedule_says_that_it_is_about_transactions() -> None:
    schedule = Schedule(seed=3, transactions=True, elastic=True)
    assert parse_schedule(schedule.to_text()) == schedule
    assert "transactions" not in Schedule(seed=3).to_text()
    world = World(WorldConfig.of(Schedule(seed=3, transactions=True)))
    assert world.dealings is not None
    assert "--transactions" in world.command()
    world.loop.close()


def test_a_run_is_a_function_of_its_seed() -> None:
    digests = [World(config(2)).run().digest for _ in range(2)]
    assert digests[0] == digests[1]
