"""Goal: each stage shows what clients met in it, held against a quiet time of the same size.

What clients of a killed node met since the kill is apart.

Whole runs need a cluster: tests/integration/test_elastic.py and test_moving.py.
"""

from __future__ import annotations

import pytest

from quorumcache.bench import stages
from quorumcache.bench.changes import fill
from quorumcache.bench.errors import StartError
from quorumcache.bench.expected import Expected
from quorumcache.bench.goals import exit_status
from quorumcache.bench.mixed_load import MixedLoad
from quorumcache.bench.stages import KILL, MOVE, QUIET, Player, Stage, Staged
from quorumcache.bench.timeline import Sample, Span
from tests.support.tiny_memcached import TinyMemcached

SECOND = 1_000_000_000
MS = 1_000_000


def staged(*kinds: tuple[str, int, int], every_ms: int = 50) -> Staged:
    """Stages of a second each: kind, nodes, and how long each request took, in ms."""
    load = MixedLoad(1.0)
    load.present = {0: (0, 1 << 62), 1: (0, 1 << 62)}
    run = Staged(load)
    for place, (kind, nodes, took_ms) in enumerate(kinds):
        began_ns = place * SECOND
        run.stages.append(Stage(kind, nodes, Span(f"{place}", began_ns, began_ns + SECOND), 0.0))
        for at_ms in range(0, 1000, every_ms):
            load.samples += [Sample(c, began_ns + at_ms * MS, took_ms * MS) for c in (0, 1)]
    return run


@pytest.mark.parametrize(
    ("kinds", "quiet"),
    [
        ([(QUIET, 3, 1), (MOVE, 6, 1), (QUIET, 6, 1)], 2),  # It grows: the time after it.
        ([(QUIET, 6, 1), (MOVE, 6, 1), (QUIET, 3, 1)], 0),  # It shrinks: the time before it.
        ([(QUIET, 3, 1), (MOVE, 6, 1), (QUIET, 5, 1)], None),
        ([(MOVE, 6, 1), (MOVE, 6, 1), (QUIET, 6, 1)], 2),
        ([(MOVE, 6, 1), (MOVE, 6, 1)], None),
    ],
)
def test_a_change_is_compared_with_quiet_nodes_as_many_as_ran_in_it(
    kinds: list[tuple[str, int, int]], quiet: int | None
) -> None:
    assert stages.quiet_of(staged(*kinds).stages, 1) == quiet


def test_the_p99_of_a_change_by_that_of_the_quiet_time() -> None:
    run = staged((QUIET, 3, 1), (MOVE, 6, 8), (QUIET, 6, 2), (KILL, 6, 7), (QUIET, 5, 1))
    found = stages.ratios(run.stages, run.figures())
    assert found == [
        *(None, pytest.approx(4, rel=0.02), None),
        *(pytest.approx(3.5, rel=0.02), None),
    ]
    rows, data = stages.rows(run)
    assert all(len(row) == len(stages.COLUMNS) for row in rows)
    column = stages.COLUMNS.index("x quiet")
    assert [row[column] for row in rows] == ["", "4.0", "", "3.5", ""]
    assert data["1"]["p99_ratio"] == pytest.approx(4, rel=0.02)
    missed = [goal.what for goal in stages.goals(run) if not goal.is_met]
    assert missed == ["1: p99 by that of quiet nodes", "3: p99 by that of quiet nodes"]


def test_a_change_without_a_quiet_time_of_its_size_misses_the_goal() -> None:
    run = staged((QUIET, 3, 1), (MOVE, 6, 1), (QUIET, 3, 1))
    missed = [goal.what for goal in stages.goals(run) if not goal.is_met]
    assert missed == ["1: p99 by that of quiet nodes"]


@pytest.mark.parametrize(
    ("kind", "every_ms", "is_met"),
    [(MOVE, 200, True), (MOVE, 250, False), (KILL, 500, True), (KILL, 900, False)],
)
def test_a_pause_may_be_longer_at_a_kill_than_at_a_move(
    kind: str, every_ms: int, is_met: bool
) -> None:
    run = staged((QUIET, 3, 1), (kind, 3, 1), every_ms=every_ms)
    (goal,) = [goal for goal in stages.goals(run) if goal.what == "1: longest pause"]
    assert goal.is_met == is_met


