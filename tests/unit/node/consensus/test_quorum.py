"""Quorums against their definition, exhaustively for small groups."""

from __future__ import annotations

from itertools import product

import pytest

from quorumcache.node.consensus.quorum import (
    VoteResult,
    joint_vote_result,
    majority_value,
    quorum_size,
    vote_result,
)


@pytest.mark.parametrize(("voters", "size"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_two_quorums_always_overlap(voters: int, size: int) -> None:
    assert quorum_size(voters) == size
    assert 2 * size > voters
    assert 2 * (size - 1) <= voters


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_majority_value_is_the_largest_that_a_majority_reaches(count: int) -> None:
    for values in product(range(4), repeat=count):
        result = majority_value(values)
        assert sum(v >= result for v in values) >= quorum_size(count)
        assert sum(v >= result + 1 for v in values) < quorum_size(count)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_vote_result_by_every_combination(count: int) -> None:
    voters = tuple(range(1, count + 1))
    for answers in product((None, True, False), repeat=count):
        votes = {v: a for v, a in zip(voters, answers, strict=True) if a is not None}
        votes[99] = True  # a stranger
        granted = sum(a is True for a in answers)
        refused = sum(a is False for a in answers)
        if granted >= quorum_size(count):
            expected = VoteResult.WON
        elif count - refused < quorum_size(count):
            expected = VoteResult.LOST
        else:
            expected = VoteResult.PENDING
        assert vote_result(votes, voters) is expected


def test_a_joint_election_needs_both_and_loses_by_either() -> None:
    incoming, outgoing = (1, 2, 3), (3, 4, 5)
    for answers in product((None, True, False), repeat=5):
        votes = {v: a for v, a in zip(range(1, 6), answers, strict=True) if a is not None}
        halves = (vote_result(votes, incoming), vote_result(votes, outgoing))
        result = joint_vote_result(votes, incoming, outgoing)
        if VoteResult.LOST in halves:
            assert result is VoteResult.LOST
        elif halves == (VoteResult.WON, VoteResult.WON):
            assert result is VoteResult.WON
        else:
            assert result is VoteResult.PENDING
        assert joint_vote_result(votes, incoming, ()) is halves[0]
