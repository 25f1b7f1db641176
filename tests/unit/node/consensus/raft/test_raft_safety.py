"""The subtle rules of Raft as it is built here, one test each."""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.errors import AcknowledgedEntriesLost, ProposalDropped
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.values import Configuration, Entry, HardState, Role, SnapshotMeta
from tests.support.raft_solo import ELECTION_TICKS, TICK_NS, Solo, log_of


def test_an_acknowledgement_never_exceeds_what_the_message_proved() -> None:
    """The follower's log is longer than what the leader sent; the rest may be wrong."""
    solo = Solo(term=2, terms=(1, 1, 1, 1))
    solo.step(2, Append(2, 1, 1, 0, (Entry(2, 1, 0, b"2@1"),)))
    assert solo.flush() == [(2, AppendReply(2, 2, False, 0, 0))]
    solo.step(2, Append(2, 3, 1, 0, ()))
    assert solo.flush() == [(2, AppendReply(2, 3, False, 0, 0))]


def test_a_commit_index_counts_only_as_far_as_the_message_proved() -> None:
    """The leader has committed more, but what we hold behind its entries may be another's."""
    solo = Solo(term=2, terms=(1, 1, 1, 1))
    solo.step(2, Append(2, 1, 1, 4, (Entry(2, 1, 0, b"2@1"),)))
    solo.flush()
    assert solo.raft.commit_index == 2
    assert [entry.index for entry in solo.applied] == [1, 2]
    solo.step(2, Append(2, 3, 1, 4, ()))
    assert solo.raft.commit_index == 3


def test_an_append_from_below_the_commit_index_is_matched_from_there() -> None:
    """Also when its beginning is compacted away here."""
    solo = Solo(term=1)
    solo.step(2, Append(1, 0, 0, 3, tuple(log_of((1, 1, 1, 1)))))
    solo.flush()
    solo.raft.compact(3)
    solo.step(2, Append(1, 0, 0, 3, tuple(log_of((1, 1)))))
    solo.step(2, Append(1, 1, 1, 3, tuple(log_of((1, 1, 1, 1), 1))))
    assert solo.flush() == [
        (2, AppendReply(1, 3, False, 0, 0)),
        (2, AppendReply(1, 5, False, 0, 0)),
    ]
    assert solo.raft.last_index == 5


def test_a_heartbeat_tells_no_more_than_the_peer_is_known_to_hold() -> None:
    """A follower has no way to check a heartbeat's commit index against its log."""
    solo = Solo()
    raft = solo.lead(2)
    raft.propose(b"x")
    solo.flush()
    solo.acknowledge(2)
    solo.flush()
    assert raft.commit_index == 2
    solo.tick(5)
    told = {to: m.commit_index for to, m in solo.flush() if isinstance(m, Heartbeat)}
    assert told == {2: 2, 3: 0}


def test_a_commit_beyond_the_log_is_lost_durability() -> None:
    """A replica that lost what it acknowledged stops rather than go on with a hole."""
    solo = Solo(term=1)
    with pytest.raises(AcknowledgedEntriesLost, match="up to 5 but holds them up to 0"):
        solo.step(2, Heartbeat(1, 5, 0, 0))


def test_durability_of_an_overwritten_entry_does_not_count() -> None:
    """The disk is slow: it confirms an entry of an earlier reign, at an index of this one."""
    solo = Solo()
    raft = solo.lead()
    raft.propose(b"old")
    slow = solo.ready()
    assert (slow.last_index, slow.last_term) == (2, 1)
    solo.step(2, Append(2, 1, 1, 1, (Entry(2, 2, 0, b"new"),)))
    solo.step(2, HeartbeatReply(3, 0, 0))
    assert raft.role is Role.FOLLOWER
    solo.tick(ELECTION_TICKS)
    solo.step(2, TimeoutNow(3))
    term = raft.term
    solo.step(3, VoteReply(term, True))
    assert raft.role is Role.LEADER
    pending = raft.ready()
    assert [(e.index, e.term) for e in pending.entries] == [(2, 2), (3, term)]
    before = raft.progress()[1].match_index
    raft.persisted(slow.last_index, slow.last_term)
    assert raft.progress()[1].match_index == before == 0
    solo.acknowledge(2)
    assert raft.commit_index == 1, "one disk of three"
    raft.persisted(pending.last_index, pending.last_term)
    assert raft.commit_index == 3


