"""One test per claim of the Raft paper ("In Search of an Understandable Consensus Algorithm") and
thesis ("Consensus: Bridging Theory and Practice") that is implemented here, by section."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.errors import (
    ConfigurationRefused,
    MembershipChangePending,
    NotLeader,
    ProposalDropped,
)
from quorumcache.node.consensus.raft.configurations import encode_configuration
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    SnapshotChunk,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Role,
    SnapshotMeta,
)
from tests.support.raft_cluster import RaftCluster, configuration_entries
from tests.support.raft_solo import ELECTION_TICKS, TICK_NS, Solo, log_of, terms_of

# -- 5.1 terms -----------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_5_1_a_newer_term_makes_a_follower(role: Role) -> None:
    """5.1: "If a candidate or leader discovers that its term is out of date, it immediately
    reverts to follower state"."""
    solo = Solo(term=1)
    if role is Role.CANDIDATE:
        solo.become_candidate()
    elif role is Role.LEADER:
        solo.lead()
    solo.step(2, AppendReply(9, 0, True, 0, 0))
    assert (solo.raft.role, solo.raft.term) == (Role.FOLLOWER, 9)
    assert solo.ready().hard_state == HardState(9, 0)


def test_5_1_requests_of_an_old_term_are_refused() -> None:
    """5.1: "If a server receives a request with a stale term number, it rejects the request";
    the answer carries the newer term, so the sender learns of it."""
    solo = Solo(term=5, terms=(1,))
    solo.flush()
    solo.step(2, Append(4, 1, 1, 1, tuple(log_of((4,), 1))))
    solo.step(3, Heartbeat(4, 1, 0, 0))
    assert solo.flush() == [
        (2, AppendReply(5, 0, True, 0, 0)),
        (3, AppendReply(5, 0, True, 0, 0)),
    ]
    assert terms_of(solo.raft) == [1]
    assert solo.raft.commit_index == 0
    solo.tick(ELECTION_TICKS)
    solo.step(3, Vote(4, 9, 4, False))
    assert solo.flush() == [(3, VoteReply(5, False))]


def test_5_1_old_answers_are_ignored() -> None:
    """5.1: answers of an earlier term change nothing."""
    solo = Solo(term=5)
    solo.become_candidate()
    term = solo.raft.term
    solo.step(2, VoteReply(term - 1, True))
    assert solo.raft.role is Role.CANDIDATE
    solo.step(2, VoteReply(term, True))
    solo.flush()
    solo.step(2, AppendReply(term - 1, 1, False, 0, 0))
    assert solo.raft.progress()[2].match_index == 0


# -- 5.2 leader election -------------------------------------------------------------------


def test_5_2_servers_start_as_followers() -> None:
    """5.2: "When servers start up, they begin as followers"."""
    assert Solo(term=3, voted_for=1).raft.role is Role.FOLLOWER


def test_5_2_a_follower_stays_one_while_it_hears_from_a_leader() -> None:
    """5.2: "A server remains in follower state as long as it receives valid RPCs"."""
    solo = Solo(term=1)
    for _ in range(100):
        solo.follow(2, 1)
        solo.tick(ELECTION_TICKS - 1)
        assert solo.raft.role is Role.FOLLOWER


def test_5_2_a_timeout_starts_an_election() -> None:
    """5.2: the follower "increments its current term and transitions to candidate state. It then
    votes for itself and issues RequestVote RPCs in parallel to each of the other servers"
    (after a successful pre-vote)."""
    solo = Solo(term=4, terms=(1, 4))
    solo.become_candidate()
    ready = solo.ready()
    assert ready.hard_state == HardState(5, 1)
    votes = [o for o in ready.messages_after_append if isinstance(o.message, Vote)]
    assert votes == [(2, Vote(5, 2, 4, False)), (3, Vote(5, 2, 4, False))]
    assert not ready.messages, "no vote is asked for before our own is durable"


@pytest.mark.parametrize(
    ("voters", "grants", "role"),
    [
        (3, 1, Role.LEADER),
        (3, 0, Role.CANDIDATE),
        (4, 1, Role.CANDIDATE),
        (4, 2, Role.LEADER),
        (5, 1, Role.CANDIDATE),
        (5, 2, Role.LEADER),
    ],
)
def test_5_2_a_majority_wins(voters: int, grants: int, role: Role) -> None:
    """5.2: "A candidate wins an election if it receives votes from a majority"."""
    solo = Solo(range(1, voters + 1))
    solo.become_candidate()
    solo.flush()
    for voter in range(2, 2 + grants):
        solo.step(voter, VoteReply(solo.raft.term, True), VoteReply(solo.raft.term, True))
    assert solo.raft.role is role


def test_5_2_a_sole_voter_elects_itself() -> None:
    """5.2: a majority of one."""
    solo = Solo((1,))
    solo.time_out()
    assert solo.raft.role is Role.LEADER


def test_5_2_one_vote_per_term_first_come_first_served() -> None:
    """5.2: "Each server will vote for at most one candidate in a given term"; a repeated request
    is answered as before."""
    solo = Solo()
    solo.step(2, Vote(1, 0, 0, False))
    solo.step(3, Vote(1, 5, 1, False))
    solo.step(2, Vote(1, 0, 0, False))
    assert solo.flush() == [
        (2, VoteReply(1, True)),
        (3, VoteReply(1, False)),
        (2, VoteReply(1, True)),
    ]


def test_5_2_a_vote_outlives_a_restart() -> None:
    """5.2, figure 2: votedFor is persistent."""
    solo = Solo(term=3, voted_for=2)
    solo.tick(ELECTION_TICKS)
    solo.step(3, Vote(3, 9, 3, False))
    solo.step(2, Vote(3, 9, 3, False))
    assert solo.flush() == [(3, VoteReply(3, False)), (2, VoteReply(3, True))]


@pytest.mark.parametrize("message", [Append(6, 0, 0, 0, ()), Heartbeat(6, 0, 0, 0)])
def test_5_2_a_candidate_yields_to_a_leader_of_its_term(message: Append | Heartbeat) -> None:
    """5.2: "If the leader's term is at least as large as the candidate's current term, then the
    candidate recognizes the leader as legitimate and returns to follower state"."""
    solo = Solo(term=5)
    solo.become_candidate()
    solo.step(3, message)
    assert (solo.raft.role, solo.raft.leader_id, solo.raft.term) == (Role.FOLLOWER, 3, 6)


