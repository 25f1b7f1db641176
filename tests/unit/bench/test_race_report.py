"""What a race found, from figures that are made up: medians, ratios of rounds, goals, warnings."""

from __future__ import annotations

import json
import math

import pytest

from quorumcache.bench import race_report
from quorumcache.bench.race import WORKS, Figures, Measured, find_works
from quorumcache.bench.race_load import Lap, Times
from quorumcache.bench.race_report import (
    WANTED,
    bar_groups,
    goal_lines,
    goals,
    head_line,
    race_data,
    race_picture,
    race_table,
    work_lines,
    work_notes,
)

NOTHING = Times(count=0, p50=0, p99=0, p999=0, max=0)


def measured(
    per_second: int,
    *,
    p99: float = 2.0,
    wrong: int = 0,
    load_cpu: float = 50,
    is_set: bool = False,
    cpu_us: float = 12.5,
    others: float = 3,
    filled: int = 0,
) -> Measured:
    kind = Times(count=2 * per_second, p50=p99 / 2, p99=p99, p999=p99, max=p99)
    lap = Lap(
        seconds=2,
        filled=filled,
        answered=3 * per_second,
        errors=0,
        wrong=wrong,
        misses=0,
        unanswered=0,
        load_cpu=load_cpu,
        first_error="wrong value: x" if wrong else "",
        get=NOTHING if is_set else kind,
        set=kind if is_set else NOTHING,
    )
    return Measured(lap=lap, cpu_us=cpu_us, ours_idle=7.0, others=others)


def figures(name: str, **laps: list[Measured]) -> Figures:
    return Figures(find_works([name])[0], laps)


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_medians() -> None:
    # The machine is slow in the first round, and twice as fast in the last.
    found = figures(
        "get1",
        quorumcache=[measured(100), measured(150), measured(300)],
        memcached=[measured(100), measured(300), measured(200)],
    )
    rows = race_report.work_rows(found)
    assert rows == [
        ("get1", "quorumcache", "150", "1.00", "2.00", "12.50", "-", "-"),
        ("", "memcached", "200", "1.00", "2.00", "12.50", "1.00", "1.00"),
    ]
    assert [len(row) for row in rows] == [len(race_report.COLUMNS)] * 2
    lines = [head_line(), *work_lines(found)]
    starts = [line.index(word) for line, word in zip(lines, ("server", "qu", "mem"), strict=True)]
    assert len(set(starts)) == 1


def test_on_a_busy_machine_processor_time_is_what_counts() -> None:
    found = figures(
        "get1",
        quorumcache=[measured(150, cpu_us=20, others=90)],
        memcached=[measured(100, cpu_us=10, others=80)],
    )
    assert race_report.work_rows(found)[1][-2:] == ("1.50", "0.50")
    assert race_data([found])["get1"]["memcached"]["cpu_ratio"] == 0.5
    notes = race_table([found], 1, 2.0).notes
    assert any("BUSY: other processes used 85 % of a processor" in note for note in notes)
    assert not any("goal: " in note for note in notes), "what it would say is not true"
    quiet = figures("get1", quorumcache=[measured(150)], memcached=[measured(9, cpu_us=0)])
    assert not any("BUSY" in note for note in race_table([quiet], 1, 2.0).notes)
    assert race_report.work_rows(quiet)[1][-1] == "nan", "too short to be seen"


def test_keys_are_counted_where_a_request_has_many() -> None:
    found = figures("mget50", quorumcache=[measured(10)], memcached=[measured(5)])
    (ours, theirs) = race_report.work_rows(found)
    assert (ours[2], theirs[2], theirs[6]) == ("500", "250", "2.00")
    assert (ours[5], race_data([found])["mget50"]["quorumcache"]["cpu_us"]) == ("0.25", 0.25)


def test_each_goal_is_held_against_its_peer() -> None:
    found = [
        figures("get1", quorumcache=[measured(96)], memcached=[measured(100)]),
        figures(
            "set50",
            quorumcache=[measured(70, p99=4.0, is_set=True)],
            memcached=[measured(900)],
            redis=[measured(100, p99=2.0, is_set=True)],
        ),
    ]
    assert goal_lines(goals(found)) == [
        "reached  get1, throughput by that of memcached: 0.96, goal: at least 0.95",
        "reached  set50, throughput by that of redis: 0.7, goal: at least 0.6",
        "MISSED   set50, throughput by that of redis, aim: 0.7, goal: at least 0.8",
        "MISSED   set50, p99 by that of redis: 2, goal: at most 1.5",
    ]


def test_without_peers_there_are_no_goals_and_no_ratios() -> None:
    found = [figures("get1", quorumcache=[measured(96)])]
    assert goals(found) == []
    table = race_table(found, 5, 2.0)
    assert table.rows == (("get1", "quorumcache", "96", "1.00", "2.00", "12.50", "-", "-"),)
    assert not any("idle nodes" in note for note in table.notes)
    assert "ratio" not in table.data["get1"]["quorumcache"]


def test_all_wanted_ratios_are_of_workloads_that_there_are() -> None:
    assert {wanted.work for wanted in WANTED} <= {work.name for work in WORKS}
    assert set(race_report.P99_WORKS) <= {work.name for work in WORKS}


def test_a_peer_that_answered_nothing_gives_no_ratio() -> None:
    found = figures("get1", quorumcache=[measured(96)], memcached=[measured(0)])
    assert math.isnan(race_report.ratio_to(found, "memcached", race_report.rate))
    (goal,) = goals([found])
    assert not goal.is_met
    data = json.loads(json.dumps(race_data([found]), allow_nan=False))
    assert data["get1"]["memcached"]["ratio"] is None
    assert bar_groups(data)[0].bars[0].ratio == 0.0


def test_what_went_wrong_is_told_and_so_is_a_busy_load() -> None:
    found = figures(
        "get1",
        quorumcache=[measured(96), measured(96, wrong=3)],
        memcached=[measured(9, load_cpu=99)],
    )
    assert found.faults == 3
    assert work_notes(found) == [
        "FAILED: get1 on quorumcache: 3 wrong replies; wrong value: x",
        "get1 on memcached: the load used 99 % of its processor, and may be the limit",
    ]
    notes = race_table([found], 2, 2.0).notes
    assert notes[:2] == tuple(work_notes(found))
    assert any("our idle nodes used 7.0 % of a processor" in note for note in notes)


def test_the_numbers_go_into_json_and_into_the_picture() -> None:
    found = figures(
        "any16", quorumcache=[measured(60)], memcached=[measured(100)], redis=[measured(300)]
    )
    data = json.loads(json.dumps(race_data([found])))
    assert data["any16"]["memcached"]["ratio"] == pytest.approx(0.6)
    assert data["any16"]["redis"]["rounds"] == [300]
    (group,) = bar_groups(data)
    assert group.title == "get, to any node, depth 16"
    assert [tuple(bar) for bar in group.bars] == [("memcached", 0.6, 1.2), ("redis", 0.2, 0.0)]
    assert "get, to any node, depth 16" in race_picture(data, "the command")
