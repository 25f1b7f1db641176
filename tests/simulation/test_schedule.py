"""Schedules of faults: drawn, written, read, executed again; and what is said of bad ones."""

import json
from random import Random

import pytest

from tests.simulation.faults import (
    CLOCK_DRIFT_PPM,
    DEFAULT_WEIGHTS,
    KINDS,
    Shape,
    draw_faults,
)
from tests.simulation.nemesis import Nemesis
from tests.simulation.schedule import (
    Fault,
    Schedule,
    ScheduleError,
    parse_schedule,
    read_schedule,
    write_schedule,
)
from tests.simulation.world import World, WorldConfig

SHAPE = Shape(("n1", "n2", "n3"), ("c1", "r1"))
GOOD = Schedule(
    seed=3,
    faults=(
        Fault(20, "kill", {"who": "n2", "seconds": 0.5}),
        Fault(30, "wall_jump", {"who": "n1", "by_ms": -30}),
    ),
)


def drawn(seed: int) -> tuple[Fault, ...]:
    weights = {name: max(1, weight) for name, weight in DEFAULT_WEIGHTS.items()}
    return draw_faults(Random(seed), SHAPE, weights, seconds=60.0, calm_seconds=0.05)


def test_every_kind_of_fault_can_be_executed():
    """The table and the methods of the nemesis name the same kinds."""
    assert not [name for name in KINDS if not hasattr(Nemesis, "_" + name)]
    assert {fault.name for fault in drawn(1)} == set(KINDS)


def test_what_is_drawn_can_be_written_and_read():
    """Every drawn parameter passes the check of the reader, and nothing is lost."""
    for seed in range(5):
        schedule = Schedule(seed=seed, faults=drawn(seed), fault_seconds=60.0)
        assert parse_schedule(schedule.to_text()) == schedule


def test_a_schedule_runs_as_it_was_drawn(tmp_path):
    """Replaying the file of a seed gives the same run as the seed."""
    config = WorldConfig(seed=8, node_count=0, fault_seconds=1.0)
    world = World(config)
    path = tmp_path / "sub" / "seed-8.json"
    write_schedule(path, world.schedule)
    again = World(WorldConfig.of(read_schedule(path)))
    assert world.schedule.faults
    assert world.run().digest == again.run().digest


def test_leaving_out_a_fault_does_not_change_the_others():
    full = World(WorldConfig(seed=8, fault_seconds=2.0)).schedule
    less = Schedule(seed=8, fault_seconds=2.0, faults=full.faults[1:])
    assert World(WorldConfig.of(less)).schedule.faults == full.faults[1:]


def test_the_clocks_keep_to_what_a_lease_allows():
    """The bound is tight: one step more, and two clocks would differ by more than 10,000 ppm."""

    def differ_ppm(ppm: int) -> float:
        return ((1 + ppm / 1e6) / (1 - ppm / 1e6) - 1) * 1e6

    assert differ_ppm(CLOCK_DRIFT_PPM) <= 10_000 < differ_ppm(CLOCK_DRIFT_PPM + 1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "format 2, this version reads format 1"),
        ({"seed": -1}, "seed: -1 is not a whole number"),
        ({"seed": True}, "seed: True is not a whole number"),
        ({"shards": 3}, "shards: 3 is neither 0 nor a power of two"),
        ({"extra": 1}, "unknown extra"),
        ({"fault_seconds": "x"}, "fault_seconds: 'x' is not a number"),
        ({"faults": {}}, "faults: not a list"),
        ({"faults": [7]}, "fault 1: not an object"),
        ({"faults": [{"at_ms": 1, "fault": "flood"}]}, "no fault 'flood'; known: be_away, bit_rot"),
        ({"faults": [{"at_ms": 1, "fault": "kill", "who": "n1"}]}, r"fault 1 \(kill\): no seconds"),
        (
            {"faults": [{"at_ms": 1, "fault": "kill", "who": "n9", "seconds": 1}]},
            "there is no node 'n9' among 3",
        ),
        (
            {"faults": [{"at_ms": -1, "fault": "kill", "who": "n1", "seconds": 1}]},
            "at_ms: -1 is not a whole number",
        ),
        (
            {"faults": [{"at_ms": 1, "fault": "kill", "who": "n1", "seconds": 1, "why": 1}]},
            "unknown why",
        ),
        (
            {"faults": [{"at_ms": 1, "fault": "clock_rate", "who": "n1", "ppm": 9_000}]},
            "ppm: 9000 is not a whole number in -4975..4975",
        ),
    ],
)
def test_a_bad_schedule_is_refused_with_one_line(change, complaint):
    value = {**json.loads(GOOD.to_text()), **change}
    with pytest.raises(ScheduleError, match=complaint) as caught:
        parse_schedule(json.dumps(value))
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named():
    value = json.loads(GOOD.to_text())
    del value["nodes"]
    with pytest.raises(ScheduleError, match="no nodes; a schedule has"):
        parse_schedule(json.dumps(value))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ScheduleError, match=r"none\.json: cannot be read: No such file"):
        read_schedule(tmp_path / "none.json")
    (tmp_path / "half.json").write_text(GOOD.to_text()[:80])
    with pytest.raises(ScheduleError, match=r"half\.json: line .: no JSON"):
        read_schedule(tmp_path / "half.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScheduleError, match=r"bytes\.json: is not text"):
        read_schedule(tmp_path / "bytes.json")