def test_5_2_a_split_vote_leads_to_a_new_election() -> None:
    """5.2: "each candidate will time out and start a new election by incrementing its term"."""
    solo = Solo((1, 2, 3, 4))
    solo.become_candidate()
    solo.step(2, VoteReply(1, True))
    solo.step(3, VoteReply(1, False))
    assert solo.raft.role is Role.CANDIDATE
    solo.tick(2 * ELECTION_TICKS)
    assert solo.raft.role is Role.PRE_CANDIDATE
    for voter in (2, 3):
        solo.step(voter, PreVoteReply(2, True))
    assert (solo.raft.role, solo.raft.term) == (Role.CANDIDATE, 2)


def test_5_2_a_lost_vote_makes_a_follower_at_once() -> None:
    """5.2: with a majority of refusals nothing is left to wait for."""
    solo = Solo()
    solo.become_candidate()
    solo.step(2, VoteReply(1, False))
    solo.step(3, VoteReply(1, False))
    assert solo.raft.role is Role.FOLLOWER


def test_5_2_timeouts_are_random() -> None:
    """5.2: "election timeouts are chosen randomly from a fixed interval": [T, 2T) here."""
    timeouts: dict[int, bool] = {}
    for seed in range(300):
        solo = Solo(term=1, seed=seed)
        solo.follow(2, 1)
        solo.time_out()
        timeouts[solo.raft.ticks] = True
    assert min(timeouts) >= ELECTION_TICKS
    assert max(timeouts) <= 2 * ELECTION_TICKS
    assert len(timeouts) > ELECTION_TICKS // 2


def test_5_2_a_leader_sends_heartbeats() -> None:
    """5.2: "Leaders send periodic heartbeats to all followers", learners included."""
    solo = Solo(learners=(4,))
    solo.lead()
    solo.flush()
    for _ in range(3):
        solo.tick(5)
        assert [to for to, _ in solo.sent(Heartbeat)] == [2, 3, 4]
        for sender in (2, 3):
            solo.step(sender, HeartbeatReply(1, solo.now_ns, 0))


# -- 5.3 log replication -------------------------------------------------------------------


def test_5_3_a_proposal_is_appended_and_sent_to_all() -> None:
    """5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries
    RPCs in parallel to each of the other servers"."""
    solo = Solo()
    raft = solo.lead()
    index = raft.propose(b"x")
    ready = solo.ready()
    entry = Entry(index, 1, EntryKind.NORMAL, b"x")
    assert ready.entries == [entry]
    append = Append(1, index - 1, 1, raft.commit_index, (entry,))
    assert ready.messages == [(2, append), (3, append)]


def test_5_3_an_entry_commits_on_a_majority_and_is_applied_in_order() -> None:
    """5.3: "A log entry is committed once the leader that created the entry has replicated it on
    a majority of the servers. This also commits all preceding entries"."""
    solo = Solo((1, 2, 3, 4, 5))
    raft = solo.lead()
    for payload in (b"a", b"b", b"c"):
        raft.propose(payload)
    solo.flush()
    solo.acknowledge(2)
    assert raft.commit_index == 1
    solo.acknowledge(3, index=3)
    assert raft.commit_index == 3
    solo.flush()
    assert [e.payload for e in solo.applied] == [b"1,2,3,4,5;;", b"a", b"b"]
    solo.acknowledge(4)
    solo.flush()
    assert [e.payload for e in solo.applied] == [b"1,2,3,4,5;;", b"a", b"b", b"c"]


def test_5_3_the_leader_counts_itself_once_durable() -> None:
    """5.3 and thesis 10.2.1: the leader sends while it writes, and may even commit on its
    followers' disks alone; itself it counts only after `persisted`."""
    solo = Solo()
    raft = solo.lead()
    raft.propose(b"x")
    ready = solo.ready()
    assert len(ready.messages) == 2
    solo.acknowledge(2)
    assert raft.commit_index == 1, "one disk of three"
    solo.persist(ready)
    assert raft.commit_index == 2
    raft.propose(b"y")
    ready = solo.ready()
    solo.acknowledge(2, 3)
    assert raft.commit_index == 3, "two disks, neither of them the leader's"


def test_5_3_followers_learn_the_commit_index_from_the_leader() -> None:
    """5.3: the leader "includes that index in future AppendEntries RPCs"; never beyond what the
    message proves to match."""
    solo = Solo(term=1, terms=(1, 1, 1))
    solo.step(2, Append(1, 1, 1, 3, ()))
    assert solo.raft.commit_index == 1, "entries 2 and 3 may differ from the leader's"
    solo.step(2, Append(1, 2, 1, 9, (Entry(3, 1, 0, b"3@1"),)))
    assert solo.raft.commit_index == 3
    solo.flush()
    assert solo.applied == log_of((1, 1, 1))


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "accepted"),
    [(0, 0, True), (1, 1, True), (2, 2, True), (2, 1, False), (2, 3, False), (3, 3, False)],
)
def test_5_3_the_consistency_check(prev_index: int, prev_term: int, accepted: bool) -> None:
    """5.3: "If the follower does not find an entry in its log with the same index and term, then
    it refuses the new entries"."""
    solo = Solo(term=4, terms=(1, 2))
    solo.step(2, Append(4, prev_index, prev_term, 0, ()))
    ((_, reply),) = solo.flush()
    assert isinstance(reply, AppendReply)
    assert reply.reject is not accepted
    assert reply.match_index == prev_index


FIGURE_7 = {
    "leader": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6),
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", "abcdef")
def test_5_3_the_leader_brings_any_log_into_line_with_its_own(name: str) -> None:
    """5.3, figure 7: "the leader handles inconsistencies by forcing the followers' logs to
    duplicate its own"; and it skips a whole term per rejection."""
    leader = Solo((1, 2), term=7, terms=FIGURE_7["leader"])
    leader.become_leader()
    follower = Solo((1, 2), replica=2, term=7, terms=FIGURE_7[name])
    rejections = 0
    for _ in range(10):
        for to, message in leader.flush():
            if to == 2:
                follower.step(1, message)
        for _, message in follower.flush():
            rejections += isinstance(message, AppendReply) and message.reject
            leader.step(2, message)
    assert follower.raft.log.entries == leader.raft.log.entries
    assert terms_of(leader.raft) == [*FIGURE_7["leader"], 8], "a leader never changes its own"
    assert rejections <= 2
    assert leader.raft.commit_index == 11


