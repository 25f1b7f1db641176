"""Goal: leaders finish what a coordinator has left, by the record's decision, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.operations import recovery as module
from quorumcache.node.operations.recovery import LATE_MS, PATIENCE_MS, REST_NS, Recovery
from quorumcache.node.store.commands import OP_DELETE, OP_TXN_COMMIT, OP_TXN_PREPARE
from quorumcache.node.store.results import (
    OK,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_FULL,
    TXN_TOO_LATE,
)
from quorumcache.node.store.store import ShardStore
from tests.support.scripted_steps import NOT_DONE, UNKNOWN, ScriptedSteps

TXN, OTHER = bytes(16), bytes([1] * 16)
START_MS = 1_000_000
DEADLINE_MS = START_MS + 5_000
REST_MS = REST_NS // 1_000_000


class World:
    """A leader of groups 2 and 3. Group 1 is led elsewhere."""

    def __init__(self) -> None:
        self.log = ScriptedSteps()
        coordinator: Any = self.log
        self.recovery = Recovery(coordinator)
        self.now_ms = START_MS
        self.log.groups[0] = SimpleNamespace(group_id=0, lease_until_ns=1, machine=None)
        for group_id in (1, 2, 3):
            self.log.groups[group_id] = SimpleNamespace(
                group_id=group_id,
                lease_until_ns=int(group_id != 1),
                machine=ShardStore(),
                now_ms=lambda: self.now_ms,
            )

    def apply(self, group_id: int, op: int, *args: Any) -> None:
        machine = self.log.groups[group_id].machine
        command = (0, 0, 0, op, b"", *args)
        machine.apply(machine.applied_index + 1, self.now_ms, [command])

    def prepare(self, group_id: int, txn: bytes = TXN, key: bytes = b"k", record: int = 1) -> None:
        steps = ((), ((key, OP_DELETE),))
        self.apply(group_id, OP_TXN_PREPARE, txn, record, DEADLINE_MS, *steps)

    def commit(self, group_id: int, participants: tuple[int, ...]) -> None:
        steps = ((), ((b"k", OP_DELETE),))
        self.apply(group_id, OP_TXN_COMMIT, TXN, DEADLINE_MS, participants, *steps)

    def look_after(self, ms: int) -> list[str]:
        self.now_ms += ms
        self.log.now_ns += ms * 1_000_000
        self.recovery.look()
        return self.log.names


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("decided", "told"), [(TXN_COMMITTED, 1), (TXN_ABORTED, 0), (TXN_TOO_LATE, 0)]
)
def test_a_prepared_transaction_ends_as_its_record_says(
    world: World, decided: int, told: int
) -> None:
    world.prepare(2)
    assert world.look_after(PATIENCE_MS - 1) == [], "its coordinator may be at work"
    assert world.look_after(1) == ["abort 1"]
    assert world.log.steps[0].args == (TXN, DEADLINE_MS)
    assert world.look_after(100) == ["abort 1"], "it is asked once at a time"
    world.log.end("abort 1", decided)
    (step,) = world.log.steps
    assert step.name == "resolve 2"
    assert step.args == (TXN, DEADLINE_MS, told)
    assert world.log.counters.transactions_recovered == 0
    world.log.end("resolve 2", OK)
    assert world.log.counters.transactions_recovered == 1
    assert not world.recovery.under_way


@pytest.mark.parametrize("outcome", [NOT_DONE, UNKNOWN, TXN_FULL])
def test_without_a_decision_it_is_asked_again(world: World, outcome: Any) -> None:
    world.prepare(2)
    world.look_after(PATIENCE_MS)
    world.log.end("abort 1", outcome)
    assert world.log.names == [], "a participant never decides by itself"
    assert world.look_after(REST_MS - 1) == [], "others come first"
    assert world.look_after(1) == ["abort 1"]
    world.log.end("abort 1", TXN_ABORTED)
    world.log.end("resolve 2", UNKNOWN)
    assert world.look_after(REST_MS) == ["abort 1"], "and so is one whose end nobody has seen"
    assert world.log.counters.transactions_recovered == 0


def test_a_commit_is_told_to_all_participants_and_then_forgotten(world: World) -> None:
    world.commit(2, (3, 1))
    assert world.look_after(PATIENCE_MS - 1) == []
    assert world.look_after(1) == ["resolve 3", "resolve 1"]
    assert {step.args for step in world.log.steps} == {(TXN, DEADLINE_MS, 1)}
    world.log.end("resolve 1", OK)
    assert world.look_after(100) == ["resolve 3"]
    world.log.end("resolve 3", OK)
    assert world.log.names == ["forget 2"]
    world.log.end("forget 2", OK)
    assert world.log.counters.transactions_recovered == 1


def test_a_commit_is_not_forgotten_before_all_have_heard(world: World) -> None:
    world.commit(2, (3, 1))
    world.look_after(PATIENCE_MS)
    world.log.end("resolve 3", NOT_DONE)
    world.log.end("resolve 1", OK)
    assert world.look_after(REST_MS - 1) == []
    assert world.look_after(1) == ["resolve 3", "resolve 1"]


def test_only_leaders_look(world: World) -> None:
    world.prepare(1)
    world.commit(3, ())
    assert world.look_after(PATIENCE_MS) == []
    world.log.groups[1].lease_until_ns = 1
    assert world.look_after(0) == ["abort 1"]


def test_a_group_that_does_not_answer_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECOVERIES_MAX", 2)
    for number in range(5):
        world.prepare(2, bytes([number] * 16), b"%d" % number)
    world.prepare(2, bytes([9] * 16), b"other", record=3)
    world.prepare(3, OTHER, record=4)
    assert world.look_after(PATIENCE_MS) == ["abort 1", "abort 1", "abort 3", "abort 4"]
    asked = [step.args[0][0] for step in world.log.steps[:2]]
    assert asked == [0, 1], "the oldest ones"
    world.log.end("abort 1", NOT_DONE)
    world.log.end("abort 1", NOT_DONE)
    world.look_after(100)
    asked = [step.args[0][0] for step in world.log.steps if step.name == "abort 1"]
    assert asked == [2, 3], "those that have been asked for rest"
    assert len(world.recovery.under_way) == 4


def test_holds_that_should_have_ended_long_ago_are_counted(world: World) -> None:
    world.prepare(1)
    world.prepare(2)
    world.prepare(3)
    world.now_ms = DEADLINE_MS + LATE_MS - 1
    assert world.recovery.overdue() == 0
    world.now_ms += 1
    assert world.recovery.overdue() == 2, "of the groups that are led here"
