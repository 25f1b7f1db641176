"""Whole clusters under faults: the production nodes, on virtual time, by seed.

A failure prints its seed and the command that replays it. Seeds that once found something stay in
`regression_seeds.txt`. More seeds: `python -m tests.simulation --seeds 1..1000 --keep-going`.
"""

import contextvars
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.admin_program import AdminProgram
from tests.simulation.checkers import Invariants, InvariantViolation
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.world import SimulationFailure, World, WorldConfig

SEEDS = tuple(range(1, 16))
REGRESSIONS = Path(__file__).with_name("regression_seeds.txt")
ROOT = Path(__file__).parents[2]


def regression_seeds() -> list[int]:
    lines = REGRESSIONS.read_text().splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


@pytest.mark.parametrize("seed", [*SEEDS, *regression_seeds()])
def test_faults_break_no_promise_and_healing_brings_service_back(seed):
    """Safety under faults, then liveness within bounds, then a linearizable history."""
    report = World(WorldConfig(seed=seed, fault_seconds=4.0)).run()
    assert report.ok > 0
    assert report.promises > 0
    assert report.undecided == []


def test_five_nodes():
    """Groups on three of five nodes: requests are forwarded by nodes that hold no replica."""
    World(WorldConfig(seed=1, node_count=5, fault_seconds=3.0)).run()


def test_five_nodes_of_which_one_is_gone_for_good():
    """Those that are left serve, whoever leads what."""
    for seed in range(1, 30):
        world = World(WorldConfig(seed=seed, node_count=5, fault_seconds=1.0))
        if world.dead:
            world.run()
            return
    raise AssertionError("no seed leaves a node down")


def test_settings_change_over_restarts():
    """Of one node, of one after the other, and of all at once."""
    weights = {"change_all_settings": 2, "change_own_settings": 2, "roll_settings": 1, "kill": 1}
    missing = {"change_all_settings", "change_own_settings", "roll_settings"}
    for seed in range(1, 20):
        report = World(WorldConfig(seed=seed, fault_seconds=3.0, weights=weights)).run()
        missing -= {*report.faults}
        if not missing:
            return
    raise AssertionError(f"no seed has {missing}")


def test_memory_that_is_used_up():
    """Sets are refused, and remove what they were meant to replace; some seed shows it."""
    for seed in range(1, 40):
        world = World(WorldConfig(seed=seed, fault_seconds=1.0))
        if world.memory_is_limited:
            world.run()
            if any(operation.result == "OUT_OF_MEMORY" for operation in world.history.operations):
                return
    raise AssertionError("no seed uses the memory up")


@pytest.mark.parametrize("lost", ["all", "log", "membership"])
def test_a_lost_disk_does_not_decide(lost):
    """One node knows nothing of what was written meanwhile, the other one nothing at all."""
    nodes = ["n1", "n2", "n3"]
    parameters = {"nodes": nodes, "lost": lost, "seconds": 2.4}
    faults = (Fault(300, "lost_disk_decides", parameters),)
    world = World(WorldConfig.of(Schedule(seed=2, fault_seconds=4.0, faults=faults)))
    report = world.run()
    assert report.met["lost_disk_decides"] == 1
    assert report.ok > 0


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_restored_copy_does_not_decide(seed):
    """One node has missed what was written meanwhile, the other one has forgotten it."""
    parameters = {"nodes": ["n1", "n2", "n3"], "seconds": 2.4}
    faults = (Fault(300, "restored_copy_decides", parameters),)
    world = World(WorldConfig.of(Schedule(seed=seed, fault_seconds=6.0, faults=faults)))
    told = []
    world.trace.tell = told.append
    world.run()
    assert "nemesis: the directory of n2 is an older copy" in told


def test_nobody_is_asked_to_keep_a_copy_out_that_decides_alone():
    """With one replica for each shard the others have no vote that they could refuse."""
    parameters = {"nodes": ["n2", "n1", "n3"], "seconds": 0.326}
    faults = (Fault(2810, "restored_copy_decides", parameters),)
    world = World(WorldConfig.of(Schedule(seed=196, fault_seconds=4.136, faults=faults)))
    assert world.shape.replication == 1
    assert world.run().met["restored_copy_decides"] == 0


