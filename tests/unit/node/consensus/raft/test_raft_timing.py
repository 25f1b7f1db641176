"""When replicas stand for election, and what transport hints change about it."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.raft.messages import (
    AppendReply,
    PreVote,
    PreVoteReply,
    TimeoutNow,
    Vote,
)
from quorumcache.node.consensus.values import Role
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_solo import ELECTION_TICKS, Solo


@pytest.mark.parametrize(
    ("voters", "replica", "rank"),
    [((2, 1, 3), 1, 0), ((2, 3, 1), 1, 1), ((1, 2, 3), 1, 0), ((5, 4, 2, 3, 1), 1, 3)],
)
def test_an_unreachable_leader_is_replaced_in_configuration_order(
    voters: tuple[int, ...], replica: int, rank: int
) -> None:
    """Exactly election_ticks after it was last heard, plus rank * stagger_ticks."""
    solo = Solo(voters, replica=replica, term=1)
    solo.tick(7)
    solo.follow(2, 1)
    solo.tick(3)
    solo.raft.peer_unreachable(2)
    solo.tick(ELECTION_TICKS - 3 + 3 * rank - 1)
    assert solo.raft.role is Role.FOLLOWER
    solo.tick()
    assert solo.raft.role is Role.PRE_CANDIDATE


def test_a_hint_long_after_the_fact_acts_at_the_next_tick() -> None:
    solo = Solo(term=1, seed=2)
    solo.follow(2, 1)
    while solo.raft.ticks < ELECTION_TICKS:
        solo.tick()
    assert solo.raft.role is Role.FOLLOWER
    solo.raft.peer_unreachable(2)
    solo.tick()
    assert solo.raft.role is Role.PRE_CANDIDATE


def test_a_hint_is_forgotten_when_the_leader_is_heard_again() -> None:
    solo = Solo(term=1)
    solo.follow(2, 1)
    solo.raft.peer_unreachable(2)
    solo.tick(10)
    solo.follow(2, 1)
    solo.tick(ELECTION_TICKS - 1)
    assert solo.raft.role is Role.FOLLOWER


def test_hints_about_others_mean_nothing_to_a_follower() -> None:
    solo = Solo(term=1)
    solo.follow(2, 1)
    before = solo.raft.deadline_tick
    solo.raft.peer_unreachable(3)
    assert solo.raft.deadline_tick == before


def test_an_unreachable_peer_is_probed_after_it_answers_again() -> None:
    solo = Solo()
    raft = solo.lead()
    raft.propose(b"x")
    solo.flush()
    raft.peer_unreachable(2)
    assert raft.progress()[2][:4] == (1, 2, "probe", True)
    raft.propose(b"y")
    assert [to for to, m in solo.flush() if m[0]] == [3], "nothing is sent into the void"
    solo.tick(5)
    solo.echo(2)
    ((to, append),) = solo.flush()
    assert to == 2
    assert [e.payload for e in append.entries] == [b"x", b"y"]
    solo.acknowledge(2)
    assert raft.progress()[2].state == "replicate"
    raft.peer_unreachable(9)


def test_a_dead_leader_is_replaced_within_its_promise_and_a_few_ticks() -> None:
    """The whole cluster: hint, staggered timeouts, repeated pre-votes."""
    for voters in (3, 5):
        cluster = RaftCluster(voters)
        cluster.elect(1)
        cluster.tick(3)
        cluster.crash(1)
        for replica in range(2, voters + 1):
            cluster[replica].peer_unreachable(1)
        cluster.tick(ELECTION_TICKS + 3)
        assert cluster.leader().replica_id == 2


def test_unanswered_requests_are_repeated_at_growing_intervals() -> None:
    """A voter within its promise says nothing: ask again, so that no timeout is lost."""
    solo = Solo(term=1)
    solo.time_out()
    counts = []
    start = solo.raft.ticks
    while solo.raft.ticks < start + 16:
        if any(isinstance(m, PreVote) for _, m in solo.flush()):
            counts.append(solo.raft.ticks - start)
        solo.tick()
    assert counts == [0, 1, 3, 7, 15]


def test_a_forced_election_repeats_its_force() -> None:
    solo = Solo(term=1)
    solo.follow(2, 1)
    solo.step(2, TimeoutNow(1))
    assert [m.force for _, m in solo.flush() if isinstance(m, Vote)] == [True, True]
    solo.tick()
    assert [m.force for _, m in solo.flush() if isinstance(m, Vote)] == [True, True]


def test_force_ends_with_the_election_that_was_asked_for() -> None:
    """What the leader gave up was its own lease, and not one of a leader after it."""
    solo = Solo(term=1)
    solo.follow(2, 1)
    solo.step(2, TimeoutNow(1))
    assert solo.raft.term == 2
    while solo.raft.role is Role.CANDIDATE:
        solo.flush()
        solo.tick()
    solo.flush()
    solo.step(3, PreVoteReply(3, True))
    assert solo.raft.term == 3
    assert [m.force for _, m in solo.flush() if isinstance(m, Vote)] == [False, False]


@pytest.mark.parametrize("role", ["learner", "candidate"])
def test_timeout_now_is_for_followers_that_vote(role: str) -> None:
    if role == "learner":
        solo = Solo((2, 3), replica=1, learners=(1,), term=1)
    else:
        solo = Solo(term=0)
        solo.become_candidate()
    term = solo.raft.term
    solo.step(2, TimeoutNow(term))
    assert solo.raft.term == term


def test_a_pre_candidate_that_votes_for_another_stands_back() -> None:
    solo = Solo(term=1)
    solo.time_out()
    solo.step(2, Vote(2, 0, 0, False))
    assert (solo.raft.role, solo.raft.term, solo.raft.voted_for) == (Role.FOLLOWER, 2, 2)


def test_of_two_pre_candidates_the_later_in_the_configuration_stands_back() -> None:
    """They timed out in the same tick, and would split the vote otherwise."""
    for replica, role in ((2, Role.FOLLOWER), (1, Role.PRE_CANDIDATE)):
        solo = Solo((1, 2, 3), replica=replica, term=1)
        solo.time_out()
        solo.step(3 - replica, PreVote(2, 0, 0))
        assert solo.raft.role is role
        assert (3 - replica, (2, True)) in solo.flush()


def test_a_replica_with_a_newer_term_is_let_back_in() -> None:
    """It refuses the leader's messages by its term; the leader yields and wins again."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    cluster[3].step(2, AppendReply(9, 0, True, 0, 0))
    cluster.tick(5 * ELECTION_TICKS)
    assert len({cluster[i].term for i in (1, 2, 3)}) == 1
    assert cluster.leader().term > 9
    cluster.leader().propose(b"x")
    cluster.tick(10)
    assert cluster.states() == [[b"x"]] * 3
    assert leader.term > 9
