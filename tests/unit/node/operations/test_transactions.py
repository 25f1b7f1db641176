"""Goal: whatever its steps answer, and in whatever order, a run says what is certain and no more,
and tells participants only what the record's group has said.
"""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any

import pytest

from quorumcache.node.operations import transactions as module
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.transactions import (
    LIMIT_FAR_MS,
    STEP_BYTES,
    TOO_MANY_HERE,
    TOO_MANY_THERE,
    Transactions,
    split,
)
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.results import (
    OK,
    OUT_OF_MEMORY,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_FULL,
    TXN_PREPARED,
    TXN_TOO_LATE,
)
from tests.support.scripted_steps import NOT_DONE, UNKNOWN, ScriptedSteps

TXN = bytes(range(16))
DEADLINE_MS = 1_005_000
SECOND_NS = 1_000_000_000


def group_of(key: bytes) -> int:
    """`b2` lies in group 2."""
    return int(key[1:])


class World:
    """A transaction that writes in groups 1 (the record's), 2 and 3, and checks in 4."""

    def __init__(self) -> None:
        self.log = ScriptedSteps()
        coordinator: Any = self.log
        self.transactions = Transactions(coordinator, Random(1))
        self.outcomes: list[Any] = []

    def commit(
        self,
        checks: tuple[Any, ...] = ((b"c4", 77), (b"c1", 0)),
        writes: tuple[Any, ...] = (
            (b"w1", OP_SET, b" 0 1\r\nx\r\n", 0),
            (b"w2", OP_DELETE),
            (b"w3", OP_DELETE),
        ),
    ) -> None:
        self.transactions.commit(TXN, DEADLINE_MS, checks, writes, group_of, self.outcomes.append)

    def prepare_all(self) -> None:
        for group_id in (2, 3, 4):
            self.log.end(f"prepare {group_id}", TXN_PREPARED)

    @property
    def failure(self) -> Failure:
        (failure,) = self.outcomes
        assert isinstance(failure, Failure)
        return failure

    def resolutions(self) -> dict[int, int]:
        """What each group is told, by the steps that have not ended."""
        told = {}
        for step in self.log.steps:
            if step.name.startswith("resolve"):
                assert step.args[:2] == (TXN, DEADLINE_MS)
                assert step.group_id not in told
                told[step.group_id] = step.args[2]
        return told


@pytest.fixture
def world() -> World:
    return World()


# -- the ordinary run --------------------------------------------------------------------------


def test_a_run_from_its_first_to_its_last_step(world: World) -> None:
    world.commit()
    assert world.log.names == ["prepare 2", "prepare 3", "prepare 4"], "all at the same time"
    assert world.log.steps[0].args == (TXN, 1, DEADLINE_MS, (), ((b"w2", OP_DELETE),))
    assert world.log.steps[2].args == (TXN, 1, DEADLINE_MS, ((b"c4", 77),), ())
    world.prepare_all()
    (commit,) = world.log.steps
    assert commit.name == "commit 1"
    assert commit.args[:3] == (TXN, DEADLINE_MS, (2, 3, 4))
    assert commit.args[3:] == (((b"c1", 0),), ((b"w1", OP_SET, b" 0 1\r\nx\r\n", 0),))
    assert commit.size == STEP_BYTES + 2 + 9 + 2
    assert world.outcomes == []
    assert world.transactions.under_way == 1
    world.log.end("commit 1", TXN_COMMITTED)
    assert world.outcomes == [TXN_COMMITTED]
    assert world.transactions.under_way == 0
    assert world.resolutions() == {2: 1, 3: 1, 4: 1}
    assert world.transactions.resolving == 1
    for group_id in (3, 2, 4):
        assert "forget 1" not in world.log.names, "not before all have heard"
        world.log.end(f"resolve {group_id}", OK)
    assert world.log.names == ["forget 1"]
    assert world.log.steps[0].args == (TXN,)
    world.log.end("forget 1", OK)
    assert world.log.steps == []
    assert world.transactions.resolving == 0
    counters = world.log.counters
    assert (counters.transactions_begun, counters.transactions_committed) == (1, 1)


def test_one_group_needs_one_step(world: World) -> None:
    world.commit(checks=((b"a1", 5),), writes=((b"b1", OP_DELETE), (b"c1", OP_DELETE)))
    assert world.log.names == ["commit 1"]
    assert world.log.steps[0].args[2] == ()
    world.log.end("commit 1", TXN_COMMITTED)
    assert world.outcomes == [TXN_COMMITTED]
    assert world.log.steps == []
    assert world.transactions.resolving == 0