def test_a_restarted_replica_does_not_stand_within_its_promise_either() -> None:
    """Its own vote counts like any other."""
    solo = Solo(term=3, terms=(1,))
    solo.raft.campaign()
    solo.tick(ELECTION_TICKS - 1)
    assert solo.raft.role is Role.FOLLOWER
    solo.tick(2)
    assert solo.raft.role is Role.PRE_CANDIDATE, "campaign asked for the earliest moment"


def test_campaign_waits_for_the_promise_to_a_leader() -> None:
    """Else a lease of that leader, with our answer in its quorum, could overlap our reign."""
    solo = Solo()
    solo.follow(2, 1)
    solo.tick(3)
    solo.raft.campaign()
    assert solo.raft.role is Role.FOLLOWER
    solo.tick(ELECTION_TICKS - 4)
    assert solo.raft.role is Role.FOLLOWER
    solo.tick(1)
    assert solo.raft.role is Role.PRE_CANDIDATE


def test_a_fresh_replica_has_promised_nothing() -> None:
    solo = Solo()
    solo.step(2, Vote(1, 0, 0, False))
    assert solo.flush() == [(2, VoteReply(1, True))]
    solo = Solo()
    solo.raft.campaign()
    assert solo.raft.role is Role.PRE_CANDIDATE


def test_a_promise_outlives_the_term_in_which_it_was_made() -> None:
    """The leader may not have heard of the newer term, and may still hold its lease."""
    solo = Solo(term=1)
    solo.tick(ELECTION_TICKS)
    solo.follow(2, 1)
    solo.step(3, AppendReply(8, 0, True, 0, 0))
    assert (solo.raft.term, solo.raft.leader_id) == (8, 0)
    solo.flush()
    solo.step(3, Vote(8, 9, 7, False), Vote(9, 9, 8, False), PreVote(10, 9, 8))
    assert solo.flush() == []
    assert solo.raft.term == 8


def test_a_burst_of_ticks_does_not_shorten_a_promise() -> None:
    """A process that was stopped may get its ticks at once: the clock decides."""
    solo = Solo(term=1)
    solo.tick(ELECTION_TICKS)
    solo.follow(2, 1)
    solo.flush()
    for _ in range(3 * ELECTION_TICKS):
        solo.now_ns += 1000
        solo.raft.tick(solo.now_ns)
    solo.step(3, Vote(2, 9, 1, False))
    assert solo.flush() == []
    assert solo.raft.role is Role.FOLLOWER
    solo.now_ns += ELECTION_TICKS * TICK_NS
    solo.raft.tick(solo.now_ns)
    solo.step(3, PreVote(2, 9, 1))
    assert (3, (2, True)) in solo.flush()


def test_appends_and_snapshots_renew_the_promise_too() -> None:
    for message in (Append(1, 0, 0, 0, ()), Heartbeat(1, 0, 0, 0)):
        solo = Solo(term=1)
        solo.tick(ELECTION_TICKS)
        solo.step(2, message)
        solo.flush()
        solo.step(3, Vote(2, 9, 1, False))
        assert solo.flush() == []


def test_a_first_heartbeat_answer_waits_until_a_restart_would_be_noticed() -> None:
    """A replica without any durable trace would come back as fresh, free of its promise."""
    solo = Solo()
    solo.follow(2, 1)
    ready = solo.ready()
    assert ready.hard_state == HardState(1, 0)
    assert not ready.messages
    assert ready.messages_after_append == [(2, HeartbeatReply(1, 0, 0))]
    solo.persist(ready)
    solo.follow(2, 1)
    assert solo.ready().messages == [(2, HeartbeatReply(1, 0, 0))]


def test_a_sole_voter_speaks_of_its_term_only_once_that_is_durable() -> None:
    """Else it could lead in the same term again after a restart, with other entries."""
    solo = Solo((1,), learners=(2,))
    solo.time_out()
    raft = solo.raft
    assert raft.role is Role.LEADER
    raft.propose(b"x")
    ready = solo.ready()
    assert not ready.messages
    assert [type(o.message) for o in ready.messages_after_append] == [Append, Heartbeat]
    solo.persist(ready)
    assert raft.commit_index == 2
    raft.propose(b"y")
    assert not solo.ready().messages_after_append


def test_a_committed_entry_is_never_overwritten() -> None:
    solo = Solo(term=1)
    solo.step(2, Append(1, 0, 0, 2, tuple(log_of((1, 1)))))
    message = Append(2, 1, 1, 0, (Entry(2, 2, 0, b""), Entry(3, 2, 0, b"")))
    with pytest.raises(AssertionError, match="committed entries differ"):
        solo.step(3, message)


