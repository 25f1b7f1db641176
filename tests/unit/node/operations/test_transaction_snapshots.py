"""Goal: a client gets values of one moment, or none, and nothing stays held."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from quorumcache.node.operations import transaction_snapshots as module
from quorumcache.node.operations.failure import HELD_WHY, Failure
from quorumcache.node.operations.transaction_snapshots import (
    AGAIN_NS,
    ATTEMPT_MS,
    ATTEMPT_NS,
    ENDED_WHY,
    TOO_MANY_HERE,
    TOO_MANY_THERE,
    Snapshots,
)
from quorumcache.node.store.results import (
    OK,
    TXN_CONFLICT,
    TXN_FULL,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.transactions import ANY
from tests.support.scripted_steps import NOT_DONE, UNKNOWN, ScriptedSteps

KEYS = (b"a1", b"b2", b"c2", b"d3")
ALL = {b"a1": b"A", b"b2": b"B", b"c2": None, b"d3": b"D"}
REFUSED = (TXN_CONFLICT, b"b2")
SECOND_NS = 1_000_000_000


def group_of(key: bytes) -> int:
    """`b2` lies in group 2."""
    return int(key[1:])


class World:
    """A snapshot of four keys in groups 1, 2 and 3."""

    def __init__(self) -> None:
        self.log = ScriptedSteps()
        coordinator: Any = self.log
        self.snapshots = Snapshots(coordinator, Random(1))
        self.outcomes: list[Any] = []

    def take(self, limit_ms: int = 2_000) -> None:
        self.snapshots.take(KEYS, limit_ms, group_of, None, self.outcomes.append)

    def end(self, word: str, outcome: Any, *groups: int) -> None:
        for group_id in groups or (1, 2, 3):
            self.log.end(f"{word} {group_id}", outcome)

    def read(self) -> None:
        """All reads have their answers."""
        for read in self.log.take_reads():
            read.end([ALL[key] for key in read.keys])

    def pass_ns(self, ns: int) -> None:
        self.log.now_ns += ns
        self.snapshots.tick()

    def succeed(self) -> None:
        """From all prepares to the end."""
        self.end("prepare", TXN_PREPARED)
        self.read()
        self.end("resolve", TXN_RELEASED)

    @property
    def failure(self) -> Failure:
        (failure,) = self.outcomes
        assert isinstance(failure, Failure)
        assert failure.outcome_known
        return failure


@pytest.fixture
def world() -> World:
    return World()


def test_a_snapshot_from_its_first_to_its_last_step(world: World) -> None:
    world.take()
    assert world.log.names == ["prepare 1", "prepare 2", "prepare 3"]
    txn = world.log.steps[0].args[0]
    assert world.log.steps[1].args == (
        *(txn, 1, world.log.now_ms + ATTEMPT_MS, ((b"b2", ANY), (b"c2", ANY)), ()),
    )
    world.end("prepare", TXN_PREPARED, 3, 1)
    assert world.log.reads == [], "not before all is held"
    world.end("prepare", TXN_PREPARED, 2)
    assert [read.keys for read in world.log.reads] == [(b"a1",), (b"b2", b"c2"), (b"d3",)]
    assert world.log.names == []
    world.read()
    assert world.log.names == ["resolve 1", "resolve 2", "resolve 3"]
    assert {step.args for step in world.log.steps} == {(txn, world.log.now_ms + ATTEMPT_MS, 0)}
    world.end("resolve", TXN_RELEASED, 1, 3)
    assert world.outcomes == [], "one may have lost it"
    world.end("resolve", TXN_RELEASED, 2)
    assert world.outcomes == [ALL]
    assert not world.snapshots.runs
    assert world.log.steps == []


def test_who_refuses_is_asked_again_while_the_others_hold(world: World) -> None:
    world.take()
    world.end("prepare", TXN_PREPARED, 1, 3)
    world.end("prepare", REFUSED, 2)
    world.pass_ns(AGAIN_NS - 1)
    assert world.log.names == []
    world.pass_ns(1)
    assert world.log.names == ["prepare 2"]
    world.end("prepare", REFUSED, 2)
    world.pass_ns(AGAIN_NS)
    world.end("prepare", TXN_PREPARED, 2)
    world.read()
    world.end("resolve", TXN_RELEASED)
    assert world.outcomes == [ALL]


@pytest.mark.parametrize("answer", [OK, NOT_DONE, UNKNOWN])
@pytest.mark.parametrize("group_id", [1, 2, 3])
def test_what_was_read_after_a_hold_had_ended_is_not_given(
    world: World, answer: Any, group_id: int
) -> None:
    world.take()
    first = world.log.steps[0].args[0]
    world.end("prepare", TXN_PREPARED)
    world.read()
    for group in (1, 2, 3):
        world.end("resolve", answer if group == group_id else TXN_RELEASED, group)
    assert world.outcomes == []
    world.pass_ns(AGAIN_NS)
    assert world.log.steps[0].args[0] != first, "an identity of its own"
    world.succeed()
    assert world.outcomes == [ALL]


@pytest.mark.parametrize(
    ("answer", "held"), [(TXN_TOO_LATE, ()), (TXN_FULL, ()), (NOT_DONE, ()), (UNKNOWN, (2,))]
)
def test_after_another_answer_all_is_released_and_begins_anew(
    world: World, answer: Any, held: tuple[int, ...]
) -> None:
    world.take()
    world.end("prepare", TXN_PREPARED, 1)
    world.end("prepare", answer, 2)
    assert set(world.log.names) == {"prepare 3", "resolve 1", *(f"resolve {g}" for g in held)}
    world.end("resolve", TXN_RELEASED, 1, *held)
    world.end("prepare", TXN_PREPARED, 3)
    assert world.log.names == ["resolve 3"], "what comes late is released too"
    world.end("resolve", TXN_RELEASED, 3)
    world.pass_ns(AGAIN_NS)
    world.succeed()
    assert world.outcomes == [ALL]


def test_a_read_that_fails_ends_the_attempt(world: World) -> None:
    world.take()
    world.end("prepare", TXN_PREPARED)
    first, *others = world.log.take_reads()
    first.end(NOT_DONE)
    assert world.log.names == ["resolve 1", "resolve 2", "resolve 3"]
    for read in others:
        read.end([ALL[key] for key in read.keys])
    world.end("resolve", TXN_RELEASED)
    assert world.outcomes == []
    world.pass_ns(AGAIN_NS)
    world.succeed()
    assert world.outcomes == [ALL]


@pytest.mark.parametrize("reads", [False, True])
def test_an_attempt_that_takes_too_long_begins_anew(world: World, reads: bool) -> None:
    world.take()
    world.end("prepare", TXN_PREPARED, 1, 2)
    world.end("prepare", TXN_PREPARED if reads else (TXN_CONFLICT, b"d3"), 3)
    world.pass_ns(ATTEMPT_NS)
    assert world.log.names == [f"resolve {group}" for group in ((1, 2, 3) if reads else (1, 2))]
    world.log.steps.clear()
    world.pass_ns(AGAIN_NS)
    assert world.log.names == ["prepare 1", "prepare 2", "prepare 3"]


def test_past_its_limit_it_is_not_done_and_holds_nothing(world: World) -> None:
    world.take(limit_ms=500)
    world.end("prepare", TXN_PREPARED, 1, 3)
    world.end("prepare", REFUSED, 2)
    world.pass_ns(SECOND_NS // 2)
    assert world.failure.why == f"no snapshot of the keys within 500 ms: {HELD_WHY}"
    assert world.log.names == ["resolve 1", "resolve 3"]
    world.end("resolve", TXN_RELEASED, 1, 3)
    world.pass_ns(SECOND_NS)
    assert world.log.steps == []
    assert not world.snapshots.runs


def test_its_limit_while_it_is_released_and_between_attempts(world: World) -> None:
    world.take()
    world.end("prepare", TXN_PREPARED)
    world.read()
    world.pass_ns(2 * SECOND_NS)
    assert world.failure.why.endswith(HELD_WHY)
    world.end("resolve", TXN_RELEASED)
    assert len(world.outcomes) == 1
    world.outcomes.clear()
    world.take()
    world.end("prepare", TXN_PREPARED)
    world.read()
    world.end("resolve", OK)
    world.pass_ns(2 * SECOND_NS)
    assert world.failure.why.endswith(ENDED_WHY)
    assert world.log.steps == []


def test_the_time_of_a_request_bounds_it(world: World) -> None:
    world.take(limit_ms=60_000)
    assert {step.deadline_ns for step in world.log.steps} == {5 * SECOND_NS}


def test_a_full_shard_says_so(world: World) -> None:
    world.take()
    world.end("prepare", TXN_FULL, 1)
    world.pass_ns(2 * SECOND_NS)
    assert world.failure.why.endswith(TOO_MANY_THERE)


def test_so_many_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOTS_MAX", 1)
    world.take()
    world.take()
    assert world.failure.why == TOO_MANY_HERE
    world.outcomes.clear()
    world.succeed()
    world.take()
    world.succeed()
    assert world.outcomes == [ALL, ALL]


def test_answers_that_come_at_once(world: World) -> None:
    for group_id in (1, 2, 3):
        world.log.answer_at_once[f"prepare {group_id}"] = TXN_PREPARED
        world.log.answer_at_once[f"resolve {group_id}"] = TXN_RELEASED
    world.take()
    world.read()
    assert world.outcomes == [ALL]
    world.log.answer_at_once["prepare 1"] = NOT_DONE
    world.take()
    assert world.log.steps == [], "the others are not asked"