def test_5_3_only_conflicting_entries_are_removed() -> None:
    """5.3: a follower deletes an entry only if a new one conflicts: an old, short Append must not
    shorten its log."""
    solo = Solo(term=2, terms=(1, 2, 2))
    solo.step(2, Append(2, 0, 0, 0, tuple(log_of((1,)))))
    assert terms_of(solo.raft) == [1, 2, 2]
    assert solo.flush() == [(2, AppendReply(2, 1, False, 0, 0))]
    solo.step(2, Append(3, 1, 1, 0, (Entry(2, 3, 0, b"2@3"),)))
    assert terms_of(solo.raft) == [1, 3]
    ready = solo.ready()
    assert ready.entries == [Entry(2, 3, 0, b"2@3")], "storage drops from here on"


def test_5_3_appends_are_idempotent() -> None:
    """5.5: "if a follower receives an AppendEntries request that includes log entries already
    present in its log, it ignores those entries"."""
    solo = Solo(term=1)
    message = Append(1, 0, 0, 1, tuple(log_of((1, 1))))
    solo.step(2, message, message)
    solo.flush()
    solo.step(2, message)
    assert solo.flush() == [(2, AppendReply(1, 2, False, 0, 0))]
    assert terms_of(solo.raft) == [1, 1]
    assert solo.applied == log_of((1,))


def test_5_3_lost_appends_are_sent_again() -> None:
    """5.5: "Raft handles these failures by retrying indefinitely"."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    leader.propose(b"a")
    cluster.process(1)
    cluster.network = []  # both Appends are lost, and nothing is proposed after them
    cluster.tick(20)
    assert cluster.states() == [[b"a"]] * 3


# -- 5.4 safety ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(2, 2, True), (3, 2, True), (1, 3, True), (1, 2, False), (9, 1, False), (0, 0, False)],
)
@pytest.mark.parametrize("pre_vote", [False, True])
def test_5_4_1_only_an_up_to_date_log_gets_votes(
    last_index: int, last_term: int, granted: bool, pre_vote: bool
) -> None:
    """5.4.1: "the voter denies its vote if its own log is more up-to-date"."""
    solo = Solo(term=2, terms=(1, 2))
    solo.tick(ELECTION_TICKS)
    if pre_vote:
        solo.step(3, PreVote(4, last_index, last_term))
        expected = PreVoteReply(4 if granted else 2, granted)
        assert solo.flush() == [(3, expected)]
    else:
        solo.step(3, Vote(4, last_index, last_term, False))
        assert solo.flush() == [(3, VoteReply(4, granted))]


def test_5_4_2_entries_of_earlier_terms_do_not_commit_by_counting() -> None:
    """5.4.2, figure 8: "Raft never commits log entries from previous terms by counting replicas";
    they commit with the first of the leader's own."""
    solo = Solo(term=3, terms=(1, 2))
    raft = solo.become_leader()
    solo.flush()
    solo.acknowledge(2, 3, index=2)
    assert raft.commit_index == 0
    solo.acknowledge(2, index=3)
    assert raft.commit_index == 3


# -- thesis 3.8: what must be durable first ------------------------------------------------


def test_3_8_votes_and_acknowledgements_wait_for_the_disk() -> None:
    """Thesis 3.8: term, vote and entries are on disk before anyone hears of them."""
    solo = Solo()
    solo.step(2, Vote(1, 0, 0, False))
    ready = solo.ready()
    assert ready.hard_state == HardState(1, 2)
    assert not ready.messages
    assert ready.messages_after_append == [(2, VoteReply(1, True))]
    solo.step(2, Append(1, 0, 0, 0, tuple(log_of((1,)))))
    ready = solo.ready()
    assert ready.entries
    assert not ready.messages
    assert ready.messages_after_append == [(2, AppendReply(1, 1, False, 0, 0))]


# -- thesis 3.10: leadership transfer ------------------------------------------------------


def test_3_10_transfer_brings_the_target_up_to_date_first() -> None:
    """Thesis 3.10: "the prior leader fully updates the target server's log" and then sends
    TimeoutNow; "the prior leader stops accepting new client requests"."""
    solo = Solo()
    raft = solo.lead()
    raft.propose(b"x")
    solo.flush()
    raft.transfer_leadership(3)
    with pytest.raises(ProposalDropped):
        raft.propose(b"y")
    assert solo.sent(TimeoutNow) == []
    solo.acknowledge(2)
    assert solo.sent(TimeoutNow) == []
    solo.acknowledge(3)
    assert solo.sent(TimeoutNow) == [(3, TimeoutNow(1))]


def test_3_10_the_target_is_elected_although_the_leader_lives() -> None:
    """Thesis 3.10, 4.2.3: the target stands at once, and voters do not spare the old leader."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    leader.propose(b"x")
    cluster.tick(10)
    leader.transfer_leadership(2)
    cluster.pump()
    assert cluster[2].role is Role.LEADER
    assert leader.role is Role.FOLLOWER
    assert cluster[2].term == 2


def test_3_10_a_transfer_is_abandoned_after_an_election_timeout() -> None:
    """Thesis 3.10: "If leadership transfer does not complete after about an election timeout, the
    prior leader aborts the transfer and resumes accepting client requests"."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    cluster.isolate(3)
    leader.transfer_leadership(3)
    cluster.tick(ELECTION_TICKS)
    assert leader.role is Role.LEADER
    leader.propose(b"x")
    cluster.tick(10)
    assert cluster.members[2].state == [b"x"]


def test_3_10_only_voters_can_be_targets() -> None:
    solo = Solo(learners=(4,))
    raft = solo.lead()
    for target in (4, 9):
        with pytest.raises(ConfigurationRefused):
            raft.transfer_leadership(target)
    raft.transfer_leadership(1)  # to itself: nothing to do
    raft.propose(b"x")


