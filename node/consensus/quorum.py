"""Majorities, of one set of voters or of both sets of a joint configuration.

Plain functions over what each voter has acknowledged. The order of the voters does not matter, and
a learner is never among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum


class VoteResult(IntEnum):
    """Where an election stands."""

    PENDING = 0
    WON = 1
    LOST = 2
    """No majority can come about any more."""


def quorum_size(voter_count: int) -> int:
    """Least number of voters of which any two sets have a member in common."""
    return voter_count // 2 + 1


def majority_value(values: Sequence[int]) -> int:
    """Largest value that a majority of `values` reaches; `values` is non-empty, one per voter.

    Used for match indexes, for lease starts and for read rounds alike. Source: Raft thesis 3.5.
    """
    count = len(values)
    if count == 3:
        return median(values[0], values[1], values[2])
    if count == 1:
        return values[0]
    return sorted(values, reverse=True)[count // 2]


def median(a: int, b: int, c: int) -> int:
    """`majority_value` of three voters, the usual number, without a list."""
    if a > b:
        a, b = b, a
    if c <= a:
        return a
    return c if c < b else b


def vote_result(votes: Mapping[int, bool], voters: Sequence[int]) -> VoteResult:
    """Result among `voters` of the `votes` that have arrived; others' votes do not count.

    An empty `voters` (the outgoing half of a configuration that is not joint) is always won.
    """
    granted = 0
    missing = 0
    for voter in voters:
        vote = votes.get(voter)
        if vote is None:
            missing += 1
        elif vote:
            granted += 1
    needed = quorum_size(len(voters)) if voters else 0
    if granted >= needed:
        return VoteResult.WON
    return VoteResult.PENDING if granted + missing >= needed else VoteResult.LOST


def joint_vote_result(
    votes: Mapping[int, bool], voters: Sequence[int], voters_outgoing: Sequence[int]
) -> VoteResult:
    """Both halves must be won; either can lose the election (Raft thesis 4.3)."""
    incoming = vote_result(votes, voters)
    if not voters_outgoing:
        return incoming
    outgoing = vote_result(votes, voters_outgoing)
    if incoming is outgoing:
        return incoming
    if VoteResult.LOST in (incoming, outgoing):
        return VoteResult.LOST
    return VoteResult.PENDING
