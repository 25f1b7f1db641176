"""Every step of a group on its way to another replica set, and when none may be taken."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.replica.steering import is_reached, next_step

ALL = frozenset(range(1, 10))


def walk(
    configuration: Configuration, target: tuple[int, ...], decided: int = 5, leader: int = 1
) -> list[Configuration]:
    """All steps while everybody answers and is caught up."""
    steps = []
    while (step := next_step(configuration, target, decided, ALL, leader)) is not None:
        steps.append(step)
        configuration = step
        assert len(steps) < 20
    return steps


def test_a_group_that_moves_altogether_adds_all_before_it_removes_any() -> None:
    steps = walk(Configuration((1, 2, 3)), (4, 5, 6))
    assert [step[:2] for step in steps] == [
        ((1, 2, 3), (4, 5, 6)),
        ((1, 2, 3, 4), (5, 6)),
        ((1, 2, 3, 4, 5), (6,)),
        ((1, 2, 3, 4, 5, 6), ()),
        ((1, 3, 4, 5, 6), ()),
        ((1, 4, 5, 6), ()),
        ((4, 5, 6), ()),
    ]
    assert all(step.decision == 5 for step in steps)
    assert is_reached(steps[-1], (4, 5, 6), 5)


@pytest.mark.parametrize(
    ("before", "target", "count"),
    [
        (Configuration((1, 2, 3)), (1, 2, 4), 3),
        (Configuration((1, 2, 3), (9,)), (1, 2, 3), 1),
        (Configuration((1, 2, 3)), (3, 2, 1), 1),
        (Configuration((1,)), (1, 2, 3), 3),
        (Configuration((1, 2, 3, 4, 5)), (4, 5, 1), 2),
        (Configuration((1, 2, 3), (), (), 5), (1, 2, 3), 0),
    ],
)
def test_other_ways_are_as_short_as_they_can_be(
    before: Configuration, target: tuple[int, ...], count: int
) -> None:
    steps = walk(before, target)
    assert len(steps) == count
    assert is_reached(steps[-1] if steps else before, target, 5)


def test_one_replica_changes_its_part_at_a_time() -> None:
    """So the majorities before and after a step have a replica in common."""
    before = Configuration((1, 2, 3))
    for step in walk(before, (4, 5, 6)):
        assert len(set(step.voters) ^ set(before.voters)) <= 1
        before = step


def test_a_group_that_is_where_it_should_be_gets_the_fence_once() -> None:
    before = Configuration((1, 2, 3), (), (), 4)
    fence = next_step(before, (3, 1, 2), 5, ALL, 1)
    assert fence == Configuration((1, 2, 3), (), (), 5)
    assert next_step(fence, (3, 1, 2), 5, ALL, 1) is None


@pytest.mark.parametrize("position", range(7))
def test_any_leader_goes_on_from_any_step(position: int) -> None:
    """Nothing is remembered between steps; the last old leader is another one now."""
    before = walk(Configuration((1, 2, 3)), (4, 5, 6))[position]
    for leader in before.voters:
        steps = walk(before, (4, 5, 6), leader=leader)
        assert is_reached([before, *steps][-1], (4, 5, 6), 5)


@pytest.mark.parametrize("position", range(7))
def test_a_later_decision_turns_back_from_any_step(position: int) -> None:
    before = walk(Configuration((1, 2, 3)), (4, 5, 6))[position]
    steps = walk(before, (1, 2, 3), decided=8)
    assert steps[0].decision == 8
    assert is_reached(steps[-1], (1, 2, 3), 8)
    if position == 0:
        assert steps == [Configuration((1, 2, 3), (), (), 8)]


@pytest.mark.parametrize("position", range(7))
def test_an_earlier_decision_is_never_acted_on(position: int) -> None:
    before = walk(Configuration((1, 2, 3)), (4, 5, 6))[position]
    assert next_step(before, (1, 2, 3), 4, ALL, 1) is None
    assert next_step(before, (7, 8, 9), 4, ALL, 1) is None


def test_a_joint_change_is_waited_for() -> None:
    joint = Configuration((1, 2, 4), (), (1, 2, 3))
    assert next_step(joint, (4, 5, 6), 5, ALL, 1) is None


def test_a_node_that_may_not_be_added_yet_is_waited_for_and_the_others_go_ahead() -> None:
    before = Configuration((1, 2, 3))
    assert next_step(before, (4, 5, 6), 5, {1, 2, 3}, 1) is None
    step = next_step(before, (4, 5, 6), 5, {1, 2, 3, 5}, 1)
    assert step == Configuration((1, 2, 3), (5,), (), 5)
    step = next_step(step, (4, 5, 6), 5, {1, 2, 3, 5}, 1)
    assert step == Configuration((1, 2, 3, 5), (), (), 5)
    assert next_step(step, (4, 5, 6), 5, {1, 2, 3, 5}, 1) is None


def test_a_learner_that_is_not_caught_up_stays_one() -> None:
    before = Configuration((1, 2, 3), (4, 5), (), 5)
    assert next_step(before, (1, 4, 5), 5, {1, 2, 3}, 1) is None
    step = next_step(before, (1, 4, 5), 5, {1, 2, 3, 5}, 1)
    assert step == Configuration((1, 2, 3, 5), (4,), (), 5)


def test_no_old_voter_goes_before_all_the_new_ones_are_there() -> None:
    before = Configuration((1, 2, 3), (4,), (), 5)
    assert next_step(before, (1, 4), 5, {1, 2, 3}, 1) is None


def test_a_voter_that_holds_the_data_stays_until_as_many_as_wanted_do() -> None:
    before = Configuration((1, 2, 3, 4, 5, 6), (), (), 5)
    step = next_step(before, (4, 5, 6), 5, {1, 2, 3, 4, 6}, 1)
    assert step is not None
    assert step.voters == (1, 3, 4, 5, 6)
    step = next_step(step, (4, 5, 6), 5, {1, 3, 4, 6}, 1)
    assert step is not None
    assert step.voters == (1, 4, 5, 6)
    assert next_step(step, (4, 5, 6), 5, {1, 4, 6}, 1) is None
    step = next_step(step, (4, 5, 6), 5, {1, 4, 5, 6}, 1)
    assert step is not None
    assert step.voters == (4, 5, 6)


def test_a_voter_that_is_gone_leaves_first() -> None:
    before = Configuration((1, 2, 3, 4, 5), (), (), 5)
    step = next_step(before, (1, 4, 5), 5, {1, 2, 4, 5}, 1)
    assert step is not None
    assert step.voters == (1, 2, 4, 5)


def test_nobody_leaves_if_those_that_answer_would_be_no_majority() -> None:
    """Such a change could not be committed, and nothing after it."""
    before = Configuration((1, 2, 3, 4), (), (), 5)
    assert next_step(before, (1, 2, 3), 5, {1, 4}, 1) is None
    assert next_step(before, (1, 2, 3), 5, {1}, 1) is None
    step = next_step(before, (1, 2, 3), 5, {1, 2}, 1)
    assert step is not None
    assert step.voters == (1, 2, 3)


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration((1, 2, 3), (), (), 4),
        Configuration((1, 2, 3), (), (), 6),
        Configuration((1, 2, 3), (4,), (), 5),
        Configuration((1, 2), (), (), 5),
        Configuration((1, 2, 3, 4), (), (), 5),
        Configuration((1, 2, 3), (), (1, 2), 5),
    ],
)
def test_what_is_not_reached(configuration: Configuration) -> None:
    assert not is_reached(configuration, (3, 2, 1), 5)
    assert is_reached(Configuration((1, 2, 3), (), (), 5), (3, 2, 1), 5)