# -- thesis 4.1 to 4.3: membership ---------------------------------------------------------


def test_4_1_a_configuration_is_in_force_once_appended() -> None:
    """Thesis 4.1: "The new configuration takes effect on each server as soon as it is added to
    that server's log"."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    leader.change_membership(Configuration((1, 2, 3), (4,)))
    cluster.add(4, Configuration(()))
    cluster.pump()
    new = Configuration((1, 2, 3, 4))
    leader.change_membership(new)
    assert leader.configuration == new
    assert leader.commit_index < leader.last_index
    cluster.pump()
    assert [cluster[i].configuration for i in (1, 2, 3, 4)] == [new] * 4


def test_4_1_a_truncated_configuration_is_taken_back() -> None:
    """Thesis 4.1: "servers must be able to fall back to a previous configuration"."""
    solo = Solo(term=1, terms=(1,))
    first = solo.raft.configuration
    second = Configuration((1, 2, 3, 4))
    entry = Entry(2, 1, EntryKind.CONFIG, encode_configuration(second))
    solo.step(2, Append(1, 1, 1, 0, (entry,)))
    assert solo.raft.configuration == second
    solo.step(3, Append(2, 1, 1, 0, (Entry(2, 2, 0, b""),)))
    assert solo.raft.configuration == first


def test_4_1_one_change_at_a_time() -> None:
    """Thesis 4.1: a leader does not begin a change before the last is committed."""
    solo = Solo()
    raft = solo.lead()
    raft.change_membership(Configuration((1, 2, 3), (4,)))
    with pytest.raises(MembershipChangePending):
        raft.change_membership(Configuration((1, 2, 3), (5,)))
    solo.flush()
    solo.acknowledge(2)
    raft.change_membership(Configuration((1, 2, 3), (5,)))


def test_4_1_no_change_before_the_terms_first_entry_is_committed() -> None:
    """The correction to thesis 4.1 (raft-dev, July 2015): two leaders could otherwise build
    different changes on the same base."""
    solo = Solo(term=1, terms=(1,))
    raft = solo.become_leader()
    with pytest.raises(MembershipChangePending, match="first entry of this term"):
        raft.change_membership(Configuration((1, 2)))
    solo.flush()
    solo.acknowledge(2)
    raft.change_membership(Configuration((1, 2)))


@pytest.mark.parametrize(
    "new",
    [
        Configuration(()),
        Configuration((1, 1)),
        Configuration((1, 2), (2,)),
        Configuration((1, 0)),
        Configuration((1, 2, 3)),
        Configuration((1, 2), (), (1, 4)),
    ],
)
def test_4_1_impossible_configurations_are_refused(new: Configuration) -> None:
    raft = Solo().lead()
    with pytest.raises(ConfigurationRefused):
        raft.change_membership(new)
    assert raft.last_index == 1


def test_a_configuration_that_differs_in_its_decision_alone_is_a_change() -> None:
    """It says in the log that everything older was decided too long ago, and moves no replica."""
    solo = Solo()
    raft = solo.lead()
    raft.change_membership(Configuration((1, 2, 3), (), (), 7))
    assert raft.configuration == Configuration((1, 2, 3), (), (), 7)
    assert not raft.configuration.voters_outgoing
    solo.flush()
    solo.acknowledge(2)
    assert raft.snapshot_meta(raft.commit_index).configuration.decision == 7


def test_an_older_decision_than_the_one_in_force_is_refused() -> None:
    """Also while that is not committed, and also in a leader that found it in its log."""
    solo = Solo()
    raft = solo.lead()
    raft.change_membership(Configuration((1, 2, 3), (4,), (), 7))
    solo.flush()
    solo.acknowledge(2)
    last_index = raft.last_index
    for decision in (0, 6):
        with pytest.raises(ConfigurationRefused, match=f"decision {decision} is older than 7"):
            raft.change_membership(Configuration((1, 2, 3), (), (), decision))
    assert raft.last_index == last_index
    raft.change_membership(Configuration((1, 2, 3), (), (), 7))


def test_a_joint_change_keeps_its_decision() -> None:
    solo = Solo((1, 2, 3), learners=(4, 5))
    raft = solo.lead(2, 3)
    solo.acknowledge(4, 5)
    raft.change_membership(Configuration((1, 4, 5), (), (), 9))
    assert raft.configuration == Configuration((1, 4, 5), (), (1, 2, 3), 9)
    solo.flush()
    solo.acknowledge(2, 3, 4, 5)
    assert raft.configuration == Configuration((1, 4, 5), (), (), 9)


def test_4_2_1_learners_receive_the_log_and_count_in_no_quorum() -> None:
    """Thesis 4.2.1: new servers join as non-voting members."""
    solo = Solo((1, 2, 3), learners=(4, 5))
    raft = solo.lead(2, 3)
    raft.propose(b"x")
    solo.flush()
    solo.acknowledge(4, 5)
    assert raft.commit_index == 1
    solo.acknowledge(2)
    assert raft.commit_index == 2


def test_4_2_1_a_new_voter_was_a_learner_first() -> None:
    """Thesis 4.2.1: a server that is new catches up before it counts. Here it has to: one that
    holds nothing has no vote, and a change could end in a configuration that elects nobody."""
    solo = Solo((1, 2, 3), learners=(4,))
    raft = solo.lead(2, 3)
    for voters, learners in (((1, 2, 3, 4), ()), ((1, 2, 3, 5), (4,))):
        with pytest.raises(MembershipChangePending, match="learners first"):
            raft.change_membership(Configuration(voters, learners))
    solo.acknowledge(4)
    raft.change_membership(Configuration((1, 2, 3, 4)))
    assert raft.configuration.voters == (1, 2, 3, 4)


def test_4_2_1_a_voter_that_is_away_does_not_hold_up_a_change() -> None:
    """Only new voters have to hold something; one that voted before may be down."""
    solo = Solo((1, 2, 3), learners=(4,))
    raft = solo.lead(2)
    solo.acknowledge(4)
    raft.change_membership(Configuration((1, 2, 3, 4)))
    assert raft.configuration.voters == (1, 2, 3, 4)


def test_4_2_1_learners_do_not_elect() -> None:
    """Thesis 4.2.1: a learner neither stands nor counts."""
    solo = Solo((1, 2, 3), learners=(4, 5))
    solo.become_candidate(2)
    for learner in (4, 5):
        solo.step(learner, VoteReply(solo.raft.term, True))
    assert solo.raft.role is Role.CANDIDATE
    learner_solo = Solo((1, 2, 3), replica=4, learners=(4,))
    learner_solo.tick(10 * ELECTION_TICKS)
    learner_solo.raft.campaign()
    assert learner_solo.raft.role is Role.FOLLOWER


def test_4_2_2_a_removed_leader_steps_down_after_the_commit() -> None:
    """Thesis 4.2.2: it "manages a cluster that does not include itself; it replicates log entries
    but does not count itself in majorities", and steps down once the entry is committed."""
    solo = Solo((1, 2, 3))
    raft = solo.lead()
    index = raft.change_membership(Configuration((2, 3)))
    solo.flush()
    solo.acknowledge(2)
    assert raft.role is Role.LEADER
    assert raft.commit_index < index, "itself and 2 are no majority of 2 and 3"
    solo.acknowledge(3)
    assert raft.commit_index == index
    assert raft.role is Role.FOLLOWER
    assert solo.sent(TimeoutNow) == [(2, TimeoutNow(1))], "its successor need not wait"


