"""What is said of a run when it is over: is its history legal, and what was drawn for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation import staleness
from tests.simulation.failure import NotLinearizable
from tests.simulation.history import show_key
from tests.simulation.linearizability import ILLEGAL, UNKNOWN, check_history
from tests.simulation.model import Model
from tests.simulation.report import Report
from tests.simulation.slow_reader import SlowReaders
from tests.simulation.winners import check_winners

if TYPE_CHECKING:
    from tests.simulation.nemesis import Nemesis
    from tests.simulation.world import World


def model_of(world: World) -> Model:
    """The rules for this cluster and what its clocks have shown."""
    configs = [config for node in world.nodes for config in node.configs]
    limits = {*world.item_limits, *(config.item_bytes_max for config in configs)}
    idle_ms = min(config.session_idle_ms for config in configs)
    drops_sessions = any(name.startswith("node.store.sessions.") for name in world.bounds)
    return Model(
        item_limits=limits,
        memory_is_limited=world.memory_is_limited,
        may_evict=world.may_evict,
        walls=world.times,
        keeps_silent_writes=(
            world.times.largest_leap_ms < idle_ms // 2
            and not world.memory_is_limited
            and not drops_sessions
        ),
    )


def check_histories(world: World, report: Report) -> None:
    """Raises `NotLinearizable`, or `AssertionError` for a read below its level."""
    history = world.history
    counts = history.counts()
    report.ok, report.fail, report.info = counts["ok"], counts["fail"], counts["info"]
    report.kinds.update(operation.kind for operation in history.operations)
    report.totals["wins"] = check_winners(history)
    for key, verdict in check_history(history, model_of(world)).items():
        if verdict.kind == ILLEGAL:
            raise NotLinearizable(verdict.describe(), key)
        if verdict.kind == UNKNOWN:
            report.undecided.append(show_key(key))
    if world.dealings is not None:
        report.totals.update(world.dealings.totals())
        if not world.dealings.judge(world.times):
            report.undecided.append("the transactions")
    stale = staleness.check(
        world.stale.history,
        [o.invoked_ns for o in history.operations if o.kind == "flush_all"],
        memory_is_limited=world.memory_is_limited,
        may_evict=world.may_evict,
    )
    if stale:
        raise AssertionError("read below its level:\n" + "\n".join(stale[:20]))
    for read in world.stale.history.reads:
        world.trace.record("read", read.describe())
    for operation in history.operations:
        world.trace.record("operation", operation.number, operation.outcome, operation.result)
    if world.dealings is not None:
        for transaction in world.dealings.history.all:
            world.trace.record("transaction", transaction.describe())
    report.digest = world.trace.digest()


def fill_report(world: World, nemesis: Nemesis, report: Report) -> None:
    """What the run did, as far as its parts have counted it."""
    describe_world(world, report)
    report.events = world.loop.events
    report.faults = nemesis.faults
    report.met = nemesis.met
    report.crashes = nemesis.crashes
    report.bytes_sent = world.network.bytes_sent
    report.promises = world.promises.checked
    report.leaders = len(world.invariants.leaders)
    report.checks = world.invariants.checks
    report.refusals = sum(node.refusals for node in world.nodes)
    for node in world.nodes:
        node.count()
        report.totals.update(node.totals)
        report.totals["disk_steps_hung"] += node.disk.steps_hung
        report.totals["disk_syncs_failed"] += node.disk.syncs_failed
        report.totals["disk_opens_refused"] += node.disk.opens_refused
    report.totals.update(world.own_totals())
    report.totals["slow_reads_finished"] = sum(slow.finished for slow in world.slow_readers)
    results = (operation.result for operation in world.history.operations)
    report.totals["out_of_memory"] = sum(result == "OUT_OF_MEMORY" for result in results)


def describe_world(world: World, report: Report) -> None:
    """Say what was drawn."""
    shape = world.shape
    report.world = f"{shape.describe()}; {world.costs.describe()}"
    report.small_bounds = tuple(world.bounds)
    report.drawn = {
        "nodes": str(shape.nodes),
        "replication": str(shape.replication),
        "shards": str(shape.shards),
        "zones": str(len({*shape.zones}) if shape.zones[0] else 0),
        "gone for good": str(len(world.dead)),
        "slow readers": "none" if world.slow is None else f"given up {_after(world.slow)}",
        "memory": _memory(world),
        "transactions": "none" if world.dealings is None else "some",
        "time of computing": "charged" if world.costs.callback_ns else "none",
    }


def _memory(world: World) -> str:
    if not world.memory_is_limited:
        return "ample"
    return "little, evicts" if world.may_evict else "little"


def _after(slow: SlowReaders) -> str:
    return f"after {slow.slow_client_ms} ms" if slow.slow_client_ms else "never"
