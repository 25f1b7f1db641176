"""Goal: a learner stands for election if, and only if, a replica that takes it for a voter cannot
do without its log. It is elected by the voters of its own configuration, and gives the lead to one.

Method: one replica by hand. tests/scenarios/raft_15_learner_stands.txt tells the whole story.
"""

from __future__ import annotations

from quorumcache.node.consensus.raft.configurations import ASKED_ELECTIONS
from quorumcache.node.consensus.raft.messages import PreVote, PreVoteReply, TimeoutNow, Vote
from quorumcache.node.consensus.values import Role
from tests.support.raft_solo import ELECTION_TICKS, Solo

VOTERS = (1, 2, 3)
LEARNER = 4
BEHIND = PreVote(3, 5, 1)
"""Of a log that ends in an earlier term than the learner's."""


def learner(*, learners: tuple[int, ...] = (LEARNER,)) -> Solo:
    solo = Solo(VOTERS, replica=LEARNER, learners=learners, term=2, terms=(1, 1, 2))
    solo.tick(2 * ELECTION_TICKS)  # Promises from before the start are over.
    solo.flush()
    return solo


def asked(solo: Solo, question: PreVote = BEHIND) -> Solo:
    solo.step(1, question)
    return solo


def test_an_unasked_learner_does_not_stand() -> None:
    solo = learner()
    solo.tick(10 * ELECTION_TICKS)
    solo.raft.campaign()
    solo.step(1, TimeoutNow(2))
    assert solo.raft.role is Role.FOLLOWER
    assert solo.flush() == []


def test_a_learner_that_is_asked_by_one_behind_it_refuses_and_stands() -> None:
    solo = asked(learner())
    assert solo.flush() == [(1, PreVoteReply(2, False))]
    solo.tick(2 * ELECTION_TICKS)
    assert solo.raft.role is Role.PRE_CANDIDATE
    assert solo.sent(PreVote)[:3] == [(voter, PreVote(3, 3, 2)) for voter in VOTERS]


def test_a_learner_that_can_give_its_vote_does_not_stand() -> None:
    solo = asked(learner(), PreVote(3, 3, 2))
    assert solo.flush() == [(1, PreVoteReply(3, True))]
    solo.tick(4 * ELECTION_TICKS)
    assert solo.raft.role is Role.FOLLOWER


def test_a_question_is_forgotten() -> None:
    solo = asked(learner())
    solo.raft.timer_tick = solo.raft.ticks + ASKED_ELECTIONS * ELECTION_TICKS
    solo.raft.deadline_tick = solo.raft.timer_tick + 1
    solo.tick((ASKED_ELECTIONS + 3) * ELECTION_TICKS)
    assert solo.raft.role is Role.FOLLOWER


def test_one_that_is_no_member_at_all_does_not_stand() -> None:
    solo = asked(learner(learners=()))
    solo.tick(3 * ELECTION_TICKS)
    assert solo.raft.role is Role.FOLLOWER


def test_a_learners_own_vote_does_not_count() -> None:
    """Of three voters two have to follow it: with its own vote one would have been enough."""
    solo = asked(learner())
    solo.tick(2 * ELECTION_TICKS)
    solo.step(1, PreVoteReply(3, True))
    assert solo.raft.role is Role.PRE_CANDIDATE
    solo.step(3, PreVoteReply(3, True))
    assert solo.raft.role is Role.CANDIDATE
    assert [to for to, _ in solo.sent(Vote)] == list(VOTERS)


def test_a_learner_commits_by_the_voters_and_gives_the_lead_to_one() -> None:
    solo = asked(learner())
    solo.tick(2 * ELECTION_TICKS)
    solo.become_leader(1, 3)
    assert solo.raft.commit_index == 0
    solo.acknowledge(1)
    assert solo.raft.role is Role.LEADER, "one of three voters is no majority"
    solo.acknowledge(3)
    assert solo.raft.commit_index == 4
    assert solo.raft.role is Role.FOLLOWER
    assert solo.sent(TimeoutNow) == [(1, TimeoutNow(3))]