def test_4_2_2_a_voter_whose_removal_is_not_committed_may_stand() -> None:
    """Thesis 4.2.2: "a server that is not part of its own latest configuration should still start
    new elections": here replica 1 alone holds the entry, and 2 cannot win without it."""
    cluster = RaftCluster(2)
    leader = cluster.elect(1)
    cluster.isolate(2)
    leader.change_membership(Configuration((2,)))
    cluster.pump()
    cluster.restart(1)
    cluster.heal()
    cluster.wait_for_leader(2)
    cluster.tick(5)
    assert cluster[2].configuration == Configuration((2,))
    assert cluster[1].role is Role.FOLLOWER


def test_4_2_3_votes_are_refused_while_a_leader_is_heard() -> None:
    """Thesis 4.2.3: "if a server receives a RequestVote request within the minimum election
    timeout of hearing from a current leader, it does not update its term or grant its vote"."""
    solo = Solo(term=1)
    solo.tick(ELECTION_TICKS)
    solo.follow(2, 1)
    solo.flush()
    solo.tick(ELECTION_TICKS - 1)
    solo.step(3, Vote(7, 9, 6, False), PreVote(7, 9, 6))
    assert (solo.raft.term, solo.raft.leader_id) == (1, 2)
    assert solo.flush() == []
    solo.tick()
    solo.step(3, Vote(7, 9, 6, False))
    assert solo.flush() == [(3, VoteReply(7, True))]


def test_4_2_3_a_leader_is_not_deposed_by_a_mere_vote() -> None:
    """Thesis 4.2.3: the same goes for the leader itself, unless the vote is forced."""
    raft = (solo := Solo()).lead()
    solo.step(3, Vote(7, 9, 6, False))
    assert (raft.role, raft.term) == (Role.LEADER, 1)
    solo.step(3, Vote(7, 9, 6, True))
    assert (raft.role, raft.term) == (Role.FOLLOWER, 7)


def test_4_3_a_joint_configuration_commits_with_both_majorities() -> None:
    """Thesis 4.3: "Agreement (for elections and entry commitment) requires majorities from both
    the old and new configurations"."""
    solo = Solo((1, 2, 3), learners=(4, 5))
    raft = solo.lead()
    raft.change_membership(Configuration((1, 4, 5)))
    assert raft.configuration == Configuration((1, 4, 5), (), (1, 2, 3))
    solo.flush()
    index = raft.last_index
    solo.acknowledge(4, 5, index=index)
    assert raft.commit_index < index
    solo.acknowledge(2, index=index)
    assert raft.commit_index == index
    assert raft.configuration == Configuration((1, 4, 5)), "and the leader goes on by itself"


def test_4_3_an_election_in_a_joint_configuration_needs_both_majorities() -> None:
    """Thesis 4.3."""
    solo = Solo((1, 4, 5), outgoing=(1, 2, 3))
    solo.become_candidate(2, 4)
    solo.flush()
    for voter in (4, 5):
        solo.step(voter, VoteReply(solo.raft.term, True))
    assert solo.raft.role is Role.CANDIDATE
    solo.step(3, VoteReply(solo.raft.term, True))
    assert solo.raft.role is Role.LEADER


def test_4_3_a_new_leader_finishes_a_joint_change() -> None:
    """Thesis 4.3: the change goes on under the next leader."""
    cluster = RaftCluster(5)
    leader = cluster.elect(1)
    cluster.isolate(1, 2, 3)
    leader.change_membership(Configuration((1, 2, 3)))  # joint: two leave
    cluster.process(1)
    for envelope in cluster.network:
        cluster.deliver(envelope)
    cluster.network = []
    for replica in (2, 3):
        cluster.process(replica)
    cluster.crash(1)
    cluster.network = []  # 2 and 3 hold the entry, and 1 never learned that it was committed
    cluster.heal()
    cluster.wait_for_leader()
    cluster.tick(5)
    assert [cluster[i].configuration for i in (2, 3)] == [Configuration((1, 2, 3))] * 2
    log = cluster[2].log
    seen = configuration_entries(log.slice(log.first_index, log.last_index + 1))
    joint = Configuration((1, 2, 3), (), (1, 2, 3, 4, 5))
    assert seen == [Configuration((1, 2, 3, 4, 5)), joint, Configuration((1, 2, 3))]


def test_4_3_naming_the_present_voters_asks_for_the_joint_way() -> None:
    raft = Solo((1, 2, 3)).lead()
    raft.change_membership(Configuration((1, 2), (), (1, 2, 3)))
    assert raft.configuration.voters_outgoing == (1, 2, 3)


# -- thesis 5: log compaction --------------------------------------------------------------


