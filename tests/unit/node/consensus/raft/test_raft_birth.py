"""Goal: a replica that is born empty has no say until the log makes it a member, and one whose disk
has lost entries has none any more.

Method: one replica by hand, or a small cluster.
"""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.errors import AcknowledgedEntriesLost
from quorumcache.node.consensus.raft.configurations import encode_configuration
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    PreVote,
    PreVoteReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.values import Configuration, Entry, EntryKind, Role
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_solo import ELECTION_TICKS, Solo

EMPTY = ()


# -- born empty ----------------------------------------------------------------------------


def test_the_first_entry_of_a_group_is_its_configuration() -> None:
    """So that a replica that knows nothing of the group finds it in the log."""
    solo = Solo((1, 2, 3), learners=(4,))
    solo.lead()
    first = solo.applied[0]
    assert (first.index, first.kind) == (1, EntryKind.CONFIG)
    assert first.payload == encode_configuration(Configuration((1, 2, 3), (4,)))


def test_later_terms_begin_with_a_noop() -> None:
    solo = Solo(term=1, terms=(1,))
    solo.lead()
    assert [entry.kind for entry in solo.applied] == [EntryKind.NORMAL, EntryKind.NOOP]


def test_an_empty_replica_never_stands() -> None:
    solo = Solo(EMPTY, replica=4)
    solo.tick(5 * ELECTION_TICKS)
    solo.raft.campaign()
    solo.step(1, TimeoutNow(1))
    solo.tick(5 * ELECTION_TICKS)
    assert solo.raft.role is Role.FOLLOWER
    assert not [m for _, m in solo.flush() if isinstance(m, PreVote | Vote)]


def test_an_empty_replica_refuses_its_vote() -> None:
    solo = Solo(EMPTY, replica=4)
    solo.step(1, PreVote(1, 10, 1))
    assert solo.flush() == [(1, PreVoteReply(0, False))]
    solo.step(1, Vote(1, 10, 1, False))
    assert solo.flush() == [(1, VoteReply(1, False))]


def test_the_log_makes_an_empty_replica_a_member() -> None:
    """The configuration counts from the moment it is in the log (thesis 4.1)."""
    solo = Solo(EMPTY, replica=4)
    configuration = Configuration((1, 2, 3, 4))
    entry = Entry(1, 1, EntryKind.CONFIG, encode_configuration(configuration))
    solo.step(1, Append(1, 0, 0, 0, (entry,)))
    assert solo.flush() == [(1, AppendReply(1, 1, False, 0, 0))]
    assert solo.raft.configuration == configuration
    solo.time_out()
    assert solo.raft.role is Role.PRE_CANDIDATE


def test_an_empty_replica_joins_from_the_log_alone() -> None:
    """No snapshot is needed: the log begins with the configuration."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    leader.change_membership(Configuration((1, 2, 3), (4,)))
    cluster.add(4, Configuration(()))
    cluster.pump()
    cluster.tick(5)
    leader.change_membership(Configuration((1, 2, 3, 4)))
    cluster.pump()
    cluster.tick(5)
    assert cluster[4].configuration == Configuration((1, 2, 3, 4))
    assert cluster[4].commit_index == leader.commit_index


def test_what_an_earlier_replica_of_the_node_acknowledged_is_no_loss_of_the_new_one() -> None:
    """A leader stood still while the earlier one was removed and this one was born."""
    solo = Solo(EMPTY, replica=4)
    solo.step(1, Heartbeat(1, 3, 0, 0))
    assert solo.raft.commit_index == 0
    entry = Entry(1, 1, EntryKind.CONFIG, encode_configuration(Configuration((1, 2, 4))))
    solo.step(1, Append(1, 0, 0, 0, (entry,)))
    solo.tick(5 * ELECTION_TICKS)
    assert solo.raft.role is Role.FOLLOWER, "its log may lack what is committed"


# -- a disk that lost acknowledged data ----------------------------------------------------


def forgetful() -> Solo:
    """Replica 1 holds two entries and has heard that three are committed."""
    solo = Solo(term=2, terms=(1, 1))
    solo.tick(ELECTION_TICKS)
    solo.step(2, Append(2, 3, 2, 3, ()))
    replies = [m for _, m in solo.flush() if isinstance(m, AppendReply)]
    assert replies[0].reject
    return solo


def test_a_log_that_ends_below_a_known_commit_does_not_stand() -> None:
    solo = forgetful()
    solo.tick(5 * ELECTION_TICKS)
    assert solo.raft.role is Role.FOLLOWER
    solo.step(2, TimeoutNow(2))
    assert solo.raft.role is Role.FOLLOWER


@pytest.mark.parametrize("last_index", [2, 3])
def test_a_log_that_ends_below_a_known_commit_is_not_voted_for(last_index: int) -> None:
    """The candidate's log is no worse than ours. Alone that would do (thesis 3.6.1)."""
    granted = last_index == 3
    solo = forgetful()
    solo.tick(2 * ELECTION_TICKS)
    solo.step(3, PreVote(3, last_index, 2))
    assert solo.flush() == [(3, PreVoteReply(3 if granted else 2, granted))]
    solo.step(3, Vote(3, last_index, 2, False))
    assert solo.flush() == [(3, VoteReply(3, granted))]


def test_a_replica_that_lost_what_it_acknowledged_says_so() -> None:
    """A heartbeat tells of no commit above what we acknowledged to that leader."""
    solo = Solo(term=1, terms=(1,))
    with pytest.raises(AcknowledgedEntriesLost) as caught:
        solo.step(2, Heartbeat(1, 3, 0, 0))
    assert (caught.value.index, caught.value.last_index) == (3, 1)


def test_it_stands_again_once_it_has_caught_up() -> None:
    solo = forgetful()
    entry = Entry(3, 2, EntryKind.NOOP, b"")
    solo.step(2, Append(2, 2, 1, 3, (entry,)))
    assert solo.raft.commit_index == 3
    solo.time_out()
    assert solo.raft.role is Role.PRE_CANDIDATE
