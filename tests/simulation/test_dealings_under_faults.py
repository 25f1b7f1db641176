"""Transactions and locks over whole clusters under faults, by seed: a bank whose sum stays,
histories over many keys that are strictly serializable, and locks that one holder has at a time.

More seeds: `python -m tests.simulation --transactions --seeds 1..1000 --keep-going`; with
`--elastic` shards move meanwhile.
"""

from __future__ import annotations

from collections import Counter

from tests.simulation.campaign import make_world
from tests.simulation.schedule import Schedule, parse_schedule
from tests.simulation.world import World, WorldConfig

WANTED = (
    *(f"{kind}_{end}" for kind in ("transfer", "mix") for end in ("done", "refused", "unknown")),
    *("snapshot_done", "tally_done", "section_done", "section_refused"),
    *("cas_done", "add_done", "delete_done", "touch_done"),
    *("acquire_locked", "acquire_busy", "acquire_waiting", "release_released", "fences_stale"),
)


def config(seed: int, *, seconds: float = 4.0, elastic: bool = False) -> WorldConfig:
    """As the command has it."""
    return WorldConfig(
        seed=seed,
        fault_seconds=seconds,
        transactions=True,
        elastic=elastic,
        client_count=1,
        program_count=1,
    )


def test_they_keep_their_promises_under_faults() -> None:
    """A few seeds, until everything that clients do has come up, and has ended in every way."""
    totals: Counter[str] = Counter()
    for seed in range(1, 20):
        report = make_world(config(seed)).run()
        assert report.undecided == []
        totals.update(report.totals)
        missing = [word for word in WANTED if not totals[word]]
        if seed > 2 and not missing:
            return
    raise AssertionError(f"no seed has {missing}: {totals}")


def test_they_keep_them_while_shards_move() -> None:
    for seed in range(1, 20):
        report = make_world(config(seed, elastic=True)).run()
        assert report.undecided == []
        if report.totals["moves_completed"] and report.totals["snapshots_of_the_bank"]:
            return
    raise AssertionError("no seed moves a shard")


def test_some_of_all_seeds_have_them() -> None:
    """Of those without flushes, in which nothing is evicted."""
    worlds = [World(WorldConfig(seed=seed)) for seed in range(1, 60)]
    some = [world for world in worlds if world.dealings is not None]
    assert 3 <= len(some) <= 30
    assert not any(world.memory_is_limited for world in some)
    for world in worlds:
        world.loop.close()


def test_a_schedule_says_that_it_is_about_them() -> None:
    schedule = Schedule(seed=3, transactions=True, elastic=True)
    assert parse_schedule(schedule.to_text()) == schedule
    assert "transactions" not in Schedule(seed=3).to_text()
    world = World(WorldConfig.of(Schedule(seed=3, transactions=True)))
    assert world.dealings is not None
    assert "--transactions" in world.command()
    world.loop.close()


def test_a_run_is_a_function_of_its_seed() -> None:
    digests = [World(config(2, seconds=1.0)).run().digest for _ in range(2)]
    assert digests[0] == digests[1]
