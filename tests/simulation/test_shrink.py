"""The shrinker, on rules that are known, and on a cluster with a broken one."""

import itertools

import pytest

from quorumcache.node.replica.group import ReplicaGroup
from tests.simulation import __main__ as command
from tests.simulation.campaign import Progress, run_seed
from tests.simulation.report import Report
from tests.simulation.schedule import Fault, Schedule, read_schedule
from tests.simulation.shrink import Shrinker
from tests.simulation.world import SimulationFailure, WorldConfig

MANY = Schedule(
    seed=1,
    fault_seconds=60.0,
    faults=tuple(
        Fault(number * 100, f"f{number}", {"seconds": 1.0, "number": number})
        for number in range(40)
    ),
)


def shrinker(fails, **options) -> Shrinker:
    clock = itertools.count()
    return Shrinker(fails, now=lambda: next(clock), seconds_max=1e9, **options)


def names(schedule: Schedule) -> list[str]:
    return [fault.name for fault in schedule.faults]


def test_what_it_takes_is_what_is_left():
    """Two faults, far apart, of which one has to last."""

    def fails(schedule: Schedule) -> int | None:
        lasting = {f.name: f.parameters["seconds"] for f in schedule.faults}
        return 2_500 if lasting.get("f3", 0) > 0.2 and "f17" in lasting else None

    shrunk = shrinker(fails).shrink(MANY)
    assert shrunk is not None
    assert names(shrunk) == ["f3", "f17"]
    assert shrunk.faults[0].parameters["seconds"] == 0.25
    assert shrunk.faults[1].parameters["seconds"] < 0.05
    assert shrunk.fault_seconds < 2.0


def test_a_failure_without_any_fault_needs_none():
    shrunk = shrinker(lambda schedule: 10).shrink(MANY)
    assert shrunk is not None
    assert shrunk.faults == ()


def test_all_are_kept_when_all_are_needed():
    few = Schedule(seed=1, fault_seconds=1.0, faults=MANY.faults[:5])
    shrunk = shrinker(lambda s: 900 if len(s.faults) == 5 else None).shrink(few)
    assert shrunk is not None
    assert names(shrunk) == ["f0", "f1", "f2", "f3", "f4"]


def test_what_does_not_fail_again_is_not_shrunk():
    assert shrinker(lambda schedule: None).shrink(MANY) is None


def test_the_number_of_runs_is_bounded():
    """What was found by then is the result, and it says that it was cut short."""
    search = shrinker(lambda s: 9_999 if {"f1", "f30"} <= {*names(s)} else None, runs_max=8)
    shrunk = search.shrink(MANY)
    assert search.runs == 8
    assert search.is_cut_short
    assert shrunk is not None
    assert {"f1", "f30"} <= {*names(shrunk)}
    assert len(shrunk.faults) < 40


def test_a_broken_rule_is_shrunk_told_and_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys
) -> None:
    """A leader that reads without a lease: few faults are left, and their file fails alike."""
    monkeypatch.setattr(ReplicaGroup, "has_lease", lambda self: self.is_leader)
    monkeypatch.setattr(command, "FAILURES", tmp_path / "failures")
    configs = (WorldConfig(seed=seed, fault_seconds=2.5, node_count=3) for seed in range(1, 200))
    outcomes = map(run_seed, configs)
    failures = (outcome for outcome in outcomes if isinstance(outcome, SimulationFailure))
    # Of a handful of faults, all may be needed.
    failure = next(failure for failure in failures if len(failure.schedule.faults) > 4)
    assert failure.kind.startswith(("NotLinearizable", "AssertionError: read below"))
    shrunk, last = command.shrink(failure, 120.0, Progress(0, command.sys.stderr))
    assert len(shrunk.faults) < max(2, len(failure.schedule.faults))
    assert last.kind == failure.kind
    command._shrink_and_tell(last, 0.0)
    told = capsys.readouterr().out
    path = tmp_path / "failures" / f"seed-{failure.schedule.seed}.json"
    assert f"python -m tests.simulation --schedule {path}" in told
    assert "leads group" in told
    names = ("register-", "counter-") if last.kind.startswith("Not") else ("read below its level",)
    assert any(name in told for name in names), told
    again = run_seed(WorldConfig.of(read_schedule(path)))
    assert not isinstance(again, Report)
    assert again.kind == failure.kind