def test_a_snapshot_that_was_passed_long_ago_replaces_nothing() -> None:
    """It was delayed; meanwhile the log went on, and was compacted beyond the snapshot's end."""
    solo = Solo(term=1)
    solo.step(2, Append(1, 0, 0, 5, tuple(log_of((1, 1, 1, 1, 1)))))
    solo.flush()
    solo.raft.compact(4)
    solo.step(2, SnapshotChunk(1, 2, 1, Configuration((1, 2, 3)), 0, 4, b"data"))
    ready = solo.ready()
    assert ready.snapshot is None
    assert ready.messages_after_append == [(2, SnapshotReply(1, 2, 4, True))]
    assert (solo.raft.commit_index, solo.raft.last_index) == (5, 5)


def test_two_leaders_in_a_term_are_noticed() -> None:
    solo = Solo()
    solo.lead()
    with pytest.raises(AssertionError):
        solo.step(2, Heartbeat(1, 0, 0, 0))


def test_an_acknowledgement_from_a_stranger_is_ignored() -> None:
    """Someone removed long ago; or a message meant for another reign."""
    solo = Solo()
    raft = solo.lead(2)
    raft.propose(b"x")
    solo.flush()
    for message in (
        AppendReply(1, 2, False, 0, 0),
        HeartbeatReply(1, 0, 0),
        AppendReply(1, 2, True, 0, 0),
    ):
        solo.step(9, message)
    assert raft.commit_index == 1


def test_an_old_echo_neither_renews_a_lease_nor_confirms_a_read() -> None:
    solo = Solo()
    raft = solo.lead()
    solo.tick(5)
    solo.echo(2)
    until = raft.lease_until_ns
    raft.request_read(1, solo.now_ns)
    solo.flush()
    solo.step(3, HeartbeatReply(1, 0, 0), HeartbeatReply(1, 0, 0))
    solo.step(2, HeartbeatReply(1, 0, 0))
    assert raft.lease_until_ns == until
    assert not solo.ready().read_states


def test_rounds_of_an_earlier_reign_do_not_confirm_reads() -> None:
    """Round numbers start again with each term; the term tells them apart."""
    solo = Solo()
    raft = solo.lead()
    raft.request_read(1, solo.now_ns)
    solo.flush()
    solo.step(2, AppendReply(5, 0, True, 0, 0))
    solo.lead()
    assert raft.term == 6
    raft.request_read(2, solo.now_ns)
    solo.flush()
    solo.step(2, HeartbeatReply(1, solo.now_ns, 1))
    assert not solo.ready().read_states


def test_a_snapshot_ahead_of_the_hard_state_brings_its_term() -> None:
    """Applied, hence snapshotted, before our own record of the term was durable."""
    meta = SnapshotMeta(4, 7, Configuration((1, 2, 3)))
    raft = Raft(
        ConsensusConfig(replica_id=1),
        Random(1),
        configuration=Configuration((1, 2, 3)),
        hard_state=HardState(5, 2),
        snapshot=meta,
        applied_index=4,
    )
    assert (raft.term, raft.voted_for) == (7, 0)
    assert raft.ready().hard_state == HardState(7, 0)


def test_uncommitted_bytes_are_bounded() -> None:
    """One proposal of any size is taken; then proposals wait for commits."""
    solo = Solo(uncommitted_bytes_max=100)
    raft = solo.lead()
    raft.propose(b"x" * 500)
    with pytest.raises(ProposalDropped):
        raft.propose(b"y")
    solo.flush()
    solo.acknowledge(2)
    raft.propose(b"x" * 60)
    with pytest.raises(ProposalDropped):
        raft.propose(b"y" * 50)
    raft.propose(b"y" * 40)


def test_a_new_leader_counts_the_uncommitted_bytes_it_inherits() -> None:
    solo = Solo(term=1, terms=(1, 1), uncommitted_bytes_max=5)
    raft = solo.become_leader()
    with pytest.raises(ProposalDropped):
        raft.propose(b"x")


def test_step_down_leaves_the_others_to_go_first() -> None:
    solo = Solo()
    raft = solo.lead()
    raft.step_down()
    assert (raft.role, raft.term, raft.leader_id) == (Role.FOLLOWER, 1, 0)
    solo.tick(2 * ELECTION_TICKS - 1)
    assert raft.role is Role.FOLLOWER
    raft.step_down()
    assert raft.role is Role.FOLLOWER