def test_what_the_killed_nodes_clients_met_since_the_kill_is_apart() -> None:
    run = staged((QUIET, 3, 1), (KILL, 3, 1), (QUIET, 2, 1))
    run.load.samples = [s for s in run.load.samples if s.client or s.ended_ns < SECOND]
    run.load.errors += [
        (0, SECOND // 2, "SERVER_ERROR a"),  # Its node was still there.
        (0, 3 * SECOND // 2, "connection: reset"),
        (1, 3 * SECOND // 2, "SERVER_ERROR b"),
    ]
    run.load.wrong.append((0, SECOND // 3, b"k"))
    run.apart = {0: SECOND}
    rows, _ = stages.rows(run)
    place = stages.COLUMNS.index
    assert [row[place("errors")] for row in rows] == ["1", "1", "0"]
    assert [row[place("wrong reads")] for row in rows] == ["1", "0", "0"]
    assert [row[place("ops/s")] for row in rows] == ["40", "20", "20"]
    assert [row[place("pause ms")] for row in rows] == ["50", "50", "50"]
    notes = "\n".join(stages.notes(run))
    assert "error, 1 times, of clients of the killed node: connection: reset" in notes
    assert "error, 1 times, of others: SERVER_ERROR a" in notes
    assert run.errors_of_others == 2
    assert run.failures == 3


@pytest.mark.parametrize("name", ["lost_writes", "lost_items"])
def test_whatever_is_lost_is_a_failure_and_is_said(name: str) -> None:
    run = staged((QUIET, 3, 1), (MOVE, 3, 1))
    assert exit_status(run.failures, stages.goals(run)) == 0
    setattr(run, name, 3)
    assert exit_status(run.failures, stages.goals(run)) == 3
    assert "that are gone: 3" in stages.notes(run)[0]
    assert [goal.measured for goal in stages.goals(run) if not goal.is_met] == [3]


def test_a_busy_machine_is_said() -> None:
    run = staged((QUIET, 3, 1), (MOVE, 3, 1))
    assert not any("WARNING" in note for note in stages.notes(run))
    run.stages[1] = run.stages[1]._replace(others_cpu=80.0)
    assert any(note.startswith("WARNING") and note.endswith(": 1") for note in stages.notes(run))


def test_stages_follow_each_other_and_one_that_fails_is_none() -> None:
    said: list[str] = []
    player = Player(MixedLoad(1.0), list, said.append)
    player.quiet("3 nodes", 3, 0.01)
    player.play(MOVE, "3 to 4", 4, lambda: player.run.mark("start d"))

    def breaks() -> None:
        raise StartError("no")

    with pytest.raises(StartError):
        player.play(MOVE, "4 to 3", 4, breaks)
    first, second = player.run.stages
    assert (first.kind, first.nodes, first.span.name) == (QUIET, 3, "3 nodes")
    assert first.span.ended_ns <= second.span.began_ns <= player.run.marks[0][1]
    assert player.run.whole == Span("all", first.span.began_ns, second.span.ended_ns)
    assert [line.split(":")[0] for line in said] == ["3 nodes", "3 to 4"]


def test_what_is_gone_is_counted() -> None:
    load = MixedLoad(1.0)
    with TinyMemcached() as server:
        fill(server.address, 10)
        expected = load.expected[0] = Expected()
        for key in (b"kept", b"gone", b"old"):
            expected.sending(key, b"v")
            expected.stored(key, b"v")
        server.items |= {b"kept": b"v", b"old": b"u"}
        del server.items[b"item:3"]
        server.items[b"item:4"] = server.items[b"item:5"]
        run = Staged(load)
        stages.check_all(run, server.address, 10)
    assert (run.lost_writes, run.lost_items) == (2, 2)