def test_the_record_lies_where_the_first_write_is_whoever_asks() -> None:
    checks = ((b"c9", 1), (b"c8", 1))
    writes = ((b"w7", OP_DELETE), (b"w8", OP_DELETE))
    assert next(iter(split(checks, writes, group_of))) == 7
    assert next(iter(split(checks, (), group_of))) == 9


def test_steps_leave_time_to_ask_what_was_decided(world: World) -> None:
    world.commit()
    assert {step.deadline_ns for step in world.log.steps} == {4 * SECOND_NS}
    world.prepare_all()
    assert world.log.steps[0].deadline_ns == 4 * SECOND_NS
    world.log.end("commit 1", UNKNOWN)
    assert world.log.names == ["abort 1"]
    assert world.log.steps[0].deadline_ns == 5 * SECOND_NS


# -- prepares that fail ------------------------------------------------------------------------


def test_a_conflict_is_told_once_it_is_decided(world: World) -> None:
    world.commit()
    world.log.end("prepare 2", TXN_PREPARED)
    world.log.end("prepare 3", (TXN_CONFLICT, b"w3"))
    assert world.log.names == ["prepare 4", "abort 1"]
    assert world.outcomes == []
    assert world.resolutions() == {}, "nobody is told what the record does not say"
    world.log.end("abort 1", TXN_ABORTED)
    assert world.outcomes == [(TXN_CONFLICT, b"w3")]
    assert world.resolutions() == {2: 0}, "who has refused holds nothing"
    world.log.end("prepare 4", TXN_PREPARED)
    assert world.resolutions() == {2: 0, 4: 0}
    world.log.end("resolve 2", OK)
    world.log.end("resolve 4", OK)
    assert world.log.steps == [], "there is nothing to forget"
    assert world.log.counters.transactions_conflicts == 1
    assert world.transactions.resolving == 0


def test_nothing_is_committed_after_a_refusal(world: World) -> None:
    outcomes: list[Any] = [TXN_PREPARED, TXN_PREPARED, (TXN_CONFLICT, b"w")]
    for order in permutations(zip((2, 3, 4), outcomes, strict=True)):
        fresh = World()
        fresh.commit()
        for group_id, outcome in order:
            fresh.log.end(f"prepare {group_id}", outcome)
        assert fresh.log.names == ["abort 1"]


def test_a_refusal_at_once_prepares_nobody_else(world: World) -> None:
    world.log.answer_at_once["prepare 2"] = (TXN_CONFLICT, b"w2")
    world.commit()
    assert world.log.names == ["abort 1"]
    world.log.end("abort 1", TXN_ABORTED)
    assert world.outcomes == [(TXN_CONFLICT, b"w2")]
    assert world.log.steps == []


@pytest.mark.parametrize(
    "outcome", [(TXN_CONFLICT, b"w2"), TXN_TOO_LATE, TXN_FULL, NOT_DONE, UNKNOWN]
)
def test_another_attempt_may_have_committed(world: World, outcome: Any) -> None:
    """The client has sent the same transaction through another node."""
    world.commit()
    world.log.end("prepare 3", TXN_PREPARED)
    world.log.end("prepare 2", outcome)
    world.log.end("abort 1", TXN_COMMITTED)
    assert world.outcomes == [TXN_COMMITTED]
    told = {2: 1, 3: 1} if outcome is UNKNOWN else {3: 1}
    assert world.resolutions() == told
    world.log.end("prepare 4", TXN_TOO_LATE)
    for group_id in told:
        world.log.end(f"resolve {group_id}", OK)
    assert world.log.steps == [], "the others may not have heard: it is not forgotten by this run"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (TXN_TOO_LATE, TXN_ABORTED),
        (OUT_OF_MEMORY, OUT_OF_MEMORY),
        (TXN_FULL, TOO_MANY_THERE),
        (NOT_DONE, NOT_DONE.why),
        (UNKNOWN, UNKNOWN.why),
        (99, "a shard has answered 99 to a step"),
    ],
)
def test_why_it_could_not_be_prepared(world: World, outcome: Any, expected: Any) -> None:
    world.commit()
    world.log.end("prepare 2", outcome)
    world.log.end("abort 1", TXN_ABORTED)
    if isinstance(expected, str):
        assert world.failure.why == expected
        assert world.failure.outcome_known, "it is decided"
    else:
        assert world.outcomes == [expected]
    assert world.log.counters.transactions_aborted == 1
    assert world.resolutions() == ({2: 0} if outcome is UNKNOWN else {})


def test_past_the_deadline_a_repetition_could_have_been_forgotten(world: World) -> None:
    world.commit()
    world.log.end("prepare 3", TXN_PREPARED)
    world.log.end("prepare 2", (TXN_CONFLICT, b"w2"))
    world.log.end("abort 1", TXN_TOO_LATE)
    assert world.outcomes == [TXN_TOO_LATE], "no conflict: an earlier attempt may have committed"
    assert world.resolutions() == {3: 0}, "whoever still holds has not heard of a commit"