def test_5_a_follower_behind_the_log_gets_a_snapshot() -> None:
    """Thesis 5.3: "the leader must occasionally send snapshots to followers that lag behind"."""
    cluster = RaftCluster(3, snapshot_chunk_bytes=10)
    leader = cluster.elect(1)
    cluster.isolate(3)
    for number in range(20):
        leader.propose(b"%d" % number)
    cluster.tick(2)
    cluster.members[1].compact()
    leader.propose(b"after")
    cluster.heal()
    cluster.tick(60)
    assert cluster.states()[2] == [b"%d" % n for n in range(20)] + [b"after"]
    assert cluster[3].first_index >= 22


def test_5_a_snapshot_that_is_already_held_replaces_nothing() -> None:
    """Thesis 5.3: "If the follower receives a snapshot that describes a prefix of its log",
    entries after it "are still valid and must be retained"."""
    solo = Solo(term=2, terms=(1, 1, 1))
    configuration = solo.raft.configuration
    solo.step(2, SnapshotChunk(2, 2, 1, configuration, 0, 4, b"data"))
    ready = solo.ready()
    assert ready.snapshot is None
    assert terms_of(solo.raft) == [1, 1, 1]
    assert solo.raft.commit_index == 2
    solo.step(2, SnapshotChunk(2, 3, 2, configuration, 0, 4, b"data"))
    ready = solo.ready()
    assert ready.snapshot is not None
    assert ready.snapshot.meta == SnapshotMeta(3, 2, configuration)
    assert (solo.raft.first_index, solo.raft.last_index) == (4, 3)


# -- thesis 6.2: check-quorum --------------------------------------------------------------