def test_two_nodes_that_are_both_wiped_are_no_cluster_that_somebody_remembers():
    """The second one keeps its directory: with none left they would rightly found a new cluster."""
    faults = (
        Fault(200, "wipe_directory", {"who": "n1", "seconds": 2.0}),
        Fault(400, "wipe_directory", {"who": "n2", "seconds": 2.0}),
    )
    schedule = Schedule(seed=2, nodes=2, fault_seconds=3.0, faults=faults)
    report = World(WorldConfig.of(schedule)).run()
    assert report.met["wipe_directory"] == 1


def test_a_node_whose_sync_fails_as_the_faults_end_is_started_again():
    """It ends itself a moment after everything was healed."""
    faults = (Fault(500, "failing_disk", {"who": "n1", "seconds": 3.0}),)
    world = World(WorldConfig.of(Schedule(seed=2, fault_seconds=1.0, faults=faults)))
    node = world.nodes[0]
    fail, outside = node.disk.before_step, contextvars.copy_context()
    is_up = []

    def before_step(step, path):
        if step == "sync" and node.disk.failing_syncs:
            world.loop.call_soon(node.recover, context=outside)
            world.loop.call_later(0.05, lambda: is_up.append(node.is_up), context=outside)
        return fail(step, path)

    node.disk.before_step = before_step
    world.run()
    assert node.disk.syncs_failed == 1
    assert is_up == [True]


def test_sixteen_shards():
    report = World(WorldConfig(seed=2, shards=16, fault_seconds=3.0)).run()
    assert report.totals["elections_won"] >= 17


def test_damage_is_refused_and_the_cluster_goes_on():
    """Bits turn in what was synced: the node does not start until its disk is as it was."""
    refusals = 0
    for seed in range(1, 4):
        weights = {"bit_rot": 3, "kill": 1, "power_cut": 1}
        report = World(WorldConfig(seed=seed, fault_seconds=4.0, weights=weights)).run()
        refusals += report.refusals
    assert refusals > 0


def test_admin_commands_are_answered_under_faults():
    """Most are; all end in time, or the run fails."""
    outcomes = []
    for seed in range(1, 7):
        world = World(WorldConfig(seed=seed, fault_seconds=4.0))
        world.run()
        outcomes += [o for c in world.clients if isinstance(c, AdminProgram) for o in c.outcomes]
    answered = [name for name, code in outcomes if code == 0]
    assert {"status", "map", "route"} <= set(answered)
    assert len(answered) < len(outcomes)


def test_one_node_restarts_with_everything_it_acknowledged():
    """No quorum to help: what survives comes from its own disk."""
    weights = {"kill": 3, "power_cut": 3, "pause": 1, "full_disk": 1, "failing_disk": 1}
    weights |= {"kill_in_disk_step": 3, "kill_during_start": 2, "bit_rot": 2}
    World(WorldConfig(seed=1, node_count=1, weights=weights)).run()


def test_a_run_is_a_function_of_its_seed():
    """Same seed, same trace, byte for byte; another seed, another trace."""
    digests = [World(WorldConfig(seed=seed, fault_seconds=1.5)).run().digest for seed in (5, 5, 6)]
    assert digests[0] == digests[1] != digests[2]


def test_a_run_does_not_depend_on_hash_randomization():
    """A set or a built-in hash on the way to a decision would make two interpreters differ."""

    def digest(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.simulation", "--seed", "4", "--fault-seconds", "1"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("trace ")[1].split()[0]

    assert digest("1") == digest("2")


def test_a_failure_says_how_to_replay_it(monkeypatch):
    def broken(self, simulated, group):
        raise InvariantViolation("two leaders")

    monkeypatch.setattr(Invariants, "_check_leader", broken)
    with pytest.raises(SimulationFailure, match=r"(?s)two leaders.*--seed 3 --fault-seconds 1"):
        World(WorldConfig(seed=3, fault_seconds=1.0)).run()