@pytest.mark.parametrize("outcome", [NOT_DONE, UNKNOWN, TXN_FULL])
def test_without_a_decision_nobody_is_told(world: World, outcome: Any) -> None:
    world.commit()
    world.log.end("prepare 3", TXN_PREPARED)
    world.log.end("prepare 2", NOT_DONE)
    world.log.end("abort 1", outcome)
    assert world.failure.outcome_known, "this attempt has not committed, and never will"
    world.log.end("prepare 4", TXN_PREPARED)
    assert world.log.steps == []
    assert world.transactions.under_way == 0


# -- commits that fail -------------------------------------------------------------------------


def test_a_conflict_at_the_record_is_a_decision(world: World) -> None:
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", (TXN_CONFLICT, b"c1"))
    assert world.outcomes == [(TXN_CONFLICT, b"c1")]
    assert world.resolutions() == {2: 0, 3: 0, 4: 0}
    for group_id in (2, 3, 4):
        world.log.end(f"resolve {group_id}", OK)
    assert world.log.steps == []


@pytest.mark.parametrize("outcome", [TXN_ABORTED, TXN_TOO_LATE])
def test_a_commit_that_comes_after_recovery_has_aborted_it(world: World, outcome: int) -> None:
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", outcome)
    assert world.outcomes == [outcome]
    assert world.resolutions() == {2: 0, 3: 0, 4: 0}


@pytest.mark.parametrize(
    ("decided", "outcome"), [(TXN_COMMITTED, TXN_COMMITTED), (TXN_ABORTED, None)]
)
def test_a_commit_without_an_outcome_is_asked_for(
    world: World, decided: int, outcome: int | None
) -> None:
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", UNKNOWN)
    assert world.outcomes == []
    world.log.end("abort 1", decided)
    if outcome is None:
        assert world.failure.outcome_known
    else:
        assert world.outcomes == [outcome]
    told = int(decided == TXN_COMMITTED)
    assert world.resolutions() == {2: told, 3: told, 4: told}


@pytest.mark.parametrize("outcome", [TXN_TOO_LATE, NOT_DONE, UNKNOWN, TXN_FULL])
def test_a_commit_of_which_nobody_knows_is_in_doubt(world: World, outcome: Any) -> None:
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", UNKNOWN)
    world.log.end("abort 1", outcome)
    assert not world.failure.outcome_known
    assert world.log.counters.transactions_in_doubt == 1


def test_a_commit_that_never_reached_a_log_is_not_done(world: World) -> None:
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", NOT_DONE)
    world.log.end("abort 1", NOT_DONE)
    assert world.failure.outcome_known
    assert world.failure.why == NOT_DONE.why


# -- after the decision ------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [NOT_DONE, UNKNOWN])
def test_a_participant_that_has_not_heard_is_not_forgotten(world: World, outcome: Any) -> None:
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", TXN_COMMITTED)
    world.log.end("resolve 2", OK)
    world.log.end("resolve 3", outcome)
    world.log.end("resolve 4", OK)
    assert world.log.steps == []
    assert world.transactions.resolving == 0


def test_so_many_are_told_by_this_node(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVING_MAX", 0)
    world.commit()
    world.prepare_all()
    world.log.end("commit 1", TXN_COMMITTED)
    assert world.outcomes == [TXN_COMMITTED]
    assert world.log.steps == [], "the leaders tell them"
    assert world.transactions.resolving == 0


def test_so_many_are_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRANSACTIONS_MAX", 1)
    world.commit()
    world.commit()
    assert world.failure.why == TOO_MANY_HERE
    assert world.failure.outcome_known
    assert world.transactions.under_way == 1
    assert len(world.log.steps) == 3


# -- the numbers of a transaction -----------------------------------------------------------------


def test_begin_gives_an_id_and_a_deadline(world: World) -> None:
    first, deadline_ms = world.transactions.begin(200)
    second, _ = world.transactions.begin(200)
    assert len(first) == len(second) == 16
    assert first != second
    assert deadline_ms == world.log.now_ms + 200
    other: Any = ScriptedSteps()
    assert Transactions(other, Random(1)).begin(200)[0] == first, "from the given randomness alone"


def test_a_deadline_that_nobody_gave(world: World) -> None:
    latest = world.log.now_ms + LIMIT_FAR_MS
    assert not world.transactions.is_far(latest)
    assert world.transactions.is_far(latest + 1)
    world.log.time.is_settled = False
    assert not world.transactions.is_far(latest + 1), "who does not know the time cannot say so"
    assert not world.transactions.knows_time()