def test_6_2_a_leader_without_a_quorum_steps_down() -> None:
    """Thesis 6.2: "a leader steps down if an election timeout elapses without a successful round
    of heartbeats to a majority of its cluster"."""
    solo = Solo()
    raft = solo.lead()
    for _ in range(4):
        solo.tick(ELECTION_TICKS // 2)
        solo.echo(2)
    assert raft.role is Role.LEADER
    solo.tick(2 * ELECTION_TICKS)
    assert raft.role is Role.FOLLOWER
    with pytest.raises(NotLeader):
        raft.propose(b"x")


def test_6_2_a_leader_that_loses_its_quorum_calls_the_voter_furthest_along() -> None:
    """Behind its last heartbeats, which began new promises."""
    solo = Solo((1, 2, 3))
    raft = solo.lead()
    raft.propose(b"x")
    solo.flush()
    solo.acknowledge(3)
    while raft.role is Role.LEADER:
        assert solo.sent(TimeoutNow) == []
        solo.tick()
    assert raft.lease_until_ns == 0
    assert solo.sent(TimeoutNow) == [(3, TimeoutNow(1))]


def test_6_2_the_quorum_is_checked_under_the_configuration_in_force() -> None:
    """A leader whose change removed the quorum it can reach steps down."""
    cluster = RaftCluster(configuration=Configuration((1, 2, 3), (4, 5)))
    leader = cluster.elect(1)
    cluster.tick(5)
    cluster.crash(4)
    cluster.crash(5)
    leader.change_membership(Configuration((1, 4, 5)))
    cluster.tick(2 * ELECTION_TICKS)
    assert leader.role is not Role.LEADER


# -- thesis 6.4: linearizable reads --------------------------------------------------------


def test_6_4_a_read_waits_for_the_terms_first_commit() -> None:
    """Thesis 6.4, step 1: "If the leader has not yet marked an entry from its current term
    committed, it waits until it has done so"."""
    solo = Solo()
    raft = solo.become_leader()
    solo.flush()
    raft.request_read(7, solo.now_ns)
    assert not raft.has_ready()
    solo.tick(5)
    solo.echo(2, 3)
    assert not solo.ready().read_states, "nor on a Ready that is taken for another reason"
    solo.acknowledge(2)
    solo.echo(2)
    ready = solo.ready()
    assert ready.read_states == [(7, 1)]


def test_6_4_a_read_needs_a_round_of_heartbeats_after_it() -> None:
    """Thesis 6.4, step 3: "The leader needs to make sure it hasn't been superseded": answers to
    heartbeats sent before the read do not tell."""
    solo = Solo()
    raft = solo.lead()
    solo.tick(5)
    ((_, before), _) = solo.sent(Heartbeat)
    raft.request_read(7, solo.now_ns)
    beats = solo.sent(Heartbeat)
    assert isinstance(before, Heartbeat)
    for sender in (2, 3):
        solo.step(sender, HeartbeatReply(1, before.sent_ns, before.read_context))
    assert not solo.ready().read_states
    beat = beats[0][1]
    assert isinstance(beat, Heartbeat)
    solo.step(2, HeartbeatReply(1, beat.sent_ns, beat.read_context))
    assert solo.ready().read_states == [(7, 1)]


def test_6_4_many_reads_ride_on_one_round() -> None:
    """Thesis 6.4: "the leader can use a single round of heartbeats for any number of read-only
    queries"."""
    solo = Solo()
    raft = solo.lead()
    for context in range(100):
        raft.request_read(context, solo.now_ns)
    beats = solo.sent(Heartbeat)
    assert len(beats) == 2
    raft.request_read(100, solo.now_ns)
    beat = beats[0][1]
    assert isinstance(beat, Heartbeat)
    solo.flush()
    solo.step(3, HeartbeatReply(1, beat.sent_ns, beat.read_context))
    assert [s.context for s in solo.ready().read_states] == list(range(100))


def test_6_4_a_later_round_confirms_earlier_ones() -> None:
    """A lost round does not hold its reads for ever: periodic heartbeats carry its number."""
    solo = Solo()
    raft = solo.lead()
    raft.request_read(1, solo.now_ns)
    solo.flush()  # lost
    solo.tick(5)
    solo.echo(3)
    assert solo.ready().read_states == [(1, 1)]


def test_6_4_a_sole_voter_answers_at_once() -> None:
    solo = Solo((1,), learners=(2,))
    solo.time_out()
    solo.flush()
    solo.raft.request_read(3, solo.now_ns)
    assert solo.ready().read_states == [(3, 1)]


def test_6_4_reads_fail_when_leadership_is_lost() -> None:
    """Reads in a round and reads that wait for one are both given up."""
    solo = Solo()
    raft = solo.lead()
    raft.request_read(1, solo.now_ns)
    solo.flush()
    raft.request_read(2, solo.now_ns)
    solo.step(2, AppendReply(5, 0, True, 0, 0))
    assert solo.ready().failed_reads == [1, 2]
    with pytest.raises(NotLeader) as error:
        raft.request_read(3, solo.now_ns)
    assert error.value.leader_id == 0


def test_6_4_learners_do_not_confirm_reads() -> None:
    solo = Solo((1, 2, 3), learners=(4, 5))
    raft = solo.lead(2, 3)
    raft.request_read(1, solo.now_ns)
    solo.echo(4, 5)
    assert not solo.ready().read_states


# -- thesis 6.4.1: leases ------------------------------------------------------------------

PROMISE_NS = (ELECTION_TICKS - 1) * 10_000_000


def test_6_4_1_a_lease_counts_from_the_sending_of_its_round() -> None:
    """Thesis 6.4.1: "start + election timeout / clock drift bound", where start is when the
    heartbeats were sent, not when the answers came."""
    solo = Solo(clock_drift_ppm=100_000)
    raft = solo.lead()
    solo.flush()
    solo.tick(5)
    start_ns = solo.now_ns
    beat = solo.sent(Heartbeat)[0][1]
    assert isinstance(beat, Heartbeat)
    assert beat.sent_ns == start_ns
    solo.tick(3)
    solo.step(2, HeartbeatReply(1, beat.sent_ns, 0))
    assert raft.lease_until_ns == start_ns + PROMISE_NS * 9 // 10


def test_6_4_1_a_late_answer_counts_for_its_own_round() -> None:
    """It proves nothing about the rounds that were sent since."""
    solo = Solo()
    raft = solo.lead()
    solo.tick(5)
    start_ns = solo.now_ns
    solo.flush()
    solo.tick(6)
    solo.flush()
    solo.step(2, HeartbeatReply(1, start_ns, 0))
    assert raft.lease_until_ns == start_ns + PROMISE_NS * 99 // 100


def test_6_4_1_a_lease_needs_a_quorum() -> None:
    """The start is the quorum-th newest echo, the leader's own included; learners' do not count."""
    solo = Solo((1, 2, 3, 4, 5), learners=(6,))
    raft = solo.lead(2, 3)
    until = raft.lease_until_ns
    solo.tick(5)
    solo.echo(2, 6)
    assert raft.lease_until_ns == until
    start_ns = solo.now_ns
    solo.tick(5)
    solo.step(3, HeartbeatReply(1, start_ns, 0))
    assert raft.lease_until_ns == start_ns + PROMISE_NS * 99 // 100


def test_6_4_1_a_sole_voter_always_has_a_lease() -> None:
    solo = Solo((1,))
    solo.time_out()
    solo.flush()
    for _ in range(100):
        solo.tick()
        assert solo.raft.lease_until_ns > solo.now_ns


def test_6_4_1_no_lease_before_the_terms_first_commit() -> None:
    """The new leader does not know yet what its predecessor committed."""
    solo = Solo()
    raft = solo.become_leader()
    solo.echo(2, 3)
    assert raft.lease_until_ns == 0
    solo.acknowledge(2)
    assert raft.lease_until_ns > solo.now_ns


def test_6_4_1_a_transfer_ends_the_lease_at_once() -> None:
    """Thesis 6.4.1 with 3.10: the successor is elected without regard to promises."""
    solo = Solo()
    raft = solo.lead()
    solo.tick(5)
    solo.echo(2, 3)
    assert raft.lease_until_ns > solo.now_ns
    raft.transfer_leadership(2)
    assert raft.lease_until_ns == 0
    solo.tick(5)
    solo.echo(2, 3)
    assert raft.lease_until_ns == 0


def test_6_4_1_no_lease_ever_after_a_timeout_now_of_this_term() -> None:
    """It may still be on its way when the transfer is abandoned, and elects without promises. A new
    term would bring no lease while answers are as slow as here: the leader stays."""
    solo = Solo()
    raft = solo.lead()
    raft.transfer_leadership(2)
    for _ in range(20):
        solo.tick(5)
        sent_ns = solo.now_ns - ELECTION_TICKS * TICK_NS
        solo.step(3, HeartbeatReply(1, sent_ns, 0))
        assert raft.lease_until_ns == 0
    assert raft.role is Role.LEADER
    raft.propose(b"the transfer was abandoned")
    solo.flush()
    # The first quick answer after the abandonment would give a lease, were it not for the message.
    solo.step(3, HeartbeatReply(1, solo.now_ns, 0))
    assert raft.lease_until_ns == 0


def test_6_4_1_a_leader_whose_transfer_failed_begins_a_term_that_can_have_a_lease() -> None:
    solo = Solo()
    raft = solo.lead()
    raft.transfer_leadership(2)
    for _ in range(ELECTION_TICKS // 5 - 1):
        solo.tick(5)
        solo.echo(3)
    assert (raft.role, raft.term) == (Role.LEADER, 1)
    solo.tick(5)
    assert (raft.role, raft.term) == (Role.CANDIDATE, 2)
    votes = solo.sent(Vote)
    assert [(to, m.term, m.force) for to, m in votes] == [(2, 2, True), (3, 2, True)]
    solo.step(3, VoteReply(2, True))
    solo.acknowledge(3)
    solo.echo(3)
    assert raft.role is Role.LEADER
    assert raft.lease_until_ns > solo.now_ns
    solo.tick(5)
    solo.echo(3)
    assert raft.term == 2, "once is enough"


def test_6_4_1_a_leader_stays_until_what_it_held_when_it_handed_over_is_committed() -> None:
    """A quorum that cannot write would not elect it either."""
    solo = Solo((1, 2, 3, 4, 5))
    raft = solo.lead()
    raft.propose(b"x")
    solo.flush()
    raft.transfer_leadership(2)
    solo.acknowledge(2)
    assert solo.sent(TimeoutNow)
    for _ in range(2 * ELECTION_TICKS // 5):
        solo.tick(5)
        solo.echo(3, 4, 5)
    raft.propose(b"the transfer was abandoned")
    assert (raft.role, raft.term, raft.lease_until_ns) == (Role.LEADER, 1, 0)
    solo.acknowledge(3, index=2)
    solo.tick(5)
    assert (raft.role, raft.term) == (Role.CANDIDATE, 2)


def test_6_4_1_a_late_timeout_now_does_not_end_a_lease_of_the_next_term() -> None:
    """It makes a candidate of that term, where a quorum has voted already; and what the candidate
    tries after that, it tries like any other."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    cluster.isolate(3)
    leader.transfer_leadership(3)
    cluster.tick(ELECTION_TICKS + 10)
    assert (leader.role, leader.term, cluster[3].term) == (Role.LEADER, 2, 1)
    assert cluster.members[1].may_lease_read()
    cluster.heal()
    cluster.cut_links[1, 3] = True  # The leader's own messages would end the attempt.
    cluster[3].step(1, TimeoutNow(1))
    assert (cluster[3].role, cluster[3].term) == (Role.CANDIDATE, 2)
    for _ in range(10 * ELECTION_TICKS):
        cluster.tick()
        assert leader.role is Role.LEADER
        assert cluster.members[1].may_lease_read()
    assert leader.term == 2
    cluster.heal()
    cluster.tick(10)
    assert cluster[3].leader_id == 1
    cluster[3].step(1, TimeoutNow(1))
    assert (cluster[3].role, cluster[3].leader_id) == (Role.FOLLOWER, 1), "it is of an old term"


def test_6_4_1_a_leader_that_is_alone_by_then_begins_the_new_term_at_once() -> None:
    """The target left with the joint configuration, which committed after it had been told."""
    solo = Solo((1, 2, 3))
    raft = solo.lead()
    raft.change_membership(Configuration((1,)))
    unwritten = raft.ready()
    raft.transfer_leadership(2)
    solo.acknowledge(2)
    assert [to for to, m in raft.ready().messages if isinstance(m, TimeoutNow)] == [2]
    solo.persist(unwritten)
    solo.flush()
    assert raft.configuration == Configuration((1,))
    assert raft.commit_index == raft.last_index
    while raft.transfer_target:
        solo.tick()
    assert (raft.role, raft.term) == (Role.LEADER, 2)
    assert raft.lease_until_ns == 0, "its first entry is not durable"
    solo.flush()
    solo.tick(5)
    assert raft.lease_until_ns > solo.now_ns


def test_6_4_1_a_transfer_abandoned_before_that_gives_the_lease_back() -> None:
    solo = Solo()
    raft = solo.lead()
    raft.propose(b"x")
    solo.flush()
    raft.transfer_leadership(2)
    for _ in range(10):
        solo.tick(5)
        solo.echo(3)
    assert raft.lease_until_ns > solo.now_ns


def test_6_4_1_stepping_down_ends_the_lease() -> None:
    """By request, by a newer term, and by a lost quorum."""
    for how in ("step_down", "term", "quorum"):
        solo = Solo()
        raft = solo.lead()
        solo.tick(5)
        solo.echo(2, 3)
        assert raft.lease_until_ns > 0
        if how == "step_down":
            raft.step_down()
        elif how == "term":
            solo.step(2, AppendReply(5, 0, True, 0, 0))
        else:
            solo.tick(2 * ELECTION_TICKS)
        assert raft.role is Role.FOLLOWER
        assert raft.lease_until_ns == 0


def test_6_4_1_a_restarted_replica_keeps_a_promise_it_cannot_remember() -> None:
    """It may have answered a heartbeat just before it stopped."""
    solo = Solo(term=3, terms=(1,))
    solo.step(3, Vote(4, 9, 3, False), PreVote(4, 9, 3))
    solo.tick(ELECTION_TICKS - 1)
    solo.step(3, Vote(4, 9, 3, False), PreVote(4, 9, 3))
    assert solo.flush() == []
    solo.tick()
    solo.step(3, Vote(4, 9, 3, False))
    assert solo.flush() == [(3, VoteReply(4, True))]


# -- thesis 9.6: pre-vote ------------------------------------------------------------------


def test_9_6_a_pre_candidate_does_not_touch_its_term() -> None:
    """Thesis 9.6: "a candidate only increments its term number if it first learns from a majority
    of the cluster that they would be willing to grant the candidate their votes"."""
    solo = Solo(term=3)
    solo.time_out()
    assert solo.raft.role is Role.PRE_CANDIDATE
    ready = solo.ready()
    assert ready.hard_state is None
    assert ready.messages_after_append == [(2, PreVote(4, 0, 0)), (3, PreVote(4, 0, 0))]
    solo.tick(20 * ELECTION_TICKS)
    assert (solo.raft.role, solo.raft.term) == (Role.PRE_CANDIDATE, 3)
    solo.step(2, PreVoteReply(4, True))
    assert (solo.raft.role, solo.raft.term) == (Role.CANDIDATE, 4)


def test_9_6_a_pre_vote_changes_nothing_at_the_voter() -> None:
    """Thesis 9.6: neither its term nor its vote, so it may say yes to several."""
    solo = Solo(term=3)
    solo.tick(ELECTION_TICKS)
    solo.step(2, PreVote(8, 0, 0))
    solo.step(3, PreVote(4, 0, 0))
    ready = solo.ready()
    assert ready.hard_state is None
    assert ready.messages_after_append == [
        (2, PreVoteReply(8, True)),
        (3, PreVoteReply(4, True)),
    ]
    assert solo.raft.term == 3


def test_9_6_a_replica_that_was_cut_off_does_not_disturb_its_return() -> None:
    """Thesis 9.6: "a partitioned server ... cannot increase its term"; the leader stays."""
    cluster = RaftCluster(3)
    leader = cluster.elect(1)
    cluster.isolate(3)
    cluster.tick(10 * ELECTION_TICKS)
    cluster.heal()
    cluster.tick(3 * ELECTION_TICKS)
    assert (leader.role, leader.term) == (Role.LEADER, 1)
    assert cluster[3].leader_id == 1


def test_9_6_an_old_grant_does_not_count() -> None:
    """A yes to the pre-vote of an earlier term is about that term."""
    solo = Solo(term=3)
    solo.time_out()
    solo.step(2, PreVoteReply(3, True), PreVoteReply(9, True))
    assert (solo.raft.role, solo.raft.term) == (Role.PRE_CANDIDATE, 3)
