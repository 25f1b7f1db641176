"""The share of the search that runs with every test run; `make crash-states` is all of it."""

from __future__ import annotations

import pytest

from tests.crash.broken_rules import BROKEN_RULES, BrokenRule
from tests.crash.contract import ContractBroken
from tests.crash.explorer import Explorer, record
from tests.crash.operations import Rename, Sync, SyncDir, Truncate, Unlink, Write
from tests.crash.states import COARSE, FULL, Limits, Names
from tests.crash.workloads import FIXED, Workload, random_workload

WORKLOADS = {workload.name: workload for workload in FIXED}


@pytest.mark.parametrize("workload", FIXED, ids=lambda workload: workload.name)
def test_every_crash_state_of_the_fixed_lives_recovers(workload: Workload) -> None:
    """All points, in coarse steps; one life cut at every byte."""
    limits = FULL if workload.name == "suffixes" else COARSE
    totals = Explorer(workload, limits, nested_every=15).run()
    assert totals.points == totals.operations + 1
    assert totals.states > 5 * totals.operations
    assert totals.nested_states > 0


@pytest.mark.parametrize("seed", range(4))
def test_every_crash_state_of_random_lives_recovers(seed: int) -> None:
    """Coarse steps, and a journal that keeps the order of names."""
    names = Names.JOURNAL if seed % 2 else Names.INDEPENDENT
    limits = Limits(
        names=names, every_byte_bytes_max=0, every_subset_sectors_max=2, combinations_max=256
    )
    totals = Explorer(random_workload(seed), limits, nested_every=20).run()
    assert totals.states > 0


@pytest.mark.parametrize("rule", BROKEN_RULES, ids=lambda rule: rule.name)
def test_a_broken_rule_is_found(rule: BrokenRule) -> None:
    """Without the rule some crash state must break the contract, and the report names it."""
    explorer = Explorer(WORKLOADS[rule.workload], COARSE, nested_every=0, skipped=rule.skipped)
    with rule.broken(), pytest.raises(ContractBroken) as broken:
        explorer.run()
    assert f"--workload {rule.workload} --point" in str(broken.value)


def test_a_recording_is_a_function_of_its_workload() -> None:
    workload = WORKLOADS["everything"]
    assert record(workload).operations == record(workload).operations
    other = Workload(name="everything", steps=workload.steps, seed=99)
    assert record(other).operations != record(workload).operations


def test_the_recorded_life_does_all_there_is() -> None:
    """The lives above write, sync, cut, rename and remove; log and snapshots change at a time."""
    operations = [operation for workload in FIXED for operation in record(workload).operations]
    for kind in (Write, Sync, Truncate, Rename, Unlink, SyncDir):
        assert any(isinstance(operation, kind) for operation in operations), kind
    replaced = {operation.new_path for operation in operations if isinstance(operation, Rename)}
    files = ("d/node.id", "d/cluster.map", "d/groups.born", "d/snapshots/000001.snapshot")
    assert replaced.issuperset(files)
    removed = {operation.path for operation in operations if isinstance(operation, Unlink)}
    assert "d/wal/0000000001.wal" in removed
